/* A message body coming in: takes the framing off, piece by piece, without
 * keeping any of it.  Our own chunk reader, because Debian's http-parser does
 * not check the CRLF after chunk data and bounds neither extensions nor framing
 * overhead. */
#ifndef DROVER_COMMON_HTTP_BODY_H
#define DROVER_COMMON_HTTP_BODY_H

#include <stdint.h>

#include "common/http_guard.h"

struct http_body {
	uint8_t framing; /* enum http_framing */
	uint8_t state;   /* private */
	uint8_t digits;  /* private */
	bool ended;
	bool give_trailers;   /* set by the caller after init: HTTP_BODY_TRAILERS is wanted */
	uint32_t line_bytes;  /* private: of the extension or trailer being read */
	uint64_t left;        /* LENGTH: bytes to come; CHUNKED: of this chunk */
	uint64_t data_bytes;  /* payload so far */
	uint64_t frame_bytes; /* chunk framing so far */
	uint64_t limit;       /* most payload bytes; 0 = none */
};

/* `length` is for HTTP_BODY_LENGTH.  HTTP_BODY_NONE has ended at once. */
void http_body_init(struct http_body *b, enum http_framing framing, uint64_t length, uint64_t limit);

enum http_body_step {
	HTTP_BODY_MORE = 0, /* all `n` bytes used; the body goes on */
	HTTP_BODY_DATA,     /* *ret_data is the next run of payload, inside p[0..n) */
	HTTP_BODY_TRAILERS, /* *ret_data is the next run of the trailer section, likewise; once the
			     * body has ended, all of them are whole lines "name:value\r\n" */
	HTTP_BODY_END,      /* the body has ended; the rest of p is not part of it */
	HTTP_BODY_BAD,      /* *ret_rule says why */
};

/* Looks at p[0..n) and stops after the first run of payload: call in a loop,
 * advancing by *ret_used, until MORE, END or BAD.  After END every call gives
 * END with *ret_used 0.  A trailer section is read and bounded; dropped, unless
 * give_trailers is set.
 * For HTTP_BODY_CLOSE the end comes with the connection: never END. */
enum http_body_step http_body_read(struct http_body *b, const char *p, size_t n, size_t *ret_used,
				   struct slice *ret_data, enum http_rule *ret_rule);

#endif
