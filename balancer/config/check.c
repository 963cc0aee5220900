/* Rules that span keys, and what the machine has to say: files, folders,
 * programs.  Called by load.c on a config whose single values are all legal
 * (or marked broken, and then not judged again).  Reads, never changes. */
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "balancer/config/load.h"
#include "balancer/config/values.h"
#include "common/log.h"
#include "common/mem.h"

struct check {
	const struct config *cfg;
	struct report *report;
};

static const struct origin *origin(const struct check *c, const void *field)
{
	return origins_find(c->cfg->origins, field);
}

static bool written(const struct check *c, const void *field)
{
	return origin(c, field)->at.kind != PLACE_DEFAULT;
}

/* An error where `field` was written. */
static void wrong(const struct check *c, const void *field, const char *fmt, ...) PRINTF_LIKE(3, 4);
static void wrong(const struct check *c, const void *field, const char *fmt, ...)
{
	char message[512];
	va_list args;
	va_start(args, fmt);
	vsnprintf(message, sizeof(message), fmt, args);
	va_end(args);
	report_add(c->report, origin(c, field)->at, "%s", message);
}

/* ---- two keys of one block, one of which must not be above the other ---- */

struct order_rule {
	const char *block, *low, *high;
};

static void check_order(const struct check *c, const struct key_table *table, const char *prefix,
			const void *base, const struct order_rule *rule)
{
	const struct key_table *sub = key_find(table, rule->block)->sub;
	const struct key *low = key_find(sub, rule->low), *high = key_find(sub, rule->high);
	const uint64_t *a = (const uint64_t *)((const char *)base + low->offset);
	const uint64_t *b = (const uint64_t *)((const char *)base + high->offset);
	if (*a <= *b || origin(c, a)->broken || origin(c, b)->broken)
		return;
	char *text;
	size_t n;
	FILE *out = open_memstream(&text, &n);
	if (!out)
		die(1, "out of memory");
	fprintf(out, "%s%s.%s: ", prefix, rule->block, rule->low);
	value_print(low, a, out);
	fprintf(out, "%s is more than %s%s.%s, which is ", written(c, a) ? "" : " (the default)",
		prefix, rule->block, rule->high);
	value_print(high, b, out);
	fputs(written(c, b) ? "" : " by default", out);
	if (fclose(out) != 0)
		die(1, "out of memory");
	wrong(c, written(c, a) ? a : b, "%s", text);
	free(text);
}

/* ---- the top of the file ---- */

/* `wide` is all addresses of a kind, and `a` one of them, at the same port. */
static bool covers(const struct addr *wide, const struct addr *a)
{
	return addr_is_any(wide) && wide->sa.sa_family == a->sa.sa_family &&
	       addr_port(wide) == addr_port(a);
}

static void check_listens(const struct check *c)
{
	const struct cfg_listen *all = c->cfg->listens;
	for (size_t i = 1; i < c->cfg->n_listens; i++) {
		for (size_t j = 0; j < i; j++) {
			struct place first = origin(c, &all[j])->at;
			if (addr_equal(&all[i].address, &all[j].address))
				wrong(c, &all[i], "listen: %s is already on line %u", all[i].text,
				      first.line);
			else if (covers(&all[i].address, &all[j].address) ||
				 covers(&all[j].address, &all[i].address))
				wrong(c, &all[i], "listen: %s overlaps with %s on line %u",
				      all[i].text, all[j].text, first.line);
			else
				continue;
			break;
		}
	}
}

/* A file that drover will create or append to. */
static void check_file(const struct check *c, const char *name, char *const *field)
{
	struct stat st;
	const char *path = *field;
	if (!path || strcmp(path, "-") == 0 || origin(c, field)->broken)
		return;
	const char *slash = strrchr(path, '/');
	char *folder =
		slash == path ? mem_must_dup("/") : mem_must_dupn(path, (size_t)(slash - path));
	if (stat(folder, &st) < 0)
		wrong(c, field, "%s: the directory %s: %s", name, folder, strerror(errno));
	else if (!S_ISDIR(st.st_mode))
		wrong(c, field, "%s: %s is not a directory", name, folder);
	else if (stat(path, &st) == 0 && S_ISDIR(st.st_mode))
		wrong(c, field, "%s: %s is a directory", name, path);
	mem_free(folder);
}

static bool same_text(const char *a, const char *b)
{
	return a == b || (a && b && strcmp(a, b) == 0);
}

static bool route_is_broken(const struct check *c, const struct cfg_route *r)
{
	return origin(c, &r->host)->broken || origin(c, &r->path)->broken ||
	       origin(c, &r->app)->broken;
}

static void check_routes(const struct check *c)
{
	const struct config *cfg = c->cfg;
	if (cfg->n_routes == 0 && cfg->n_apps > 1 && !origin(c, &cfg->routes)->broken) {
		wrong(c, &cfg->apps,
		      "routes is missing: with %zu apps it must say which requests go where",
		      cfg->n_apps);
		report_hint(c->report,
			    "write for example:\n"
			    "  routes:\n"
			    "    - { path: /%s, app: %s }\n"
			    "    - { app: %s }",
			    cfg->apps[1].name, cfg->apps[1].name, cfg->apps[0].name);
	}
	for (size_t i = 1; i < cfg->n_routes; i++) {
		const struct cfg_route *late = &cfg->routes[i];
		for (size_t j = 0; j < i && !route_is_broken(c, late); j++) {
			const struct cfg_route *early = &cfg->routes[j];
			bool all = !early->host && !early->path;
			if (route_is_broken(c, early))
				continue;
			if (!all && !(same_text(early->host, late->host) &&
				      same_text(early->path, late->path)))
				continue;
			wrong(c, &late->app,
			      "routes: never reached, since the one for %s on line %u matches %s",
			      cfg->apps[early->app].name, origin(c, &early->app)->at.line,
			      all ? "everything" : "the same");
			break;
		}
	}
}

static void check_workers(const struct check *c)
{
	uint64_t total = 0;
	for (size_t i = 0; i < c->cfg->n_apps; i++)
		total += c->cfg->apps[i].instances;
	if (total > CONFIG_WORKERS_MAX)
		wrong(c, &c->cfg->apps, "apps: %llu workers in all; at most %d are possible",
		      (unsigned long long)total, CONFIG_WORKERS_MAX);
}

/* ---- apps ---- */

static void check_kind(const struct check *c, const struct cfg_app *app)
{
	bool command = written(c, &app->command) || app->command;
	bool servers = written(c, &app->servers);
	if (origin(c, &app->name)->broken)
		return;
	if (command && servers) {
		wrong(c, &app->servers,
		      "apps.%s: command and servers exclude each other: either drover starts the "
		      "app, or it runs elsewhere",
		      app->name);
	} else if (!command && !servers) {
		wrong(c, &app->name, "apps.%s: neither command nor servers", app->name);
		report_hint(c->report, "write what to start, as in command: [node, server.js]");
	}
}

static void check_ports(const struct check *c, const struct cfg_app *app)
{
	uint32_t n = app->port_max - app->port_min + 1u;
	if (!written(c, &app->port_min) || origin(c, &app->port_min)->broken)
		return;
	if (app->bind == BIND_UNIX)
		wrong(c, &app->port_min, "apps.%s.ports has no meaning with bind: unix", app->name);
	else if (n < 2 * app->instances && !origin(c, &app->instances)->broken)
		wrong(c, &app->port_min,
		      "apps.%s.ports: %u %s not enough for %u %s: twice as many are needed, since "
		      "a new worker is ready before an old one goes",
		      app->name, n, n == 1 ? "port is" : "ports are", app->instances,
		      app->instances == 1 ? "instance" : "instances");
}

static bool check_directory(const struct check *c, const struct cfg_app *app)
{
	struct stat st;
	const char *why = NULL;
	if (origin(c, &app->directory)->broken || !app->directory)
		return false;
	if (stat(app->directory, &st) < 0)
		why = strerror(errno);
	else if (!S_ISDIR(st.st_mode))
		why = "is not a directory";
	if (why)
		wrong(c, &app->directory, "apps.%s.directory: %s: %s", app->name, app->directory,
		      why);
	return !why;
}

/* 1: can be executed by somebody; 0: is not there; -1: is there and is no program;
 * -2: is a directory. */
static int find_program(const char *folder, size_t n_folder, const char *name)
{
	struct stat st;
	char *path = mem_must_printf("%.*s/%s", (int)n_folder, folder, name);
	int found = -1;
	if (stat(path, &st) < 0)
		found = errno == ENOENT || errno == ENOTDIR ? 0 : 1;
	else if (S_ISREG(st.st_mode) && (st.st_mode & 0111))
		found = 1;
	else if (S_ISDIR(st.st_mode))
		found = -2;
	mem_free(path);
	return found;
}

static int find_in_path(const char *path, const char *name)
{
	int found = 0;
	for (const char *p = path; *p && found != 1; p += *p == ':') {
		size_t n = strcspn(p, ":");
		int here = find_program(n ? p : ".", n ? n : 1, name);
		found = here ? here : found;
		p += n;
	}
	return found;
}

/* Said here, before anything is stopped or started.  Only what is certain: as
 * another user the workers may see less than we do, never more. */
static void check_program(const struct check *c, const struct cfg_app *app)
{
	const char *name = app->command ? app->command[0] : NULL;
	char quoted[REPORT_QUOTE_MAX];
	if (!name || strstr(name, "${"))
		return;
	long own = env_find(app->env, "PATH", 4);
	const char *path = own >= 0 ? app->env[own] + 5 : getenv("PATH");
	int found;
	if (name[0] == '/')
		found = find_program("", 0, name);
	else if (strchr(name, '/'))
		found = find_program(app->directory, strlen(app->directory), name);
	else
		found = find_in_path(path ? path : "/bin:/usr/bin", name);
	if (found == 1)
		return;
	report_quote(name, quoted);
	if (found < 0)
		wrong(c, &app->command, "apps.%s.command: %s is %s", app->name, quoted,
		      found == -2 ? "a directory" : "not executable");
	else if (!strchr(name, '/'))
		wrong(c, &app->command, "apps.%s.command: there is no program %s in PATH",
		      app->name, quoted);
	else if (name[0] == '/')
		wrong(c, &app->command, "apps.%s.command: there is no program %s", app->name, quoted);
	else
		wrong(c, &app->command, "apps.%s.command: there is no program %s in %s", app->name,
		      quoted, app->directory);
	if (found == 0 && strpbrk(name, " \t"))
		report_hint(c->report, "a word is not split: leave out the quotes around the whole "
				       "command, as in node server.js");
}

static bool is_loopback(const struct addr *a)
{
	return (a->sa.sa_family == AF_INET && ntohl(a->in.sin_addr.s_addr) >> 24 == 127) ||
	       (a->sa.sa_family == AF_INET6 && IN6_IS_ADDR_LOOPBACK(&a->in6.sin6_addr));
}

/* A server that is drover itself: requests would go round and round. */
static void check_servers(const struct check *c, const struct cfg_app *app)
{
	for (size_t i = 0; i < app->n_servers; i++) {
		const struct addr *server = &app->servers[i];
		for (size_t j = 0; j < c->cfg->n_listens; j++) {
			const struct cfg_listen *own = &c->cfg->listens[j];
			if (addr_equal(server, &own->address) ||
			    (is_loopback(server) && covers(&own->address, server)))
				wrong(c, server, "apps.%s.servers: drover itself listens here (%s)",
				      app->name, own->text);
		}
	}
}

static void check_app(const struct check *c, const struct cfg_app *app)
{
	static const struct order_rule order = { "restart", "backoff_min", "backoff_max" };
	char prefix[96];
	check_kind(c, app);
	check_servers(c, app);
	if (!app->command)
		return;
	if (written(c, &app->log_output)) {
		snprintf(prefix, sizeof(prefix), "apps.%s.log.output", app->name);
		check_file(c, prefix, &app->log_output);
	}
	snprintf(prefix, sizeof(prefix), "apps.%s.", app->name);
	check_order(c, &app_keys, prefix, app, &order);
	check_ports(c, app);
	if (check_directory(c, app))
		check_program(c, app);
}

/* An address of its own: nobody means the admin channel to be public. */
static void check_admin_listen(const struct check *c)
{
	const struct cfg_listen *admin = &c->cfg->admin_listen;
	for (size_t i = 0; admin->text && i < c->cfg->n_listens; i++) {
		const struct addr *public = &c->cfg->listens[i].address;
		if (addr_equal(&admin->address, public) || covers(public, &admin->address) ||
		    covers(&admin->address, public)) {
			wrong(c, admin, "admin.listen: %s is a public address already (listen)",
			      admin->text);
			return;
		}
	}
}

void check_config(const struct config *cfg, struct report *r)
{
	static const struct order_rule orders[] = {
		{ "shutdown", "soft", "hard" },
		{ "limits", "uri", "head" },
	};
	struct check c = { cfg, r };
	check_listens(&c);
	for (size_t i = 0; i < ARRAY_LEN(orders); i++)
		check_order(&c, &config_keys, "", cfg, &orders[i]);
	check_file(&c, "log.access", &cfg->log_access);
	check_file(&c, "log.error", &cfg->log_error);
	check_file(&c, "log.output", &cfg->log_output);
	check_file(&c, "pid_file", &cfg->pid_file);
	if (cfg->admin_socket && strcmp(cfg->admin_socket, "auto") != 0)
		check_file(&c, "admin.socket", &cfg->admin_socket);
	check_admin_listen(&c);
	for (size_t i = 0; i < cfg->n_apps; i++)
		check_app(&c, &cfg->apps[i]);
	check_workers(&c);
	if (cfg->n_apps > 0)
		check_routes(&c);
}
