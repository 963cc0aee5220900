/* `drover status`: one line about drover, one about its balancers, a table per app. */
#include "balancer/cli/show.h"

#include <stdbool.h>
#include <string.h>

#include "common/base.h"

static const char *text(const json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));
	return s ? s : "-";
}

static long long number(const json_t *o, const char *key)
{
	return (long long)json_number_value(json_object_get(o, key));
}

/* "3d 4h", "5m 3s", "12s": the two largest units. */
static const char *duration(double seconds, char buf[static 32])
{
	unsigned long long s = seconds > 0 ? (unsigned long long)seconds : 0;

	if (s >= 86400)
		snprintf(buf, 32, "%llud %lluh", s / 86400, s / 3600 % 24);
	else if (s >= 3600)
		snprintf(buf, 32, "%lluh %llum", s / 3600, s / 60 % 60);
	else if (s >= 60)
		snprintf(buf, 32, "%llum %llus", s / 60, s % 60);
	else
		snprintf(buf, 32, "%llus", s);
	return buf;
}

static const char *duration_of(const json_t *o, const char *key, char buf[static 32])
{
	const json_t *value = json_object_get(o, key);
	return json_is_number(value) ? duration(json_number_value(value), buf) : "-";
}

static const char *plural(long long n)
{
	return n == 1 ? "" : "s";
}

/* ---- drover and its balancers ------------------------------------------- */

static void show_generation(const json_t *g, json_t *balancers, FILE *out)
{
	long long n = 0, connections = 0, requests = 0;
	char age[32];
	size_t i;
	json_t *b;

	json_array_foreach(balancers, i, b) {
		if (number(b, "generation") != number(g, "number"))
			continue;
		n += json_is_integer(json_object_get(b, "pid"));
		connections += number(b, "connections");
		requests += number(b, "requests");
	}
	fprintf(out, "  generation %lld: %s, %lld balancer%s, %s old, %lld connection%s open, %lld request%s\n",
		number(g, "number"), text(g, "state"), n, plural(n), duration_of(g, "age_s", age),
		connections, plural(connections), requests, plural(requests));
}

/* "listens on 0.0.0.0:80, unix:/run/x" */
static void show_listeners(const json_t *listeners, FILE *out)
{
	const char *before = "  listens on ";
	size_t i;
	json_t *l;

	json_array_foreach(listeners, i, l) {
		fprintf(out, "%s%s%s", before, text(l, "address"),
			json_is_false(json_object_get(l, "in_config")) ? " (leaving)" : "");
		before = ", ";
	}
	if (json_array_size(listeners))
		fputc('\n', out);
}

/* By the rules of the framing policy. */
static void show_refusals(const char *whose, json_t *rules, FILE *out)
{
	const char *rule, *before = "";
	json_t *n;

	if (json_object_size(rules) == 0)
		return;
	fprintf(out, "  refused of %s: ", whose);
	json_object_foreach(rules, rule, n) {
		fprintf(out, "%s%s %lld", before, rule, (long long)json_integer_value(n));
		before = ", ";
	}
	fputc('\n', out);
}

/* ---- apps --------------------------------------------------------------- */

static void show_failure(const json_t *w, FILE *out)
{
	const json_t *failure = json_object_get(w, "last_failure");
	char ago[32];

	if (json_is_object(failure))
		fprintf(out, "             failed %s ago: %s\n", duration_of(failure, "ago_s", ago),
			text(failure, "reason"));
}

static void show_worker(const json_t *w, bool servers, FILE *out)
{
	char pid[32] = "-", uptime[32];

	if (json_is_integer(json_object_get(w, "pid")))
		snprintf(pid, sizeof(pid), "%lld", number(w, "pid"));
	if (servers) {
		fprintf(out, "    %-22s %-9s %9lld %10lld\n", text(w, "address"), text(w, "state"),
			number(w, "in_flight"), number(w, "requests"));
		return;
	}
	fprintf(out, "    %-8lld %8s %-9s %7lld %9s %8lld %9lld %10lld\n", number(w, "instance"), pid,
		text(w, "state"), number(w, "release"), duration_of(w, "uptime_s", uptime),
		number(w, "restarts"), number(w, "in_flight"), number(w, "requests"));
	show_failure(w, out);
}

/* Why the last release did not come to serve. */
static void show_rollout(const json_t *rollout, FILE *out)
{
	if (strcmp(text(rollout, "state"), "failed") == 0)
		fprintf(out, "    release %lld failed: %s\n", number(rollout, "number"),
			text(rollout, "reason"));
}

static void show_app(const json_t *app, FILE *out)
{
	bool servers = strcmp(text(app, "kind"), "servers") == 0;
	json_t *workers = json_object_get(app, "workers"), *w;
	size_t i;

	if (servers)
		fprintf(out, "\n  app %s: %lld server%s, not started by drover\n", text(app, "name"),
			number(app, "up"), plural(number(app, "up")));
	else
		fprintf(out, "\n  app %s: release %lld, %lld of %lld up%s\n", text(app, "name"),
			number(app, "release"), number(app, "up"), number(app, "wanted"),
			json_is_true(json_object_get(app, "failing")) ? ", failing" : "");
	show_rollout(json_object_get(app, "rollout"), out);
	if (json_array_size(workers) == 0)
		return;
	if (servers)
		fprintf(out, "    %-22s %-9s %9s %10s\n", "ADDRESS", "STATE", "IN FLIGHT", "REQUESTS");
	else
		fprintf(out, "    %-8s %8s %-9s %7s %9s %8s %9s %10s\n", "INSTANCE", "PID", "STATE",
			"RELEASE", "UP FOR", "RESTARTS", "IN FLIGHT", "REQUESTS");
	json_array_foreach(workers, i, w)
		show_worker(w, servers, out);
}

static void show_adopted(const json_t *adopted, FILE *out)
{
	char age[32];

	fprintf(out, "  taken over %lld time%s, %s ago from pid %lld, which was killed\n",
		number(adopted, "times"), plural(number(adopted, "times")),
		duration_of(adopted, "age_s", age), number(adopted, "from_pid"));
}

void show_status(const json_t *status, FILE *out)
{
	json_t *list = json_object_get(status, "generations"), *it;
	char up[32];
	size_t i;

	fprintf(out, "%s: %s, pid %lld, up for %s, drover %s, %s\n", text(status, "name"),
		text(status, "state"), number(status, "pid"), duration_of(status, "uptime_s", up),
		text(status, "version"),
		json_is_string(json_object_get(status, "config_file")) ? text(status, "config_file")
								       : "without a config file");
	show_listeners(json_object_get(status, "listeners"), out);
	if (json_is_object(json_object_get(status, "adopted")))
		show_adopted(json_object_get(status, "adopted"), out);
	json_array_foreach(list, i, it)
		show_generation(it, json_object_get(status, "balancers"), out);
	it = json_object_get(status, "refusals");
	show_refusals("clients", json_object_get(it, "clients"), out);
	show_refusals("workers", json_object_get(it, "workers"), out);
	list = json_object_get(status, "apps");
	json_array_foreach(list, i, it)
		show_app(it, out);
}
