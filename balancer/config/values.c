/* What a scalar may be.  One row per type; YAML's own guesses (no, 1.10, 22:22)
 * never apply.  Called by load.c (parse), dump.c (print), check.c (messages). */
#include "balancer/config/values.h"

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

struct parse {
	const struct key *key;
	const char *text;
	const char *directory;
	void *field;
	struct value_refusal *refusal;
};

static bool refuse(struct parse *p, const char *fmt, ...) PRINTF_LIKE(2, 3);
static bool refuse(struct parse *p, const char *fmt, ...)
{
	va_list args;
	va_start(args, fmt);
	vsnprintf(p->refusal->why, sizeof(p->refusal->why), fmt, args);
	va_end(args);
	return false;
}

static void hint(struct parse *p, const char *fmt, ...) PRINTF_LIKE(2, 3);
static void hint(struct parse *p, const char *fmt, ...)
{
	va_list args;
	va_start(args, fmt);
	vsnprintf(p->refusal->hint, sizeof(p->refusal->hint), fmt, args);
	va_end(args);
}

/* ---- numbers and units ---- */

struct unit {
	const char *name;
	uint64_t factor;
};

static const struct unit time_units[] = {
	{ "h", 3600000 },
	{ "m", 60000 },
	{ "s", 1000 },
	{ "ms", 1 },
};

static const struct unit size_units[] = {
	{ "GiB", 1ull << 30 },
	{ "MiB", 1ull << 20 },
	{ "KiB", 1ull << 10 },
	{ "GB", 1000000000 },
	{ "MB", 1000000 },
	{ "kB", 1000 },
	{ "B", 1 },
};

/* What people from elsewhere write, and what they mean here. */
static const char *const unit_means[][2] = {
	{ "sec", "s" },     { "secs", "s" },  { "second", "s" },  { "seconds", "s" },
	{ "S", "s" },       { "min", "m" },   { "mins", "m" },    { "minute", "m" },
	{ "minutes", "m" }, { "M", "m" },     { "hour", "h" },    { "hours", "h" },
	{ "H", "h" },       { "msec", "ms" }, { "millis", "ms" }, { "k", "KiB" },
	{ "K", "KiB" },     { "m", "MiB" },   { "M", "MiB" },     { "g", "GiB" },
	{ "G", "GiB" },     { "KB", "kB" },   { "kb", "kB" },     { "mb", "MB" },
	{ "gb", "GB" },     { "kib", "KiB" }, { "mib", "MiB" },   { "gib", "GiB" },
	{ "b", "B" },
};

static const struct unit *find_unit(const struct unit *units, size_t n, const char *name)
{
	for (size_t i = 0; i < n; i++)
		if (strcmp(units[i].name, name) == 0)
			return &units[i];
	return NULL;
}

static void print_amount(uint64_t value, const struct unit *units, size_t n, FILE *out)
{
	for (size_t i = 0; i < n; i++) {
		if (value % units[i].factor == 0 && value != 0) {
			fprintf(out, "%llu%s", (unsigned long long)(value / units[i].factor),
				units[i].name);
			return;
		}
	}
	fputs("0", out);
}

static void print_number(const struct key *key, uint64_t value, FILE *out)
{
	if (key->type == VALUE_MS && value == 0)
		fputs("0s", out);
	else if (key->type == VALUE_MS)
		print_amount(value, time_units, ARRAY_LEN(time_units), out);
	else if (key->type == VALUE_BYTES)
		print_amount(value, size_units, ARRAY_LEN(size_units), out);
	else
		fprintf(out, "%llu", (unsigned long long)value);
}

static bool in_range(struct parse *p, uint64_t value)
{
	const struct key *key = p->key;
	if (value >= key->min && value <= key->max)
		return true;
	FILE *out = fmemopen(p->refusal->why, sizeof(p->refusal->why), "w");
	if (!out)
		return refuse(p, "out of range");
	fputs("must be from ", out);
	print_number(key, key->min, out);
	fputs(" to ", out);
	print_number(key, key->max, out);
	fclose(out);
	return false;
}

/* Digits, then a unit. */
static bool parse_amount(struct parse *p, const struct unit *units, size_t n, uint64_t *ret_value)
{
	const char *wants = value_wants((enum value_type)p->key->type);
	size_t digits = strspn(p->text, "0123456789");
	const char *name = p->text + digits;
	uint64_t number;
	if (digits == 0)
		return refuse(p, "is not %s", wants);
	enum err e = slice_to_u64((struct slice){ p->text, digits }, UINT64_MAX, &number);
	const struct unit *unit = find_unit(units, n, name);
	if (*name == '\0' && number == 0)
		unit = &units[n - 1]; /* 0 is 0 in every unit */
	if (unit) {
		if (e != ERR_OK || number > UINT64_MAX / unit->factor)
			number = UINT64_MAX, unit = &units[n - 1]; /* past every range */
		*ret_value = number * unit->factor;
		return in_range(p, *ret_value);
	}
	if (*name == '\0')
		return refuse(p, "has no unit; expected %s", wants);
	for (size_t i = 0; i < ARRAY_LEN(unit_means); i++) {
		if (strcmp(unit_means[i][0], name) != 0 || !find_unit(units, n, unit_means[i][1]))
			continue;
		hint(p, "write %.*s%s", (int)MIN(digits, 30u), p->text, unit_means[i][1]);
	}
	return refuse(p, "is not %s", wants);
}

static bool parse_ms(struct parse *p)
{
	uint64_t value = 0;
	if (!parse_amount(p, time_units, ARRAY_LEN(time_units), &value))
		return false;
	*(uint64_t *)p->field = value;
	return true;
}

static bool parse_bytes(struct parse *p)
{
	uint64_t value = 0;
	if (p->text[0] && p->text[strspn(p->text, "0123456789")] == '\0') {
		if (slice_to_u64(slice_of(p->text), UINT64_MAX, &value) != ERR_OK)
			value = UINT64_MAX;
		if (!in_range(p, value))
			return false;
	} else if (!parse_amount(p, size_units, ARRAY_LEN(size_units), &value)) {
		return false;
	}
	*(uint64_t *)p->field = value;
	return true;
}

static bool parse_rlimit(struct parse *p)
{
	static const struct {
		const char *word;
		uint64_t value;
	} words[] = {
		{ "inherit", CFG_RLIMIT_INHERIT },
		{ "unlimited", CFG_RLIMIT_NONE },
		{ "infinity", CFG_RLIMIT_NONE },
	};
	uint64_t value = 0;
	for (size_t i = 0; i < ARRAY_LEN(words); i++) {
		if (strcmp(p->text, words[i].word) == 0) {
			*(uint64_t *)p->field = words[i].value;
			return true;
		}
	}
	const struct key any = { .name = p->key->name, .type = VALUE_RLIMIT, .max = INT64_MAX };
	struct parse inner = *p;
	inner.key = &any;
	inner.field = &value;
	if (!parse_bytes(&inner))
		return false;
	*(uint64_t *)p->field = value;
	return true;
}

static bool parse_nice(struct parse *p)
{
	const char *digits = p->text + (p->text[0] == '-');
	size_t n = strlen(digits);
	if (n < 1 || n > 2 || digits[strspn(digits, "0123456789")])
		return refuse(p, "is not %s", value_wants(VALUE_NICE));
	int value = atoi(p->text);
	if (value < -20 || value > 19)
		return refuse(p, "must be from -20 to 19");
	*(int *)p->field = value;
	return true;
}

static bool parse_percent(struct parse *p)
{
	size_t digits = strspn(p->text, "0123456789");
	uint64_t value;
	if (!digits || slice_to_u64((struct slice){ p->text, digits }, UINT64_MAX, &value) ||
	    (strcmp(p->text + digits, "%") != 0 && (p->text[digits] || value != 0)))
		return refuse(p, "is not %s", value_wants(VALUE_PERCENT));
	if (!in_range(p, value))
		return false;
	*(uint32_t *)p->field = (uint32_t)value;
	return true;
}

static bool parse_count(struct parse *p)
{
	uint64_t value;
	const char *digits = p->text + (p->text[0] == '-');
	if (!digits[0] || digits[strspn(digits, "0123456789")])
		return refuse(p, "is not %s", value_wants((enum value_type)p->key->type));
	if (slice_to_u64(slice_of(p->text), UINT64_MAX, &value) != ERR_OK)
		value = UINT64_MAX; /* negative, or longer than 64 bits: no range has it */
	if (!in_range(p, value))
		return false;
	*(uint32_t *)p->field = (uint32_t)value;
	return true;
}

static bool parse_cores(struct parse *p)
{
	if (strcmp(p->text, "auto") != 0)
		return parse_count(p);
	uint32_t cores = proc_usable_cores();
	*(uint32_t *)p->field = (uint32_t)MIN((uint64_t)cores, p->key->max);
	return true;
}

static bool parse_port(struct slice s, uint16_t *ret_port)
{
	uint64_t value;
	if (slice_to_u64(s, 65535, &value) != ERR_OK || value == 0)
		return false;
	*ret_port = (uint16_t)value;
	return true;
}

static bool parse_ports(struct parse *p)
{
	uint16_t *range = p->field, low, high;
	const char *dash = strchr(p->text, '-');
	struct slice first = slice_of(p->text), last = first;
	if (dash) {
		first.n = (size_t)(dash - p->text);
		last = slice_of(dash + 1);
	}
	if (!parse_port(slice_trim(first), &low) || !parse_port(slice_trim(last), &high))
		return refuse(p, "is not %s", value_wants(VALUE_PORTS));
	if (low > high)
		return refuse(p, "begins above its end");
	range[0] = low;
	range[1] = high;
	return true;
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

static bool parse_signal(struct parse *p)
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
		hint(p, "did you mean SIG%s?", known);
	else
		hint(p, "known: SIGTERM, SIGINT, SIGQUIT, SIGHUP, SIGUSR1, SIGUSR2, SIGWINCH, "
			"SIGABRT, SIGALRM, SIGKILL");
	return refuse(p, "is not %s", value_wants(VALUE_SIGNAL));
}

static const char *next_choice(const void *arg, size_t i)
{
	return ((const char *const *)arg)[i];
}

static bool parse_choice(struct parse *p)
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
		hint(p, "did you mean %s?", near);
	return refuse(p,
		      choices[1] ? "is not one of: %s" : "is not known here; the only choice is %s",
		      list);
}

/* ---- texts ---- */

static bool keep(struct parse *p, char *taken)
{
	mem_free(*(char **)p->field);
	*(char **)p->field = taken;
	return true;
}

static bool parse_name(struct parse *p)
{
	size_t n = strlen(p->text);
	if (n == 0 || n > 63 ||
	    p->text[strspn(p->text,
			   "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-")])
		return refuse(p, "is not a name; names are 1 to 63 of A-Z a-z 0-9 _ -");
	return keep(p, mem_must_dup(p->text));
}

static bool parse_user(struct parse *p)
{
	struct proc_user user;
	if (proc_find_user(p->text, &user) != ERR_OK)
		return refuse(p, "is not a user on this machine");
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

static bool parse_path(struct parse *p)
{
	if (bad_path(p->text))
		return refuse(p, "is not a path");
	if (p->text[0] == '~')
		return refuse(p,
			      "begins with ~, which only a shell replaces; write the whole path");
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

static bool parse_file(struct parse *p)
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
			hint(p, "write %s; a file of this name would be ./%s", foreign[i][1],
			     p->text);
		return refuse(p, "is not %s", value_wants((enum value_type)p->key->type));
	}
	if (strcmp(p->text, "off") == 0)
		return keep(p, NULL);
	if (strcmp(p->text, "-") == 0)
		return keep(p, mem_must_dup("-"));
	return parse_path(p);
}

static bool parse_path_off(struct parse *p)
{
	if (strcmp(p->text, "-") == 0)
		return refuse(p, "is not %s", value_wants(VALUE_PATH_OFF));
	return parse_file(p);
}

static bool parse_socket(struct parse *p)
{
	struct addr a;
	if (strcmp(p->text, "auto") == 0)
		return keep(p, mem_must_dup("auto"));
	if (strncmp(p->text, "unix:", 5) == 0) {
		hint(p, "write only the path: %s", p->text + 5);
		return refuse(p, "is not %s", value_wants(VALUE_SOCKET));
	}
	if (!parse_path_off(p))
		return false;
	const char *path = *(char **)p->field;
	return !path || addr_unix(path, &a) == ERR_OK ||
	       refuse(p, "is too long for a Unix socket (at most 107 bytes)");
}

static bool parse_listen_off(struct parse *p)
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
		return refuse(p, "is not %s", value_wants(VALUE_LISTEN_OFF));
	mem_free(l->text);
	*l = (struct cfg_listen){ .address = a, .text = mem_must_dup(addr_format(&a, text)) };
	return true;
}

static bool parse_host(struct parse *p)
{
	const char *name = strncmp(p->text, "*.", 2) == 0 ? p->text + 2 : p->text;
	if (strchr(name, '*')) {
		hint(p, "leave host out to match every host");
		return refuse(p,
			      "has a * that is not the first label; only *.example.com is known");
	}
	if (name[0] == '[' ? name[strcspn(name, "]")] && name[strcspn(name, "]") + 1] == ':'
			   : strchr(name, ':') != NULL)
		return refuse(p, "is not a host: a route matches the host without its port");
	if (strchr(name, '/'))
		return refuse(p, "is not a host: the path goes under its own key, path");
	size_t n = strlen(name);
	if (n == 0 || n > 253 ||
	    name[strspn(name,
			"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789.-_[]:")])
		return refuse(p, "is not %s", value_wants(VALUE_HOST));
	char *lower = mem_must_dup(p->text);
	for (char *c = lower; *c; c++)
		*c = ascii_lower(*c);
	return keep(p, lower);
}

static bool parse_prefix(struct parse *p)
{
	if (p->text[0] != '/')
		return refuse(p, "is not a path: it must begin with /");
	if (strpbrk(p->text, "?#"))
		return refuse(p, "has a query; routes match the path alone");
	if (strchr(p->text, '*'))
		return refuse(p, "has a *, which has no meaning: /v1 matches /v1 and all below it");
	for (const unsigned char *s = (const unsigned char *)p->text; *s; s++)
		if (*s <= 0x20 || *s >= 0x7f)
			return refuse(
				p, "must be written as it is sent: blanks and non-ASCII as %%XX");
	return keep(p, mem_must_dup(p->text));
}

static bool parse_cpus(struct parse *p)
{
	cpu_set_t cpus;
	if (proc_parse_cpus(p->text, &cpus) != ERR_OK)
		return refuse(p, "is not %s", value_wants(VALUE_CPUS));
	return keep(p, mem_must_dup(p->text));
}

static bool parse_target(struct parse *p)
{
	if (p->text[0] != '/')
		return refuse(p, "is not a path: it must begin with /");
	for (const unsigned char *s = (const unsigned char *)p->text; *s; s++)
		if (*s <= 0x20 || *s >= 0x7f || *s == '#')
			return refuse(p, "must be written as it is sent: blanks, # and non-ASCII as %%XX");
	if (strlen(p->text) > p->key->max)
		return refuse(p, "is longer than %u bytes", (unsigned)p->key->max);
	return keep(p, mem_must_dup(p->text));
}

/* ---- the table ---- */

static void print_count(const struct key *key, const void *field, FILE *out)
{
	print_number(key, *(const uint32_t *)field, out);
}

static void print_long(const struct key *key, const void *field, FILE *out)
{
	print_number(key, *(const uint64_t *)field, out);
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
		print_number(key, value, out);
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
	bool (*parse)(struct parse *p);
	void (*print)(const struct key *key, const void *field, FILE *out);
};

static const struct value_row rows[VALUE_TYPE_MAX] = {
	[VALUE_COUNT] = { "a whole number", parse_count, print_count },
	[VALUE_CORES] = { "a whole number or auto", parse_cores, print_count },
	[VALUE_BYTES] = { "a size like 16KiB, 700MiB or 1GB", parse_bytes, print_long },
	[VALUE_MS] = { "a duration like 500ms, 10s, 5m or 1h", parse_ms, print_long },
	[VALUE_SIGNAL] = { "a signal like SIGTERM or TERM", parse_signal, print_signal },
	[VALUE_CHOICE] = { "one word", parse_choice, print_choice },
	[VALUE_PORTS] = { "a range of ports like 20000-29999", parse_ports, print_ports },
	[VALUE_NAME] = { "a name", parse_name, print_text },
	[VALUE_USER] = { "the name of a user", parse_user, print_text },
	[VALUE_PATH] = { "a path", parse_path, print_text },
	[VALUE_FILE] = { "a path, \"-\" or off", parse_file, print_text },
	[VALUE_PATH_OFF] = { "a path or off", parse_path_off, print_text },
	[VALUE_SOCKET] = { "a path, auto or off", parse_socket, print_text },
	[VALUE_LISTEN_OFF] = { "an address like 127.0.0.1:9900, or off", parse_listen_off, print_listen },
	[VALUE_HOST] = { "a host like example.com or *.example.com", parse_host, print_text },
	[VALUE_PREFIX] = { "a path like /v1", parse_prefix, print_text },
	[VALUE_TARGET] = { "a path like /healthz", parse_target, print_text },
	[VALUE_RLIMIT] = { "a number, a size like 700MiB, inherit or unlimited", parse_rlimit,
			   print_rlimit },
	[VALUE_NICE] = { "a number from -20 to 19", parse_nice, print_nice },
	[VALUE_CPUS] = { "numbers of processors like 0-3,8", parse_cpus, print_text },
	[VALUE_PERCENT] = { "a percentage like 150%", parse_percent, print_percent },
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
	struct parse p = { key, text, directory, field, ret_refusal };
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
