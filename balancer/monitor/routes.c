/* What can be asked for, and how each is answered; in the monitor.
 *
 * A row names the method, the path (a * stands for one segment, given to the handler), and
 * what to do.  What changes anything is a POST, and is refused at a door where one may only
 * look. */
#include "balancer/monitor/routes.h"

#include <string.h>

#include "balancer/monitor/ask.h"
#include "balancer/monitor/core.h"
#include "balancer/monitor/logs.h"
#include "balancer/monitor/status.h"

typedef void route_f(struct conn *c, const struct call *call);

/* ---- helpers ------------------------------------------------------------ */

static uint32_t number_of(struct slice text)
{
	uint64_t n;

	return slice_to_u64(text, UINT32_MAX, &n) == ERR_OK ? (uint32_t)n : UINT32_MAX;
}

/* 0: it has been said that there is no such app. */
static uint32_t app_id(struct conn *c, struct slice name)
{
	struct monitor *m = conn_monitor(c);

	if (roster_read(m->heritage->roster, &m->roster))
		for (uint32_t i = 0; i < MIN(m->roster.n_apps, ROSTER_APPS); i++) {
			const struct roster_app *a = &m->roster.apps[i];
			if (a->id && strnlen(a->name, sizeof(a->name)) == name.n &&
			    memcmp(a->name, name.p, name.n) == 0)
				return a->id;
		}
	conn_refuse(c, 404, "there is no app %.*s", (int)MIN(name.n, 63u), name.p);
	return 0;
}

/* ---- looking ------------------------------------------------------------ */

static bool view(struct conn *c, const struct reply_from_master *r, struct snapshot_view *ret_view)
{
	if (ask_refused(c, r))
		return false;
	if (r->data && snapshot_view(r->data, r->bytes, ret_view) == ERR_OK)
		return true;
	conn_refuse(c, 500, "What the master has sent cannot be read.");
	return false;
}

static void on_status(struct conn *c, const struct reply_from_master *r)
{
	struct snapshot_view v;

	if (view(c, r, &v))
		conn_reply_json(c, 200, status_json(&v, conn_monitor(c)->heritage, conn_may_change(c)));
}

static void get_status(struct conn *c, const struct call *call)
{
	(void)call;
	ask_sent(c, ask_master(conn_monitor(c), ADMIN_SNAPSHOT, 0, 0, 0, c, on_status));
}

static void on_reload(struct conn *c, const struct reply_from_master *r)
{
	struct snapshot_view v;

	if (!view(c, r, &v))
		return;
	json_t *o = status_reload_json(&v, conn_number(c), conn_may_change(c));
	if (o)
		conn_reply_json(c, 200, o);
	else
		conn_refuse(c, 404, "there was no such reload, or it is forgotten");
}

static void get_reload(struct conn *c, const struct call *call)
{
	conn_set_number(c, number_of(call->args[0]));
	ask_sent(c, ask_master(conn_monitor(c), ADMIN_SNAPSHOT, 0, 0, 0, c, on_reload));
}

/* Ready to be given clients: somebody serves, and every app has a worker that is UP. */
static void on_ready(struct conn *c, const struct reply_from_master *r)
{
	struct snapshot_view v;
	json_t *why = json_array();

	if (!view(c, r, &v)) {
		json_decref(why);
		return;
	}
	if (v.head->state != ADMIN_STATE_SERVING)
		(void)json_array_append_new(
			why, json_sprintf("drover is %s", admin_state_text(v.head->state)));
	for (uint32_t i = 0; i < v.head->n_apps; i++) {
		uint32_t up = 0;
		for (uint32_t k = 0; k < v.head->n_workers; k++)
			up += v.workers[k].app_id == v.apps[i].id && v.workers[k].state == WORKER_UP;
		if (up == 0 && v.apps[i].in_config)
			(void)json_array_append_new(
				why, json_sprintf("app %s has no worker that is ready", v.apps[i].name));
	}
	bool ready = json_array_size(why) == 0;
	conn_reply_json(c, ready ? 200 : 503, json_pack("{s:b, s:o}", "ready", ready, "reasons", why));
}

static void get_readyz(struct conn *c, const struct call *call)
{
	(void)call;
	ask_sent(c, ask_master(conn_monitor(c), ADMIN_SNAPSHOT, 0, 0, 0, c, on_ready));
}

static void on_alive(struct conn *c, const struct reply_from_master *r)
{
	if (!ask_refused(c, r))
		conn_reply_text(c, 200, "text/plain", SLICE("alive\n"));
}

/* The master's loop turns: it has answered. */
static void get_livez(struct conn *c, const struct call *call)
{
	(void)call;
	ask_sent(c, ask_master(conn_monitor(c), ADMIN_SNAPSHOT, 0, 0, 0, c, on_alive));
}

static void get_logs(struct conn *c, const struct call *call)
{
	logs_ask(c, call, 0, ADMIN_LOGS_ALL);
}

static void get_app_logs(struct conn *c, const struct call *call)
{
	uint32_t id = app_id(c, call->args[0]);

	if (id)
		logs_ask(c, call, id, ADMIN_LOGS_ALL);
}

static void get_worker_logs(struct conn *c, const struct call *call)
{
	uint32_t id = app_id(c, call->args[0]);

	if (id)
		logs_ask(c, call, id, MIN(number_of(call->args[1]), ADMIN_LOGS_ALL - 1));
}

/* ---- changing ----------------------------------------------------------- */

static void on_done(struct conn *c, const struct reply_from_master *r)
{
	const struct admin_code_info *info = &admin_code_table[r->code];

	if (!ask_refused(c, r))
		conn_reply_json(c, info->http_status,
				json_pack("{s:s, s:I}", "result", info->text, "number",
					  (json_int_t)r->number));
}

static void change(struct conn *c, enum admin_verb verb, uint32_t id, uint32_t number)
{
	ask_sent(c, ask_master(conn_monitor(c), verb, id, number, 0, c, on_done));
}

static void post_reload(struct conn *c, const struct call *call)
{
	(void)call;
	change(c, ADMIN_RELOAD, 0, 0);
}

static void post_stop(struct conn *c, const struct call *call)
{
	(void)call;
	change(c, ADMIN_STOP, 0, 0);
}

static void post_upgrade(struct conn *c, const struct call *call)
{
	(void)call;
	change(c, ADMIN_UPGRADE, 0, 0);
}

static void post_restart(struct conn *c, const struct call *call)
{
	uint32_t id = app_id(c, call->args[0]);

	if (id)
		change(c, ADMIN_RESTART, id, 0);
}

static void post_drain(struct conn *c, const struct call *call)
{
	uint32_t id = app_id(c, call->args[0]);

	if (id)
		change(c, ADMIN_DRAIN, id, number_of(call->args[1]));
}

static void post_scale(struct conn *c, const struct call *call)
{
	json_t *body = json_loadb(call->body.p, call->body.n, JSON_REJECT_DUPLICATES, NULL);
	json_t *n = json_object_get(body, "instances");
	json_int_t value = json_integer_value(n);
	bool good = json_is_integer(n) && json_object_size(body) == 1;

	json_decref(body);
	if (!good || value < 0 || value > UINT32_MAX) {
		conn_refuse(c, 422, "the body has to be {\"instances\": N}");
		return;
	}
	uint32_t id = app_id(c, call->args[0]);
	if (id)
		change(c, ADMIN_SCALE, id, (uint32_t)value);
}

/* ---- the table ---------------------------------------------------------- */

static const struct route {
	enum http_method method; /* GET rows answer HEAD too */
	const char *path;
	route_f *run;
	enum { EVERYBODY = 0, OWNER } whose; /* OWNER: not over TCP.  Workers may print secrets */
} routes[] = {
	{ HTTP_M_GET, "/livez", get_livez, EVERYBODY },
	{ HTTP_M_GET, "/readyz", get_readyz, EVERYBODY },
	{ HTTP_M_GET, "/api/v1/status", get_status, EVERYBODY },
	{ HTTP_M_GET, "/api/v1/reloads/*", get_reload, EVERYBODY },
	{ HTTP_M_GET, "/api/v1/logs", get_logs, OWNER }, /* lines= since= wait= */
	{ HTTP_M_GET, "/api/v1/apps/*/logs", get_app_logs, OWNER },
	{ HTTP_M_GET, "/api/v1/apps/*/workers/*/logs", get_worker_logs, OWNER },
	{ HTTP_M_POST, "/api/v1/reload", post_reload, OWNER },
	{ HTTP_M_POST, "/api/v1/stop", post_stop, OWNER },
	{ HTTP_M_POST, "/api/v1/upgrade", post_upgrade, OWNER },
	{ HTTP_M_POST, "/api/v1/apps/*/restart", post_restart, OWNER },
	{ HTTP_M_POST, "/api/v1/apps/*/scale", post_scale, OWNER }, /* {"instances": N} */
	{ HTTP_M_POST, "/api/v1/apps/*/workers/*/drain", post_drain, OWNER },
};

/* The next segment of `*rest`, which begins with '/'; advances it. */
static struct slice next_segment(struct slice *rest)
{
	const char *begin = rest->p + 1;
	size_t left = rest->n - 1;
	const char *slash = memchr(begin, '/', left);
	size_t n = slash ? (size_t)(slash - begin) : left;

	*rest = (struct slice){ begin + n, left - n };
	return (struct slice){ begin, n };
}

static bool fits(const char *pattern, struct slice path, struct slice args[static ROUTE_ARGS])
{
	struct slice want = slice_of(pattern), have = path;
	int n = 0;

	while (want.n > 0 && have.n > 0) {
		struct slice w = next_segment(&want), h = next_segment(&have);
		if (slice_eq(w, SLICE("*")) && h.n > 0 && n < ROUTE_ARGS)
			args[n++] = h;
		else if (!slice_eq(w, h))
			return false;
	}
	return want.n == 0 && have.n == 0;
}

void routes_call(struct conn *c, const struct http_head *head, struct slice body, bool may_change)
{
	struct call call = { .body = body };
	struct slice path = head->path;
	const char *mark = memchr(path.p, '?', path.n);
	uint8_t method = head->method_id == HTTP_M_HEAD ? HTTP_M_GET : head->method_id;
	bool known = false;

	if (mark) {
		call.query = (struct slice){ mark + 1, (size_t)(path.p + path.n - mark - 1) };
		path.n = (size_t)(mark - path.p);
	}
	for (size_t i = 0; path.n > 0 && path.p[0] == '/' && i < ARRAY_LEN(routes); i++) {
		if (!fits(routes[i].path, path, call.args))
			continue;
		known = true;
		if (routes[i].method != method)
			continue;
		if (routes[i].whose == OWNER && !may_change)
			conn_refuse(c, 403, method == HTTP_M_GET ?
				    "What workers print is shown on the Unix socket alone." :
				    "Here one may only look; changes are made through the Unix socket.");
		else
			routes[i].run(c, &call);
		return;
	}
	if (known)
		conn_refuse(c, 405, "This is not done with %.*s.", (int)head->method.n, head->method.p);
	else
		conn_refuse(c, 404, "There is nothing at %.*s.", (int)MIN(path.n, 200u), path.p);
}
