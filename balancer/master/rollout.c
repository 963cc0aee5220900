/* Verdicts on releases and reloads; in the master.  Written by app.c, reconcile.c and
 * reload.c, read by whoever is asked for them.  Decides nothing: what a failure leads to
 * is app.c's affair. */
#include "balancer/master/rollout.h"

#include <stdio.h>
#include <string.h>

#include "balancer/master/app.h"
#include "balancer/master/core.h"
#include "common/log.h"
#include "common/mem.h"

/* ---- the ring ----------------------------------------------------------- */

const struct rollout *rollouts_latest(const struct rollouts *r)
{
	return &r->kept[(r->n + ROLLOUTS_KEPT - 1) % ROLLOUTS_KEPT];
}

const struct rollout *rollouts_find(const struct rollouts *r, uint32_t number)
{
	for (uint32_t i = 0; number && i < ROLLOUTS_KEPT; i++)
		if (r->kept[i].number == number)
			return &r->kept[i];
	return NULL;
}

void rollouts_begin(struct rollouts *r, uint32_t number, uint32_t reload, uint64_t now_us)
{
	struct rollout *one = &r->kept[r->n % ROLLOUTS_KEPT];

	r->n++;
	mem_free(one->lines);
	*one = (struct rollout){
		.number = number, .reload = reload, .state = ROLLOUT_RUNNING, .began_us = now_us
	};
}

void rollouts_fini(struct rollouts *r)
{
	for (uint32_t i = 0; i < ROLLOUTS_KEPT; i++)
		mem_free(r->kept[i].lines);
	*r = (struct rollouts){ .n = 0 };
}

/* The one that waits for a verdict, or, with `again`, may have failed. */
static struct rollout *open_one(struct rollouts *r, uint32_t number, bool again)
{
	for (uint32_t i = 0; i < ROLLOUTS_KEPT; i++) {
		struct rollout *one = &r->kept[i];
		if (one->number == number &&
		    (one->state == ROLLOUT_RUNNING || (again && one->state == ROLLOUT_FAILED)))
			return one;
	}
	return NULL;
}

static void settle(struct rollout *one, enum rollout_state state, uint64_t now_us)
{
	one->state = state;
	one->ended_us = now_us;
	one->reason[0] = '\0';
	mem_free(one->lines);
	one->lines = NULL;
	one->kept = 0;
}

void rollouts_done(struct rollouts *r, uint32_t number, uint64_t now_us)
{
	struct rollout *one = open_one(r, number, true);

	if (one)
		settle(one, ROLLOUT_DONE, now_us);
}

void rollouts_supersede(struct rollouts *r, uint32_t number, uint64_t now_us)
{
	struct rollout *one = open_one(r, number, false);

	if (one)
		settle(one, ROLLOUT_SUPERSEDED, now_us);
}

void rollouts_fail(struct rollouts *r, uint32_t number, uint64_t now_us, uint32_t kept,
		   const char *reason, char *lines)
{
	struct rollout *one = open_one(r, number, false);

	if (!one) {
		mem_free(lines);
		return;
	}
	settle(one, ROLLOUT_FAILED, now_us);
	one->kept = kept;
	one->lines = lines;
	snprintf(one->reason, sizeof(one->reason), "%s", reason);
}

/* ---- a reload as a whole ------------------------------------------------ */

/* *ret_failed: the first app that failed, or NULL.  False: one is still on its way. */
static bool all_settled(const struct master *m, uint32_t reload, const struct app **ret_failed)
{
	*ret_failed = NULL;
	list_each (it, &m->apps) {
		const struct app *a = list_entry(it, struct app, link);
		const struct rollout *one = rollouts_latest(&a->rollouts);
		if (one->reload != reload)
			continue;
		if (one->state == ROLLOUT_RUNNING)
			return false;
		if (one->state == ROLLOUT_FAILED && !*ret_failed)
			*ret_failed = a;
	}
	return true;
}

static void judge(struct master *m, const struct app *failed)
{
	char reason[ROLLOUT_REASON_MAX];
	uint32_t reload = m->reload_in_force;

	if (!failed) {
		rollouts_done(&m->reloads, reload, master_now_us());
		return;
	}
	const struct rollout *one = rollouts_latest(&failed->rollouts);
	size_t n = one->lines ? strlen(one->lines) + 1 : 0;
	char *lines = n ? mem_alloc(n) : NULL;
	if (lines)
		memcpy(lines, one->lines, n);
	/* By bytes that are both bounded: the name, and a reason that leaves room for it. */
	snprintf(reason, sizeof(reason), "app %.63s: %.440s", failed->name, one->reason);
	rollouts_fail(&m->reloads, reload, master_now_us(), one->kept, reason, lines);
}

void rollout_turn(struct master *m)
{
	const struct app *failed;
	const struct rollout *latest = rollouts_find(&m->reloads, m->reload_in_force);

	if (latest && latest->state == ROLLOUT_RUNNING && all_settled(m, m->reload_in_force, &failed))
		judge(m, failed);
}
