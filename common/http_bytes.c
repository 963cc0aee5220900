/* The guard's first half: every byte of a head is checked and the head split into
 * start line and fields.  Runs in balancers and in the worker, called by http_parse.c.
 *
 * One pass over the bytes with one table.  The last byte is LF, and neither CR nor LF
 * is in any class: so all loops end inside the buffer without an end pointer, and a
 * CR that they end at has a byte behind it. */
#include "common/http_guard.h"

#ifdef __SSE2__
#include <emmintrin.h>
#endif

#define N HTTP_B_NAME
#define T HTTP_B_TARGET
#define V HTTP_B_VALUE
#define R HTTP_B_REG_NAME
const uint8_t http_byte_class[256] = {
	['\t'] = V,
	[' '] = V,
	['!'] = N | T | V | R,
	['"'] = T | V,
	['#'] = N | V,
	['$'] = N | T | V | R,
	['%'] = N | T | V,
	['&' ... '\''] = N | T | V | R,
	['(' ... ')'] = T | V | R,
	['*' ... '+'] = N | T | V | R,
	[','] = T | V | R,
	['-' ... '.'] = N | T | V | R,
	['/'] = T | V,
	['0' ... '9'] = N | T | V | R,
	[':'] = T | V,
	[';'] = T | V | R,
	['<'] = T | V,
	['='] = T | V | R,
	['>' ... '@'] = T | V,
	['A' ... 'Z'] = N | T | V | R,
	['[' ... ']'] = T | V,
	['^'] = N | T | V,
	['_'] = N | T | V | R | HTTP_B_UNDERSCORE,
	['`'] = N | T | V,
	['a' ... 'z'] = N | T | V | R,
	['{'] = T | V,
	['|'] = N | T | V,
	['}'] = T | V,
	['~'] = N | T | V | R,
	[0x80 ... 0xff] = V,
};
#undef N
#undef T
#undef V
#undef R

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
static enum http_rule read_version(const char **q, const char *end, enum http_rule malformed)
{
	const char *v = *q;

	if (LIKELY(end - v >= 8 && memcmp(v, "HTTP/1.", 7) == 0 && (v[7] == '1' || v[7] == '0'))) {
		*q = v + 8;
		return HTTP_RULE_NONE;
	}
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
	return HTTP_RULE_VERSION;
}

/* RFC 9110 9.3.6, 9.3.8: a gateway before applications has no use for CONNECT, and
 * TRACE would show fields added on the way.  RFC 9112 3: 501 for a method longer
 * than any implemented. */
static bool method_refused(enum http_method m, size_t n)
{
	return m == HTTP_M_CONNECT || m == HTTP_M_TRACE || n > HTTP_METHOD_BYTES_MAX;
}

/* The parts of a start line, and where the next line begins. */
struct start_line {
	struct slice method, target, reason;
	uint16_t status;
	uint8_t method_id, minor;
	const char *next;
};

/* method SP target SP version CRLF, single spaces (RFC 9112 3). */
static enum http_rule request_line(const char *p, const char *end, struct start_line *l)
{
	const char *q = p;

	while (is(*q, HTTP_B_NAME))
		q++;
	if (*q != ' ')
		return bad_byte(q, *q == '\r' ? HTTP_RULE_REQUEST_LINE : HTTP_RULE_METHOD);
	if (q == p)
		return HTTP_RULE_METHOD;
	l->method = (struct slice){ p, (size_t)(q - p) };
	l->method_id = (uint8_t)http_method_find(l->method);
	if (method_refused(l->method_id, l->method.n))
		return HTTP_RULE_METHOD_REFUSED;

	const char *target = ++q;
	while (is(*q, HTTP_B_TARGET))
		q++;
	if (*q != ' ') /* a CRLF here is HTTP/0.9 */
		return bad_byte(q, *q == '\r' ? HTTP_RULE_REQUEST_LINE : HTTP_RULE_TARGET);
	if (q == target)
		return HTTP_RULE_REQUEST_LINE;
	l->target = (struct slice){ target, (size_t)(q - target) };

	q++;
	enum http_rule rule = read_version(&q, end, HTTP_RULE_REQUEST_LINE);
	if (rule != HTTP_RULE_NONE)
		return rule;
	l->minor = (uint8_t)(q[-1] - '0');
	if (q[0] != '\r' || q[1] != '\n')
		return bad_byte(q, HTTP_RULE_REQUEST_LINE);
	l->next = q + 2;
	return HTTP_RULE_NONE;
}

/* version SP 3DIGIT [SP reason] CRLF (RFC 9112 4; the space before an absent
 * reason is often left out, and nothing is ambiguous without it). */
static enum http_rule status_line(const char *p, const char *end, struct start_line *l)
{
	const char *q = p;
	enum http_rule rule = read_version(&q, end, HTTP_RULE_STATUS_LINE);

	if (rule != HTTP_RULE_NONE)
		return rule;
	l->minor = (uint8_t)(q[-1] - '0');
	if (*q != ' ')
		return bad_byte(q, HTTP_RULE_STATUS_LINE);
	q++;
	/* RFC 9110 15: outside 100..599 is invalid. */
	l->status = 0;
	for (unsigned i = 0; i < 3; i++, q++) {
		if (!is_digit(*q) || (i == 0 && (*q < '1' || *q > '5')))
			return bad_byte(q, HTTP_RULE_STATUS_LINE);
		l->status = (uint16_t)(l->status * 10 + (*q - '0'));
	}
	const char *reason = *q == ' ' ? ++q : q;
	if (q[-1] == ' ') {
		while (is(*q, HTTP_B_VALUE))
			q++;
	}
	l->reason = (struct slice){ reason, (size_t)(q - reason) };
	if (q[0] != '\r' || q[1] != '\n')
		return bad_byte(q, HTTP_RULE_STATUS_LINE);
	l->next = q + 2;
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

/* The first byte from `q` on that is not of a field value.  Sixteen at a time while
 * so many are left before `end`: a cookie is a large part of many heads. */
static inline const char *skip_value(const char *q, const char *end)
{
#ifdef __SSE2__
	const __m128i flip = _mm_set1_epi8((char)0x80), space = _mm_set1_epi8((char)(0x20 ^ 0x80)),
		      del = _mm_set1_epi8(0x7f), tab = _mm_set1_epi8('\t');
	for (; end - q >= 16; q += 16) {
		__m128i v = _mm_loadu_si128((const __m128i *)(const void *)q);
		__m128i low = _mm_cmplt_epi8(_mm_xor_si128(v, flip), space); /* unsigned < 0x20 */
		__m128i bad = _mm_or_si128(_mm_andnot_si128(_mm_cmpeq_epi8(v, tab), low),
					   _mm_cmpeq_epi8(v, del));
		int mask = _mm_movemask_epi8(bad);
		if (mask)
			return q + __builtin_ctz((unsigned)mask);
	}
#else
	(void)end;
#endif
	while (is(*q, HTTP_B_VALUE))
		q++;
	return q;
}

/* name ":" OWS value OWS CRLF (RFC 9112 5) at *q, which moves behind it. */
static inline enum http_rule field_line(struct http_field *f, const char **q_at, const char *end)
{
	const char *p = *q_at, *q = p;
	uint8_t classes, met = 0;

	while ((classes = http_byte_class[(uint8_t)*q]) & HTTP_B_NAME) {
		met |= classes;
		q++;
	}
	if (UNLIKELY(*q != ':' || q == p))
		return bad_name(p, q);
	f->name = (struct slice){ p, (size_t)(q - p) };
	f->id = (uint8_t)http_field_find(f->name);
	f->underscore = met & HTTP_B_UNDERSCORE;

	do
		q++;
	while (is_space(*q));
	const char *value = q;
	q = skip_value(q, end);
	if (UNLIKELY(q[0] != '\r' || q[1] != '\n'))
		return bad_byte(q, HTTP_RULE_CONTROL_BYTE);
	const char *value_end = q;
	while (value_end > value && is_space(value_end[-1]))
		value_end--;
	f->value = (struct slice){ value, (size_t)(value_end - value) };
	*q_at = q + 2;
	return HTTP_RULE_NONE;
}

enum http_rule http_guard_split(struct http_head *h, const char *p, size_t n, bool is_request,
				uint32_t fields_max, size_t *ret_end)
{
	struct start_line line = { .method_id = HTTP_M_OTHER };
	const char *end = p + n;

	*ret_end = 0;
	if (n == 0 || end[-1] != '\n')
		return is_request ? HTTP_RULE_REQUEST_LINE : HTTP_RULE_STATUS_LINE;
	enum http_rule rule = is_request ? request_line(p, end, &line) : status_line(p, end, &line);
	if (rule != HTTP_RULE_NONE)
		return rule;
	h->method = line.method;
	h->method_id = line.method_id;
	h->target = line.target;
	h->path = h->host = (struct slice){ NULL, 0 }; /* the guard's second half reads them */
	h->reason = line.reason;
	h->status = line.status;
	h->minor = line.minor;
	h->n_fields = 0;
	for (const char *q = line.next; q < end;) {
		if (q[0] == '\r' && q[1] == '\n') {
			*ret_end = (size_t)(q - p) + 2;
			break;
		}
		if (h->n_fields >= fields_max)
			return HTTP_RULE_TOO_MANY_FIELDS;
		rule = field_line(&h->fields[h->n_fields], &q, end);
		if (rule != HTTP_RULE_NONE)
			return rule;
		h->n_fields++;
	}
	return HTTP_RULE_NONE;
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

	struct start_line line;
	const char *lf = memchr(p, '\n', n);
	if (lf && (size_t)(lf - p) < seen)
		return HTTP_RULE_NONE; /* judged when it came */
	if (lf) {
		enum http_rule rule = is_request ? request_line(p, p + n, &line) : status_line(p, p + n, &line);
		if (rule != HTTP_RULE_NONE)
			return rule;
	}
	return is_request ? partial_request_line(p, n, uri_bytes) : partial_status_line(p, n);
}
