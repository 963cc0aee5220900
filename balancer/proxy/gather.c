/* Gathering events; see gather.h.  Runs in the balancer, between two turns. */
#include "balancer/proxy/gather.h"

#include <inttypes.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#include "common/fd.h"

/* Nanoseconds waited for a processor since this process began (Linux,
 * Documentation/scheduler/sched-stats: the second figure of schedstat). */
static bool read_queued(const struct gather *g, uint64_t *ret_ns)
{
	char text[64];
	ssize_t n = g->fd < 0 ? -1 : pread(g->fd, text, sizeof(text) - 1, 0);
	if (n <= 0)
		return false;
	text[n] = '\0';
	return sscanf(text, "%*u %" SCNu64, ret_ns) == 1;
}

/* Whether the window that ends now was one to pause in. */
static bool judge(struct gather *g, uint64_t window_us)
{
	uint64_t before = g->queued_ns;
	if (!read_queued(g, &g->queued_ns))
		return false;
	uint64_t queued_percent = (g->queued_ns - before) / 10 / window_us;
	uint64_t work_percent = g->work_us * 100 / window_us;
	return g->on ? work_percent >= GATHER_STOP_PERCENT && queued_percent < GATHER_CROWDED_PERCENT
		     : work_percent >= GATHER_START_PERCENT && queued_percent < GATHER_ALONE_PERCENT;
}

bool gather_wants_pause(struct gather *g, unsigned events, uint64_t from_us, uint64_t to_us)
{
	uint64_t work_us = to_us - from_us;
	uint64_t window_us = to_us - g->since_us;

	g->work_us += work_us;
	if (window_us >= GATHER_WINDOW_US) {
		g->on = judge(g, window_us);
		g->since_us = to_us;
		g->work_us = 0;
	}
	return g->on && events < GATHER_EVENTS && work_us < GATHER_TURN_US;
}

void gather_start(struct gather *g, int schedstat_fd)
{
	g->fd = schedstat_fd;
	/* Ordinary timers may be 50 us late, so that some can be served together. */
	prctl(PR_SET_TIMERSLACK, 1UL, 0UL, 0UL, 0UL);
}

void gather_stop(struct gather *g)
{
	fd_close(&g->fd);
}

void gather_pause(void)
{
	nanosleep(&(struct timespec){ 0, GATHER_PAUSE_US * 1000 }, NULL);
}
