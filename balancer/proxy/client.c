/* One client connection.  Runs in the balancer; see client.h.
 *
 *   accept -> IDLE -> HEAD -> REQUEST -> IDLE ...      keep-alive
 *                       |        |
 *                       +--------+--> CLOSING -> LINGER -> gone
 *
 * A request is handed to request.c whole; its bytes that belong to no request yet
 * (pipelining) wait in `input`, and the socket is not read meanwhile.  A client
 * that half-closes after its request still gets its answer.
 */
#include "balancer/proxy/client.h"

#include <string.h>
#include <sys/socket.h>

#include "balancer/proxy/access_log.h"
#include "balancer/proxy/admit.h"
#include "balancer/proxy/batch.h"
#include "balancer/proxy/handover.h"
#include "balancer/proxy/reply.h"
#include "balancer/proxy/request.h"
#include "common/clock.h"
#include "common/fd.h"
#include "common/http_parse.h"
#include "common/mem.h"

static void on_client_event(evutil_socket_t fd, short what, void *arg);
static void take_head(struct client *c, char *p, size_t n, bool in_input);
static void read_at_once(struct client *c);
static void watch(struct client *c);

/* ---- birth and end ---- */

bool client_trusts(const struct proxy *p, const struct addr *peer)
{
	for (size_t i = 0; i < p->config->n_trust; i++)
		if (addr_block_has(&p->config->trust[i], peer))
			return true;
	return false;
}

static struct client *make(struct proxy *p, int fd, const struct addr *peer, uint32_t listen_index,
			   bool counted)
{
	struct client *c = mem_alloc_zero(sizeof(*c));
	if (!c) {
		fd_close(&fd);
		return NULL;
	}
	c->proxy = p;
	c->listen_index = listen_index;
	c->trusted = client_trusts(p, peer);
	c->counted = counted;
	c->peer = addr_host_of(peer);
	deadline_init(&c->deadline);
	conn_init(&c->conn, p->base, fd, on_client_event, c);
	list_init(&c->link);
	p->n_clients++;
	tally_inc(p->row, COUNTER_connections_open);
	tally_inc(p->row, COUNTER_connections_idle);
	return c;
}

enum err client_new(struct proxy *p, int fd, const struct addr *peer, uint32_t listen_index,
		    bool counted)
{
	struct client *c = make(p, fd, peer, listen_index, counted);
	if (!c)
		return ERR_NOMEM;
	list_push_back(&p->clients, &c->link);
	/* The first head has less time than a connection that has proved itself. */
	deadline_start(&c->deadline, &p->head_wait);
	read_at_once(c);
	return ERR_OK;
}

void clients_each(struct proxy *p, void (*each)(struct client *c, void *arg), void *arg)
{
	/* In this order: who becomes idle moves to the first. */
	struct list *const lists[] = { &p->resumable, &p->unwatched, &p->clients };
	for (size_t i = 0; i < ARRAY_LEN(lists); i++)
		list_each_safe (it, lists[i])
			each(list_entry(it, struct client, link), arg);
}

static void set_state(struct client *c, enum client_state to)
{
	if (c->state == CLIENT_IDLE && to != CLIENT_IDLE)
		tally_dec(c->proxy->row, COUNTER_connections_idle);
	else if (c->state != CLIENT_IDLE && to == CLIENT_IDLE)
		tally_inc(c->proxy->row, COUNTER_connections_idle);
	c->state = (uint8_t)to;
}

struct client *client_inherit(struct proxy *p, int fd, const struct addr *peer,
			      uint32_t listen_index, enum client_state state)
{
	struct client *c = make(p, fd, peer, listen_index, false);
	if (!c)
		return NULL;
	c->leftover = listen_index >= p->config->n_listens;
	c->counted = admit_inherited(p, peer);
	set_state(c, state);
	return c;
}

void client_abort(struct client *c, bool reset)
{
	struct proxy *p = c->proxy;
	if (c->state == CLIENT_DEAD)
		return;
	set_state(c, CLIENT_DEAD);
	deadline_stop(&c->deadline);
	list_remove(&c->link);
	p->n_clients--;
	tally_dec(p->row, COUNTER_connections_open);
	block_give_back(&p->blocks, c->input);
	c->input = NULL;
	conn_close(&c->conn, &p->blocks, reset);
	if (c->counted) {
		struct addr peer = addr_of_host(&c->peer);
		admit_leave(p, &peer);
	}
	loop_bury(p, &c->link);
	accept_room(p);
}

/* Bytes behind its last request that nobody has read: CRLF behind a body, or a request
 * that it sent before it was told of the end. */
static bool has_unread(const struct client *c)
{
	char byte;
	return recv(c->conn.fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) > 0;
}

/* All is written.  Where bytes have come or may still be coming, closing now would make the
 * kernel send RST and the client could lose our answer: say FIN, wait a little. */
static void end_when_written(struct client *c)
{
	if (c->eof || !(c->linger || has_unread(c))) {
		client_abort(c, false);
		return;
	}
	set_state(c, CLIENT_LINGER);
	conn_end_writing(&c->conn, &c->proxy->blocks);
	client_read_on(c);
	deadline_start(&c->deadline, &c->proxy->linger_wait);
}

static void begin_close(struct client *c, bool linger)
{
	c->linger = linger || c->input;
	block_give_back(&c->proxy->blocks, c->input);
	c->input = NULL;
	deadline_stop(&c->deadline);
	set_state(c, CLIENT_CLOSING);
	bool owed = conn_owes(&c->conn, &c->proxy->blocks);
	if (c->conn.starved) {
		client_abort(c, true);
		return;
	}
	if (!owed) {
		end_when_written(c);
		return;
	}
	client_read_off(c);
	client_await_writable(c);
}

/* It has said its last, or is to say no more: what it is owed of its last answer goes first. */
static void end_idle(struct client *c)
{
	if (conn_owes(&c->conn, &c->proxy->blocks))
		begin_close(c, false);
	else
		client_abort(c, false);
}

/* ---- its answers ---- */

enum err client_write(struct client *c, struct iovec *iov, int n_iov)
{
	size_t sent;
	enum err e = conn_write(&c->conn, &c->proxy->blocks, iov, n_iov, &sent);
	tally_add(c->proxy->row, COUNTER_bytes_out, sent);
	return e;
}

enum err client_write_soon(struct client *c, struct iovec *iov, int n_iov)
{
	return conn_write_soon(&c->conn, &c->proxy->blocks, iov, n_iov, NULL,
			       &c->proxy->row->counters[COUNTER_bytes_out]);
}

/* ---- waits ---- */

void client_read_on(struct client *c)
{
	if (!c->eof && c->state != CLIENT_DEAD && conn_read_on(&c->conn) != ERR_OK)
		c->conn.broken = true; /* its deadline ends it */
}

void client_read_off(struct client *c)
{
	conn_read_off(&c->conn);
}

void client_await_body(struct client *c)
{
	deadline_start(&c->deadline, &c->proxy->body_wait);
}

void client_await_writable(struct client *c)
{
	deadline_start(&c->deadline, &c->proxy->stall_wait);
}

/* ---- heads ---- */

/* `received`: what has come of the head. */
static void refuse(struct client *c, enum outcome why, enum http_rule rule, struct slice received)
{
	enum err e;
	struct own_reply sent = reply_error(c, NULL, why, rule, true, &e);
	if (why == OUTCOME_REFUSED)
		complaint_request(c->proxy, rule);
	access_log_refused(&c->proxy->access_log, c, &sent, received);
	if (e != ERR_OK)
		client_abort(c, true);
	else
		begin_close(c, true);
}

/* Keeps p[0..n), which stands behind what was used.  Part of a head, or of the
 * next request while this one runs. */
static bool keep_input(struct client *c, char *p, size_t n, bool in_input)
{
	if (in_input) {
		c->input->start = (uint32_t)(p - c->input->bytes);
		return true;
	}
	return block_append(&c->proxy->blocks, &c->input, (struct slice){ p, n }) == ERR_OK;
}

/* limits.min_rate, of which half of timeouts.head is spared. */
static bool head_too_slow(const struct client *c, size_t n)
{
	uint64_t rate = c->proxy->config->limit_min_rate;
	uint64_t whole_us = c->proxy->head_wait.length_us;
	if (!rate)
		return false;
	uint64_t took_us = clock_now_us() + whole_us - c->deadline.due_us;
	return took_us > whole_us / 2 + n * 1000000 / rate;
}

static void on_partial(struct client *c, char *p, size_t n, bool in_input)
{
	if (n == 0)
		return;
	if (!keep_input(c, p, n, in_input)) {
		client_abort(c, true);
		return;
	}
	c->seen = (uint32_t)n;
	if (c->state == CLIENT_IDLE) {
		set_state(c, CLIENT_HEAD);
		deadline_start(&c->deadline, &c->proxy->head_wait);
	} else if (head_too_slow(c, n)) {
		refuse(c, OUTCOME_HEAD_TIMEOUT, HTTP_RULE_NONE, block_slice(c->input));
	}
}

static void on_whole(struct client *c, char *rest, size_t n_rest, bool in_input)
{
	struct proxy *p = c->proxy;
	size_t used = 0;
	deadline_stop(&c->deadline);
	set_state(c, CLIENT_REQUEST);
	struct request *r = request_new(c, rest, n_rest, &used);
	c->seen = 0;
	if (!r) {
		client_abort(c, true);
		return;
	}
	if (n_rest > used) {
		if (!keep_input(c, rest + used, n_rest - used, in_input)) {
			request_cut(r);
			return;
		}
		client_read_off(c); /* one request at a time; answers keep their order */
	} else if (in_input) {
		block_give_back(&p->blocks, c->input);
		c->input = NULL;
	}
	request_go(r);
}

/* Bytes p[0..n) begin at the start of a head.  `in_input`: they are c->input's. */
static void take_head(struct client *c, char *p, size_t n, bool in_input)
{
	enum http_rule rule;
	struct proxy *x = c->proxy;
	switch (http_parse_request(&x->request_head, p, n, c->seen, &x->limits, &rule)) {
	case HTTP_PARTIAL:
		on_partial(c, p, n, in_input);
		return;
	case HTTP_REFUSED:
		refuse(c, OUTCOME_REFUSED, rule, (struct slice){ p, n });
		return;
	case HTTP_WHOLE:
		on_whole(c, p + x->request_head.head_bytes, n - x->request_head.head_bytes, in_input);
		return;
	}
}

void client_resume(struct client *c)
{
	if (c->state != CLIENT_IDLE)
		return;
	if (!c->input) {
		if (c->proxy->drain >= DRAIN_SHUTDOWN)
			client_end_idle(c);
		else
			handover_client(c);
		return;
	}
	c->seen = 0;
	take_head(c, c->input->bytes + c->input->start, block_used(c->input), true);
	if (c->state == CLIENT_HEAD || c->state == CLIENT_IDLE)
		client_read_on(c);
	if (c->eof && c->state == CLIENT_HEAD) /* the rest of this head will not come */
		end_idle(c);
}

/* ---- between requests ---- */

/* client_resume() between turns; harmless when that is due already. */
static void look_again(struct client *c)
{
	list_move_back(&c->proxy->resumable, &c->link);
}

static void become_idle(struct client *c)
{
	set_state(c, CLIENT_IDLE);
	if (c->input) {
		look_again(c);
		return;
	}
	if (c->eof) {
		end_idle(c);
		return;
	}
	client_read_on(c);
	deadline_start(&c->deadline, &c->proxy->idle_wait);
	/* Its answer was on the way when the drain began. */
	if (UNLIKELY(c->proxy->drain != DRAIN_NONE))
		look_again(c);
}

void client_request_done(struct client *c, bool close, bool unread)
{
	c->served = true;
	if (close) {
		begin_close(c, unread);
		return;
	}
	if (!chain_empty(&c->conn.out)) { /* the next request waits until this answer is out */
		client_read_off(c);
		client_await_writable(c);
		return;
	}
	become_idle(c);
}

/* ---- readiness ---- */

/* Bytes while a request runs: its body, a tunnel's, or the next request's. */
static void on_request_bytes(struct client *c, char *p, size_t n)
{
	size_t used = 0;
	if (c->request && request_wants_bytes(c->request)) {
		used = request_on_client_bytes(c->request, p, n);
		if (c->state != CLIENT_REQUEST && c->state != CLIENT_IDLE)
			return;
	}
	if (used == n)
		return;
	if (!keep_input(c, p + used, n - used, false)) {
		if (c->request)
			request_cut(c->request);
		else
			client_abort(c, true);
		return;
	}
	client_read_off(c);
	if (c->state == CLIENT_IDLE)
		look_again(c);
}

static void on_end_of_file(struct client *c)
{
	c->eof = true;
	client_read_off(c);
	switch ((enum client_state)c->state) {
	case CLIENT_REQUEST:
		if (c->request && request_wants_bytes(c->request))
			request_on_client_eof(c->request);
		return; /* half-closed: it still gets its answer */
	case CLIENT_CLOSING:
		return;
	default:
		end_idle(c);
	}
}

/* Reads once; false: there was nothing, or it has ended. */
static bool on_readable(struct client *c)
{
	struct proxy *p = c->proxy;
	size_t n = 0;
	enum err e = conn_read(&c->conn, p->scratch, SCRATCH_BYTES, &n);
	if (e == ERR_AGAIN)
		return false;
	if (e == ERR_CLOSED) {
		on_end_of_file(c);
		return false;
	}
	if (e != ERR_OK) {
		if (c->request)
			request_on_client_gone(c->request);
		else
			client_abort(c, false);
		return false;
	}
	tally_add(p->row, COUNTER_bytes_in, n);
	switch ((enum client_state)c->state) {
	case CLIENT_IDLE:
		take_head(c, p->scratch, n, false);
		break;
	case CLIENT_HEAD:
		if (block_append(&p->blocks, &c->input, (struct slice){ p->scratch, n }) != ERR_OK)
			client_abort(c, true);
		else
			take_head(c, c->input->bytes + c->input->start, block_used(c->input), true);
		break;
	case CLIENT_REQUEST:
		on_request_bytes(c, p->scratch, n);
		break;
	default:
		break; /* LINGER: discarded */
	}
	return true;
}

/* It waits for no byte: there is no request, or all of it has come and is with a worker.
 * (An abort right behind a request is met when the reply is written; one that waits for
 * a worker must not take its place in the queue for nothing.) */
static bool is_content(const struct client *c)
{
	const struct request *r = c->request;
	if (c->state != CLIENT_REQUEST)
		return c->state == CLIENT_IDLE;
	return !r || (r->state >= REQ_SEND && !request_wants_bytes(r));
}

static void on_writable(struct client *c)
{
	size_t sent = 0;
	enum err e = conn_flush(&c->conn, &c->proxy->blocks, &sent);
	tally_add(c->proxy->row, COUNTER_bytes_out, sent);
	if (e != ERR_OK) {
		if (c->request) {
			request_on_client_gone(c->request);
		} else { /* its answer was complete, and is not with it */
			tally_inc(c->proxy->row, COUNTER_client_aborts);
			client_abort(c, false);
		}
		return;
	}
	if (!chain_empty(&c->conn.out)) {
		if (sent && c->request)
			request_on_client_took(c->request);
		else if (sent && c->state != CLIENT_HEAD) /* its next head has a clock of its own */
			client_await_writable(c);
		return;
	}
	if (c->request)
		request_on_client_drained(c->request);
	else if (c->state == CLIENT_CLOSING)
		end_when_written(c);
	else if (c->state == CLIENT_REQUEST)
		become_idle(c);
	else if (c->state == CLIENT_IDLE) /* since its answer was left for the end of a turn */
		deadline_start(&c->deadline, &c->proxy->idle_wait);
}

static void on_client_event(evutil_socket_t fd, short what, void *arg)
{
	struct client *c = arg;
	(void)fd;
	loop_turn_begin(c->proxy);
	if (c->state != CLIENT_DEAD && (what & EV_WRITE))
		on_writable(c);
	if (c->state == CLIENT_DEAD || !(what & CONN_EVENT_READ))
		return;
	if (c->state == CLIENT_IDLE && batch_defer(&c->conn, what & CONN_EVENT_READ))
		return;
	for (unsigned n = 1; on_readable(c) && conn_reads_on(&c->conn, what, n, is_content(c)); n++)
		;
}

/* Most clients send their request right behind the connection: look before asking to be
 * told.  One whose request is with a worker is not watched before it has been answered,
 * which for a connection of one request is never, or before the next sweep. */
static void read_at_once(struct client *c)
{
	struct proxy *p = c->proxy;
	on_readable(c);
	if (c->state == CLIENT_REQUEST && is_content(c)) {
		list_move_back(&p->unwatched, &c->link);
	} else if (c->state == CLIENT_REQUEST) {
		watch(c);
	} else if ((c->state == CLIENT_IDLE || c->state == CLIENT_HEAD) &&
		   conn_read_on(&c->conn) != ERR_OK) {
		client_abort(c, true);
		accept_pause(p, "out of memory");
	}
}

/* While a request runs: notices an abort, and keeps what comes next.  Where its body is
 * still to come, or the next request has, the request and its end see to it. */
static void watch(struct client *c)
{
	if (c->state == CLIENT_REQUEST && !c->input && c->request && !request_wants_bytes(c->request))
		client_read_on(c);
}

void clients_watch(struct proxy *p)
{
	/* In front of those that connected with them and have asked for nothing yet. */
	while (!list_empty(&p->unwatched)) {
		struct list *last = p->unwatched.prev;
		list_remove(last);
		list_push_front(&p->clients, last);
		watch(list_entry(last, struct client, link));
	}
}

void client_end_idle(struct client *c)
{
	on_readable(c);
	if (c->state != CLIENT_IDLE)
		return;
	if (c->served)
		end_idle(c);
	else
		deadline_start(&c->deadline, &c->proxy->linger_wait);
}

/* ---- timeouts ---- */

static struct client *client_of(struct deadline *d)
{
	return container_of(d, struct client, deadline);
}

void client_on_head_timeout(struct deadline *d, void *arg)
{
	struct client *c = client_of(d);
	(void)arg;
	if (c->state == CLIENT_HEAD)
		refuse(c, OUTCOME_HEAD_TIMEOUT, HTTP_RULE_NONE, block_slice(c->input));
	else
		client_abort(c, false); /* connected and said nothing */
}

void client_on_idle_timeout(struct deadline *d, void *arg)
{
	(void)arg;
	struct client *c = client_of(d);
	client_abort(c, !chain_empty(&c->conn.out)); /* an answer that is cut must show */
}

void client_on_body_timeout(struct deadline *d, void *arg)
{
	struct client *c = client_of(d);
	(void)arg;
	if (c->request)
		request_on_body_timeout(c->request);
}

void client_on_stall_timeout(struct deadline *d, void *arg)
{
	struct client *c = client_of(d);
	(void)arg;
	if (c->request)
		request_on_client_gone(c->request);
	else
		client_abort(c, true);
}

void client_on_linger_timeout(struct deadline *d, void *arg)
{
	struct client *c = client_of(d);
	(void)arg;
	if (c->request) /* a tunnel whose client has ended */
		request_finish_tunnel(c->request);
	else
		client_abort(c, false);
}

void client_on_tunnel_timeout(struct deadline *d, void *arg)
{
	struct client *c = client_of(d);
	(void)arg;
	if (c->request)
		request_finish_tunnel(c->request);
}
