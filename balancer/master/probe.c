/* The HTTP probe, which is a process of its own: the master reads no byte that came from a
 * network.  Started and ended by ready.c and health.c.
 *
 *   master ── fork ──► probe: connect, GET, read, pause, again
 *      ▲                  │
 *      └── struct probe_report, a pipe ── after each try
 *
 * It runs as the balancers' user: that it reaches the worker proves that they will; and in a
 * sandbox like theirs. */
#include "balancer/master/probe.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "balancer/master/core.h"
#include "common/fd.h"
#include "common/http_parse.h"
#include "common/log.h"

#define HEAD_BYTES 8192

static const struct http_limits limits = { .head_bytes = HEAD_BYTES, .uri_bytes = HEAD_BYTES,
					   .fields = 100 };

/* ---- one try ------------------------------------------------------------ */

static uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

/* False when `until_ms` has come first. */
static bool await(int fd, short events, uint64_t until_ms)
{
	for (;;) {
		uint64_t now = now_ms();
		struct pollfd p = { .fd = fd, .events = events };
		int n = now < until_ms ? poll(&p, 1, (int)(until_ms - now)) : 0;
		if (n > 0)
			return true;
		if (n == 0 || errno != EINTR)
			return false;
	}
}

static struct probe_report verdict(enum probe_verdict v)
{
	return (struct probe_report){ .verdict = (uint16_t)v };
}

static bool reach(const struct addr *address, uint64_t until_ms, int *ret_fd)
{
	int error = 0;
	bool done;

	if (fd_connect(address, ret_fd, &done))
		return false;
	if (done)
		return true;
	if (await(*ret_fd, POLLOUT, until_ms) &&
	    getsockopt(*ret_fd, SOL_SOCKET, SO_ERROR, &error, &(socklen_t){ sizeof(error) }) == 0 &&
	    error == 0)
		return true;
	fd_close(ret_fd);
	return false;
}

static bool ask(int fd, const char *path)
{
	char request[2048];
	int n = snprintf(request, sizeof(request),
			 "GET %s HTTP/1.1\r\nHost: localhost\r\nUser-Agent: drover-probe/" DROVER_VERSION
			 "\r\nAccept: */*\r\nConnection: close\r\n\r\n", path);

	/* A fresh socket takes as much at once. */
	return n > 0 && (size_t)n < sizeof(request) &&
	       send(fd, request, (size_t)n, MSG_NOSIGNAL) == n;
}

/* Of what has come: true when the verdict is known.  Interim answers are passed over. */
static bool judge(char *bytes, size_t *n, size_t *seen, struct probe_report *ret)
{
	static struct http_head head;
	enum http_rule rule;

	for (;;) {
		enum http_verdict v = http_parse_reply(&head, bytes, *n, *seen, &limits,
						       HTTP_M_GET, &rule);
		*seen = *n;
		*ret = verdict(PROBE_NOT_HTTP);
		if (v == HTTP_PARTIAL)
			return *n == HEAD_BYTES;
		if (v != HTTP_WHOLE)
			return true;
		if (head.status >= 200 || head.status == 101)
			break;
		*n -= head.head_bytes;
		*seen = 0;
		memmove(bytes, bytes + head.head_bytes, *n);
	}
	ret->status = head.status;
	ret->verdict = head.status >= 200 && head.status <= 399 ? PROBE_READY : PROBE_STATUS;
	return true;
}

static struct probe_report hear(int fd, uint64_t until_ms)
{
	char bytes[HEAD_BYTES];
	size_t n = 0, seen = 0;
	struct probe_report report;

	while (await(fd, POLLIN, until_ms)) {
		ssize_t got = recv(fd, bytes + n, sizeof(bytes) - n, 0);
		if (got < 0 && (errno == EINTR || errno == EAGAIN))
			continue;
		if (got <= 0)
			return verdict(PROBE_CLOSED);
		n += (size_t)got;
		if (judge(bytes, &n, &seen, &report))
			return report;
	}
	return verdict(PROBE_SILENT);
}

struct probe_report probe_once(const struct addr *address, const char *path, uint64_t timeout_ms)
{
	uint64_t until_ms = now_ms() + timeout_ms;
	int fd;

	if (!reach(address, until_ms, &fd))
		return verdict(PROBE_REFUSED);
	struct probe_report report = ask(fd, path) ? hear(fd, until_ms) : verdict(PROBE_CLOSED);
	fd_close(&fd);
	return report;
}

/* ---- the child ---------------------------------------------------------- */

/* What the master holds is shed as in balancer_child.c. */
NORETURN static void probe_child(const struct addr *address, const struct probe_plan *plan,
				 const struct sandbox *sandbox, int fd, pid_t master)
{
	struct probe_report report = verdict(PROBE_REFUSED);
	struct sandbox s = *sandbox;
	int keep[] = { fd, log_fd() };
	const char *stage;
	sigset_t none;
	uint32_t good = 0;

	for (int signo = 1; signo < NSIG; signo++)
		signal(signo, SIG_DFL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	fd_close_all_but(keep, ARRAY_LEN(keep));
	master_shed_shared(true);
	proc_title("drover: probe");
	log_ident("probe");
	s.connect_port = addr_is_unix(address) ? 0 : addr_port(address);
	/* The wish to die with the master after the change of user, which takes it back. */
	if (sandbox_enter(&s, &stage) || prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 ||
	    getppid() != master || sandbox_seal(&s))
		_exit(1);
	for (;;) {
		report = probe_once(address, plan->path, plan->timeout_ms);
		if (write(fd, &report, sizeof(report)) != sizeof(report))
			_exit(0);
		if (good < plan->rise)
			good = report.verdict == PROBE_READY ? good + 1 : 0;
		if (good == plan->rise && !plan->pause_ms)
			_exit(0);
		poll(NULL, 0, (int)(good == plan->rise ? plan->pause_ms : plan->first_pause_ms));
	}
}

/* ---- in the master ------------------------------------------------------ */

/* No handler of ours runs in the child: signals wait until it has put them back. */
static pid_t fork_probe(const struct addr *address, const struct probe_plan *plan,
			const struct sandbox *sandbox, int fd)
{
	sigset_t all, old;
	pid_t master = getpid();

	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, &old);
	pid_t pid = fork();
	if (pid == 0)
		probe_child(address, plan, sandbox, fd, master);
	int error = errno;
	sigprocmask(SIG_SETMASK, &old, NULL);
	errno = error;
	return pid;
}

enum err probe_start(const struct addr *address, const struct probe_plan *plan,
		     const struct sandbox *sandbox, int *ret_pidfd, int *ret_fd)
{
	int fds[2];

	if (pipe2(fds, O_CLOEXEC) != 0)
		return errno == EMFILE || errno == ENFILE ? ERR_FD_LIMIT : ERR_SYS;
	pid_t pid = fork_probe(address, plan, sandbox, fds[1]);
	int error = errno;
	fd_close(&fds[1]);
	if (pid > 0 && fd_of_pid(pid, ret_pidfd) == ERR_OK) {
		fcntl(fds[0], F_SETFL, O_NONBLOCK);
		*ret_fd = fds[0];
		return ERR_OK;
	}
	if (pid > 0) {
		error = errno;
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
	}
	fd_close(&fds[0]);
	errno = error;
	return ERR_SYS;
}

void probe_text(const struct addr *address, const char *path, const struct probe_report *report,
		char *buf, size_t size)
{
	static const char *const texts[PROBE_MAX] = {
		[PROBE_READY] = "has just answered",
		[PROBE_STATUS] = "is answered",
		[PROBE_REFUSED] = "finds no connection",
		[PROBE_CLOSED] = "is not answered: the connection is closed",
		[PROBE_SILENT] = "is not answered in time",
		[PROBE_NOT_HTTP] = "is answered by something that is not HTTP",
	};
	char text[ADDR_TEXT_MAX], status[16] = "";

	if (report->verdict == PROBE_STATUS)
		snprintf(status, sizeof(status), " %u", report->status);
	snprintf(buf, size, "GET %.200s on %s %s%s", path, addr_format(address, text),
		 texts[report->verdict], status);
}

void probe_end(int *pidfd, int *fd)
{
	siginfo_t si;

	/* By the descriptor: somebody else may have reaped it.  Once killed it is gone in a
	 * moment: it waits for nothing but sockets. */
	(void)!fd_signal_pid(*pidfd, SIGKILL);
	while (waitid(P_PIDFD, (id_t)*pidfd, &si, WEXITED) != 0 && errno == EINTR)
		;
	fd_close(pidfd);
	fd_close(fd);
}
