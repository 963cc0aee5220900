/* A histogram of times: buckets of equal width inside each power of two, so that a
 * percentile read from it is less than 1 % too high, from nanoseconds to hours. */
#ifndef DROVER_TESTS_LATENCY_H
#define DROVER_TESTS_LATENCY_H

#include <stdint.h>

#define LATENCY_SUB_BITS 7
#define LATENCY_SUBS (1u << LATENCY_SUB_BITS)
#define LATENCY_BUCKETS ((64 - LATENCY_SUB_BITS) * LATENCY_SUBS)

struct latency {
	uint64_t n, max_ns;
	uint32_t buckets[LATENCY_BUCKETS];
};

static inline uint32_t latency_bucket(uint64_t ns)
{
	if (ns < LATENCY_SUBS)
		return (uint32_t)ns;
	unsigned shift = 63 - (unsigned)__builtin_clzll(ns) - LATENCY_SUB_BITS;
	return (shift + 1) * LATENCY_SUBS + (uint32_t)((ns >> shift) - LATENCY_SUBS);
}

static inline void latency_add(struct latency *l, uint64_t ns)
{
	l->buckets[latency_bucket(ns)]++;
	l->n++;
	if (ns > l->max_ns)
		l->max_ns = ns;
}

/* The time that `per_cent` of all took at most, in milliseconds: the upper end of its
 * bucket.  0 when there are none. */
static inline double latency_ms(const struct latency *l, double per_cent)
{
	uint64_t rank = (uint64_t)((double)l->n * per_cent / 100.0), seen = 0;

	for (uint32_t i = 0; i < LATENCY_BUCKETS && l->n; i++) {
		seen += l->buckets[i];
		if (seen <= rank && seen < l->n)
			continue;
		uint32_t shift = i < LATENCY_SUBS ? 0 : i / LATENCY_SUBS - 1;
		uint64_t low =
			i < LATENCY_SUBS ? i : (uint64_t)(i % LATENCY_SUBS + LATENCY_SUBS) << shift;
		uint64_t high = low + ((uint64_t)1 << shift) - 1;
		return (double)(high < l->max_ns ? high : l->max_ns) / 1e6;
	}
	return 0;
}

#endif
