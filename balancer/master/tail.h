/* The workers' lines for whoever asks for them through the monitor (drover logs). */
#ifndef DROVER_MASTER_TAIL_H
#define DROVER_MASTER_TAIL_H

#include <stdint.h>

#include "common/base.h"
#include "common/err.h"

struct app;
struct master;

struct tail {
	const struct app *app; /* NULL: of all apps */
	uint32_t instance;     /* ADMIN_LOGS_ALL: of all */
	uint32_t lines;        /* so many of the last; ADMIN_LOGS_ALL: all that is kept */
	uint64_t since;        /* what a page before gave as its end; 0: this is the first */
};

/* A page (balancer/board/page.h) of what was written behind `since`, in a sealed memfd that
 * the caller takes.  *ret_fd -1: nothing was, and *ret_next is where to go on.  ERR_NOMEM,
 * ERR_FD_LIMIT, ERR_SYS. */
MUST_CHECK enum err tail_make(const struct master *m, const struct tail *t, int *ret_fd,
			      uint64_t *ret_next);

#endif
