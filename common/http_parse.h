/* Heads in: http-parser behind one strict face.  The only file that includes
 * http_parser.h is http_parse.c, so that a successor is a one-file change. */
#ifndef DROVER_COMMON_HTTP_PARSE_H
#define DROVER_COMMON_HTTP_PARSE_H

#include "common/http_guard.h"
#include "common/http_head.h"

enum http_verdict {
	HTTP_WHOLE = 0, /* *head is filled; head->head_bytes were used */
	HTTP_PARTIAL,   /* legal so far; call again with more bytes behind the same ones */
	HTTP_REFUSED,   /* *ret_rule says why */
};

/* Parses a request head at the start of `p`.  `seen` is how many of the bytes
 * earlier calls already looked at for the end of the head (0 on the first), so
 * that a head trickling in costs linear time.  Empty lines before the request
 * line (at most one CRLF; RFC 9112 2.2) count into head_bytes.
 * Limits are enforced on partial heads too. Never allocates. */
enum http_verdict http_parse_request(struct http_head *head, const char *p, size_t n, size_t seen,
				     const struct http_limits *lim, enum http_rule *ret_rule);

/* The same for a reply to a request of `request_method` (enum http_method). */
enum http_verdict http_parse_reply(struct http_head *head, const char *p, size_t n, size_t seen,
				   const struct http_limits *lim, uint8_t request_method,
				   enum http_rule *ret_rule);

#endif
