/* Opening connections to a worker at a pace it can take.
 *
 * Event-loop runtimes accept one connection per turn of their loop (libuv since
 * 1.45, so Node since 20), and each turn serves all connections there are: a burst
 * of n new connections to a busy worker costs its last one about n²/2 requests'
 * time, a hundred milliseconds for sixty, while the ones that it has already are
 * served every few.  So only PACING_FRESH connections to a worker may be waiting
 * for their first answer; further requests wait a moment for one that comes free,
 * which is nearly always sooner.
 *
 * Not for workers that answer slowly (their connections do not come free soon) or
 * that close after each reply (they never do).
 */
#ifndef DROVER_PROXY_PACING_H
#define DROVER_PROXY_PACING_H

#include <stdbool.h>

#include "balancer/proxy/loop.h"

struct request;

#define PACING_FRESH 4         /* connections to one worker that have not answered yet */
#define PACING_WAIT_US 50000   /* longest wait for one that comes free; then one is opened all the same,
				* and one without an answer counts no longer: it is a slow request */
#define PACING_SLOW_US 50000   /* a worker that takes longer to answer is not paced */

MUST_CHECK enum err pacing_start(struct proxy *p);
void pacing_stop(struct proxy *p);

/* Whether a request should wait rather than open a connection to `w` now. */
bool pacing_holds(const struct worker_ref *w);

/* `r` waits for a connection of `w`; undone by pacing_leave(), which is harmless when it does not. */
void pacing_wait(struct request *r, struct worker_ref *w);
void pacing_leave(struct request *r);

/* A connection of `w` came free, answered for the first time, or went: those that
 * wait are looked at between turns, by pacing_run(). */
void pacing_stir(struct proxy *p, struct worker_ref *w);
void pacing_run(struct proxy *p);

/* Lets go of those that have waited long enough; by its own timer, and from the sweep. */
void pacing_look(struct proxy *p);

/* The worker is not to be used any more: its waiters are set aside until the pick
 * tables stand, then pick again. */
void pacing_displace(struct proxy *p, struct worker_ref *w);
void pacing_replace(struct proxy *p);

#endif
