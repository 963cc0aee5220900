/* Draining: how this process ends.  Runs in the balancer.
 *
 *   RELOAD    accept no more; connections between two requests, and tunnels, go to the
 *             generation that serves (handover.h).  Where that takes none, every further
 *             answer says Connection: close.
 *             Where an address leaves with us, a connection may just have been made whose
 *             first bytes are still on their way (TCP_DEFER_ACCEPT): it is waited for, on
 *             all sockets
 *   SHUTDOWN  the same, and idle connections end now
 *   SOFT      idle and finished ones are closed hard
 *   HARD      all are; one with something unfinished makes the exit status 1
 */
#include "balancer/proxy/client.h"
#include "balancer/proxy/handover.h"
#include "balancer/proxy/loop.h"
#include "balancer/proxy/request.h"
#include "common/clock.h"
#include "common/fd.h"
#include "common/log.h"

#define LEAVE_MS (FD_DEFER_MS + 500u) /* and a way there and back */

static void stop_accepting(struct proxy *p)
{
	p->accept_until_us = 0;
	accept_stop(p);
}

static void end_client(struct client *c, void *arg)
{
	enum drain_level level = *(const enum drain_level *)arg;
	struct proxy *p = c->proxy;
	if (level == DRAIN_HARD) {
		if (c->input || (c->state != CLIENT_IDLE && c->state != CLIENT_LINGER) ||
		    conn_owes(&c->conn, &p->blocks)) {
			tally_inc(p->row, COUNTER_connections_forced);
			p->forced = true;
		}
		if (c->request)
			request_cut(c->request);
		else
			client_abort(c, true);
	} else if (c->state == CLIENT_IDLE && !c->input) {
		if (level == DRAIN_SHUTDOWN || conn_owes(&c->conn, &p->blocks))
			client_end_idle(c);
		else
			client_abort(c, true);
	} else if (c->state == CLIENT_LINGER && level == DRAIN_SOFT) {
		client_abort(c, true);
	}
}

void drain_to(struct proxy *p, enum drain_level level, bool leaves)
{
	if (level <= p->drain)
		return;
	p->drain = level;
	clients_watch(p);
	if (leaves && level == DRAIN_RELOAD)
		p->accept_until_us = clock_now_us() + LEAVE_MS * 1000;
	else
		stop_accepting(p);
	if (level < DRAIN_SHUTDOWN) {
		handover_walk(p);
		return;
	}
	handover_stop(p);
	if (level == DRAIN_HARD) {
		handover_recall(p);
		handover_stop_taking(p);
	}
	clients_each(p, end_client, &level);
	for (uint32_t i = 0; i < p->n_workers; i++)
		pool_flush(p, &p->workers[i]);
}

/* Without a master the shutdown's soft and hard limits are ours to keep. */
static void check_orphan(struct proxy *p)
{
	uint64_t ms = (clock_now_us() - p->orphaned_us) / 1000;
	if (ms >= p->config->shutdown_hard_ms)
		drain_to(p, DRAIN_HARD, false);
	else if (ms >= p->config->shutdown_soft_ms)
		drain_to(p, DRAIN_SOFT, false);
}

void drain_sweep(struct proxy *p)
{
	if (p->accept_until_us && clock_now_us() >= p->accept_until_us)
		stop_accepting(p);
	if (p->orphaned)
		check_orphan(p);
}
