/* Crash back-off; in the master, called by app.c for workers and by
 * balancer_proc.c for balancers.  No clock and no randomness of its own. */
#include "balancer/master/backoff.h"

#include <string.h>

#include "common/mem.h"

#define MOST_ENDS_KEPT 4096 /* whatever the budget says */
#define SERVICE_MS 1000     /* of being UP before that counts as service */
#define ENDS_FORGIVEN 5     /* to our own processes, within the window of their rule */

uint64_t backoff_delay_ms(const struct backoff_rule *rule, uint32_t ends, bool served,
			  uint32_t random)
{
	uint64_t delay = rule->min_ms;
	uint32_t step = served ? ends - 1 : ends; /* 1: wait min_ms */

	if (ends > rule->budget) {
		delay = rule->max_ms;
	} else {
		if (step == 0)
			return 0;
		for (uint32_t i = 1; i < step && delay < rule->max_ms; i++)
			delay *= 2;
		delay = MIN(delay, rule->max_ms);
	}
	/* From 75 % to 125 %, in steps of 1/1024 of that half. */
	uint64_t spread = delay / 2;
	return delay - delay / 4 + spread * (random % 1025) / 1024;
}

uint64_t backoff_earned_ms(uint64_t wait_ms, uint64_t served_ms)
{
	return served_ms >= SERVICE_MS ? MIN(wait_ms, served_ms / 4) : wait_ms;
}

const struct backoff_rule backoff_own_processes = {
	.min_ms = 100, .max_ms = 5000, .window_ms = 10000, .budget = 100,
};

uint64_t backoff_own_delay_ms(uint32_t ends, bool served, uint32_t random)
{
	if (served)
		ends = ends > ENDS_FORGIVEN ? ends - ENDS_FORGIVEN + 1 : 1;
	return backoff_delay_ms(&backoff_own_processes, ends, served, random);
}

void backoff_history_fini(struct backoff_history *h)
{
	mem_free(h->ends_us);
	*h = (struct backoff_history){ .ends_us = NULL };
}

static void drop_oldest(struct backoff_history *h, uint32_t n)
{
	if (n == 0)
		return;
	h->n -= n;
	memmove(h->ends_us, h->ends_us + n, h->n * sizeof(h->ends_us[0]));
}

uint32_t backoff_ends(struct backoff_history *h, const struct backoff_rule *rule, uint64_t now_us)
{
	uint32_t old = 0;

	while (old < h->n && now_us - h->ends_us[old] > rule->window_ms * 1000)
		old++;
	drop_oldest(h, old);
	return h->n;
}

/* Room for one more, up to what can matter: budget + 1. */
static void make_room(struct backoff_history *h, const struct backoff_rule *rule)
{
	uint32_t most = MIN(rule->budget, MOST_ENDS_KEPT - 1) + 1;

	if (h->n > most - 1) /* the budget has shrunk, or it is full */
		drop_oldest(h, h->n - (most - 1));
	if (h->n < h->room)
		return;
	uint32_t room = MIN(most, MAX(8, h->room * 2));
	uint64_t *grown = mem_alloc(room * sizeof(*grown));
	if (grown) {
		if (h->n)
			memcpy(grown, h->ends_us, h->n * sizeof(*grown));
		mem_free(h->ends_us);
		h->ends_us = grown;
		h->room = room;
	} else if (h->n) {
		drop_oldest(h, 1);
	}
}

uint32_t backoff_note_end(struct backoff_history *h, const struct backoff_rule *rule,
			  uint64_t now_us, bool served)
{
	h->failed_starts = served ? 0 : h->failed_starts + 1;
	backoff_ends(h, rule, now_us);
	make_room(h, rule);
	if (h->n < h->room)
		h->ends_us[h->n++] = now_us;
	return MAX(h->n, 1);
}
