/* Messages between the master and its children; both ends run this code.
 *
 *   master ──ROSTER, DRAIN, REOPEN──► balancer      one SOCK_SEQPACKET pair each:
 *          ◄──READY, ACK, STOPPED────               a packet is a message, whole or not at all
 *          ──ANSWER──► monitor
 *          ◄───ASK────
 *
 * The master trusts no child: msg_recv() lets nothing through that the table
 * does not know, and a descriptor that was not asked for never stays open.
 */
#include "common/msg.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "common/fd.h"

#define SURPLUS_FDS 8 /* received at most; the kernel drops what is beyond */

static const struct {
	const char *name;
	enum msg_direction direction;
	int fds;
} types[MSG_MAX] = {
#define MSG(name, dir, fds) [MSG_##name] = { #name, MSG_##dir, fds },
#include "common/msg.def"
#undef MSG
};

static bool known(uint32_t type)
{
	return type < MSG_MAX && types[type].name;
}

const char *msg_name(uint32_t type)
{
	return known(type) ? types[type].name : "?";
}

enum err msg_pair(int ret_fds[2])
{
	int fds[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) != 0)
		return errno == EMFILE || errno == ENFILE ? ERR_FD_LIMIT : ERR_SYS;
	memcpy(ret_fds, fds, sizeof(fds));
	return ERR_OK;
}

static enum err channel_err(void)
{
	switch (errno) {
	case EAGAIN:
		return ERR_AGAIN;
	case EPIPE:
	case ECONNRESET:   /* closed with our messages unread */
	case ECONNREFUSED: /* closing at this very moment, as older kernels say it */
		return ERR_CLOSED;
	default:
		return ERR_SYS;
	}
}

enum err msg_send(int channel, const struct msg *m, int fd)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control;
	struct iovec iov = { .iov_base = (void *)(uintptr_t)m, .iov_len = sizeof(*m) };
	struct msghdr h = { .msg_iov = &iov, .msg_iovlen = 1 };
	ssize_t n;

	assert(known(m->type) && types[m->type].fds == (fd >= 0));
	if (fd >= 0) {
		memset(&control, 0, sizeof(control));
		h.msg_control = control.bytes;
		h.msg_controllen = sizeof(control.bytes);
		struct cmsghdr *c = CMSG_FIRSTHDR(&h);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(c), &fd, sizeof(int));
	}
	do
		n = sendmsg(channel, &h, MSG_NOSIGNAL | MSG_DONTWAIT);
	while (n < 0 && errno == EINTR);
	return n < 0 ? channel_err() : ERR_OK;
}

/* Takes all descriptors out of the control data; returns how many. */
static int collect_fds(struct msghdr *h, int fds[static SURPLUS_FDS])
{
	int count = 0;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(h); c; c = CMSG_NXTHDR(h, c)) {
		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		assert(n <= (size_t)(SURPLUS_FDS - count)); /* the buffer holds no more */
		memcpy(fds + count, CMSG_DATA(c), n * sizeof(int));
		count += (int)n;
	}
	return count;
}

static enum err judge(const struct msg *m, ssize_t bytes, int flags, int n_fds,
		      enum msg_direction direction)
{
	/* An empty packet looks the same as the end, and is as good a reason to part. */
	if (bytes == 0 && n_fds == 0)
		return ERR_CLOSED;
	if (bytes != sizeof(*m) || (flags & MSG_TRUNC) || !known(m->type) || m->zero != 0 ||
	    types[m->type].direction != direction)
		return ERR_PROTOCOL;
	if (types[m->type].fds == n_fds && !(flags & MSG_CTRUNC))
		return ERR_OK;
	/* It was sent but the kernel could not give it to us. */
	return n_fds < types[m->type].fds && (flags & MSG_CTRUNC) ? ERR_FD_LIMIT : ERR_PROTOCOL;
}

enum err msg_recv(int channel, enum msg_direction direction, struct msg *ret_msg, int *ret_fd)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(SURPLUS_FDS * sizeof(int))];
	} control;
	struct msg m;
	struct iovec iov = { .iov_base = &m, .iov_len = sizeof(m) };
	struct msghdr h = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.bytes,
			    .msg_controllen = sizeof(control.bytes) };
	int fds[SURPLUS_FDS];
	ssize_t n;

	do
		n = recvmsg(channel, &h, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return channel_err();
	/* Before anything else: whatever is wrong with it, its descriptors are ours. */
	int n_fds = collect_fds(&h, fds);
	enum err e = judge(&m, n, h.msg_flags, n_fds, direction);
	if (e) {
		for (int i = 0; i < n_fds; i++)
			fd_close(&fds[i]);
		return e;
	}
	*ret_msg = m;
	*ret_fd = n_fds ? fds[0] : -1;
	return ERR_OK;
}
