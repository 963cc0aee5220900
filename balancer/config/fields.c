/* Fields that hold more than one scalar: addresses, apps, routes, commands,
 * variables.  One function per type, called by load.c through field_set(). */
#include <stdlib.h>
#include <string.h>

#include "balancer/config/load.h"
#include "balancer/config/nearest.h"
#include "balancer/config/values.h"
#include "balancer/config/words.h"
#include "common/contract.h"
#include "common/mem.h"

static bool refuse_kind(struct loader *ld, const struct key *key, const struct node *node)
{
	static const char *const kinds[NODE_KIND_MAX] = { "a single value", "a list",
							  "a block of keys" };
	return load_refuse(ld, node->at, "expected %s, not %s",
			   value_wants((enum value_type)key->type), kinds[node->kind]);
}

/* A list, or one entry that stands for a list of one. */
static size_t count_of(const struct node *node)
{
	return node->kind == NODE_LIST ? node->n : 1;
}

static const struct node *entry_of(const struct node *node, size_t i)
{
	return node->kind == NODE_LIST ? node->values[i] : node;
}

static bool too_many(struct loader *ld, const struct key *key, const struct node *node, size_t n)
{
	if (n <= key->max)
		return false;
	load_refuse(ld, node->at, "has %zu entries; at most %llu are allowed", n,
		    (unsigned long long)key->max);
	return true;
}

/* ---- addresses ---- */

/* "unix:" paths are made absolute; the caller ends the text. */
static char *absolute(const struct loader *ld, const char *text)
{
	if (strncmp(text, "unix:", 5) != 0 || text[5] == '/' || text[5] == '\0')
		return mem_must_dup(text);
	const char *rest = strncmp(text + 5, "./", 2) == 0 ? text + 7 : text + 5;
	bool root = strcmp(ld->cfg->directory, "/") == 0;
	return mem_must_printf("unix:%s/%s", root ? "" : ld->cfg->directory, rest);
}

static bool has_name(const char *text)
{
	size_t n = strcspn(text, ":");
	bool letters = false;
	for (size_t i = 0; i < n; i++)
		letters = letters || (ascii_lower(text[i]) >= 'a' && ascii_lower(text[i]) <= 'z');
	return letters &&
	       n == strspn(text,
			   "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789.-_");
}

static bool set_address(struct loader *ld, const struct node *node, const char *example,
			struct addr *ret_addr)
{
	char quoted[REPORT_QUOTE_MAX];
	if (node->kind != NODE_SCALAR)
		return load_refuse(ld, node->at, "expected an address like %s", example);
	char *text = absolute(ld, node->text);
	enum err e = addr_parse(slice_of(text), false, ret_addr);
	bool is_unix = strncmp(text, "unix:", 5) == 0;
	mem_free(text);
	if (e == ERR_OK)
		return true;
	report_quote(node->text, quoted);
	if (is_unix)
		return load_refuse(ld, node->at,
				   e == ERR_RANGE
					   ? "%s is too long for a Unix socket (at most 107 bytes)"
					   : "%s is not the path of a Unix socket",
				   quoted);
	if (strstr(node->text, "://")) {
		load_refuse(ld, node->at, "%s is a URL, and an address is wanted", quoted);
		report_hint(ld->report, "write only the address, like %s", example);
		return false;
	}
	if (has_name(node->text)) {
		load_refuse(ld, node->at, "%s has a name, and names are not resolved yet", quoted);
		if (strncmp(node->text, "localhost:", 10) == 0)
			report_hint(ld->report, "write 127.0.0.1:... or [::1]:...");
		else
			report_hint(ld->report, "write the address, like %s", example);
		return false;
	}
	if (e == ERR_RANGE)
		return load_refuse(ld, node->at, "%s: a port must be from 1 to 65535", quoted);
	return load_refuse(ld, node->at, "%s is not an address; expected one like %s", quoted,
			   example);
}

static bool set_listen(struct loader *ld, struct cfg_listen *l, const struct node *node)
{
	char text[ADDR_TEXT_MAX];
	if (!set_address(ld, node, "0.0.0.0:8080, [::1]:8080 or unix:/run/http.sock", &l->address))
		return false;
	l->text = mem_must_dup(addr_format(&l->address, text));
	return true;
}

static bool set_listens(struct loader *ld, const struct key *key, void *field, const struct node *node)
{
	struct config *cfg = ld->cfg;
	size_t n = count_of(node);
	bool good = true;
	if (n == 0)
		return load_refuse(ld, node->at, "the list is empty: nobody could connect");
	if (too_many(ld, key, node, n))
		return false;
	(void)field;
	cfg->listens = mem_must_alloc(n * sizeof(*cfg->listens));
	for (size_t i = 0; i < n; i++) {
		const struct node *entry = entry_of(node, i);
		struct cfg_listen *l = &cfg->listens[cfg->n_listens];
		bool fine = entry->kind == NODE_MAP ? load_block(ld, key->sub, l, entry, 0)
						    : set_listen(ld, l, entry);
		if (fine && entry->kind != NODE_MAP)
			origins_add(cfg->origins, l, entry->at, false);
		cfg->n_listens += fine;
		good = good && fine;
	}
	return good;
}

static bool set_long_listen(struct loader *ld, const struct key *key, void *field,
			    const struct node *node)
{
	(void)key;
	return set_listen(ld, field, node);
}

static bool set_server(struct loader *ld, const struct node *node, struct addr *ret_addr)
{
	char quoted[REPORT_QUOTE_MAX];
	if (!set_address(ld, node, "10.0.0.5:3000, [::1]:3000 or unix:/run/app.sock", ret_addr))
		return false;
	if (!addr_is_any(ret_addr))
		return true;
	return load_refuse(ld, node->at, "%s names no machine; write 127.0.0.1:%u for this one",
			   report_quote(node->text, quoted), addr_port(ret_addr));
}

static bool set_servers(struct loader *ld, const struct key *key, void *field, const struct node *node)
{
	struct cfg_app *app = container_of(field, struct cfg_app, servers);
	size_t n = count_of(node);
	bool good = true;
	if (node->kind == NODE_MAP)
		return refuse_kind(ld, key, node);
	if (n == 0)
		return load_refuse(ld, node->at, "the list is empty: nobody could answer");
	if (too_many(ld, key, node, n))
		return false;
	app->servers = mem_must_alloc(n * sizeof(*app->servers));
	for (size_t i = 0; i < n; i++) {
		const struct node *entry = entry_of(node, i);
		struct addr *a = &app->servers[app->n_servers];
		bool fine = set_server(ld, entry, a);
		if (fine)
			origins_add(ld->cfg->origins, a, entry->at, false);
		app->n_servers += fine;
		good = good && fine;
	}
	app->instances = (uint32_t)app->n_servers;
	return good;
}

static bool set_trust(struct loader *ld, const struct key *key, void *field, const struct node *node)
{
	struct config *cfg = container_of(field, struct config, trust);
	size_t n = count_of(node);
	bool good = true;
	if (node->kind == NODE_MAP)
		return refuse_kind(ld, key, node);
	if (too_many(ld, key, node, n))
		return false;
	cfg->trust = mem_must_alloc((n + 1) * sizeof(*cfg->trust));
	for (size_t i = 0; i < n; i++) {
		const struct node *entry = entry_of(node, i);
		char quoted[REPORT_QUOTE_MAX];
		bool fine = entry->kind == NODE_SCALAR &&
			    addr_block_parse(slice_of(entry->text), &cfg->trust[cfg->n_trust]) ==
				    ERR_OK;
		if (fine)
			origins_add(cfg->origins, &cfg->trust[cfg->n_trust], entry->at, false);
		else
			load_refuse(ld, entry->at,
				    "%s is not a block of addresses like 10.0.0.0/8 or ::1, nor "
				    "unix",
				    entry->kind == NODE_SCALAR ? report_quote(entry->text, quoted)
							       : "this");
		cfg->n_trust += fine;
		good = good && fine;
	}
	return good;
}

/* ---- commands and variables ---- */

/* The program that comes with drover is not in PATH: its name alone stands for it. */
static void find_bundled(const struct loader *ld, char **command)
{
	if (!ld->over->worker_path || strcmp(command[0], "drover-worker") != 0)
		return;
	mem_free(command[0]);
	command[0] = mem_must_dup(ld->over->worker_path);
}

static bool set_command(struct loader *ld, const struct key *key, void *field, const struct node *node)
{
	char ***command = field;
	if (node->kind == NODE_MAP)
		return refuse_kind(ld, key, node);
	if (node->kind == NODE_SCALAR) {
		char why[WORDS_WHY_MAX];
		*command = words_split(node->text, why);
		if (!*command)
			return load_refuse(ld, node->at, "%s", why);
		find_bundled(ld, *command);
		return true;
	}
	if (node->n == 0 || (node->values[0]->kind == NODE_SCALAR && !node->values[0]->text[0]))
		return load_refuse(ld, node->at, "the command is empty");
	if (too_many(ld, key, node, node->n))
		return false;
	for (size_t i = 0; i < node->n; i++) {
		const struct node *word = node->values[i];
		if (word->kind != NODE_SCALAR)
			return load_refuse(ld, word->at, "expected a word of the command, not a %s",
					   word->kind == NODE_LIST ? "list" : "block of keys");
		*command = words_push(*command, i, mem_must_dup(word->text));
	}
	find_bundled(ld, *command);
	return true;
}

bool env_is_ours(const char *name, size_t n_name)
{
	static const char *const ours[] = {
		CONTRACT_PORT, CONTRACT_HOST,    CONTRACT_INSTANCE,    CONTRACT_NODE_INSTANCE,
		CONTRACT_APP,  CONTRACT_RELEASE, CONTRACT_CONCURRENCY,  CONTRACT_NOTIFY,
	};
	for (size_t i = 0; i < ARRAY_LEN(ours); i++)
		if (strlen(ours[i]) == n_name && memcmp(ours[i], name, n_name) == 0)
			return true;
	return false;
}

long env_find(char *const *env, const char *name, size_t n_name)
{
	for (long i = 0; env && env[i]; i++)
		if (strncmp(env[i], name, n_name) == 0 && env[i][n_name] == '=')
			return i;
	return -1;
}

static bool set_variable(struct loader *ld, char ***env, size_t n, const struct node *name,
			 const struct node *value)
{
	char quoted[REPORT_QUOTE_MAX];
	if (name->text[0] == '\0' || strchr(name->text, '='))
		return load_refuse(ld, name->at, "%s cannot be the name of a variable",
				   report_quote(name->text, quoted));
	if (value->kind != NODE_SCALAR)
		return load_refuse(ld, value->at, "%s: a variable holds one text, not a %s",
				   report_quote(name->text, quoted),
				   value->kind == NODE_LIST ? "list" : "block of keys");
	if (env_is_ours(name->text, strlen(name->text))) {
		load_refuse(ld, name->at, "%s is set by drover for each instance", name->text);
		if (strcmp(name->text, CONTRACT_PORT) == 0)
			report_hint(ld->report,
				    "say where ports are taken from with ports: 20000-29999; the "
				    "public port is under listen");
		return false;
	}
	/* Not printed: that would leave a copy of the value behind. */
	size_t n_name = strlen(name->text), n_value = strlen(value->text);
	char *variable = mem_must_alloc(n_name + n_value + 2);
	memcpy(variable, name->text, n_name);
	variable[n_name] = '=';
	memcpy(variable + n_name + 1, value->text, n_value);
	*env = words_push(*env, n, variable);
	origins_add(ld->cfg->origins, (*env)[n], name->at, false);
	return true;
}

static bool set_env(struct loader *ld, const struct key *key, void *field, const struct node *node)
{
	char ***env = field;
	size_t n = 0;
	bool good = true;
	if (node->kind != NODE_MAP)
		return refuse_kind(ld, key, node);
	if (too_many(ld, key, node, node->n))
		return false;
	for (size_t i = 0; i < node->n; i++) {
		bool fine = set_variable(ld, env, n, node->keys[i], node->values[i]);
		n += fine;
		good = good && fine;
	}
	return good;
}

static bool set_env_file(struct loader *ld, const struct key *key, void *field,
			 const struct node *node)
{
	struct key as_path = *key;
	as_path.type = VALUE_PATH;
	struct value_refusal refusal = { "", "" };
	char *path = NULL;
	char quoted[REPORT_QUOTE_MAX];
	if (node->kind != NODE_SCALAR)
		return refuse_kind(ld, key, node);
	if (!value_parse(&as_path, node->text, ld->cfg->directory, &path, &refusal))
		return load_refuse(ld, node->at, "%s %s", report_quote(node->text, quoted),
				   refusal.why);
	bool good = env_file_read(ld, path, node->at, field);
	mem_free(path);
	return good;
}

/* ---- apps and routes ---- */

static bool set_app(struct loader *ld, const struct key_table *table, struct cfg_app *app,
		    const struct node *name, const struct node *node)
{
	static const struct key name_key = { "name", VALUE_NAME, 0, .help = NULL };
	struct value_refusal refusal = { "", "" };
	char quoted[REPORT_QUOTE_MAX];
	bool good = value_parse(&name_key, name->text, "", &app->name, &refusal);
	if (!good) {
		load_refuse(ld, name->at, "%s %s", report_quote(name->text, quoted), refusal.why);
		app->name = load_name_from(name->text, strlen(name->text));
	}
	size_t mark = load_enter(ld, app->name);
	bool foreign = tree_get(node, "servers", NULL) && !tree_get(node, "command", NULL);
	if (tree_is_blank(node))
		node = NULL;
	/* No block: then nothing is to be missed in it. */
	origins_add(ld->cfg->origins, &app->name, name->at,
		    !good || (node && node->kind != NODE_MAP));
	good = load_block(ld, table, app, node, foreign ? KEY_OWN : 0) && good;
	load_leave(ld, mark);
	return good;
}

static bool set_apps(struct loader *ld, const struct key *key, void *field, const struct node *node)
{
	struct config *cfg = container_of(field, struct config, apps);
	bool good = true;
	if (node->kind != NODE_MAP)
		return refuse_kind(ld, key, node);
	if (node->n == 0)
		return load_refuse(ld, node->at, "there is no app in it");
	if (too_many(ld, key, node, node->n))
		return false;
	cfg->apps = mem_must_alloc(node->n * sizeof(*cfg->apps));
	for (size_t i = 0; i < node->n; i++) {
		cfg->n_apps++;
		good = set_app(ld, key->sub, &cfg->apps[i], node->keys[i], node->values[i]) && good;
	}
	return good;
}

static const char *next_app(const void *arg, size_t i)
{
	const struct config *cfg = arg;
	return i < cfg->n_apps ? cfg->apps[i].name : NULL;
}

static bool set_route_app(struct loader *ld, const struct key *key, void *field,
			  const struct node *node)
{
	const struct config *cfg = ld->cfg;
	char quoted[REPORT_QUOTE_MAX], list[200] = "";
	if (node->kind != NODE_SCALAR)
		return refuse_kind(ld, key, node);
	for (size_t i = 0; i < cfg->n_apps; i++) {
		if (strcmp(cfg->apps[i].name, node->text) == 0) {
			*(uint32_t *)field = (uint32_t)i;
			return true;
		}
		size_t used = strlen(list);
		snprintf(list + used, sizeof(list) - used, "%s%s", i ? ", " : "", cfg->apps[i].name);
	}
	if (cfg->n_apps == 0)
		return false; /* then apps itself was refused, and its error says enough */
	load_refuse(ld, node->at, "there is no app %s; known: %s", report_quote(node->text, quoted),
		    list);
	const char *near = nearest(node->text, next_app, cfg);
	if (near)
		report_hint(ld->report, "did you mean %s?", near);
	return false;
}

static bool set_routes(struct loader *ld, const struct key *key, void *field, const struct node *node)
{
	struct config *cfg = container_of(field, struct config, routes);
	size_t n = count_of(node);
	bool good = true;
	if (node->kind == NODE_SCALAR)
		return refuse_kind(ld, key, node);
	if (n == 0)
		return load_refuse(ld, node->at,
				   "the list is empty: every request would be answered 404");
	if (too_many(ld, key, node, n))
		return false;
	cfg->routes = mem_must_alloc(n * sizeof(*cfg->routes));
	for (size_t i = 0; i < n; i++) {
		const struct node *entry = entry_of(node, i);
		if (entry->kind != NODE_MAP) {
			good = refuse_kind(ld, key, entry);
			continue;
		}
		struct cfg_route *route = &cfg->routes[cfg->n_routes++];
		good = load_block(ld, key->sub, route, entry, 0) && good;
	}
	return good;
}

typedef bool field_set_f(struct loader *ld, const struct key *key, void *field,
			 const struct node *node);

bool field_set(struct loader *ld, const struct key *key, void *field, const struct node *node)
{
	static field_set_f *const setters[VALUE_TYPE_MAX] = {
		[VALUE_LISTENS] = set_listens,   [VALUE_ADDRESS] = set_long_listen,
		[VALUE_APPS] = set_apps,         [VALUE_ROUTES] = set_routes,
		[VALUE_APP] = set_route_app,     [VALUE_COMMAND] = set_command,
		[VALUE_SERVERS] = set_servers,   [VALUE_ENV] = set_env,
		[VALUE_ENV_FILE] = set_env_file, [VALUE_TRUST] = set_trust,
	};
	return setters[key->type](ld, key, field, node);
}
