/* Starting, hearing and replacing the monitor; in the master.
 *
 *   fork ──► ASK ──► command_run() ──► ANSWER
 *     \______ any end, or silence: replaced, at once unless it keeps ending
 *
 * It reads what comes over the admin sockets, so it is trusted as little as a balancer: a
 * message that makes no sense ends it.  It never makes the master wait: while an answer
 * cannot be sent, nothing more is read, and the kernel's buffer holds it up. */
#include "balancer/master/monitor_proc.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "balancer/master/child.h"
#include "balancer/master/core.h"
#include "common/contract.h"
#include "common/fd.h"
#include "common/log.h"
#include "common/mem.h"

#define ASKS_A_TURN 4     /* each may cost a snapshot */
#define RENEW_MS 5000 /* to finish what it has, when another is to take over */
#define FAREWELL_MS 600  /* to send what it has */
#define RETRY_MS 1000
#define SILENT_MS 8000   /* it says that it is alive four times as often */

static void start_again(struct master *m);

/* ---- in the child ------------------------------------------------------- */

static NORETURN void child(struct master *m, int channel)
{
	int keep[] = { m->admin.now.fd, m->admin.now.tcp_fd, channel, log_fd() };

	child_obeys_its_channel();
	log_ident("monitor");
	proc_title("drover: monitor of %s", m->name);
	const struct roster *roster = child_take_board(m, TALLY_ROWS);
	fd_close_all_but(keep, ARRAY_LEN(keep));
	child_stdin_from_null();
	child_enter_sandbox(SANDBOX_MONITOR, &m->balancer_user, m->config->cfg);
	struct monitor_heritage h = { .name = m->name,
				      .config_file = m->opt->config_file,
				      .roster = roster,
				      .tally = m->tally,
				      .channel = channel,
				      .admin_fd = m->admin.now.fd,
				      .admin_tcp_fd = m->admin.now.tcp_fd,
				      .seal = child_seal };
	child_leave(m->monitor_main(&h));
}

/* ---- what it is told ---------------------------------------------------- */

static void end_it(struct monitor_proc *mon)
{
	if (mon->pid && fd_signal_pid(mon->pidfd, SIGKILL))
		log_error("cannot kill the monitor (pid %d): %s", (int)mon->pid, strerror(errno));
}

/* True when it was sent, or never will be: the process is about to be found dead. */
static bool sent(struct monitor_proc *mon, const struct msg *message, int fd)
{
	enum err e = msg_send(mon->channel, message, fd);

	if (e == ERR_AGAIN) {
		event_add(&mon->ev_writable, NULL);
		return false;
	}
	if (e && e != ERR_CLOSED) {
		log_error("cannot send %s to the monitor (pid %d): %s; ending it",
			  msg_name(message->type), (int)mon->pid,
			  e == ERR_SYS ? strerror(errno) : err_text(e));
		end_it(mon);
	}
	return true;
}

static bool send_owed(struct monitor_proc *mon)
{
	struct msg message = { .type = mon->owed.fd >= 0 ? MSG_ANSWER_WITH : MSG_ANSWER,
			       .answer = { .ticket = mon->owed_ticket,
					   .code = mon->owed.code,
					   .number = mon->owed.number } };

	if (mon->owes && !sent(mon, &message, mon->owed.fd))
		return false;
	mon->owes = false;
	fd_close(&mon->owed.fd);
	return true;
}

static void tell(struct master *m)
{
	struct monitor_proc *mon = &m->monitor;
	struct msg reopen = { .type = MSG_REOPEN, .reopen = { .which = LOG_KIND_ERROR } };

	if (mon->channel < 0 || !send_owed(mon))
		return;
	if (mon->tell_reopen && m->logs.error_fd >= 0 && !sent(mon, &reopen, m->logs.error_fd))
		return;
	mon->tell_reopen = false;
	event_add(&mon->ev_channel, NULL);
}

static void on_writable(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	tell(arg);
}

void monitor_reopen(struct master *m)
{
	m->monitor.tell_reopen = true;
	tell(m);
}

/* It is stopped, or its loop does not turn: whoever asks it waits for nothing. */
static void on_silent(evutil_socket_t fd, short what, void *arg)
{
	struct master *m = arg;
	struct monitor_proc *mon = &m->monitor;

	(void)fd;
	(void)what;
	log_error("the monitor (pid %d) hangs: not a word for %d s; killing it", (int)mon->pid,
		  SILENT_MS / 1000);
	end_it(mon);
}

/* ---- what it says ------------------------------------------------------- */

/* ERR_PROTOCOL: it makes no sense. */
static enum err hear(struct master *m, const struct msg *message)
{
	struct monitor_proc *mon = &m->monitor;

	master_timer(&mon->ev_silent, SILENT_MS);
	if (message->type == MSG_ALIVE)
		return ERR_OK;
	if (message->type != MSG_ASK)
		return ERR_PROTOCOL;
	enum err e = command_run(m, message, &mon->owed);
	if (e)
		return e;
	mon->owes = true;
	mon->owed_ticket = message->ask.ticket;
	return ERR_OK;
}

static void on_message(evutil_socket_t fd, short what, void *arg)
{
	struct master *m = arg;
	struct monitor_proc *mon = &m->monitor;
	struct msg message;
	int rider;

	(void)fd;
	(void)what;
	for (int i = 0; i < ASKS_A_TURN; i++) {
		enum err e = msg_recv(mon->channel, MSG_UP, &message, &rider);
		if (e == ERR_AGAIN)
			return;
		if (e == ERR_CLOSED) {
			event_del(&mon->ev_channel); /* its end is seen through the pidfd */
			return;
		}
		if (!e)
			e = hear(m, &message);
		if (e) {
			log_error("the monitor (pid %d) sent %s; ending it", (int)mon->pid,
				  e == ERR_PROTOCOL ? "a message that makes no sense" : err_text(e));
			event_del(&mon->ev_channel);
			end_it(mon);
			return;
		}
		if (!send_owed(mon)) {
			event_del(&mon->ev_channel); /* until it takes the answer: tell() */
			return;
		}
	}
}

/* ---- its start and its end ---------------------------------------------- */

/* Nothing more is heard of it, nor of its end. */
static void close_channel(struct monitor_proc *mon)
{
	event_del(&mon->ev_ended);
	event_del(&mon->ev_channel);
	event_del(&mon->ev_writable);
	event_del(&mon->ev_silent);
	fd_close(&mon->channel);
}

static void close_process(struct monitor_proc *mon)
{
	if (mon->pid == 0)
		return;
	close_channel(mon);
	fd_close(&mon->pidfd);
	fd_close(&mon->owed.fd);
	mon->owes = false;
	mon->pid = 0;
}

static void start_later(struct master *m)
{
	struct monitor_proc *mon = &m->monitor;
	uint32_t ends = backoff_note_end(&mon->history, &backoff_own_processes, master_now_us(), true);
	uint64_t wait = backoff_own_delay_ms(ends, true, (uint32_t)random());

	if (wait == 0) {
		start_again(m);
		return;
	}
	log_warn("the monitor keeps ending: starting another in %.1f s", (double)wait / 1e3);
	master_timer(&mon->ev_restart, wait);
}

static void on_ended(evutil_socket_t fd, short what, void *arg)
{
	struct master *m = arg;
	struct monitor_proc *mon = &m->monitor;
	siginfo_t si = { .si_pid = 0 };
	char text[64];

	(void)fd;
	(void)what;
	if (waitid(P_PID, (id_t)mon->pid, &si, WEXITED | WNOHANG) != 0 || si.si_pid == 0)
		return;
	if (!mon->relieved)
		log_error("the monitor (pid %d) ended: %s; commands are answered by the next one",
			  (int)mon->pid, proc_exit_text(si.si_code, si.si_status, text));
	close_process(mon);
	master_reap_strangers(m);
	if (!mon->wanted)
		return;
	event_del(&mon->ev_restart);
	if (mon->relieved)
		start_again(m);
	else
		start_later(m);
}

static enum err fork_monitor(struct master *m)
{
	struct monitor_proc *mon = &m->monitor;
	int channel[2];
	enum err e = msg_pair(channel);

	if (e)
		return e;
	master_publish(m);
	pid_t pid = fork();
	if (pid == 0) {
		fd_close(&channel[0]);
		child(m, channel[1]);
	}
	int error = errno;
	fd_close(&channel[1]);
	if (pid > 0 && fd_of_pid(pid, &mon->pidfd)) {
		error = errno;
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
		pid = -1;
	}
	if (pid < 0) {
		fd_close(&channel[0]);
		errno = error;
		return ERR_SYS;
	}
	mon->pid = pid;
	mon->channel = channel[0];
	return ERR_OK;
}

static void start_again(struct master *m)
{
	struct monitor_proc *mon = &m->monitor;

	mon->relieved = mon->tell_reopen = false;
	if (!admin_is_on(&m->admin))
		return;
	enum err e = fork_monitor(m);
	if (e) {
		log_error("cannot start the monitor: %s; trying again",
			  e == ERR_SYS ? strerror(errno) : err_text(e));
		master_timer(&mon->ev_restart, RETRY_MS);
		return;
	}
	master_event(m, &mon->ev_ended, mon->pidfd, EV_READ | EV_PERSIST, on_ended, m);
	master_event(m, &mon->ev_channel, mon->channel, EV_READ | EV_PERSIST, on_message, m);
	master_event(m, &mon->ev_writable, mon->channel, EV_WRITE, on_writable, m);
	master_event(m, &mon->ev_silent, -1, EV_TIMEOUT, on_silent, m);
	master_timer(&mon->ev_silent, SILENT_MS);
	event_add(&mon->ev_ended, NULL);
	event_add(&mon->ev_channel, NULL);
	log_debug("monitor (pid %d) forked", (int)mon->pid);
}

static void on_restart(evutil_socket_t fd, short what, void *arg)
{
	struct master *m = arg;

	(void)fd;
	(void)what;
	if (m->monitor.pid == 0)
		start_again(m);
	else if (m->monitor.relieved) /* it hangs */
		end_it(&m->monitor);
}

void monitor_init(struct master *m)
{
	m->monitor = (struct monitor_proc){ .pidfd = -1, .channel = -1, .owed.fd = -1 };
}

void monitor_start(struct master *m)
{
	m->monitor.wanted = true;
	master_event(m, &m->monitor.ev_restart, -1, EV_TIMEOUT, on_restart, m);
	start_again(m);
}

void monitor_renew(struct master *m)
{
	struct monitor_proc *mon = &m->monitor;

	if (mon->pid == 0) {
		event_del(&mon->ev_restart);
		start_again(m);
		return;
	}
	mon->relieved = true;
	event_del(&mon->ev_channel);
	event_del(&mon->ev_writable);
	event_del(&mon->ev_silent);
	fd_close(&mon->channel); /* it finishes what it has, and ends */
	master_timer(&mon->ev_restart, RENEW_MS);
}

void monitor_leave(struct master *m)
{
	struct monitor_proc *mon = &m->monitor;

	if (!mon->wanted)
		return;
	mon->wanted = false;
	event_del(&mon->ev_restart);
	if (mon->pid)
		close_channel(mon);
}

void monitor_stop(struct master *m)
{
	struct monitor_proc *mon = &m->monitor;
	struct pollfd p = { .fd = mon->pidfd, .events = POLLIN };

	monitor_leave(m);
	if (mon->pid) {
		if (poll(&p, 1, FAREWELL_MS) <= 0)
			end_it(mon);
		while (waitpid(mon->pid, NULL, 0) < 0 && errno == EINTR)
			;
	}
	close_process(mon);
	backoff_history_fini(&mon->history);
}
