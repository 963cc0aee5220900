/* What of the master crosses an exec: all that other processes know it by (descriptors,
 * pids, the roster and the tally) and all that it cannot find out anew. */
#ifndef DROVER_MASTER_CARRY_H
#define DROVER_MASTER_CARRY_H

#include "balancer/master/state.h"
#include "common/base.h"
#include "common/err.h"

struct master;

/* Writes everything into `o`, for state_finish().  Changes nothing: whoever finds that the
 * exec fails goes on as before. */
void carry_save(const struct master *m, struct state_out *o);

/* Rebuilds a master from a state: `m` is fresh, with its event base and options.  Nothing
 * is started, and nobody told.  On failure the reason has been logged. */
MUST_CHECK enum err carry_load(struct master *m, struct state_in *in);

#endif
