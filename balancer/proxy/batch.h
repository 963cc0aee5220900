/* What connections leave for the end of the turn, to be done by one system call: reads that
 * wait for a head, and writes of a whole request or the last of a reply.
 *
 * A read is left only by a connection that waits for the beginning of something: a client for
 * its next request, a worker's for its reply.  No two of them belong to one request, so what
 * one of them leads to does not concern what has already been read for another.
 *
 * One for the process, as the loop is.  Runs in the balancer.
 */
#ifndef DROVER_PROXY_BATCH_H
#define DROVER_PROXY_BATCH_H

#include <stdbool.h>

#include "balancer/proxy/conn.h"

#define BATCH_SEND_BYTES 2048 /* what is written at once by larger pieces */

/* Before the sandbox closes; `scratch`: as large as the proxy's. */
void batch_start(size_t scratch_bytes);
void batch_stop(void);

/* In an event callback, of a connection that waits for a head: whether its event `what` is
 * left for batch_read(), which calls back. */
bool batch_defer(struct conn *c, short what);

/* Between callbacks: reads for all that were left, and calls their owners; each finds its
 * bytes where *scratch points, and conn_read() tells of them. */
void batch_read(char **scratch, struct block_pool *pool);

/* What was read for `c` and not told yet; false: nothing was.  conn_read() alone. */
bool batch_take(struct conn *c, ssize_t *ret_n);

/* Takes a copy of `iov`, to be sent by batch_flush(); false when it cannot: send it now.
 * `counter`: as conn_write_soon()'s. */
bool batch_send(struct conn *c, const struct iovec *iov, int n_iov, size_t total,
		_Atomic uint64_t *counter);

/* Sends; what the kernel does not take of it goes to conn_unsent(). */
void batch_flush(struct block_pool *pool);

/* `c` is about to close, or to leave the loop: nothing is read for it, what it has written
 * leaves before. */
void batch_leave(struct conn *c, struct block_pool *pool);

#endif
