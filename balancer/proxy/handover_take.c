/* Taking connections over from a balancer that drains.  Runs in a balancer that serves; see
 * handover.c.
 *
 *   on_readable ─► on_packet ─► (more packets) ─► take ─► build ─► verdict ─► handover_attach
 *
 * A record is looked at as bytes from outside are.  One that makes no sense ends its channel:
 * the giver then keeps what it has.
 */
#include "balancer/proxy/handover.h"

#include <event2/event_struct.h>
#include <string.h>

#include "balancer/proxy/handover_record.h"
#include "balancer/proxy/pick.h"
#include "balancer/proxy/request.h"
#include "common/clock.h"
#include "common/fd.h"
#include "common/log.h"
#include "common/mem.h"

#define RECORDS_A_TURN 32

struct taker {
	struct list link; /* in proxy->takers; first, for loop_bury() */
	struct proxy *proxy;
	int fd;
	struct event readable;
	uint64_t number;               /* of the last record */
	struct handover_record record; /* of which bytes are missing, while `bytes` */
	int fds[HANDOVER_FDS_MAX];
	unsigned n_fds;
	char *bytes;
	size_t n_bytes, n_have;
};

static void end_channel(struct taker *t)
{
	for (unsigned i = 0; i < t->n_fds; i++)
		fd_close(&t->fds[i]);
	t->n_fds = 0;
	mem_free(t->bytes);
	t->bytes = NULL;
	event_del(&t->readable);
	fd_close(&t->fd);
	list_remove(&t->link);
	loop_bury(t->proxy, &t->link);
}

/* ---- building it -------------------------------------------------------- */

static struct slice piece(const struct taker *t, enum handover_piece which)
{
	size_t at = 0;
	for (size_t i = 0; i < (size_t)which; i++)
		at += t->record.pieces[i];
	return (struct slice){ t->bytes + at, t->record.pieces[which] };
}

static void take_peer(const struct handover_record *h, struct addr *ret_addr)
{
	memset(ret_addr, 0, sizeof(*ret_addr));
	switch (h->peer.sa.sa_family) {
	case AF_INET:
		ret_addr->in = h->peer.in;
		ret_addr->len = sizeof(h->peer.in);
		break;
	case AF_INET6:
		ret_addr->in6 = h->peer.in6;
		ret_addr->len = sizeof(h->peer.in6);
		break;
	default: ret_addr->sa.sa_family = AF_UNIX; ret_addr->len = sizeof(sa_family_t);
	}
}

static uint32_t find_listen(const struct config *cfg, const struct addr *address)
{
	uint32_t i = 0;
	while (i < cfg->n_listens && !addr_equal(&cfg->listens[i].address, address))
		i++;
	return i;
}

/* Of what is left of its wait nobody gets more than our configuration gives. */
static uint64_t due_us(const struct proxy *p, const struct handover_record *h)
{
	const struct deadline_class *c = h->kind == HANDOVER_TUNNEL ? &p->tunnel_wait
					 : h->state == CLIENT_HEAD  ? &p->head_wait
								    : &p->idle_wait;
	uint64_t most = clock_now_us() + c->length_us;
	if (!c->length_us)
		return 0;
	return h->due_us ? MIN(h->due_us, most) : most;
}

/* The descriptor is the callee's from the call on. */
static int take_fd(struct taker *t, unsigned i)
{
	int fd = t->fds[i];
	t->fds[i] = -1;
	return fd;
}

static enum err keep(struct request *r, const struct taker *t, enum handover_piece which,
		     struct kept_place *ret_place)
{
	struct slice s = piece(t, which);
	*ret_place = (struct kept_place){ r->head ? r->head->end : 0, (uint32_t)s.n };
	return s.n ? block_append(&r->proxy->blocks, &r->head, s) : ERR_OK;
}

static enum err build_tunnel(struct taker *t, struct client *c)
{
	const struct handover_record *h = &t->record;
	pick_know_slots(c->proxy, h->slot + 1); /* the giver's roster may be newer */
	struct request *r = request_inherit_tunnel(c, take_fd(t, 1), (uint16_t)h->slot, h->epoch);
	if (!r)
		return ERR_NOMEM;
	struct conn *up = &r->upstream->conn;
	r->minor = (uint8_t)h->minor;
	r->started_us = h->started_us;
	r->bytes_out = h->bytes_out;
	r->worker_ended = h->flags & HANDOVER_WORKER_ENDED;
	up->broken = h->flags & HANDOVER_WORKER_DEAF;
	c->conn.want_read = !c->eof && !up->broken && !h->pieces[PIECE_TO_WORKER];
	up->want_read = !r->worker_ended && !h->pieces[PIECE_TO_CLIENT];
	enum err e = conn_preload(up, &c->proxy->blocks, piece(t, PIECE_TO_WORKER));
	e = e ? e : keep(r, t, PIECE_LINE, &r->kept.line);
	e = e ? e : keep(r, t, PIECE_REFERER, &r->kept.referer);
	e = e ? e : keep(r, t, PIECE_USER_AGENT, &r->kept.user_agent);
	return e ? e : keep(r, t, PIECE_REQUEST_ID, &r->kept.request_id);
}

static void unbuild(struct client *c)
{
	if (c->request)
		request_forget_tunnel(c->request);
	client_abort(c, false);
}

/* NULL: out of memory. */
static struct client *build(struct taker *t)
{
	struct proxy *p = t->proxy;
	const struct handover_record *h = &t->record;
	struct addr peer;
	take_peer(h, &peer);
	struct client *c = client_inherit(p, take_fd(t, 0), &peer, find_listen(p->config, &h->listen),
					  (enum client_state)h->state);
	if (!c)
		return NULL;
	c->served = h->flags & HANDOVER_SERVED;
	c->eof = h->flags & HANDOVER_EOF;
	c->linger = h->flags & HANDOVER_LINGER;
	c->deadline.due_us = due_us(p, h);
	c->conn.want_read = h->state == CLIENT_IDLE || h->state == CLIENT_HEAD;
	struct slice input = piece(t, PIECE_INPUT);
	enum err e = conn_preload(&c->conn, &p->blocks, piece(t, PIECE_TO_CLIENT));
	if (!e && input.n)
		e = block_append(&p->blocks, &c->input, input);
	if (!e && h->kind == HANDOVER_TUNNEL)
		e = build_tunnel(t, c);
	if (e) {
		unbuild(c);
		return NULL;
	}
	return c;
}

/* ---- the verdict -------------------------------------------------------- */

/* The worker's time to drain was over while its tunnel was on the way. */
static bool is_late(const struct proxy *p, const struct handover_record *h)
{
	const struct worker_ref *w = &p->workers[h->slot];
	return h->kind == HANDOVER_TUNNEL && w->epoch == h->epoch && w->state == WORKER_STOPPING;
}

/* All of the record is here.  False: the channel is broken. */
static bool take(struct taker *t)
{
	struct proxy *p = t->proxy;
	struct client *c = NULL;
	if (t->n_fds == handover_n_fds(&t->record) && !accept_full(p))
		c = build(t);
	for (unsigned i = 0; i < t->n_fds; i++)
		fd_close(&t->fds[i]);
	t->n_fds = 0;
	mem_free(t->bytes);
	t->bytes = NULL;
	struct handover_verdict v = { .number = t->number,
				      .answer = c ? HANDOVER_TAKEN : HANDOVER_REFUSED };
	enum err e = handover_send_verdict(t->fd, &v);
	/* A giver closes its end only with its life: whom it has sent is ours alone then.  Of a
	 * verdict that did not leave for another reason it does not know. */
	if (e != ERR_OK && e != ERR_CLOSED) {
		if (c)
			unbuild(c);
		return false;
	}
	if (!c)
		return true;
	tally_inc(p->row, COUNTER_connections_inherited);
	handover_attach(c);
	if (is_late(p, &t->record) && c->request)
		request_close_tunnel(c->request);
	return true;
}

/* ---- packets ------------------------------------------------------------ */

static bool begin_record(struct taker *t, size_t n)
{
	struct handover_record *h = &t->record;
	if (!handover_record_ok(h, clock_read_us()) || h->number != t->number + 1)
		return false;
	t->number++;
	for (unsigned i = 0; i < t->n_fds; i++)
		if (!handover_fd_ok(t->fds[i], i == 0 ? h->peer.sa.sa_family : AF_UNSPEC))
			return false;
	t->n_bytes = handover_n_bytes(h);
	t->n_have = n;
	if (n != MIN(t->n_bytes, (size_t)HANDOVER_PACKET_BYTES))
		return false;
	t->bytes = mem_alloc(t->n_bytes ? t->n_bytes : 1);
	if (!t->bytes)
		return false; /* we have worse to do; the giver goes on */
	memcpy(t->bytes, t->proxy->scratch, n);
	return true;
}

static bool go_on_with_record(struct taker *t, size_t n)
{
	if (n != MIN(t->n_bytes - t->n_have, (size_t)HANDOVER_PACKET_BYTES))
		return false;
	memcpy(t->bytes + t->n_have, t->proxy->scratch, n);
	t->n_have += n;
	return true;
}

/* ERR_AGAIN: there was none.  Another error ends the channel. */
static enum err on_packet(struct taker *t)
{
	int fds[HANDOVER_FDS_MAX];
	unsigned n_fds;
	size_t n;
	bool begins = !t->bytes;
	enum err e = handover_receive(t->fd, begins ? &t->record : NULL, fds, &n_fds,
				      t->proxy->scratch, &n);
	if (e != ERR_OK)
		return e;
	if (begins) {
		memcpy(t->fds, fds, n_fds * sizeof(int));
		t->n_fds = n_fds;
	}
	if (!(begins ? begin_record(t, n) : go_on_with_record(t, n)))
		return ERR_PROTOCOL;
	if (t->n_have < t->n_bytes)
		return ERR_OK;
	return take(t) ? ERR_OK : ERR_PROTOCOL;
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
	struct taker *t = arg;
	(void)fd, (void)what;
	loop_turn_begin(t->proxy);
	for (int i = 0; t->fd >= 0 && i < RECORDS_A_TURN; i++) {
		enum err e = on_packet(t);
		if (e == ERR_AGAIN)
			return;
		if (e == ERR_OK)
			continue;
		if (e != ERR_CLOSED)
			log_warn("connections of an earlier generation are not taken over: %s",
				 err_text(e));
		end_channel(t);
	}
}

/* ---- start, end --------------------------------------------------------- */

void handover_take_over(struct proxy *p, int fd)
{
	struct taker *t = mem_alloc_zero(sizeof(*t));
	if (!t) {
		fd_close(&fd);
		return;
	}
	t->proxy = p;
	t->fd = fd;
	event_assign(&t->readable, p->base, fd, EV_READ | EV_PERSIST, on_readable, t);
	if (event_add(&t->readable, NULL) != 0) {
		fd_close(&fd);
		mem_free(t);
		return;
	}
	list_push_back(&p->takers, &t->link);
}

void handover_stop_taking(struct proxy *p)
{
	list_each_safe (it, &p->takers)
		end_channel(list_entry(it, struct taker, link));
}
