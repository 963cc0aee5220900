/* Many descriptors over a socket.  Called by adopt_offer.c, in the warden, and by
 * adopt_take.c, in a master that starts: both may wait here, and have nothing else to do.
 * What the other side says is checked all the same: no number that it sends is believed. */
#include "balancer/master/adopt_wire.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

#include "common/fd.h"
#include "common/mem.h"

union control {
	struct cmsghdr align;
	char bytes[CMSG_SPACE(ADOPT_BATCH * sizeof(int))];
};

static enum err wait_for(int conn, short what)
{
	struct pollfd p = { .fd = conn, .events = what };
	int n;

	do
		n = poll(&p, 1, ADOPT_WAIT_MS);
	while (n < 0 && errno == EINTR);
	if (n == 0)
		errno = ETIMEDOUT;
	return n > 0 ? ERR_OK : ERR_SYS;
}

/* ---- sending ------------------------------------------------------------ */

static enum err send_packet(int conn, struct adopt_packet *p, const int *fds)
{
	union control control;
	struct iovec iov = { p, sizeof(*p) };
	struct msghdr h = { .msg_iov = &iov,
			    .msg_iovlen = 1,
			    .msg_control = control.bytes,
			    .msg_controllen = CMSG_SPACE(p->n * sizeof(int)) };

	memset(&control, 0, sizeof(control));
	struct cmsghdr *c = CMSG_FIRSTHDR(&h);
	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(p->n * sizeof(int));
	memcpy(CMSG_DATA(c), fds, p->n * sizeof(int));
	for (;;) {
		enum err e = wait_for(conn, POLLOUT);
		if (e)
			return e;
		if (sendmsg(conn, &h, MSG_NOSIGNAL | MSG_DONTWAIT) >= 0)
			return ERR_OK;
		/* ETOOMANYREFS: too many are on their way unread; the reader takes them. */
		if (errno == ETOOMANYREFS)
			poll(NULL, 0, 1);
		else if (errno != EAGAIN && errno != EINTR)
			return errno == EPIPE || errno == ECONNRESET ? ERR_CLOSED : ERR_SYS;
	}
}

enum err adopt_send(int conn, int state_fd, const struct state_fd *fds, size_t n)
{
	struct adopt_packet p = {
		.magic = ADOPT_MAGIC, .total = (uint32_t)n, .n = 1, .numbers = { -1 }
	};
	int batch[ADOPT_BATCH];
	enum err e = send_packet(conn, &p, &state_fd);

	for (size_t at = 0; !e && at < n; at += p.n) {
		p.n = (uint32_t)MIN(n - at, (size_t)ADOPT_BATCH);
		for (uint32_t i = 0; i < p.n; i++) {
			batch[i] = fds[at + i].fd;
			p.numbers[i] = fds[at + i].number;
		}
		e = send_packet(conn, &p, batch);
	}
	return e;
}

/* ---- receiving ---------------------------------------------------------- */

/* Takes the descriptors out of the control data; returns how many. */
static size_t collect(struct msghdr *h, int fds[static ADOPT_BATCH])
{
	size_t count = 0;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(h); c; c = CMSG_NXTHDR(h, c)) {
		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		size_t n = MIN((c->cmsg_len - CMSG_LEN(0)) / sizeof(int), ADOPT_BATCH - count);
		memcpy(fds + count, CMSG_DATA(c), n * sizeof(int));
		count += n;
	}
	return count;
}

static void close_all(int *fds, size_t n)
{
	for (size_t i = 0; i < n; i++)
		fd_close(&fds[i]);
}

/* One packet and its p->n descriptors; on failure none of them is open. */
static enum err recv_packet(int conn, struct adopt_packet *p, int fds[static ADOPT_BATCH])
{
	union control control;
	struct iovec iov = { p, sizeof(*p) };
	struct msghdr h = { .msg_iov = &iov,
			    .msg_iovlen = 1,
			    .msg_control = control.bytes,
			    .msg_controllen = sizeof(control.bytes) };
	enum err e = wait_for(conn, POLLIN);

	if (e)
		return e;
	ssize_t bytes = recvmsg(conn, &h, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
	if (bytes < 0)
		return errno == ECONNRESET ? ERR_CLOSED : ERR_SYS;
	size_t n = collect(&h, fds);
	if (bytes == 0 && n == 0)
		e = ERR_CLOSED;
	else if (bytes != sizeof(*p) || (h.msg_flags & MSG_TRUNC) || p->magic != ADOPT_MAGIC ||
		 p->n == 0 || p->n > ADOPT_BATCH || n > p->n)
		e = ERR_PROTOCOL;
	else if (n < p->n) /* if they were sent, they found no room here */
		e = h.msg_flags & MSG_CTRUNC ? ERR_FD_LIMIT : ERR_PROTOCOL;
	if (e)
		close_all(fds, n);
	return e;
}

static enum err recv_all(int conn, struct state_fd *all, size_t total, size_t *n)
{
	struct adopt_packet p;
	int batch[ADOPT_BATCH];

	while (*n < total) {
		enum err e = recv_packet(conn, &p, batch);
		if (e)
			return e;
		if (p.n > total - *n) {
			close_all(batch, p.n);
			return ERR_PROTOCOL;
		}
		for (uint32_t i = 0; i < p.n; i++)
			all[(*n)++] = (struct state_fd){ p.numbers[i], batch[i] };
	}
	return ERR_OK;
}

enum err adopt_recv(int conn, int *ret_state_fd, struct state_fd **ret_fds, size_t *ret_n)
{
	struct adopt_packet p;
	int state[ADOPT_BATCH];
	size_t n = 0;
	enum err e = recv_packet(conn, &p, state);

	if (e)
		return e;
	struct state_fd *all = NULL;
	if (p.n != 1 || p.total > ADOPT_FDS_MAX)
		e = ERR_PROTOCOL;
	else if (!(all = mem_alloc((p.total + 1) * sizeof(*all))))
		e = ERR_NOMEM;
	else
		e = recv_all(conn, all, p.total, &n);
	if (!e) {
		*ret_state_fd = state[0];
		*ret_fds = all;
		*ret_n = n;
		return ERR_OK;
	}
	int error = errno;
	close_all(state, p.n);
	for (size_t i = 0; i < n; i++)
		fd_close(&all[i].fd);
	mem_free(all);
	errno = error;
	return e;
}
