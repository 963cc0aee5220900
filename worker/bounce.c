/* Test mode, the well-behaved half: bodies in, bodies out, interim replies, and
 * a tunnel.  All of it streams; nothing is kept but what is in the connection's
 * two blocks. */
#include <stdio.h>
#include <string.h>

#include "worker/connection.h"
#include "worker/pattern.h"
#include "worker/reply.h"
#include "worker/routes.h"

#define BYTES_MAX (1ull << 40)

static void echo_data(struct connection *c, struct slice data)
{
	reply_body(c, data.p, data.n);
}

/* The body comes back with the framing it came with. */
void echo_begin(struct connection *c, const struct ask *ask)
{
	struct reply reply = { .status = 200, .type = "application/octet-stream",
			       .framing = ask->head->framing, .length = ask->head->length };

	c->req.consume_replies = true;
	request_take_body(c, echo_data, reply_end);
	reply_begin(c, &reply);
}

/* CRC-32 as of zlib and PNG (reflected, polynomial 0xedb88320). */
static uint32_t crc32_of(uint32_t crc, struct slice data)
{
	static uint32_t table[256];

	for (uint32_t i = table[1] ? 256 : 0; i < 256; i++) {
		uint32_t v = i;

		for (int k = 0; k < 8; k++)
			v = v & 1 ? v >> 1 ^ 0xedb88320u : v >> 1;
		table[i] = v;
	}
	crc = ~crc;
	for (size_t i = 0; i < data.n; i++)
		crc = table[(crc ^ (uint8_t)data.p[i]) & 0xff] ^ crc >> 8;
	return ~crc;
}

static void sink_data(struct connection *c, struct slice data)
{
	c->req.sum = crc32_of(c->req.sum, data);
}

static void sink_done(struct connection *c)
{
	reply_text(c, 200, "%llu %08x\n", (unsigned long long)c->body.data_bytes, c->req.sum);
}

void sink_begin(struct connection *c, const struct ask *ask)
{
	(void)ask;
	request_take_body(c, sink_data, sink_done);
}

void huge_begin(struct connection *c, const struct ask *ask)
{
	uint64_t bytes, chunked;

	if (!ask_number(c, ask, "bytes", BYTES_MAX, 1u << 20, &bytes) ||
	    !ask_number(c, ask, "chunked", 1, 0, &chunked))
		return;
	struct reply reply = { .status = 200, .type = "application/octet-stream", .length = bytes,
			       .framing = chunked ? HTTP_BODY_CHUNKED :
					  bytes ? HTTP_BODY_LENGTH : HTTP_BODY_NONE };

	reply_begin(c, &reply);
	pattern_start(c, bytes);
}

/* An interim reply before the final one; HTTP/1.0 knows none (RFC 9110 15.2). */
static void interim(struct connection *c, struct slice bytes)
{
	if (c->req.minor > 0)
		reply_raw(c, bytes);
}

void continue_begin(struct connection *c, const struct ask *ask)
{
	(void)ask;
	c->req.expects_continue = false; /* it gets its 100 here, and so does who did not ask */
	interim(c, SLICE("HTTP/1.1 100 Continue\r\n\r\n"));
	request_take_body(c, sink_data, sink_done);
}

void early_begin(struct connection *c, const struct ask *ask)
{
	(void)ask;
	interim(c, SLICE("HTTP/1.1 103 Early Hints\r\n"
			 "Link: </style.css>; rel=preload; as=style\r\n\r\n"));
	reply_text(c, 200, "after early hints\n");
}

static bool asks_for_echo(const struct http_head *h)
{
	const struct http_field *f = http_head_find(h, HTTP_F_UPGRADE);
	struct slice rest = f ? f->value : (struct slice){ 0 }, item;

	while (h->upgrade && slice_next_item(&rest, &item))
		if (slice_ieq(item, SLICE("echo")))
			return true;
	return false;
}

void upgrade_begin(struct connection *c, const struct ask *ask)
{
	if (!asks_for_echo(ask->head) || !c->body.ended) {
		reply_whole(c, 426, "text/plain; charset=utf-8", SLICE("Upgrade: echo is needed\n"),
			    SLICE("Upgrade: echo\r\nConnection: upgrade\r\n"));
		return;
	}
	reply_raw(c, SLICE("HTTP/1.1 101 Switching Protocols\r\n"
			   "Connection: upgrade\r\nUpgrade: echo\r\n\r\n"));
	connection_tunnel(c);
}
