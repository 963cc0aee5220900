/* What a worker's numbers say about it: whether it is due to be recycled, whether it
 * hangs.  Pure decisions; sampler.c brings the numbers. */
#ifndef DROVER_MASTER_VITALS_H
#define DROVER_MASTER_VITALS_H

#include <stdbool.h>
#include <stdint.h>

#include "balancer/config/config.h"

/* ---- recycling ---------------------------------------------------------- */

/* One worker's own; 0: never. */
struct vitals_limits {
	uint64_t memory_bytes, requests, age_ms;
};

/* Those of `conf`; requests and age are up to a tenth lower, as `random` (any number) says,
 * so that workers that started together are not due together.  Never higher: a limit is a
 * limit.  Memory is left as it is: a number that people read off their monitoring. */
struct vitals_limits vitals_limits(const struct cfg_app *conf, uint32_t random);

/* The key of the limit that is reached, "memory", "requests" or "age"; NULL: none. */
const char *vitals_due(const struct vitals_limits *l, uint64_t memory_bytes, uint64_t requests,
		       uint64_t age_ms);

/* ---- hanging ------------------------------------------------------------ */

/* So many requests in a row that waited for timeouts.response in vain, and no reply to
 * another meanwhile, make a worker that hangs.  One or two may be requests that are slow. */
#define VITALS_TIMEOUTS 3

/* Zero in the beginning. */
struct vitals_silence {
	uint64_t replies, timeouts; /* as seen last; timeouts: when a reply was seen last */
	bool begun;
};

/* A look at the sums over all balancers, as often as they are sampled; both only differ
 * from the look before, or step back when a balancer ended.  True: it hangs. */
bool vitals_hangs(struct vitals_silence *s, uint64_t replies, uint64_t timeouts);

#endif
