/* The master's messages: roster changes, drain, new log files, channels between balancers.  Runs in the balancer. */
#include <string.h>

#include "balancer/proxy/access_log.h"
#include "balancer/proxy/handover.h"
#include "balancer/proxy/loop.h"
#include "balancer/proxy/pacing.h"
#include "balancer/proxy/pick.h"
#include "balancer/proxy/queue.h"
#include "common/clock.h"
#include "common/fd.h"
#include "common/log.h"

enum err channel_send(struct proxy *p, enum msg_type type, uint64_t raw)
{
	struct msg m = { .type = type, .raw = raw };
	return msg_send(p->heritage->channel, &m, -1);
}

/* The master waits for this before it stops a worker: it must arrive. */
static void send_ack(struct proxy *p)
{
	p->ack_owed = handover_owes_end(p) || channel_send(p, MSG_ACK, p->version) == ERR_AGAIN;
}

void channel_owed_ack(struct proxy *p)
{
	if (p->ack_owed)
		send_ack(p);
}

static void on_roster(struct proxy *p)
{
	if (!pick_follow_roster(p)) {
		log_warn("the roster cannot be read");
		return;
	}
	send_ack(p);
	pacing_replace(p);
	queue_pump(p);
}

static void on_reopen(struct proxy *p, uint32_t which, int fd)
{
	switch (which) {
	case LOG_KIND_ACCESS:
		access_log_reopen(&p->access_log, p->row, fd);
		return;
	case LOG_KIND_ERROR: {
		int old = log_fd();
		log_to_fd(fd);
		if (old > 2)
			fd_close(&old);
		return;
	}
	default:
		fd_close(&fd);
	}
}

static void on_message(struct proxy *p, const struct msg *m, int fd)
{
	switch (m->type) {
	case MSG_ROSTER:
		on_roster(p);
		return;
	case MSG_DRAIN:
		if (m->drain.level < DRAIN_MAX)
			drain_to(p, m->drain.level, m->drain.leaves);
		return;
	case MSG_REOPEN:
		on_reopen(p, m->reopen.which, fd);
		return;
	case MSG_HAND_OVER:
		handover_give_over(p, fd);
		return;
	case MSG_TAKE_OVER:
		handover_take_over(p, fd);
		return;
	default: /* for the monitor */
		fd_close(&fd);
	}
}

static void on_channel(evutil_socket_t channel, short what, void *arg)
{
	struct proxy *p = arg;
	(void)what;
	loop_turn_begin(p);
	for (;;) {
		struct msg m;
		int fd = -1;
		enum err e = msg_recv(channel, MSG_DOWN, &m, &fd);
		if (e == ERR_OK) {
			on_message(p, &m, fd);
			continue;
		}
		if (e == ERR_AGAIN)
			return;
		if (e == ERR_FD_LIMIT) { /* the old log goes on, or connections end where they are */
			log_error("cannot take a new log file, or a channel to another balancer: "
				  "out of file descriptors");
			continue;
		}
		/* The master is gone: finish what there is, by our own clock. */
		log_warn("the master has ended; draining");
		event_del(p->channel_event);
		p->orphaned = true;
		p->orphaned_us = clock_now_us();
		drain_to(p, DRAIN_SHUTDOWN, false);
		return;
	}
}

enum err channel_start(struct proxy *p)
{
	p->channel_event =
		event_new(p->base, p->heritage->channel, EV_READ | EV_PERSIST, on_channel, p);
	if (!p->channel_event || event_add(p->channel_event, NULL) != 0)
		return ERR_NOMEM;
	return ERR_OK;
}

void channel_stop(struct proxy *p)
{
	int fd = p->heritage->channel;
	if (p->channel_event)
		event_free(p->channel_event);
	fd_close(&fd);
}
