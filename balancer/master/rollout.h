/* Verdicts: what came of an app's releases, and of each reload as a whole.
 *
 *   begin ──► RUNNING ──► DONE | FAILED | SUPERSEDED
 *
 * The latest few are kept, so that whoever asked for one finds its own, whatever came
 * after it.  Every wait in between has a deadline (ready.timeout, stop.drain, stop.grace,
 * the balancers' READY), so that a verdict always comes.
 *
 *   master->reloads   number: how many times a reload was asked for; 1 is the first
 *   app->rollouts     number: of the release; `reload`: which of the above asked for it
 */
#ifndef DROVER_MASTER_ROLLOUT_H
#define DROVER_MASTER_ROLLOUT_H

#include <stdint.h>

#include "balancer/board/admin.h"
#include "common/base.h"

struct master;

#define ROLLOUTS_KEPT 8
#define ROLLOUT_REASON_MAX 512

struct rollout {
	uint32_t number;
	uint32_t reload; /* of an app's: the reload that it belongs to; 0: the start */
	enum rollout_state state;
	uint32_t kept; /* FAILED: the release that serves on in its place; 0: none does */
	uint64_t began_us, ended_us;
	char reason[ROLLOUT_REASON_MAX]; /* FAILED: one line, printable; else "" */
	char *lines; /* FAILED: what the failed worker wrote last, or what is wrong with
				  the configuration; lines that end in \n, or NULL; bounded */
};

struct rollouts {
	struct rollout kept[ROLLOUTS_KEPT]; /* a ring; those never used are NONE */
	uint32_t n;                         /* begun so far */
};

/* The one begun last; NONE, number 0, when there was none.  Never NULL. */
const struct rollout *rollouts_latest(const struct rollouts *r);

/* By its number, or NULL: it is forgotten, or there was none. */
const struct rollout *rollouts_find(const struct rollouts *r, uint32_t number);

void rollouts_begin(struct rollouts *r, uint32_t number, uint32_t reload, uint64_t now_us);
void rollouts_fini(struct rollouts *r);

/* The verdict on `number`.  One that has been given stays, except that one that had FAILED
 * may be DONE after all: its app had nothing else to run, and was started again and again. */
void rollouts_done(struct rollouts *r, uint32_t number, uint64_t now_us);
void rollouts_supersede(struct rollouts *r, uint32_t number, uint64_t now_us);

/* `reason` is copied and cut, `lines` (taken, may be NULL) kept; `kept` as in the struct. */
void rollouts_fail(struct rollouts *r, uint32_t number, uint64_t now_us, uint32_t kept,
		   const char *reason, char *lines);

/* End of a turn: the verdict on the reload in force, from those on its apps' releases. */
void rollout_turn(struct master *m);

#endif
