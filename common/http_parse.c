/* Heads in: http-parser between the two halves of the guard.  Runs in balancers
 * (requests from clients, replies from workers) and in the worker (requests).
 *
 *   http_guard_split   every byte and line, into fields
 *   second_reading     http_parser reads what decides the message's shape, when a head
 *                      says more of it than a reply's Content-Length
 *   http_guard_*       what the fields mean
 *   agree              parser and guard read the same message, or it is refused
 *   find_head          the slower way, for heads in pieces or with a body behind them:
 *                      limits, what a partial head shows, where it ends
 *
 * http_parser is shown the start line, the fields that say how long a message is and
 * what becomes of its connection, and the empty line; not the other fields, which mean
 * nothing to it and would cost it five times what they cost the guard.  A head without
 * any such field has one length only, and so has a reply with nothing but a
 * Content-Length: they are not shown to it at all.
 *
 * It knows a fixed set of methods.  It is shown "POST" in place of any
 * method that is not one of enum http_method (QUERY, PROPFIND, FOO): it reads in
 * pieces, so that costs no copy, and POST is a method without rules of its own. */
/* Both sides have an enum of this name; theirs is not used by name. */
#define http_method http_parser_method
#include <http_parser.h>
#undef http_method

#include "common/http_parse.h"

#define GUESS_BYTES 4096u /* where the end of a head is looked for first */

/* The second reading of one head. */
struct reading {
	http_parser parser;
	const struct http_head *head;
	uint32_t next;         /* fields below it have been read in full */
	const char *from, *to; /* bytes that were chosen, and not shown yet */
	bool named;            /* the name of field `next` has been read, not its value */
};

/* Whether http_parser is shown a field.  It takes any name that begins with
 * "Transfer-Encoding" for that field, and so may a worker that is built on it. */
static inline bool is_shown(const struct http_field *f)
{
	static const bool known[HTTP_F_MAX] = {
		[HTTP_F_CONNECTION] = true,     [HTTP_F_PROXY_CONNECTION] = true,
		[HTTP_F_CONTENT_LENGTH] = true, [HTTP_F_TRANSFER_ENCODING] = true,
		[HTTP_F_UPGRADE] = true,
	};
	return known[f->id] || (f->id == HTTP_F_OTHER && f->name.n > 17 &&
				slice_istarts(f->name, SLICE("transfer-encoding")));
}

/* White space behind a length is for http_parser to judge: it takes no HTAB. */
static bool needs_second_reading(const struct http_head *h, bool is_request)
{
	for (uint32_t i = 0; i < h->n_fields; i++) {
		const struct http_field *f = &h->fields[i];
		if (is_shown(f) && (is_request || f->id != HTTP_F_CONTENT_LENGTH ||
				    f->value.p[f->value.n] != '\r'))
			return true;
	}
	return false;
}

static void skip_unshown(struct reading *r)
{
	while (r->next < r->head->n_fields && !is_shown(&r->head->fields[r->next]))
		r->next++;
}

static int on_url(http_parser *parser, const char *at, size_t n)
{
	const struct reading *r = parser->data;
	return at == r->head->target.p && n == r->head->target.n ? 0 : -1;
}

static int on_status(http_parser *parser, const char *at, size_t n)
{
	const struct reading *r = parser->data;
	return n == r->head->reason.n && (n == 0 || at == r->head->reason.p) ? 0 : -1;
}

/* The names and values it reads must be those of the shown fields, one after the other. */
static int on_field(http_parser *parser, const char *at, size_t n)
{
	struct reading *r = parser->data;
	const struct http_head *h = r->head;

	skip_unshown(r);
	if (r->named || r->next == h->n_fields || at != h->fields[r->next].name.p ||
	    n != h->fields[r->next].name.n)
		return -1;
	r->named = true;
	return 0;
}

static int on_value(http_parser *parser, const char *at, size_t n)
{
	struct reading *r = parser->data;
	const struct slice want = r->head->fields[r->next].value;

	if (!r->named)
		return -1;
	/* It leaves white space at the end, and reports an empty value where it noticed. */
	while (n && (at[n - 1] == ' ' || at[n - 1] == '\t'))
		n--;
	if (n != want.n || (n && at != want.p))
		return -1;
	r->named = false;
	r->next++;
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
static enum http_rule parser_rule(const struct reading *r)
{
	switch (HTTP_PARSER_ERRNO(&r->parser)) {
	case HPE_INVALID_CONTENT_LENGTH: return HTTP_RULE_LENGTH_INVALID;
	case HPE_UNEXPECTED_CONTENT_LENGTH:
		/* In the middle of a field it is the second length. */
		if (r->named)
			return HTTP_RULE_LENGTH_REPEATED;
		return http_head_find(r->head, HTTP_F_TRANSFER_ENCODING) ? HTTP_RULE_LENGTH_AND_TE
									 : HTTP_RULE_PARSER;
	case HPE_INVALID_URL: return HTTP_RULE_TARGET;
	default: return HTTP_RULE_PARSER;
	}
}

/* Shows what was chosen.  False when it does not take it. */
static bool show(struct reading *r)
{
	size_t n = (size_t)(r->to - r->from);
	return http_parser_execute(&r->parser, &settings, r->from, n) == n &&
	       HTTP_PARSER_ERRNO(&r->parser) == HPE_OK;
}

/* Chooses p[0..n): joins what was chosen before it where that ends there. */
static bool choose(struct reading *r, const char *p, size_t n)
{
	if (r->to != p) {
		if (!show(r))
			return false;
		r->from = p;
	}
	r->to = p + n;
	return true;
}

/* http_parser reads the guarded head p[0..n). */
static enum http_rule second_reading(struct reading *r, const struct http_head *h, const char *p,
				     size_t n)
{
	bool request = h->method.n > 0;

	http_parser_init(&r->parser, request ? HTTP_REQUEST : HTTP_RESPONSE);
	r->parser.data = r;
	r->head = h;
	r->next = 0;
	r->named = false;
	r->from = p;
	/* Our own limit has been kept; the library's, 80 KiB, is not to be a second one. */
	if (UNLIKELY(n >= HTTP_MAX_HEADER_SIZE))
		http_parser_set_max_header_size(UINT32_MAX);
	if (request && h->method_id == HTTP_M_OTHER) {
		r->from += h->method.n;
		(void)http_parser_execute(&r->parser, &settings, "POST", 4);
	}
	/* The start line ends where a target's " HTTP/1.x" or the reason does. */
	const char *end = request ? h->target.p + h->target.n + 9 : h->reason.p + h->reason.n;
	r->to = end + 2;
	for (uint32_t i = 0; i < h->n_fields; i++) {
		const struct http_field *f = &h->fields[i];
		if (!is_shown(f))
			continue;
		const char *line_end = memchr(f->name.p, '\n', (size_t)(p + n - f->name.p));
		if (!choose(r, f->name.p, (size_t)(line_end + 1 - f->name.p)))
			return parser_rule(r);
	}
	if (!choose(r, p + n - 2, 2) || !show(r))
		return parser_rule(r);
	/* Nothing of it may have been passed over. */
	skip_unshown(r);
	return r->next == h->n_fields && !r->named ? HTTP_RULE_NONE : HTTP_RULE_PARSER;
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

/* RFC 9112 6.3, twice: by the guard (in the head) and by the parser. */
static bool agree(const http_parser *parser, const struct http_head *h)
{
	bool chunked = parser->flags & F_CHUNKED;

	if (parser->http_major != 1 || parser->http_minor != h->minor)
		return false;
	if (h->method.n ? !same_method(parser, h->method_id) : parser->status_code != h->status)
		return false;
	if (h->framing == HTTP_BODY_CHUNKED ? !chunked : (chunked && h->framing != HTTP_BODY_NONE))
		return false;
	/* UINT64_MAX is the parser's "none". */
	if (h->has_length ? parser->content_length != h->length
			  : (h->framing != HTTP_BODY_NONE && parser->content_length != UINT64_MAX))
		return false;
	return true;
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

/* What a caller knows about the head it expects. */
struct expected {
	const struct http_limits *limits;
	uint32_t fields_max;
	bool is_request;
	uint8_t request_method; /* enum http_method; of a reply's request */
};

/* The head has been split from p[0..n): what it means, and what http_parser says. */
static enum http_rule judge(struct http_head *head, const char *p, size_t n, const struct expected *x)
{
	struct reading reading;
	enum http_rule rule = HTTP_RULE_NONE;
	bool twice = needs_second_reading(head, x->is_request);

	if (twice)
		rule = second_reading(&reading, head, p, n);
	if (rule == HTTP_RULE_NONE)
		rule = x->is_request ? http_guard_request(head, x->limits)
				     : http_guard_reply(head, x->request_method);
	if (rule == HTTP_RULE_NONE && twice && !agree(&reading.parser, head))
		rule = HTTP_RULE_PARSER;
	return rule;
}

/* Most heads come whole, in one read: split without looking for their end first.  False:
 * it is not so simple; *ret_used is its length when true. */
static bool split_at_once(struct http_head *head, const char *p, size_t n, size_t skip,
			  const struct expected *x, size_t *ret_used)
{
	n = MIN(n, MIN(x->limits->head_bytes, GUESS_BYTES));
	const char *lf = n > skip ? memrchr(p + skip, '\n', n - skip) : NULL;

	*ret_used = 0;
	return lf && http_guard_split(head, p + skip, (size_t)(lf + 1 - p) - skip, x->is_request,
				      x->fields_max, ret_used) == HTTP_RULE_NONE &&
	       *ret_used;
}

static enum http_verdict parse(struct http_head *head, const char *p, size_t n, size_t seen,
			       size_t skip, const struct expected *x, enum http_rule *ret_rule)
{
	enum http_rule rule = HTTP_RULE_NONE;
	size_t end, used;

	if (seen || !split_at_once(head, p, n, skip, x, &used)) {
		enum http_verdict verdict =
			find_head(p, n, seen, skip, x->is_request, x->limits, &end, ret_rule);
		if (verdict != HTTP_WHOLE)
			return verdict;
		rule = http_guard_split(head, p + skip, end - skip, x->is_request, x->fields_max,
					&used);
	}
	if (rule == HTTP_RULE_NONE)
		rule = used ? judge(head, p + skip, used, x) : HTTP_RULE_PARSER;
	if (rule != HTTP_RULE_NONE) {
		*ret_rule = rule;
		return HTTP_REFUSED;
	}
	head->head_bytes = (uint32_t)(skip + used);
	return HTTP_WHOLE;
}

enum http_verdict http_parse_request(struct http_head *head, const char *p, size_t n, size_t seen,
				     const struct http_limits *lim, enum http_rule *ret_rule)
{
	struct expected x = { lim, MIN(lim->fields, HTTP_FIELDS_MAX), true, HTTP_M_OTHER };
	return parse(head, p, n, seen, leading_line(p, n), &x, ret_rule);
}

enum http_verdict http_parse_reply(struct http_head *head, const char *p, size_t n, size_t seen,
				   const struct http_limits *lim, uint8_t request_method,
				   enum http_rule *ret_rule)
{
	struct expected x = { lim, MIN(lim->fields, HTTP_FIELDS_MAX), false, request_method };
	return parse(head, p, n, seen, 0, &x, ret_rule);
}
