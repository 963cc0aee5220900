/* Heads out: a bounded writer, and drover's own error replies. */
#ifndef DROVER_COMMON_HTTP_WRITE_H
#define DROVER_COMMON_HTTP_WRITE_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "common/http_head.h"

/* Writes into the caller's buffer; once something did not fit, `full` stays set
 * and nothing more is written. */
struct http_out {
	char *p; /* next byte */
	char *end;
	bool full;
};

static inline void http_out_bytes(struct http_out *o, const char *p, size_t n)
{
	if (UNLIKELY((size_t)(o->end - o->p) < n)) {
		o->full = true;
		o->end = o->p;
		return;
	}
	memcpy(o->p, p, n);
	o->p += n;
}

static inline void http_out_slice(struct http_out *o, struct slice s)
{
	if (s.n) /* an empty slice may have no pointer */
		http_out_bytes(o, s.p, s.n);
}

#define http_out_text(o, literal) http_out_bytes((o), (literal), sizeof(literal) - 1)

void http_out_u64(struct http_out *o, uint64_t v);

/* "name: value\r\n" */
void http_out_field(struct http_out *o, struct slice name, struct slice value);

/* "1f4\r\n": the line before a chunk of `n` bytes.  At most HTTP_CHUNK_LINE_MAX. */
#define HTTP_CHUNK_LINE_MAX 18
size_t http_chunk_line(char buf[static HTTP_CHUNK_LINE_MAX], uint64_t n);

/* Standard reason phrase of a status; "Unknown" when there is none. */
const char *http_reason(uint16_t status);

/* One of drover's own error replies, head and body, with Content-Length, Date,
 * X-Request-Id, Proxy-Status (RFC 9209) and a body as HTML, plain text or
 * application/problem+json (RFC 9457), whichever `accept` (the request's Accept
 * value, may be empty) prefers; plain text when it does not say. */
struct http_error_page {
	uint16_t status;
	const char *detail;      /* one sentence for the reader; or NULL */
	const char *proxy_error; /* RFC 9209 error type, "connection_refused"; or NULL */
	struct slice request_id; /* may be empty */
	struct slice accept;
	bool close;             /* says Connection: close, else keep-alive for 1.0 clients */
	bool no_body;           /* reply to HEAD: the fields, not the bytes */
	uint32_t retry_after_s; /* 0: no Retry-After */
};
void http_out_error_page(struct http_out *o, const struct http_error_page *page);

/* "Sun, 06 Nov 1994 08:49:37 GMT" of the current wall clock, cached per second; 29 bytes. */
struct slice http_date(void);

#endif
