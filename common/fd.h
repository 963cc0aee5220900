/* Descriptors: flags, sockets, passing, pidfds, shared segments. */
#ifndef DROVER_COMMON_FD_H
#define DROVER_COMMON_FD_H

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "common/addr.h"
#include "common/err.h"

/* Closes *fd when it is >= 0 and sets it to -1.  errno is kept. */
void fd_close(int *fd);

MUST_CHECK enum err fd_set_nonblock(int fd, bool on);
MUST_CHECK enum err fd_set_cloexec(int fd, bool on);

void fd_set_nodelay(int fd); /* TCP_NODELAY; harmless on Unix sockets */

/* On: a connection is to be accepted when its first bytes have come, or FD_DEFER_MS after it was
 * made (TCP_DEFER_ACCEPT, tcp(7): until SYN-ACK has been sent again).  Harmless on Unix sockets.
 * Off: those of the future are accepted at once, those that wait already as before. */
#define FD_DEFER_MS 1000
void fd_defer_accept(int listener, bool on);

/* A listening socket, non-blocking and close-on-exec; what it accepts has TCP_NODELAY.
 * SO_REUSEPORT when `reuseport`.  IPv6 sockets take IPv6 only, as in nginx: "0.0.0.0:80" and
 * "[::]:80" stand side by side.  The file of a Unix socket has mode `unix_mode`;
 * a stale one (nobody listens) is replaced.  ERR_SYS with errno (EADDRINUSE: also
 * a live Unix socket; ENOTSOCK: another kind of file is there), ERR_FD_LIMIT. */
MUST_CHECK enum err fd_listen(const struct addr *a, bool reuseport, int backlog,
			      mode_t unix_mode, int *ret_fd);

/* Whether somebody else already listens on `a` (a plain bind is tried and
 * undone): SO_REUSEPORT would let us share the port silently.  ERR_SYS with
 * errno (EADDRINUSE, EACCES, EADDRNOTAVAIL ...). */
MUST_CHECK enum err fd_probe_bind(const struct addr *a);

/* Starts a non-blocking connect with TCP_NODELAY.  ERR_OK: connected or in
 * progress (*ret_done tells); ERR_SYS with errno, EAGAIN when a Unix listener's
 * backlog is full (there is nothing to wait for: try again or elsewhere),
 * ECONNREFUSED also when nobody listens and the socket met itself;
 * ERR_FD_LIMIT. */
MUST_CHECK enum err fd_connect(const struct addr *a, int *ret_fd, bool *ret_done);

/* pidfd_open(2) and pidfd_send_signal(2).  ERR_SYS with errno. */
MUST_CHECK enum err fd_of_pid(pid_t pid, int *ret_fd);
MUST_CHECK enum err fd_signal_pid(int pidfd, int signo);

/* Closes a TCP socket with RST instead of FIN; *fd becomes -1. */
void fd_reset(int *fd);

/* An anonymous shared segment of `bytes`, zeroed, close-on-exec, sealed against
 * resizing; *ret_map is a read-write MAP_SHARED mapping. */
MUST_CHECK enum err fd_shared_segment(const char *name, size_t bytes, int *ret_fd, void **ret_map);

/* Another descriptor of the segment `fd`, for reading alone: what is mapped through it can
 * never become writable.  Close-on-exec.  ERR_SYS with errno (no /proc: ENOENT), ERR_FD_LIMIT. */
MUST_CHECK enum err fd_reopen_readonly(int fd, int *ret_fd);

/* A memfd that holds the `n` bytes at `data`, sealed against every change, so that who
 * gets it may map it and believe its size.  Close-on-exec.  ERR_SYS with errno,
 * ERR_FD_LIMIT. */
MUST_CHECK enum err fd_sealed(const char *name, const void *data, size_t n, int *ret_fd);

/* Whether none of the last `n` bytes that were sent on a TCP socket has reached the
 * peer's kernel.  Where the peer's FIN has come and no reset, its FIN then left before
 * they came, and no program there can have read them.  False where that cannot be told; on a
 * Unix socket always: there what comes after the end is refused by send(2) itself. */
bool fd_tcp_unheard(int fd, size_t n);

/* Closes every descriptor >= 3 but the `n` ones in `keep` (in any order). */
void fd_close_all_but(const int *keep, size_t n);

/* A private, non-blocking description of a pipe or terminal where /proc allows
 * it; of anything else a duplicate (files do not wait and must keep the offset
 * they share; sockets cannot be opened, use MSG_DONTWAIT).  Never changes the
 * flags of `fd` itself, which others may share.  Close-on-exec.  ERR_SYS with
 * errno, ERR_FD_LIMIT. */
MUST_CHECK enum err fd_private_nonblock(int fd, int *ret_fd);

#endif
