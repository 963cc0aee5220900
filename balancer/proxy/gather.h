/* Gathering events while the balancer is busy: the loop pauses a moment before it waits,
 * so that one wait finds several events and each worker is woken for several requests.
 *
 * A loop that is neither idle nor saturated handles one or two events a turn, and each
 * turn costs a sleep, a wake-up and, on the other side, the wake-up of a worker: more than
 * the request itself.  The same thought as interrupt moderation in network cards.  A
 * balancer with time to spare never pauses, so that a quiet site's latency is untouched.
 *
 * Nor does one that shares its processor with workers who want it too: it waits for its
 * turn long enough for events to gather, and a pause only makes it wait once more. */
#ifndef DROVER_PROXY_GATHER_H
#define DROVER_PROXY_GATHER_H

#include <stdbool.h>
#include <stdint.h>

#define GATHER_PAUSE_US 50    /* asked for; on a virtual machine it takes about twice that */
#define GATHER_WINDOW_US 5000 /* over which the share of time at work is taken */
#define GATHER_START_PERCENT 40
#define GATHER_STOP_PERCENT 10 /* lower: pausing itself saves work */
#define GATHER_ALONE_PERCENT 8    /* share of time waited for a processor: starts below this */
#define GATHER_CROWDED_PERCENT 15 /* and stops here */
#define GATHER_EVENTS 64       /* a turn with as many needs no help */
#define GATHER_TURN_US 1000    /* nor one that took as long: others have come meanwhile */

struct gather {
	uint64_t since_us, work_us; /* of this window */
	uint64_t queued_ns;         /* waited for a processor, up to this window */
	int fd;                     /* /proc/self/schedstat, -1: there is none, and no pauses */
	bool on;
};

/* A turn of `events` events began at `from_us` and ended at `to_us` (monotonic).  Whether
 * to pause now. */
bool gather_wants_pause(struct gather *g, unsigned events, uint64_t from_us, uint64_t to_us);

/* Once, in the process, before it is sealed; zeroed before.  Takes `schedstat_fd`.  Pauses of
 * microseconds come out as such from then on. */
void gather_start(struct gather *g, int schedstat_fd);
void gather_stop(struct gather *g);
void gather_pause(void);

#endif
