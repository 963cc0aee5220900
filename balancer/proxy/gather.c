/* Gathering events; see gather.h.  Runs in the balancer, between two turns. */
#include "balancer/proxy/gather.h"

#include <sys/prctl.h>
#include <time.h>

bool gather_wants_pause(struct gather *g, unsigned events, uint64_t from_us, uint64_t to_us)
{
	uint64_t work_us = to_us - from_us;
	uint64_t window_us = to_us - g->since_us;

	g->work_us += work_us;
	if (window_us >= GATHER_WINDOW_US) {
		unsigned percent = g->on ? GATHER_STOP_PERCENT : GATHER_START_PERCENT;
		g->on = g->work_us * 100 >= window_us * percent;
		g->since_us = to_us;
		g->work_us = 0;
	}
	return g->on && events < GATHER_EVENTS && work_us < GATHER_TURN_US;
}

void gather_start(void)
{
	/* Ordinary timers may be 50 us late, so that some can be served together. */
	prctl(PR_SET_TIMERSLACK, 1UL, 0UL, 0UL, 0UL);
}

void gather_pause(void)
{
	nanosleep(&(struct timespec){ 0, GATHER_PAUSE_US * 1000 }, NULL);
}
