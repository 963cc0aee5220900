/* Heads in: http-parser between the two halves of the guard.  Runs in balancers
 * (requests from clients, replies from workers) and in the worker (requests).
 *
 *   find_head          the block up to CRLFCRLF; limits; what a partial head shows
 *   http_guard_bytes   every byte and line of it
 *   http_parser        splits exactly that block; callbacks fill the head
 *   http_guard_*       what the fields mean
 *   agree              parser and guard read the same message, or it is refused
 *
 * The guard knows the lines of the block, so the callbacks can check that the
 * parser's fields are those lines, one after the other, none skipped: `cursor`.
 *
 * http-parser knows a fixed set of methods.  It is shown "POST" in place of any
 * method that is not one of enum http_method (QUERY, PROPFIND, FOO): it reads in
 * pieces, so that costs no copy, and POST is a method without rules of its own. */
/* Both sides have an enum of this name; theirs is not used by name. */
#define http_method http_parser_method
#include <http_parser.h>
#undef http_method

#include "common/http_parse.h"

struct parse {
	struct http_head *head;
	const char *begin;  /* start line */
	const char *cursor; /* where the next field line has to begin */
	uint32_t fields_max;
	enum http_rule rule;
};

static int refuse(struct parse *c, enum http_rule rule)
{
	c->rule = rule;
	return -1;
}

static int on_url(http_parser *parser, const char *at, size_t n)
{
	struct parse *c = parser->data;
	struct http_head *h = c->head;

	/* " HTTP/1.x\r\n" follows, the guard has seen it there. */
	if (at != c->begin + h->method.n + 1 || at[n] != ' ')
		return refuse(c, HTTP_RULE_PARSER);
	h->target = (struct slice){ at, n };
	h->minor = (uint8_t)(at[n + 8] - '0');
	c->cursor = at + n + 11;
	return 0;
}

static int on_status(http_parser *parser, const char *at, size_t n)
{
	struct parse *c = parser->data;

	if (at[n] != '\r')
		return refuse(c, HTTP_RULE_PARSER);
	c->head->reason = (struct slice){ at, n };
	c->cursor = at + n + 2;
	return 0;
}

static int on_field(http_parser *parser, const char *at, size_t n)
{
	struct parse *c = parser->data;
	struct http_head *h = c->head;

	if (at != c->cursor || at[n] != ':')
		return refuse(c, HTTP_RULE_PARSER);
	if (h->n_fields >= c->fields_max)
		return refuse(c, HTTP_RULE_TOO_MANY_FIELDS);
	struct http_field *f = &h->fields[h->n_fields];
	f->name = (struct slice){ at, n };
	f->id = (uint8_t)http_field_find(f->name);
	c->cursor = NULL; /* its value has to come first */
	return 0;
}

static int on_value(http_parser *parser, const char *at, size_t n)
{
	struct parse *c = parser->data;
	struct http_head *h = c->head;

	if (c->cursor)
		return refuse(c, HTTP_RULE_PARSER);
	if (n == 0) {
		/* Reported at the beginning of the next line. */
		if (at[-1] != '\n')
			return refuse(c, HTTP_RULE_PARSER);
		c->cursor = at;
	} else {
		if (at[n] != '\r')
			return refuse(c, HTTP_RULE_PARSER);
		c->cursor = at + n + 2;
		while (n && (at[n - 1] == ' ' || at[n - 1] == '\t'))
			n--;
	}
	h->fields[h->n_fields++].value = (struct slice){ at, n };
	return 0;
}

/* 1: no body here; http_body.c reads bodies. */
static int on_head_end(http_parser *parser)
{
	(void)parser;
	return 1;
}

static const http_parser_settings settings = {
	.on_url = on_url,
	.on_status = on_status,
	.on_header_field = on_field,
	.on_header_value = on_value,
	.on_headers_complete = on_head_end,
};

/* Which rule stands behind an error of the parser. */
static enum http_rule parser_rule(const http_parser *parser, const struct parse *c)
{
	if (c->rule != HTTP_RULE_NONE)
		return c->rule;
	switch (HTTP_PARSER_ERRNO(parser)) {
	case HPE_INVALID_CONTENT_LENGTH: return HTTP_RULE_LENGTH_INVALID;
	case HPE_UNEXPECTED_CONTENT_LENGTH:
		if (!http_head_find(c->head, HTTP_F_CONTENT_LENGTH))
			return HTTP_RULE_PARSER;
		if (c->cursor == NULL) /* in the middle of a field: the second length */
			return HTTP_RULE_LENGTH_REPEATED;
		/* It takes any name that begins with "Transfer-Encoding" for that field. */
		return http_head_find(c->head, HTTP_F_TRANSFER_ENCODING) ? HTTP_RULE_LENGTH_AND_TE
									 : HTTP_RULE_PARSER;
	case HPE_INVALID_URL: return HTTP_RULE_TARGET;
	default: return HTTP_RULE_PARSER;
	}
}

/* Splits the guarded block p[0..n) into c->head. */
static enum http_rule split(http_parser *parser, struct parse *c, const char *p, size_t n)
{
	struct http_head *h = c->head;
	size_t skip = 0;

	h->n_fields = 0;
	parser->data = c;
	/* Our own limit has been kept; the library's, 80 KiB, is not to be a second one. */
	if (UNLIKELY(n >= HTTP_MAX_HEADER_SIZE))
		http_parser_set_max_header_size(UINT32_MAX);
	if (parser->type == HTTP_REQUEST && h->method_id == HTTP_M_OTHER) {
		skip = h->method.n;
		(void)http_parser_execute(parser, &settings, "POST", 4);
	}
	size_t used = http_parser_execute(parser, &settings, p + skip, n - skip);
	if (HTTP_PARSER_ERRNO(parser) != HPE_OK)
		return parser_rule(parser, c);
	/* The empty line, and nothing but it, is what no callback saw. */
	if (used != n - skip || c->cursor != p + n - 2 || parser->http_major != 1)
		return HTTP_RULE_PARSER;
	return HTTP_RULE_NONE;
}

/* RFC 9112 6.3, twice: by the guard (in the head) and by the parser. */
static bool agree(const http_parser *parser, const struct http_head *h)
{
	bool chunked = parser->flags & F_CHUNKED;

	if (parser->http_minor != h->minor)
		return false;
	if (h->framing == HTTP_BODY_CHUNKED ? !chunked : (chunked && h->framing != HTTP_BODY_NONE))
		return false;
	/* UINT64_MAX is the parser's "none". */
	if (h->has_length ? parser->content_length != h->length
			  : (h->framing != HTTP_BODY_NONE && parser->content_length != UINT64_MAX))
		return false;
	return true;
}

static bool same_method(const http_parser *parser, uint8_t method_id)
{
	static const uint8_t theirs[HTTP_M_MAX] = {
		[HTTP_M_OTHER] = HTTP_POST,      [HTTP_M_GET] = HTTP_GET,
		[HTTP_M_HEAD] = HTTP_HEAD,       [HTTP_M_POST] = HTTP_POST,
		[HTTP_M_PUT] = HTTP_PUT,         [HTTP_M_DELETE] = HTTP_DELETE,
		[HTTP_M_OPTIONS] = HTTP_OPTIONS, [HTTP_M_PATCH] = HTTP_PATCH,
		[HTTP_M_CONNECT] = HTTP_CONNECT, [HTTP_M_TRACE] = HTTP_TRACE,
	};
	return parser->method == theirs[method_id];
}

/* RFC 9112 2.2 asks a server to ignore one empty line before a request. */
static size_t leading_line(const char *p, size_t n)
{
	return n >= 2 && p[0] == '\r' && p[1] == '\n' ? 2 : 0;
}

/* Looks for the end of the head whose start line is at p + skip.  WHOLE: *ret_end
 * bytes, what was skipped included. */
static enum http_verdict find_head(const char *p, size_t n, size_t seen, size_t skip,
				   bool is_request, const struct http_limits *lim, size_t *ret_end,
				   enum http_rule *ret_rule)
{
	const char *begin = p + skip, *end = p + MIN(n, lim->head_bytes);
	const char *q = p + MIN(seen, n);

	/* An LF below `seen` has been looked at; one above looks back at it. */
	while (q < end && (q = memchr(q, '\n', (size_t)(end - q))) != NULL) {
		if (q == p || q[-1] != '\r') {
			*ret_rule = HTTP_RULE_BARE_LF;
			return HTTP_REFUSED;
		}
		if (q - begin >= 3 && q[-2] == '\n') {
			*ret_end = (size_t)(q - p) + 1;
			return HTTP_WHOLE;
		}
		q++;
	}
	enum http_rule rule = HTTP_RULE_NONE;
	if (begin < end)
		rule = http_guard_partial(begin, (size_t)(end - begin),
					  seen > skip ? seen - skip : 0, is_request, lim->uri_bytes);
	if (rule == HTTP_RULE_NONE && n >= lim->head_bytes)
		rule = HTTP_RULE_HEAD_TOO_LARGE;
	if (rule == HTTP_RULE_NONE)
		return HTTP_PARTIAL;
	*ret_rule = rule;
	return HTTP_REFUSED;
}

static enum http_rule parse_request(struct http_head *head, const char *p, size_t n,
				    const struct http_limits *lim)
{
	struct parse c = { .head = head, .begin = p, .fields_max = MIN(lim->fields, HTTP_FIELDS_MAX) };
	http_parser parser;
	enum http_rule rule = http_guard_bytes(p, n, true);

	if (rule != HTTP_RULE_NONE)
		return rule;
	const char *space = memchr(p, ' ', n);
	head->method = (struct slice){ p, space ? (size_t)(space - p) : 0 };
	head->method_id = (uint8_t)http_method_find(head->method);
	head->status = 0;
	head->reason = (struct slice){ NULL, 0 };

	http_parser_init(&parser, HTTP_REQUEST);
	rule = split(&parser, &c, p, n);
	if (rule == HTTP_RULE_NONE)
		rule = http_guard_request(head, lim);
	if (rule == HTTP_RULE_NONE && !(agree(&parser, head) && same_method(&parser, head->method_id)))
		rule = HTTP_RULE_PARSER;
	return rule;
}

static enum http_rule parse_reply(struct http_head *head, const char *p, size_t n,
				  const struct http_limits *lim, uint8_t request_method)
{
	struct parse c = { .head = head, .begin = p, .fields_max = MIN(lim->fields, HTTP_FIELDS_MAX) };
	http_parser parser;
	enum http_rule rule = http_guard_bytes(p, n, false);

	if (rule != HTTP_RULE_NONE)
		return rule;
	/* "HTTP/1.x 200" */
	head->minor = (uint8_t)(p[7] - '0');
	head->status = (uint16_t)((p[9] - '0') * 100 + (p[10] - '0') * 10 + (p[11] - '0'));
	head->method = head->target = head->path = head->host = (struct slice){ NULL, 0 };
	head->method_id = HTTP_M_OTHER;

	http_parser_init(&parser, HTTP_RESPONSE);
	rule = split(&parser, &c, p, n);
	if (rule == HTTP_RULE_NONE)
		rule = http_guard_reply(head, request_method);
	if (rule == HTTP_RULE_NONE && !(agree(&parser, head) && parser.status_code == head->status))
		rule = HTTP_RULE_PARSER;
	return rule;
}

enum http_verdict http_parse_request(struct http_head *head, const char *p, size_t n, size_t seen,
				     const struct http_limits *lim, enum http_rule *ret_rule)
{
	size_t end, skip = leading_line(p, n);
	enum http_verdict verdict = find_head(p, n, seen, skip, true, lim, &end, ret_rule);

	if (verdict != HTTP_WHOLE)
		return verdict;
	enum http_rule rule = parse_request(head, p + skip, end - skip, lim);
	if (rule != HTTP_RULE_NONE) {
		*ret_rule = rule;
		return HTTP_REFUSED;
	}
	head->head_bytes = (uint32_t)end;
	return HTTP_WHOLE;
}

enum http_verdict http_parse_reply(struct http_head *head, const char *p, size_t n, size_t seen,
				   const struct http_limits *lim, uint8_t request_method,
				   enum http_rule *ret_rule)
{
	size_t end;
	enum http_verdict verdict = find_head(p, n, seen, 0, false, lim, &end, ret_rule);

	if (verdict != HTTP_WHOLE)
		return verdict;
	enum http_rule rule = parse_reply(head, p, end, lim, request_method);
	if (rule != HTTP_RULE_NONE) {
		*ret_rule = rule;
		return HTTP_REFUSED;
	}
	head->head_bytes = (uint32_t)end;
	return HTTP_WHOLE;
}
