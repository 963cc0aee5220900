/* Times the cases of micro_cases.c, one line each:
 *
 *   micro [--once] [WORD...]     only cases with one of these words in their names
 *
 * Each case is run in batches of about two milliseconds, and the best batch counts:
 * whatever disturbs a machine only ever adds.  The column beside it, the median,
 * tells how much it was disturbed.  --once runs each case a single time, for tests
 * and for tools that count instructions. */
#include "bench/micro.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/base.h"

#define BATCH_NS 2000000u
#define BATCHES 25

/* Time that this thread was on a processor. */
static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void run(const struct micro_case *c, uint64_t n)
{
	for (uint64_t i = 0; i < n; i++) {
		if (UNLIKELY(!c->run(c->arg))) {
			fprintf(stderr, "micro: %s, %s: wrong result\n", c->what, c->sample);
			exit(1);
		}
	}
}

static uint64_t batch_ns(const struct micro_case *c, uint64_t n)
{
	uint64_t start = now_ns();

	run(c, n);
	return now_ns() - start;
}

static int by_value(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

static void measure(const struct micro_case *c)
{
	uint64_t n = 16, ns[BATCHES];

	while (batch_ns(c, n) < BATCH_NS)
		n *= 2;
	for (int i = 0; i < BATCHES; i++)
		ns[i] = batch_ns(c, n);
	qsort(ns, BATCHES, sizeof(ns[0]), by_value);
	double best = (double)ns[0] / (double)n, median = (double)ns[BATCHES / 2] / (double)n;
	printf("%-22s %-12s %7zu %9.1f %9.1f %8.3f\n", c->what, c->sample, c->bytes, best, median,
	       c->bytes ? best / (double)c->bytes : 0.0);
	fflush(stdout);
}

static bool chosen(const struct micro_case *c, char **words)
{
	if (!*words)
		return true;
	for (; *words; words++)
		if (strstr(c->what, *words) || strstr(c->sample, *words))
			return true;
	return false;
}

int main(int argc, char **argv)
{
	static struct micro_case cases[MICRO_CASES_MAX];
	size_t n = micro_cases(cases), done = 0;
	bool once = argc > 1 && strcmp(argv[1], "--once") == 0;

	if (!once)
		printf("%-22s %-12s %7s %9s %9s %8s\n", "what", "sample", "bytes", "ns", "median",
		       "ns/byte");
	for (size_t i = 0; i < n; i++) {
		if (!chosen(&cases[i], argv + 1 + once))
			continue;
		if (once)
			run(&cases[i], 1);
		else
			measure(&cases[i]);
		done++;
	}
	if (!done)
		fprintf(stderr, "micro: no case has such a name\n");
	return done ? 0 : 1;
}
