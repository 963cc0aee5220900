/* What can be asked for, and how each is answered; in the monitor.
 *
 * A row names the method, the path (a * stands for one segment, given to the handler), and
 * what to do.  What changes anything is a POST, and is refused at a door where one may only
 * look. */
#include "balancer/monitor/routes.h"

#include <string.h>

#include "balancer/monitor/ask.h"
#include "balancer/monitor/core.h"
#include "balancer/monitor/status.h"

typedef void route_f(struct conn *c, const struct call *call);

/* ---- helpers ------------------------------------------------------------ */

static void asked(struct conn *c, enum err e)
{
	if (e)
		conn_refuse(c, 503, "The master cannot be asked: %s.", err_text(e));
}

static bool refused(struct conn *c, const struct reply_from_master *r)
{
	const struct admin_code_info *info = &admin_code_table[r->code];

	if (info->http_status < 300)
		return false;
	conn_refuse(c, info->http_status, "%s", info->text);
	return true;
}

/* ---- looking ------------------------------------------------------------ */

static bool view(struct conn *c, const struct reply_from_master *r, struct snapshot_view *ret_view)
{
	if (refused(c, r))
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
		conn_reply_json(c, 200, status_json(&v, conn_monitor(c)->heritage));
}

static void get_status(struct conn *c, const struct call *call)
{
	(void)call;
	asked(c, ask_master(conn_monitor(c), ADMIN_SNAPSHOT, 0, 0, 0, c, on_status));
}

/* ---- the table ---------------------------------------------------------- */

static const struct route {
	enum http_method method; /* GET rows answer HEAD too */
	const char *path;
	route_f *run;
} routes[] = {
	{ HTTP_M_GET, "/api/v1/status", get_status },
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
		if (method != HTTP_M_GET && !may_change)
			conn_refuse(c, 403, "Here one may only look; changes are made through the "
				    "Unix socket.");
		else
			routes[i].run(c, &call);
		return;
	}
	if (known)
		conn_refuse(c, 405, "This is not done with %.*s.", (int)head->method.n, head->method.p);
	else
		conn_refuse(c, 404, "There is nothing at %.*s.", (int)MIN(path.n, 200u), path.p);
}
