/* What every file of the master uses: its loop's events and timers, how a process that has
 * ended is reaped, and what a forked child must no longer have.  In the master, and in its
 * children before they serve. */
#include "balancer/master/core.h"

#include <sys/mman.h>
#include <sys/wait.h>

#include "balancer/master/app.h"
#include "balancer/master/balancer_proc.h"
#include "balancer/master/generation.h"
#include "balancer/master/state_in.h"
#include "balancer/master/worker_proc.h"
#include "common/clock.h"
#include "common/mem.h"

#define STATUS_MS 50 /* for the parent of one that we took over to take its status */
#define STATUS_LOOK_MS 2

/* Forked children inherit this memory and leave it alone; it stays reachable
 * there, so that a leak check sees only what they lost themselves. */
static struct master *the_master;

void master_keep(struct master *m)
{
	the_master = m;
}

void master_event(struct master *m, struct event *ev, int fd, short what, event_callback_fn f,
		  void *arg)
{
	event_assign(ev, m->base, fd, what, f, arg);
	event_priority_set(ev, 0);
}

void master_timer(struct event *ev, uint64_t ms)
{
	struct timeval tv = { .tv_sec = (time_t)(ms / 1000),
			      .tv_usec = (suseconds_t)(ms % 1000 * 1000) };

	event_add(ev, &tv);
}

bool master_reap(struct master *m, struct event *ev, short what, pid_t pid, int pidfd,
		 siginfo_t *ret_info)
{
	siginfo_t info;

	if (!proc_reap(pid, pidfd, &info))
		return false;
	if (info.si_code == PROC_STATUS_PENDING) {
		uint64_t now = master_now_us();
		if (!(what & EV_TIMEOUT))
			m->statuses_until_us = now + STATUS_MS * 1000;
		if (now < m->statuses_until_us) {
			event_callback_fn f = event_get_callback(ev);
			void *arg = event_get_callback_arg(ev);
			event_del(ev);
			master_event(m, ev, -1, EV_TIMEOUT, f, arg);
			master_timer(ev, STATUS_LOOK_MS);
			return false;
		}
		info.si_code = PROC_STATUS_UNKNOWN;
	}
	*ret_info = info;
	return true;
}

void master_finish(struct master *m, int exit_status)
{
	m->finished = true;
	m->exit_status = exit_status;
}

uint64_t master_now_us(void)
{
	clock_update();
	return clock_now_us();
}

void master_publish(struct master *m)
{
	slots_publish(&m->slots);
}

void master_forget_secrets(void)
{
	struct state_in *in = the_master->carried_in;

	config_refs_wipe_secrets();
	adoption_forget(the_master);
	if (in)
		explicit_bzero(in->bytes, in->n);
	mem_wipe_stack();
}

void master_shed_shared(bool all)
{
	struct master *m = the_master;

	if (!m) /* a test's child */
		return;
	master_forget_secrets();
	if (m->slots.shared)
		munmap(m->slots.shared, sizeof(*m->slots.shared));
	if (m->warden.notes)
		munmap(m->warden.notes, sizeof(*m->warden.notes));
	if (all && m->tally)
		munmap(m->tally, sizeof(*m->tally));
}

static bool is_ours(const struct master *m, pid_t pid)
{
	if (pid == m->warden.pid || pid == m->monitor.pid || pid == m->upgrade.rehearsal.pid)
		return true;
	list_each(it, &m->apps)
		list_each(at, &list_entry(it, struct app, link)->workers) {
			const struct worker *w = list_entry(at, struct worker, link);
			if (w->pid == pid && w->pidfd >= 0)
				return true;
		}
	list_each(it, &m->generations)
		list_each(at, &list_entry(it, struct generation, link)->balancers)
			if (list_entry(at, struct balancer, link)->pid == pid)
				return true;
	return false;
}

void master_reap_strangers(struct master *m)
{
	for (;;) {
		siginfo_t si = { .si_pid = 0 };
		if (waitid(P_ALL, 0, &si, WEXITED | WNOHANG | WNOWAIT) != 0 || si.si_pid == 0 ||
		    is_ours(m, si.si_pid))
			return; /* one of ours is reaped through its pidfd, and this called again */
		waitpid(si.si_pid, NULL, WNOHANG);
	}
}
