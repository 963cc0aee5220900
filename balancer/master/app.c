/* Apps and their releases; in the master.  What a worker's end means for its app is
 * decided in app_verdict.c, which workers start and stop in reconcile.c. */
#include "balancer/master/app.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "balancer/master/balancer_proc.h"
#include "balancer/master/core.h"
#include "balancer/master/generation.h"
#include "balancer/master/reconcile.h"
#include "balancer/master/worker_proc.h"
#include "common/fd.h"
#include "common/log.h"
#include "common/mem.h"

#define PASSES 8 /* of reconcile in one turn */

/* ---- releases ----------------------------------------------------------- */

struct release *release_hold(struct release *r)
{
	r->holders++;
	return r;
}

struct release *release_drop(struct release *r)
{
	if (!r || --r->holders > 0)
		return NULL;
	r->config = config_ref_drop(r->config);
	mem_free(r);
	return NULL;
}

void app_aim_at(struct app *a, struct release *r)
{
	struct release *before = a->target;

	a->target = r ? release_hold(r) : NULL;
	a->wanted = r ? r->wanted : 0;
	recents_trim(&a->recents, a->wanted);
	if (before)
		rollouts_supersede(&a->rollouts, before->number, master_now_us());
	release_drop(before);
	app_mark(a);
}

static void start_release(struct app *a, struct config_ref *config, const struct cfg_app *conf)
{
	struct release *r = mem_alloc_zero(sizeof(*r));

	if (!r) {
		log_error("app %s: out of memory: the release that runs is kept", a->name);
		return;
	}
	r->config = config_ref_hold(config);
	r->conf = conf;
	r->number = ++a->last_release;
	r->wanted = conf->command ? conf->instances : 0;
	/* A new release is judged by its own ends. */
	for (uint32_t i = 0; i < a->n_instances; i++) {
		backoff_history_fini(&a->instances[i].history);
		a->instances[i] = (struct instance){ .restarts = a->instances[i].restarts,
						     .failure = a->instances[i].failure };
	}
	rollouts_begin(&a->rollouts, r->number, a->m->reload_in_force, master_now_us());
	app_aim_at(a, r);
	if (!conf->command) /* servers: as they are listed, they are there */
		rollouts_done(&a->rollouts, r->number, master_now_us());
}

/* ---- apps --------------------------------------------------------------- */

static struct app *find_app(struct master *m, const char *name)
{
	list_each (it, &m->apps) {
		struct app *a = list_entry(it, struct app, link);
		if (strcmp(a->name, name) == 0)
			return a;
	}
	return NULL;
}

static void on_retry(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	app_mark(arg);
}

static struct app *make_app(struct master *m, uint32_t id, const char *name)
{
	struct app *a = mem_alloc_zero(sizeof(*a));
	char *copy = mem_alloc(strlen(name) + 1);

	if (!a || !copy) {
		mem_free(a);
		mem_free(copy);
		return NULL;
	}
	a->m = m;
	a->id = id;
	a->name = strcpy(copy, name);
	list_init(&a->workers);
	recents_init(&a->recents, &m->last_line);
	master_event(m, &a->ev_retry, -1, EV_TIMEOUT, on_retry, a);
	list_push_back(&m->apps, &a->link);
	return a;
}

static struct app *new_app(struct master *m, const struct cfg_app *conf)
{
	uint32_t id = m->next_app_id + 1;

	if (slots_add_app(&m->slots, id, conf->name)) {
		logs_complain(&m->logs,
			      "one app too many (%s): at most %d, counting those whose last "
			      "connections are still being finished",
			      conf->name, ROSTER_APPS);
		return NULL;
	}
	struct app *a = make_app(m, id, conf->name);
	if (!a) {
		slots_remove_app(&m->slots, id);
		logs_complain(&m->logs, "out of memory for app %s", conf->name);
		return NULL;
	}
	m->next_app_id = id;
	/* Its first requests may come before its first worker is spawned or its servers are
	 * entered: balancers accept from the moment they are ready. */
	slots_set_app(&m->slots, id, conf->command ? conf->instances : 1, 0);
	return a;
}

struct app *app_resume(struct master *m, uint32_t id, const char *name)
{
	if (!roster_find_app(m->slots.draft, id) && slots_add_app(&m->slots, id, name))
		return NULL;
	return make_app(m, id, name);
}

static void free_app(struct app *a)
{
	slots_remove_app(&a->m->slots, a->id);
	event_del(&a->ev_retry);
	list_remove(&a->link);
	release_drop(a->target);
	release_drop(a->proven);
	recents_fini(&a->recents);
	for (uint32_t i = 0; i < a->n_instances; i++)
		backoff_history_fini(&a->instances[i].history);
	mem_free(a->instances);
	rollouts_fini(&a->rollouts);
	mem_free(a->name);
	mem_free(a);
}

void app_mark(struct app *a)
{
	a->dirty = true;
}

struct instance *app_instance(struct app *a, uint32_t instance)
{
	if (instance >= a->n_instances) {
		uint32_t n = MAX(instance + 1, a->wanted);
		struct instance *grown = mem_alloc_zero(n * sizeof(*grown));
		if (!grown)
			return NULL;
		if (a->n_instances)
			memcpy(grown, a->instances, a->n_instances * sizeof(*grown));
		mem_free(a->instances);
		a->instances = grown;
		a->n_instances = n;
	}
	return &a->instances[instance];
}

enum err apps_identify(struct master *m, struct config *cfg)
{
	for (size_t i = 0; i < cfg->n_apps; i++) {
		struct app *a = find_app(m, cfg->apps[i].name);
		if (!a)
			a = new_app(m, &cfg->apps[i]);
		if (!a)
			return ERR_FULL;
		cfg->apps[i].id = a->id;
	}
	return ERR_OK;
}

void apps_release(struct master *m, struct config_ref *config)
{
	list_each (it, &m->apps) {
		struct app *a = list_entry(it, struct app, link);
		const struct cfg_app *conf = config_app(config->cfg, a->name);
		a->in_config = conf != NULL;
		if (conf)
			start_release(a, config, conf);
	}
}

void apps_retire_unknown(struct master *m)
{
	list_each_safe (it, &m->apps) {
		struct app *a = list_entry(it, struct app, link);
		if (a->in_config || generations_know_app(m, a->id))
			continue;
		if (a->target) {
			log_notice("app %s has left the configuration: stopping its workers",
				   a->name);
			app_aim_at(a, NULL);
		} else if (list_empty(&a->workers)) {
			free_app(a);
		}
	}
}

uint32_t app_others_fit(const struct app *a, const struct worker *w)
{
	uint32_t n = 0;

	list_each (it, &a->workers) {
		const struct worker *other = list_entry(it, struct worker, link);
		n += other != w && worker_fit(other);
	}
	return n;
}

/* Those that fail their health probes are out of the rotation, unless nobody else is in it:
 * a probe may be wrong, and an answer from a worker that is unwell is better than none. */
static void publish_health(struct app *a)
{
	struct slots *s = &a->m->slots;
	bool anybody = app_others_fit(a, NULL) > 0;

	list_each (it, &a->workers) {
		struct worker *w = list_entry(it, struct worker, link);
		enum worker_state state = worker_fit(w) || !anybody ? WORKER_UP : WORKER_SICK;
		if (w->phase != WS_UP || s->draft->slots[w->slot].state == state)
			continue;
		slots_set_state(s, w->slot, state);
		w->version = slots_version(s);
	}
}

static void publish_coming(struct app *a)
{
	if (a->target)
		slots_set_app(&a->m->slots, a->id, reconcile_coming(a), a->target->number);
}

void apps_turn(struct master *m)
{
	/* First what is known already: a worker that is DOWN, one that is coming;
	 * spawning takes its time. */
	list_each (it, &m->apps) {
		struct app *a = list_entry(it, struct app, link);
		if (!a->dirty)
			continue;
		publish_health(a);
		publish_coming(a);
	}
	master_publish(m);
	balancers_tell_roster(m);
	list_each (it, &m->apps) {
		struct app *a = list_entry(it, struct app, link);
		for (int pass = 0; a->dirty && pass < PASSES; pass++) {
			a->dirty = false;
			reconcile(a);
			publish_health(a);
			publish_coming(a);
		}
	}
}

/* One warning for all: root's workers are what an intruder hopes for. */
static void warn_of_root(const struct master *m)
{
	char names[256] = "";
	size_t n = 0;

	if (geteuid() != 0)
		return;
	list_each (it, &m->apps) {
		const struct app *a = list_entry(it, struct app, link);
		const struct cfg_app *conf = a->target->conf;
		if (conf->command && !conf->user && n < sizeof(names))
			n += (size_t)snprintf(names + n, sizeof(names) - n, "%s%s", n ? ", " : "",
					      a->name);
	}
	if (n)
		log_warn("workers run as root (app %s): set apps.NAME.user, or start drover as "
			 "another user",
			 names);
}

enum err apps_boot(struct master *m)
{
	warn_of_root(m);
	list_each (it, &m->apps) {
		struct app *a = list_entry(it, struct app, link);
		for (uint32_t i = 0; i < a->wanted; i++) {
			enum err e = worker_start(a, a->target, i);
			if (e)
				return e;
		}
		app_mark(a);
	}
	return ERR_OK;
}

bool apps_empty(const struct master *m)
{
	list_each (it, &m->apps)
		if (!list_empty(&list_entry(it, struct app, link)->workers))
			return false;
	return true;
}

uint32_t apps_workers(const struct master *m)
{
	uint32_t n = 0;

	list_each (it, &m->apps)
		list_each (at, &list_entry(it, struct app, link)->workers)
			n += list_entry(at, struct worker, link)->pidfd >= 0;
	return n;
}

bool apps_tell_all(struct master *m, int event)
{
	list_each (it, &m->apps)
		list_each_safe (at, &list_entry(it, struct app, link)->workers)
			worker_event(list_entry(at, struct worker, link), (enum worker_event)event);
	return apps_empty(m);
}

/* Scaled is the app, whichever release it comes back to: a reload that fails keeps the number. */
static void set_wanted(struct app *a, uint32_t n)
{
	a->wanted = a->target->wanted = n;
	a->target->announced = false;
	list_each (it, &a->workers) {
		struct release *r = list_entry(it, struct worker, link)->release;
		if (r)
			r->wanted = n;
	}
	if (a->proven)
		a->proven->wanted = n;
	recents_trim(&a->recents, n);
	log_notice("app %s: %u %s wanted", a->name, n, n == 1 ? "worker" : "workers");
	app_mark(a);
}

void apps_change_instances(struct master *m, int by)
{
	list_each (it, &m->apps) {
		struct app *a = list_entry(it, struct app, link);
		if (!a->target || !a->target->conf->command)
			continue;
		if ((by < 0 && a->wanted <= 1) || (by > 0 && a->wanted >= ROSTER_SLOTS / 2)) {
			log_warn("app %s: stays at %u %s, the %s there may be", a->name, a->wanted,
				 a->wanted == 1 ? "worker" : "workers", by < 0 ? "least" : "most");
			continue;
		}
		set_wanted(a, a->wanted + (uint32_t)by);
	}
}

/* ---- commands ----------------------------------------------------------- */

struct app *apps_find(struct master *m, uint32_t id)
{
	list_each (it, &m->apps) {
		struct app *a = list_entry(it, struct app, link);
		if (a->id == id)
			return a->in_config && a->target ? a : NULL;
	}
	return NULL;
}

/* Why nothing can be changed about an app; ADMIN_OK_CODE: it can. */
static enum admin_code changeable(const struct app *a)
{
	if (shutdown_begun(&a->m->stop))
		return ADMIN_STOPPING_CODE;
	if (a->m->booting)
		return ADMIN_STARTING_CODE;
	if (!a->target) /* it has left the configuration */
		return ADMIN_NO_APP_CODE;
	return a->target->conf->command ? ADMIN_OK_CODE : ADMIN_SERVERS_CODE;
}

enum admin_code app_restart(struct app *a)
{
	enum admin_code code = changeable(a);
	struct release *before = a->target;
	uint32_t wanted = a->wanted;

	if (code != ADMIN_OK_CODE)
		return code;
	start_release(a, before->config, before->conf);
	if (a->target == before)
		return ADMIN_NO_MEMORY_CODE;
	a->wanted = a->target->wanted = wanted; /* a restart is no reload: it stays scaled */
	log_notice("app %s: restart: release %u starts", a->name, a->target->number);
	return ADMIN_ACCEPTED_CODE;
}

enum admin_code app_scale(struct app *a, uint32_t n)
{
	enum admin_code code = changeable(a);

	if (code != ADMIN_OK_CODE)
		return code;
	const struct cfg_app *conf = a->target->conf;
	uint32_t ports = conf->port_min ? conf->port_max - conf->port_min + 1u : UINT32_MAX;
	/* Twice as many ports: a new worker is ready before an old one goes. */
	if (n == 0 || n > ROSTER_SLOTS / 2 || ports / 2 < n)
		return ADMIN_RANGE_CODE;
	set_wanted(a, n);
	return ADMIN_ACCEPTED_CODE;
}

enum admin_code app_drain(struct app *a, uint32_t i, pid_t *ret_pid)
{
	enum admin_code code = changeable(a);
	struct worker *found = NULL;

	if (code != ADMIN_OK_CODE)
		return code;
	list_each (it, &a->workers) {
		struct worker *w = list_entry(it, struct worker, link);
		if (w->pid && w->instance == i && w->phase == WS_UP &&
		    (!found || w->release == a->target))
			found = w;
	}
	if (!found)
		return ADMIN_NO_WORKER_CODE;
	log_notice("%s is taken out", found->name);
	*ret_pid = found->pid;
	worker_event(found, WE_DRAIN);
	return ADMIN_ACCEPTED_CODE;
}

void apps_free(struct master *m)
{
	list_each_safe (it, &m->apps) {
		struct app *a = list_entry(it, struct app, link);
		list_each_safe (at, &a->workers)
			worker_bury(list_entry(at, struct worker, link));
		free_app(a);
	}
}

enum err app_user(const struct cfg_app *conf, struct proc_user *ret_user)
{
	*ret_user = (struct proc_user){ .set = false };
	return conf->user ? proc_find_user(conf->user, ret_user) : ERR_OK;
}
