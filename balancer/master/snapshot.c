/* See snapshot.h.  In the master: the lists are walked twice, to count and to write. */
#include "balancer/master/snapshot.h"

#include <stdio.h>
#include <unistd.h>

#include "balancer/board/admin.h"
#include "balancer/master/app.h"
#include "balancer/master/balancer_proc.h"
#include "balancer/master/core.h"
#include "balancer/master/generation.h"
#include "balancer/master/listener.h"
#include "balancer/master/worker_proc.h"
#include "common/fd.h"
#include "common/mem.h"

static enum admin_state state_of(const struct master *m)
{
	if (m->stop.phase == SHUTDOWN_WORKERS)
		return ADMIN_STATE_STOPPING;
	if (m->stop.phase == SHUTDOWN_DRAINING)
		return ADMIN_STATE_DRAINING;
	if (m->stop.phase == SHUTDOWN_LAME_DUCK)
		return ADMIN_STATE_LEAVING;
	return m->booting ? ADMIN_STATE_STARTING : ADMIN_STATE_SERVING;
}

/* Rows of an app's instances: those that are wanted, as far as they are known. */
static uint32_t instances_of(const struct app *a)
{
	return MIN(a->n_instances, a->wanted);
}

static void count(const struct master *m, struct snapshot *h)
{
	list_each(it, &m->apps) {
		const struct app *a = list_entry(it, struct app, link);
		h->n_apps++;
		h->n_rollouts++;
		h->n_instances += instances_of(a);
		list_each(at, &a->workers)
			h->n_workers++;
	}
	h->n_rollouts += ROLLOUTS_KEPT;
	list_each(it, &m->listeners)
		h->n_listeners++;
	list_each(it, &m->generations) {
		h->n_generations++;
		list_each(at, &list_entry(it, struct generation, link)->balancers)
			h->n_balancers++;
	}
}

static void write_app(const struct app *a, struct snapshot_app *row)
{
	const struct release *r = a->target;

	*row = (struct snapshot_app){ .id = a->id,
				      .release = r ? r->number : 0,
				      .newest_release = a->last_release,
				      .wanted = a->wanted,
				      .in_config = a->in_config,
				      .servers = r && !r->conf->command };
	snprintf(row->name, sizeof(row->name), "%s", a->name);
}

static void write_worker(const struct app *a, const struct worker *w, struct snapshot_worker *row)
{
	struct master *m = a->m;
	uint64_t requests = tally_requests(m->tally, w->slot);

	*row = (struct snapshot_worker){
		.app_id = a->id,
		.instance = w->instance,
		.release = w->release ? w->release->number : 0,
		.state = m->slots.draft->slots[w->slot].state,
		.in_flight = tally_in_flight(m->tally, w->slot),
		.pid = w->pid,
		.started_us = w->started_us,
		.up_us = w->up_us,
		.requests = requests > w->requests_before ? requests - w->requests_before : 0,
	};
	addr_format(&w->address, row->address);
}

static void write_instance(const struct app *a, uint32_t i, struct snapshot_instance *row)
{
	const struct instance *from = &a->instances[i];

	*row = (struct snapshot_instance){ .app_id = a->id,
					   .instance = i,
					   .restarts = from->restarts,
					   .failing = from->failing,
					   .not_before_us = from->not_before_us,
					   .failed_us = from->failure.at_us,
					   .failed_pid = from->failure.pid };
	snprintf(row->failure, sizeof(row->failure), "%s", from->failure.why);
}

static void write_listener(const struct listener *from, struct snapshot_listener *row)
{
	*row = (struct snapshot_listener){ .sockets = (uint32_t)from->n_fds,
					   .inherited = from->inherited,
					   .in_config = from->n_fds > 0 };
	addr_format(&from->actual, row->address);
}

static void write_rollout(uint32_t app_id, const struct rollout *from, struct snapshot_rollout *row)
{
	*row = (struct snapshot_rollout){ .app_id = app_id,
					  .number = from->number,
					  .reload = from->reload,
					  .state = from->state,
					  .kept = from->kept };
	snprintf(row->reason, sizeof(row->reason), "%s", from->reason);
	snprintf(row->lines, sizeof(row->lines), "%s", from->lines ? from->lines : "");
}

static void write_rows(const struct master *m, const struct snapshot_view *v)
{
	/* The view was made of memory that is ours to write. */
	struct snapshot_app *app = (void *)(uintptr_t)v->apps;
	struct snapshot_worker *worker = (void *)(uintptr_t)v->workers;
	struct snapshot_instance *instance = (void *)(uintptr_t)v->instances;
	struct snapshot_generation *generation = (void *)(uintptr_t)v->generations;
	struct snapshot_balancer *balancer = (void *)(uintptr_t)v->balancers;
	struct snapshot_rollout *rollout = (void *)(uintptr_t)v->rollouts;

	struct snapshot_listener *listener = (void *)(uintptr_t)v->listeners;

	list_each(it, &m->listeners)
		write_listener(list_entry(it, struct listener, link), listener++);
	for (int i = 0; i < ROLLOUTS_KEPT; i++)
		write_rollout(0, &m->reloads.kept[i], rollout++);
	list_each(it, &m->apps) {
		const struct app *a = list_entry(it, struct app, link);
		write_app(a, app++);
		write_rollout(a->id, rollouts_latest(&a->rollouts), rollout++);
		list_each(at, &a->workers)
			write_worker(a, list_entry(at, struct worker, link), worker++);
		for (uint32_t i = 0; i < instances_of(a); i++)
			write_instance(a, i, instance++);
	}
	list_each(it, &m->generations) {
		const struct generation *g = list_entry(it, struct generation, link);
		*generation++ = (struct snapshot_generation){ .number = g->number,
							      .state = g->state,
							      .since_us = g->began_us };
		list_each(at, &g->balancers) {
			const struct balancer *b = list_entry(at, struct balancer, link);
			*balancer++ = (struct snapshot_balancer){
				.generation = g->number, .index = b->index, .pid = b->pid, .row = b->row
			};
		}
	}
}

static void write_upgrade(const struct upgrade *u, struct snapshot *head)
{
	static const enum rollout_state ends[] = { [UPGRADE_NEVER] = ROLLOUT_NONE,
						   [UPGRADE_DONE] = ROLLOUT_DONE,
						   [UPGRADE_FAILED] = ROLLOUT_FAILED };

	head->upgrades = u->asked;
	head->upgrade = u->phase != UPGRADE_NONE || u->again ? ROLLOUT_RUNNING : ends[u->outcome];
	snprintf(head->upgrade_from, sizeof(head->upgrade_from), "%s", u->before);
	snprintf(head->upgrade_reason, sizeof(head->upgrade_reason), "%s", u->reason);
}

enum err snapshot_make(struct master *m, int *ret_fd)
{
	struct snapshot head = { .stamp = SNAPSHOT_STAMP,
				 .state = state_of(m),
				 .master_pid = getpid(),
				 .now_us = master_now_us(),
				 .started_us = m->started_us,
				 .adoptions = m->adoption.taken,
				 .adopted_from = m->adoption.from_pid,
				 .adopted_us = m->adoption.taken_us };
	struct snapshot_view v;

	write_upgrade(&m->upgrade, &head);
	count(m, &head);
	size_t bytes = snapshot_bytes(&head);
	struct snapshot *whole = mem_alloc_zero(bytes);
	if (!whole)
		return ERR_NOMEM;
	*whole = head;
	enum err e = snapshot_view(whole, bytes, &v);
	if (!e) {
		write_rows(m, &v);
		e = fd_sealed("drover-snapshot", whole, bytes, ret_fd);
	}
	mem_free(whole);
	return e;
}
