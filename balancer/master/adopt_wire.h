/* What crosses between the warden of a master that was killed and the drover that takes its
 * place: the state, and every descriptor that it names.  Over a SOCK_SEQPACKET connection:
 *
 *   warden                                      the new master
 *     ── state memfd, how many descriptors ────►
 *     ── a batch, with the numbers that the state has for them ──► until all are there
 *     ◄──────────────────────────────── TAKEN ──  it holds, and watches, all of it
 *     ends without touching anything
 *
 * The TAKEN is in the warden's queue even if its sender dies the next moment: there is
 * always one who is responsible. */
#ifndef DROVER_MASTER_ADOPT_WIRE_H
#define DROVER_MASTER_ADOPT_WIRE_H

#include <stddef.h>
#include <stdint.h>

#include "balancer/master/state_in.h"
#include "common/base.h"
#include "common/err.h"

#define ADOPT_TAKEN "T"
#define ADOPT_WAIT_MS 5000 /* for the other side to read, or to write, the next packet */
#define ADOPT_FDS_MAX 65536
#define ADOPT_MAGIC 0x64726f7641u /* "drovA" */
#define ADOPT_BATCH 200           /* the kernel takes 253 with a packet */

struct adopt_packet {
	uint64_t magic;
	uint32_t total;               /* descriptors that follow the first packet */
	uint32_t n;                   /* that ride with this one */
	int32_t numbers[ADOPT_BATCH]; /* what the state calls them; the first packet's has none */
};

/* Sends all of it; waits for a reader, but never longer than ADOPT_WAIT_MS.  ERR_CLOSED,
 * ERR_SYS with errno. */
MUST_CHECK enum err adopt_send(int conn, int state_fd, const struct state_fd *fds, size_t n);

/* Gives what was sent; the caller takes *ret_state_fd, the descriptors and their list.
 * ERR_CLOSED, ERR_PROTOCOL, ERR_NOMEM, ERR_FD_LIMIT, ERR_SYS with errno. */
MUST_CHECK enum err adopt_recv(int conn, int *ret_state_fd, struct state_fd **ret_fds, size_t *ret_n);

#endif
