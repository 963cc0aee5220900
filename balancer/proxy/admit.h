/* One client's share of connections: limits.per_client. */
#ifndef DROVER_PROXY_ADMIT_H
#define DROVER_PROXY_ADMIT_H

#include <stdbool.h>

#include "balancer/proxy/loop.h"

/* Whether one more connection from `peer` may be served: all balancers together have
 * fewer than the limit open from its address, or it is trusted.  *ret_counted: it is
 * counted from now on, until admit_leave(). */
bool admit(struct proxy *p, const struct addr *peer, bool *ret_counted);
/* Counts one that another process has admitted. */
bool admit_inherited(struct proxy *p, const struct addr *peer);
void admit_leave(struct proxy *p, const struct addr *peer);

#endif
