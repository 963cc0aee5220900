/* What every forked child that serves (balancers, the monitor) does first; in the child. */
#ifndef DROVER_MASTER_CHILD_H
#define DROVER_MASTER_CHILD_H

#include <stdint.h>

#include "balancer/board/roster.h"
#include "balancer/config/config.h"
#include "balancer/sandbox/sandbox.h"
#include "common/base.h"

struct master;

/* Deaf to what a terminal or a person sends to the whole group: it ends by its channel. */
void child_obeys_its_channel(void);

/* The roster, read-only: the master's writable mapping is gone from this process, and so are
 * the warden's notes and the secrets of the applications.  Of the tally row `row` (TALLY_ROWS:
 * none) can still be written: a stray write of ours stays ours. */
const struct roster *child_take_board(struct master *m, uint32_t row);

void child_stdin_from_null(void);

/* Gives up what its role has no need of, as `cfg` says; a failure is logged, and ends it. */
void child_enter_sandbox(enum sandbox_role role, const struct proc_user *user,
			 const struct config *cfg);
/* The filter of system calls closes; when the loop stands, before a byte has been read. */
void child_seal(void);

/* Ends the process, after a leak check where there is one. */
NORETURN void child_leave(int status);

#endif
