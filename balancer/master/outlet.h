/* Where the lines of an app's workers go, as `log.output` says: "-" for our own stdout
 * and stderr, a file, or nowhere.  One outlet per path, shared by all whose
 * configuration names it, of whichever release. */
#ifndef DROVER_MASTER_OUTLET_H
#define DROVER_MASTER_OUTLET_H

#include <stdint.h>

#include "balancer/config/config.h"
#include "balancer/master/sink.h"
#include "common/base.h"
#include "common/err.h"
#include "common/list.h"

struct master;

struct outlet {
	struct list link;
	char *path;           /* "-", absolute, or NULL: nowhere */
	unsigned holders;     /* workers */
	bool opened;          /* as far as its path says so */
	struct sink sinks[2]; /* "-": stdout, stderr; a file: the first; nowhere: none is open */
};

/* Opens what `cfg` asks for, as far as it is not open.  On failure the reason has been
 * logged; what was opened goes at the end of the turn. */
MUST_CHECK enum err outlets_open(struct master *m, const struct config *cfg);

/* The outlet of `path` for one more worker; never NULL: when it cannot be opened (which
 * is logged), or there is no memory for it, lines go nowhere until it can be. */
struct outlet *outlet_take(struct master *m, const char *path);
/* After an exec: the outlet that was at `path`; its sinks follow.  NULL: out of memory. */
struct outlet *outlet_resume(struct master *m, const char *path);
struct outlet *outlet_drop(struct outlet *o); /* accepts NULL; returns NULL */

/* Stream 0 is stdout, 1 stderr. */
struct sink *outlet_sink(struct outlet *o, int stream);

/* SIGUSR1: opens the files anew; one that cannot be keeps its old file, and that is
 * logged. */
void outlets_reopen(struct master *m);

/* Closes those that no worker writes to and no configuration names. */
void outlets_sweep(struct master *m);

/* Closes all; waits for what has not been taken, `wait_ms` in all at the most. */
void outlets_fini(struct master *m, int wait_ms);

#endif
