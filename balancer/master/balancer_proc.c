/* Starting, watching, telling and replacing balancer processes; in the master.
 *
 *   fork ── READY ──► serving ── DRAIN ──► (STOPPED) ──► exit
 *     \________________ any end: retire its tally row, tell the generation
 *
 * The channel never makes the master wait: what cannot be sent now is kept as
 * "to be told", newest only, and sent when the channel is writable.  What comes
 * up is not trusted: a message that makes no sense ends its sender.
 */
#include "balancer/master/balancer_proc.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "balancer/heritage.h"
#include "balancer/master/balancer_child.h"
#include "balancer/master/core.h"
#include "balancer/master/generation.h"
#include "balancer/master/listener.h"
#include "common/clock.h"
#include "common/fd.h"
#include "common/log.h"
#include "common/mem.h"

#define HUNG_US 30000000 /* without the ACK it owes */
#define MESSAGES_A_TURN 64 /* fairness alone: who says more than was asked is ended after a few (hear()) */
#define ACKS_OVER_MAX 16   /* one at its start; the others: not to be exact across an upgrade */
#define MESSAGES_LEFT 4096 /* in the channel of one that has ended: more than it holds */

/* ---- what it is told ---------------------------------------------------- */

static void tell(struct balancer *b);

static void on_writable(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	tell(arg);
}

/* True when sent; else it is tried again when the channel is writable, or, when
 * the channel is broken, not at all: the process is about to be found dead. */
static bool sent(struct balancer *b, const struct msg *message, int fd)
{
	switch (msg_send(b->channel, message, fd)) {
	case ERR_OK:
		return true;
	case ERR_AGAIN:
		event_add(&b->ev_writable, NULL);
		return false;
	case ERR_CLOSED:
		return false;
	default:
		log_error("cannot send %s to balancer %u (pid %d): %s; ending it",
			  msg_name(message->type), b->index, (int)b->pid, strerror(errno));
		balancer_kill(b);
		return false;
	}
}

static bool tell_reopen(struct balancer *b, enum log_kind which)
{
	const struct logs *l = &b->generation->m->logs;
	struct msg message = { .type = MSG_REOPEN, .reopen = { .which = which } };
	int fd = which == LOG_KIND_ACCESS ? l->access_fd : l->error_fd;

	if (fd >= 0 && !sent(b, &message, fd))
		return false;
	b->tell_reopen[which] = false;
	return true;
}

static void tell(struct balancer *b)
{
	if (b->channel < 0)
		return;
	if (b->tell_roster) {
		uint64_t version = slots_version(&b->generation->m->slots);
		struct msg message = { .type = MSG_ROSTER, .roster = { .version = version } };
		if (!sent(b, &message, -1))
			return;
		b->acks_over--;
		b->tell_roster = false;
	}
	for (int which = 0; which < LOG_KIND_MAX; which++)
		if (b->tell_reopen[which] && !tell_reopen(b, (enum log_kind)which))
			return;
	if (b->tell_drain) {
		struct msg message = { .type = MSG_DRAIN,
				       .drain = { b->tell_drain, b->generation->leaves } };
		if (!sent(b, &message, -1))
			return;
		b->tell_drain = DRAIN_NONE;
	}
}

/* ---- what it says ------------------------------------------------------- */

/* Nothing is said unasked, or twice, but one ACK at the start: a child that floods us is ended
 * after a few messages, and need not be slowed down. */

static bool hear_ack(struct balancer *b, uint64_t version)
{
	const struct slots *s = &b->generation->m->slots;
	uint64_t newest = atomic_load_explicit(&s->shared->version, memory_order_relaxed);

	if (++b->acks_over > ACKS_OVER_MAX)
		return false;
	if (b->foreign) /* it counts versions of another roster, of which it is told nothing more */
		return true;
	if ((version & 1) || version > newest || version < b->acked)
		return false;
	b->acked = version;
	b->behind_since_us = version < b->generation->m->told_version ? master_now_us() : 0;
	return true;
}

/* False: the message makes no sense. */
static bool hear(struct balancer *b, const struct msg *message)
{
	switch (message->type) {
	case MSG_ACK:
		return hear_ack(b, message->ack.version);
	case MSG_READY:
		if (b->ready)
			return false;
		b->ready = true;
		log_debug("balancer %u (pid %d) is ready", b->index, (int)b->pid);
		generation_on_ready(b->generation, b);
		return true;
	case MSG_STOPPED:
		if (b->stopped || b->generation->drain == DRAIN_NONE)
			return false;
		b->stopped = true;
		generation_on_stopped(b->generation);
		return true;
	default:
		return false;
	}
}

/* At most `most` messages, so that a talkative one does not keep the others waiting. */
static void hear_some(struct balancer *b, unsigned most)
{
	struct msg message;
	int rider;

	while (b->channel >= 0 && most-- > 0) {
		enum err e = msg_recv(b->channel, MSG_UP, &message, &rider);
		if (e == ERR_AGAIN)
			return;
		if (e == ERR_CLOSED) {
			event_del(&b->ev_channel); /* its end is seen through the pidfd */
			if (b->behind_since_us == 0) /* unless it only hung up: then it hangs */
				b->behind_since_us = master_now_us();
			return;
		}
		if (e || !hear(b, &message)) {
			log_error("balancer %u (pid %d) sent %s; ending it", b->index, (int)b->pid,
				  e ? err_text(e) : "a message that makes no sense");
			event_del(&b->ev_channel);
			balancer_kill(b);
			return;
		}
	}
}

static void on_message(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	hear_some(arg, MESSAGES_A_TURN);
}

/* ---- its end ------------------------------------------------------------ */

static void close_process(struct balancer *b)
{
	if (b->pid == 0)
		return;
	event_del(&b->ev_ended);
	event_del(&b->ev_channel);
	event_del(&b->ev_writable);
	fd_close(&b->pidfd);
	fd_close(&b->channel);
	if (!b->foreign) {
		tally_retire(b->generation->m->tally, b->row);
		warden_note_balancer(&b->generation->m->warden, b->row, 0);
	}
	b->pid = 0;
}

/* A drain that went as told is no news; anything else is. */
static void log_end(const struct balancer *b, const siginfo_t *si, bool expected)
{
	char text[64];

	proc_exit_text(si->si_code, si->si_status, text);
	if (expected)
		log_debug("balancer %u (pid %d) of generation %u has finished", b->index,
			  (int)b->pid, b->generation->number);
	else
		log_error("balancer %u (pid %d) of generation %u ended: %s", b->index, (int)b->pid,
			  b->generation->number, text);
}

static void on_ended(evutil_socket_t fd, short what, void *arg)
{
	struct balancer *b = arg;
	struct master *m = b->generation->m;
	siginfo_t si = { .si_pid = 0 };

	(void)fd;
	if (!master_reap(m, &b->ev_ended, what, b->pid, b->pidfd, &si))
		return;
	/* What it said last counts: STOPPED, or the ACK that somebody waits for. */
	hear_some(b, MESSAGES_LEFT);
	bool told = b->generation->drain != DRAIN_NONE;
	/* Of one that was taken over the status is not known: it has done as it was told. */
	bool clean = si.si_code == CLD_EXITED ? si.si_status == 0 :
		     si.si_code == PROC_STATUS_UNKNOWN && told;
	bool ordered = clean || (si.si_code == CLD_EXITED && si.si_status == 1);
	log_end(b, &si, told && ordered);
	if (!clean)
		listeners_mend(m);
	if (told && !clean)
		shutdown_on_forced(m);
	close_process(b);
	master_reap_strangers(m);
	generation_on_balancer_gone(b->generation, b, !clean);
}

void balancer_kill(struct balancer *b)
{
	if (b->pid == 0)
		return;
	b->killed = true;
	if (fd_signal_pid(b->pidfd, SIGKILL))
		log_error("cannot kill balancer %u (pid %d): %s", b->index, (int)b->pid,
			  strerror(errno));
}

void balancer_free(struct balancer *b)
{
	struct master *m = b->generation->m;

	close_process(b);
	event_del(&b->ev_restart);
	backoff_history_fini(&b->history);
	list_remove(&b->link);
	list_push_back(&m->buried, &b->link);
}

/* ---- its start ---------------------------------------------------------- */

static void watch(struct balancer *b)
{
	struct master *m = b->generation->m;

	master_event(m, &b->ev_ended, b->pidfd, EV_READ | EV_PERSIST, on_ended, b);
	master_event(m, &b->ev_channel, b->channel, EV_READ | EV_PERSIST, on_message, b);
	master_event(m, &b->ev_writable, b->channel, EV_WRITE, on_writable, b);
	event_add(&b->ev_ended, NULL);
	event_add(&b->ev_channel, NULL);
}

/* Forks; in the parent pid, pidfd and channel are filled. */
static enum err fork_balancer(struct balancer *b)
{
	struct generation *g = b->generation;
	struct master *m = g->m;
	int channel[2];
	enum err e = msg_pair(channel);

	if (e)
		return e;
	pid_t pid = fork();
	if (pid == 0) {
		fd_close(&channel[0]);
		balancer_child(m, g, b->index, b->row, channel[1]);
	}
	int error = errno;
	fd_close(&channel[1]);
	if (pid < 0) {
		fd_close(&channel[0]);
		errno = error;
		return ERR_SYS;
	}
	e = fd_of_pid(pid, &b->pidfd);
	if (e) {
		error = errno;
		fd_close(&channel[0]);
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
		errno = error;
		return e;
	}
	b->pid = pid;
	b->start_ticks = proc_start_ticks(pid);
	b->channel = channel[0];
	return ERR_OK;
}

static enum err start_process(struct balancer *b)
{
	struct master *m = b->generation->m;

	/* A child reads the roster after its fork: it knows this version at least. */
	master_publish(m);
	b->acked = slots_version(&m->slots);
	b->acks_over = 0;
	b->behind_since_us = 0;
	b->handover = HANDOVER_FORM;
	b->ready = b->stopped = b->killed = b->foreign = b->tell_roster = false;
	enum err e = tally_claim(m->tally, &b->row);
	if (e)
		return e;
	e = fork_balancer(b);
	if (e) {
		tally_retire(m->tally, b->row);
		return e;
	}
	atomic_store_explicit(&m->tally->rows[b->row].pid, b->pid, memory_order_relaxed);
	warden_note_balancer(&m->warden, b->row, b->pid);
	watch(b);
	log_debug("balancer %u (pid %d) of generation %u forked", b->index, (int)b->pid,
		  b->generation->number);
	return ERR_OK;
}

static void log_no_start(const struct balancer *b, enum err e)
{
	const char *why = e == ERR_SYS ? strerror(errno) : err_text(e);

	if (e == ERR_FULL)
		why = "too many balancers of earlier generations still finish their connections";
	logs_complain(&b->generation->m->logs, "cannot start balancer %u: %s", b->index, why);
}

static void start_again(struct balancer *b);

static void on_restart(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	start_again(arg);
}

enum err balancer_start(struct generation *g, uint32_t index, struct balancer *again)
{
	struct balancer *b = again ? again : mem_alloc_zero(sizeof(*b));

	if (!b)
		return ERR_NOMEM;
	if (!again) {
		b->generation = g;
		b->index = index;
		b->pidfd = b->channel = -1;
		list_init(&b->link);
		master_event(g->m, &b->ev_restart, -1, EV_TIMEOUT, on_restart, b);
	}
	enum err e = start_process(b);
	if (e) {
		log_no_start(b, e);
		if (!again)
			mem_free(b);
		return e;
	}
	if (!again)
		list_push_back(&g->balancers, &b->link);
	return ERR_OK;
}

void balancer_resume(struct balancer *b)
{
	struct master *m = b->generation->m;

	master_event(m, &b->ev_restart, -1, EV_TIMEOUT, on_restart, b);
	list_push_back(&b->generation->balancers, &b->link);
	if (b->pid == 0) {
		master_timer(&b->ev_restart, 0);
		return;
	}
	watch(b);
	event_add(&b->ev_writable, NULL); /* whatever it was still to be told */
}

static void start_later(struct balancer *b, bool served)
{
	uint64_t now = master_now_us();
	uint32_t ends = backoff_note_end(&b->history, &backoff_own_processes, now, served);
	uint64_t wait = backoff_own_delay_ms(ends, served, (uint32_t)random());

	if (wait == 0) {
		start_again(b);
		return;
	}
	log_warn("balancer %u keeps ending: starting it again in %.2f s", b->index,
		 (double)wait / 1e3);
	master_timer(&b->ev_restart, wait);
}

static void start_again(struct balancer *b)
{
	struct generation *g = b->generation;

	if (g->state != GENERATION_SERVING)
		generation_on_balancer_gone(g, b, true);
	else if (balancer_start(g, b->index, b))
		start_later(b, false);
	else
		log_notice("balancer %u has a successor (pid %d)", b->index, (int)b->pid);
}

void balancer_replace(struct balancer *b)
{
	start_later(b, b->ready);
}

void balancer_drain(struct balancer *b, enum drain_level level)
{
	if (b->pid == 0) { /* was waiting to be started again */
		generation_on_balancer_gone(b->generation, b, false);
		return;
	}
	b->tell_drain = level;
	tell(b);
}

/* ---- all of them -------------------------------------------------------- */

#define each_balancer(m, b)                                                                 \
	list_each(g_it, &(m)->generations)                                                  \
		list_each(b, &list_entry(g_it, struct generation, link)->balancers)

void balancers_tell_roster(struct master *m)
{
	uint64_t version = slots_version(&m->slots);

	if (version == m->told_version)
		return;
	m->told_version = version;
	each_balancer(m, it) {
		struct balancer *b = list_entry(it, struct balancer, link);
		if (b->pid == 0 || b->acked >= version || b->foreign)
			continue;
		if (b->behind_since_us == 0)
			b->behind_since_us = master_now_us();
		b->tell_roster = true;
		tell(b);
	}
}

void balancers_reopen(struct master *m, enum log_kind which)
{
	each_balancer(m, it) {
		struct balancer *b = list_entry(it, struct balancer, link);
		b->tell_reopen[which] = true;
		tell(b);
	}
}

bool balancers_follow(const struct master *m, uint64_t version)
{
	each_balancer(m, it) {
		const struct balancer *b = list_entry(it, struct balancer, link);
		if (b->pid && (b->foreign || b->acked < version))
			return false;
	}
	return true;
}

void balancers_kill_all(struct master *m)
{
	each_balancer(m, it)
		balancer_kill(list_entry(it, struct balancer, link));
}

void balancers_kill_hung(struct master *m)
{
	uint64_t now = master_now_us();

	each_balancer(m, it) {
		struct balancer *b = list_entry(it, struct balancer, link);
		if (b->pid == 0 || b->killed || b->behind_since_us == 0 ||
		    now - b->behind_since_us < HUNG_US)
			continue;
		log_error("balancer %u (pid %d) has not answered for %d s: killing it", b->index,
			  (int)b->pid, HUNG_US / 1000000);
		balancer_kill(b);
	}
}
