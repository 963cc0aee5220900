/* One request: its way to a worker, and its end.  Runs in the balancer.
 *
 *   request_new         HEAD    the head is whole and legal: route, write it anew
 *   request_pick        PICK    the rotation names a worker; none: QUEUE, or 503
 *   try_worker          WAIT    it has enough new connections to accept: a moment's wait
 *   send_head           SEND    pooled or new connection; head and first body bytes
 *   request_on_client_bytes     the rest of the body, as fast as the worker takes it
 *                       REPLY   the way back: request_reply.c
 *   request_finish      DONE    outcome, log, count; the connections go on or end
 *
 *   any state, error or timeout: request_fail.c
 */
#include "balancer/proxy/request_life.h"

#include <assert.h>
#include <string.h>

#include "balancer/proxy/access_log.h"
#include "balancer/proxy/pacing.h"
#include "balancer/proxy/queue.h"
#include "balancer/proxy/route.h"
#include "balancer/proxy/tunnel.h"
#include "common/clock.h"
#include "common/fd.h"
#include "common/mem.h"

#define RETRY_TOKENS_MAX 4096.0
#define RETRY_TOKENS_PER_REQUEST 0.2
#define SPARES_MAX 256 /* requests kept for the next ones */
#define PICKS_MAX 32   /* connections tried for one request before it waits or gives up */

static bool send_head(struct request *r, struct upstream *up);

#define TO(state) (1u << REQ_##state)
static const uint8_t next_ok[REQ_STATE_MAX] = {
	[REQ_HEAD] = TO(PICK) | TO(DONE),
	[REQ_PICK] = TO(QUEUE) | TO(WAIT) | TO(SEND) | TO(DONE),
	[REQ_QUEUE] = TO(PICK) | TO(DONE),
	[REQ_WAIT] = TO(PICK) | TO(DONE),
	[REQ_SEND] = TO(PICK) | TO(REPLY) | TO(TUNNEL) | TO(DONE),
	[REQ_REPLY] = TO(DONE),
	[REQ_TUNNEL] = TO(DONE),
};

void request_enter(struct request *r, enum request_state to)
{
	assert(next_ok[r->state] & (1u << to));
	r->state = (uint8_t)to;
}

/* ---- HEAD ---- */

/* The body bytes that came with the head join it in `head`, framed. */
static void take_first_body(struct request *r, char *rest, size_t n_rest, size_t *ret_used)
{
	struct stream_piece piece;
	struct iovec iov[STREAM_IOV];
	char line[HTTP_CHUNK_LINE_MAX];
	stream_decode(&r->to_worker, rest, n_rest, &piece);
	*ret_used = piece.used;
	if (piece.rule != HTTP_RULE_NONE) {
		r->outcome = OUTCOME_REFUSED;
		r->rule = (uint8_t)piece.rule;
		return;
	}
	int n = stream_frame(&r->to_worker, &piece, line, iov);
	for (int i = 0; i < n; i++) {
		struct slice s = { iov[i].iov_base, iov[i].iov_len };
		if (block_append(&r->proxy->blocks, &r->head, s) != ERR_OK)
			r->outcome = OUTCOME_NO_RESOURCES;
	}
}

/* Requests come and go with every message: a few are kept, so that the steady state
 * does not allocate. */
static struct request *take_request(struct proxy *p)
{
	struct list *spare = list_first(&p->spare_requests);
	if (!spare)
		return mem_alloc_zero(sizeof(struct request));
	struct request *r = list_entry(spare, struct request, queued);
	list_remove(spare);
	p->n_spare_requests--;
	memset(r, 0, sizeof(*r));
	return r;
}

static void give_back_request(struct proxy *p, struct request *r)
{
	if (p->n_spare_requests >= SPARES_MAX) {
		mem_free(r);
		return;
	}
	list_push_front(&p->spare_requests, &r->queued);
	p->n_spare_requests++;
}

void requests_stop(struct proxy *p)
{
	struct list *spare;
	while ((spare = list_first(&p->spare_requests))) {
		list_remove(spare);
		mem_free(list_entry(spare, struct request, queued));
	}
}

struct request *request_new(struct client *c, char *rest, size_t n_rest, size_t *ret_used)
{
	struct proxy *p = c->proxy;
	const struct http_head *h = &p->request_head;
	struct request *r = take_request(p);
	if (!r)
		return NULL;
	list_init(&r->queued);
	if (rewrite_request(c, h, &r->head, &r->kept) != ERR_OK) {
		give_back_request(p, r);
		return NULL;
	}
	r->client = c;
	r->proxy = p;
	r->started_us = clock_now_us();
	r->method = h->method_id;
	r->minor = h->minor;
	r->idempotent = http_method_idempotent(h->method_id);
	r->keep_alive = h->keep_alive;
	r->upgrade = h->upgrade;
	r->body_held = true;
	stream_init(&r->to_worker, h->framing, h->length, p->limits.body_bytes, h->framing);
	if (!h->names_fields) /* one of the trailers might be among them */
		stream_pass_trailers(&r->to_worker, &p->blocks);
	c->request = r;
	c->state = CLIENT_REQUEST;
	tally_inc(p->row, COUNTER_requests);
	tally_inc(p->row, COUNTER_requests_in_flight);
	uint32_t app = route_find(p->config, h->host, h->path);
	if (app == ROUTE_NONE)
		r->outcome = OUTCOME_NO_ROUTE;
	else
		r->app = &p->apps[app];
	*ret_used = 0;
	if (!stream_ended(&r->to_worker) && !r->outcome)
		take_first_body(r, rest, n_rest, ret_used);
	return r;
}

void request_go(struct request *r)
{
	if (r->outcome) {
		request_answer_self(r, r->outcome, r->rule);
		return;
	}
	if (!stream_ended(&r->to_worker))
		client_read_off(r->client); /* until a worker takes the body */
	request_enter(r, REQ_PICK);
	request_pick(r);
}

/* ---- PICK, QUEUE ---- */

static void enter_queue(struct request *r)
{
	request_enter(r, REQ_QUEUE);
	r->tried.n = 0;    /* by the time it leaves, things will have changed */
	if (!r->queued_us) /* one that comes back from a refusal is not more patient for it */
		r->queued_us = clock_now_us();
	if (!queue_push(r))
		request_answer_self(r, OUTCOME_QUEUE_FULL, HTTP_RULE_NONE);
}

/* The rotation has nobody.  Workers of ours come back; other servers may not, but this
 * balancer may also serve before the master has entered them. */
static void no_worker(struct request *r)
{
	struct app_state *a = r->app;
	bool ours = a->cfg->command;
	if (a->coming || (ours && a->n_up))
		enter_queue(r);
	else
		request_answer_self(r, ours || !r->failure ? OUTCOME_NO_WORKER : r->failure,
				    HTTP_RULE_NONE);
}

void request_note_refusal(struct request *r, uint16_t slot, uint64_t epoch)
{
	pick_suspect(r->proxy, slot, epoch);
	pick_note_tried(&r->tried, epoch);
	r->failure = OUTCOME_CONNECT_FAILED;
}

/* One try with one worker.  False: it did not take the connection, look further.
 * `hurry`: a new connection is opened even when the worker is being paced. */
static bool try_worker(struct request *r, uint16_t slot, bool hurry)
{
	struct proxy *p = r->proxy;
	uint64_t epoch = p->workers[slot].epoch;
	struct upstream *up = NULL;
	if (!r->fresh_only)
		up = upstream_from_pool(p, slot, !r->idempotent);
	if (!up && !hurry && !r->fresh_only && pacing_holds(&p->workers[slot])) {
		request_enter(r, REQ_WAIT);
		r->slot = slot;
		pacing_wait(r, &p->workers[slot]);
		return true;
	}
	if (!up) {
		enum err e = upstream_open(p, slot, &up);
		if (e == ERR_FD_LIMIT) { /* one comes free when another request ends */
			r->failure = OUTCOME_NO_RESOURCES;
			p->starved = true;
			enter_queue(r);
			return true;
		}
		if (e == ERR_NOMEM) {
			request_answer_self(r, OUTCOME_NO_RESOURCES, HTTP_RULE_NONE);
			return true;
		}
		if (e != ERR_OK) {
			tally_inc(p->row, COUNTER_upstream_failures);
			request_note_refusal(r, slot, epoch);
			return false;
		}
	}
	return send_head(r, up);
}

void request_pick(struct request *r)
{
	bool last_resort = false;
	/* Each worker once, and one more for a pooled connection that was stale: `tried`
	 * remembers too few to end the round by itself. */
	while (r->picks < MIN(PICKS_MAX, r->app->n_up + 1)) {
		uint32_t slot = pick_next(r->proxy, r->app, &r->tried, last_resort);
		if (slot != PICK_NONE) {
			r->picks++;
			if (try_worker(r, (uint16_t)slot, false))
				return;
		} else if (!last_resort && !r->app->cfg->command) {
			last_resort = true; /* better a suspect than an error */
		} else {
			break;
		}
	}
	no_worker(r);
}

void request_on_turn(struct request *r, bool late)
{
	request_enter(r, REQ_PICK);
	if (!try_worker(r, r->slot, late))
		request_pick(r);
}

void request_retry_pick(struct request *r)
{
	request_enter(r, REQ_PICK);
	r->picks = 0; /* others may be there by now */
	request_pick(r);
}

void request_on_queue_timeout(struct request *r)
{
	request_answer_self(
		r, r->failure == OUTCOME_NO_RESOURCES ? OUTCOME_NO_RESOURCES : OUTCOME_QUEUE_TIMEOUT,
		HTTP_RULE_NONE);
}

/* ---- SEND ---- */

/* Head and first body bytes leave in one write.  False: the connection was dead
 * before a byte went out, so the request may go anywhere. */
static bool send_head(struct request *r, struct upstream *up)
{
	struct proxy *p = r->proxy;
	struct iovec iov = { r->head->bytes + r->head->start, block_used(r->head) };
	size_t sent = 0;
	upstream_assign(up, r);
	/* With others', if that is all there is to send, and the connection is known to stand. */
	bool soon = up->reused && stream_ended(&r->to_worker);
	enum err e = soon ? conn_write_soon(&up->conn, &p->blocks, &iov, 1, &sent, NULL)
			  : conn_write(&up->conn, &p->blocks, &iov, 1, &sent);
	if (e == ERR_NOMEM) { /* part of it may be out */
		request_answer_self(r, OUTCOME_NO_RESOURCES, HTTP_RULE_NONE);
		return true;
	}
	if (e != ERR_OK) {
		bool reused = up->reused;
		uint16_t slot = up->slot;
		uint64_t epoch = up->epoch;
		upstream_release(up, false);
		tally_inc(p->row, COUNTER_upstream_failures);
		if (reused)
			r->fresh_only = true;
		else
			request_note_refusal(r, slot, epoch);
		return false;
	}
	request_enter(r, REQ_SEND);
	if (sent) {
		up->sent_any = true;
		request_on_upstream_sent(r);
	} else {
		deadline_start(&up->deadline, &p->connect_wait);
	}
	if (chain_empty(&up->conn.out))
		request_on_upstream_drained(r);
	return true;
}

void request_turn_is(struct turns *t, bool on)
{
	if (on && !t->since_us) {
		t->since_us = clock_now_us();
	} else if (!on && t->since_us) {
		t->before_us += clock_now_us() - t->since_us;
		t->since_us = 0;
	}
}

bool request_too_slow(const struct request *r, const struct turns *t, uint64_t spare_ms,
		      uint64_t bytes)
{
	uint64_t rate = r->proxy->config->limit_min_rate;
	if (!rate || !t->since_us)
		return false;
	uint64_t took_ms = (t->before_us + clock_now_us() - t->since_us) / 1000;
	return took_ms > spare_ms && (took_ms - spare_ms) * rate / 1000 > bytes;
}

static bool body_too_slow(const struct request *r)
{
	return r->state == REQ_SEND &&
	       request_too_slow(r, &r->owing, r->proxy->config->timeout_body_ms,
				r->to_worker.in.data_bytes);
}

void request_set_clocks(struct request *r)
{
	struct client *c = r->client;
	struct upstream *up = r->upstream;
	bool behind = !chain_empty(&c->conn.out);
	bool owing = !stream_ended(&r->to_worker) && chain_empty(&up->conn.out) && !up->conn.broken;
	request_turn_is(&r->owing, owing);
	request_turn_is(&r->behind, behind);
	if (behind)
		client_await_writable(c);
	else if (owing)
		client_await_body(c);
	else
		deadline_stop(&c->deadline);
	if (owing || r->pausing_reply)
		deadline_stop(&up->deadline);
	else
		deadline_start(&up->deadline, &r->proxy->response_wait);
}

void request_on_upstream_sent(struct request *r)
{
	if (r->state == REQ_TUNNEL)
		tunnel_touch(r);
	else
		request_set_clocks(r);
}

/* The worker has all we had: it is the client's turn. */
static void await_body(struct request *r)
{
	client_read_on(r->client);
	request_set_clocks(r);
}

void request_on_upstream_drained(struct request *r)
{
	if (r->state == REQ_TUNNEL) {
		tunnel_on_worker_drained(r);
		return;
	}
	if (stream_ended(&r->to_worker) || r->upstream->conn.broken)
		return;
	await_body(r);
}

bool request_wants_bytes(const struct request *r)
{
	return r->state == REQ_TUNNEL || !stream_ended(&r->to_worker);
}

/* More of the request body (or of a tunnel). */
size_t request_on_client_bytes(struct request *r, char *p, size_t n)
{
	struct upstream *up = r->upstream;
	struct stream_piece piece;
	struct iovec iov[STREAM_IOV];
	char line[HTTP_CHUNK_LINE_MAX];
	if (r->state == REQ_TUNNEL) {
		tunnel_from_client(r, p, n);
		return n;
	}
	stream_decode(&r->to_worker, p, n, &piece);
	if (piece.rule != HTTP_RULE_NONE) {
		request_answer_self(r, OUTCOME_REFUSED, piece.rule);
		return n;
	}
	if (!piece.ended && body_too_slow(r)) {
		request_answer_self(r, OUTCOME_BODY_TIMEOUT, HTTP_RULE_NONE);
		return n;
	}
	r->body_held = false;
	int n_iov = stream_frame(&r->to_worker, &piece, line, iov);
	size_t sent = 0;
	enum err e = n_iov ? conn_write(&up->conn, &r->proxy->blocks, iov, n_iov, &sent) : ERR_OK;
	if (e == ERR_NOMEM) {
		request_answer_self(r, OUTCOME_NO_RESOURCES, HTTP_RULE_NONE);
		return piece.used;
	}
	/* Full: wait for the worker.  Broken: it may have answered before it closed (an
	 * early 413); its read event will tell. */
	if (e != ERR_OK || !chain_empty(&up->conn.out))
		client_read_off(r->client);
	request_set_clocks(r);
	return piece.used;
}

/* ---- DONE ---- */

static bool ends_client_too(enum outcome o, const struct request *r)
{
	return o == OUTCOME_CLIENT_GONE || o == OUTCOME_CUT || o == OUTCOME_TRUNCATED ||
	       r->state == REQ_TUNNEL || (o != OUTCOME_OK && r->state == REQ_REPLY);
}

static void discard(struct request *r)
{
	struct proxy *p = r->proxy;
	tally_dec(p->row, COUNTER_requests_in_flight);
	block_give_back(&p->blocks, r->head);
	stream_fini(&r->to_worker);
	stream_fini(&r->to_client);
	r->client->request = NULL;
	give_back_request(p, r);
}

void request_finish(struct request *r, enum outcome outcome)
{
	struct proxy *p = r->proxy;
	struct client *c = r->client;
	bool unread = !stream_ended(&r->to_worker);
	bool caller_ends_client = ends_client_too(outcome, r);
	bool reusable = outcome == OUTCOME_OK && r->state == REQ_REPLY && r->worker_keep_alive &&
			!r->extra_bytes && !unread;
	r->outcome = (uint8_t)outcome;
	if (r->state == REQ_QUEUE)
		queue_remove(r);
	if (r->state == REQ_WAIT)
		pacing_leave(r);
	if (r->state == REQ_TUNNEL)
		tunnel_end(r);
	request_enter(r, REQ_DONE);
	if (r->upstream)
		upstream_release(r->upstream, reusable);
	if (outcome == OUTCOME_OK)
		p->retry_tokens = MIN(p->retry_tokens + RETRY_TOKENS_PER_REQUEST, RETRY_TOKENS_MAX);
	access_log_request(&p->access_log, r);
	bool close = r->close || unread;
	discard(r);
	if (!caller_ends_client)
		client_request_done(c, close, unread);
}

/* ---- tunnels from one process to the next ---- */

struct request *request_inherit_tunnel(struct client *c, int fd, uint16_t slot, uint64_t epoch)
{
	struct proxy *p = c->proxy;
	struct request *r = take_request(p);
	if (!r) {
		fd_close(&fd);
		return NULL;
	}
	list_init(&r->queued);
	r->client = c;
	r->proxy = p;
	r->state = REQ_TUNNEL;
	r->status = 101;
	stream_init(&r->to_worker, HTTP_BODY_NONE, 0, 0, HTTP_BODY_NONE);
	if (upstream_inherit(r, fd, slot, epoch) != ERR_OK) {
		give_back_request(p, r);
		return NULL;
	}
	c->request = r;
	tally_inc(p->row, COUNTER_requests_in_flight);
	tunnel_begin(r);
	return r;
}

void request_forget_tunnel(struct request *r)
{
	tunnel_end(r);
	request_enter(r, REQ_DONE);
	upstream_release(r->upstream, false);
	discard(r);
}
