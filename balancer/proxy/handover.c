/* What both sides of a handover do with a connection.  Runs in the balancer; see handover.h.
 *
 *   giver: on the loop ── sent ──► under way ── TAKEN ──► gone from here
 *               ▲                      │
 *               └── refused, or the taker is gone
 *
 *   taker: received ──► built and counted ──► TAKEN is sent ──► on the loop
 *
 * The taker touches neither socket before its verdict has left, so that a connection that is
 * ours again is as it was; and it has counted the connection before the giver counts it out,
 * so that a worker with a tunnel is never seen without one.
 */
#include "balancer/proxy/handover.h"

#include "balancer/proxy/request.h"
#include "balancer/proxy/tunnel.h"

void handover_start(struct proxy *p)
{
	list_init(&p->givers);
	list_init(&p->takers);
	for (size_t i = 0; i < INHERITED_MAX; i++)
		deadline_class_init(&p->inherited[i], 0, handover_on_timeout);
}

static enum inherited wait_of(const struct client *c)
{
	switch ((enum client_state)c->state) {
	case CLIENT_IDLE: return INHERITED_IDLE;
	case CLIENT_HEAD: return INHERITED_HEAD;
	default: return c->request ? INHERITED_TUNNEL : INHERITED_STALL;
	}
}

void handover_on_timeout(struct deadline *d, void *arg)
{
	static deadline_f *const by_wait[INHERITED_MAX] = {
		[INHERITED_IDLE] = client_on_idle_timeout,
		[INHERITED_HEAD] = client_on_head_timeout,
		[INHERITED_STALL] = client_on_stall_timeout,
		[INHERITED_TUNNEL] = client_on_tunnel_timeout,
	};
	by_wait[wait_of(container_of(d, struct client, deadline))](d, arg);
}

void handover_attach(struct client *c)
{
	struct proxy *p = c->proxy;
	struct request *r = c->request;
	bool waits = !r && c->state == CLIENT_IDLE && p->drain != DRAIN_NONE; /* for its end, or another taker */
	list_push_back(waits ? &p->resumable : &p->clients, &c->link);
	deadline_resume(&c->deadline, &p->inherited[wait_of(c)]);
	if (conn_attach(&c->conn) != ERR_OK || (r && conn_attach(&r->upstream->conn) != ERR_OK)) {
		if (r)
			request_cut(r);
		else
			client_abort(c, true);
		return;
	}
	if (r)
		tunnel_settle(r);
}
