/* Socket addresses, in every process: what users write into addresses, and
 * addresses into what users read.  An address may also come from accept(2) or
 * getpeername(2); a Unix peer without a name then has only its family. */
#include "common/addr.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#define UNIX_PREFIX "unix:"

static const uint8_t v4_mapped[12] = { [10] = 0xff, [11] = 0xff }; /* what an IPv4 address in IPv6 begins with */

/* ---- building ---------------------------------------------------------- */

struct addr addr_ipv4_loopback(uint16_t port)
{
	struct addr a = { .len = sizeof(a.in) };

	a.in.sin_family = AF_INET;
	a.in.sin_port = htons(port);
	a.in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	return a;
}

static enum err unix_from_slice(struct slice path, struct addr *ret_addr)
{
	struct addr a = { .len = 0 };

	if (path.n == 0 || memchr(path.p, '\0', path.n))
		return ERR_SYNTAX;
	if (path.n >= sizeof(a.un.sun_path))
		return ERR_RANGE;
	a.un.sun_family = AF_UNIX;
	memcpy(a.un.sun_path, path.p, path.n);
	a.len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + path.n + 1);
	*ret_addr = a;
	return ERR_OK;
}

struct addr_host addr_host_of(const struct addr *a)
{
	struct addr_host h = { .family = (uint8_t)a->sa.sa_family };

	if (h.family == AF_INET)
		memcpy(h.bytes, &a->in.sin_addr, sizeof(a->in.sin_addr));
	else if (h.family == AF_INET6)
		memcpy(h.bytes, &a->in6.sin6_addr, sizeof(a->in6.sin6_addr));
	return h;
}

struct addr addr_of_host(const struct addr_host *h)
{
	struct addr a = { .len = sizeof(sa_family_t) };

	a.sa.sa_family = AF_UNIX;
	if (h->family == AF_INET) {
		a.in.sin_family = AF_INET;
		memcpy(&a.in.sin_addr, h->bytes, sizeof(a.in.sin_addr));
		a.len = sizeof(a.in);
	} else if (h->family == AF_INET6) {
		a.in6.sin6_family = AF_INET6;
		memcpy(&a.in6.sin6_addr, h->bytes, sizeof(a.in6.sin6_addr));
		a.len = sizeof(a.in6);
	}
	return a;
}

enum err addr_unix(const char *path, struct addr *ret_addr)
{
	return unix_from_slice(slice_of(path), ret_addr);
}

/* inet_pton() of a slice; false too when it holds a NUL. */
static bool parse_ip(int family, struct slice host, void *ret_bytes)
{
	char text[INET6_ADDRSTRLEN];

	if (host.n == 0 || host.n >= sizeof(text) || memchr(host.p, '\0', host.n))
		return false;
	memcpy(text, host.p, host.n);
	text[host.n] = '\0';
	return inet_pton(family, text, ret_bytes) == 1;
}

static enum err parse_host(struct slice host, uint16_t port, struct addr *ret_addr)
{
	struct addr a = { .len = 0 };

	if (host.n >= 2 && host.p[0] == '[' && host.p[host.n - 1] == ']') {
		if (!parse_ip(AF_INET6, (struct slice){ host.p + 1, host.n - 2 }, &a.in6.sin6_addr))
			return ERR_SYNTAX;
		a.in6.sin6_family = AF_INET6;
		a.in6.sin6_port = htons(port);
		a.len = sizeof(a.in6);
	} else {
		bool any = host.n == 0 || slice_eq(host, SLICE("*"));
		if (!any && !parse_ip(AF_INET, host, &a.in.sin_addr))
			return ERR_SYNTAX;
		a.in.sin_family = AF_INET;
		a.in.sin_port = htons(port);
		a.len = sizeof(a.in);
	}
	*ret_addr = a;
	return ERR_OK;
}

enum err addr_parse(struct slice text, bool allow_port_zero, struct addr *ret_addr)
{
	struct slice host = { text.p, 0 }, port = text;
	struct addr a;
	uint64_t number;

	if (slice_starts(text, SLICE(UNIX_PREFIX))) {
		size_t skip = sizeof(UNIX_PREFIX) - 1;
		return unix_from_slice((struct slice){ text.p + skip, text.n - skip }, ret_addr);
	}
	const char *colon = text.n ? memrchr(text.p, ':', text.n) : NULL;
	if (colon) {
		host.n = (size_t)(colon - text.p);
		port = (struct slice){ colon + 1, text.n - host.n - 1 };
	}
	enum err e = slice_to_u64(port, UINT16_MAX, &number);
	if (e == ERR_SYNTAX)
		return e;
	/* The host first: in "x:99999" it is the host that makes no sense. */
	enum err host_err = parse_host(host, e ? 0 : (uint16_t)number, &a);
	if (host_err)
		return host_err;
	if (e)
		return e;
	if (number == 0 && !allow_port_zero)
		return ERR_RANGE;
	*ret_addr = a;
	return ERR_OK;
}

/* ---- reading ----------------------------------------------------------- */

/* The name of a Unix socket; empty for a peer without one.  The kernel's length
 * counts the NUL or not, and an abstract name starts with one and may hold more. */
static struct slice unix_name(const struct addr *a)
{
	size_t skip = offsetof(struct sockaddr_un, sun_path);
	struct slice name = { a->un.sun_path, a->len > skip ? a->len - skip : 0 };

	name.n = MIN(name.n, sizeof(a->un.sun_path));
	if (name.n && name.p[0] != '\0')
		name.n = strnlen(name.p, name.n);
	return name;
}

static bool is_v4_mapped(const struct addr *a)
{
	return a->sa.sa_family == AF_INET6 && IN6_IS_ADDR_V4MAPPED(&a->in6.sin6_addr);
}

const char *addr_format(const struct addr *a, char buf[static ADDR_TEXT_MAX])
{
	char ip[INET6_ADDRSTRLEN];

	switch (a->sa.sa_family) {
	case AF_INET:
		inet_ntop(AF_INET, &a->in.sin_addr, ip, sizeof(ip));
		snprintf(buf, ADDR_TEXT_MAX, "%s:%u", ip, (unsigned)addr_port(a));
		break;
	case AF_INET6:
		inet_ntop(AF_INET6, &a->in6.sin6_addr, ip, sizeof(ip));
		snprintf(buf, ADDR_TEXT_MAX, "[%s]:%u", ip, (unsigned)addr_port(a));
		break;
	case AF_UNIX: {
		struct slice name = unix_name(a);
		bool abstract = name.n && name.p[0] == '\0'; /* shown with @, as ss(8) does */
		snprintf(buf, ADDR_TEXT_MAX, UNIX_PREFIX "%s%.*s", abstract ? "@" : "",
			 (int)name.n - abstract, name.p + abstract);
		break;
	}
	default:
		snprintf(buf, ADDR_TEXT_MAX, "unknown");
	}
	return buf;
}

/* Not inet_ntop(), which goes through sprintf(): this is written for every request, and
 * was 1 % of what one costs. */
static size_t format_v4(const uint8_t octets[static 4], char *buf)
{
	char *p = buf;

	for (int i = 0; i < 4; i++) {
		unsigned v = octets[i], tens = v / 10;
		if (v >= 100) {
			*p++ = (char)('0' + tens / 10);
			*p++ = (char)('0' + tens % 10);
		} else if (v >= 10) {
			*p++ = (char)('0' + tens);
		}
		*p++ = (char)('0' + (v - 10 * tens));
		*p++ = '.';
	}
	*--p = '\0';
	return (size_t)(p - buf);
}

size_t addr_format_host(const struct addr_host *h, char buf[static ADDR_TEXT_MAX])
{
	switch (h->family) {
	case AF_INET:
		return format_v4(h->bytes, buf);
	case AF_INET6:
		if (memcmp(h->bytes, v4_mapped, sizeof(v4_mapped)) == 0)
			return format_v4(h->bytes + sizeof(v4_mapped), buf);
		inet_ntop(AF_INET6, h->bytes, buf, ADDR_TEXT_MAX);
		break;
	case AF_UNIX:
		strcpy(buf, "unix");
		break;
	default:
		strcpy(buf, "unknown");
	}
	return strlen(buf);
}

bool addr_equal(const struct addr *a, const struct addr *b)
{
	if (a->sa.sa_family != b->sa.sa_family)
		return false;
	switch (a->sa.sa_family) {
	case AF_INET:
		return a->in.sin_port == b->in.sin_port &&
		       a->in.sin_addr.s_addr == b->in.sin_addr.s_addr;
	case AF_INET6:
		return a->in6.sin6_port == b->in6.sin6_port &&
		       a->in6.sin6_scope_id == b->in6.sin6_scope_id &&
		       IN6_ARE_ADDR_EQUAL(&a->in6.sin6_addr, &b->in6.sin6_addr);
	case AF_UNIX:
		return slice_eq(unix_name(a), unix_name(b));
	default:
		return false;
	}
}

uint16_t addr_port(const struct addr *a)
{
	switch (a->sa.sa_family) {
	case AF_INET:
		return ntohs(a->in.sin_port);
	case AF_INET6:
		return ntohs(a->in6.sin6_port);
	default:
		return 0;
	}
}

/* ---- blocks ------------------------------------------------------------ */

/* A block of v4-mapped addresses becomes the v4 block it means. */
static void unmap_block(struct addr_block *b)
{
	if (!b->is_v6 || b->bits < 96 || memcmp(b->bytes, v4_mapped, sizeof(v4_mapped)) != 0)
		return;
	b->is_v6 = 0;
	b->bits = (uint8_t)(b->bits - 96);
	memmove(b->bytes, b->bytes + 12, 4);
	memset(b->bytes + 4, 0, 12);
}

enum err addr_block_parse(struct slice text, struct addr_block *ret_block)
{
	struct addr_block b = { .is_v6 = 0 };
	struct slice host = text;
	uint64_t bits;

	if (slice_eq(text, SLICE("unix"))) {
		*ret_block = (struct addr_block){ .family_unix = 1 };
		return ERR_OK;
	}
	const char *slash = text.n ? memchr(text.p, '/', text.n) : NULL;
	if (slash)
		host.n = (size_t)(slash - text.p);
	if (parse_ip(AF_INET6, host, b.bytes))
		b.is_v6 = 1;
	else if (!parse_ip(AF_INET, host, b.bytes))
		return ERR_SYNTAX;
	bits = b.is_v6 ? 128 : 32;
	if (slash) {
		struct slice number = { slash + 1, text.n - host.n - 1 };
		enum err e = slice_to_u64(number, bits, &bits);
		if (e)
			return e;
	}
	b.bits = (uint8_t)bits;
	unmap_block(&b);
	*ret_block = b;
	return ERR_OK;
}

static bool same_bits(const uint8_t *a, const uint8_t *b, unsigned bits)
{
	unsigned whole = bits / 8, rest = bits % 8;

	if (memcmp(a, b, whole) != 0)
		return false;
	return rest == 0 || ((a[whole] ^ b[whole]) & (0xff00u >> rest) & 0xffu) == 0;
}

bool addr_block_has(const struct addr_block *b, const struct addr *a)
{
	const uint8_t *v4 = NULL;

	if (addr_is_unix(a) || b->family_unix)
		return addr_is_unix(a) && b->family_unix;
	if (a->sa.sa_family == AF_INET)
		v4 = (const uint8_t *)&a->in.sin_addr;
	else if (is_v4_mapped(a))
		v4 = &a->in6.sin6_addr.s6_addr[12];
	if (v4)
		return !b->is_v6 && same_bits(b->bytes, v4, b->bits);
	return a->sa.sa_family == AF_INET6 && b->is_v6 &&
	       same_bits(b->bytes, a->in6.sin6_addr.s6_addr, b->bits);
}
