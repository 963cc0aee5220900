/* One request, in the order of this file.  Runs in the balancer.
 *
 *   request_new         HEAD    the head is whole and legal: route, write it anew
 *   pick_worker         PICK    the rotation names a worker; none: QUEUE, or 503
 *   try_worker          WAIT    it has enough new connections to accept: a moment's wait
 *   send_head           SEND    pooled or new connection; head and first body bytes
 *   request_on_client_bytes     the rest of the body, as fast as the worker takes it
 *   request_on_reply_bytes      the reply's head, interim ones first
 *   relay               REPLY   the reply's body, as fast as the client takes it
 *   finish              DONE    outcome, log, count; the connections go on or end
 *
 *   any state, error or timeout -> attempt_failed(): the ONE place that sends a
 *   request again; answer_self(): the one that makes a reply of our own; cut_reply():
 *   the one that ends a reply in its middle.
 *
 * What makes a second send safe: no byte of the reply has come, and either nothing
 * was sent, or `head` still holds all that was read of the request and the method is
 * idempotent (RFC 9110 9.2.2) or the worker cannot have read it: it had closed the
 * connection before any of it came (fd_tcp_unheard()).
 */
#include "balancer/proxy/request.h"

#include <assert.h>
#include <string.h>

#include "balancer/proxy/access_log.h"
#include "balancer/proxy/pacing.h"
#include "balancer/proxy/queue.h"
#include "balancer/proxy/reply.h"
#include "balancer/proxy/route.h"
#include "balancer/proxy/tunnel.h"
#include "common/clock.h"
#include "common/fd.h"
#include "common/http_parse.h"
#include "common/mem.h"

/* Second sends: a burst may follow a crash under load; a storm may not. */
#define RESENDS_MAX 2
#define RETRY_TOKENS_MAX 4096.0
#define RETRY_TOKENS_PER_REQUEST 0.2
#define INTERIM_MAX 100 /* replies 1xx before the final one */
#define SPARES_MAX 256  /* requests kept for the next ones */
#define JOIN_BYTES 1024 /* smaller bodies are gathered by conn.c */
#define PICKS_MAX 32    /* connections tried for one request before it waits or gives up */

static void pick_worker(struct request *r);
static void set_clocks(struct request *r);
static bool send_head(struct request *r, struct upstream *up);
static void on_reply_head(struct request *r, char *rest, size_t n_rest);
static void relay(struct request *r, struct iovec *head, char *p, size_t n);
static void attempt_failed(struct request *r, enum outcome why);
static void bad_reply(struct request *r, enum http_rule rule);
static void answer_self(struct request *r, enum outcome why, enum http_rule rule);
static void cut_reply(struct request *r, enum outcome why);
static void finish(struct request *r, enum outcome outcome);

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

static void go(struct request *r, enum request_state to)
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
		answer_self(r, r->outcome, r->rule);
		return;
	}
	if (!stream_ended(&r->to_worker))
		client_read_off(r->client); /* until a worker takes the body */
	go(r, REQ_PICK);
	pick_worker(r);
}

/* ---- PICK, QUEUE ---- */

static void enter_queue(struct request *r)
{
	go(r, REQ_QUEUE);
	r->tried.n = 0;    /* by the time it leaves, things will have changed */
	if (!r->queued_us) /* one that comes back from a refusal is not more patient for it */
		r->queued_us = clock_now_us();
	if (!queue_push(r))
		answer_self(r, OUTCOME_QUEUE_FULL, HTTP_RULE_NONE);
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
		answer_self(r, ours || !r->failure ? OUTCOME_NO_WORKER : r->failure, HTTP_RULE_NONE);
}

/* A connection that this request opened was not taken: others go elsewhere for a
 * while too. */
static void note_refusal(struct request *r, uint16_t slot, uint64_t epoch)
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
		go(r, REQ_WAIT);
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
			answer_self(r, OUTCOME_NO_RESOURCES, HTTP_RULE_NONE);
			return true;
		}
		if (e != ERR_OK) {
			tally_inc(p->row, COUNTER_upstream_failures);
			note_refusal(r, slot, epoch);
			return false;
		}
	}
	return send_head(r, up);
}

static void pick_worker(struct request *r)
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
	go(r, REQ_PICK);
	if (!try_worker(r, r->slot, late))
		pick_worker(r);
}

void request_retry_pick(struct request *r)
{
	go(r, REQ_PICK);
	r->picks = 0; /* others may be there by now */
	pick_worker(r);
}

void request_on_queue_timeout(struct request *r)
{
	answer_self(r,
		    r->failure == OUTCOME_NO_RESOURCES ? OUTCOME_NO_RESOURCES : OUTCOME_QUEUE_TIMEOUT,
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
	enum err e = conn_write(&up->conn, &p->blocks, &iov, 1, &sent);
	if (e == ERR_NOMEM) { /* part of it may be out */
		answer_self(r, OUTCOME_NO_RESOURCES, HTTP_RULE_NONE);
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
			note_refusal(r, slot, epoch);
		return false;
	}
	go(r, REQ_SEND);
	if (sent) {
		up->sent_any = true;
		request_on_upstream_sent(r);
	} else {
		deadline_start(&up->deadline, &p->connect_wait);
	}
	if (!up->conn.out.bytes)
		request_on_upstream_drained(r);
	return true;
}

/* Counts the time in which it is the client's turn and nobody else's. */
static void turn_is(struct turns *t, bool on)
{
	if (on && !t->since_us) {
		t->since_us = clock_now_us();
	} else if (!on && t->since_us) {
		t->before_us += clock_now_us() - t->since_us;
		t->since_us = 0;
	}
}

/* limits.min_rate, of which `spare_ms` is spared. */
static bool too_slow(const struct request *r, const struct turns *t, uint64_t spare_ms, uint64_t bytes)
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
	       too_slow(r, &r->owing, r->proxy->config->timeout_body_ms, r->to_worker.in.data_bytes);
}

/* Whose clock runs: that of each side that has to act next.  Call after any
 * progress; there is no state between SEND and DONE in which no clock runs. */
static void set_clocks(struct request *r)
{
	struct client *c = r->client;
	struct upstream *up = r->upstream;
	bool behind = c->conn.out.bytes > 0;
	bool owing = !stream_ended(&r->to_worker) && !up->conn.out.bytes && !up->conn.broken;
	turn_is(&r->owing, owing);
	turn_is(&r->behind, behind);
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
		set_clocks(r);
}

/* The worker has all we had: it is the client's turn. */
static void await_body(struct request *r)
{
	client_read_on(r->client);
	set_clocks(r);
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
		answer_self(r, OUTCOME_REFUSED, piece.rule);
		return n;
	}
	if (!piece.ended && body_too_slow(r)) {
		answer_self(r, OUTCOME_BODY_TIMEOUT, HTTP_RULE_NONE);
		return n;
	}
	r->body_held = false;
	int n_iov = stream_frame(&r->to_worker, &piece, line, iov);
	size_t sent = 0;
	enum err e = n_iov ? conn_write(&up->conn, &r->proxy->blocks, iov, n_iov, &sent) : ERR_OK;
	if (e == ERR_NOMEM) {
		answer_self(r, OUTCOME_NO_RESOURCES, HTTP_RULE_NONE);
		return piece.used;
	}
	/* Full: wait for the worker.  Broken: it may have answered before it closed (an
	 * early 413); its read event will tell. */
	if (e != ERR_OK || up->conn.out.bytes)
		client_read_off(r->client);
	set_clocks(r);
	return piece.used;
}

/* ---- the reply's head ---- */

/* An interim reply (RFC 9110 15.2): relayed to clients that know them, and not kept
 * for one that has not even taken the last one. */
static bool relay_interim(struct request *r)
{
	struct proxy *p = r->proxy;
	tally_inc(p->row, COUNTER_replies_1xx);
	if (r->minor == 0 || r->client->conn.out.bytes)
		return true;
	struct http_out o = { p->out, p->out + OUT_BYTES, false };
	rewrite_reply(r, &p->reply_head, &o);
	struct iovec iov = { p->out, (size_t)(o.p - p->out) };
	if (conn_write(&r->client->conn, &p->blocks, &iov, 1, NULL) != ERR_OK) {
		request_on_client_gone(r);
		return false;
	}
	return true;
}

/* Parses what has come of the reply's heads at p[0..n); `seen` of it was looked at. */
static void read_heads(struct request *r, char *p, size_t n, uint32_t seen)
{
	struct proxy *x = r->proxy;
	struct http_limits lim = { REPLY_HEAD_BYTES, 0, HTTP_FIELDS_MAX, 0 };
	for (;;) {
		enum http_rule rule;
		struct upstream *up = r->upstream;
		switch (http_parse_reply(&x->reply_head, p, n, seen, &lim, r->method, &rule)) {
		case HTTP_PARTIAL:
			if (n &&
			    block_append(&x->blocks, &up->input, (struct slice){ p, n }) != ERR_OK)
				attempt_failed(r, OUTCOME_NO_RESOURCES);
			else
				up->seen = (uint32_t)n;
			return;
		case HTTP_REFUSED: bad_reply(r, rule); return;
		case HTTP_WHOLE: break;
		}
		p += x->reply_head.head_bytes;
		n -= x->reply_head.head_bytes;
		seen = 0;
		if (x->reply_head.status == 101) {
			if (!r->upgrade || !x->reply_head.upgrade) {
				bad_reply(r, HTTP_RULE_UPGRADE_UNASKED);
				return;
			}
			r->status = 101;
			go(r, REQ_TUNNEL);
			upstream_answered(r->upstream, true);
			tunnel_start(r, p, n);
			return;
		}
		if (x->reply_head.status >= 200) {
			on_reply_head(r, p, n);
			return;
		}
		if (++r->interim > INTERIM_MAX) {
			bad_reply(r, HTTP_RULE_INTERIM_FLOOD);
			return;
		}
		if (!relay_interim(r))
			return;
	}
}

void request_on_reply_bytes(struct request *r, char *p, size_t n)
{
	struct upstream *up = r->upstream;
	if (r->state == REQ_TUNNEL) {
		tunnel_from_worker(r, p, n);
		return;
	}
	if (r->state == REQ_REPLY) {
		relay(r, NULL, p, n);
		return;
	}
	struct block *held = up->input;
	if (!held) {
		read_heads(r, p, n, 0);
		return;
	}
	struct proxy *x = r->proxy;
	uint32_t seen = up->seen;
	if (block_append(&x->blocks, &held, (struct slice){ p, n }) != ERR_OK) {
		attempt_failed(r, OUTCOME_NO_RESOURCES);
		return;
	}
	up->input = NULL; /* ours while its bytes are being read */
	up->seen = 0;
	read_heads(r, held->bytes + held->start, block_used(held), seen);
	block_give_back(&x->blocks, held);
}

static void count_status(struct proxy *p, uint16_t status)
{
	static const enum counter by_class[] = { COUNTER_replies_2xx, COUNTER_replies_3xx,
						 COUNTER_replies_4xx, COUNTER_replies_5xx };
	tally_inc(p->row, by_class[MIN(status / 100 - 2, 3)]);
}

static void on_reply_head(struct request *r, char *rest, size_t n_rest)
{
	struct proxy *p = r->proxy;
	const struct http_head *h = &p->reply_head;
	enum http_framing out = h->framing;
	if (out == HTTP_BODY_CHUNKED || out == HTTP_BODY_CLOSE)
		out = r->minor == 0 ? HTTP_BODY_CLOSE : HTTP_BODY_CHUNKED;
	bool unread = !stream_ended(&r->to_worker);
	r->status = h->status;
	r->worker_keep_alive = h->keep_alive;
	/* A body that the worker did not want will not be read by us either; below 300 it
	 * may be answering while it reads. */
	r->close = !r->keep_alive || out == HTTP_BODY_CLOSE || client_ends_next(r->client) ||
		   r->client->eof || (unread && h->status >= 300);
	stream_init(&r->to_client, h->framing, h->length, 0, out);
	if (!h->names_fields)
		stream_pass_trailers(&r->to_client, &p->blocks);
	pick_answered(p, r->upstream->slot);
	upstream_answered(r->upstream, h->keep_alive);
	if (h->idle_s)
		pick_note_idle(p, r->upstream->slot, r->upstream->epoch, h->idle_s);

	struct http_out o = { p->out, p->out + OUT_BYTES, false };
	rewrite_reply(r, h, &o);
	if (o.full) {
		bad_reply(r, HTTP_RULE_HEAD_TOO_LARGE);
		return;
	}
	go(r, REQ_REPLY);
	count_status(p, h->status);
	struct iovec head = { p->out, (size_t)(o.p - p->out) };
	relay(r, &head, rest, n_rest);
}

/* ---- REPLY ---- */

/* After a write to the client: stop the worker while the client is behind. */
static void pace_reply(struct request *r)
{
	if (r->client->conn.out.bytes) {
		r->pausing_reply = true;
		upstream_read_off(r->upstream);
	}
	set_clocks(r);
}

/* A large body stands in the scratch buffer behind the head that the worker sent.  Where
 * ours is not longer it takes that one's place, and both leave by one send(). */
static bool join_head(const struct proxy *p, const struct iovec *head, struct stream_piece *piece,
		      uint8_t framing)
{
	if (framing == HTTP_BODY_CHUNKED || piece->n < JOIN_BYTES || piece->data < p->scratch ||
	    piece->data >= p->scratch + SCRATCH_BYTES ||
	    (size_t)(piece->data - p->scratch) < head->iov_len)
		return false;
	piece->data -= head->iov_len;
	piece->n += head->iov_len;
	memcpy(piece->data, head->iov_base, head->iov_len);
	return true;
}

/* Body bytes of the reply, behind `head` when that is still to go. */
static void relay(struct request *r, struct iovec *head, char *p, size_t n)
{
	struct proxy *x = r->proxy;
	struct stream_piece piece;
	struct iovec iov[1 + STREAM_IOV];
	char line[HTTP_CHUNK_LINE_MAX];
	int n_iov = 0;
	stream_decode(&r->to_client, p, n, &piece);
	r->bytes_out += piece.n;
	if (head && join_head(x, head, &piece, r->to_client.out_framing))
		head = NULL;
	if (head)
		iov[n_iov++] = *head;
	n_iov += stream_frame(&r->to_client, &piece, line, iov + n_iov);
	/* Where the client has not said so itself, its next request may be on the way, and
	 * meet our end: no byte is held back then. */
	r->client->conn.last = piece.ended && !r->keep_alive;
	if (n_iov) {
		size_t sent = 0;
		enum err e = conn_write(&r->client->conn, &x->blocks, iov, n_iov, &sent);
		tally_add(x->row, COUNTER_bytes_out, sent);
		if (e != ERR_OK) {
			request_on_client_gone(r);
			return;
		}
	}
	if (piece.rule != HTTP_RULE_NONE) {
		bad_reply(r, piece.rule);
		return;
	}
	if (piece.ended) {
		r->extra_bytes = piece.used < n;
		if (r->extra_bytes)
			complaint_reply(r, HTTP_RULE_EXTRA_BYTES);
		finish(r, OUTCOME_OK);
		return;
	}
	pace_reply(r);
}

static bool reader_too_slow(const struct request *r)
{
	uint64_t kept = r->client->conn.out.bytes;
	return r->state == REQ_REPLY && too_slow(r, &r->behind, r->proxy->config->timeout_idle_ms,
						 r->bytes_out - MIN(r->bytes_out, kept));
}

void request_on_client_took(struct request *r)
{
	if (reader_too_slow(r))
		request_on_client_gone(r);
	else if (r->state == REQ_TUNNEL)
		tunnel_touch(r);
	else if (r->upstream)
		set_clocks(r);
}

void request_on_client_drained(struct request *r)
{
	if (reader_too_slow(r)) {
		request_on_client_gone(r);
		return;
	}
	request_on_client_took(r);
	if (r->state == REQ_TUNNEL) {
		tunnel_on_client_drained(r);
	} else if (r->pausing_reply) {
		r->pausing_reply = false;
		upstream_read_on(r->upstream);
		set_clocks(r);
	}
}

/* ---- what goes wrong: the worker ---- */

void request_on_upstream_end(struct request *r, enum err why)
{
	if (r->state == REQ_TUNNEL) {
		tunnel_on_worker_end(r, why);
		return;
	}
	if (r->state != REQ_REPLY) {
		r->unheard = why == ERR_CLOSED && r->body_held && !r->upstream->got_any &&
			     fd_tcp_unheard(r->upstream->conn.fd,
					    block_used(r->head) - r->upstream->conn.out.bytes);
		attempt_failed(r, r->upstream->sent_any ? OUTCOME_WORKER_BROKE
							: OUTCOME_CONNECT_FAILED);
		return;
	}
	if (r->to_client.in.framing != HTTP_BODY_CLOSE || why != ERR_CLOSED) {
		bad_reply(r, HTTP_RULE_BODY_CUT);
		return;
	}
	/* RFC 9112 6.3 (8): the end of the connection is the end of the body. */
	stream_end_by_close(&r->to_client);
	r->worker_keep_alive = false;
	struct stream_piece end = { .ended = true };
	struct iovec iov[STREAM_IOV];
	char line[HTTP_CHUNK_LINE_MAX];
	int n = stream_frame(&r->to_client, &end, line, iov);
	if (n && conn_write(&r->client->conn, &r->proxy->blocks, iov, n, NULL) != ERR_OK)
		request_on_client_gone(r);
	else
		finish(r, OUTCOME_OK);
}

/* For the master, who finds a worker that hangs by it. */
static void count_timeout(struct proxy *p, const struct upstream *up)
{
	_Atomic uint32_t *n = &p->row->workers[up->slot].timeouts;
	if (up->epoch == p->workers[up->slot].epoch)
		atomic_store_explicit(n, atomic_load_explicit(n, memory_order_relaxed) + 1,
				      memory_order_relaxed);
}

void request_on_upstream_timeout(struct request *r)
{
	if (r->upstream->sent_any || r->state == REQ_REPLY)
		count_timeout(r->proxy, r->upstream);
	if (r->state == REQ_REPLY)
		cut_reply(r, OUTCOME_TRUNCATED);
	else
		attempt_failed(r, r->upstream->sent_any ? OUTCOME_REPLY_TIMEOUT
							: OUTCOME_CONNECT_TIMEOUT);
}

static bool take_retry_token(struct proxy *p)
{
	if (p->retry_tokens < 1.0) {
		tally_inc(p->row, COUNTER_retries_denied);
		return false;
	}
	p->retry_tokens -= 1.0;
	tally_inc(p->row, COUNTER_retries);
	return true;
}

/* The connection in use is lost before a reply: another try where that is safe. */
static void attempt_failed(struct request *r, enum outcome why)
{
	struct proxy *p = r->proxy;
	struct upstream *up = r->upstream;
	bool sent = up->sent_any, got = up->got_any;
	bool unanswered = why == OUTCOME_WORKER_BROKE || why == OUTCOME_CONNECT_FAILED ||
			  why == OUTCOME_CONNECT_TIMEOUT;
	if (up->reused)
		r->fresh_only = true; /* others in the pool may be as stale */
	else if (unanswered && !sent)
		note_refusal(r, up->slot, up->epoch);
	else if (unanswered)
		pick_note_tried(&r->tried,
				up->epoch); /* it may be the request: others are not warned off */
	r->failure = (uint8_t)why;
	upstream_release(up, false);
	tally_inc(p->row, COUNTER_upstream_failures);

	bool again = unanswered && !got;
	if (again && sent)
		again = (r->idempotent || r->unheard) && r->body_held &&
			r->resends < RESENDS_MAX && take_retry_token(p);
	r->unheard = false;
	if (!again) {
		answer_self(r, why, HTTP_RULE_NONE);
		return;
	}
	if (sent) {
		r->resends++;
		r->queued_us = 0; /* it was its turn; a second wait is a new one */
	}
	if (!stream_ended(&r->to_worker))
		client_read_off(r->client);
	deadline_stop(&r->client->deadline);
	turn_is(&r->owing, false);
	go(r, REQ_PICK);
	pick_worker(r);
}

/* What the worker says cannot be passed on: 502, or a cut where it is too late for that. */
static void bad_reply(struct request *r, enum http_rule rule)
{
	r->rule = (uint8_t)rule;
	complaint_reply(r, rule);
	if (r->state == REQ_REPLY)
		cut_reply(r, OUTCOME_TRUNCATED);
	else
		attempt_failed(r, OUTCOME_BAD_REPLY);
}

/* ---- what goes wrong: the client ---- */

void request_on_client_gone(struct request *r)
{
	struct client *c = r->client;
	tally_inc(r->proxy->row, COUNTER_client_aborts);
	finish(r, OUTCOME_CLIENT_GONE);
	client_abort(c, true); /* it may have stalled, not left: a reply that is cut must show */
}

/* Bytes were wanted and the client said it has no more. */
void request_on_client_eof(struct request *r)
{
	if (r->state == REQ_TUNNEL)
		tunnel_on_client_end(r);
	else
		request_on_client_gone(r); /* in the middle of its body */
}

void request_on_body_timeout(struct request *r)
{
	if (r->state == REQ_REPLY)
		cut_reply(r, OUTCOME_BODY_TIMEOUT);
	else
		answer_self(r, OUTCOME_BODY_TIMEOUT, HTTP_RULE_NONE);
}

/* ---- the three ways to end without the worker's whole reply ---- */

static void answer_self(struct request *r, enum outcome why, enum http_rule rule)
{
	struct client *c = r->client;
	enum err e;
	if (rule != HTTP_RULE_NONE) {
		r->rule = (uint8_t)rule;
		complaint_request(r->proxy, rule);
	}
	if (r->state == REQ_REPLY) { /* too late for another status */
		cut_reply(r, why);
		return;
	}
	r->close = !r->keep_alive || client_ends_next(c) || c->eof ||
		   !stream_ended(&r->to_worker) || why == OUTCOME_REFUSED;
	struct own_reply sent = reply_error(c, r, why, rule, r->close, &e);
	r->status = sent.status;
	r->bytes_out = sent.body_bytes;
	if (e != ERR_OK) {
		request_on_client_gone(r);
		return;
	}
	finish(r, why);
}

static void cut_reply(struct request *r, enum outcome why)
{
	struct client *c = r->client;
	tally_inc(r->proxy->row, COUNTER_replies_truncated);
	finish(r, why);
	client_abort(c, true);
}

void request_cut(struct request *r)
{
	struct client *c = r->client;
	finish(r, OUTCOME_CUT);
	client_abort(c, true);
}

void request_finish_tunnel(struct request *r)
{
	struct client *c = r->client;
	finish(r, OUTCOME_OK);
	client_abort(c, false);
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

/* The end of every request.  Where the client's connection ends with it, the
 * caller does that next. */
static void finish(struct request *r, enum outcome outcome)
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
	go(r, REQ_DONE);
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
	go(r, REQ_DONE);
	upstream_release(r->upstream, false);
	discard(r);
}
