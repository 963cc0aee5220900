/* The effective config as a config file: every key with its value, and behind it
 * where the value comes from.  Loading the output gives the same config again,
 * from any folder: paths are absolute, numbers resolved.  Called by `drover
 * config`. */
#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

#include "balancer/config/keys.h"
#include "balancer/config/origins.h"
#include "balancer/config/values.h"
#include "common/log.h"
#include "common/mem.h"

#define COMMENT_COLUMN 44

struct dump {
	const struct config *cfg;
	FILE *out;
	int indent;
};

static void print_origin(const struct dump *d, const struct key *key, const void *field, FILE *out)
{
	struct place at = origins_find(d->cfg->origins, field)->at;
	switch (at.kind) {
	case PLACE_FILE: fprintf(out, "%s:%u", d->cfg->file, at.line); break;
	case PLACE_COMMAND_LINE: fputs("command line", out); break;
	default:
		fputs("default", out);
		if (key && key->type == VALUE_CORES && key->fallback && strcmp(key->fallback, "auto") == 0)
			fputs(" (auto)", out);
		break;
	}
}

/* Prints one line: `text` (ended with free()), its comment in a common column. */
static void print_line(const struct dump *d, char *text, const struct key *key, const void *field)
{
	int used = fprintf(d->out, "%*s%s", d->indent, "", text);
	fprintf(d->out, "%*s# ", used < COMMENT_COLUMN ? COMMENT_COLUMN - used : 1, "");
	print_origin(d, key, field, d->out);
	fputc('\n', d->out);
	free(text);
}

/* A stream whose text is the start of a line. */
struct line {
	FILE *out;
	char *text;
	size_t n;
};

static FILE *line_open(struct line *l)
{
	l->out = open_memstream(&l->text, &l->n);
	if (!l->out)
		die(1, "out of memory");
	return l->out;
}

static char *line_end(struct line *l)
{
	if (fclose(l->out) != 0)
		die(1, "out of memory");
	return l->text;
}

static void dump_entry(const struct dump *d, const char *text, const void *field)
{
	struct line l;
	fputs("  - ", line_open(&l));
	value_print_text(text, l.out);
	print_line(d, line_end(&l), NULL, field);
}

static void dump_head(const struct dump *d, const struct key *key, const void *field)
{
	struct line l;
	fprintf(line_open(&l), "%s:", key->name);
	print_line(d, line_end(&l), key, field);
}

/* ---- fields that are more than one scalar ---- */

static void dump_listens(struct dump *d, const struct key *key)
{
	dump_head(d, key, &d->cfg->listens);
	for (size_t i = 0; i < d->cfg->n_listens; i++)
		dump_entry(d, d->cfg->listens[i].text, &d->cfg->listens[i]);
}

static void dump_words(const struct dump *d, const struct key *key, char *const *const *field)
{
	struct line l;
	fprintf(line_open(&l), "%s: [", key->name);
	for (size_t i = 0; (*field)[i]; i++) {
		fputs(i ? ", " : "", l.out);
		value_print_text((*field)[i], l.out);
	}
	fputc(']', l.out);
	print_line(d, line_end(&l), key, field);
}

static void dump_servers(const struct dump *d, const struct key *key, const struct cfg_app *app)
{
	char text[ADDR_TEXT_MAX];
	dump_head(d, key, &app->servers);
	for (size_t i = 0; i < app->n_servers; i++)
		dump_entry(d, addr_format(&app->servers[i], text), &app->servers[i]);
}

static void dump_env(const struct dump *d, const struct key *key, char *const *const *field)
{
	dump_head(d, key, field);
	for (char *const *v = *field; *v; v++) {
		struct line l;
		const char *value = strchr(*v, '=') + 1;
		char *name = strndup(*v, (size_t)(value - *v - 1));
		if (!name)
			die(1, "out of memory");
		fputs("  ", line_open(&l));
		value_print_text(name, l.out);
		fputs(": ", l.out);
		value_print_text(value, l.out);
		print_line(d, line_end(&l), NULL, *v);
		free(name);
	}
}

static char *block_text(const struct addr_block *b)
{
	char host[INET6_ADDRSTRLEN];
	if (b->family_unix)
		return mem_must_dup("unix");
	if (!inet_ntop(b->is_v6 ? AF_INET6 : AF_INET, b->bytes, host, sizeof(host)))
		die(1, "an address block that is none");
	return mem_must_printf("%s/%u", host, b->bits);
}

static void dump_trust(const struct dump *d, const struct key *key)
{
	const struct config *cfg = d->cfg;
	struct line l;
	if (cfg->n_trust == 0) {
		fprintf(line_open(&l), "%s: []", key->name);
		print_line(d, line_end(&l), key, &cfg->trust);
		return;
	}
	dump_head(d, key, &cfg->trust);
	for (size_t i = 0; i < cfg->n_trust; i++) {
		char *text = block_text(&cfg->trust[i]);
		dump_entry(d, text, &cfg->trust[i]);
		mem_free(text);
	}
}

static void dump_block(struct dump *d, const struct key_table *table, const void *base,
		       uint32_t skip);

static void dump_apps(struct dump *d, const struct key *key)
{
	dump_head(d, key, &d->cfg->apps);
	for (size_t i = 0; i < d->cfg->n_apps; i++) {
		const struct cfg_app *app = &d->cfg->apps[i];
		d->indent += 2;
		struct line l;
		value_print_text(app->name, line_open(&l));
		fputc(':', l.out);
		print_line(d, line_end(&l), NULL, &app->name);
		d->indent += 2;
		dump_block(d, key->sub, app, app->command ? 0 : KEY_OWN);
		d->indent -= 4;
	}
}

static void dump_routes(struct dump *d, const struct key *key)
{
	dump_head(d, key, &d->cfg->routes);
	for (size_t i = 0; i < d->cfg->n_routes; i++) {
		const struct cfg_route *r = &d->cfg->routes[i];
		struct line l;
		fputs("  - { ", line_open(&l));
		if (r->host) {
			fputs("host: ", l.out);
			value_print_text(r->host, l.out);
			fputs(", ", l.out);
		}
		if (r->path) {
			fputs("path: ", l.out);
			value_print_text(r->path, l.out);
			fputs(", ", l.out);
		}
		fputs("app: ", l.out);
		value_print_text(d->cfg->apps[r->app].name, l.out);
		fputs(" }", l.out);
		print_line(d, line_end(&l), NULL, &r->app);
	}
}

/* ---- blocks ---- */

static void dump_scalar(const struct dump *d, const struct key *key, const void *field)
{
	struct line l;
	fprintf(line_open(&l), "%s: ", key->name);
	long before = ftell(l.out);
	value_print(key, field, l.out);
	bool unset = ftell(l.out) == before;
	char *text = line_end(&l);
	if (!unset) {
		print_line(d, text, key, field);
		return;
	}
	fprintf(d->out, "%*s#%s%*s# not set: %s\n", d->indent, "", text,
		COMMENT_COLUMN - d->indent - 1 - (int)l.n, "", key->unset);
	free(text);
}

static void dump_key(struct dump *d, const struct key *key, const void *base)
{
	const void *field = (const char *)base + key->offset;
	switch (key->type) {
	case VALUE_BLOCK:
		fprintf(d->out, "%*s%s:\n", d->indent, "", key->name);
		d->indent += 2;
		dump_block(d, key->sub, base, 0);
		d->indent -= 2;
		break;
	case VALUE_LISTENS: dump_listens(d, key); break;
	case VALUE_APPS: dump_apps(d, key); break;
	case VALUE_ROUTES: dump_routes(d, key); break;
	case VALUE_TRUST: dump_trust(d, key); break;
	case VALUE_COMMAND:
		if (*(char *const *const *)field)
			dump_words(d, key, field);
		break;
	case VALUE_SERVERS:
		if (*(const struct addr *const *)field)
			dump_servers(d, key, base);
		break;
	case VALUE_ENV:
		if (*(char *const *const *)field)
			dump_env(d, key, field);
		break;
	case VALUE_ENV_FILE: /* its variables stand under env */ break;
	default: dump_scalar(d, key, field);
	}
}

static void dump_block(struct dump *d, const struct key_table *table, const void *base, uint32_t skip)
{
	for (size_t i = 0; i < table->n; i++)
		if (!(table->keys[i].flags & skip))
			dump_key(d, &table->keys[i], base);
}

void config_dump(const struct config *cfg, FILE *out)
{
	struct dump d = { cfg, out, 0 };
	dump_block(&d, &config_keys, cfg, 0);
}
