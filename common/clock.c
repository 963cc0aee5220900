/* The clock of a loop turn, in every process.  One reading serves all that
 * happens in a turn, so events of one turn carry one time and deadlines compare
 * without a system call each. */
#include "common/clock.h"

#include <stdbool.h>

static uint64_t now_us;    /* as of the last update */
static uint64_t frozen_us; /* 0: not frozen */
static struct timespec wall;
static bool started;

uint64_t clock_read_us(void)
{
	struct timespec t;

	if (frozen_us)
		return frozen_us;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000u + (uint64_t)t.tv_nsec / 1000u;
}

void clock_update(void)
{
	now_us = clock_read_us();
	/* Printed with milliseconds at most and mostly with seconds: the tick's
	 * resolution (1-4 ms) is enough, and reading it touches no hardware. */
	clock_gettime(CLOCK_REALTIME_COARSE, &wall);
	started = true;
}

uint64_t clock_now_us(void)
{
	if (!started)
		clock_update();
	return now_us;
}

struct timespec clock_wall(void)
{
	if (!started)
		clock_update();
	return wall;
}

void clock_freeze(uint64_t at_us)
{
	frozen_us = at_us;
	clock_update();
}
