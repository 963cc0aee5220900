/* One socket on the loop.  Runs in the balancer; see conn.h. */
#include "balancer/proxy/conn.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "balancer/board/tally.h"
#include "balancer/proxy/batch.h"
#include "common/fd.h"

#define IOV_BATCH 16
#define GATHER_BYTES 2048 /* pieces that are smaller together leave by the cheaper send() */

void conn_init(struct conn *c, struct event_base *base, int fd, event_callback_fn on_event, void *arg)
{
	memset(c, 0, sizeof(*c));
	c->fd = fd;
	chain_init(&c->out);
	event_assign(&c->event, base, fd, CONN_EVENT_READ | EV_PERSIST | EV_ET, on_event, arg);
}

#define READS_MAX 4 /* of one connection in one turn; then others have theirs */

bool conn_reads_on(struct conn *c, short what, unsigned n_reads, bool content)
{
	if (!c->armed_read) /* what is left is announced when reading is switched on again */
		return false;
	/* A short read has emptied the socket.  Behind it there may be an end: a FIN shows
	 * in `what`; an error does not, and is met by reading on, or by the next write. */
	if (!c->filled && content && !(what & EV_CLOSED))
		return false;
	if (n_reads < READS_MAX)
		return true;
	c->armed_read = false;
	event_del(&c->event);
	if (conn_read_on(c) != ERR_OK)
		c->broken = true;
	return false;
}

/* Registers the event for what is wanted now; touches epoll only on a change. */
static enum err conn_rearm(struct conn *c, bool read, bool write)
{
	if (read == c->armed_read && write == c->armed_write)
		return ERR_OK;
	if (UNLIKELY(c->starved)) /* what its owner is about to hear must not be taken back */
		return ERR_NOMEM;
	if (c->armed_read || c->armed_write)
		event_del(&c->event);
	c->armed_read = c->armed_write = false;
	short what = (short)((read ? CONN_EVENT_READ : 0) | (write ? EV_WRITE : 0));
	if (!what)
		return ERR_OK;
	event_assign(&c->event, event_get_base(&c->event), c->fd, (short)(what | EV_PERSIST | EV_ET),
		     event_get_callback(&c->event), event_get_callback_arg(&c->event));
	if (event_add(&c->event, NULL) != 0)
		return ERR_NOMEM;
	c->armed_read = read;
	c->armed_write = write;
	return ERR_OK;
}

enum err conn_watch(struct conn *c)
{
	return conn_rearm(c, true, !chain_empty(&c->out));
}

void conn_read_off(struct conn *c)
{
	c->want_read = false;
	if (conn_rearm(c, false, !chain_empty(&c->out)) != ERR_OK)
		c->broken = true; /* only the write interest could fail to be added back */
}

enum err conn_read(struct conn *c, char *buf, size_t room, size_t *ret_n)
{
	for (;;) {
		ssize_t n;
		if (!batch_take(c, &n)) {
			n = recv(c->fd, buf, room, 0);
		} else if (n < 0) {
			errno = (int)-n;
			n = -1;
		}
		c->filled = n == (ssize_t)room;
		if (n > 0) {
			*ret_n = (size_t)n;
			return ERR_OK;
		}
		if (n == 0)
			return ERR_CLOSED;
		if (errno == EINTR)
			continue;
		return errno == EAGAIN || errno == EWOULDBLOCK ? ERR_AGAIN : ERR_SYS;
	}
}

static ssize_t send_pieces(int fd, struct iovec *iov, int n_iov, int flags)
{
	struct msghdr m = { .msg_iov = iov, .msg_iovlen = (size_t)n_iov };
	char gathered[GATHER_BYTES];
	size_t total = 0;
	for (int i = 0; i < n_iov; i++)
		total += iov[i].iov_len;
	if (total > sizeof(gathered))
		return sendmsg(fd, &m, flags);
	char *p = gathered;
	for (int i = 0; i < n_iov; i++) {
		memcpy(p, iov[i].iov_base, iov[i].iov_len);
		p += iov[i].iov_len;
	}
	return send(fd, gathered, total, flags);
}

/* One write.  ERR_AGAIN: the kernel takes nothing now (also while connecting). */
static enum err send_once(struct conn *c, struct iovec *iov, int n_iov, size_t *ret_n)
{
	/* The kernel keeps the last bytes for the close() that follows: one packet less. */
	int flags = MSG_NOSIGNAL | (c->last ? MSG_MORE : 0);
	for (;;) {
		ssize_t n = n_iov == 1 ? send(c->fd, iov->iov_base, iov->iov_len, flags)
				       : send_pieces(c->fd, iov, n_iov, flags);
		if (n >= 0) {
			*ret_n = (size_t)n;
			return ERR_OK;
		}
		if (errno == EINTR)
			continue;
		*ret_n = 0;
		if (errno == EAGAIN || errno == EWOULDBLOCK)
			return ERR_AGAIN;
		c->broken = true;
		return ERR_CLOSED;
	}
}

/* Keeps what the kernel did not take of `iov`, of which `sent` bytes are gone. */
static enum err keep_rest(struct conn *c, struct block_pool *pool, const struct iovec *iov,
			  int n_iov, size_t sent)
{
	for (int i = 0; i < n_iov; i++) {
		if (sent >= iov[i].iov_len) {
			sent -= iov[i].iov_len;
			continue;
		}
		const char *p = iov[i].iov_base;
		size_t left = iov[i].iov_len - sent;
		p += sent;
		sent = 0;
		while (left) { /* a block holds BLOCK_LARGE_BYTES at most */
			size_t piece = MIN(left, (size_t)BLOCK_LARGE_BYTES);
			enum err e = chain_append(&c->out, pool, (struct slice){ p, piece });
			if (e != ERR_OK)
				return e;
			p += piece;
			left -= piece;
		}
	}
	return ERR_OK;
}

enum err conn_write(struct conn *c, struct block_pool *pool, struct iovec *iov, int n_iov,
		    size_t *ret_sent)
{
	size_t sent = 0, total = 0;
	if (ret_sent)
		*ret_sent = 0;
	if (UNLIKELY(c->sender))
		batch_flush(pool);
	if (c->broken)
		return ERR_CLOSED;
	for (int i = 0; i < n_iov; i++)
		total += iov[i].iov_len;
	if (chain_empty(&c->out)) {
		enum err e = send_once(c, iov, n_iov, &sent);
		if (ret_sent)
			*ret_sent = sent;
		if (e == ERR_CLOSED)
			return e;
		if (sent == total)
			return ERR_OK;
	}
	enum err e = keep_rest(c, pool, iov, n_iov, sent);
	if (e != ERR_OK)
		return e;
	return conn_rearm(c, c->want_read, true);
}

/* Whether all `total` bytes of it are left for the end of the turn. */
static bool leave(struct conn *c, struct block_pool *pool, const struct iovec *iov, int n_iov,
		  size_t total, _Atomic uint64_t *counter)
{
	/* What leaves with the FIN is sent with the close() that follows at once. */
	if (c->broken || c->last || !chain_empty(&c->out) || total > BATCH_SEND_BYTES)
		return false;
	if (batch_send(c, iov, n_iov, total, counter))
		return true;
	batch_flush(pool); /* full, or it has something there already */
	return !c->broken && chain_empty(&c->out) && batch_send(c, iov, n_iov, total, counter);
}

enum err conn_write_soon(struct conn *c, struct block_pool *pool, struct iovec *iov, int n_iov,
			 size_t *ret_sent, _Atomic uint64_t *counter)
{
	enum err e = ERR_OK;
	size_t total = 0, sent;
	for (int i = 0; i < n_iov; i++)
		total += iov[i].iov_len;
	if (leave(c, pool, iov, n_iov, total, counter)) {
		sent = total;
	} else {
		e = conn_write(c, pool, iov, n_iov, &sent);
		if (counter)
			tally_raise(counter, sent);
	}
	if (ret_sent)
		*ret_sent = sent;
	return e;
}

void conn_unsent(struct conn *c, struct block_pool *pool, struct slice rest, bool nothing)
{
	struct iovec iov = { (void *)(uintptr_t)rest.p, rest.n };
	c->unsent = nothing;
	/* If it is an error, the next attempt to send meets it, too. */
	if (keep_rest(c, pool, &iov, 1, 0) == ERR_OK && conn_rearm(c, c->want_read, true) == ERR_OK)
		return;
	c->broken = c->starved = true;
	event_active(&c->event, EV_WRITE, 0);
}

enum err conn_flush(struct conn *c, struct block_pool *pool, size_t *ret_sent)
{
	struct iovec iov[IOV_BATCH];
	size_t total = 0;
	if (ret_sent)
		*ret_sent = 0;
	if (UNLIKELY(c->starved)) {
		chain_clear(&c->out, pool);
		return ERR_NOMEM;
	}
	while (!chain_empty(&c->out)) {
		size_t sent = 0;
		int n = chain_iov(&c->out, iov, IOV_BATCH);
		enum err e = send_once(c, iov, n, &sent);
		chain_consume(&c->out, pool, sent);
		total += sent;
		if (ret_sent)
			*ret_sent = total;
		if (e == ERR_AGAIN)
			return ERR_OK;
		if (e != ERR_OK) { /* never to be sent: no more waiting for room */
			chain_clear(&c->out, pool);
			(void)!conn_rearm(c, c->want_read, false);
			return e;
		}
	}
	return conn_rearm(c, c->want_read, false);
}

bool conn_owes(struct conn *c, struct block_pool *pool)
{
	if (c->sender)
		batch_flush(pool);
	return !chain_empty(&c->out);
}

void conn_detach(struct conn *c, struct block_pool *pool)
{
	batch_leave(c, pool);
	if (c->armed_read || c->armed_write || c->starved)
		event_del(&c->event);
	c->armed_read = c->armed_write = false;
}

enum err conn_attach(struct conn *c)
{
	return conn_rearm(c, c->want_read, !chain_empty(&c->out));
}

enum err conn_preload(struct conn *c, struct block_pool *pool, struct slice s)
{
	struct iovec iov = { (void *)(uintptr_t)s.p, s.n };
	return s.n ? keep_rest(c, pool, &iov, 1, 0) : ERR_OK;
}

void conn_end_writing(struct conn *c, struct block_pool *pool)
{
	if (c->sender)
		batch_flush(pool);
	if (c->fd >= 0)
		shutdown(c->fd, SHUT_WR);
}

void conn_close(struct conn *c, struct block_pool *pool, bool reset)
{
	if (c->fd < 0)
		return;
	conn_detach(c, pool);
	if (reset || c->starved) { /* what is cut must show */
		struct linger now = { .l_onoff = 1, .l_linger = 0 };
		setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
	}
	chain_clear(&c->out, pool);
	fd_close(&c->fd);
}
