/* What crosses when a client connection goes from one balancer to another: its form on the
 * channel between them, a SOCK_SEQPACKET pair that the master has made.
 *
 *   giver ── record, descriptors, the first bytes ──► taker     one packet
 *         ── more bytes ────────────────────────────►          any number of packets
 *         ◄──────────────────────────────── verdict ──         one per record, in their order
 *
 * Nothing here knows connections; handover_give.c and handover_take.c do. */
#ifndef DROVER_PROXY_HANDOVER_RECORD_H
#define DROVER_PROXY_HANDOVER_RECORD_H

#include <netinet/in.h>
#include <stddef.h>
#include <stdint.h>

#include "balancer/heritage.h"
#include "common/addr.h"
#include "common/base.h"
#include "common/err.h"

#define HANDOVER_PACKET_BYTES \
	(32u * 1024) /* that follow a record, or stand alone: what no kernel refuses */
#define HANDOVER_FDS_MAX 2

enum handover_kind { HANDOVER_CLIENT = 0, HANDOVER_TUNNEL, HANDOVER_KIND_MAX };

/* The bytes that follow a record, in this order. */
enum handover_piece {
	PIECE_INPUT = 0, /* read from the client: the beginning of a head */
	PIECE_TO_CLIENT, /* that the kernel has not taken yet */
	PIECE_TO_WORKER,
	PIECE_LINE, /* for the access log, as the worker was sent them */
	PIECE_REFERER,
	PIECE_USER_AGENT,
	PIECE_REQUEST_ID,
	PIECE_MAX
};

enum handover_flag {
	HANDOVER_SERVED = 1 << 0, /* the fields of struct client and struct request of that name */
	HANDOVER_EOF = 1 << 1,
	HANDOVER_LINGER = 1 << 2,
	HANDOVER_WORKER_ENDED = 1 << 3,
	HANDOVER_WORKER_DEAF = 1 << 4, /* the connection to the worker is broken for writing */
	HANDOVER_FLAG_MAX = 1 << 5
};

/* All of it is checked by who takes it.  Other fields, or another meaning: raise HANDOVER_FORM. */
struct handover_record {
	uint32_t form;   /* HANDOVER_FORM */
	uint32_t kind;   /* enum handover_kind; a tunnel comes with two descriptors */
	uint64_t number; /* of this channel's records, from 1 */
	uint64_t due_us; /* its deadline on the monotonic clock, which all processes share; 0: none */
	uint32_t state;             /* enum client_state */
	uint32_t flags;             /* enum handover_flag */
	uint32_t pieces[PIECE_MAX]; /* bytes of each */
	uint32_t slot;              /* of a tunnel, to the worker in this slot of the roster */
	uint64_t epoch;
	uint64_t started_us, bytes_out;
	uint32_t minor; /* of its request's HTTP/1.x */
	union {
		struct sockaddr sa;
		struct sockaddr_in in;
		struct sockaddr_in6 in6;
	} peer;             /* port and scope mean nothing */
	struct addr listen; /* where it was accepted; of no family: not served any more */
};
_Static_assert(sizeof(struct handover_record) == 240, "another form: raise HANDOVER_FORM");

enum handover_answer {
	HANDOVER_TAKEN = 0, /* it has not been touched before this was sent, and is the taker's now */
	HANDOVER_REFUSED,   /* there is no room for it: the giver keeps it */
	HANDOVER_ANSWER_MAX
};

struct handover_verdict {
	uint64_t number;
	uint32_t answer; /* enum handover_answer */
	uint32_t zero;
};

static inline unsigned handover_n_fds(const struct handover_record *r)
{
	return r->kind == HANDOVER_TUNNEL ? 2 : 1;
}
size_t handover_n_bytes(const struct handover_record *r);

/* Whether it can be what a balancer writes, as far as it can tell by itself; `now_us` is
 * the monotonic clock.  The descriptors: connected streams that do not block. */
bool handover_record_ok(const struct handover_record *r, uint64_t now_us);
bool handover_fd_ok(int fd, sa_family_t family);

/* Sends one packet: `r` (NULL: more bytes of the last one) with its descriptors, then bytes.
 * ERR_AGAIN: not now; ERR_FULL: too many descriptors are under way; ERR_CLOSED; ERR_SYS. */
MUST_CHECK enum err handover_send(int channel, const struct handover_record *r, const int *fds,
				  const char *bytes, size_t n);

/* Receives one.  With `ret_record` it has to be a record, whose descriptors are the caller's:
 * as many as *ret_n_fds says (fewer than it should be: the kernel had no room for them);
 * else none.  `buf` takes HANDOVER_PACKET_BYTES.  ERR_AGAIN, ERR_CLOSED, ERR_SYS;
 * ERR_PROTOCOL: everything that came with it has been closed. */
MUST_CHECK enum err handover_receive(int channel, struct handover_record *ret_record,
				     int ret_fds[static HANDOVER_FDS_MAX], unsigned *ret_n_fds,
				     char *buf, size_t *ret_n);

/* The same for verdicts; also after the other end has gone, what it has said is heard first. */
MUST_CHECK enum err handover_send_verdict(int channel, const struct handover_verdict *v);
MUST_CHECK enum err handover_receive_verdict(int channel, struct handover_verdict *ret_verdict);

#endif
