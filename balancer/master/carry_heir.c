/* Taking over from a master that was killed: the state is of the end of its last turn, and
 * the world has gone on since.  In the master, called by carry.c. */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "balancer/master/app.h"
#include "balancer/master/balancer_proc.h"
#include "balancer/master/carry_parts.h"
#include "balancer/master/generation.h"
#include "balancer/master/worker_proc.h"
#include "common/fd.h"
#include "common/log.h"
#include "common/proc.h"

#define STRAY_MS 200 /* for one that is killed to end */

bool carry_find(pid_t pid, uint64_t start_ticks, int *ret_pidfd)
{
	int fd;

	if (pid <= 1 || start_ticks == 0 || fd_of_pid(pid, &fd))
		return false;
	struct pollfd p = { .fd = fd, .events = POLLIN };
	/* In this order: the descriptor is of the process whose start time is read. */
	if (proc_start_ticks(pid) != start_ticks || poll(&p, 1, 0) != 0) {
		fd_close(&fd);
		return false;
	}
	*ret_pidfd = fd;
	return true;
}

/* ---- what the state does not know --------------------------------------- */

static bool has_worker(const struct master *m, uint32_t slot)
{
	list_each (it, &m->apps)
		list_each (at, &list_entry(it, struct app, link)->workers)
			if (list_entry(at, struct worker, link)->slot == slot)
				return true;
	return false;
}

/* A worker that was spawned in the last moment: it has never had a request, and nobody holds
 * the ends of its pipes.  Its instance gets another. */
static void end_strays(struct master *m)
{
	struct roster *d = m->slots.draft;

	for (uint32_t i = 0; i < MIN(d->n_slots, ROSTER_SLOTS); i++) {
		const struct roster_slot *s = &d->slots[i];
		int pidfd;
		m->slots.next_epoch = MAX(m->slots.next_epoch, s->epoch + 1);
		if (s->state == WORKER_EMPTY || has_worker(m, i))
			continue;
		if (carry_find(s->pid, s->start_ticks, &pidfd)) {
			log_notice("ending a worker (pid %d) that had just been started",
				   (int)s->pid);
			kill(-s->pid, SIGKILL);
			/* A dead one makes no more files. */
			(void)poll(&(struct pollfd){ .fd = pidfd, .events = POLLIN }, 1, STRAY_MS);
			fd_close(&pidfd);
		}
		slots_release(&m->slots, i);
	}
}

static bool is_of_worker(void *arg, uint64_t epoch)
{
	const struct roster *d = arg;

	for (uint32_t i = 0; i < MIN(d->n_slots, ROSTER_SLOTS); i++)
		if (d->slots[i].epoch == epoch && d->slots[i].state != WORKER_EMPTY)
			return true;
	return false;
}

static bool has_balancer(const struct master *m, uint32_t row)
{
	list_each (it, &m->generations)
		list_each (at, &list_entry(it, struct generation, link)->balancers) {
			const struct balancer *b = list_entry(at, struct balancer, link);
			if (b->pid && !b->foreign && b->row == row)
				return true;
		}
	return false;
}

/* Of balancers that were forked in the last moment: their channel has closed, and they end. */
static void retire_rows(struct master *m)
{
	for (uint32_t i = 0; i < TALLY_ROWS; i++)
		if (!has_balancer(m, i))
			tally_retire(m->tally, i);
}

/* ---- what has happened since -------------------------------------------- */

static void tell_of_lost(struct master *m)
{
	list_each (it, &m->apps)
		list_each_safe (at, &list_entry(it, struct app, link)->workers) {
			struct worker *w = list_entry(at, struct worker, link);
			if (w->pid && w->pidfd < 0)
				worker_lost(w);
		}
}

/* A reload whose generation was not ready is lost: its balancers end, its file is read anew. */
static void end_reload(struct master *m)
{
	const struct rollout *last = rollouts_latest(&m->reloads);

	if (last->state == ROLLOUT_RUNNING && last->number > m->reload_in_force && !m->reload_wanted)
		rollouts_fail(&m->reloads, last->number, master_now_us(), 0,
			      "the master was killed meanwhile", NULL);
}

/* The reload had come into force, and the balancers of before were just being told. */
static void drain_old(struct master *m)
{
	list_each (it, &m->generations) {
		struct generation *g = list_entry(it, struct generation, link);
		if (g != m->serving && g->state == GENERATION_SERVING)
			generation_drain(g, DRAIN_RELOAD);
	}
}

void carry_settle(struct master *m)
{
	drain_old(m);
	end_strays(m);
	/* Theirs, and those of workers that were not even started. */
	rundir_sweep(&m->rundir, is_of_worker, m->slots.draft);
	retire_rows(m);
	end_reload(m);
	m->told_version = 0; /* what balancers were told last, nobody knows */
	tell_of_lost(m);
}
