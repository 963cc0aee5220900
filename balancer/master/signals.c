/* Reading signals from a signalfd; in the master.  They are blocked from the
 * first line of the run, so that none is lost and none interrupts anything. */
#include "balancer/master/signals.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "balancer/master/app.h"
#include "balancer/master/core.h"
#include "balancer/master/reload.h"
#include "common/fd.h"
#include "common/log.h"

typedef void signal_act_f(struct master *m, const char *name, const struct signalfd_siginfo *si);

static void stop(struct master *m, const char *name, const struct signalfd_siginfo *si)
{
	(void)si;
	shutdown_ask(m, name);
}

/* A terminal that has been closed sends SIGHUP too, and wants no reload: there
 * is nobody left to run for. */
static bool terminal_is_gone(void)
{
	struct pollfd p = { .fd = STDERR_FILENO, .events = 0 };
	struct pollfd q = { .fd = STDIN_FILENO, .events = 0 };

	/* Only terminals hang up on both sides; a closed pipe reports POLLERR. */
	return (poll(&p, 1, 0) > 0 && (p.revents & POLLHUP) && tcgetpgrp(STDERR_FILENO) < 0 &&
		errno == EIO) ||
	       (poll(&q, 1, 0) > 0 && (q.revents & POLLHUP) && tcgetpgrp(STDIN_FILENO) < 0 &&
		errno == EIO);
}

/* That SIGHUP comes from the kernel, and often a second time from the shell that
 * leads the session.  From anybody else, after a disown and a logout, it means a
 * reload. */
static bool from_terminal(const struct signalfd_siginfo *si)
{
	return si->ssi_code == SI_KERNEL || (pid_t)si->ssi_pid == getsid(0);
}

static void reload(struct master *m, const char *name, const struct signalfd_siginfo *si)
{
	if (from_terminal(si) && terminal_is_gone())
		shutdown_ask(m, "the terminal has been closed");
	else
		reload_ask(m, name);
}

static void reopen(struct master *m, const char *name, const struct signalfd_siginfo *si)
{
	(void)name;
	(void)si;
	logs_reopen(m);
}

static void upgrade(struct master *m, const char *name, const struct signalfd_siginfo *si)
{
	(void)si;
	upgrade_begin(m, name);
}

static void more(struct master *m, const char *name, const struct signalfd_siginfo *si)
{
	(void)name;
	(void)si;
	apps_change_instances(m, 1);
}

static void less(struct master *m, const char *name, const struct signalfd_siginfo *si)
{
	(void)name;
	(void)si;
	apps_change_instances(m, -1);
}

static void reap(struct master *m, const char *name, const struct signalfd_siginfo *si)
{
	(void)name;
	(void)si;
	master_reap_strangers(m);
}

static const struct {
	int signo;
	const char *name;
	signal_act_f *act; /* NULL: ignored */
} table[] = {
	{ SIGHUP, "SIGHUP", reload },
	{ SIGTERM, "SIGTERM", stop },
	{ SIGINT, "SIGINT", stop },
	{ SIGQUIT, "SIGQUIT", stop },
	{ SIGUSR1, "SIGUSR1", reopen },
	{ SIGUSR2, "SIGUSR2", upgrade },
	{ SIGTTIN, "SIGTTIN", more },
	{ SIGTTOU, "SIGTTOU", less },
	{ SIGCHLD, "SIGCHLD", reap },
	{ SIGPIPE, "SIGPIPE", NULL },
	{ SIGWINCH, "SIGWINCH", NULL },
};

static void acted_on(sigset_t *ret_set)
{
	sigemptyset(ret_set);
	for (size_t i = 0; i < ARRAY_LEN(table); i++)
		if (table[i].act)
			sigaddset(ret_set, table[i].signo);
}

static void on_signal(evutil_socket_t fd, short what, void *arg)
{
	struct master *m = arg;
	struct signalfd_siginfo si;

	(void)what;
	while (read(fd, &si, sizeof(si)) == sizeof(si)) {
		for (size_t i = 0; i < ARRAY_LEN(table); i++) {
			if (table[i].act && (uint32_t)table[i].signo == si.ssi_signo) {
				log_debug("%s from pid %u", table[i].name, si.ssi_pid);
				table[i].act(m, table[i].name, &si);
			}
		}
	}
}

void signals_block(struct signals *s)
{
	sigset_t set;

	s->fd = -1;
	for (size_t i = 0; i < ARRAY_LEN(table); i++)
		if (!table[i].act)
			signal(table[i].signo, SIG_IGN);
	acted_on(&set);
	sigprocmask(SIG_BLOCK, &set, NULL);
}

enum err signals_start(struct master *m)
{
	sigset_t set;

	acted_on(&set);
	m->signals.fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
	if (m->signals.fd < 0)
		return errno == EMFILE || errno == ENFILE ? ERR_FD_LIMIT : ERR_SYS;
	master_event(m, &m->signals.ev, m->signals.fd, EV_READ | EV_PERSIST, on_signal, m);
	event_add(&m->signals.ev, NULL);
	return ERR_OK;
}

void signals_stop(struct signals *s)
{
	if (s->fd >= 0)
		event_del(&s->ev);
	fd_close(&s->fd);
}
