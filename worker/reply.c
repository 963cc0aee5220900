/* Replies: a head and a framed body, written into a connection's `out`.
 * Runs in drover-worker; called by routes, and by connection.c for what is no
 * request. */
#include "worker/reply.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>

#include "common/http_write.h"
#include "common/log.h"
#include "worker/connection.h"
#include "worker/server.h"

/* "10000\r\n" data "\r\n", and "0\r\n\r\n" after the last one. */
#define CHUNK_OVERHEAD (HTTP_CHUNK_LINE_MAX + 2 + 5)

/* A request body that nobody asked for is dropped up to this; past it, and when
 * its size is unknown, the connection ends instead. */
#define DROP_MAX (256u * 1024)

static struct http_out out_open(struct connection *c)
{
	return (struct http_out){ .p = c->out + c->out_end, .end = c->out + BLOCK_BYTES };
}

static void out_close(struct connection *c, const struct http_out *o)
{
	/* Rooms are checked before; a head is far below a block (server_limits). */
	assert(!o->full);
	c->out_end = (uint32_t)(o->p - c->out);
}

static bool may_go_on(const struct connection *c, enum http_framing framing)
{
	const struct request *r = &c->req;

	if (!r->keep_alive || server_draining(c->server) || framing == HTTP_BODY_CLOSE ||
	    c->server->settings->keep_alive_s == 0)
		return false;
	if (c->body.ended || r->consume)
		return true;
	/* RFC 9110 10.1.1: a client that still waits for 100 may or may not send the body now. */
	return !r->expects_continue && r->framing == HTTP_BODY_LENGTH && c->body.left <= DROP_MAX;
}

static void put_framing(struct http_out *o, const struct request *r, const struct reply *reply)
{
	if (reply->status == 204 || reply->status == 304)
		return;
	switch (r->reply_framing) {
	case HTTP_BODY_NONE:
	case HTTP_BODY_LENGTH:
		http_out_text(o, "Content-Length: ");
		http_out_u64(o, r->reply_framing == HTTP_BODY_LENGTH ? reply->length : 0);
		http_out_text(o, "\r\n");
		break;
	case HTTP_BODY_CHUNKED:
		http_out_text(o, "Transfer-Encoding: chunked\r\n");
		break;
	default: /* the end of the connection says it */
		break;
	}
}

static void put_connection(struct http_out *o, const struct request *r)
{
	if (!r->keep_alive)
		http_out_text(o, "Connection: close\r\n");
	else if (r->minor == 0)
		http_out_text(o, "Connection: keep-alive\r\n");
}

void reply_begin(struct connection *c, const struct reply *reply)
{
	struct request *r = &c->req;
	struct http_out o = out_open(c);
	bool bodiless = reply->status == 204 || reply->status == 304;

	r->reply_framing = (uint8_t)reply->framing;
	if (reply->framing == HTTP_BODY_CHUNKED && r->minor == 0)
		r->reply_framing = HTTP_BODY_CLOSE;
	r->no_body = bodiless || r->method == HTTP_M_HEAD;
	r->keep_alive = may_go_on(c, r->no_body ? HTTP_BODY_NONE : r->reply_framing);
	r->replied = true;
	r->ended = r->no_body || r->reply_framing == HTTP_BODY_NONE;

	http_out_text(&o, "HTTP/1.1 ");
	http_out_u64(&o, reply->status);
	http_out_text(&o, " ");
	http_out_slice(&o, slice_of(http_reason(reply->status)));
	http_out_text(&o, "\r\n");
	http_out_field(&o, SLICE("Date"), http_date());
	http_out_field(&o, SLICE("Server"), SLICE("drover-worker"));
	if (reply->type)
		http_out_field(&o, SLICE("Content-Type"), slice_of(reply->type));
	put_framing(&o, r, reply);
	put_connection(&o, r);
	http_out_slice(&o, reply->fields);
	http_out_text(&o, "\r\n");
	out_close(c, &o);
}

uint32_t reply_room(const struct connection *c)
{
	uint32_t left = BLOCK_BYTES - c->out_end;

	if (c->req.reply_framing != HTTP_BODY_CHUNKED)
		return left;
	return left > CHUNK_OVERHEAD ? left - CHUNK_OVERHEAD : 0;
}

void reply_body(struct connection *c, const char *p, size_t n)
{
	struct http_out o = out_open(c);
	char line[HTTP_CHUNK_LINE_MAX];

	/* A chunk of zero bytes would end the body. */
	if (c->req.no_body || n == 0)
		return;
	if (c->req.reply_framing == HTTP_BODY_CHUNKED) {
		size_t line_bytes = http_chunk_line(line, n);

		http_out_bytes(&o, line, line_bytes);
		http_out_bytes(&o, p, n);
		http_out_text(&o, "\r\n");
	} else {
		http_out_bytes(&o, p, n);
	}
	out_close(c, &o);
}

void reply_end(struct connection *c)
{
	if (c->req.ended)
		return;
	c->req.ended = true;
	if (c->req.reply_framing == HTTP_BODY_CHUNKED)
		reply_raw(c, SLICE("0\r\n\r\n"));
}

void reply_whole(struct connection *c, uint16_t status, const char *type, struct slice body,
		 struct slice fields)
{
	struct reply reply = { .status = status, .type = type, .fields = fields,
			       .framing = body.n ? HTTP_BODY_LENGTH : HTTP_BODY_NONE,
			       .length = body.n };

	reply_begin(c, &reply);
	reply_body(c, body.p, body.n);
	reply_end(c);
}

void reply_text(struct connection *c, uint16_t status, const char *fmt, ...)
{
	char text[256];
	va_list ap;

	va_start(ap, fmt);
	int n = vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (n < 0)
		n = 0;
	reply_whole(c, status, "text/plain; charset=utf-8",
		    (struct slice){ text, MIN((size_t)n, sizeof(text) - 1) }, (struct slice){ 0 });
}

void reply_error(struct connection *c, uint16_t status, const char *detail, struct slice fields)
{
	static const char html[] =
		"<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n"
		"<meta name=\"viewport\" content=\"width=device-width\">\n"
		"<meta name=\"color-scheme\" content=\"light dark\">\n<title>%u %s</title>\n"
		"<style>body{font:1.1rem/1.5 system-ui,sans-serif;max-width:34rem;margin:18vh auto;"
		"padding:0 1.5rem}h1{font-weight:600}p{opacity:.75}</style>\n"
		"<h1>%u %s</h1>\n<p>%s.</p>\n</html>\n";
	const char *reason = http_reason(status);
	char page[1024];
	int n;

	if (c->req.wants_html)
		n = snprintf(page, sizeof(page), html, status, reason, status, reason, detail);
	else
		n = snprintf(page, sizeof(page), "%u %s: %s\n", status, reason, detail);
	assert(n > 0 && (size_t)n < sizeof(page)); /* all parts are texts of ours */
	reply_whole(c, status,
		    c->req.wants_html ? "text/html; charset=utf-8" : "text/plain; charset=utf-8",
		    (struct slice){ page, (size_t)n }, fields);
}

void reply_raw(struct connection *c, struct slice bytes)
{
	struct http_out o = out_open(c);

	http_out_slice(&o, bytes);
	out_close(c, &o);
}

/* RFC 9110 12.4.2: "0.5" as 500.  What is no weight counts as 1, as if absent. */
static uint32_t weight(struct slice parameters)
{
	for (size_t i = 0; i + 2 < parameters.n; i++) {
		const char *p = parameters.p + i;

		if (*p != ';')
			continue;
		struct slice rest = slice_trim((struct slice){ p + 1, parameters.n - i - 1 });

		if (!slice_istarts(rest, SLICE("q=")) || rest.n < 3)
			continue;
		if (rest.p[2] != '0')
			return 1000;
		uint32_t q = 0, unit = 100;

		for (size_t k = 4; k < rest.n && rest.p[3] == '.' && unit > 0; k++, unit /= 10) {
			if (rest.p[k] < '0' || rest.p[k] > '9')
				break;
			q += (uint32_t)(rest.p[k] - '0') * unit;
		}
		return q;
	}
	return 1000;
}

uint32_t accept_quality(struct slice accept, struct slice type)
{
	struct slice item;
	uint32_t best = 0, quality = accept.n ? 0 : 1000;
	const char *slash = memchr(type.p, '/', type.n);
	size_t major = slash ? (size_t)(slash - type.p) + 1 : type.n;

	while (slice_next_item(&accept, &item)) {
		const char *semicolon = memchr(item.p, ';', item.n);
		struct slice range = item, rest = { 0 };
		uint32_t fit = 0;

		if (semicolon) {
			range = slice_trim((struct slice){ item.p, (size_t)(semicolon - item.p) });
			rest = (struct slice){ semicolon, item.n - (size_t)(semicolon - item.p) };
		}
		if (slice_ieq(range, type))
			fit = 3;
		else if (range.n == major + 1 && range.p[major] == '*' &&
			 slice_istarts(range, (struct slice){ type.p, major }))
			fit = 2;
		else if (slice_eq(range, SLICE("*/*")))
			fit = 1;
		if (fit > best) {
			best = fit;
			quality = weight(rest);
		}
	}
	return quality;
}
