/* Workers' notifications; in the master, called by worker_proc.c and worker_spawn.c.
 *
 *   worker ── sendto($NOTIFY_SOCKET) ──► queue of a few ──► on_readable ──► on_message
 *                                        (net.unix.max_dgram_qlen)
 *
 * A socket in the file system rather than an abstract one: its mode keeps other users of the
 * machine from filling the queue.  Whose message it is, the kernel says (SCM_CREDENTIALS);
 * those from outside the worker's process group are dropped.  A sender that has ended before
 * its message is read belongs to no group any more: helpers have to wait until we have
 * closed the descriptor that they sent along, as `systemd-notify` does (BARRIER=1).
 *
 * Who floods us waits by itself: one turn takes a bounded number, below the priority of
 * signals and ends of processes, and then the socket rests. */
#include "balancer/master/notify.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/fd.h"
#include "common/line_text.h"

#define MESSAGES_PER_TURN 64
#define REST_US 10000 /* so at most 6400 a second */

static enum err bind_at(struct notify *n, const struct proc_user *owner)
{
	struct addr a;
	enum err e = addr_unix(n->path, &a);

	if (e)
		return e;
	unlink(n->path); /* epochs are never used twice: it would be a dead master's */
	if (bind(n->fd, &a.sa, a.len) != 0 || chmod(n->path, 0600) != 0)
		return ERR_SYS;
	if (owner->set && geteuid() == 0 && lchown(n->path, owner->uid, (gid_t)-1) != 0)
		return ERR_SYS;
	return ERR_OK;
}

enum err notify_open(struct notify *n, const char *path, const struct proc_user *owner)
{
	*n = (struct notify){ .fd = -1 };
	if (strlen(path) >= sizeof(n->path))
		return ERR_RANGE;
	n->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (n->fd < 0)
		return errno == EMFILE || errno == ENFILE ? ERR_FD_LIMIT : ERR_SYS;
	strcpy(n->path, path);
	enum err e = bind_at(n, owner);
	if (!e && setsockopt(n->fd, SOL_SOCKET, SO_PASSCRED, &(int){ 1 }, sizeof(int)) != 0)
		e = ERR_SYS;
	if (e) {
		int error = errno;
		notify_close(n);
		errno = error;
	}
	return e;
}

/* 0: the kernel does not say. */
static pid_t sender(struct msghdr *msg)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
		struct ucred who;
		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_CREDENTIALS)
			continue;
		memcpy(&who, CMSG_DATA(c), sizeof(who));
		return who.pid;
	}
	return 0;
}

static void keep_status(struct notify *n, struct slice status)
{
	size_t length = line_text_show(n->status, status.p, MIN(status.n, NOTIFY_STATUS_MAX), false);

	n->status[length] = '\0';
}

/* One datagram; false when there is none. */
static bool take_one(struct notify *n)
{
	char bytes[NOTIFY_BYTES_MAX + 1];
	/* Room for the credentials and nothing else: the kernel itself closes descriptors that
	 * somebody attached, and none ever becomes ours. */
	_Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(struct ucred))];
	struct iovec iov = { bytes, sizeof(bytes) };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control,
			      .msg_controllen = sizeof(control) };
	struct notify_message m;
	ssize_t got;

	do
		got = recvmsg(n->fd, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	while (got < 0 && errno == EINTR);
	if (got < 0)
		return false;
	pid_t pid = sender(&msg);
	if (pid <= 0 || getpgid(pid) != n->group) {
		n->strangers += n->strangers < UINT32_MAX;
		return true;
	}
	if (notify_message_parse(&m, bytes, (size_t)got))
		return true;
	if (m.has_status)
		keep_status(n, m.status);
	n->on_message(n->arg, &m);
	return true;
}

static bool take_some(struct notify *n)
{
	int taken = 0;

	while (taken < MESSAGES_PER_TURN && take_one(n))
		taken++;
	return taken == MESSAGES_PER_TURN;
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
	struct notify *n = arg;

	(void)fd;
	(void)what;
	if (take_some(n)) {
		event_del(&n->ev);
		event_add(&n->rest, &(struct timeval){ .tv_usec = REST_US });
	}
}

static void on_rested(evutil_socket_t fd, short what, void *arg)
{
	struct notify *n = arg;

	(void)fd;
	(void)what;
	event_add(&n->ev, NULL);
}

void notify_start(struct notify *n, struct event_base *base, pid_t group, notify_f *on_message,
		  void *arg)
{
	if (n->fd < 0)
		return;
	n->group = group;
	n->on_message = on_message;
	n->arg = arg;
	event_assign(&n->ev, base, n->fd, EV_READ | EV_PERSIST, on_readable, n);
	event_assign(&n->rest, base, -1, EV_TIMEOUT, on_rested, n);
	event_add(&n->ev, NULL);
}

void notify_drain(struct notify *n)
{
	if (n->fd >= 0)
		take_some(n);
}

void notify_close(struct notify *n)
{
	if (n->fd < 0)
		return;
	if (n->on_message) {
		event_del(&n->ev);
		event_del(&n->rest);
	}
	fd_close(&n->fd);
	unlink(n->path);
}
