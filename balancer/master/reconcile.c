/* One function decides which workers start and stop: `reconcile`.  In the
 * master, after every event of an app.  Crash replacement, scaling, reload and
 * reload during a reload are all the same steps:
 *
 *   1. servers (not ours to start): as the target lists them
 *   2. workers that start for another release than the target: stop
 *   3. workers of the target with a number that is not wanted any more: drain
 *   4. once the target has a worker UP and warm: drain as many others as it replaces
 *   5. instances of the target that are missing: start, all at once when nothing
 *      serves in their place, else as many as rollout.surge allows: with 1 when the
 *      one before it has come and the one that it replaced has gone (at no time is
 *      there more than one process beyond the wanted number, but for rollout.linger)
 *
 * A worker that is recycled counts as one of another release in all of them.
 *
 * So the workers UP never fall below the wanted number by our doing, and a
 * release that does not become ready never costs one that works.
 */
#include "balancer/master/reconcile.h"

#include "balancer/master/app.h"
#include "balancer/master/core.h"
#include "balancer/master/worker_proc.h"
#include "common/log.h"

#define WARMING_LOOK_US 25000

static struct worker *worker_of(struct list *it)
{
	return list_entry(it, struct worker, link);
}

/* One that is recycled is replaced as if it were of an older release. */
static bool of_target(const struct app *a, const struct worker *w)
{
	return w->release && w->release == a->target && !w->retiring;
}

/* ---- counting ----------------------------------------------------------- */

struct counts {
	uint32_t target_up, target_warm, target_starting, other_up;
	uint32_t going; /* without those that may linger */
};

static struct counts count(struct app *a)
{
	struct counts c = { 0 };
	uint32_t may_linger = a->target ? a->target->conf->rollout_linger : 0;

	list_each(it, &a->workers) {
		const struct worker *w = worker_of(it);
		if (w->phase == WS_UP && of_target(a, w)) {
			c.target_up++;
			c.target_warm += worker_warm(w) && worker_fit(w);
		} else if (w->phase == WS_UP) {
			c.other_up++;
		} else if (w->phase == WS_STARTING && of_target(a, w)) {
			c.target_starting++;
		} else if (w->phase == WS_DRAINING && w->lingers && may_linger > 0) {
			may_linger--;
		} else if (w->pid && w->phase >= WS_DRAINING && w->phase <= WS_KILLED) {
			c.going++;
		}
	}
	return c;
}

/* Whether instance `i` has a worker of the target that counts; *ret_covered:
 * a worker of another release is UP in its place. */
static bool has_instance(struct app *a, uint32_t i, bool *ret_covered)
{
	*ret_covered = false;
	list_each(it, &a->workers) {
		const struct worker *w = worker_of(it);
		if (w->pid == 0 || w->instance != i)
			continue;
		if (of_target(a, w) && worker_counts(w))
			return true;
		if (w->phase == WS_UP)
			*ret_covered = true;
	}
	return false;
}

static bool has_up(struct app *a, uint32_t i)
{
	list_each(it, &a->workers) {
		const struct worker *w = worker_of(it);
		if (w->pid && w->instance == i && w->phase == WS_UP)
			return true;
	}
	return false;
}

static struct worker *find_server(struct app *a, const struct addr *address)
{
	list_each(it, &a->workers) {
		struct worker *w = worker_of(it);
		if (w->pid == 0 && w->phase == WS_UP && addr_equal(&w->address, address))
			return w;
	}
	return NULL;
}

uint32_t reconcile_coming(struct app *a)
{
	uint32_t coming = 0;

	if (!a->target)
		return 0;
	const struct cfg_app *conf = a->target->conf;
	for (size_t i = 0; i < conf->n_servers; i++)
		coming += !find_server(a, &conf->servers[i]); /* not entered yet */
	for (uint32_t i = 0; i < a->wanted; i++) {
		const struct instance *row = app_instance(a, i);
		if (!has_up(a, i) && !(row && row->failing))
			coming++;
	}
	return coming;
}

struct release *reconcile_other_release(const struct app *a, const struct release *r)
{
	struct release *newest = NULL;

	list_each(it, &a->workers) {
		const struct worker *w = worker_of(it);
		if (w->phase == WS_UP && w->release && w->release != r &&
		    (!newest || w->release->number > newest->number))
			newest = w->release;
	}
	return newest;
}

/* ---- the steps ---------------------------------------------------------- */

static void drain_all(struct app *a)
{
	list_each_safe(it, &a->workers)
		worker_event(worker_of(it), WE_DRAIN);
}

static bool lists_server(const struct cfg_app *conf, const struct addr *address)
{
	for (size_t i = 0; i < conf->n_servers; i++)
		if (addr_equal(&conf->servers[i], address))
			return true;
	return false;
}

/* An unchanged address keeps its slot and epoch. */
static void reconcile_servers(struct app *a)
{
	const struct cfg_app *conf = a->target->conf;

	for (size_t i = 0; i < conf->n_servers; i++) {
		if (find_server(a, &conf->servers[i]))
			continue;
		enum err e = worker_add_server(a, &conf->servers[i]);
		if (e)
			log_error("app %s: cannot add a server: %s", a->name, err_text(e));
	}
	list_each_safe(it, &a->workers) {
		struct worker *w = worker_of(it);
		if (w->pid == 0 && w->phase == WS_UP && lists_server(conf, &w->address))
			worker_follow_health(w, a->target);
		if (w->pid == 0 && w->phase == WS_UP && !lists_server(conf, &w->address))
			worker_event(w, WE_DRAIN);
	}
}

static void stop_superseded(struct app *a)
{
	list_each_safe(it, &a->workers) {
		struct worker *w = worker_of(it);
		if (w->phase == WS_STARTING && !of_target(a, w))
			worker_event(w, WE_DRAIN);
	}
}

static void drain_surplus(struct app *a)
{
	list_each_safe(it, &a->workers) {
		struct worker *w = worker_of(it);
		if (of_target(a, w) && worker_counts(w) && w->instance >= a->wanted)
			worker_event(w, WE_DRAIN);
	}
}

/* The best one to go: its instance has a successor UP, or is not wanted. */
static struct worker *pick_other(struct app *a)
{
	struct worker *any = NULL;

	list_each(it, &a->workers) {
		struct worker *w = worker_of(it);
		if (w->pid == 0 || w->phase != WS_UP || of_target(a, w))
			continue;
		any = w;
		if (w->instance >= a->wanted)
			return w;
		list_each(at, &a->workers) {
			const struct worker *other = worker_of(at);
			if (other->phase == WS_UP && of_target(a, other) &&
			    other->instance == w->instance)
				return w;
		}
	}
	return any;
}

static void drain_replaced(struct app *a)
{
	struct counts c = count(a);
	uint32_t keep = a->wanted > c.target_warm ? a->wanted - c.target_warm : 0;

	if (c.target_warm == 0)
		return; /* nothing proves that the target works */
	for (uint32_t n = c.other_up; n > keep; n--) {
		struct worker *w = pick_other(a);
		if (!w)
			return;
		worker_event(w, WE_DRAIN);
	}
}

/* The target's newest is UP, and what it replaces waits for it to be warm. */
static bool warming(const struct counts *c)
{
	return c->other_up > 0 && c->target_up > c->target_warm;
}

/* Processes beyond the wanted number that there are for the sake of a replacement. */
static uint32_t beyond(const struct counts *c)
{
	return c->target_starting + c->going + (warming(c) ? c->target_up - c->target_warm : 0);
}

/* Whether instance `i`, which is missing, may start now; else when. */
static bool may_start(struct app *a, uint32_t i, bool covered, const struct counts *c,
		      uint64_t now, uint64_t *next_us)
{
	const struct instance *row = app_instance(a, i);
	uint32_t surge = a->target->conf->rollout_surge;

	if (covered && (shutdown_begun(&a->m->stop) || beyond(c) >= surge))
		return false;
	/* What nobody serves for waits only for a release that has shown nothing yet
	 * while another serves. */
	if (!covered && c->other_up > 0 && c->target_starting >= surge && c->target_up == 0)
		return false;
	if (row && row->not_before_us > now) {
		*next_us = MIN(*next_us, row->not_before_us);
		return false;
	}
	return true;
}

static void start_missing(struct app *a)
{
	struct counts c = count(a);
	uint64_t now = master_now_us();
	uint64_t next_us = warming(&c) ? now + WARMING_LOOK_US : UINT64_MAX;
	bool covered;

	for (uint32_t i = 0; i < a->wanted; i++) {
		if (has_instance(a, i, &covered) || !may_start(a, i, covered, &c, now, &next_us))
			continue;
		struct release *r = a->target;
		if (!worker_start(a, r, i)) {
			c.target_starting++;
			continue;
		}
		app_on_spawn_failure(a, r, i);
		if (a->target != r)
			return; /* gone back: another pass follows */
		const struct instance *row = app_instance(a, i);
		if (row)
			next_us = MIN(next_us, row->not_before_us);
	}
	if (next_us == UINT64_MAX)
		return;
	master_timer(&a->ev_retry, next_us > now ? (next_us - now) / 1000 + 1 : 1);
}

/* Said once per release: the wanted number is UP, and nothing else is. */
static void announce(struct app *a)
{
	struct counts c = count(a);
	struct release *r = a->target;

	if (r->announced || c.target_up < a->wanted || c.other_up > 0)
		return;
	r->announced = true;
	app_on_complete(a);
	const char *s = a->wanted == 1 ? "" : "s";
	if (r->number > 1)
		log_notice("app %s: all %u worker%s ready, of release %u", a->name, a->wanted, s,
			   r->number);
	else
		log_notice("app %s: all %u worker%s ready", a->name, a->wanted, s);
}

void reconcile(struct app *a)
{
	event_del(&a->ev_retry);
	if (shutdown_stops_workers(&a->m->stop))
		return;
	if (!a->target) {
		drain_all(a);
		return;
	}
	reconcile_servers(a);
	if (!a->target->conf->command) {
		list_each_safe(it, &a->workers) {
			if (worker_of(it)->pid)
				worker_event(worker_of(it), WE_DRAIN);
		}
		return;
	}
	stop_superseded(a);
	drain_surplus(a);
	drain_replaced(a);
	start_missing(a);
	announce(a);
}
