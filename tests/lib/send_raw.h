/* Packets as nobody of ours would send them: any bytes, with any descriptors, past all checks
 * of those who send in earnest. */
#ifndef DROVER_TESTS_SEND_RAW_H
#define DROVER_TESTS_SEND_RAW_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/types.h>

#define SEND_RAW_FDS_MAX 253 /* the kernel takes no more with a packet */

/* One packet; the descriptors (as many as SEND_RAW_FDS_MAX) stay the caller's.  Never waits.
 * As sendmsg(). */
static inline ssize_t send_raw(int sock, const void *bytes, size_t n, const int *fds, size_t n_fds)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(SEND_RAW_FDS_MAX * sizeof(int))];
	} control = { .bytes = { 0 } };
	struct iovec iov = { .iov_base = (void *)(uintptr_t)bytes, .iov_len = n };
	struct msghdr h = { .msg_iov = &iov, .msg_iovlen = 1 };

	if (n_fds) {
		struct cmsghdr *c = &control.align;
		h.msg_control = control.bytes;
		h.msg_controllen = CMSG_SPACE(n_fds * sizeof(int));
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(n_fds * sizeof(int));
		memcpy(CMSG_DATA(c), fds, n_fds * sizeof(int));
	}
	return sendmsg(sock, &h, MSG_NOSIGNAL | MSG_DONTWAIT);
}

#endif
