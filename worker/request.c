/* One request, in the order of this file:
 *
 *   request_take_head   bytes become a request; its route begins
 *   take_body           payload to the route
 *   make_more           the route writes more of its reply
 *   (connection_flush   `out`, then the file, to the socket)
 *   end_request         the next request, or one of the ends
 *   request_step        one round of the last four
 *
 * Runs in drover-worker; connection.c calls the steps and does the input and
 * output.  A step may end in a dead connection, never in a freed one.
 */
#include "worker/request.h"

#include <string.h>

#include "common/fd.h"
#include "common/http_parse.h"
#include "worker/connection.h"
#include "worker/reply.h"
#include "worker/routes.h"
#include "worker/server.h"

void request_reset(struct request *r)
{
	*r = (struct request){ .file = -1 };
}

void request_refuse(struct connection *c, uint16_t status, const char *detail)
{
	request_reset(&c->req);
	c->req.minor = 1;
	c->in_at = c->in_end;
	http_body_init(&c->body, HTTP_BODY_NONE, 0, 0);
	if (!connection_has_out(c))
		return;
	connection_go(c, CONN_BUSY);
	reply_error(c, status, detail, (struct slice){ 0 });
	c->req.end = END_CLOSE;
	/* What is wrong with these bytes may be more of them on the way. */
	c->body.ended = false;
}

static void begin_request(struct connection *c, const struct http_head *h)
{
	const char *raw = c->in + c->in_at;
	const char *mark = h->path.n ? memchr(h->path.p, '?', h->path.n) : NULL;
	const struct http_field *accept = http_head_find(h, HTTP_F_ACCEPT);
	struct ask ask = { .head = h, .path = h->path, .raw = { raw, h->head_bytes } };

	if (mark) {
		ask.path.n = (size_t)(mark - h->path.p);
		ask.query = (struct slice){ mark + 1, h->path.n - ask.path.n - 1 };
	}
	request_reset(&c->req);
	c->req.method = h->method_id;
	c->req.minor = h->minor;
	c->req.framing = h->framing;
	c->req.keep_alive = h->keep_alive;
	c->req.expects_continue = h->expect_continue;
	c->req.wants_html = accept && accept_quality(accept->value, SLICE("text/html")) >
		accept_quality(accept->value, SLICE("text/plain"));
	http_body_init(&c->body, h->framing, h->length, 0);
	c->in_at += h->head_bytes;
	c->in_seen = 0;
	c->n_requests++;
	c->server->n_requests++;
	connection_go(c, CONN_BUSY);
	routes_begin(c, &ask);
}

bool request_take_head(struct connection *c)
{
	uint32_t n = c->in_end - c->in_at;
	enum http_rule rule = HTTP_RULE_NONE;
	struct http_head *h = &c->server->head;

	if (n == 0) {
		if (c->eof)
			connection_close(c);
		return false;
	}
	if (c->state == CONN_IDLE)
		connection_go(c, CONN_HEAD);
	switch (http_parse_request(h, c->in + c->in_at, n, c->in_seen, &server_limits, &rule)) {
	case HTTP_PARTIAL:
		c->in_seen = n;
		if (c->eof)
			connection_close(c);
		return false;
	case HTTP_REFUSED:
		request_refuse(c, http_rule_table[rule].status, http_rule_table[rule].text);
		return true;
	case HTTP_WHOLE:
		break;
	}
	if (!connection_has_out(c))
		return false;
	begin_request(c, h);
	return true;
}

void request_take_body(struct connection *c, connection_data_f *consume, connection_f *body_done)
{
	c->req.consume = consume;
	c->req.body_done = body_done;
	/* RFC 9110 10.1.1: not needed once some of the body is here. */
	if (c->req.expects_continue && c->in_at == c->in_end)
		reply_raw(c, SLICE("HTTP/1.1 100 Continue\r\n\r\n"));
	c->req.expects_continue = false;
}

/* The body is broken, or ends before its end: no later byte can be trusted. */
static void body_failed(struct connection *c, enum http_rule rule)
{
	if (c->req.replied || c->eof)
		connection_close(c);
	else
		request_refuse(c, http_rule_table[rule].status, http_rule_table[rule].text);
}

static bool take_body(struct connection *c)
{
	bool moved = false;

	while (c->state == CONN_BUSY && !c->body.ended && c->req.end == END_NEXT) {
		uint32_t n = c->in_end - c->in_at;
		size_t used = 0;
		struct slice data = { 0 };
		enum http_rule rule = HTTP_RULE_NONE;

		if (c->req.consume_replies && !c->req.no_body)
			n = MIN(n, reply_room(c));
		enum http_body_step step =
			http_body_read(&c->body, c->in + c->in_at, n, &used, &data, &rule);
		c->in_at += (uint32_t)used;
		moved = moved || used > 0;
		if (step == HTTP_BODY_BAD) {
			body_failed(c, rule);
			return true;
		}
		if (step == HTTP_BODY_DATA && c->req.consume)
			c->req.consume(c, data);
		if (step == HTTP_BODY_MORE)
			break;
	}
	if (c->state == CONN_BUSY && c->body.ended && c->req.body_done) {
		connection_f *done = c->req.body_done;

		c->req.body_done = NULL;
		done(c);
		moved = true;
	}
	return moved;
}

static bool make_more(struct connection *c)
{
	struct request *r = &c->req;

	if (c->state != CONN_BUSY || !r->produce || r->ended || c->out_end > BLOCK_BYTES / 2)
		return false;
	r->produce(c);
	return true;
}

/* The reply is out.  True when another request may follow at once. */
static bool end_request(struct connection *c)
{
	struct request *r = &c->req;
	bool whole = c->body.ended;

	fd_close(&r->file);
	if (r->end == END_RESET) {
		if (!r->wake)
			connection_reset(c);
		return false;
	}
	if (r->end == END_CUT) {
		connection_close(c);
		return false;
	}
	if (r->end == END_CLOSE || !r->keep_alive) {
		if (whole && c->in_at == c->in_end)
			connection_close(c);
		else
			connection_linger(c);
		return false;
	}
	if (!whole) { /* take_body() drops the rest; it is not much, see reply_begin() */
		if (c->eof)
			connection_close(c);
		return false;
	}
	request_reset(r);
	connection_go(c, c->in_at < c->in_end ? CONN_HEAD : CONN_IDLE);
	return true;
}

static bool reply_is_out(const struct connection *c)
{
	return c->req.ended && c->out_at == c->out_end && c->req.file_left == 0;
}

bool request_step(struct connection *c)
{
	bool moved = take_body(c);

	moved = make_more(c) || moved;
	moved = connection_flush(c) || moved;
	if (c->state != CONN_BUSY)
		return c->state != CONN_DEAD && moved;
	if (reply_is_out(c))
		return end_request(c) || moved;
	if (c->eof && !moved) {
		/* Half a body will never be whole; and with no reply, no producer and
		 * no timer nothing would ever happen again. */
		bool waits = c->req.produce || c->req.wake || c->out_at < c->out_end ||
			     c->req.file_left > 0;
		if (!c->body.ended || !waits)
			connection_close(c);
	}
	return moved;
}

bool request_waits_for_client(const struct connection *c)
{
	bool wants_body = c->req.consume || c->req.replied;

	return c->blocked || (wants_body && !c->body.ended && c->in_at == c->in_end);
}
