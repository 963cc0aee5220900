/* Where a request goes: its target in one of the forms of RFC 9112 3.2, and the
 * authority that Host or an absolute target names.  Runs in balancers and in the
 * worker, called by the guard. */
#include <arpa/inet.h>

#include "common/http_guard.h"

static bool is_hex(char c)
{
	return (c >= '0' && c <= '9') || (ascii_lower(c) >= 'a' && ascii_lower(c) <= 'f');
}

/* RFC 3986 3.2.2: unreserved / pct-encoded / sub-delims.  IPv4 addresses are among them. */
static bool reg_name_valid(struct slice s)
{
	for (size_t i = 0; i < s.n; i++) {
		if (http_byte_class[(uint8_t)s.p[i]] & HTTP_B_REG_NAME)
			continue;
		if (s.p[i] != '%' || s.n - i < 3 || !is_hex(s.p[i + 1]) || !is_hex(s.p[i + 2]))
			return false;
		i += 2;
	}
	return s.n > 0;
}

/* Between the brackets.  IPvFuture and zone identifiers name nothing that could
 * be served here. */
static bool ipv6_valid(struct slice s)
{
	char text[INET6_ADDRSTRLEN];
	struct in6_addr addr;

	if (s.n == 0 || s.n >= sizeof(text))
		return false;
	memcpy(text, s.p, s.n);
	text[s.n] = '\0';
	return strlen(text) == s.n && inet_pton(AF_INET6, text, &addr) == 1;
}

/* Digits up to 65535; RFC 3986 3.2.3 lets a port be empty. */
static bool port_valid(struct slice s)
{
	uint64_t port;

	return s.n == 0 || (s.n <= 5 && slice_to_u64(s, 65535, &port) == ERR_OK);
}

bool http_authority_valid(struct slice s)
{
	const char *end, *host_end;

	if (s.n == 0)
		return false;
	end = s.p + s.n;
	if (s.p[0] == '[') {
		host_end = memchr(s.p, ']', s.n);
		if (!host_end || !ipv6_valid((struct slice){ s.p + 1, (size_t)(host_end - s.p) - 1 }))
			return false;
		host_end++;
	} else {
		host_end = memchr(s.p, ':', s.n);
		if (!host_end)
			host_end = end;
		if (!reg_name_valid((struct slice){ s.p, (size_t)(host_end - s.p) }))
			return false;
	}
	if (host_end == end)
		return true;
	return *host_end == ':' &&
	       port_valid((struct slice){ host_end + 1, (size_t)(end - host_end) - 1 });
}

/* RFC 9112 3.2.2.  A query straight behind the authority counts as part of it and
 * is refused: legal, but no client sends it, and there is no "/" in the buffer for
 * the path to begin with.  So is userinfo (RFC 9110 4.2.4). */
static enum http_rule absolute_form(struct http_head *h, size_t scheme_bytes,
				    struct slice *ret_authority)
{
	struct slice rest = { h->target.p + scheme_bytes, h->target.n - scheme_bytes };
	size_t n = 0;

	while (n < rest.n && rest.p[n] != '/')
		n++;
	struct slice authority = { rest.p, n };
	if (!http_authority_valid(authority))
		return HTTP_RULE_TARGET;
	if (n == rest.n)
		/* RFC 9112 3.2.4: OPTIONS without path and query means the whole server. */
		h->path = h->method_id == HTTP_M_OPTIONS ? SLICE("*") : SLICE("/");
	else
		h->path = (struct slice){ rest.p + n, rest.n - n };
	*ret_authority = authority;
	return HTTP_RULE_NONE;
}

enum http_rule http_guard_target(struct http_head *h, struct slice *ret_authority)
{
	*ret_authority = (struct slice){ NULL, 0 };
	if (LIKELY(h->target.n > 0 && h->target.p[0] == '/')) {
		h->path = h->target;
		return HTTP_RULE_NONE;
	}
	if (h->method_id == HTTP_M_OPTIONS && h->target.n == 1 && h->target.p[0] == '*') {
		h->path = h->target;
		return HTTP_RULE_NONE;
	}
	if (slice_istarts(h->target, SLICE("http://")))
		return absolute_form(h, 7, ret_authority);
	if (slice_istarts(h->target, SLICE("https://")))
		return absolute_form(h, 8, ret_authority);
	return HTTP_RULE_TARGET;
}
