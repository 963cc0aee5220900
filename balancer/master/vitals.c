/* Recycling and hanging, decided from numbers alone; in the master, called by sampler.c. */
#include "balancer/master/vitals.h"

#include <stddef.h>

#include "common/base.h"

static uint64_t less_a_tenth(uint64_t limit, uint32_t random)
{
	/* In steps of 1/1024 of the tenth; not below 1, which would be "never". */
	return limit - MIN(limit / 10 * (random % 1025) / 1024, limit ? limit - 1 : 0);
}

struct vitals_limits vitals_limits(const struct cfg_app *conf, uint32_t random)
{
	return (struct vitals_limits){
		.memory_bytes = conf->recycle_memory_bytes,
		.requests = less_a_tenth(conf->recycle_requests, random),
		.age_ms = less_a_tenth(conf->recycle_age_ms, random),
	};
}

const char *vitals_due(const struct vitals_limits *l, uint64_t memory_bytes, uint64_t requests,
		       uint64_t age_ms)
{
	if (l->memory_bytes && memory_bytes > l->memory_bytes)
		return "memory";
	if (l->requests && requests >= l->requests)
		return "requests";
	if (l->age_ms && age_ms >= l->age_ms)
		return "age";
	return NULL;
}

bool vitals_hangs(struct vitals_silence *s, uint64_t replies, uint64_t timeouts)
{
	if (!s->begun || replies != s->replies || timeouts < s->timeouts) {
		*s = (struct vitals_silence){ .replies = replies, .timeouts = timeouts, .begun = true };
		return false;
	}
	return timeouts - s->timeouts >= VITALS_TIMEOUTS;
}
