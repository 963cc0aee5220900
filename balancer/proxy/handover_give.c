/* Giving connections to a balancer of the next generation.  Runs in a balancer that drains;
 * see handover.c.
 *
 *   handover_walk ─► offer ─► send_record ─► send_rest      until the channel takes no more
 *   on_channel    ─► on_verdict ─► it is gone, or ours again
 *
 * A connection is served here until the moment in which it is sent: one that meets a full
 * channel stays what it is, and is offered again.  Few are under way at a time, since
 * nobody serves those.
 */
#include "balancer/proxy/handover.h"

#include <errno.h>
#include <event2/event_struct.h>
#include <string.h>
#include <sys/socket.h>

#include "balancer/proxy/batch.h"
#include "balancer/proxy/handover_record.h"
#include "balancer/proxy/request.h"
#include "common/clock.h"
#include "common/fd.h"
#include "common/log.h"
#include "common/mem.h"

#define UNDER_WAY_MAX 64    /* per channel */
#define PAUSE_US 100000     /* after a refusal, and when the kernel has too many under way */
#define HOLD_ACK_US 1000000 /* the master does not wait longer either */

struct giver {
	struct list link; /* in proxy->givers; first, for loop_bury() */
	struct proxy *proxy;
	int fd;
	struct event readable, writable;
	struct list under_way; /* struct client, oldest first */
	uint32_t n_under_way;
	uint64_t number;  /* of the last record */
	uint64_t sent_us; /* when it was */
	uint64_t paused_until_us;
	char *rest; /* bytes of it that have not left; NULL: none */
	size_t rest_at, rest_n;
};

/* ---- the record --------------------------------------------------------- */

/* In the order of enum handover_piece; the bytes in `out` of a connection are a chain. */
struct pieces {
	struct slice plain[PIECE_MAX];
	const struct chain *chains[PIECE_MAX];
};

static struct slice short_slice(struct slice s)
{
	return (struct slice){ s.p, MIN(s.n, (size_t)4096) }; /* the log shows no more */
}

static void describe(const struct client *c, struct handover_record *h, struct pieces *p)
{
	const struct request *r = c->request;
	memset(h, 0, sizeof(*h));
	memset(p, 0, sizeof(*p));
	h->form = HANDOVER_FORM;
	h->state = c->state;
	h->due_us = deadline_running(&c->deadline) ? c->deadline.due_us : 0;
	h->flags = (c->served ? HANDOVER_SERVED : 0) | (c->eof ? HANDOVER_EOF : 0) |
		   (c->linger ? HANDOVER_LINGER : 0);
	struct addr peer = addr_of_host(&c->peer);
	memcpy(&h->peer, &peer, sizeof(h->peer));
	const struct config *cfg = c->proxy->config;
	if (c->listen_index < cfg->n_listens)
		h->listen = cfg->listens[c->listen_index].address;
	else
		h->listen.len = sizeof(h->listen.sa);
	if (c->input)
		p->plain[PIECE_INPUT] = block_slice(c->input);
	p->chains[PIECE_TO_CLIENT] = &c->conn.out;
	if (!r)
		return;
	const struct upstream *up = r->upstream;
	h->kind = HANDOVER_TUNNEL;
	/* That the client's FIN was passed on follows from the others: tunnel_settle() finds it anew. */
	h->flags |= (r->worker_ended ? HANDOVER_WORKER_ENDED : 0) |
		    (up->conn.broken ? HANDOVER_WORKER_DEAF : 0);
	h->slot = up->slot;
	h->epoch = up->epoch;
	h->started_us = r->started_us;
	h->bytes_out = r->bytes_out;
	h->minor = r->minor;
	p->chains[PIECE_TO_WORKER] = &up->conn.out;
	p->plain[PIECE_LINE] = short_slice(kept_slice(r->head, r->kept.line));
	p->plain[PIECE_REFERER] = short_slice(kept_slice(r->head, r->kept.referer));
	p->plain[PIECE_USER_AGENT] = short_slice(kept_slice(r->head, r->kept.user_agent));
	p->plain[PIECE_REQUEST_ID] = short_slice(kept_slice(r->head, r->kept.request_id));
}

/* One run of all pieces, in memory of its own: what is left of it may have to wait. */
static char *gather(const struct pieces *p, struct handover_record *h, size_t *ret_n)
{
	for (size_t i = 0; i < PIECE_MAX; i++)
		h->pieces[i] = (uint32_t)(p->chains[i] ? chain_bytes(p->chains[i]) : p->plain[i].n);
	size_t n = handover_n_bytes(h);
	char *bytes = mem_alloc(n ? n : 1), *at = bytes;
	*ret_n = n;
	for (size_t i = 0; bytes && i < PIECE_MAX; i++) {
		if (p->chains[i])
			at = chain_copy(p->chains[i], at);
		if (p->plain[i].n)
			memcpy(at, p->plain[i].p, p->plain[i].n);
		at += p->plain[i].n;
	}
	return bytes;
}

/* ---- sending ------------------------------------------------------------ */

/* Whether it can go now: between two requests, with part of a head, with only its last answer
 * to take, or as a tunnel. */
static bool may_go(const struct client *c)
{
	if (c->conn.starved) /* what it is owed is lost */
		return false;
	switch ((enum client_state)c->state) {
	case CLIENT_IDLE: return !c->input && !c->eof && chain_empty(&c->conn.out);
	case CLIENT_HEAD: return !c->eof && block_used(c->input) > 0;
	case CLIENT_REQUEST:
		return c->request ? c->request->state == REQ_TUNNEL && !c->input
				  : !c->input && !chain_empty(&c->conn.out);
	case CLIENT_CLOSING: return !chain_empty(&c->conn.out) && !c->conn.broken;
	default: return false;
	}
}

static void detach(struct giver *g, struct client *c)
{
	conn_detach(&c->conn, &c->proxy->blocks);
	if (c->request)
		conn_detach(&c->request->upstream->conn, &c->proxy->blocks);
	list_remove(&c->deadline.link);
	list_move_back(&g->under_way, &c->link);
	g->n_under_way++;
}

/* Nothing more goes out over it.  The taker ends it when it has said what it has to. */
static void retire(struct giver *g)
{
	struct proxy *p = g->proxy;
	if (p->giver == g)
		p->giver = NULL;
	if (!g->rest)
		shutdown(g->fd, SHUT_WR);
}

static void on_failed_send(struct giver *g, enum err e)
{
	if (e == ERR_AGAIN && event_add(&g->writable, NULL) == 0)
		return;
	if (e == ERR_FULL) {
		g->paused_until_us = clock_now_us() + PAUSE_US;
		return;
	}
	if (e != ERR_CLOSED) /* which its verdicts tell better */
		log_warn("connections are not handed over: %s", strerror(errno));
	mem_free(g->rest);
	g->rest = NULL;
	retire(g);
}

/* The bytes behind a record that one packet does not hold. */
static void send_rest(struct giver *g)
{
	while (g->rest && g->rest_at < g->rest_n) {
		size_t n = MIN(g->rest_n - g->rest_at, (size_t)HANDOVER_PACKET_BYTES);
		enum err e = handover_send(g->fd, NULL, NULL, g->rest + g->rest_at, n);
		if (e != ERR_OK) {
			on_failed_send(g, e);
			return;
		}
		g->rest_at += n;
	}
	mem_free(g->rest);
	g->rest = NULL;
	if (g != g->proxy->giver)
		retire(g);
}

/* True: it is under way. */
static bool send_record(struct giver *g, struct client *c)
{
	struct handover_record h;
	struct pieces pieces;
	size_t n = 0;
	describe(c, &h, &pieces);
	h.number = g->number + 1;
	char *bytes = gather(&pieces, &h, &n);
	if (!bytes)
		return false;
	if (!handover_record_ok(&h, clock_now_us())) { /* more bytes than go at once: it stays here */
		mem_free(bytes);
		return false;
	}
	int fds[HANDOVER_FDS_MAX] = { c->conn.fd, c->request ? c->request->upstream->conn.fd : -1 };
	size_t first = MIN(n, (size_t)HANDOVER_PACKET_BYTES);
	enum err e = handover_send(g->fd, &h, fds, bytes, first);
	if (e != ERR_OK) {
		mem_free(bytes);
		on_failed_send(g, e);
		return false;
	}
	g->number++;
	g->sent_us = clock_now_us();
	detach(g, c);
	g->rest = bytes;
	g->rest_at = first;
	g->rest_n = n;
	send_rest(g);
	return true;
}

/* Whether the channel takes another one now. */
static bool has_room(const struct giver *g)
{
	return g && !g->rest && g->n_under_way < UNDER_WAY_MAX &&
	       !event_pending(&g->writable, EV_WRITE, NULL) && g->paused_until_us <= clock_now_us();
}

void handover_walk(struct proxy *p)
{
	if (p->drain != DRAIN_RELOAD || !has_room(p->giver))
		return;
	batch_flush(&p->blocks);
	list_each_safe (it, &p->clients) {
		struct client *c = list_entry(it, struct client, link);
		if (may_go(c))
			(void)send_record(p->giver, c);
		if (!has_room(p->giver))
			return;
	}
}

void handover_client(struct client *c)
{
	struct proxy *p = c->proxy;
	if (p->drain != DRAIN_RELOAD || !has_room(p->giver))
		return;
	batch_flush(&p->blocks); /* its last answer may be there */
	if (may_go(c))
		(void)send_record(p->giver, c);
}

/* ---- verdicts ----------------------------------------------------------- */

static struct client *next_under_way(struct giver *g)
{
	struct list *first = list_first(&g->under_way);
	if (!first)
		return NULL;
	list_remove(first);
	g->n_under_way--;
	return list_entry(first, struct client, link);
}

/* Another process goes on with it: our descriptor closes, the connection does not. */
static void let_go(struct client *c)
{
	if (c->request)
		request_forget_tunnel(c->request);
	client_abort(c, false);
}

static void end_channel(struct giver *g)
{
	struct proxy *p = g->proxy;
	if (p->giver == g)
		p->giver = NULL;
	event_del(&g->readable);
	event_del(&g->writable);
	mem_free(g->rest);
	g->rest = NULL;
	fd_close(&g->fd);
	list_remove(&g->link);
	loop_bury(p, &g->link);
}

/* The taker has gone: what it had not taken is ours again, and goes on here. */
static void give_up(struct giver *g)
{
	struct client *c;
	end_channel(g);
	while ((c = next_under_way(g)))
		handover_attach(c);
}

/* False: it makes no sense. */
static bool on_verdict(struct giver *g, const struct handover_verdict *v)
{
	uint64_t oldest = g->number - g->n_under_way + 1;
	bool is_whole = g->n_under_way > 1 || !g->rest;
	if (!g->n_under_way || v->number != oldest || !is_whole)
		return false;
	struct client *c = next_under_way(g);
	if (v->answer == HANDOVER_TAKEN) {
		let_go(c);
	} else {
		g->paused_until_us = clock_now_us() + PAUSE_US;
		handover_attach(c);
	}
	return true;
}

static void hear_verdicts(struct giver *g)
{
	for (;;) {
		struct handover_verdict v;
		enum err e = handover_receive_verdict(g->fd, &v);
		if (e == ERR_AGAIN)
			return;
		if (e == ERR_OK && on_verdict(g, &v))
			continue;
		if (e == ERR_OK || e == ERR_PROTOCOL)
			log_warn("who takes our connections over makes no sense: they stay here");
		give_up(g);
		return;
	}
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
	struct giver *g = arg;
	struct proxy *p = g->proxy;
	(void)fd, (void)what;
	loop_turn_begin(p);
	if (g->fd < 0)
		return;
	hear_verdicts(g);
	channel_owed_ack(p);
	handover_walk(p);
}

static void on_writable(evutil_socket_t fd, short what, void *arg)
{
	struct giver *g = arg;
	(void)fd, (void)what;
	loop_turn_begin(g->proxy);
	if (g->fd < 0)
		return;
	send_rest(g);
	handover_walk(g->proxy);
}

bool handover_owes_end(const struct proxy *p)
{
	list_each (it, &p->givers) {
		const struct giver *g = list_entry(it, struct giver, link);
		if (clock_now_us() - g->sent_us >= HOLD_ACK_US)
			continue;
		list_each (at, &g->under_way) {
			const struct request *r = list_entry(at, struct client, link)->request;
			if (r && p->workers[r->upstream->slot].state == WORKER_STOPPING)
				return true;
		}
	}
	return false;
}

/* ---- start, end --------------------------------------------------------- */

void handover_stop(struct proxy *p)
{
	if (p->giver)
		retire(p->giver);
}

void handover_give_over(struct proxy *p, int fd)
{
	struct giver *g = p->drain <= DRAIN_RELOAD ? mem_alloc_zero(sizeof(*g)) : NULL;
	if (!g) {
		fd_close(&fd);
		return;
	}
	g->proxy = p;
	g->fd = fd;
	list_init(&g->under_way);
	event_assign(&g->readable, p->base, fd, EV_READ | EV_PERSIST, on_readable, g);
	event_assign(&g->writable, p->base, fd, EV_WRITE, on_writable, g);
	if (event_add(&g->readable, NULL) != 0) {
		mem_free(g);
		fd_close(&fd);
		return;
	}
	handover_stop(p);
	list_push_back(&p->givers, &g->link);
	p->giver = g;
	handover_walk(p);
}

void handover_recall(struct proxy *p)
{
	list_each_safe (it, &p->givers)
		give_up(list_entry(it, struct giver, link));
}
