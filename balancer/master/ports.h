/* Internal addresses for workers. */
#ifndef DROVER_MASTER_PORTS_H
#define DROVER_MASTER_PORTS_H

#include "balancer/config/config.h"
#include "common/addr.h"
#include "common/base.h"
#include "common/err.h"

struct master;

/* A free port on 127.0.0.1: from the app's range, in turn, or by the kernel's
 * choice; never one that another of our workers has.  ERR_FULL: the range is
 * used up.  ERR_SYS, ERR_FD_LIMIT. */
MUST_CHECK enum err ports_take(struct master *m, const struct cfg_app *app, uint16_t *ret_port);

#endif
