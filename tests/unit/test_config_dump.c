/* balancer/config: what is printed loads again to the same; the reference and
 * the example files say what the tables say. */
#include "test_config.h"

#include "balancer/config/keys.h"
#include "balancer/config/tree.h"
#include "common/base.h"
#include "common/mem.h"

/* Ended with free(). */
static char *dump_of(const struct config *cfg)
{
	/* Static: gcc at -O3 takes the stream for one that outlives the function. */
	static char *text;
	static size_t n;
	FILE *out = open_memstream(&text, &n);

	assert_non_null(out);
	config_dump(cfg, out);
	fclose(out);
	return text;
}

/* Without comments: what a dump says, not where it was said. */
static void cut_comments(char *text)
{
	char *to = text;

	for (char *line = text; *line;) {
		char *end = strchr(line, '\n');
		char *comment = memmem(line, (size_t)(end - line), " # ", 3);
		char *stop = comment ? comment : end;

		while (stop > line && stop[-1] == ' ')
			stop--;
		memmove(to, line, (size_t)(stop - line));
		to += stop - line;
		*to++ = '\n';
		line = end + 1;
	}
	*to = '\0';
}

static char *read_file(const char *path)
{
	char *text = NULL;
	size_t n = 0;
	FILE *f = fopen(path, "r");

	if (!f)
		print_error("%s cannot be read\n", path);
	assert_non_null(f);
	assert_true(getdelim(&text, &n, '\0', f) > 0);
	fclose(f);
	return text;
}

static const char *source_file(const char *name, char buf[static 500])
{
	const char *root = getenv("DROVER_SOURCE_ROOT");

	assert_non_null(root);
	snprintf(buf, 500, "%s/%s", root, name);
	return buf;
}

/* ---- the dump ---- */

static const char rich[] =
	"listen: [ 127.0.0.1:8080, \"[::1]:81\", unix:s.sock ]\n"
	"name: shop\n"
	"user: root\n"
	"apps:\n"
	"  web:\n"
	"    command: [ sh, \"a b\", \"\", \"- x\", \"#\", \"q\\\"\\\\\", \"\\u00e4\", \"~\" ]\n"
	"    directory: /\n"
	"    env: { A: \"x: y\", B: \"\", \"1:\": \"l1\\nl2\\ttab\", C: \"\\e[1m\" }\n"
	"    instances: 3\n"
	"    ports: 20000-29999\n"
	"    stop: { signal: QUIT, drain: 1500ms }\n"
	"  unix:\n"
	"    command: sh -c true\n"
	"    bind: unix\n"
	"    user: root\n"
	"  old:\n"
	"    servers: [ 10.0.0.5:3000, \"[fd00::1]:81\", unix:/o.sock ]\n"
	"    queue: { limit: 0 }\n"
	"routes:\n"
	"  - { host: \"*.example.com\", path: /v1, app: old }\n"
	"  - { path: /u, app: unix }\n"
	"  - { app: web }\n"
	"limits: { body: 1GB, head: 17000 }\n"
	"trust: [ 10.0.0.0/8, \"fd00::/8\", unix ]\n"
	"log: { access: off, error: e.log }\n"
	"admin: { socket: a.sock, listen: \"[::1]:99\" }\n"
	"pid_file: x.pid\n";

/* Loading a dump gives the same dump, also in another folder. */
static void test_round_trip(void **state)
{
	static const char *const rows[] = {
		rich,
		"apps: { web: { command: sh } }\n",
		"apps: { web: { servers: 10.0.0.1:80 } }\ntrust: []\nlog: { error: off }\n",
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct config_errors errors;
		struct config *cfg = config_good(rows[i], NULL);
		char *first = dump_of(cfg), *second;

		config_free(cfg);
		mkdir("elsewhere", 0755);
		config_write("elsewhere/other.yaml", first, strlen(first));
		cfg = config_load("elsewhere/other.yaml", NULL, &errors);
		if (!cfg)
			print_error("%s\nis refused:\n%s", first, errors.text);
		check_row(rows[i], cfg != NULL);
		second = dump_of(cfg);
		cut_comments(first);
		cut_comments(second);
		check_row_text(rows[i], second, first);
		config_free(cfg);
		config_errors_fini(&errors);
		free(first);
		free(second);
	}
}

/* What went through a dump is the same, byte by byte. */
static void test_texts_survive(void **state)
{
	static const char *const words[] = { "sh", "a b", "", "- x", "#", "q\"\\", "\xc3\xa4", "~" };
	static const char *const env[] = { "A=x: y", "B=", "1:=l1\nl2\ttab", "C=\x1b[1m" };
	struct config *cfg = config_good(rich, NULL);
	char *text = dump_of(cfg);

	(void)state;
	config_free(cfg);
	cfg = config_good(text, NULL);
	for (size_t i = 0; i < ARRAY_LEN(words); i++)
		check_row_text(words[i], cfg->apps[0].command[i], words[i]);
	assert_null(cfg->apps[0].command[ARRAY_LEN(words)]);
	for (size_t i = 0; i < ARRAY_LEN(env); i++)
		check_row_text(env[i], cfg->apps[0].env[i], env[i]);
	assert_int_equal(cfg->limit_body_bytes, 1000000000);
	assert_int_equal(cfg->limit_head_bytes, 17000);
	config_free(cfg);
	free(text);
}

static void check_has(const char *text, const char *line)
{
	if (!strstr(text, line))
		print_error("no line \"%s\" in\n%s", line, text);
	assert_non_null(strstr(text, line));
}

static void test_origins(void **state)
{
	struct config_overrides over = { .listen = "81", .instances = 2 };
	struct config *cfg = config_good("apps:\n"
					 "  web:\n"
					 "    command: sh\n"
					 "    stop: { grace: 2s }\n"
					 "balancers: 3\n",
					 &over);
	char *text = dump_of(cfg);

	(void)state;
	check_has(text, "name: t                                     # default\n");
	check_has(text, "listen:                                     # command line\n"
			"  - 0.0.0.0:81                              # command line\n");
	check_has(text, "balancers: 3                                # t.yaml:5\n");
	check_has(text, "    command: [sh]                           # t.yaml:3\n");
	check_has(text, "    instances: 2                            # command line\n");
	check_has(text, "      grace: 2s                             # t.yaml:4\n");
	check_has(text, "      drain: 30s                            # default\n");
	check_has(text,
		  "    #ports:                                 # not set: the kernel chooses\n");
	check_has(text, "routes:                                     # default\n"
			"  - { app: web }                            # default\n");
	assert_null(strstr(text, "(auto)"));
	config_free(cfg);
	free(text);

	cfg = config_good("apps: { web: { command: sh } }\n", NULL);
	text = dump_of(cfg);
	check_has(text, "# default (auto)\n");
	config_free(cfg);
	free(text);

	config_write("e.env", "A=file\nB=file\n", 14);
	cfg = config_good("apps:\n  web:\n    command: sh\n    env:\n      A: here\n"
			  "    env_file: e.env\n",
			  NULL);
	text = dump_of(cfg);
	check_has(text, "      A: here                               # t.yaml:5\n");
	check_has(text, "      B: file                               # t.yaml:6\n");
	config_free(cfg);
	free(text);
}

/* ---- the reference ---- */

static void test_reference(void **state)
{
	char path[500], *text, *checked_in;
	size_t n;
	FILE *out = open_memstream(&text, &n);

	(void)state;
	assert_non_null(out);
	config_reference(out);
	fclose(out);
	checked_in = read_file(source_file("docs/config.md", path));
	if (strcmp(text, checked_in) != 0)
		print_error("docs/config.md is not what drover config --reference prints\n");
	assert_string_equal(text, checked_in);
	free(text);
	free(checked_in);
}

/* Whatever a reader or the reference needs stands in the row. */
static void check_table(const struct key_table *table)
{
	check_row(table->title, table->help != NULL);
	for (size_t i = 0; i < table->n; i++) {
		const struct key *key = &table->keys[i];

		check_row(key->name, key_find(table, key->name) == key);
		check_row(key->name, key->min <= key->max);
		check_row(key->name, (key->type == VALUE_CHOICE) == (key->choices != NULL));
		if (key->type == VALUE_BLOCK) {
			check_row(key->name, key->sub != NULL);
		} else {
			bool required = key->flags & KEY_REQUIRED;
			check_row(key->name, key->help != NULL);
			check_row(key->name,
				  (key->fallback != NULL) + (key->unset != NULL) + required == 1);
		}
		if (key->sub)
			check_table(key->sub);
	}
}

static void test_tables(void **state)
{
	(void)state;
	check_table(&config_keys);
}

/* ---- conf/ ---- */

static void test_examples_load(void **state)
{
	static const char *const files[] = { "conf/drover.yaml", "conf/minimal.yaml" };
	struct config_overrides over = { .worker_path = "/bin/sh" };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(files); i++) {
		struct config_errors errors;
		char path[500];
		struct config *cfg = config_load(source_file(files[i], path), &over, &errors);

		if (!cfg)
			print_error("%s", errors.text);
		check_row(files[i], cfg != NULL);
		config_free(cfg);
		config_errors_fini(&errors);
	}
}

/* "#key:" under the block that `map` is: a key that is not set. */
static bool is_commented(const char *file, const struct node *map, const char *name)
{
	char line[100];

	snprintf(line, sizeof(line), "\n%*s#%s:", (int)map->at.column - 1, "", name);
	return strstr(file, line) != NULL;
}

static void check_example(const char *file, const struct key_table *table, const struct node *map)
{
	for (size_t i = 0; i < table->n; i++) {
		const struct key *key = &table->keys[i];
		const struct node *node = tree_get(map, key->name, NULL);

		if (key->type == VALUE_BLOCK) {
			check_row(key->name, node != NULL);
			check_example(file, key->sub, node);
		} else if (key->fallback) {
			check_row(key->name, node != NULL);
			check_row_text(key->name, node->text, key->fallback);
		} else {
			check_row(key->name, (node != NULL) != is_commented(file, map, key->name));
		}
	}
}

static void test_example_is_whole(void **state)
{
	char path[500];
	char *text = read_file(source_file("conf/drover.yaml", path));
	struct report report = { .file = path, .text = text, .n = strlen(text) };
	struct tree tree;
	const struct node *web;

	(void)state;
	assert_true(yaml_read(&report, &tree));
	check_example(text, &config_keys, tree.root);
	web = tree_get(tree_get(tree.root, "apps", NULL), "web", NULL);
	assert_non_null(web);
	check_example(text, &app_keys, web);
	tree_fini(&tree);
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_round_trip),       cmocka_unit_test(test_texts_survive),
		cmocka_unit_test(test_origins),          cmocka_unit_test(test_reference),
		cmocka_unit_test(test_tables),           cmocka_unit_test(test_examples_load),
		cmocka_unit_test(test_example_is_whole),
	};

	return cmocka_run_group_tests(tests, config_setup, config_teardown);
}
