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
	const char *name;   /* "LENGTH_AND_TE" */
	uint16_t status;
	const char *text, *source;
};
extern const struct http_rule_info http_rule_table[HTTP_RULE_MAX];

struct http_limits {
	uint32_t head_bytes;  /* whole head, empty line included */
	uint32_t uri_bytes;
	uint32_t fields;      /* <= HTTP_FIELDS_MAX */
	uint64_t body_bytes;  /* 0 = none */
};

/* Bytes of a whole head, start line to empty line, exactly `n` of them (ends in
 * CRLFCRLF): character and line rules.  HTTP_RULE_NONE when legal. */
enum http_rule http_guard_bytes(const char *p, size_t n, bool is_request);

/* Parsed fields of a request or reply: Host, Content-Length, Transfer-Encoding,
 * Connection, Expect.  Fills host, path, framing, length, keep_alive, upgrade,
 * expect_continue and each field's drop. */
enum http_rule http_guard_request(struct http_head *h, const struct http_limits *lim);
enum http_rule http_guard_reply(struct http_head *h, uint8_t request_method);

#endif
