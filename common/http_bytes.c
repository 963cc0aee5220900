/* The guard's first half: every byte of a head, before any parser sees it.
 * Runs in balancers and in the worker, called by http_parse.c.
 *
 * One pass over the bytes with one table.  All loops end at CR at the latest,
 * for CR is in no class; callers make sure that there is one, followed by
 * another byte.  So no loop needs an end pointer. */
#include "common/http_guard.h"

#define N HTTP_B_NAME
#define T HTTP_B_TARGET
#define V HTTP_B_VALUE
const uint8_t http_byte_class[256] = {
	['\t'] = V,
	[' '] = V,
	['!'] = N | T | V,
	['"'] = T | V,
	['#'] = N | V,
	['$' ... '\''] = N | T | V,
	['(' ... ')'] = T | V,
	['*' ... '+'] = N | T | V,
	[','] = T | V,
	['-' ... '.'] = N | T | V,
	['/'] = T | V,
	['0' ... '9'] = N | T | V,
	[':' ... '@'] = T | V,
	['A' ... 'Z'] = N | T | V,
	['[' ... ']'] = T | V,
	['^' ... 'z'] = N | T | V,
	['{'] = T | V,
	['|'] = N | T | V,
	['}'] = T | V,
	['~'] = N | T | V,
	[0x80 ... 0xff] = V,
};
#undef N
#undef T
#undef V

static inline bool is(char c, uint8_t classes)
{
	return http_byte_class[(uint8_t)c] & classes;
}

static inline bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static inline bool is_space(char c)
{
	return c == ' ' || c == '\t';
}

/* Why the byte at `q` is wrong where it stands: for its own sake, else `otherwise`. */
static enum http_rule bad_byte(const char *q, enum http_rule otherwise)
{
	unsigned char c = (unsigned char)*q;

	if (c == '\n')
		return HTTP_RULE_BARE_LF;
	if (c == '\r')
		return q[1] == '\n' ? otherwise : HTTP_RULE_BARE_CR;
	if ((c < 0x20 && c != '\t') || c == 0x7f)
		return HTTP_RULE_CONTROL_BYTE;
	return otherwise;
}

/* "HTTP/1.0" or "HTTP/1.1" at *q, advancing it. */
static enum http_rule read_version(const char **q, enum http_rule malformed)
{
	const char *v = *q;

	for (unsigned i = 0; i < 5; i++) {
		if (v[i] != "HTTP/"[i])
			return bad_byte(v + i, malformed);
	}
	/* RFC 9112 2.3: one digit each. */
	if (!is_digit(v[5]))
		return bad_byte(v + 5, malformed);
	if (v[6] != '.')
		return bad_byte(v + 6, malformed);
	if (!is_digit(v[7]))
		return bad_byte(v + 7, malformed);
	if (v[5] != '1' || v[7] > '1')
		return HTTP_RULE_VERSION;
	*q = v + 8;
	return HTTP_RULE_NONE;
}

/* RFC 9110 9.3.6, 9.3.8: a gateway before applications has no use for CONNECT, and
 * TRACE would show fields added on the way.  RFC 9112 3: 501 for a method longer
 * than any implemented. */
static bool method_refused(struct slice name)
{
	enum http_method m = http_method_find(name);

	return m == HTTP_M_CONNECT || m == HTTP_M_TRACE || name.n > HTTP_METHOD_BYTES_MAX;
}

/* method SP target SP version CRLF, single spaces (RFC 9112 3). */
static enum http_rule request_line(const char *p, const char **ret_next)
{
	const char *q = p;

	while (is(*q, HTTP_B_NAME))
		q++;
	if (*q != ' ')
		return bad_byte(q, *q == '\r' ? HTTP_RULE_REQUEST_LINE : HTTP_RULE_METHOD);
	if (q == p)
		return HTTP_RULE_METHOD;
	if (method_refused((struct slice){ p, (size_t)(q - p) }))
		return HTTP_RULE_METHOD_REFUSED;

	const char *target = ++q;
	while (is(*q, HTTP_B_TARGET))
		q++;
	if (*q != ' ') /* a CRLF here is HTTP/0.9 */
		return bad_byte(q, *q == '\r' ? HTTP_RULE_REQUEST_LINE : HTTP_RULE_TARGET);
	if (q == target)
		return HTTP_RULE_REQUEST_LINE;

	q++;
	enum http_rule rule = read_version(&q, HTTP_RULE_REQUEST_LINE);
	if (rule != HTTP_RULE_NONE)
		return rule;
	if (q[0] != '\r' || q[1] != '\n')
		return bad_byte(q, HTTP_RULE_REQUEST_LINE);
	*ret_next = q + 2;
	return HTTP_RULE_NONE;
}

/* version SP 3DIGIT [SP reason] CRLF (RFC 9112 4; the space before an absent
 * reason is often left out, and nothing is ambiguous without it). */
static enum http_rule status_line(const char *p, const char **ret_next)
{
	const char *q = p;
	enum http_rule rule = read_version(&q, HTTP_RULE_STATUS_LINE);

	if (rule != HTTP_RULE_NONE)
		return rule;
	if (*q != ' ')
		return bad_byte(q, HTTP_RULE_STATUS_LINE);
	q++;
	/* RFC 9110 15: outside 100..599 is invalid. */
	for (unsigned i = 0; i < 3; i++, q++) {
		if (!is_digit(*q) || (i == 0 && (*q < '1' || *q > '5')))
			return bad_byte(q, HTTP_RULE_STATUS_LINE);
	}
	if (*q == ' ') {
		while (is(*q, HTTP_B_VALUE))
			q++;
	}
	if (q[0] != '\r' || q[1] != '\n')
		return bad_byte(q, HTTP_RULE_STATUS_LINE);
	*ret_next = q + 2;
	return HTTP_RULE_NONE;
}

/* The byte at `q` ends the name that began at `p`, and is not the colon it should be. */
static enum http_rule bad_name(const char *p, const char *q)
{
	/* RFC 9112 2.2, 5.2: a line that begins with white space continues the one
	 * before, be it a field or the start line. */
	if (q == p && is_space(*q))
		return HTTP_RULE_OBS_FOLD;
	if (is_space(*q)) {
		while (is_space(*q))
			q++;
		if (*q == ':')
			return HTTP_RULE_SPACE_COLON;
	}
	return bad_byte(q, *q == '\r' ? HTTP_RULE_NO_COLON : HTTP_RULE_FIELD_NAME);
}

static inline enum http_rule field_line(const char *p, const char **ret_next)
{
	const char *q = p;

	while (is(*q, HTTP_B_NAME))
		q++;
	if (UNLIKELY(*q != ':' || q == p))
		return bad_name(p, q);
	do
		q++;
	while (is(*q, HTTP_B_VALUE));
	if (UNLIKELY(q[0] != '\r' || q[1] != '\n'))
		return bad_byte(q, HTTP_RULE_CONTROL_BYTE);
	*ret_next = q + 2;
	return HTTP_RULE_NONE;
}

enum http_rule http_guard_bytes(const char *p, size_t n, bool is_request)
{
	if (n < 4 || memcmp(p + n - 4, "\r\n\r\n", 4) != 0)
		return is_request ? HTTP_RULE_REQUEST_LINE : HTTP_RULE_STATUS_LINE;

	const char *end = p + n - 2, *q = p;
	enum http_rule rule = is_request ? request_line(p, &q) : status_line(p, &q);
	while (rule == HTTP_RULE_NONE && q < end)
		rule = field_line(q, &q);
	return rule;
}

/* A request line without its end: the method and the target's length. */
static enum http_rule partial_request_line(const char *p, size_t n, uint32_t uri_bytes)
{
	size_t i = 0;

	while (i < n && i <= HTTP_METHOD_BYTES_MAX && is(p[i], HTTP_B_NAME))
		i++;
	if (i > HTTP_METHOD_BYTES_MAX)
		return HTTP_RULE_METHOD_REFUSED;
	if (i == n || p[i] == '\r') /* a CR has to be the last byte here: wait for the next */
		return HTTP_RULE_NONE;
	if (p[i] != ' ' || i == 0)
		return HTTP_RULE_METHOD;

	const char *target = p + i + 1;
	size_t left = n - i - 1;
	const char *space = memchr(target, ' ', left);
	return (space ? (size_t)(space - target) : left) > uri_bytes ? HTTP_RULE_URI_TOO_LONG
								     : HTTP_RULE_NONE;
}

static enum http_rule partial_status_line(const char *p, size_t n)
{
	return memcmp(p, "HTTP/", MIN(n, 5)) == 0 ? HTTP_RULE_NONE : HTTP_RULE_STATUS_LINE;
}

enum http_rule http_guard_partial(const char *p, size_t n, size_t seen, bool is_request,
				  uint32_t uri_bytes)
{
	/* The last byte seen may have been a CR, judged by its follower. */
	for (size_t i = seen ? seen - 1 : 0; i < n; i++) {
		if (is(p[i], HTTP_B_VALUE) || p[i] == '\n')
			continue;
		if (p[i] != '\r')
			return HTTP_RULE_CONTROL_BYTE;
		if (i + 1 < n && p[i + 1] != '\n')
			return HTTP_RULE_BARE_CR;
	}

	const char *lf = memchr(p, '\n', n), *next;
	if (lf && (size_t)(lf - p) < seen)
		return HTTP_RULE_NONE; /* judged when it came */
	if (lf) {
		enum http_rule rule = is_request ? request_line(p, &next) : status_line(p, &next);
		if (rule != HTTP_RULE_NONE)
			return rule;
	}
	return is_request ? partial_request_line(p, n, uri_bytes) : partial_status_line(p, n);
}
