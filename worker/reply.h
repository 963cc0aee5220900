/* Replies: a head and a framed body, written into a connection's `out`. */
#ifndef DROVER_WORKER_REPLY_H
#define DROVER_WORKER_REPLY_H

#include <stdint.h>

#include "common/http_head.h"
#include "common/slice.h"

struct connection;

struct reply {
	uint16_t status;
	const char *type;            /* Content-Type, or NULL */
	enum http_framing framing;   /* of the body: NONE (Content-Length: 0), LENGTH, CHUNKED, CLOSE */
	uint64_t length;             /* for LENGTH */
	struct slice fields;         /* more field lines, each with its CRLF; may be empty */
};

/* Writes the head of the final reply.  Adds Date, Server, framing and
 * Connection; decides whether the connection may serve another request.
 * CHUNKED becomes CLOSE for HTTP/1.0 clients (RFC 9112 6.1).  For HEAD, 204 and
 * 304 the reply ends here, and later body bytes are dropped. */
void reply_begin(struct connection *c, const struct reply *r);

/* How many body bytes fit into `out` right now, framing included in the sum. */
uint32_t reply_room(const struct connection *c);

/* Appends a run of the body; `n` <= reply_room(). */
void reply_body(struct connection *c, const char *p, size_t n);

/* The body has ended.  Harmless when the reply has none. */
void reply_end(struct connection *c);

/* A whole reply in one call; `body` must fit a block beside the head. */
void reply_whole(struct connection *c, uint16_t status, const char *type, struct slice body,
		 struct slice fields);

/* The same with a text/plain body made by printf, at most 255 bytes. */
void reply_text(struct connection *c, uint16_t status, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* An error page, HTML or text as the client prefers.  `detail` is one sentence
 * for the reader; `fields` as in struct reply. */
void reply_error(struct connection *c, uint16_t status, const char *detail, struct slice fields);

/* Bytes as they are, outside all rules: interim replies, and the malformed ones
 * of test mode.  Must fit. */
void reply_raw(struct connection *c, struct slice bytes);

/* How much `accept` (an Accept value, may be empty: anything goes) wants a media
 * type, 0 to 1000.  RFC 9110 12.5.1: the most specific range decides. */
uint32_t accept_quality(struct slice accept, struct slice type);

#endif
