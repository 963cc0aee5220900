/* Packets between balancers; both ends run this code.  See handover_record.h.
 *
 * The giver runs in the same sandbox as the taker and is believed no more than a client: what
 * it sends may cost the connections that it sends, nothing else. */
#include "balancer/proxy/handover_record.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>

#include "balancer/proxy/client.h"
#include "common/fd.h"

#define SURPLUS_FDS 8 /* received at most; the kernel drops what is beyond */

/* A connection holds back one read of a side, and a head before it: no more memory for those
 * that are handed over than any client can have. */
static const uint32_t piece_max[PIECE_MAX] = {
	[PIECE_INPUT] = BLOCK_LARGE_BYTES,
	[PIECE_TO_CLIENT] = BLOCK_LARGE_BYTES,
	[PIECE_TO_WORKER] = BLOCK_LARGE_BYTES,
	[PIECE_LINE] = 4096,
	[PIECE_REFERER] = 4096,
	[PIECE_USER_AGENT] = 4096,
	[PIECE_REQUEST_ID] = 4096,
};

/* ---- what makes sense --------------------------------------------------- */

size_t handover_n_bytes(const struct handover_record *r)
{
	size_t n = 0;
	for (size_t i = 0; i < PIECE_MAX; i++)
		n += r->pieces[i];
	return n;
}

static bool client_ok(const struct handover_record *r)
{
	const uint32_t *n = r->pieces;
	for (size_t i = PIECE_TO_WORKER; i < PIECE_MAX; i++)
		if (n[i])
			return false;
	if (r->slot || r->epoch || r->started_us || r->bytes_out || r->minor ||
	    (r->flags & (HANDOVER_WORKER_ENDED | HANDOVER_WORKER_DEAF)))
		return false;
	switch (r->state) {
	case CLIENT_IDLE:
		return !n[PIECE_INPUT] && !n[PIECE_TO_CLIENT] && !(r->flags & HANDOVER_EOF);
	case CLIENT_HEAD:
		return n[PIECE_INPUT] && !n[PIECE_TO_CLIENT] && !(r->flags & HANDOVER_EOF);
	case CLIENT_REQUEST: /* its last answer is on the way; another request may follow */
	case CLIENT_CLOSING: return !n[PIECE_INPUT] && n[PIECE_TO_CLIENT];
	default: return false;
	}
}

static bool tunnel_ok(const struct handover_record *r, uint64_t now_us)
{
	return r->state == CLIENT_REQUEST && !r->pieces[PIECE_INPUT] && r->slot < ROSTER_SLOTS &&
	       r->epoch && r->started_us <= now_us && r->minor <= 1 &&
	       (!(r->flags & HANDOVER_WORKER_DEAF) || !r->pieces[PIECE_TO_WORKER]);
}

bool handover_record_ok(const struct handover_record *r, uint64_t now_us)
{
	sa_family_t family = r->peer.sa.sa_family;
	if (r->form != HANDOVER_FORM || r->kind >= HANDOVER_KIND_MAX ||
	    r->flags >= HANDOVER_FLAG_MAX ||
	    (family != AF_INET && family != AF_INET6 && family != AF_UNIX))
		return false;
	for (size_t i = 0; i < PIECE_MAX; i++)
		if (r->pieces[i] > piece_max[i])
			return false;
	if (r->listen.len > sizeof(r->listen.un) || r->listen.len < sizeof(sa_family_t))
		return false;
	return r->kind == HANDOVER_TUNNEL ? tunnel_ok(r, now_us) : client_ok(r);
}

static int option(int fd, int name)
{
	int value = -1;
	socklen_t n = sizeof(value);
	return getsockopt(fd, SOL_SOCKET, name, &value, &n) == 0 ? value : -1;
}

/* One that blocks would stop our loop, and one that listens is no connection. */
bool handover_fd_ok(int fd, sa_family_t family)
{
	int flags = fcntl(fd, F_GETFL);
	return flags >= 0 && (flags & O_NONBLOCK) && option(fd, SO_TYPE) == SOCK_STREAM &&
	       option(fd, SO_ACCEPTCONN) == 0 &&
	       (family == AF_UNSPEC || option(fd, SO_DOMAIN) == family);
}

/* ---- packets ------------------------------------------------------------ */

static enum err channel_err(void)
{
	switch (errno) {
	case EAGAIN: return ERR_AGAIN;
	case ETOOMANYREFS: return ERR_FULL;
	case EPIPE: return ERR_CLOSED;
	default: return ERR_SYS;
	}
}

/* Who closes its end with packets unread makes the next call here fail once, whichever it is;
 * what it has sent before comes behind that. */
static bool again(void)
{
	return errno == EINTR || errno == ECONNRESET;
}

enum err handover_send(int channel, const struct handover_record *r, const int *fds,
		       const char *bytes, size_t n)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(HANDOVER_FDS_MAX * sizeof(int))];
	} control;
	struct iovec iov[2] = { { (void *)(uintptr_t)r, r ? sizeof(*r) : 0 },
				{ (void *)(uintptr_t)bytes, n } };
	struct msghdr h = { .msg_iov = iov, .msg_iovlen = 2 };
	ssize_t sent;

	assert(n <= HANDOVER_PACKET_BYTES);
	if (r) {
		size_t fd_bytes = handover_n_fds(r) * sizeof(int);
		memset(&control, 0, sizeof(control));
		h.msg_control = control.bytes;
		h.msg_controllen = CMSG_SPACE(fd_bytes);
		struct cmsghdr *c = CMSG_FIRSTHDR(&h);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(fd_bytes);
		memcpy(CMSG_DATA(c), fds, fd_bytes);
	}
	do
		sent = sendmsg(channel, &h, MSG_NOSIGNAL | MSG_DONTWAIT);
	while (sent < 0 && again());
	return sent < 0 ? channel_err() : ERR_OK;
}

/* Takes all descriptors out of the control data; returns how many. */
static unsigned collect_fds(struct msghdr *h, int fds[static SURPLUS_FDS])
{
	unsigned count = 0;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(h); c; c = CMSG_NXTHDR(h, c)) {
		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		assert(n <= SURPLUS_FDS - count); /* the buffer holds no more */
		memcpy(fds + count, CMSG_DATA(c), n * sizeof(int));
		count += (unsigned)n;
	}
	return count;
}

enum err handover_receive(int channel, struct handover_record *ret_record,
			  int ret_fds[static HANDOVER_FDS_MAX], unsigned *ret_n_fds, char *buf,
			  size_t *ret_n)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(SURPLUS_FDS * sizeof(int))];
	} control;
	struct handover_record r = { .form = 0 };
	struct iovec iov[2] = { { &r, ret_record ? sizeof(r) : 0 }, { buf, HANDOVER_PACKET_BYTES } };
	struct msghdr h = { .msg_iov = iov,
			    .msg_iovlen = 2,
			    .msg_control = control.bytes,
			    .msg_controllen = sizeof(control.bytes) };
	int fds[SURPLUS_FDS];
	ssize_t n;

	do
		n = recvmsg(channel, &h, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
	while (n < 0 && again());
	if (n < 0)
		return channel_err();
	unsigned n_fds = collect_fds(&h, fds);
	if (n == 0 && n_fds == 0)
		return ERR_CLOSED;
	unsigned wanted = !ret_record || (size_t)n < sizeof(r) ? 0 : handover_n_fds(&r);
	bool ok = !(h.msg_flags & MSG_TRUNC) && (size_t)n >= iov[0].iov_len &&
		  (n_fds == wanted || (n_fds < wanted && (h.msg_flags & MSG_CTRUNC)));
	if (!ok) {
		for (unsigned i = 0; i < n_fds; i++)
			fd_close(&fds[i]);
		return ERR_PROTOCOL;
	}
	if (ret_record)
		*ret_record = r;
	memcpy(ret_fds, fds, n_fds * sizeof(int));
	*ret_n_fds = n_fds;
	*ret_n = (size_t)n - iov[0].iov_len;
	return ERR_OK;
}

enum err handover_send_verdict(int channel, const struct handover_verdict *v)
{
	ssize_t n;
	do
		n = send(channel, v, sizeof(*v), MSG_NOSIGNAL | MSG_DONTWAIT);
	while (n < 0 && again());
	return n < 0 ? channel_err() : ERR_OK;
}

enum err handover_receive_verdict(int channel, struct handover_verdict *ret_verdict)
{
	struct handover_verdict v;
	ssize_t n;
	do
		n = recv(channel, &v, sizeof(v), MSG_DONTWAIT | MSG_TRUNC);
	while (n < 0 && again());
	if (n < 0)
		return channel_err();
	if (n != sizeof(v))
		return n == 0 ? ERR_CLOSED : ERR_PROTOCOL;
	if (v.answer >= HANDOVER_ANSWER_MAX || v.zero)
		return ERR_PROTOCOL;
	*ret_verdict = v;
	return ERR_OK;
}
