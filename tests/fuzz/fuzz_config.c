/* Config files, and the files of variables that they name.  The first byte says what the
 * command line adds; the rest is the file, and behind a line "%%" the file e.env.
 *
 *   refused    with errors that a terminal can show
 *   accepted   what was read keeps its promises; printed and read again it is the same */
#include <sys/stat.h>
#include <unistd.h>

#include "balancer/config/config.h"
#include "balancer/config/utf8.h"
#include "fuzz/fuzz.h"

enum setting { SET_LISTEN = 1, SET_NAME = 2, SET_COMMAND = 4, SET_INSTANCES = 8 };

#define FILE_NAME "t.yaml"

/* In a folder of their own below the current one, which whoever started us removes. */
static void boot(void)
{
	static bool done;

	if (!done && ((mkdir("config", 0700) && access("config", X_OK)) || chdir("config")))
		FUZZ_FAIL("no folder for config files");
	done = true;
}

static void write_file(const char *name, const char *p, size_t n)
{
	FILE *f = fopen(name, "we");

	if (!f || fwrite(p, 1, n, f) != n || fclose(f))
		FUZZ_FAIL("%s cannot be written", name);
}

static void check_errors(const struct config_errors *errors)
{
	FUZZ_CHECK(errors->text && errors->count, "refused without an error");
	size_t n = strlen(errors->text);
	FUZZ_CHECK(n && errors->text[n - 1] == '\n', "the errors do not end a line");
	for (size_t i = 0, len; i < n; i += len) {
		uint32_t code;
		len = utf8_decode(errors->text + i, n - i, &code);
		FUZZ_CHECK(len, "the errors are not UTF-8 at byte %zu", i);
		FUZZ_CHECK(code == '\n' || utf8_printable(code), "the errors hold U+%04X", code);
	}
}

static void check_app(const struct cfg_app *a)
{
	FUZZ_CHECK((a->command != NULL) != (a->n_servers > 0),
		   "app %s has command and servers, or "
		   "neither",
		   a->name);
	FUZZ_CHECK(a->name && *a->name && strlen(a->name) <= 63, "an app without a good name");
	FUZZ_CHECK(a->instances >= 1 && (!a->n_servers || a->instances == a->n_servers),
		   "%u instances", a->instances);
	FUZZ_CHECK(a->bind < BIND_MAX && a->ready_type < READY_MAX && a->balance < BALANCE_MAX,
		   "a choice that does not exist");
	FUZZ_CHECK(a->port_min <= a->port_max && !a->port_min == !a->port_max, "ports %u-%u",
		   a->port_min, a->port_max);
	FUZZ_CHECK(!a->command || (a->command[0] && a->directory && a->directory[0] == '/'),
		   "a command without a word or a folder");
	FUZZ_CHECK(a->backoff_min_ms <= a->backoff_max_ms, "back-off from %llu to %llu ms",
		   (unsigned long long)a->backoff_min_ms, (unsigned long long)a->backoff_max_ms);
	for (char **e = a->env; e && *e; e++)
		FUZZ_CHECK(strchr(*e, '=') && (*e)[0] != '=', "variable \"%s\"", *e);
}

static void check_config(const struct config *c)
{
	FUZZ_CHECK(c->name && c->directory && c->directory[0] == '/', "no name or folder");
	FUZZ_CHECK(c->n_listens && c->balancers && c->n_apps && c->n_routes,
		   "%zu addresses, %u balancers, %zu apps, %zu routes", c->n_listens, c->balancers,
		   c->n_apps, c->n_routes);
	for (size_t i = 0; i < c->n_apps; i++) {
		check_app(&c->apps[i]);
		FUZZ_CHECK(config_app(c, c->apps[i].name) == &c->apps[i], "two apps %s",
			   c->apps[i].name);
	}
	for (size_t i = 0; i < c->n_routes; i++)
		FUZZ_CHECK(c->routes[i].app < c->n_apps, "a route to app %u", c->routes[i].app);
	FUZZ_CHECK(c->limit_headers && c->limit_headers <= 256 && c->limit_head_bytes &&
			   c->limit_uri_bytes,
		   "limits of nothing");
	FUZZ_CHECK(c->log_format < LOG_FORMAT_MAX && c->log_level < LOG_LEVEL_MAX,
		   "a choice that does not exist");
}

static char *dump(const struct config *c, size_t *ret_n)
{
	char *text = NULL;
	FILE *f = open_memstream(&text, ret_n);

	if (!f)
		abort();
	config_dump(c, f);
	if (fclose(f))
		abort();
	return text;
}

/* Loads what was printed and prints it again. */
static char *again(const char *text, size_t n, size_t *ret_n)
{
	struct config_errors errors;

	write_file(FILE_NAME, text, n);
	struct config *c = config_load(FILE_NAME, NULL, &errors);
	FUZZ_CHECK(c, "what drover prints is refused:\n%s\n%s", errors.text, text);
	char *out = dump(c, ret_n);
	config_free(c);
	config_errors_fini(&errors);
	return out;
}

/* The same but for what stands behind the last "# " of each line: origins. */
static void check_same_values(const char *a, const char *b)
{
	while (*a && *b) {
		size_t n_a = strcspn(a, "\n"), n_b = strcspn(b, "\n");
		const char *c_a = memrchr(a, '#', n_a), *c_b = memrchr(b, '#', n_b);
		size_t v_a = c_a ? (size_t)(c_a - a) : n_a, v_b = c_b ? (size_t)(c_b - b) : n_b;
		FUZZ_CHECK(v_a == v_b && memcmp(a, b, v_a) == 0,
			   "printed, read and printed, \"%.*s\" is \"%.*s\"", (int)n_a, a, (int)n_b,
			   b);
		a += n_a + (a[n_a] != '\0');
		b += n_b + (b[n_b] != '\0');
	}
	FUZZ_CHECK(!*a && !*b, "printed, read and printed, lines are missing: \"%s\", \"%s\"", a, b);
}

static void check_printed(const struct config *c)
{
	size_t n;
	char *first = dump(c, &n);
	char *second = again(first, n, &n);
	char *third = again(second, n, &n);

	check_same_values(first, second);
	FUZZ_CHECK(strcmp(second, third) == 0, "printed twice, a config is another:\n%s\n%s",
		   second, third);
	free(first);
	free(second);
	free(third);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	static char *const command[] = { (char *)(uintptr_t) "sh", (char *)(uintptr_t) "-c",
					 (char *)(uintptr_t) "${PORT}", NULL };
	struct config_errors errors;

	boot();
	if (n-- < 1)
		return 0;
	unsigned setting = *data++;
	const struct config_overrides over = {
		.listen = setting & SET_LISTEN ? "127.0.0.1:8080" : NULL,
		.name = setting & SET_NAME ? "other" : NULL,
		.command = setting & SET_COMMAND ? command : NULL,
		.instances = setting & SET_INSTANCES ? 3 : 0,
	};
	const char *p = (const char *)data, *rest = memmem(p, n, "\n%%\n", 4);
	size_t n_file = rest ? (size_t)(rest - p) + 1 : n;
	write_file(FILE_NAME, p, n_file);
	if (rest)
		write_file("e.env", rest + 4, n - n_file - 3);
	struct config *c = config_load(FILE_NAME, &over, &errors);
	if (c) {
		FUZZ_CHECK(!errors.text && !errors.count, "accepted with errors");
		check_config(c);
		check_printed(c);
	} else {
		check_errors(&errors);
	}
	config_free(c);
	config_errors_fini(&errors);
	if (rest)
		unlink("e.env");
	return 0;
}
