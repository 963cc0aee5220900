/* Whose listening socket is it?  A port is free when it is chosen for a worker, and may be
 * somebody else's by the time the worker binds it: another program that likes that number,
 * another drover with the same range.  What accepts there must not be taken for the worker. */
#ifndef DROVER_MASTER_OWNER_H
#define DROVER_MASTER_OWNER_H

#include <sys/types.h>

#include "common/addr.h"

enum owner {
	OWNER_UNKNOWN = 0, /* nobody listens, the kernel does not tell, or not to us */
	OWNER_WORKER,      /* the worker, or a process that descends from it */
	OWNER_OTHER,       /* none of these */
};

/* Who listens for connections to the TCP address `a` on this machine; `worker` is the
 * worker's pid.  Asks the kernel (sock_diag(7)) and looks into /proc; never waits. */
enum owner owner_of_listener(const struct addr *a, pid_t worker);

#endif
