/* Several sends and receives by one system call.
 *
 * Entering the kernel can cost as much as what a small send() or recv() does there: 1.1 us on
 * the virtual machine of docs/performance.md.  Where the kernel has io_uring(7), it is
 * entered once for all that a turn of the loop has to send, or to read.  No operation waits:
 * each has its result when ring_run() returns, so nothing is ever under way, and no buffer has
 * to live longer than the call.  Readiness stays with libevent and epoll.
 *
 * Without a ring (a kernel before 5.19, one that forbids it, as containers often do, or one that
 * has failed it) the same calls are made one by one.
 */
#ifndef DROVER_PROXY_RING_H
#define DROVER_PROXY_RING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RING_OPS 64

struct ring_op {
	int fd;
	bool send; /* else receive */
	char *bytes;
	uint32_t n;     /* to send, or room */
	int32_t result; /* bytes; 0: end of file; -errno, -EAGAIN among them */
};

/* One for the process, before its sandbox closes. */
void ring_start(void);
void ring_stop(void);

/* Whether it pays to collect operations. */
bool ring_on(void);

/* Carries out `n` operations, at most RING_OPS, in any order. */
void ring_run(struct ring_op *ops, unsigned n);

#endif
