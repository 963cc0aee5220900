/* The life of a generation; in the master.
 *
 *   LOADING ── all READY ──► READY ── reload_commit() ──► SERVING ──► DRAINING ──► GONE
 *      └── died, or too late: reload_failed() ── generation_abandon() ──┘
 *
 * Old generations live until their last client is gone; any number may.
 */
#include "balancer/master/generation.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "balancer/master/balancer_proc.h"
#include "balancer/master/core.h"
#include "balancer/master/handover.h"
#include "balancer/master/listener.h"
#include "balancer/master/reload.h"
#include "common/log.h"
#include "common/mem.h"

#define LOADING_MS 10000

/* Descriptors of a balancer beside its connections and listening sockets, and the
 * share of all that new clients do not get. */
#define OWN_FILES 16
#define RESERVE_SHARE 8
#define RESERVE_MIN 8u
#define RESERVE_MAX 1024u

static const uint8_t next_ok[GENERATION_MAX] = {
	[GENERATION_LOADING]  = 1u << GENERATION_READY | 1u << GENERATION_DRAINING,
	[GENERATION_READY]    = 1u << GENERATION_SERVING | 1u << GENERATION_DRAINING,
	[GENERATION_SERVING]  = 1u << GENERATION_DRAINING,
	[GENERATION_DRAINING] = 1u << GENERATION_GONE,
};

static bool go(struct generation *g, enum generation_state to)
{
	if (!(next_ok[g->state] & (1u << to)))
		return false;
	g->state = to;
	return true;
}

/* `user` of the configuration, else drover, else nobody; only root changes. */
enum err generation_find_user(struct master *m, const struct config *cfg,
			      struct proc_user *ret_user)
{
	*ret_user = (struct proc_user){ .set = false };
	if (geteuid() != 0)
		return ERR_OK;
	if (cfg->user) {
		enum err e = proc_find_user(cfg->user, ret_user);
		if (e)
			logs_complain(&m->logs, "there is no user \"%s\" (user:); create it, or "
				      "name another", cfg->user);
		return e;
	}
	if (proc_find_user("drover", ret_user) == ERR_OK ||
	    proc_find_user("nobody", ret_user) == ERR_OK)
		return ERR_OK;
	logs_complain(&m->logs, "there is neither a user \"drover\" nor \"nobody\" for the "
		      "balancers; name one with user:");
	return ERR_MISSING;
}

static void drop_listeners(struct generation *g)
{
	if (!g->accepting)
		return;
	g->accepting = false;
	for (size_t i = 0; i < g->config->cfg->n_listens; i++)
		if (g->listeners[i])
			listener_drop(g->m, g->listeners[i]);
}

static void free_generation(struct generation *g)
{
	event_del(&g->deadline);
	drop_listeners(g);
	list_remove(&g->link);
	g->config = config_ref_drop(g->config);
	mem_free(g->listeners);
	mem_free(g);
}

static void on_deadline(evutil_socket_t fd, short what, void *arg)
{
	struct generation *g = arg;

	(void)fd;
	(void)what;
	if (g->state != GENERATION_LOADING)
		return;
	list_each(it, &g->balancers) {
		struct balancer *b = list_entry(it, struct balancer, link);
		if (!b->ready)
			balancer_kill(b); /* it hangs, and holds nothing */
	}
	reload_failed(g, "not all balancers were ready within 10 s");
}

static struct generation *new_generation(struct master *m, struct config_ref *config)
{
	size_t n = config->cfg->n_listens;
	struct generation *g = mem_alloc_zero(sizeof(*g));
	struct listener **listeners = mem_alloc_zero(n * sizeof(*listeners));

	if (!g || !listeners) {
		mem_free(g);
		mem_free(listeners);
		logs_complain(&m->logs, "cannot start a generation: out of memory");
		return NULL;
	}
	g->m = m;
	g->number = ++m->next_generation;
	g->state = GENERATION_LOADING;
	g->began_us = master_now_us();
	g->config = config_ref_hold(config);
	g->listeners = listeners;
	g->accepting = true;
	list_init(&g->balancers);
	list_push_back(&m->generations, &g->link);
	master_event(m, &g->deadline, -1, EV_TIMEOUT, on_deadline, g);
	return g;
}

struct generation *generation_resume(struct master *m, struct config_ref *config, uint32_t number,
				     enum generation_state state)
{
	uint32_t next = m->next_generation;
	struct generation *g = new_generation(m, config);

	m->next_generation = next;
	if (!g)
		return NULL;
	g->number = number;
	g->state = state;
	if (state == GENERATION_LOADING)
		master_timer(&g->deadline, LOADING_MS);
	return g;
}

static enum err open_listeners(struct generation *g)
{
	const struct config *cfg = g->config->cfg;

	for (size_t i = 0; i < cfg->n_listens; i++) {
		struct listener *l;
		enum err e = listener_prepare(g->m, &cfg->listens[i], cfg->balancers, &l);
		if (e)
			return e;
		l->users++;
		g->listeners[i] = l;
	}
	return ERR_OK;
}

uint32_t generation_sockets_max(const struct generation *g)
{
	uint64_t files = MIN(g->m->files, (uint64_t)UINT32_MAX);
	uint64_t own = OWN_FILES;
	uint64_t reserve = MAX(RESERVE_MIN, MIN(files / RESERVE_SHARE, RESERVE_MAX));

	for (size_t i = 0; i < g->config->cfg->n_listens; i++)
		own += g->listeners[i]->n_fds;
	return (uint32_t)(files > own + 2 * reserve ? files - own - reserve : reserve);
}

static void warn_of_few_files(const struct generation *g)
{
	uint32_t wanted = g->config->cfg->limit_connections;
	uint32_t most = generation_sockets_max(g);

	if (wanted > most)
		log_warn("limits.connections: %u are not possible with %llu open files (ulimit -n, "
			 "LimitNOFILE=): accepting will pause at %u, those to workers included",
			 wanted, (unsigned long long)g->m->files, most);
}

enum err generation_start(struct master *m, struct config_ref *config,
			  const struct logs_files *logs, struct generation **ret_generation)
{
	struct generation *g = new_generation(m, config);

	if (!g)
		return ERR_NOMEM;
	g->logs = logs;
	enum err e = generation_find_user(m, config->cfg, &g->user);
	if (!e)
		e = open_listeners(g);
	if (!e)
		warn_of_few_files(g);
	/* A balancer accepts from the moment it is ready, and has to know that an app which is
	 * new to it will come. */
	master_publish(m);
	for (uint32_t i = 0; !e && i < config->cfg->balancers; i++)
		e = balancer_start(g, i, NULL);
	if (e) {
		/* Those that stand already hold no client yet, or finish with it. */
		if (!list_empty(&g->balancers)) {
			generation_abandon(g);
		} else {
			free_generation(g);
			listeners_rollback(m);
		}
		return e;
	}
	master_timer(&g->deadline, LOADING_MS);
	*ret_generation = g;
	return ERR_OK;
}

void generation_on_ready(struct generation *g, struct balancer *b)
{
	if (g->state == GENERATION_SERVING)
		handover_to_successor(g->m, b);
	if (g->state != GENERATION_LOADING)
		return;
	list_each(it, &g->balancers)
		if (!list_entry(it, struct balancer, link)->ready)
			return;
	event_del(&g->deadline);
	go(g, GENERATION_READY);
	reload_commit(g);
}

void generation_serve(struct generation *g)
{
	g->logs = NULL;
	go(g, GENERATION_SERVING);
}

void generation_on_stopped(struct generation *g)
{
	if (g->state != GENERATION_DRAINING)
		return;
	list_each(it, &g->balancers)
		if (!list_entry(it, struct balancer, link)->stopped)
			return;
	drop_listeners(g);
}

void generation_on_balancer_gone(struct generation *g, struct balancer *b, bool failed)
{
	switch (g->state) {
	case GENERATION_LOADING:
	case GENERATION_READY:
		balancer_free(b);
		reload_failed(g, failed ? "a balancer ended before it was ready"
					: "a balancer left before it was ready");
		break;
	case GENERATION_SERVING:
		balancer_replace(b);
		return;
	default:
		balancer_free(b);
		break;
	}
	generation_on_stopped(g);
	if (list_empty(&g->balancers) && go(g, GENERATION_GONE))
		log_info("generation %u has ended", g->number);
}

void generation_drain(struct generation *g, enum drain_level level)
{
	if (g->state == GENERATION_GONE || level <= g->drain)
		return;
	event_del(&g->deadline);
	g->drain = level;
	go(g, GENERATION_DRAINING);
	list_each_safe(it, &g->balancers)
		balancer_drain(list_entry(it, struct balancer, link), level);
	generation_on_stopped(g);
	if (list_empty(&g->balancers))
		go(g, GENERATION_GONE);
}

void generation_retire(struct generation *g, bool leaves)
{
	g->leaves = leaves;
	generation_drain(g, DRAIN_RELOAD);
}

void generation_abandon(struct generation *g)
{
	g->logs = NULL;
	listeners_rollback(g->m);
	handover_from(g, g->m->serving);
	generation_drain(g, DRAIN_RELOAD);
}

void generations_sweep(struct master *m)
{
	list_each_safe(it, &m->generations) {
		struct generation *g = list_entry(it, struct generation, link);
		if (g->state != GENERATION_GONE)
			continue;
		if (m->serving == g)
			m->serving = NULL;
		if (m->loading == g)
			m->loading = NULL;
		free_generation(g);
	}
}

bool generations_know_app(const struct master *m, uint32_t app_id)
{
	list_each(it, &m->generations) {
		const struct generation *g = list_entry(it, struct generation, link);
		const struct config *cfg = g->config->cfg;
		for (size_t i = 0; g->state != GENERATION_GONE && i < cfg->n_apps; i++)
			if (cfg->apps[i].id == app_id)
				return true;
	}
	return false;
}

unsigned generations_balancers(const struct master *m)
{
	unsigned n = 0;

	list_each(it, &m->generations)
		list_each(at, &list_entry(it, struct generation, link)->balancers)
			n++;
	return n;
}
