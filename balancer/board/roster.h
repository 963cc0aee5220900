/* The roster: who exists, in what state.  One shared segment, written by the
 * master alone, mapped read-only by everyone else.
 *
 *   +--------+-----------------+------------------------------+
 *   | header | apps[64]        | slots[1024]                  |
 *   +--------+-----------------+------------------------------+
 *
 * The header's version is a sequence lock: odd while the master writes.  A
 * reader copies what it needs with roster_read() and keys its own per-worker
 * state by (slot, epoch): the epoch of a slot changes whenever its occupant does.
 */
#ifndef DROVER_BOARD_ROSTER_H
#define DROVER_BOARD_ROSTER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/addr.h"
#include "common/base.h"
#include "common/err.h"

#define ROSTER_SLOTS 1024
#define ROSTER_APPS 64
#define ROSTER_STAMP 0x64726f7603u /* "drov" and the layout's number */

enum worker_state {
#define WSTATE(name, text) WORKER_##name,
#include "balancer/board/worker_states.def"
#undef WSTATE
	WORKER_STATE_MAX
};
const char *worker_state_text(uint32_t state);

struct roster_app {
	uint32_t id;          /* 0 = unused row */
	uint32_t coming;      /* whose start is under way, or believed in: worth a wait */
	uint32_t release;     /* the release that new workers belong to */
	uint32_t zero;
	char name[64];
};

struct roster_slot {
	uint64_t epoch;       /* never repeats; 0 = never used */
	uint64_t up_since_us; /* monotonic clock; 0: not UP yet, or not started by us */
	uint64_t start_ticks; /* proc_start_ticks() of pid: names the process for ever */
	int32_t pid;          /* 0 for servers we did not start */
	uint32_t app_id;
	uint32_t release;
	uint32_t instance;
	uint32_t weight;      /* 1 */
	uint32_t state;       /* enum worker_state */
	struct addr address;
};

struct roster {
	uint64_t stamp;
	_Atomic uint64_t version;  /* odd while being written; never 0 */
	uint32_t n_slots;          /* slots in use: [0, n_slots) */
	uint32_t n_apps;
	struct roster_app apps[ROSTER_APPS];
	struct roster_slot slots[ROSTER_SLOTS];
};

/* Creates the segment.  The caller owns *ret_fd; the mapping lives until exit. */
MUST_CHECK enum err roster_create(int *ret_fd, struct roster **ret_roster);

/* Maps the segment of `fd` read-only and checks its stamp. ERR_PROTOCOL, ERR_SYS. */
MUST_CHECK enum err roster_map(int fd, const struct roster **ret_roster);

/* Master, after an exec: the same, to go on writing it.  A version left odd is made even. */
MUST_CHECK enum err roster_map_writable(int fd, struct roster **ret_roster);

/* Master: every change stands between these two; end returns the new (even) version. */
void roster_begin(struct roster *r);
uint64_t roster_end(struct roster *r);

/* Reader: a consistent copy into *copy (only the used rows are copied); returns
 * its version.  Spins while the master writes, at most a few microseconds; a
 * master that died in mid-write leaves the last copy unread: returns 0 after
 * 100 ms and *copy must not be used. */
uint64_t roster_read(const struct roster *r, struct roster *copy);

/* Row of the app `id`, or NULL. */
const struct roster_app *roster_find_app(const struct roster *r, uint32_t id);

#endif
