/* Socket addresses: TCP over IPv4 and IPv6, and Unix sockets. */
#ifndef DROVER_COMMON_ADDR_H
#define DROVER_COMMON_ADDR_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "common/err.h"
#include "common/slice.h"

struct addr {
	union {
		struct sockaddr sa;
		struct sockaddr_in in;
		struct sockaddr_in6 in6;
		struct sockaddr_un un;
	};
	socklen_t len;
};

/* Where an address is, without port and scope: all that needs to be known of a peer, in a seventh
 * of the bytes. */
struct addr_host {
	uint8_t family;    /* AF_INET, AF_INET6, AF_UNIX */
	uint8_t bytes[16]; /* of the IP address; IPv4: the first four */
};
struct addr_host addr_host_of(const struct addr *a);
struct addr addr_of_host(const struct addr_host *h); /* port 0; Unix: a peer without a name */

#define ADDR_TEXT_MAX 128 /* longest text of addr_format(), with its NUL */

/* Parses "127.0.0.1:80", "[::1]:80", "80", ":80", "*:80" (the last three: all
 * IPv4 addresses; "[::]:80" is all of IPv6, and only that) and "unix:/path" (a
 * relative path is left relative).  Names are not resolved.  Ports 1-65535; 0 too
 * when `allow_port_zero`.  ERR_SYNTAX, ERR_RANGE (port, or path longer than sun_path). */
MUST_CHECK enum err addr_parse(struct slice text, bool allow_port_zero, struct addr *ret_addr);

struct addr addr_ipv4_loopback(uint16_t port);
MUST_CHECK enum err addr_unix(const char *path, struct addr *ret_addr);

/* "127.0.0.1:80", "[::1]:80", "unix:/path", "unix:@name" (abstract), "unix:" (a
 * peer without a name); returns `buf`. */
const char *addr_format(const struct addr *a, char buf[static ADDR_TEXT_MAX]);

/* As X-Forwarded-For wants it: "127.0.0.1", "::1" (no
 * brackets; v4-mapped v6 shown as v4), "unix" for Unix sockets.  Returns its length. */
size_t addr_format_host(const struct addr_host *h, char buf[static ADDR_TEXT_MAX]);

bool addr_equal(const struct addr *a, const struct addr *b);
uint16_t addr_port(const struct addr *a); /* host order; 0 for Unix sockets */
static inline bool addr_is_unix(const struct addr *a) { return a->sa.sa_family == AF_UNIX; }

/* A block of addresses, "10.0.0.0/8", "::1", "unix".  Bits past the prefix mean
 * nothing; v4-mapped blocks are kept as the v4 blocks they mean. */
struct addr_block {
	uint8_t family_unix; /* matches every Unix peer */
	uint8_t is_v6;
	uint8_t bits;
	uint8_t bytes[16];
};
/* ERR_SYNTAX, ERR_RANGE (prefix longer than the address). */
MUST_CHECK enum err addr_block_parse(struct slice text, struct addr_block *ret_block);
/* v4-mapped v6 addresses match v4 blocks. */
bool addr_block_has(const struct addr_block *b, const struct addr *a);

#endif
