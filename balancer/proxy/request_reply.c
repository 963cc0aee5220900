/* The reply's way back to the client.  Runs in the balancer.
 *
 *   request_on_reply_bytes      what the worker sent
 *   read_heads          SEND    the reply's head, interim ones first
 *   on_reply_head       REPLY   it is final: written anew
 *   relay                       the body, as fast as the client takes it
 *   request_on_client_took      the client has made room
 */
#include "balancer/proxy/request_life.h"

#include <string.h>

#include "balancer/proxy/tunnel.h"
#include "common/http_parse.h"

#define INTERIM_MAX 100 /* replies 1xx before the final one */
#define JOIN_BYTES 1024 /* smaller bodies are gathered by conn.c */

static void relay(struct request *r, struct iovec *head, char *p, size_t n);
static void on_reply_head(struct request *r, char *rest, size_t n_rest);

/* ---- the reply's head ---- */

/* An interim reply (RFC 9110 15.2): relayed to clients that know them, and not kept
 * for one that has not even taken the last one. */
static bool relay_interim(struct request *r)
{
	struct proxy *p = r->proxy;
	tally_inc(p->row, COUNTER_replies_1xx);
	if (r->minor == 0 || !chain_empty(&r->client->conn.out))
		return true;
	struct http_out o = { p->out, p->out + OUT_BYTES, false };
	rewrite_reply(r, &p->reply_head, &o);
	struct iovec iov = { p->out, (size_t)(o.p - p->out) };
	if (client_write(r->client, &iov, 1) != ERR_OK) {
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
				request_attempt_failed(r, OUTCOME_NO_RESOURCES);
			else
				up->seen = (uint32_t)n;
			return;
		case HTTP_REFUSED: request_bad_reply(r, rule); return;
		case HTTP_WHOLE: break;
		}
		p += x->reply_head.head_bytes;
		n -= x->reply_head.head_bytes;
		seen = 0;
		if (x->reply_head.status == 101) {
			if (!r->upgrade || !x->reply_head.upgrade) {
				request_bad_reply(r, HTTP_RULE_UPGRADE_UNASKED);
				return;
			}
			r->status = 101;
			request_enter(r, REQ_TUNNEL);
			upstream_answered(r->upstream, true);
			tunnel_start(r, p, n);
			return;
		}
		if (x->reply_head.status >= 200) {
			on_reply_head(r, p, n);
			return;
		}
		if (++r->interim > INTERIM_MAX) {
			request_bad_reply(r, HTTP_RULE_INTERIM_FLOOD);
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
		request_attempt_failed(r, OUTCOME_NO_RESOURCES);
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
		request_bad_reply(r, HTTP_RULE_HEAD_TOO_LARGE);
		return;
	}
	request_enter(r, REQ_REPLY);
	count_status(p, h->status);
	struct iovec head = { p->out, (size_t)(o.p - p->out) };
	relay(r, &head, rest, n_rest);
}

/* ---- REPLY ---- */

/* After a write to the client: stop the worker while the client is behind. */
static void pace_reply(struct request *r)
{
	if (!chain_empty(&r->client->conn.out)) {
		r->pausing_reply = true;
		upstream_read_off(r->upstream);
	}
	request_set_clocks(r);
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
		enum err e = piece.ended ? client_write_soon(r->client, iov, n_iov)
					 : client_write(r->client, iov, n_iov);
		if (e != ERR_OK) {
			request_on_client_gone(r);
			return;
		}
	}
	if (piece.rule != HTTP_RULE_NONE) {
		request_bad_reply(r, piece.rule);
		return;
	}
	if (piece.ended) {
		r->extra_bytes = piece.used < n;
		if (r->extra_bytes)
			complaint_reply(r, HTTP_RULE_EXTRA_BYTES);
		request_finish(r, OUTCOME_OK);
		return;
	}
	pace_reply(r);
}

static bool reader_too_slow(const struct request *r)
{
	uint64_t kept = chain_bytes(&r->client->conn.out);
	return r->state == REQ_REPLY &&
	       request_too_slow(r, &r->behind, r->proxy->config->timeout_idle_ms,
				r->bytes_out - MIN(r->bytes_out, kept));
}

void request_on_client_took(struct request *r)
{
	if (reader_too_slow(r))
		request_on_client_gone(r);
	else if (r->state == REQ_TUNNEL)
		tunnel_touch(r);
	else if (r->upstream)
		request_set_clocks(r);
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
		request_set_clocks(r);
	}
}
