/* What workers have written, as JSON; in the monitor.  It keeps no lines: each question goes to
 * the master with the place that the one before had come to, and whoever is slow to ask again
 * learns how many lines he has missed.  Who wants to wait for the next line (wait=) is put
 * aside here, and the master asked again ten times a second. */
#include "balancer/monitor/logs.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "balancer/board/admin.h"
#include "balancer/board/page.h"
#include "balancer/monitor/ask.h"
#include "balancer/monitor/core.h"
#include "common/clock.h"
#include "common/line_text.h"
#include "common/mem.h"

#define WAIT_MAX_S 10

/* ---- the reply ---------------------------------------------------------- */

/* "2026-11-30T03:50:12.123456Z", as in the output itself. */
static json_t *time_json(uint64_t wall_us)
{
	time_t seconds = (time_t)(wall_us / 1000000);
	char text[64];
	struct tm tm;

	gmtime_r(&seconds, &tm);
	size_t n = strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &tm);
	snprintf(text + n, sizeof(text) - n, ".%06uZ", (unsigned)(wall_us % 1000000));
	return json_string(text);
}

static json_t *text_json(struct slice text)
{
	char *utf8 = mem_alloc(LINE_TEXT_UTF8 * text.n + 1);

	if (!utf8)
		return NULL;
	json_t *o = json_stringn_nocheck(utf8, line_text_utf8(utf8, text.p, text.n));
	mem_free(utf8);
	return o;
}

/* An app that has just left has no name any more. */
static const char *app_name(const struct roster *roster, uint32_t id)
{
	for (uint32_t i = 0; i < MIN(roster->n_apps, ROSTER_APPS); i++)
		if (roster->apps[i].id == id && memchr(roster->apps[i].name, '\0', 64))
			return roster->apps[i].name;
	return "?";
}

/* The keys are those of log.output_format: json. */
static json_t *line_json(const struct roster *roster, const struct page_line *l, struct slice text)
{
	json_t *o = json_pack("{s:o, s:I, s:s, s:I, s:i, s:I, s:s, s:o}", "time",
			      time_json(l->wall_us), "seq", (json_int_t)l->seq, "app",
			      app_name(roster, l->app_id), "instance", (json_int_t)l->instance,
			      "pid", (int)l->pid, "release", (json_int_t)l->release, "stream",
			      l->stream == 2 ? "stderr" : "stdout", "line", text_json(text));
	if (l->cut)
		(void)json_object_set_new(o, "cut", json_true());
	return o;
}

/* `p` NULL: nothing was written. */
static void reply(struct conn *c, const struct page *p, size_t bytes, uint64_t next)
{
	struct monitor *m = conn_monitor(c);
	json_t *lines = json_array();
	const struct page_line *l;
	struct slice text;
	size_t offset = 0;

	if (p && !roster_read(m->heritage->roster, &m->roster))
		m->roster.n_apps = 0;
	while (p && (l = page_next(p, bytes, &offset, &text)))
		(void)json_array_append_new(lines, line_json(&m->roster, l, text));
	/* Lines that are gone count for who has seen those before them. */
	uint64_t skipped = p && conn_tail(c)->follows ? p->missing : 0;
	conn_reply_json(c, 200,
			json_pack("{s:o, s:I, s:I, s:b}", "lines", lines, "skipped",
				  (json_int_t)skipped, "next", (json_int_t)next, "more",
				  p && p->more));
}

/* ---- the question ------------------------------------------------------- */

static void ask(struct conn *c);

static void on_page(struct conn *c, const struct reply_from_master *r)
{
	const struct page *p = NULL;
	struct conn_tail *t = conn_tail(c);

	if (ask_refused(c, r))
		return;
	if (r->data && page_view(r->data, r->bytes, &p)) {
		conn_refuse(c, 500, "What the master has sent cannot be read.");
		return;
	}
	if (!p && t->follows)
		t->since = r->number; /* past lines that were not asked for */
	clock_update();
	if (p || clock_now_us() >= t->until_us || !conn_later(c, ask))
		reply(c, p, r->bytes, p ? p->next : r->number);
}

static void ask(struct conn *c)
{
	const struct conn_tail *t = conn_tail(c);

	ask_sent(c, ask_master(conn_monitor(c), ADMIN_LOGS, t->app_id, t->number, t->since, c,
			       on_page));
}

/* The value of `name` in `query`; `instead` when it is not there.  False: it is no number up
 * to `max`, which has been said. */
static bool read_number(struct conn *c, const struct call *call, const char *name, uint64_t max,
			uint64_t instead, uint64_t *ret_value)
{
	struct slice rest = call->query, want = slice_of(name);

	*ret_value = instead;
	while (rest.n > 0) {
		const char *end = memchr(rest.p, '&', rest.n);
		struct slice one = { rest.p, end ? (size_t)(end - rest.p) : rest.n };
		rest.p += one.n + (end ? 1 : 0);
		rest.n -= one.n + (end ? 1 : 0);
		if (one.n <= want.n || !slice_starts(one, want) || one.p[want.n] != '=')
			continue;
		struct slice value = { one.p + want.n + 1, one.n - want.n - 1 };
		if (slice_to_u64(value, max, ret_value) == ERR_OK)
			return true;
		conn_refuse(c, 422, "%s= has to be a number from 0 to %llu", name,
			    (unsigned long long)max);
		return false;
	}
	return true;
}

void logs_ask(struct conn *c, const struct call *call, uint32_t app_id, uint32_t instance)
{
	struct conn_tail *t = conn_tail(c);
	uint64_t lines, since, wait_s;

	if (!read_number(c, call, "lines", ADMIN_LOGS_ALL - 1, ADMIN_LOGS_ALL, &lines) ||
	    !read_number(c, call, "since", INT64_MAX, UINT64_MAX, &since) ||
	    !read_number(c, call, "wait", WAIT_MAX_S, 0, &wait_s))
		return;
	clock_update();
	*t = (struct conn_tail){ .app_id = app_id,
				 .follows = since != UINT64_MAX,
				 .until_us = clock_now_us() + wait_s * 1000000 };
	t->since = t->follows ? since : 0;
	t->number = admin_logs_number(t->follows ? ADMIN_LOGS_ALL : (uint32_t)lines, instance);
	ask(c);
}
