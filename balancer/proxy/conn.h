/* One non-blocking socket on the loop: read, optimistic write, write interest
 * only after EAGAIN.  Client and worker connections embed it.
 *
 * A conn has one libevent event whose interest is changed in place: reading is
 * the steady state, writing is added while `out` holds bytes.  Nothing here
 * frees anything or calls its owner outside the event callback.
 *
 * Events are edge-triggered: a descriptor is looked at once for each arrival, not once
 * more to find it empty.  So its owner reads in a loop, conn_reads_on() telling when
 * nothing can be left that no further event would announce.
 */
#ifndef DROVER_PROXY_CONN_H
#define DROVER_PROXY_CONN_H

#include <event2/event.h>
#include <event2/event_struct.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "balancer/proxy/block.h"
#include "common/err.h"

struct conn {
	struct event event;
	struct chain out;   /* accepted by conn_write() but not by the kernel yet */
	int fd;             /* -1 when closed */
	bool want_read;     /* the owner wants bytes */
	bool armed_read, armed_write; /* what the event is registered for */
	bool broken;        /* a write failed: the peer is gone for writing */
	bool last;          /* the owner ends it after the next write: what it sends may leave with the FIN */
	bool filled;        /* the last read took all it had room for: there may be more */
	bool unsent;        /* nothing of what conn_write_soon() took has left */
	bool starved;       /* it could not be kept either: out of memory */
	uint8_t reader, sender; /* of batch.c: its place among those that are left, from 1; 0: none */
};

#define CONN_EVENT_READ (EV_READ | EV_CLOSED)

/* For the owner's loop around conn_read(), after the `n_reads`th of one event.
 * `what` is the event's; `content`: the owner has all that it waits for, so that it
 * need not see an end that came right behind it. */
bool conn_reads_on(struct conn *c, short what, unsigned n_reads, bool content);

/* Wraps `fd` (taken).  `on_event` is the libevent callback, `arg` its argument. */
void conn_init(struct conn *c, struct event_base *base, int fd, event_callback_fn on_event,
	       void *arg);

/* Switches reading on or off. ERR_NOMEM when the event cannot be added. */
MUST_CHECK enum err conn_watch(struct conn *c); /* the part of conn_read_on() that is rare */
MUST_CHECK static inline enum err conn_read_on(struct conn *c)
{
	c->want_read = true;
	return LIKELY(c->armed_read) ? ERR_OK : conn_watch(c);
}
void conn_read_off(struct conn *c);

/* Reads once.  ERR_OK with *ret_n > 0; ERR_AGAIN; ERR_CLOSED at end of file;
 * ERR_SYS with errno. */
MUST_CHECK enum err conn_read(struct conn *c, char *buf, size_t room, size_t *ret_n);

/* Writes all of `iov` or keeps the rest in `out` and waits for the socket.
 * *ret_sent (may be NULL) is what the kernel took now.  ERR_CLOSED when the peer
 * does not take bytes any more (`broken` is set), ERR_NOMEM. */
MUST_CHECK enum err conn_write(struct conn *c, struct block_pool *pool, struct iovec *iov, int n_iov,
			       size_t *ret_sent);

/* The same, but a short message may leave only at the end of the turn, together with others'
 * (batch.h): *ret_sent takes it for sent.  What the kernel does not take then is in `out`, and
 * the owner hears that the socket is writable.  `counter` (may be NULL) is raised by what the
 * kernel takes of it, when it does; what is in `out` is not its affair. */
MUST_CHECK enum err conn_write_soon(struct conn *c, struct block_pool *pool, struct iovec *iov,
				    int n_iov, size_t *ret_sent, _Atomic uint64_t *counter);

/* For batch.c: the kernel has not taken `rest` of it; `nothing`: not a byte. */
void conn_unsent(struct conn *c, struct block_pool *pool, struct slice rest, bool nothing);

/* Sends what `out` holds; call when the event says writable.  The same errors. */
MUST_CHECK enum err conn_flush(struct conn *c, struct block_pool *pool, size_t *ret_sent);

/* Whether something that was written is still here.  What was left for the end of the turn is
 * sent first: ask before the end, when there is no later. */
bool conn_owes(struct conn *c, struct block_pool *pool);

/* Off the loop with all that it holds, and on it again as it was: an edge that came
 * meanwhile is told then.  For a socket that goes to another process, or comes from one. */
void conn_detach(struct conn *c, struct block_pool *pool);
MUST_CHECK enum err conn_attach(struct conn *c); /* ERR_NOMEM */

/* Adds bytes that are to go out before any other, while detached.  ERR_NOMEM. */
MUST_CHECK enum err conn_preload(struct conn *c, struct block_pool *pool, struct slice s);

/* Half-close: our FIN after all that was written. */
void conn_end_writing(struct conn *c, struct block_pool *pool);

/* Ends it: event off, descriptor closed, `out` freed.  `reset` sends RST
 * instead of FIN.  Harmless when already closed. */
void conn_close(struct conn *c, struct block_pool *pool, bool reset);

#endif
