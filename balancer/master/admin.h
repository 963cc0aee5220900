/* The sockets of the admin channel.  They are opened and kept here, so that they outlive
 * the monitor, which accepts on them; the master itself never does. */
#ifndef DROVER_MASTER_ADMIN_H
#define DROVER_MASTER_ADMIN_H

#include <stdbool.h>

#include "balancer/config/config.h"
#include "common/addr.h"
#include "common/base.h"
#include "common/err.h"

struct master;

struct admin_sockets {
	char *path;          /* of the Unix socket; NULL: there is none */
	int fd;              /* listens there; -1: none, or (prepared) the one in force goes on */
	int warden_note;     /* of its file, or -1 */
	struct addr tcp;     /* len 0: none */
	int tcp_fd;          /* as fd */
};

struct admin {
	struct admin_sockets now;  /* in force */
	struct admin_sockets next; /* prepared for a new configuration */
};

void admin_init(struct admin *a);

/* Opens what `cfg` asks for and what is not open yet.  On failure the reason has been logged
 * and nothing has changed.  The default socket is a convenience: where it cannot be made,
 * that is logged and drover goes on without. */
MUST_CHECK enum err admin_prepare(struct master *m, const struct config *cfg);

/* What was prepared is in force; true when a socket is another than before: whoever accepts
 * on them has to be given the new ones. */
bool admin_commit(struct master *m);

/* What was prepared is given up. */
void admin_rollback(struct master *m);

/* Closes all and removes the file. */
void admin_fini(struct master *m);

static inline bool admin_is_on(const struct admin *a)
{
	return a->now.fd >= 0 || a->now.tcp_fd >= 0;
}

#endif
