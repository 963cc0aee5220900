/* The framing policy: one table of rules (http_rules.def), applied above the
 * parser.  Debian's http-parser is built non-strict, so nothing it accepts is
 * believed on its word: the guard reads every byte of a head before the parser
 * does, and every field after. */
#ifndef DROVER_COMMON_HTTP_GUARD_H
#define DROVER_COMMON_HTTP_GUARD_H

#include <stdint.h>

#include "common/http_head.h"

enum http_rule {
	HTTP_RULE_NONE = 0,
#define RULE(name, status, text, source) HTTP_RULE_##name,
#include "common/http_rules.def"
#undef RULE
	HTTP_RULE_MAX
};

struct http_rule_info {
	const char *name; /* "LENGTH_AND_TE" */
	uint16_t status;
	const char *text, *source;
};
extern const struct http_rule_info http_rule_table[HTTP_RULE_MAX];

struct http_limits {
	uint32_t head_bytes; /* whole head, empty line included */
	uint32_t uri_bytes;
	uint32_t fields;     /* <= HTTP_FIELDS_MAX */
	uint64_t body_bytes; /* 0 = none */
};

/* What a byte may be part of; one table for heads, chunk extensions and trailers. */
enum http_byte_class {
	HTTP_B_NAME = 1,   /* tchar: method or field name (RFC 9110 5.6.2) */
	HTTP_B_TARGET = 2, /* visible ASCII without '#' */
	HTTP_B_VALUE = 4,  /* HTAB, SP, visible ASCII, obs-text (RFC 9110 5.5) */
	HTTP_B_UNDERSCORE = 8,
	HTTP_B_REG_NAME = 16, /* unreserved, sub-delims (RFC 3986 3.2.2) */
};
extern const uint8_t http_byte_class[256];

#define HTTP_METHOD_BYTES_MAX 32 /* the longest registered one has 17 */

/* Splits the head that begins at `p`: character and line rules for every byte, and
 * in *h the start line's parts and the fields (name, trimmed value, id, in order,
 * at most `fields_max`).  The bytes p[0..n) must end in LF; more than one message
 * may stand there.  *ret_end is the head's length, its empty line included, or 0
 * when the empty line has not come.  HTTP_RULE_NONE when all that was read is legal. */
enum http_rule http_guard_split(struct http_head *h, const char *p, size_t n, bool is_request,
				uint32_t fields_max, size_t *ret_end);

/* For a head that is still coming: p[0..n) is its beginning, start line
 * first, without a CRLFCRLF and with every LF behind a CR.  What can be refused
 * already is, so that garbage does not wait for a timeout.  Of the bytes below
 * `seen` only the start line is looked at again. */
enum http_rule http_guard_partial(const char *p, size_t n, size_t seen, bool is_request,
				  uint32_t uri_bytes);

/* An authority: reg-name, IPv4 or [IPv6], with an optional port, no userinfo
 * (RFC 3986 3.2.2; an empty host is refused, RFC 9110 4.2.1). */
bool http_authority_valid(struct slice s);

/* Reads h->target by h->method_id into h->path; *ret_authority is that of an
 * absolute-form target, else empty.  HTTP_RULE_TARGET when malformed. */
enum http_rule http_guard_target(struct http_head *h, struct slice *ret_authority);

/* Parsed fields of a request or reply: Host, Content-Length, Transfer-Encoding,
 * Connection, Expect.  Fills host, path, framing, length, keep_alive, upgrade,
 * expect_continue and each field's drop. */
enum http_rule http_guard_request(struct http_head *h, const struct http_limits *lim);
enum http_rule http_guard_reply(struct http_head *h, uint8_t request_method);

#endif
