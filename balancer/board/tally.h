/* The tally: counters that each balancer writes and everyone reads.
 *
 *   +--------+---------+--------------------------------------+
 *   | header | retired | rows[TALLY_ROWS], each on own pages  |
 *   +--------+---------+--------------------------------------+
 *
 * One balancer process owns one row and is its only writer: relaxed stores, no
 * locked instruction.  When the process has ended, the master folds its sums
 * into `retired`, so that totals never step back; gauges are dropped.
 */
#ifndef DROVER_BOARD_TALLY_H
#define DROVER_BOARD_TALLY_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "balancer/board/peers.h"
#include "balancer/board/roster.h"
#include "common/base.h"
#include "common/err.h"
#include "common/http_guard.h"

#define TALLY_ROWS 256
#define TALLY_STAMP 0x64726f7606u

enum counter {
#define COUNTER(name, kind, unit, help) COUNTER_##name,
#include "balancer/board/counters.def"
#undef COUNTER
	COUNTER_MAX
};

enum counter_kind { COUNTER_KIND_SUM = 0, COUNTER_KIND_GAUGE };

struct counter_info {
	const char *name, *unit, *help;
	enum counter_kind kind;
};
extern const struct counter_info counter_table[COUNTER_MAX];

/* Whose message a rule of the framing policy refused. */
enum tally_side { TALLY_CLIENTS = 0, TALLY_WORKERS, TALLY_SIDE_MAX };

struct tally_worker {
	_Atomic uint32_t in_flight; /* requests and tunnels picked for this slot, not finished */
	_Atomic uint32_t tunnels;  /* of them: tunnels */
	_Atomic uint32_t timeouts; /* requests that its occupants kept waiting for timeouts.response */
	_Atomic uint64_t requests; /* sent to this slot's occupants so far */
	_Atomic uint64_t replies;  /* of them: final replies whose head came */
};

struct tally_row {
	_Atomic uint32_t used;      /* for readers: it counts */
	_Atomic int32_t pid;
	_Atomic uint64_t counters[COUNTER_MAX];
	_Atomic uint64_t refusals[TALLY_SIDE_MAX][HTTP_RULE_MAX]; /* a SUM each */
	struct tally_worker workers[ROSTER_SLOTS];
	struct peers peers __attribute__((aligned(4096)));
} __attribute__((aligned(4096)));

struct tally {
	uint64_t stamp;
	uint64_t seed;              /* of peers_key() */
	_Atomic uint32_t claimed[TALLY_ROWS]; /* by the master, who believes no row */
	_Atomic uint32_t n_rows;    /* ever used: [0, n_rows); keeps readers off the others */
	struct tally_row retired;
	struct tally_row rows[TALLY_ROWS];
};

/* Master: creates the segment; untouched rows cost no memory. */
MUST_CHECK enum err tally_create(int *ret_fd, struct tally **ret_tally);

/* Master, after an exec: maps the segment of `fd` (borrowed). ERR_PROTOCOL: of another layout; ERR_SYS. */
MUST_CHECK enum err tally_map(int fd, struct tally **ret_tally);

/* In a forked child: from here on `t`, the segment of `fd`, can only be read, and no later
 * mprotect(2) changes that, but for row `own` (TALLY_ROWS: it owns none).  Where there is no
 * /proc it is mprotect(2) alone that protects it.  ERR_SYS with errno: it must end. */
MUST_CHECK enum err tally_shed(struct tally *t, int fd, uint32_t own);

/* Master: a free row, zeroed, for the balancer about to be forked; ERR_FULL. */
MUST_CHECK enum err tally_claim(struct tally *t, uint32_t *ret_row);

/* Master: the owner of `row` has ended: folds its sums, frees the row. */
void tally_retire(struct tally *t, uint32_t row);

/* Readers: over all live rows, and for SUM counters the retired one. `slot` below ROSTER_SLOTS. */
uint64_t tally_total(const struct tally *t, enum counter c);
uint32_t tally_in_flight(const struct tally *t, uint32_t slot);
uint32_t tally_tunnels(const struct tally *t, uint32_t slot); /* of those in flight */
uint64_t tally_requests(const struct tally *t, uint32_t slot); /* sent to its occupants so far */
/* Both since the segment was made, and of rows that live: to be compared with earlier values.
 * A balancer's end may take some back. */
uint64_t tally_replies(const struct tally *t, uint32_t slot);
uint64_t tally_timeouts(const struct tally *t, uint32_t slot);
/* How often `rule` (a row of common/http_rules.def) refused what that side sent. */
uint64_t tally_refusals(const struct tally *t, enum tally_side side, enum http_rule rule);

/* Client connections open from the address of `key` (peers_key()), over all live rows. */
uint64_t tally_peers(const struct tally *t, uint64_t key);

/* The owner of a row; the load and the store need not be one instruction. */
static inline void tally_raise(_Atomic uint64_t *n, uint64_t by)
{
	uint64_t v = atomic_load_explicit(n, memory_order_relaxed);
	atomic_store_explicit(n, v + by, memory_order_relaxed);
}

static inline void tally_add(struct tally_row *row, enum counter c, uint64_t by)
{
	tally_raise(&row->counters[c], by);
}

static inline void tally_inc(struct tally_row *row, enum counter c)
{
	tally_add(row, c, 1);
}

static inline void tally_refused(struct tally_row *row, enum tally_side side, enum http_rule rule)
{
	tally_raise(&row->refusals[side][rule], 1);
}

static inline void tally_dec(struct tally_row *row, enum counter c)
{
	tally_add(row, c, (uint64_t)-1);
}

#endif
