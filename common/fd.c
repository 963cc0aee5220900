/* Descriptors, in every process.  All that is made here is close-on-exec, so
 * that nothing reaches a worker which was not handed to it on purpose.  errno
 * after ERR_SYS is that of the call which failed. */
#include "common/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static enum err sys_err(void)
{
	return errno == EMFILE || errno == ENFILE ? ERR_FD_LIMIT : ERR_SYS;
}

void fd_close(int *fd)
{
	int saved = errno;

	if (*fd >= 0)
		close(*fd); /* not again on EINTR: Linux has released it by then */
	*fd = -1;
	errno = saved;
}

void fd_reset(int *fd)
{
	struct linger at_once = { .l_onoff = 1, .l_linger = 0 };

	if (*fd >= 0)
		setsockopt(*fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
	fd_close(fd);
}

static enum err change_flag(int fd, int get, int set, int flag, bool on)
{
	int old = fcntl(fd, get);

	if (old < 0)
		return ERR_SYS;
	int want = on ? old | flag : old & ~flag;
	return want == old || fcntl(fd, set, want) == 0 ? ERR_OK : ERR_SYS;
}

enum err fd_set_nonblock(int fd, bool on)
{
	return change_flag(fd, F_GETFL, F_SETFL, O_NONBLOCK, on);
}

enum err fd_set_cloexec(int fd, bool on)
{
	return change_flag(fd, F_GETFD, F_SETFD, FD_CLOEXEC, on);
}

/* ---- sockets ----------------------------------------------------------- */

static enum err new_socket(const struct addr *a, int *ret_fd)
{
	int fd = socket(a->sa.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return sys_err();
	*ret_fd = fd;
	return ERR_OK;
}

static bool set_option(int fd, int level, int option)
{
	return setsockopt(fd, level, option, &(int){ 1 }, sizeof(int)) == 0;
}

void fd_set_nodelay(int fd)
{
	(void)set_option(fd, IPPROTO_TCP, TCP_NODELAY);
}

void fd_defer_accept(int listener, bool on)
{
	setsockopt(listener, IPPROTO_TCP, TCP_DEFER_ACCEPT, &(int){ on }, sizeof(int));
}

/* A socket bound to a TCP address. */
static enum err bind_tcp(const struct addr *a, bool reuseport, int *ret_fd)
{
	int fd;
	enum err e = new_socket(a, &fd);

	if (e)
		return e;
	/* SO_REUSEADDR: connections of an earlier run in TIME_WAIT do not keep us
	 * from the port; a listener on it still does. */
	if (!set_option(fd, SOL_SOCKET, SO_REUSEADDR) ||
	    (reuseport && !set_option(fd, SOL_SOCKET, SO_REUSEPORT)) ||
	    (a->sa.sa_family == AF_INET6 && !set_option(fd, IPPROTO_IPV6, IPV6_V6ONLY)) ||
	    bind(fd, &a->sa, a->len) != 0) {
		e = sys_err();
		fd_close(&fd);
		return e;
	}
	*ret_fd = fd;
	return ERR_OK;
}

/* What is at the path of a Unix address: ERR_OK when nothing is, or a socket
 * that nobody listens on (*ret_stale); ERR_SYS with EADDRINUSE when somebody
 * does, ENOTSOCK when it is no socket at all, and not ours to remove. */
static enum err look_at_unix(const struct addr *a, bool *ret_stale)
{
	struct stat st;
	int fd;

	*ret_stale = false;
	if (lstat(a->un.sun_path, &st) != 0)
		return errno == ENOENT ? ERR_OK : ERR_SYS;
	if (!S_ISSOCK(st.st_mode)) {
		errno = ENOTSOCK;
		return ERR_SYS;
	}
	enum err e = new_socket(a, &fd);
	if (e)
		return e;
	int error = connect(fd, &a->sa, a->len) == 0 ? 0 : errno;
	fd_close(&fd);
	switch (error) {
	case ECONNREFUSED:
		*ret_stale = true;
		return ERR_OK;
	case ENOENT: /* gone since lstat() */
		return ERR_OK;
	case 0:
	case EAGAIN:     /* its backlog is full: alive */
	case EPROTOTYPE: /* a datagram socket: alive */
		errno = EADDRINUSE;
		return ERR_SYS;
	default:
		errno = error;
		return ERR_SYS;
	}
}

static enum err bind_unix(const struct addr *a, mode_t mode, int *ret_fd)
{
	bool stale;
	int fd;
	enum err e = look_at_unix(a, &stale);

	if (e)
		return e;
	if (stale && unlink(a->un.sun_path) != 0 && errno != ENOENT)
		return ERR_SYS;
	e = new_socket(a, &fd);
	if (e)
		return e;
	/* The file is born with its final mode: no moment at which more may connect. */
	mode_t old = umask(~mode & 0777);
	int bound = bind(fd, &a->sa, a->len);
	int error = errno;
	umask(old);
	if (bound != 0) {
		fd_close(&fd);
		errno = error;
		return ERR_SYS;
	}
	*ret_fd = fd;
	return ERR_OK;
}

enum err fd_listen(const struct addr *a, bool reuseport, int backlog, mode_t unix_mode,
		   int *ret_fd)
{
	int fd;
	enum err e = addr_is_unix(a) ? bind_unix(a, unix_mode, &fd) : bind_tcp(a, reuseport, &fd);

	if (e)
		return e;
	if (listen(fd, backlog) != 0) {
		fd_close(&fd);
		return ERR_SYS;
	}
	fd_set_nodelay(fd); /* inherited by every connection that is accepted */
	*ret_fd = fd;
	return ERR_OK;
}

enum err fd_probe_bind(const struct addr *a)
{
	bool stale;
	int fd;

	if (addr_is_unix(a))
		return look_at_unix(a, &stale);
	enum err e = bind_tcp(a, false, &fd);
	if (e)
		return e;
	fd_close(&fd);
	return ERR_OK;
}

/* A connect to a free port of the ephemeral range may meet itself: the kernel
 * chose that very port for our end, and both ends are one socket.  Closed with a
 * reset, so that no TIME_WAIT occupies a port that somebody is about to listen on. */
static bool met_itself(int fd, const struct addr *peer)
{
	struct addr here = { .len = sizeof(here.un) };
	struct linger at_once = { .l_onoff = 1, .l_linger = 0 };

	if (addr_is_unix(peer) || getsockname(fd, &here.sa, &here.len) != 0 ||
	    !addr_equal(&here, peer))
		return false;
	setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
	return true;
}

enum err fd_connect(const struct addr *a, int *ret_fd, bool *ret_done)
{
	int fd;
	enum err e = new_socket(a, &fd);

	if (e)
		return e;
	if (!addr_is_unix(a))
		fd_set_nodelay(fd);
	bool done = connect(fd, &a->sa, a->len) == 0;
	if (!done && errno != EINPROGRESS) {
		fd_close(&fd);
		return ERR_SYS;
	}
	if (met_itself(fd, a)) {
		fd_close(&fd);
		errno = ECONNREFUSED;
		return ERR_SYS;
	}
	*ret_fd = fd;
	*ret_done = done;
	return ERR_OK;
}

/* ---- processes and memory ---------------------------------------------- */

enum err fd_of_pid(pid_t pid, int *ret_fd)
{
	int fd = (int)syscall(SYS_pidfd_open, pid, 0);

	if (fd < 0)
		return ERR_SYS;
	*ret_fd = fd;
	return ERR_OK;
}

enum err fd_signal_pid(int pidfd, int signo)
{
	return syscall(SYS_pidfd_send_signal, pidfd, signo, NULL, 0) == 0 ? ERR_OK : ERR_SYS;
}

enum err fd_shared_segment(const char *name, size_t bytes, int *ret_fd, void **ret_map)
{
	int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
	void *map;

	if (fd < 0)
		return ERR_SYS;
	if (ftruncate(fd, (off_t)bytes) != 0)
		goto close_fd;
	map = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED)
		goto close_fd;
	/* Shrunk by one holder, it would kill the others with SIGBUS. */
	if (fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0)
		goto unmap;
	*ret_fd = fd;
	*ret_map = map;
	return ERR_OK;
unmap:
	munmap(map, bytes);
close_fd:
	fd_close(&fd);
	return ERR_SYS;
}

enum err fd_reopen_readonly(int fd, int *ret_fd)
{
	char path[32];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	int other = open(path, O_RDONLY | O_CLOEXEC);
	if (other < 0)
		return sys_err();
	*ret_fd = other;
	return ERR_OK;
}

enum err fd_sealed(const char *name, const void *data, size_t n, int *ret_fd)
{
	int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
	const char *p = data;

	if (fd < 0)
		return sys_err();
	while (n > 0) {
		ssize_t written = write(fd, p, n);
		if (written < 0 && errno == EINTR)
			continue;
		if (written <= 0)
			goto close_fd;
		p += written;
		n -= (size_t)written;
	}
	if (fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL) == 0) {
		*ret_fd = fd;
		return ERR_OK;
	}
close_fd:
	fd_close(&fd);
	return ERR_SYS;
}

/* ---- flags and inheritance --------------------------------------------- */

/* Closes `first`..`last`, both included.  One by one where the kernel (before
 * 5.9) or a sandbox does not know close_range(2). */
static void close_span(unsigned first, unsigned last)
{
	struct rlimit limit;

	if (first > last || syscall(SYS_close_range, first, last, 0) == 0)
		return;
	if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur > INT_MAX)
		limit.rlim_cur = INT_MAX;
	for (unsigned fd = first; fd <= last && fd < limit.rlim_cur; fd++)
		close((int)fd);
}

void fd_close_all_but(const int *keep, size_t n)
{
	unsigned from = 3;

	/* Ascending without sorting or memory: this also runs between fork and exec. */
	for (;;) {
		unsigned next = UINT_MAX;
		for (size_t i = 0; i < n; i++) {
			if (keep[i] >= 0 && (unsigned)keep[i] >= from)
				next = MIN(next, (unsigned)keep[i]);
		}
		if (next == UINT_MAX)
			break;
		close_span(from, next - 1);
		from = next + 1;
	}
	close_span(from, UINT_MAX);
}

enum err fd_private_nonblock(int fd, int *ret_fd)
{
	char path[64];
	struct stat st;
	int own = -1;
	int flags = fcntl(fd, F_GETFL);

	if (flags < 0 || fstat(fd, &st) != 0)
		return ERR_SYS;
	/* Only where waiting is possible.  A file must keep its shared offset, or
	 * `(a; drover; b) > log` would write over itself; a socket cannot be opened. */
	if (S_ISFIFO(st.st_mode) || S_ISCHR(st.st_mode)) {
		snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
		flags &= O_ACCMODE | O_APPEND;
		own = open(path, flags | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	}
	if (own < 0)
		own = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	if (own < 0)
		return sys_err();
	*ret_fd = own;
	return ERR_OK;
}
