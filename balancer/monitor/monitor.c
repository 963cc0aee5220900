/* The monitor's story: start, loop, stop.  Its own process, forked by the master, which
 * opened the sockets; unprivileged where the master is root.  It looks and reports; it
 * decides nothing, and traffic does not depend on it.
 *
 *   monitor_run  start   the channel, the doors (server.c)
 *                loop    one turn: wait for events, act on them, bury what has ended
 *                stop    the master has closed the channel: whole replies are still sent
 */
#include "balancer/monitor/monitor.h"

#include <errno.h>
#include <jansson.h>
#include <string.h>

#include "balancer/monitor/ask.h"
#include "balancer/monitor/core.h"
#include "common/clock.h"
#include "common/contract.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/msg.h"

#define ALIVE_S 2 /* the master takes four times as long a silence for a hang */
#define FAREWELL_US 500000 /* for replies to be taken; the master waits a little longer */

static void on_channel(evutil_socket_t fd, short what, void *arg)
{
	struct monitor *m = arg;

	(void)fd;
	(void)what;
	if (ask_hear(m))
		return;
	event_del(m->ev_channel);
	m->leaving = true;
	server_leave(m);
}

/* Whatever the master does not take is for it to worry about: it reads nothing while an
 * answer waits for us. */
static void on_alive(evutil_socket_t fd, short what, void *arg)
{
	struct monitor *m = arg;
	const struct msg message = { .type = MSG_ALIVE };

	(void)fd;
	(void)what;
	if (!m->leaving)
		(void)!msg_send(m->heritage->channel, &message, -1);
}

static bool start(struct monitor *m)
{
	m->base = event_base_new();
	if (!m->base)
		return false;
	m->ev_channel = event_new(m->base, m->heritage->channel, EV_READ | EV_PERSIST, on_channel, m);
	m->ev_alive = event_new(m->base, -1, EV_PERSIST, on_alive, m);
	return m->ev_channel && event_add(m->ev_channel, NULL) == 0 && m->ev_alive &&
	       event_add(m->ev_alive, &(struct timeval){ .tv_sec = ALIVE_S }) == 0 &&
	       server_start(m) == ERR_OK;
}

static void loop(struct monitor *m)
{
	uint64_t until_us = 0;

	for (;;) {
		if (event_base_loop(m->base, EVLOOP_ONCE) < 0) {
			log_error("the event loop failed: %s", strerror(errno));
			return;
		}
		server_bury(m);
		if (!m->leaving)
			continue;
		clock_update();
		if (until_us == 0)
			until_us = clock_now_us() + FAREWELL_US;
		if (server_is_idle(m) || clock_now_us() > until_us)
			return;
	}
}

static void stop(struct monitor *m)
{
	server_stop(m);
	ask_fini(m);
	if (m->ev_channel)
		event_free(m->ev_channel);
	if (m->ev_alive)
		event_free(m->ev_alive);
	if (m->base)
		event_base_free(m->base);
}

int monitor_run(const struct monitor_heritage *h)
{
	struct monitor *m = mem_must_alloc(sizeof(*m));
	int status = EXIT_FAILED;

	m->heritage = h;
	list_init(&m->asks);
	list_init(&m->graves);
	if (start(m)) {
		json_object_seed(0); /* opens /dev/urandom, once */
		if (h->seal)
			h->seal();
		loop(m);
		status = EXIT_DRAINED;
	} else {
		log_error("cannot start the monitor: out of memory or descriptors");
	}
	stop(m);
	mem_free(m);
	return status;
}
