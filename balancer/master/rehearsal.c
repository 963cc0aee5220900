/* Asking a program; in the master, called by upgrade.c.  The master does not wait: the
 * answer arrives in the loop. */
#include "balancer/master/rehearsal.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/fd.h"
#include "common/proc.h"

extern char **environ;

static void read_output(struct rehearsal *r)
{
	char waste[1024];

	for (;;) {
		bool room = r->n < REHEARSAL_OUTPUT;
		ssize_t n = read(r->fd, room ? r->output + r->n : waste,
				 room ? REHEARSAL_OUTPUT - r->n : sizeof(waste));
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			if (n == 0)
				event_del(&r->ev_output);
			break;
		}
		r->n += room ? (size_t)n : 0;
	}
	r->output[r->n] = '\0';
}

static void on_output(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	read_output(arg);
}

static void forget(struct rehearsal *r)
{
	event_del(&r->ev_ended);
	event_del(&r->ev_output);
	event_del(&r->ev_deadline);
	fd_close(&r->pidfd);
	fd_close(&r->fd);
	r->pid = 0;
}

static void on_ended(evutil_socket_t fd, short what, void *arg)
{
	struct rehearsal *r = arg;
	siginfo_t si = { .si_pid = 0 };
	char text[64], failure[128];

	(void)fd;
	(void)what;
	if (waitid(P_PID, (id_t)r->pid, &si, WEXITED | WNOHANG) != 0 || si.si_pid == 0)
		return;
	read_output(r);
	kill(-r->pid, SIGKILL); /* what it may have started */
	forget(r);
	bool good = si.si_code == CLD_EXITED && si.si_status == 0;
	if (r->late)
		snprintf(failure, sizeof(failure), "no answer within %.0f s", (double)r->ms / 1e3);
	else
		snprintf(failure, sizeof(failure), "%s",
			 proc_exit_text(si.si_code, si.si_status, text));
	r->on_done(r->arg, r->output, good && !r->late ? NULL : failure);
}

static void on_deadline(evutil_socket_t fd, short what, void *arg)
{
	struct rehearsal *r = arg;

	(void)fd;
	(void)what;
	r->late = true;
	kill(-r->pid, SIGKILL); /* its end arrives */
}

static void watch(struct rehearsal *r, struct event_base *base)
{
	struct timeval tv = { .tv_sec = (time_t)(r->ms / 1000),
			      .tv_usec = (suseconds_t)(r->ms % 1000 * 1000) };

	event_assign(&r->ev_ended, base, r->pidfd, EV_READ | EV_PERSIST, on_ended, r);
	event_assign(&r->ev_output, base, r->fd, EV_READ | EV_PERSIST, on_output, r);
	event_assign(&r->ev_deadline, base, -1, EV_TIMEOUT, on_deadline, r);
	event_add(&r->ev_ended, NULL);
	event_add(&r->ev_output, NULL);
	event_add(&r->ev_deadline, &tv);
}

enum err rehearsal_start(struct rehearsal *r, struct event_base *base, char *const *argv,
			 int stdin_fd, uint64_t ms, rehearsal_f *on_done, void *arg)
{
	struct proc_failure failure = { .error = 0 };
	int ends[2];

	if (pipe2(ends, O_CLOEXEC) != 0)
		return ERR_SYS;
	fcntl(ends[0], F_SETFL, O_NONBLOCK);
	*r = (struct rehearsal){ .pidfd = -1, .fd = ends[0], .ms = ms, .on_done = on_done,
				 .arg = arg };
	struct proc_spec spec = { .argv = argv, .env = environ, .stdin_fd = stdin_fd,
				  .stdout_fd = ends[1], .stderr_fd = ends[1] };
	enum err e = proc_spawn(&spec, &r->pid, &r->pidfd, &failure);
	fd_close(&ends[1]);
	if (e) {
		fd_close(&r->fd);
		r->pid = 0;
		errno = failure.error;
		return e;
	}
	watch(r, base);
	return ERR_OK;
}

void rehearsal_cancel(struct rehearsal *r)
{
	if (r->pid == 0)
		return;
	kill(-r->pid, SIGKILL);
	forget(r); /* reaped like any child that is not ours to know */
}
