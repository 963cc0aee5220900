/* When the successor of a process that ended may start: the rule of
 * ARCHITECTURE.md, "Crash back-off", as a pure function and the memory it needs. */
#ifndef DROVER_MASTER_BACKOFF_H
#define DROVER_MASTER_BACKOFF_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base.h"
#include "common/err.h"

struct backoff_rule {
	uint64_t min_ms, max_ms; /* first wait, longest wait */
	uint64_t window_ms;      /* ends older than this are forgotten */
	uint32_t budget;         /* more ends than this within the window: failing */
};

/* Milliseconds to wait after the `ends`-th end (>= 1) within the window.
 * `served`: the process had been ready, so that its first end costs nothing;
 * one that never was ready is one step further.  `random` is any number: the
 * jitter of up to 25 % either way. */
uint64_t backoff_delay_ms(const struct backoff_rule *rule, uint32_t ends, bool served,
			  uint32_t random);

/* What a wait within the budget comes down to for a process that had served for
 * `served_ms` (0: it was never ready).  Somebody who stops or kills a healthy worker
 * now and then is no crash loop: from a second of service on, the wait is at most a
 * quarter of it, so that an app that ends again and again still serves four fifths
 * of the time. */
uint64_t backoff_earned_ms(uint64_t wait_ms, uint64_t served_ms);

/* The rule for our own processes, balancers and the warden: one that had been
 * ready is replaced at once, unless it ends more often than anybody kills by
 * hand.  `ends` as backoff_note_end() counted them under this rule. */
extern const struct backoff_rule backoff_own_processes;
uint64_t backoff_own_delay_ms(uint32_t ends, bool served, uint32_t random);

/* The ends of one instance's processes within the window, oldest first. */
struct backoff_history {
	uint64_t *ends_us;
	uint32_t n, room;
	uint32_t failed_starts; /* in a row, up to now */
};

void backoff_history_fini(struct backoff_history *h);

/* Notes an end at `now_us` and forgets what has left the window; returns how
 * many there are, counted up to budget + 1.  Without memory the oldest end is
 * overwritten: the count is then too low, never the other way. */
uint32_t backoff_note_end(struct backoff_history *h, const struct backoff_rule *rule,
			  uint64_t now_us, bool served);

/* How many ends are in the window at `now_us`. */
uint32_t backoff_ends(struct backoff_history *h, const struct backoff_rule *rule, uint64_t now_us);

#endif
