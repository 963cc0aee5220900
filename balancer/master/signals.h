/* Signals to the master: one table of what each does. */
#ifndef DROVER_MASTER_SIGNALS_H
#define DROVER_MASTER_SIGNALS_H

#include <event2/event.h>
#include <event2/event_struct.h>

#include "common/base.h"
#include "common/err.h"

struct master;

struct signals {
	int fd;        /* signalfd */
	struct event ev;
};

/* Blocks the signals of the table (they wait) and ignores the others'. */
void signals_block(struct signals *s);

/* Begins to act on them.  ERR_FD_LIMIT, ERR_SYS. */
MUST_CHECK enum err signals_start(struct master *m);

/* They stay blocked: one that comes while we are on our way out must not turn an
 * orderly end into a death by signal. */
void signals_stop(struct signals *s);

#endif
