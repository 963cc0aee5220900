/* The writer of one file, in a forked child, and its start and end in the master.  A
 * full disk is waited for: meanwhile the pipe fills, and the master drops and counts. */
#include "balancer/master/writer.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "balancer/master/core.h"
#include "balancer/sandbox/sandbox.h"
#include "common/fd.h"
#include "common/log.h"

#define CHUNK_BYTES (64 * 1024)
#define AGAIN_MS 100       /* between two tries on a disk that is full */
#define KILL_MS 100        /* until a killed one is gone */
#define LAST_TRIES_MS 5000 /* of them, once nothing more can come */

static uint64_t now_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

/* ---- the child ---------------------------------------------------------- */

/* Whether the master has closed its end, or has ended. */
static bool orphaned(int in)
{
	struct pollfd p = { .fd = in, .events = 0 };

	return poll(&p, 1, 0) > 0 && (p.revents & POLLHUP);
}

static void write_all(int in, int out, const char *p, size_t n)
{
	uint64_t give_up_us = 0;

	while (n > 0) {
		ssize_t done = write(out, p, n);
		if (done >= 0) {
			p += done;
			n -= (size_t)done;
			continue;
		}
		if (errno == EINTR)
			continue;
		/* ENOSPC, EDQUOT, EFBIG, EIO: it may be better in a moment. */
		if (give_up_us == 0 && orphaned(in))
			give_up_us = now_us() + LAST_TRIES_MS * 1000;
		if (give_up_us && now_us() > give_up_us)
			_exit(1);
		poll(NULL, 0, AGAIN_MS);
	}
}

static void copy_lines(int in, int out)
{
	static char chunk[CHUNK_BYTES];
	size_t have = 0;

	for (;;) {
		ssize_t n = read(in, chunk + have, sizeof(chunk) - have);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			break;
		have += (size_t)n;
		const char *newline = memrchr(chunk, '\n', have);
		size_t whole = newline                 ? (size_t)(newline - chunk) + 1
			       : have == sizeof(chunk) ? have
						       : 0;
		write_all(in, out, chunk, whole);
		have -= whole;
		memmove(chunk, chunk + whole, have);
	}
	write_all(in, out, chunk, have);
}

/* What the workers print is from outside, as requests are: who has found a way to own this
 * process through it can write to one file, and nothing else.
 * It obeys its pipe only: a terminal's ^C reaches the whole group. */
NORETURN static void writer_child(int in, int out, const char *name, const struct sandbox *sandbox)
{
	const int keep[] = { in, out, log_fd() };
	struct sandbox s = *sandbox;
	const char *stage;
	sigset_t none;

	for (int signo = 1; signo < NSIG; signo++)
		signal(signo, signo == SIGSEGV || signo == SIGBUS || signo == SIGFPE ||
					      signo == SIGILL || signo == SIGABRT
				      ? SIG_DFL
				      : SIG_IGN);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	fd_close_all_but(keep, ARRAY_LEN(keep));
	for (int fd = 0; fd < 3; fd++)
		if (fd != in && fd != out && fd != log_fd())
			close(fd);
	master_shed_shared(true);
	proc_title("drover: writer of %s", name);
	log_ident("writer");
	s.role = SANDBOX_WRITER;
	if (sandbox_enter(&s, &stage) || sandbox_seal(&s))
		_exit(1);
	copy_lines(in, out);
	_exit(0);
}

/* ---- in the master ------------------------------------------------------ */

static pid_t fork_writer(int in, int out, const char *name, const struct sandbox *sandbox)
{
	sigset_t all, old;

	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, &old);
	pid_t pid = fork();
	if (pid == 0)
		writer_child(in, out, name, sandbox);
	int error = errno;
	sigprocmask(SIG_SETMASK, &old, NULL);
	errno = error;
	return pid;
}

enum err writer_start(int file, const char *name, const struct sandbox *sandbox, int *ret_fd,
		      int *ret_pidfd)
{
	int fds[2];

	if (pipe2(fds, O_CLOEXEC) != 0)
		return errno == EMFILE || errno == ENFILE ? ERR_FD_LIMIT : ERR_SYS;
	(void)fcntl(fds[1], F_SETPIPE_SZ, WRITER_PIPE_BYTES); /* a smaller one will do */
	fcntl(fds[1], F_SETFL, O_NONBLOCK);
	pid_t pid = fork_writer(fds[0], file, name, sandbox);
	int error = errno;
	fd_close(&fds[0]);
	if (pid > 0 && fd_of_pid(pid, ret_pidfd) == ERR_OK) {
		*ret_fd = fds[1];
		return ERR_OK;
	}
	if (pid > 0)
		error = errno; /* it finds its pipe closed */
	fd_close(&fds[1]);
	errno = error;
	return ERR_SYS;
}

bool writer_end(int *pidfd, uint64_t deadline_us)
{
	siginfo_t si = { .si_status = 0 };
	struct pollfd p = { .fd = *pidfd, .events = POLLIN };
	uint64_t now;

	while ((now = now_us()) < deadline_us) {
		int n = poll(&p, 1, (int)((deadline_us - now + 999) / 1000));
		if (n > 0 || (n < 0 && errno != EINTR))
			break;
	}
	bool late = poll(&p, 1, 0) <= 0;
	if (late && fd_signal_pid(*pidfd, SIGKILL) == ERR_OK)
		poll(&p, 1, KILL_MS); /* one that a disk holds is left to init */
	/* Somebody else may have reaped it. */
	if (waitid(P_PIDFD, (id_t)*pidfd, &si, WEXITED | WNOHANG) == 0 && si.si_pid > 0)
		late = late || si.si_code != CLD_EXITED || si.si_status != 0;
	fd_close(pidfd);
	return !late;
}
