/* Listening sockets.  They live in the master, are inherited by every
 * generation, and are closed when their address has left the configuration. */
#ifndef DROVER_MASTER_LISTENER_H
#define DROVER_MASTER_LISTENER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "balancer/config/config.h"
#include "common/addr.h"
#include "common/base.h"
#include "common/err.h"
#include "common/list.h"

struct master;

struct listener {
	struct list link;     /* in master->listeners */
	struct addr wanted;   /* as configured */
	struct addr actual;   /* with the port that the kernel chose for port 0 */
	int *fds;             /* TCP: one per balancer, SO_REUSEPORT; Unix: one; else as inherited */
	bool inherited;       /* from the service manager (activation.c), whose they stay */
	size_t n_fds;
	size_t n_stored;      /* the first ones came from the descriptor store (fdstore.c) */
	size_t n_committed;   /* the first ones are in force; the rest may be undone */
	unsigned users;       /* generations whose balancers may still accept here */
	int warden_note;      /* the warden's note of a Unix socket's file, or -1 */
	bool file_stays;      /* the socket is stored: so its file is there at the next start, too */
	uint64_t file_device, file_inode; /* of that file */
};

/* Finds or opens the sockets of one address for `balancers` processes.  On
 * failure the reason has been logged; listeners_rollback() undoes the rest.
 * The caller counts itself in (users++). */
MUST_CHECK enum err listener_prepare(struct master *m, const struct cfg_listen *wanted,
				     uint32_t balancers, struct listener **ret_listener);

/* What was prepared is in force. */
void listeners_commit(struct master *m);

/* Closes what was prepared and not committed, frees what nobody uses. */
void listeners_rollback(struct master *m);

/* Closes our copies of listeners that `cfg` does not name (NULL: of all).
 * Their queues are drained by the balancers that still hold them: called before
 * those are told, so that the last of them to close, right after its accept()
 * found nothing, is also the last holder, and no connection falls in between.  Whether
 * there were any in force: those that accept from them have to wait for connections
 * whose first bytes have not come (generation_retire()). */
bool listeners_leave(struct master *m, const struct config *cfg);

/* A balancer has ended badly: it may have left a socket that it shared with us deaf
 * (shutdown(2), connect(2)).  Those listen again; what it kept in their queues is lost. */
void listeners_mend(struct master *m);

/* One generation less accepts here. */
void listener_drop(struct master *m, struct listener *l);

#endif
