/* Test mode, the other half: replies that are slow, cut, reset, malformed or
 * missing.  What each route promises is in README.md; tests rely on it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "common/http_write.h"
#include "common/log.h"
#include "worker/connection.h"
#include "worker/pattern.h"
#include "worker/reply.h"
#include "worker/routes.h"

#define MS_MAX 3600000u
#define BYTES_MAX (1ull << 40)

static void slow_reply(struct connection *c)
{
	reply_text(c, 200, "slow\n");
}

void slow_begin(struct connection *c, const struct ask *ask)
{
	uint64_t ms;

	if (ask_number(c, ask, "ms", MS_MAX, 1000, &ms))
		connection_wake_after(c, (uint32_t)ms, slow_reply);
}

static void drip_byte(struct connection *c)
{
	struct request *r = &c->req;

	if (r->made < r->total) {
		reply_body(c, pattern_run(r->made, 1).p, 1);
		r->made++;
	}
	if (r->made == r->total)
		reply_end(c);
	else
		connection_wake_after(c, r->pause_ms, drip_byte);
}

void drip_begin(struct connection *c, const struct ask *ask)
{
	uint64_t bytes, ms;

	if (!ask_number(c, ask, "bytes", BLOCK_BYTES / 2, 10, &bytes) ||
	    !ask_number(c, ask, "ms", MS_MAX, 100, &ms))
		return;
	reply_begin(c, &(struct reply){ .status = 200, .type = "application/octet-stream",
					.framing = bytes ? HTTP_BODY_LENGTH : HTTP_BODY_NONE,
					.length = bytes });
	c->req.total = bytes;
	c->req.pause_ms = (uint32_t)ms;
	connection_wake_after(c, (uint32_t)ms, drip_byte);
}

/* Promises more than it sends: `after` bytes of pattern, then `end`. */
static void break_off(struct connection *c, uint64_t after, enum request_end end)
{
	reply_begin(c, &(struct reply){ .status = 200, .type = "application/octet-stream",
					.framing = HTTP_BODY_LENGTH, .length = after + 1000 });
	c->req.end = (uint8_t)end;
	pattern_start(c, after);
}

void cut_begin(struct connection *c, const struct ask *ask)
{
	uint64_t after;

	if (ask_number(c, ask, "after", BYTES_MAX, 100, &after))
		break_off(c, after, END_CUT);
}

/* No reply at all. */
static void end_silently(struct connection *c, enum request_end end)
{
	c->req.end = (uint8_t)end;
	c->req.ended = true;
}

void reset_begin(struct connection *c, const struct ask *ask)
{
	uint64_t after;

	if (slice_eq(ask_text(ask, "after"), SLICE("-1")))
		end_silently(c, END_RESET);
	else if (ask_number(c, ask, "after", BYTES_MAX, 100, &after))
		break_off(c, after, END_RESET);
}

void close_begin(struct connection *c, const struct ask *ask)
{
	uint64_t answer;

	if (!ask_number(c, ask, "answer", 1, 0, &answer))
		return;
	c->req.keep_alive = false;
	if (answer)
		reply_text(c, 200, "goodbye\n");
	else
		end_silently(c, END_CUT);
}

void crash_begin(struct connection *c, const struct ask *ask)
{
	struct rlimit none = { 0, 0 };

	(void)c;
	(void)ask;
	setrlimit(RLIMIT_CORE, &none); /* a wanted crash leaves no core file */
	abort();
}

void exit_begin(struct connection *c, const struct ask *ask)
{
	uint64_t code;

	if (ask_number(c, ask, "code", 255, 0, &code))
		_exit((int)code);
}

void hang_begin(struct connection *c, const struct ask *ask)
{
	(void)c;
	(void)ask;
}

void status_begin(struct connection *c, const struct ask *ask)
{
	uint64_t code;

	if (!ask_number(c, ask, "code", 599, 200, &code))
		return;
	if (code < 200)
		reply_text(c, 400, "code takes a final status, 200 to 599\n");
	else if (code == 205) /* RFC 9110 15.3.6: no content */
		reply_whole(c, 205, NULL, (struct slice){ 0 }, (struct slice){ 0 });
	else
		reply_text(c, (uint16_t)code, "status %u\n", (unsigned)code);
}

#define OK_HEAD "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"

/* Malformed replies.  After each the connection stays open, as if all were well:
 * to end it is up to the reader. */
static const struct {
	const char *kind, *bytes;
} bad_replies[] = {
	{ "two-content-lengths", OK_HEAD "Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello\n" },
	{ "cl-te", OK_HEAD "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"
				 "5\r\nhello\r\n0\r\n\r\n" },
	{ "garbage-status-line", "HTP/1.1 2OO Yes\r\nContent-Length: 5\r\n\r\nhello" },
	{ "bare-lf", "HTTP/1.1 200 OK\nContent-Length: 5\n\nhello" },
	{ "chunked-bad-size", OK_HEAD "Transfer-Encoding: chunked\r\n\r\n"
					    "5\r\nhello\r\nxyz\r\nworld\r\n0\r\n\r\n" },
	{ "extra-bytes-after-reply", OK_HEAD "Content-Length: 5\r\n\r\nhello"
						   "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil" },
	{ "header-injection", OK_HEAD "X-Name: a\rSet-Cookie: injected=1\r\n"
					    "Content-Length: 5\r\n\r\nhello" },
};

/* A head of 1 MiB that goes on for longer than anybody should read. */
static void produce_huge_head(struct connection *c)
{
	struct request *r = &c->req;
	char line[1024];

	memset(line, 'x', sizeof(line));
	while (r->made < r->total && BLOCK_BYTES - c->out_end >= sizeof(line)) {
		memcpy(line, "X-Fill: ", 8);
		memcpy(line + sizeof(line) - 2, "\r\n", 2);
		reply_raw(c, (struct slice){ line, sizeof(line) });
		r->made += sizeof(line);
	}
	if (r->made == r->total && BLOCK_BYTES - c->out_end >= sizeof(line)) {
		reply_raw(c, SLICE("Content-Length: 5\r\n\r\nhello"));
		r->ended = true;
	}
}

static void list_bad_kinds(struct connection *c)
{
	char text[512];
	struct http_out o = { .p = text, .end = text + sizeof(text) };

	http_out_text(&o, "kind is one of: huge-head");
	for (size_t i = 0; i < ARRAY_LEN(bad_replies); i++) {
		http_out_text(&o, ", ");
		http_out_slice(&o, slice_of(bad_replies[i].kind));
	}
	http_out_text(&o, "\n");
	reply_whole(c, 400, "text/plain; charset=utf-8",
		    (struct slice){ text, (size_t)(o.p - text) }, (struct slice){ 0 });
}

void bad_begin(struct connection *c, const struct ask *ask)
{
	struct slice kind = ask_text(ask, "kind");

	if (slice_eq(kind, SLICE("huge-head"))) {
		reply_raw(c, SLICE(OK_HEAD));
		c->req.replied = true;
		c->req.total = 1u << 20;
		c->req.produce = produce_huge_head;
		return;
	}
	for (size_t i = 0; i < ARRAY_LEN(bad_replies); i++) {
		if (!slice_eq(kind, slice_of(bad_replies[i].kind)))
			continue;
		reply_raw(c, slice_of(bad_replies[i].bytes));
		c->req.replied = true;
		c->req.ended = true;
		return;
	}
	list_bad_kinds(c);
}

/* A body that only the end of the connection ends, under a bare head. */
static void unframed(struct connection *c, const struct ask *ask, struct slice head)
{
	uint64_t bytes;

	if (!ask_number(c, ask, "bytes", BYTES_MAX, 1000, &bytes))
		return;
	reply_raw(c, head);
	c->req.replied = true;
	c->req.ended = c->req.method == HTTP_M_HEAD;
	c->req.reply_framing = HTTP_BODY_CLOSE;
	c->req.keep_alive = false;
	pattern_start(c, bytes);
}

void http10_begin(struct connection *c, const struct ask *ask)
{
	unframed(c, ask, SLICE("HTTP/1.0 200 OK\r\nContent-Type: application/octet-stream\r\n\r\n"));
}

void nolength_begin(struct connection *c, const struct ask *ask)
{
	unframed(c, ask, SLICE("HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\n\r\n"));
}

void expect417_begin(struct connection *c, const struct ask *ask)
{
	(void)ask;
	c->req.keep_alive = false;
	reply_text(c, 417, "no expectation is met here\n");
}

void early_reply_begin(struct connection *c, const struct ask *ask)
{
	uint64_t linger;

	if (!ask_number(c, ask, "linger", 1, 1, &linger))
		return;
	c->req.keep_alive = false;
	reply_text(c, 413, "too much, whatever it is\n");
	c->req.end = linger ? END_CLOSE : END_CUT;
}
