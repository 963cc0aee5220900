/* Which code answers which path: one table, and the routes that take a line or two.
 * Called by connection.c with each whole head. */
#include "worker/routes.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "worker/connection.h"
#include "worker/reply.h"
#include "worker/server.h"

static route_f instance_begin;
static route_f pid_begin;
static route_f env_begin;
static route_f headers_begin;

/* Test mode only.  Without it these paths are files like any other, or 404. */
static const struct {
	const char *path;
	route_f *begin;
} test_routes[] = {
	{ "/instance", instance_begin },
	{ "/pid", pid_begin },
	{ "/env", env_begin },
	{ "/headers", headers_begin },
	{ "/echo", echo_begin },
	{ "/sink", sink_begin },
	{ "/huge", huge_begin },
	{ "/continue", continue_begin },
	{ "/early", early_begin },
	{ "/upgrade", upgrade_begin },
	{ "/slow", slow_begin },
	{ "/drip", drip_begin },
	{ "/cut", cut_begin },
	{ "/reset", reset_begin },
	{ "/close", close_begin },
	{ "/crash", crash_begin },
	{ "/exit", exit_begin },
	{ "/hang", hang_begin },
	{ "/status", status_begin },
	{ "/bad", bad_begin },
	{ "/http10", http10_begin },
	{ "/nolength", nolength_begin },
	{ "/expect417", expect417_begin },
	{ "/early-reply", early_reply_begin },
};

static route_f *find_test_route(struct slice path)
{
	for (size_t i = 0; i < ARRAY_LEN(test_routes); i++)
		if (slice_eq(path, slice_of(test_routes[i].path)))
			return test_routes[i].begin;
	return NULL;
}

void routes_begin(struct connection *c, const struct ask *ask)
{
	const struct settings *settings = c->server->settings;
	route_f *begin = settings->test ? find_test_route(ask->path) : NULL;

	if (begin)
		begin(c, ask);
	else if (settings->root >= 0)
		files_begin(c, ask);
	else if (slice_eq(ask->path, SLICE("/")))
		welcome_begin(c, ask);
	else
		reply_error(c, 404, "There is nothing at this address", (struct slice){ 0 });
}

struct slice ask_text(const struct ask *ask, const char *name)
{
	struct slice rest = ask->query;
	size_t n = strlen(name);

	while (rest.n > 0) {
		const char *amp = memchr(rest.p, '&', rest.n);
		struct slice pair = { rest.p, amp ? (size_t)(amp - rest.p) : rest.n };

		if (pair.n > n && pair.p[n] == '=' && memcmp(pair.p, name, n) == 0)
			return (struct slice){ pair.p + n + 1, pair.n - n - 1 };
		if (!amp)
			break;
		rest = (struct slice){ amp + 1, rest.n - pair.n - 1 };
	}
	return (struct slice){ 0 };
}

bool ask_number(struct connection *c, const struct ask *ask, const char *name, uint64_t max,
		uint64_t otherwise, uint64_t *ret_value)
{
	struct slice text = ask_text(ask, name);

	if (!text.p) {
		*ret_value = otherwise;
		return true;
	}
	if (slice_to_u64(text, max, ret_value) == ERR_OK)
		return true;
	reply_text(c, 400, "%s takes a number up to %llu\n", name, (unsigned long long)max);
	return false;
}

bool ask_is_read(struct connection *c, const struct ask *ask)
{
	if (ask->head->method_id == HTTP_M_GET || ask->head->method_id == HTTP_M_HEAD)
		return true;
	reply_error(c, 405, "This address can only be read", SLICE("Allow: GET, HEAD\r\n"));
	return false;
}

static void instance_begin(struct connection *c, const struct ask *ask)
{
	(void)ask;
	reply_text(c, 200, "%u\n", c->server->settings->instance);
}

static void pid_begin(struct connection *c, const struct ask *ask)
{
	(void)ask;
	reply_text(c, 200, "%d\n", (int)getpid());
}

static void env_begin(struct connection *c, const struct ask *ask)
{
	char name[128];

	snprintf(name, sizeof(name), "%.*s", (int)ask->query.n, ask->query.p ? ask->query.p : "");
	const char *value = getenv(name);

	if (value)
		reply_whole(c, 200, "text/plain; charset=utf-8",
			    (struct slice){ value, strnlen(value, BLOCK_BYTES / 2) },
			    (struct slice){ 0 });
	else
		reply_text(c, 404, "%s is not set\n", name);
}

static void headers_begin(struct connection *c, const struct ask *ask)
{
	reply_whole(c, 200, "text/plain; charset=utf-8", ask->raw, (struct slice){ 0 });
}
