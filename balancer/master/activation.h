/* Listening sockets that the service manager opened for us (LISTEN_FDS, after
 * sd_listen_fds(3)).  Used by listener.c instead of opening its own. */
#ifndef DROVER_MASTER_ACTIVATION_H
#define DROVER_MASTER_ACTIVATION_H

#include <stdbool.h>
#include <stddef.h>

#include "common/addr.h"
#include "common/base.h"
#include "common/err.h"

struct master;
struct activated;
struct state_out;
struct state_record;

struct activation {
	struct activated *sockets;
	size_t n;
	bool from_manager; /* this process was started with them */
};

/* Takes the inherited sockets: checked, non-blocking, close-on-exec, with TCP_NODELAY;
 * the variables leave the environment.  Nothing when they are meant for another
 * process.  One that is no listening stream socket: ERR_SYNTAX, logged. */
MUST_CHECK enum err activation_start(struct master *m);

/* Gives a duplicate of the `nth` socket that answers at `wanted`, the address that it is
 * bound to, and whether it is one of ours that was stored (fdstore.h).  ERR_MISSING: there are no more; ERR_FD_LIMIT, ERR_SYS. */
MUST_CHECK enum err activation_take(struct activation *a, const struct addr *wanted, size_t nth,
				    struct addr *ret_bound, bool *ret_stored, int *ret_fd);

/* Those that answer at an address of a listener that was taken over are in use there. */
void activation_mark_used(struct master *m);

/* Warns of those that no address of the configuration asked for, and closes them.
 * The others stay: an address that leaves the configuration may come back, and nobody
 * else could open it, since the service manager has it too. */
void activation_close_unused(struct master *m);

/* For an upgrade: a record of each, and back. */
void activation_save(const struct activation *a, struct state_out *o);
MUST_CHECK enum err activation_load(struct activation *a, const struct state_record *r);

void activation_fini(struct activation *a);

#endif
