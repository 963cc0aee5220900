/* What goes wrong in a request's life.  Runs in the balancer.
 *
 *   request_attempt_failed()   the ONE place that sends a request again
 *   request_answer_self()      the one that makes a reply of our own
 *   request_cut_reply()        the one that ends a reply in its middle
 *
 * What makes a second send safe: no byte of the reply has come, and either nothing
 * was sent, or `head` still holds all that was read of the request and the method is
 * idempotent (RFC 9110 9.2.2) or the worker cannot have read it: it had closed the
 * connection before any of it came (fd_tcp_unheard()).
 */
#include "balancer/proxy/request_life.h"

#include "balancer/proxy/complaint.h"
#include "balancer/proxy/tunnel.h"
#include "common/clock.h"
#include "common/fd.h"

/* Second sends: a burst may follow a crash under load; a storm may not. */
#define RESENDS_MAX 2

/* ---- what goes wrong: the worker ---- */

void request_on_upstream_end(struct request *r, enum err why)
{
	if (r->state == REQ_TUNNEL) {
		tunnel_on_worker_end(r, why);
		return;
	}
	if (r->state != REQ_REPLY) {
		r->unheard =
			why == ERR_CLOSED && r->body_held && !r->upstream->got_any &&
			fd_tcp_unheard(r->upstream->conn.fd,
				       block_used(r->head) - chain_bytes(&r->upstream->conn.out));
		request_attempt_failed(r, r->upstream->sent_any ? OUTCOME_WORKER_BROKE
								: OUTCOME_CONNECT_FAILED);
		return;
	}
	if (r->to_client.in.framing != HTTP_BODY_CLOSE || why != ERR_CLOSED) {
		request_bad_reply(r, HTTP_RULE_BODY_CUT);
		return;
	}
	/* RFC 9112 6.3 (8): the end of the connection is the end of the body. */
	stream_end_by_close(&r->to_client);
	r->worker_keep_alive = false;
	struct stream_piece end = { .ended = true };
	struct iovec iov[STREAM_IOV];
	char line[HTTP_CHUNK_LINE_MAX];
	int n = stream_frame(&r->to_client, &end, line, iov);
	if (n && client_write(r->client, iov, n) != ERR_OK)
		request_on_client_gone(r);
	else
		request_finish(r, OUTCOME_OK);
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
		request_cut_reply(r, OUTCOME_TRUNCATED);
	else
		request_attempt_failed(r, r->upstream->sent_any ? OUTCOME_REPLY_TIMEOUT
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

void request_attempt_failed(struct request *r, enum outcome why)
{
	struct proxy *p = r->proxy;
	struct upstream *up = r->upstream;
	bool sent = up->sent_any, got = up->got_any;
	bool unanswered = why == OUTCOME_WORKER_BROKE || why == OUTCOME_CONNECT_FAILED ||
			  why == OUTCOME_CONNECT_TIMEOUT;
	if (up->reused) {
		r->fresh_only = true; /* others in the pool may be as stale */
		/* Or it is dying, and takes connections to its last: first the others. */
		if (unanswered && sent && r->app->n_up > 1)
			pick_note_tried(&r->tried, up->epoch);
	} else if (unanswered && !sent)
		request_note_refusal(r, up->slot, up->epoch);
	else if (unanswered)
		pick_note_tried(&r->tried,
				up->epoch); /* it may be the request: others are not warned off */
	r->failure = (uint8_t)why;
	upstream_release(up, false);
	tally_inc(p->row, COUNTER_upstream_failures);

	bool again = unanswered && !got;
	if (again && sent)
		again = (r->idempotent || r->unheard) && r->body_held && r->resends < RESENDS_MAX &&
			take_retry_token(p);
	r->unheard = false;
	if (!again) {
		request_answer_self(r, why, HTTP_RULE_NONE);
		return;
	}
	if (sent) {
		r->resends++;
		r->queued_us = 0; /* it was its turn; a second wait is a new one */
	}
	if (!stream_ended(&r->to_worker))
		client_read_off(r->client);
	deadline_stop(&r->client->deadline);
	request_turn_is(&r->owing, false);
	request_enter(r, REQ_PICK);
	request_pick(r);
}

void request_bad_reply(struct request *r, enum http_rule rule)
{
	r->rule = (uint8_t)rule;
	complaint_reply(r, rule);
	if (r->state == REQ_REPLY)
		request_cut_reply(r, OUTCOME_TRUNCATED);
	else
		request_attempt_failed(r, OUTCOME_BAD_REPLY);
}

/* ---- what goes wrong: the client ---- */

void request_on_client_gone(struct request *r)
{
	struct client *c = r->client;
	tally_inc(r->proxy->row, COUNTER_client_aborts);
	request_finish(r, OUTCOME_CLIENT_GONE);
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
		request_cut_reply(r, OUTCOME_BODY_TIMEOUT);
	else
		request_answer_self(r, OUTCOME_BODY_TIMEOUT, HTTP_RULE_NONE);
}

/* ---- the three ways to end without the worker's whole reply ---- */

void request_answer_self(struct request *r, enum outcome why, enum http_rule rule)
{
	struct client *c = r->client;
	enum err e;
	if (rule != HTTP_RULE_NONE) {
		r->rule = (uint8_t)rule;
		complaint_request(r->proxy, rule);
	}
	if (r->state == REQ_REPLY) { /* too late for another status */
		request_cut_reply(r, why);
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
	request_finish(r, why);
}

void request_cut_reply(struct request *r, enum outcome why)
{
	struct client *c = r->client;
	tally_inc(r->proxy->row, COUNTER_replies_truncated);
	request_finish(r, why);
	client_abort(c, true);
}

void request_cut(struct request *r)
{
	struct client *c = r->client;
	request_finish(r, OUTCOME_CUT);
	client_abort(c, true);
}

void request_finish_tunnel(struct request *r)
{
	struct client *c = r->client;
	request_finish(r, OUTCOME_OK);
	client_abort(c, false);
}

void request_close_tunnel(struct request *r)
{
	struct client *c = r->client;
	request_finish(r, OUTCOME_OK);
	client_request_done(c, true, true);
}
