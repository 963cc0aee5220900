/* Apps and their releases; in the master.  What a worker's end means for its
 * app is decided here: back-off, budget, going back to the release before.
 * Which workers start and stop is decided in reconcile.c. */
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

#define FAILED_STARTS_BELIEVED 2 /* in a row; after one more requests do not wait */
#define PASSES 8                 /* of reconcile in one turn */
#define RECYCLED_EARLY_US 10000000

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

static void aim_at(struct app *a, struct release *r)
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
	aim_at(a, r);
	if (!conf->command) /* servers: as they are listed, they are there */
		rollouts_done(&a->rollouts, r->number, master_now_us());
}

/* ---- apps --------------------------------------------------------------- */

static struct app *find_app(struct master *m, const char *name)
{
	list_each(it, &m->apps) {
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
		logs_complain(&m->logs, "one app too many (%s): at most %d, counting those whose last "
			      "connections are still being finished", conf->name, ROSTER_APPS);
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
	list_each(it, &m->apps) {
		struct app *a = list_entry(it, struct app, link);
		const struct cfg_app *conf = config_app(config->cfg, a->name);
		a->in_config = conf != NULL;
		if (conf)
			start_release(a, config, conf);
	}
}

void apps_retire_unknown(struct master *m)
{
	list_each_safe(it, &m->apps) {
		struct app *a = list_entry(it, struct app, link);
		if (a->in_config || generations_know_app(m, a->id))
			continue;
		if (a->target) {
			log_notice("app %s has left the configuration: stopping its workers",
				   a->name);
			aim_at(a, NULL);
		} else if (list_empty(&a->workers)) {
			free_app(a);
		}
	}
}

/* How many others than `w` (may be NULL) are left to take requests. */
static uint32_t others_fit(const struct app *a, const struct worker *w)
{
	uint32_t n = 0;

	list_each(it, &a->workers) {
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
	bool anybody = others_fit(a, NULL) > 0;

	list_each(it, &a->workers) {
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
	list_each(it, &m->apps) {
		struct app *a = list_entry(it, struct app, link);
		if (!a->dirty)
			continue;
		publish_health(a);
		publish_coming(a);
	}
	master_publish(m);
	balancers_tell_roster(m);
	list_each(it, &m->apps) {
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
	list_each(it, &m->apps) {
		const struct app *a = list_entry(it, struct app, link);
		const struct cfg_app *conf = a->target->conf;
		if (conf->command && !conf->user && n < sizeof(names))
			n += (size_t)snprintf(names + n, sizeof(names) - n, "%s%s", n ? ", " : "",
					      a->name);
	}
	if (n)
		log_warn("workers run as root (app %s): set apps.NAME.user, or start drover as "
			 "another user", names);
}

enum err apps_boot(struct master *m)
{
	warn_of_root(m);
	list_each(it, &m->apps) {
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
	list_each(it, &m->apps)
		if (!list_empty(&list_entry(it, struct app, link)->workers))
			return false;
	return true;
}

uint32_t apps_workers(const struct master *m)
{
	uint32_t n = 0;

	list_each(it, &m->apps)
		list_each(at, &list_entry(it, struct app, link)->workers)
			n += list_entry(at, struct worker, link)->pidfd >= 0;
	return n;
}

bool apps_tell_all(struct master *m, int event)
{
	list_each(it, &m->apps)
		list_each_safe(at, &list_entry(it, struct app, link)->workers)
			worker_event(list_entry(at, struct worker, link), (enum worker_event)event);
	return apps_empty(m);
}

/* Scaled is the app, whichever release it comes back to: a reload that fails keeps the number. */
static void set_wanted(struct app *a, uint32_t n)
{
	a->wanted = a->target->wanted = n;
	a->target->announced = false;
	list_each(it, &a->workers) {
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
	list_each(it, &m->apps) {
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
	list_each(it, &m->apps) {
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
	list_each(it, &a->workers) {
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
	list_each_safe(it, &m->apps) {
		struct app *a = list_entry(it, struct app, link);
		list_each_safe(at, &a->workers)
			worker_bury(list_entry(at, struct worker, link));
		free_app(a);
	}
}

enum err app_user(const struct cfg_app *conf, struct proc_user *ret_user)
{
	*ret_user = (struct proc_user){ .set = false };
	return conf->user ? proc_find_user(conf->user, ret_user) : ERR_OK;
}

/* ---- what ends mean ----------------------------------------------------- */

struct backoff_rule app_backoff_rule(const struct app *a)
{
	const struct cfg_app *conf = a->target->conf;

	return (struct backoff_rule){ .min_ms = conf->backoff_min_ms,
				      .max_ms = conf->backoff_max_ms,
				      .window_ms = conf->restart_window_ms,
				      .budget = conf->restart_budget };
}

/* Notes an end of instance `i`, which had been UP since `up_us` (0: never): when its
 * successor may start, and whether requests still wait for it. */
static void note_end(struct app *a, uint32_t i, uint64_t up_us, char next[static APP_NEXT_MAX])
{
	struct instance *row = app_instance(a, i);

	next[0] = '\0';
	if (!a->target || !row)
		return;
	struct backoff_rule rule = app_backoff_rule(a);
	uint64_t now = master_now_us();
	bool served = up_us > 0;
	uint32_t ends = backoff_note_end(&row->history, &rule, now, served);
	uint64_t wait = backoff_delay_ms(&rule, ends, served, (uint32_t)random());
	if (served && ends <= rule.budget)
		wait = backoff_earned_ms(wait, (now - up_us) / 1000);
	bool failing = ends > rule.budget || row->history.failed_starts > FAILED_STARTS_BELIEVED;

	row->not_before_us = now + wait * 1000;
	if (i >= a->wanted)
		return;
	row->restarts++;
	if (wait == 0)
		snprintf(next, APP_NEXT_MAX, "; its successor starts at once");
	else
		snprintf(next, APP_NEXT_MAX, "; %sanother starts in %.1f s",
			 !failing ? "" : row->failing ? "failing; " :
			 "failing: requests no longer wait for it; ", (double)wait / 1e3);
	row->failing = failing;
}

/* For who asks how instance `i` is: `why` follows the name of the worker (pid 0: there was none). */
static void note_failure(struct app *a, uint32_t i, pid_t pid, const char *why)
{
	struct instance *row = app_instance(a, i);

	if (!row)
		return;
	row->failure = (struct failure){ .at_us = master_now_us(), .pid = pid };
	snprintf(row->failure.why, sizeof(row->failure.why), "%s", why + (why[0] == ' '));
}

/* The verdict on the target: `w` (NULL: it could not be spawned) has failed it. */
static void fail_target(struct app *a, const struct worker *w, const char *why, uint32_t kept)
{
	char reason[ROLLOUT_REASON_MAX];

	if (w)
		snprintf(reason, sizeof(reason), "worker %u (pid %d)%s", w->instance, (int)w->pid,
			 why);
	rollouts_fail(&a->rollouts, a->target->number, master_now_us(), kept, w ? reason : why,
		      w ? worker_last_lines(w) : NULL);
}

/* What can be gone back to from `failed`: whose workers serve, else what is known to have
 * worked, since its last worker may be starting anew or have ended at this moment. */
static struct release *fallback(const struct app *a, const struct release *failed)
{
	struct release *serving = reconcile_other_release(a, failed);

	return serving || a->proven == failed ? serving : a->proven;
}

/* A new release does not start while an older one serves: the older one stays. */
static bool go_back(struct app *a, const struct release *failed, const struct worker *w,
		    const char *why, char next[static APP_NEXT_MAX])
{
	if (failed != a->target)
		return false;
	struct release *working = fallback(a, failed);
	fail_target(a, w, why, working ? working->number : 0);
	if (!working)
		return false;
	snprintf(next, APP_NEXT_MAX, "; release %u does not become ready: keeping release %u",
		 failed->number, working->number);
	working->announced = true;
	aim_at(a, working);
	return true;
}

/* The port was free when it was chosen, and is not now that its worker is gone:
 * somebody else was quicker. */
static bool port_was_taken(struct app *a, const struct worker *w, char next[static APP_NEXT_MAX])
{
	struct instance *row = app_instance(a, w->instance);

	if (addr_is_unix(&w->address) || !row || row->port_excused || w->pidfd >= 0 ||
	    fd_probe_bind(&w->address) == ERR_OK)
		return false;
	row->port_excused = true;
	snprintf(next, APP_NEXT_MAX, "; port %u was taken by somebody else: trying another",
		 addr_port(&w->address));
	return true;
}

void app_on_up(struct app *a, struct worker *w)
{
	struct instance *row = app_instance(a, w->instance);

	if (!row || w->release != a->target)
		return;
	row->history.failed_starts = 0;
	row->failing = row->port_excused = false;
}

/* A worker of a release that is on its way, and that has an older one to go back to: its
 * end speaks against the release, unless somebody else caused it. */
static bool speaks_against(const struct app *a, const struct worker *w)
{
	const struct rollout *one = rollouts_latest(&a->rollouts);

	return !w->was_told && w->release == a->target && one->number == w->release->number && one->state == ROLLOUT_RUNNING &&
	       fallback(a, w->release);
}

void app_on_end(struct app *a, struct worker *w, const char *why, char next[static APP_NEXT_MAX])
{
	next[0] = '\0';
	if (shutdown_stops_workers(&a->m->stop))
		return;
	note_failure(a, w->instance, w->pid, why);
	if (!speaks_against(a, w) || !go_back(a, w->release, w, why, next))
		note_end(a, w->instance, w->up_us, next);
}

void app_on_sick(struct app *a, struct worker *w, const char *why, char next[static APP_NEXT_MAX])
{
	if (w->release && speaks_against(a, w) && go_back(a, w->release, w, why, next))
		return;
	snprintf(next, APP_NEXT_MAX, "%s", others_fit(a, w) ? "; it gets no requests until it is well" :
		 "; no other is left, so it stays in the rotation");
}

void app_recycle(struct app *a, struct worker *w, const char *key, const char *text)
{
	uint32_t up = 0;

	if (w->release != a->target || shutdown_begun(&a->m->stop) ||
	    rollouts_latest(&a->rollouts)->state == ROLLOUT_RUNNING)
		return;
	list_each(it, &a->workers) {
		const struct worker *other = list_entry(it, struct worker, link);
		if (other->phase != WS_UP && other->phase != WS_LEAVING)
			return;
		if (other->retiring)
			return;
		up += worker_fit(other);
	}
	if (up < a->wanted)
		return;
	if (master_now_us() - w->up_us < RECYCLED_EARLY_US && !w->release->recycle_warned) {
		w->release->recycle_warned = true;
		log_warn("%s is past recycle.%s (%s) only %.1f s after it became ready: is that too "
			 "low?", w->name, key, text, (double)(master_now_us() - w->up_us) / 1e6);
	}
	log_notice("%s is past recycle.%s (%s): it is replaced", w->name, key, text);
	w->retiring = true;
	app_mark(a);
}

/* Somebody killed it, or the kernel for want of memory: once per release that says nothing
 * about the release. */
static bool was_killed(const struct worker *w, char next[static APP_NEXT_MAX])
{
	if (!w->was_told || w->pidfd >= 0 || w->release->kill_excused)
		return false;
	w->release->kill_excused = true;
	snprintf(next, APP_NEXT_MAX, "; somebody else ended it: it is started once more");
	return true;
}

void app_on_boot_failure(struct app *a, struct worker *w, const char *why,
			 char next[static APP_NEXT_MAX])
{
	next[0] = '\0';
	note_failure(a, w->instance, w->pid, why);
	if (w->release != a->target || port_was_taken(a, w, next) || was_killed(w, next))
		return;
	if (!go_back(a, w->release, w, why, next))
		note_end(a, w->instance, 0, next);
}

void app_on_complete(struct app *a)
{
	rollouts_done(&a->rollouts, a->target->number, master_now_us());
	release_drop(a->proven);
	a->proven = release_hold(a->target);
}

void app_on_spawn_failure(struct app *a, struct release *r, uint32_t instance)
{
	char next[APP_NEXT_MAX];

	note_failure(a, instance, 0, a->cannot_start);
	if (!go_back(a, r, NULL, a->cannot_start, next))
		note_end(a, instance, 0, next);
	log_error("app %s: worker %u could not be started%s", a->name, instance, next);
}
