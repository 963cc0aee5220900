/* What of the master crosses an exec: all that other processes know it by (descriptors,
 * pids, the roster and the tally) and all that it cannot find out anew.  And what of a master
 * that was killed another one takes over. */
#ifndef DROVER_MASTER_CARRY_H
#define DROVER_MASTER_CARRY_H

#include "balancer/master/state_in.h"
#include "balancer/master/state_out.h"
#include "common/base.h"
#include "common/err.h"

struct master;

/* Writes everything into `o`, for state_finish().  Changes nothing: whoever finds that the
 * exec fails goes on as before. */
void carry_save(const struct master *m, struct state_out *o);

/* The same for another process, should this one be killed: without what is of no use there
 * (its stdout, its service manager), or too much to be written again and again. */
void carry_save_for_heir(const struct master *m, struct state_out *o);

/* Rebuilds a master from a state: `m` is fresh, with its event base and options.  Nothing
 * is started, and nobody told.  On failure the reason has been logged. */
MUST_CHECK enum err carry_load(struct master *m, struct state_in *in);

/* The same in another process, of what carry_save_for_heir() wrote.  The processes in it are
 * no children of ours; those that have ended meanwhile are told of as any that end. */
MUST_CHECK enum err carry_load_as_heir(struct master *m, struct state_in *in);

#endif
