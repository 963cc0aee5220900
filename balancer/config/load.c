/* File, command line and defaults to one struct config.  Runs in the master (at
 * start and on SIGHUP) and in `drover check`; the only entry is config_load().
 *
 *   bytes -> yaml_read() -> tree -> load_block() by the key tables -> struct
 *                                   check_config(): rules spanning keys
 *
 * A default is text that goes the same way as the user's.  A value that was
 * refused is marked broken and stays zero, so that all other errors of the file
 * can still be found; such a config never leaves this file.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "balancer/config/load.h"
#include "balancer/config/sources.h"
#include "balancer/config/values.h"
#include "common/mem.h"

/* ---- where we are, what is wrong ---- */

size_t load_enter(struct loader *ld, const char *name)
{
	size_t mark = strlen(ld->where);
	snprintf(ld->where + mark, sizeof(ld->where) - mark, "%s%s", mark ? "." : "", name);
	return mark;
}

void load_leave(struct loader *ld, size_t mark)
{
	ld->where[mark] = '\0';
}

bool load_refuse(struct loader *ld, struct place at, const char *fmt, ...)
{
	char message[512];
	va_list args;
	va_start(args, fmt);
	vsnprintf(message, sizeof(message), fmt, args);
	va_end(args);
	if (ld->where[0])
		report_add(ld->report, at, "%s: %s", ld->where, message);
	else
		report_add(ld->report, at, "%s", message);
	return false;
}

/* ---- blocks and their keys ---- */

static bool set_scalar(struct loader *ld, const struct key *key, void *field, const struct node *node)
{
	const char *wants = value_wants((enum value_type)key->type);
	if (node->kind != NODE_SCALAR)
		return load_refuse(ld, node->at, "expected %s, not a %s", wants,
				   node->kind == NODE_LIST ? "list" : "block of keys");
	if (tree_is_blank(node))
		return load_refuse(ld, node->at, "has no value; expected %s", wants);
	struct value_refusal refusal = { "", "" };
	if (value_parse(key, node->text, ld->cfg->directory, field, &refusal))
		return true;
	char quoted[REPORT_QUOTE_MAX];
	load_refuse(ld, node->at, "%s %s", report_quote(node->text, quoted), refusal.why);
	if (refusal.hint[0])
		report_hint(ld->report, "%s", refusal.hint);
	return false;
}

static bool set(struct loader *ld, const struct key *key, void *field, const struct node *node)
{
	if (key->type < VALUE_SCALARS)
		return set_scalar(ld, key, field, node);
	if (key->type == VALUE_BLOCK)
		return load_block(ld, key->sub, field, node, 0);
	return field_set(ld, key, field, node);
}

/* What the command line says about a key, as if the file said it. */
static struct node *overlay(struct loader *ld, const struct key *key)
{
	char digits[16];
	const char *text = NULL;
	if (key->type == VALUE_LISTENS) /* not the one of admin */
		text = ld->over->listen;
	else if (strcmp(key->name, "name") == 0)
		text = ld->over->name;
	else if (strcmp(key->name, "instances") == 0 && ld->over->instances) {
		snprintf(digits, sizeof(digits), "%u", ld->over->instances);
		text = digits;
	}
	return text ? tree_scalar(&ld->extra, text, (struct place){ .kind = PLACE_COMMAND_LINE })
		    : NULL;
}

/* The app of `drover run -- COMMAND`, and that of `drover run` alone. */
static struct node *overlay_apps(struct loader *ld, const struct node *given)
{
	char *bundled[] = { (char *)ld->over->worker_path, NULL };
	char *const *command = ld->over->command;
	struct place at = { .kind = PLACE_COMMAND_LINE };
	if (command && given) {
		report_add(ld->report, at, "a command was given, but %s has apps of its own",
			   ld->cfg->file);
		report_hint(ld->report, "leave out the command, or -c, or apps in the file");
		return NULL;
	}
	if (!command && !ld->cfg->file && ld->over->worker_path) {
		command = bundled;
		at.kind = PLACE_DEFAULT;
	}
	if (!command)
		return NULL;
	struct node *apps = tree_new(&ld->extra, NODE_MAP, at);
	struct node *app = tree_new(&ld->extra, NODE_MAP, at);
	struct node *words = tree_new(&ld->extra, NODE_LIST, at);
	for (size_t i = 0; command[i]; i++)
		tree_append(words, NULL, tree_scalar(&ld->extra, command[i], at));
	tree_append(app, tree_scalar(&ld->extra, "command", at), words);
	tree_append(apps, tree_scalar(&ld->extra, "app", at), app);
	return apps;
}

static const struct node *default_of(struct loader *ld, const struct key *key)
{
	return key->fallback ? tree_scalar(&ld->extra, key->fallback, (struct place){ 0 }) : NULL;
}

/* "timeouts:" with every line below it commented out is an empty block. */
static bool means_nothing(const struct key *key, const struct node *node)
{
	return key->type >= VALUE_SCALARS && key->type != VALUE_ADDRESS && key->type != VALUE_APP &&
	       tree_is_blank(node);
}

static void missing(struct loader *ld, const struct key *key, struct place at)
{
	load_refuse(ld, at, "%s is missing", key->name);
	if (key->type == VALUE_APPS)
		report_hint(ld->report, "write for example:\n"
					"  apps:\n"
					"    web:\n"
					"      command: [node, server.js]");
}

static bool load_key(struct loader *ld, const struct key *key, void *base, const struct node *map,
		     struct place at)
{
	const struct node *node = tree_get(map, key->name, NULL);
	const struct node *over = key->type == VALUE_APPS ? overlay_apps(ld, node) : overlay(ld, key);
	if (over)
		node = over;
	if (node && means_nothing(key, node))
		node = NULL;
	if (!node)
		node = default_of(ld, key);
	if (!node && key->type == VALUE_BLOCK)
		return load_block(ld, key->sub, base, NULL, 0);
	if (!node) {
		if (key->flags & KEY_REQUIRED)
			missing(ld, key, at);
		return !(key->flags & KEY_REQUIRED);
	}
	void *field = key_field(key, base);
	size_t mark = load_enter(ld, key->name);
	bool good = set(ld, key, field, node);
	load_leave(ld, mark);
	if (key->type != VALUE_BLOCK && key->type != VALUE_ENV_FILE && node->at.kind != PLACE_DEFAULT)
		origins_add(ld->cfg->origins, field, node->at, !good);
	return good;
}

static void refuse_unknown(struct loader *ld, const struct key_table *table, const struct node *map)
{
	for (size_t i = 0; i < map->n; i++) {
		const struct node *name = map->keys[i];
		char quoted[REPORT_QUOTE_MAX];
		if (key_find(table, name->text))
			continue;
		load_refuse(ld, name->at, "unknown key %s", report_quote(name->text, quoted));
		const char *near =
			ld->report->n_all > REPORT_KEPT ? NULL : key_nearest(table, name->text);
		if (near)
			report_hint(ld->report, "did you mean %s?", near);
	}
}

bool load_block(struct loader *ld, const struct key_table *table, void *base,
		const struct node *map, uint32_t skip)
{
	struct place at = map ? map->at : (struct place){ 0 };
	at.width = 1;
	if (map == ld->file.root)
		at.line = 0; /* what is missing there is missing in the file, not on its first line */
	if (map && map->kind != NODE_MAP)
		return load_refuse(ld, at, "expected a block of keys, not %s",
				   map->kind == NODE_LIST ? "a list" : "a single value");
	if (map)
		refuse_unknown(ld, table, map);
	bool good = true;
	for (size_t i = 0; i < table->n; i++) {
		const struct key *key = &table->keys[i];
		struct node *name = NULL;
		if (!(key->flags & skip))
			good = load_key(ld, key, base, map, at) && good;
		else if (tree_get(map, key->name, &name))
			good = load_refuse(ld, name->at,
					   "%s has no meaning for an app with servers: drover does "
					   "not start them",
					   key->name);
	}
	return good;
}

/* ---- the file ---- */

/* The folder of the file, or the current one; absolute.  NULL with errno. */
static char *directory_of(const char *file)
{
	const char *slash = file ? strrchr(file, '/') : NULL;
	if (slash && file[0] == '/')
		return slash == file ? mem_must_dup("/")
				     : mem_must_dupn(file, (size_t)(slash - file));
	char *cwd = getcwd(NULL, 0);
	if (!cwd)
		return NULL;
	char *out = slash ? mem_must_printf("%s/%.*s", strcmp(cwd, "/") == 0 ? "" : cwd,
					    (int)(slash - file), file)
			  : mem_must_dup(cwd);
	free(cwd);
	return out;
}

char *load_name_from(const char *text, size_t n)
{
	char *name = mem_must_dupn(n ? text : "-", n == 0 ? 1 : n < 63 ? n : 63);
	for (char *c = name; *c; c++)
		if (!strchr("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-", *c))
			*c = '-';
	return name;
}

/* "/etc/drover/web.yaml" is web. */
static char *name_of(const char *file)
{
	if (!file)
		return mem_must_printf("run-%d", (int)getpid());
	const char *slash = strrchr(file, '/');
	const char *stem = slash ? slash + 1 : file;
	size_t n = strlen(stem);
	const char *dot = strrchr(stem, '.');
	if (dot && dot > stem)
		n = (size_t)(dot - stem);
	return load_name_from(stem, n);
}

/* Without routes everything goes to the only app. */
static void default_route(struct loader *ld)
{
	struct config *cfg = ld->cfg;
	if (cfg->n_routes > 0 || cfg->n_apps != 1 || origins_find(cfg->origins, &cfg->routes)->broken)
		return;
	cfg->routes = mem_must_alloc(sizeof(*cfg->routes));
	cfg->n_routes = 1;
}

/* What an app does not say about its output is as for all. */
static void inherit_output(struct config *cfg)
{
	for (size_t i = 0; i < cfg->n_apps; i++) {
		struct cfg_app *app = &cfg->apps[i];
		if (origins_find(cfg->origins, &app->log_output)->at.kind == PLACE_DEFAULT)
			app->log_output = mem_must_dup(cfg->log_output);
		if (origins_find(cfg->origins, &app->log_output_format)->at.kind == PLACE_DEFAULT)
			app->log_output_format = cfg->log_output_format;
	}
}

static void load_all(struct loader *ld)
{
	struct config *cfg = ld->cfg;
	struct report *r = ld->report;
	const struct node *root = ld->file.root;
	if (root && tree_is_blank(root))
		root = NULL; /* "---" and nothing behind it */
	if (root && root->kind != NODE_MAP) {
		report_add(r, root->at, "expected keys such as listen and apps, not a %s",
			   root->kind == NODE_LIST ? "list" : "single value");
		return;
	}
	load_block(ld, &config_keys, cfg, root, 0);
	if (!cfg->name)
		cfg->name = name_of(cfg->file);
	origins_sort(cfg->origins);
	default_route(ld);
	inherit_output(cfg);
	if (!ld->kept)
		check_config(cfg, r);
}

/* The file's text, less a byte order mark; NULL when reported. */
static bool read_file(struct loader *ld, const char *file)
{
	struct report *r = ld->report;
	const char *why;
	const struct cfg_source *source =
		sources_read(&ld->cfg->sources, ld->kept, file, SOURCE_ANY, &why);
	if (!source) {
		report_add(r, (struct place){ .kind = PLACE_FILE },
			   strncmp(why, "larger", 6) == 0 ? "is %s" : "cannot be read: %s", why);
		return false;
	}
	size_t bom = source->n >= 3 && memcmp(source->text, "\xef\xbb\xbf", 3) == 0 ? 3 : 0;
	r->text = source->text + bom;
	r->n = source->n - bom;
	return true;
}

/* Takes `directory`; NULL: errno says why there is none. */
static struct config *load(const char *file, char *directory, const struct config_overrides *over,
			   const struct cfg_sources *kept, struct config_errors *ret_errors)
{
	static const struct config_overrides none;
	struct report report = { .file = file };
	struct config *cfg = mem_must_alloc(sizeof(*cfg));
	struct loader ld = {
		.cfg = cfg, .report = &report, .kept = kept, .over = over ? over : &none
	};
	cfg->file = mem_must_dup(file);
	cfg->directory = directory;
	cfg->origins = mem_must_alloc(sizeof(*cfg->origins));
	cfg->over = overrides_copy(ld.over);

	if (!directory)
		report_add(&report, (struct place){ .kind = PLACE_FILE },
			   "relative to the current directory, which has no name: %s",
			   strerror(errno));
	else if (!file || (read_file(&ld, file) && yaml_read(&report, &ld.file)))
		load_all(&ld);

	report_finish(&report, ret_errors);
	tree_fini(&ld.file);
	tree_fini(&ld.extra);
	if (ret_errors->count > 0)
		cfg = config_free(cfg);
	return cfg;
}

struct config *config_load(const char *file, const struct config_overrides *over,
			   struct config_errors *ret_errors)
{
	return load(file, directory_of(file), over, NULL, ret_errors);
}

struct config *config_load_kept(const char *file, const char *directory,
				const struct config_overrides *over,
				const struct cfg_sources *sources,
				struct config_errors *ret_errors)
{
	return load(file, mem_must_dup(directory), over, sources, ret_errors);
}

const struct cfg_app *config_app(const struct config *cfg, const char *name)
{
	for (size_t i = 0; i < cfg->n_apps; i++)
		if (strcmp(cfg->apps[i].name, name) == 0)
			return &cfg->apps[i];
	return NULL;
}
