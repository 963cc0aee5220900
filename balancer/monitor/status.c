/* GET /api/v1/status: what the master knows (a snapshot), with what balancers count (the
 * tally).  Keys are for people and scripts: they stay as they are. */
#include "balancer/monitor/status.h"

#include <string.h>

#include "balancer/board/tally.h"
#include "common/line_text.h"
#include "common/slice.h"

static double seconds(uint64_t from_us, uint64_t to_us)
{
	return to_us > from_us ? (double)(to_us - from_us) / 1e6 : 0.0;
}

/* Adds; a failure anywhere is seen in the end, by json_object_get() or the missing whole. */
static void put(json_t *object, const char *key, json_t *value)
{
	(void)json_object_set_new(object, key, value);
}

static json_t *text_or_null(const char *text)
{
	return text && text[0] ? json_string(text) : json_null();
}

/* Text of a worker, which may hold any bytes; JSON only takes UTF-8. */
static json_t *any_text(const char *text)
{
	char utf8[LINE_TEXT_UTF8 * 4096];
	size_t n = strnlen(text, sizeof(utf8) / LINE_TEXT_UTF8);

	return json_stringn_nocheck(utf8, line_text_utf8(utf8, text, n));
}

/* `lines` is what a worker has printed: not for everybody. */
static json_t *rollout_json(const struct snapshot_rollout *r, bool lines)
{
	json_t *o = json_object();

	put(o, "number", json_integer(r->number));
	put(o, "state", json_string(rollout_state_text(r->state)));
	if (r->state != ROLLOUT_FAILED)
		return o;
	put(o, "reason", any_text(r->reason));
	if (lines)
		put(o, "lines", any_text(r->lines));
	put(o, "kept_release", r->kept ? json_integer(r->kept) : json_null());
	return o;
}

/* The latest release of an app, or NULL. */
static const struct snapshot_rollout *rollout_of(const struct snapshot_view *v, uint32_t app_id)
{
	for (uint32_t i = 0; i < v->head->n_rollouts; i++)
		if (v->rollouts[i].app_id == app_id && v->rollouts[i].number)
			return &v->rollouts[i];
	return NULL;
}

json_t *status_reload_json(const struct snapshot_view *v, uint32_t number, bool lines)
{
	for (uint32_t i = 0; i < v->head->n_rollouts; i++) {
		const struct snapshot_rollout *r = &v->rollouts[i];
		if (r->app_id || r->number != number || number == 0)
			continue;
		json_t *o = rollout_json(r, lines), *apps = json_array();
		for (uint32_t k = 0; k < v->head->n_apps; k++) {
			const struct snapshot_rollout *of = rollout_of(v, v->apps[k].id);
			if (!of || of->reload != number)
				continue;
			json_t *app = rollout_json(of, lines);
			put(app, "name", json_string(v->apps[k].name));
			(void)json_array_append_new(apps, app);
		}
		put(o, "apps", apps);
		return o;
	}
	return NULL;
}

static const struct snapshot_instance *find_instance(const struct snapshot_view *v, uint32_t app_id,
						     uint32_t instance)
{
	for (uint32_t i = 0; i < v->head->n_instances; i++)
		if (v->instances[i].app_id == app_id && v->instances[i].instance == instance)
			return &v->instances[i];
	return NULL;
}

/* What outlives a worker: how often its instance was restarted, and how it failed last. */
static void put_instance(json_t *object, const struct snapshot_view *v,
			 const struct snapshot_instance *row)
{
	json_t *failure = json_null();

	put(object, "restarts", json_integer(row ? row->restarts : 0));
	if (row && row->failed_us) {
		failure = json_object();
		put(failure, "reason", any_text(row->failure));
		put(failure, "pid", row->failed_pid ? json_integer(row->failed_pid) : json_null());
		put(failure, "ago_s", json_real(seconds(row->failed_us, v->head->now_us)));
	}
	put(object, "last_failure", failure);
}

static json_t *worker_json(const struct snapshot_view *v, const struct snapshot_worker *w)
{
	json_t *o = json_object();

	if (w->pid) {
		put(o, "instance", json_integer(w->instance));
		put(o, "pid", json_integer(w->pid));
		put(o, "release", json_integer(w->release));
	}
	put(o, "state", json_string(worker_state_text(w->state)));
	put(o, "address", json_string(w->address));
	if (w->pid) {
		put(o, "age_s", json_real(seconds(w->started_us, v->head->now_us)));
		put(o, "uptime_s", w->up_us ? json_real(seconds(w->up_us, v->head->now_us)) : json_null());
	}
	put(o, "in_flight", json_integer(w->in_flight));
	put(o, "requests", json_integer((json_int_t)w->requests));
	if (w->pid)
		put_instance(o, v, find_instance(v, w->app_id, w->instance));
	return o;
}

/* An instance that is wanted and has no process now. */
static json_t *waiting_json(const struct snapshot_view *v, const struct snapshot_app *a, uint32_t i,
			    const struct snapshot_instance *row)
{
	json_t *o = json_object();

	put(o, "instance", json_integer(i));
	put(o, "pid", json_null());
	put(o, "release", json_integer(a->release));
	put(o, "state", json_string("waiting"));
	put(o, "starts_in_s", json_real(row ? seconds(v->head->now_us, row->not_before_us) : 0.0));
	put_instance(o, v, row);
	return o;
}

static bool has_worker(const struct snapshot_view *v, uint32_t app_id, uint32_t instance)
{
	for (uint32_t i = 0; i < v->head->n_workers; i++)
		if (v->workers[i].app_id == app_id && v->workers[i].instance == instance)
			return true;
	return false;
}

static json_t *workers_json(const struct snapshot_view *v, const struct snapshot_app *a,
			    uint32_t *ret_up)
{
	json_t *list = json_array();
	uint32_t up = 0;

	for (uint32_t i = 0; i < v->head->n_workers; i++) {
		const struct snapshot_worker *w = &v->workers[i];
		if (w->app_id != a->id)
			continue;
		up += w->state == WORKER_UP;
		(void)json_array_append_new(list, worker_json(v, w));
	}
	for (uint32_t i = 0; !a->servers && i < a->wanted; i++)
		if (!has_worker(v, a->id, i))
			(void)json_array_append_new(
				list, waiting_json(v, a, i, find_instance(v, a->id, i)));
	*ret_up = up;
	return list;
}

static bool is_failing(const struct snapshot_view *v, uint32_t app_id)
{
	for (uint32_t i = 0; i < v->head->n_instances; i++)
		if (v->instances[i].app_id == app_id && v->instances[i].failing)
			return true;
	return false;
}

static json_t *app_json(const struct snapshot_view *v, const struct snapshot_app *a, bool lines)
{
	json_t *o = json_object();
	uint32_t up;
	json_t *workers = workers_json(v, a, &up);
	const struct snapshot_rollout *rollout = rollout_of(v, a->id);

	put(o, "name", json_string(a->name));
	put(o, "kind", json_string(a->servers ? "servers" : "command"));
	put(o, "in_config", json_boolean(a->in_config));
	put(o, "release", json_integer(a->release));
	put(o, "newest_release", json_integer(a->newest_release));
	put(o, "wanted", json_integer(a->wanted));
	put(o, "up", json_integer(up));
	put(o, "failing", json_boolean(is_failing(v, a->id)));
	put(o, "rollout", rollout ? rollout_json(rollout, lines) : json_null());
	put(o, "workers", workers);
	return o;
}

static uint64_t row_value(const struct tally *t, const struct snapshot_balancer *b, enum counter c)
{
	const struct tally_row *row = b->row < TALLY_ROWS ? &t->rows[b->row] : NULL;

	if (!row || b->pid == 0 || atomic_load_explicit(&row->pid, memory_order_relaxed) != b->pid)
		return 0;
	return atomic_load_explicit(&row->counters[c], memory_order_relaxed);
}

static json_t *balancers_json(const struct snapshot_view *v, const struct tally *t)
{
	json_t *list = json_array();

	for (uint32_t i = 0; i < v->head->n_balancers; i++) {
		const struct snapshot_balancer *b = &v->balancers[i];
		json_t *o = json_object();
		put(o, "generation", json_integer(b->generation));
		put(o, "index", json_integer(b->index));
		put(o, "pid", b->pid ? json_integer(b->pid) : json_null());
		put(o, "connections",
		    json_integer((json_int_t)row_value(t, b, COUNTER_connections_open)));
		put(o, "requests", json_integer((json_int_t)row_value(t, b, COUNTER_requests)));
		(void)json_array_append_new(list, o);
	}
	return list;
}

static json_t *generations_json(const struct snapshot_view *v)
{
	json_t *list = json_array();

	for (uint32_t i = 0; i < v->head->n_generations; i++) {
		const struct snapshot_generation *g = &v->generations[i];
		json_t *o = json_object();
		put(o, "number", json_integer(g->number));
		put(o, "state", json_string(generation_state_text(g->state)));
		put(o, "age_s", json_real(seconds(g->since_us, v->head->now_us)));
		(void)json_array_append_new(list, o);
	}
	return list;
}

static json_t *listeners_json(const struct snapshot_view *v)
{
	json_t *list = json_array();

	for (uint32_t i = 0; i < v->head->n_listeners; i++) {
		const struct snapshot_listener *l = &v->listeners[i];
		json_t *o = json_object();
		put(o, "address", json_string(l->address));
		put(o, "sockets", json_integer(l->sockets));
		put(o, "inherited", json_boolean(l->inherited));
		put(o, "in_config", json_boolean(l->in_config));
		(void)json_array_append_new(list, o);
	}
	return list;
}

/* ---- counts ------------------------------------------------------------- */

static json_t *counters_json(const struct tally *t)
{
	json_t *o = json_object();

	for (enum counter c = 0; c < COUNTER_MAX; c++)
		put(o, counter_table[c].name, json_integer((json_int_t)tally_total(t, c)));
	return o;
}

/* What the framing policy has refused of one side, by its rules; those that never did are left out. */
static json_t *refusals_json(const struct tally *t, enum tally_side side)
{
	static const char *const names[HTTP_RULE_MAX] = {
#define RULE(name, status, text, source) [HTTP_RULE_##name] = #name,
#include "common/http_rules.def"
#undef RULE
	};
	json_t *o = json_object();

	for (enum http_rule rule = 0; rule < HTTP_RULE_MAX; rule++) {
		uint64_t n = tally_refusals(t, side, rule);
		char name[32] = "";
		if (n == 0 || !names[rule])
			continue;
		for (size_t i = 0; names[rule][i] && i < sizeof(name) - 1; i++)
			name[i] = ascii_lower(names[rule][i]);
		put(o, name, json_integer((json_int_t)n));
	}
	return o;
}

static json_t *upgrade_json(const struct snapshot *head)
{
	json_t *o = json_object();

	put(o, "number", json_integer(head->upgrades));
	put(o, "state", json_string(rollout_state_text(head->upgrade)));
	put(o, "from", head->upgrade_from[0] ? json_string(head->upgrade_from) : json_null());
	put(o, "reason", head->upgrade_reason[0] ? json_string(head->upgrade_reason) : json_null());
	return o;
}

/* null: the master is the one that was started. */
static json_t *adopted_json(const struct snapshot *head)
{
	json_t *o;

	if (head->adoptions == 0)
		return json_null();
	o = json_object();
	put(o, "times", json_integer(head->adoptions));
	put(o, "from_pid", json_integer(head->adopted_from));
	put(o, "age_s", json_real(seconds(head->adopted_us, head->now_us)));
	return o;
}

json_t *status_json(const struct snapshot_view *v, const struct monitor_heritage *h, bool lines)
{
	json_t *o = json_object(), *apps = json_array();

	for (uint32_t i = 0; i < v->head->n_apps; i++)
		(void)json_array_append_new(apps, app_json(v, &v->apps[i], lines));
	put(o, "name", json_string(h->name));
	put(o, "version", json_string(DROVER_VERSION));
	put(o, "config_file", text_or_null(h->config_file));
	put(o, "state", json_string(admin_state_text(v->head->state)));
	put(o, "pid", json_integer(v->head->master_pid));
	put(o, "uptime_s", json_real(seconds(v->head->started_us, v->head->now_us)));
	put(o, "connections",
	    json_integer((json_int_t)tally_total(h->tally, COUNTER_connections_open)));
	put(o, "requests", json_integer((json_int_t)tally_total(h->tally, COUNTER_requests)));
	put(o, "apps", apps);
	put(o, "balancers", balancers_json(v, h->tally));
	put(o, "generations", generations_json(v));
	put(o, "listeners", listeners_json(v));
	put(o, "counters", counters_json(h->tally));
	put(o, "refusals", json_pack("{s:o, s:o}", "clients", refusals_json(h->tally, TALLY_CLIENTS),
				     "workers", refusals_json(h->tally, TALLY_WORKERS)));
	put(o, "upgrade", upgrade_json(v->head));
	put(o, "adopted", adopted_json(v->head));
	return o;
}
