/* The master's side of the roster: a draft that everything here edits, and the
 * shared segment that a whole turn's edits reach at once.
 *
 *   slots_edit(), slots_set_app() ...   -> draft          (any number of times)
 *   slots_publish()                     -> shared segment (one version)
 *
 * So a balancer never sees half of a step, such as a worker DOWN whose
 * successor is not yet announced.
 */
#ifndef DROVER_MASTER_SLOTS_H
#define DROVER_MASTER_SLOTS_H

#include <stdbool.h>
#include <stdint.h>

#include "balancer/board/roster.h"
#include "balancer/board/tally.h"
#include "common/base.h"
#include "common/err.h"

struct slots {
	struct roster *shared;
	struct roster *draft;
	int fd;              /* of the shared segment */
	bool dirty;          /* the draft is ahead */
	uint64_t next_epoch;
};

MUST_CHECK enum err slots_init(struct slots *s); /* ERR_SYS, ERR_FD_LIMIT, ERR_NOMEM */
/* The same on a segment that is there (taken, also on failure), with what it shows. */
MUST_CHECK enum err slots_resume(struct slots *s, int fd, uint64_t next_epoch);
void slots_fini(struct slots *s);                /* the shared mapping stays until exit */

/* Gives an empty slot a new epoch and the state STARTING.  One in which requests
 * to an earlier occupant are still counted is taken last.  ERR_FULL. */
MUST_CHECK enum err slots_take(struct slots *s, const struct tally *t, uint32_t *ret_slot);
void slots_release(struct slots *s, uint32_t slot);

/* The draft's row, to be changed before the next publish. */
struct roster_slot *slots_edit(struct slots *s, uint32_t slot);
void slots_set_state(struct slots *s, uint32_t slot, enum worker_state state);

MUST_CHECK enum err slots_add_app(struct slots *s, uint32_t id, const char *name); /* ERR_FULL */
void slots_remove_app(struct slots *s, uint32_t id);
void slots_set_app(struct slots *s, uint32_t id, uint32_t coming, uint32_t release);

/* The version that shows everything edited so far. */
uint64_t slots_version(const struct slots *s);

/* Copies the draft into the segment when it is ahead; true when it was. */
bool slots_publish(struct slots *s);

#endif
