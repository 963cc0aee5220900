/* When the master is killed: everything else goes on as it is, until another master, a plain
 * `drover run` of the same name, takes it over.
 *
 *   master, alive   adopt_save.c   at the end of a turn: the state, where the warden finds it
 *   warden          adopt_offer.c  when the master has died: gives it away
 *   next master     adopt_take.c   fetches it, and goes on as after an upgrade
 *
 * The warden shares the master's table of descriptors (warden.h), and the roster and the
 * tally are shared segments: the state needs to say only what they are. */
#ifndef DROVER_MASTER_ADOPTION_H
#define DROVER_MASTER_ADOPTION_H

#include <event2/event.h>
#include <event2/event_struct.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "balancer/master/state_in.h"
#include "common/base.h"
#include "common/err.h"

struct config;
struct master;

struct adoption {
	/* The newest state: what was written last, and its memfd (-1: there is none). */
	char *bytes;
	size_t n;
	int state_fd;
	uint64_t version; /* of the roster, then */
	uint64_t not_before_us;
	struct event ev_due;
	/* How often this drover has been taken over since it was started; the last time: */
	uint32_t taken;
	int32_t from_pid;
	uint64_t taken_us; /* monotonic */
};

/* ---- in a master that lives ---- */

void adoption_init(struct master *m);
void adoption_fini(struct master *m);

/* End of a turn: what has changed is written down. */
void adoption_turn(struct master *m);

/* At once: an exec is next, or what could not be done again. */
void adoption_save(struct master *m);

/* In a forked child: what was written down is overwritten in its memory. */
void adoption_forget(struct master *m);

/* How long `cfg` lets the others go on; 0: not at all. */
uint64_t adoption_time_ms(const struct config *cfg);

/* ---- in the warden ---- */

/* Of the descriptors that were inherited, those stay open that the newest state names, and
 * what the warden itself needs. */
void adoption_keep_only(const struct master *m);

/* The master has died.  Waits for another one as long as is configured, keeping its place
 * meanwhile: pipes are emptied before they are full, and a worker that ends is noted.  True:
 * another has taken everything over.  False: nobody has, or there was nothing to give. */
bool adoption_offer(struct master *m);

/* ---- in a master that starts ---- */

/* What a warden has given; ended by adoption_taken(), or by the end of the process: then it
 * stays where it is. */
struct estate {
	int conn;
	int state_fd;
	struct state_fd *fds; /* NULL: they have gone on to a state_in */
	size_t n_fds;
	pid_t pid; /* of the master that has died */
};

/* m->rundir is open but for its lock, which a warden holds.  ERR_MISSING: by now nobody
 * does, and there is nothing to be taken over.  Other errors have been logged. */
MUST_CHECK enum err adoption_fetch(struct master *m, struct estate *ret_estate);

/* We have all of it: the warden may go. */
void adoption_taken(struct estate *e);

#endif
