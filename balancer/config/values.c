/* What a scalar may be.  One row per type; YAML's own guesses (no, 1.10, 22:22)
 * never apply.  Called by load.c (parse), dump.c (print), check.c (messages). */
#include "balancer/config/value_types.h"

#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "balancer/config/config.h"
#include "balancer/config/nearest.h"
#include "balancer/config/utf8.h"
#include "common/err.h"
#include "common/mem.h"
#include "common/proc.h"
#include "common/slice.h"

bool value_refuse(struct value_input *p, const char *fmt, ...)
{
	va_list args;
	va_start(args, fmt);
	vsnprintf(p->refusal->why, sizeof(p->refusal->why), fmt, args);
	va_end(args);
	return false;
}

void value_hint(struct value_input *p, const char *fmt, ...)
{
	va_list args;
	va_start(args, fmt);
	vsnprintf(p->refusal->hint, sizeof(p->refusal->hint), fmt, args);
	va_end(args);
}

/* ---- words from a set ---- */

/* Signals that ask a program to end, or that some program ends by. */
static const int stop_signals[] = {
	SIGTERM, SIGINT, SIGQUIT, SIGHUP, SIGUSR1, SIGUSR2, SIGWINCH, SIGABRT, SIGALRM, SIGKILL,
};

static const char *next_signal(const void *arg, size_t i)
{
	(void)arg;
	return i < ARRAY_LEN(stop_signals) ? sigabbrev_np(stop_signals[i]) : NULL;
}

static bool parse_signal(struct value_input *p)
{
	const char *name = strncmp(p->text, "SIG", 3) == 0 ? p->text + 3 : p->text;
	const char *known;
	for (size_t i = 0; (known = next_signal(NULL, i)); i++) {
		if (strcmp(known, name) == 0) {
			*(int *)p->field = stop_signals[i];
			return true;
		}
	}
	known = nearest(strncasecmp(p->text, "SIG", 3) == 0 ? p->text + 3 : p->text, next_signal,
			NULL);
	if (known)
		value_hint(p, "did you mean SIG%s?", known);
	else
		value_hint(p,
			   "known: SIGTERM, SIGINT, SIGQUIT, SIGHUP, SIGUSR1, SIGUSR2, SIGWINCH, "
			   "SIGABRT, SIGALRM, SIGKILL");
	return value_refuse(p, "is not %s", value_wants(VALUE_SIGNAL));
}

static const char *next_choice(const void *arg, size_t i)
{
	return ((const char *const *)arg)[i];
}

static bool parse_choice(struct value_input *p)
{
	const char *const *choices = p->key->choices;
	char list[160] = "";
	for (uint32_t i = 0; choices[i]; i++) {
		if (strcmp(choices[i], p->text) == 0) {
			*(uint32_t *)p->field = i;
			return true;
		}
		size_t used = strlen(list);
		snprintf(list + used, sizeof(list) - used, "%s%s", i ? ", " : "", choices[i]);
	}
	const char *near = nearest(p->text, next_choice, choices);
	if (near)
		value_hint(p, "did you mean %s?", near);
	return value_refuse(
		p, choices[1] ? "is not one of: %s" : "is not known here; the only choice is %s",
		list);
}

/* ---- texts ---- */

static bool keep(struct value_input *p, char *taken)
{
	mem_free(*(char **)p->field);
	*(char **)p->field = taken;
	return true;
}

static bool parse_name(struct value_input *p)
{
	size_t n = strlen(p->text);
	if (n == 0 || n > 63 ||
	    p->text[strspn(p->text,
			   "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-")])
		return value_refuse(p, "is not a name; names are 1 to 63 of A-Z a-z 0-9 _ -");
	return keep(p, mem_must_dup(p->text));
}

static bool parse_user(struct value_input *p)
{
	struct proc_user user;
	if (proc_find_user(p->text, &user) != ERR_OK)
		return value_refuse(p, "is not a user on this machine");
	return keep(p, mem_must_dup(p->text));
}

/* Printable, so that it can be named in a log line. */
static bool bad_path(const char *text)
{
	for (const unsigned char *s = (const unsigned char *)text; *s; s++)
		if (*s < 0x20 || *s == 0x7f)
			return true;
	return text[0] == '\0';
}

static bool parse_path(struct value_input *p)
{
	if (bad_path(p->text))
		return value_refuse(p, "is not a path");
	if (p->text[0] == '~')
		return value_refuse(
			p, "begins with ~, which only a shell replaces; write the whole path");
	const char *rest = p->text;
	while (rest[0] == '.' && rest[1] == '/')
		rest += 1 + strspn(rest + 1, "/");
	if (rest[0] == '/' && rest == p->text)
		return keep(p, mem_must_dup(p->text));
	if (rest[0] == '\0' || strcmp(rest, ".") == 0)
		return keep(p, mem_must_dup(p->directory));
	bool root = strcmp(p->directory, "/") == 0;
	return keep(p, mem_must_printf("%s/%s", root ? "" : p->directory, rest));
}

static bool parse_file(struct value_input *p)
{
	/* What other programs know, and what here would silently become a file. */
	static const char *const foreign[][2] = {
		{ "stdout", "\"-\"" }, { "stderr", "\"-\"" }, { "no", "off" },
		{ "none", "off" },     { "false", "off" },    { "null", "off" },
		{ "true", "\"-\"" },   { "on", "\"-\"" },
	};
	for (size_t i = 0; i < ARRAY_LEN(foreign); i++) {
		if (strcmp(p->text, foreign[i][0]) != 0)
			continue;
		if (p->key->type == VALUE_FILE || strcmp(foreign[i][1], "off") == 0)
			value_hint(p, "write %s; a file of this name would be ./%s", foreign[i][1],
				   p->text);
		return value_refuse(p, "is not %s", value_wants((enum value_type)p->key->type));
	}
	if (strcmp(p->text, "off") == 0)
		return keep(p, NULL);
	if (strcmp(p->text, "-") == 0)
		return keep(p, mem_must_dup("-"));
	return parse_path(p);
}

static bool parse_path_off(struct value_input *p)
{
	if (strcmp(p->text, "-") == 0)
		return value_refuse(p, "is not %s", value_wants(VALUE_PATH_OFF));
	return parse_file(p);
}

static bool parse_socket(struct value_input *p)
{
	struct addr a;
	if (strcmp(p->text, "auto") == 0)
		return keep(p, mem_must_dup("auto"));
	if (strncmp(p->text, "unix:", 5) == 0) {
		value_hint(p, "write only the path: %s", p->text + 5);
		return value_refuse(p, "is not %s", value_wants(VALUE_SOCKET));
	}
	if (!parse_path_off(p))
		return false;
	const char *path = *(char **)p->field;
	return !path || addr_unix(path, &a) == ERR_OK ||
	       value_refuse(p, "is too long for a Unix socket (at most 107 bytes)");
}

static bool parse_listen_off(struct value_input *p)
{
	struct cfg_listen *l = p->field;
	char text[ADDR_TEXT_MAX];
	struct addr a;
	if (strcmp(p->text, "off") == 0) {
		mem_free(l->text);
		*l = (struct cfg_listen){ .text = NULL };
		return true;
	}
	if (addr_parse(slice_of(p->text), false, &a) != ERR_OK || addr_is_unix(&a))
		return value_refuse(p, "is not %s", value_wants(VALUE_LISTEN_OFF));
	mem_free(l->text);
	*l = (struct cfg_listen){ .address = a, .text = mem_must_dup(addr_format(&a, text)) };
	return true;
}

static bool parse_host(struct value_input *p)
{
	const char *name = strncmp(p->text, "*.", 2) == 0 ? p->text + 2 : p->text;
	if (strchr(name, '*')) {
		value_hint(p, "leave host out to match every host");
		return value_refuse(
			p, "has a * that is not the first label; only *.example.com is known");
	}
	if (name[0] == '[' ? name[strcspn(name, "]")] && name[strcspn(name, "]") + 1] == ':'
			   : strchr(name, ':') != NULL)
		return value_refuse(p, "is not a host: a route matches the host without its port");
	if (strchr(name, '/'))
		return value_refuse(p, "is not a host: the path goes under its own key, path");
	size_t n = strlen(name);
	if (n == 0 || n > 253 ||
	    name[strspn(name,
			"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789.-_[]:")])
		return value_refuse(p, "is not %s", value_wants(VALUE_HOST));
	char *lower = mem_must_dup(p->text);
	for (char *c = lower; *c; c++)
		*c = ascii_lower(*c);
	return keep(p, lower);
}

static bool parse_prefix(struct value_input *p)
{
	if (p->text[0] != '/')
		return value_refuse(p, "is not a path: it must begin with /");
	if (strpbrk(p->text, "?#"))
		return value_refuse(p, "has a query; routes match the path alone");
	if (strchr(p->text, '*'))
		return value_refuse(
			p, "has a *, which has no meaning: /v1 matches /v1 and all below it");
	for (const unsigned char *s = (const unsigned char *)p->text; *s; s++)
		if (*s <= 0x20 || *s >= 0x7f)
			return value_refuse(
				p, "must be written as it is sent: blanks and non-ASCII as %%XX");
	return keep(p, mem_must_dup(p->text));
}

static bool parse_cpus(struct value_input *p)
{
	cpu_set_t cpus;
	if (proc_parse_cpus(p->text, &cpus) != ERR_OK)
		return value_refuse(p, "is not %s", value_wants(VALUE_CPUS));
	return keep(p, mem_must_dup(p->text));
}

static bool parse_target(struct value_input *p)
{
	if (p->text[0] != '/')
		return value_refuse(p, "is not a path: it must begin with /");
	for (const unsigned char *s = (const unsigned char *)p->text; *s; s++)
		if (*s <= 0x20 || *s >= 0x7f || *s == '#')
			return value_refuse(
				p,
				"must be written as it is sent: blanks, # and non-ASCII as %%XX");
	if (strlen(p->text) > p->key->max)
		return value_refuse(p, "is longer than %u bytes", (unsigned)p->key->max);
	return keep(p, mem_must_dup(p->text));
}

/* ---- the table ---- */

static void print_count(const struct key *key, const void *field, FILE *out)
{
	value_print_number(key, *(const uint32_t *)field, out);
}

static void print_long(const struct key *key, const void *field, FILE *out)
{
	value_print_number(key, *(const uint64_t *)field, out);
}

static void print_signal(const struct key *key, const void *field, FILE *out)
{
	(void)key;
	fprintf(out, "SIG%s", sigabbrev_np(*(const int *)field));
}

static void print_choice(const struct key *key, const void *field, FILE *out)
{
	fputs(key->choices[*(const uint32_t *)field], out);
}

static void print_ports(const struct key *key, const void *field, FILE *out)
{
	const uint16_t *range = field;
	(void)key;
	if (range[0])
		fprintf(out, "%u-%u", range[0], range[1]);
}

static void print_text(const struct key *key, const void *field, FILE *out)
{
	const char *text = *(char *const *)field;
	if (text)
		value_print_text(text, out);
	else if (key->type == VALUE_FILE || key->type == VALUE_PATH_OFF || key->type == VALUE_SOCKET)
		fputs("off", out);
}

static void print_listen(const struct key *key, const void *field, FILE *out)
{
	const struct cfg_listen *l = field;
	(void)key;
	if (l->text)
		value_print_text(l->text, out);
	else
		fputs("off", out);
}

static void print_rlimit(const struct key *key, const void *field, FILE *out)
{
	uint64_t value = *(const uint64_t *)field;
	if (value == CFG_RLIMIT_INHERIT)
		fputs("inherit", out);
	else if (value == CFG_RLIMIT_NONE)
		fputs("unlimited", out);
	else
		value_print_number(key, value, out);
}

static void print_nice(const struct key *key, const void *field, FILE *out)
{
	(void)key;
	fprintf(out, "%d", *(const int *)field);
}

static void print_percent(const struct key *key, const void *field, FILE *out)
{
	(void)key;
	fprintf(out, "%u%%", *(const uint32_t *)field);
}

struct value_row {
	const char *wants;
	bool (*parse)(struct value_input *p);
	void (*print)(const struct key *key, const void *field, FILE *out);
};

static const struct value_row rows[VALUE_TYPE_MAX] = {
	[VALUE_COUNT] = { "a whole number", value_parse_count, print_count },
	[VALUE_CORES] = { "a whole number or auto", value_parse_cores, print_count },
	[VALUE_BYTES] = { "a size like 16KiB, 700MiB or 1GB", value_parse_bytes, print_long },
	[VALUE_MS] = { "a duration like 500ms, 10s, 5m or 1h", value_parse_ms, print_long },
	[VALUE_SIGNAL] = { "a signal like SIGTERM or TERM", parse_signal, print_signal },
	[VALUE_CHOICE] = { "one word", parse_choice, print_choice },
	[VALUE_PORTS] = { "a range of ports like 20000-29999", value_parse_ports, print_ports },
	[VALUE_NAME] = { "a name", parse_name, print_text },
	[VALUE_USER] = { "the name of a user", parse_user, print_text },
	[VALUE_PATH] = { "a path", parse_path, print_text },
	[VALUE_FILE] = { "a path, \"-\" or off", parse_file, print_text },
	[VALUE_PATH_OFF] = { "a path or off", parse_path_off, print_text },
	[VALUE_SOCKET] = { "a path, auto or off", parse_socket, print_text },
	[VALUE_LISTEN_OFF] = { "an address like 127.0.0.1:9900, or off", parse_listen_off,
			       print_listen },
	[VALUE_HOST] = { "a host like example.com or *.example.com", parse_host, print_text },
	[VALUE_PREFIX] = { "a path like /v1", parse_prefix, print_text },
	[VALUE_TARGET] = { "a path like /healthz", parse_target, print_text },
	[VALUE_RLIMIT] = { "a number, a size like 700MiB, inherit or unlimited", value_parse_rlimit,
			   print_rlimit },
	[VALUE_NICE] = { "a number from -20 to 19", value_parse_nice, print_nice },
	[VALUE_CPUS] = { "numbers of processors like 0-3,8", parse_cpus, print_text },
	[VALUE_PERCENT] = { "a percentage like 150%", value_parse_percent, print_percent },
	[VALUE_BLOCK] = { "a block of keys", NULL, NULL },
	[VALUE_LISTENS] = { "an address like 0.0.0.0:8080, or a list of them", NULL, NULL },
	[VALUE_ADDRESS] = { "an address like 0.0.0.0:8080", NULL, NULL },
	[VALUE_APPS] = { "a block with one key per app", NULL, NULL },
	[VALUE_ROUTES] = { "a list of routes like { host: example.com, app: web }", NULL, NULL },
	[VALUE_APP] = { "the name of an app", NULL, NULL },
	[VALUE_COMMAND] = { "a list of words like [node, server.js], or one string", NULL, NULL },
	[VALUE_SERVERS] = { "a list of addresses like [10.0.0.5:3000]", NULL, NULL },
	[VALUE_ENV] = { "a block of variables like { NODE_ENV: production }", NULL, NULL },
	[VALUE_ENV_FILE] = { "the path of a file with NAME=value lines", NULL, NULL },
	[VALUE_TRUST] = { "a list of address blocks like [127.0.0.0/8]", NULL, NULL },
};

bool value_parse(const struct key *key, const char *text, const char *directory, void *field,
		 struct value_refusal *ret_refusal)
{
	struct value_input p = { key, text, directory, field, ret_refusal };
	ret_refusal->why[0] = ret_refusal->hint[0] = '\0';
	return rows[key->type].parse(&p);
}

void value_print(const struct key *key, const void *field, FILE *out)
{
	rows[key->type].print(key, field, out);
}

const char *value_wants(enum value_type type)
{
	return rows[type].wants;
}

bool value_owns_text(enum value_type type)
{
	return rows[type].print == print_text;
}

static bool plain_is_safe(const char *text)
{
	static const char safe[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_./@+%=:-";
	size_t n = strlen(text);
	return n > 0 && text[strspn(text, safe)] == '\0' && !strchr("@%=:-", text[0]) &&
	       text[n - 1] != ':';
}

void value_print_text(const char *text, FILE *out)
{
	if (plain_is_safe(text)) {
		fputs(text, out);
		return;
	}
	fputc('"', out);
	for (size_t i = 0, n = strlen(text); i < n;) {
		uint32_t code;
		size_t len = utf8_decode(text + i, n - i, &code);
		if (text[i] == '"' || text[i] == '\\')
			fprintf(out, "\\%c", text[i]);
		else if (text[i] == '\n' || text[i] == '\t')
			fputs(text[i] == '\n' ? "\\n" : "\\t", out);
		else if (len && utf8_printable(code))
			fwrite(text + i, 1, len, out);
		else
			fprintf(out, "\\u%04x", len ? code & 0xffff : (unsigned char)text[i]);
		i += len ? len : 1;
	}
	fputc('"', out);
}
