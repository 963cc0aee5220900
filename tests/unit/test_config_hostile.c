/* balancer/config: files that are meant to hurt, and how soon they are refused. */
#include "test_config.h"

#include <stdint.h>
#include <time.h>

#include "common/base.h"
#include "common/mem.h"

static uint64_t cpu_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* Repeats `part` until `n` bytes are full. */
static char *filled(const char *head, const char *part, size_t n)
{
	char *text = mem_must_alloc(n + 1);
	size_t at = strlen(head), step = strlen(part);

	memcpy(text, head, at);
	for (; at + step <= n; at += step)
		memcpy(text + at, part, step);
	return text;
}

static void test_hostile(void **state)
{
	static const struct {
		const char *head, *part;
		size_t n;
		const char *error; /* the beginning of the first line */
	} rows[] = {
		{ "", "[", 200000, "t.yaml:1:65: nested deeper than 64 levels\n" },
		{ "", "{a: ", 200000, "t.yaml:1:257: nested deeper than 64 levels\n" },
		{ "", "- ", 200000, "t.yaml:1:129: nested deeper than 64 levels\n" },
		{ "", "? ", 200000, "t.yaml:1:3: a key must be a word, not a list or a map\n" },
		{ "", "a", 1048577, "t.yaml: is larger than 1 MiB\n" },
		{ "", "a", 1048576, "t.yaml:1:1: expected keys such as listen and apps" },
		{ "trust: [", "1,", 1048000, "t.yaml:1:131075: more than 65536 values in one file" },
		{ "trust:\n", "- 1\n", 200000, "t.yaml: apps is missing\n" },
		{ "", "#\n", 1048576, "t.yaml: apps is missing\n" },
		{ "a: \"", "\\n", 1000000, "t.yaml:1:1000001: not valid YAML" },
		{ "a: |\n", " x\n", 1000000, "t.yaml: apps is missing\n" },
		{ "", "a: 1\n", 150000, "t.yaml:2:1: duplicate key" },
		{ "", "&a ", 200000, "t.yaml:1:4: not valid YAML" },
		{ "", "!a ", 200000, "t.yaml:1:1: tag \"!a\"" },
		{ "a: [", "&a b,", 200000, "t.yaml:1:1285: more than 256 anchors in one file\n" },
		{ "", "\n", 1048576, "t.yaml: apps is missing\n" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct config_errors errors;
		char *text = filled(rows[i].head, rows[i].part, rows[i].n);
		uint64_t before = cpu_ms();
		struct config *cfg = config_of(text, strlen(text), NULL, &errors);

		check_row(rows[i].part, cfg == NULL);
		check_row(rows[i].part, cpu_ms() - before < 2000);
		if (strncmp(errors.text, rows[i].error, strlen(rows[i].error)) != 0)
			check_row_text(rows[i].part, errors.text, rows[i].error);
		config_errors_fini(&errors);
		mem_free(text);
	}
}

/* 60000 different keys, all of them unknown. */
static void test_many_keys(void **state)
{
	struct config_errors errors;
	size_t used = 0;
	char *text = mem_must_alloc(1048576);
	uint64_t before;

	(void)state;
	for (int i = 0; i < 32000; i++)
		used += (size_t)sprintf(text + used, "listen%d: 1\n", i);
	before = cpu_ms();
	assert_null(config_of(text, used, NULL, &errors));
	assert_true(cpu_ms() - before < 2000);
	assert_int_equal(errors.count, 32001);
	assert_non_null(strstr(errors.text, "\nand 31981 more errors\n"));
	config_errors_fini(&errors);
	mem_free(text);
}

/* Each line stands for ten of the one before: a file of 300 bytes that would
 * mean ten billion values. */
static void test_alias_bomb(void **state)
{
	struct config_errors errors;
	char text[2000] = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n";

	(void)state;
	for (int i = 1; i < 10; i++) {
		sprintf(text + strlen(text), "a%d: &a%d [", i, i);
		for (int j = 0; j < 10; j++)
			sprintf(text + strlen(text), "*a%d,", i - 1);
		strcat(text, "]\n");
	}
	uint64_t before = cpu_ms();
	assert_null(config_of(text, strlen(text), NULL, &errors));
	assert_true(cpu_ms() - before < 500);
	assert_non_null(strstr(errors.text, "more than 65536 values in one file, counting what "
					    "aliases repeat\n"));
	config_errors_fini(&errors);

	/* The same with merged maps. */
	strcpy(text, "a0: &a0 { k: [x,x,x,x,x,x,x,x,x,x,x,x,x,x,x,x,x,x] }\nb: [");
	for (int i = 0; i < 60; i++)
		strcat(text, "{<<: *a0},");
	strcat(text, "]\n");
	assert_null(config_of(text, strlen(text), NULL, &errors));
	assert_null(strstr(errors.text, "more than"));
	config_errors_fini(&errors);
}

/* Bytes that no editor writes. */
static void test_nul_bytes(void **state)
{
	struct config_errors errors;
	static const char text[] = APP "name: a\0b\n";

	(void)state;
	assert_null(config_of(text, sizeof(text) - 1, NULL, &errors));
	assert_string_equal(errors.text, "t.yaml:2:8: character U+0000 is not allowed\n"
					 "  name: a\\x00b\n"
					 "         ^~~~\n"
					 "  in double quotes it can be written as \"\\u0000\"\n");
	config_errors_fini(&errors);
}

/* Every beginning of a good file: refused or loaded, never worse. */
static void test_cut_anywhere(void **state)
{
	static const char text[] = "listen: [ 8080, { address: \"[::1]:81\" } ]\n"
				   "apps:\n"
				   "  web: &w\n"
				   "    command: 'sh -c \"x\"'\n"
				   "    env: { A: \"\\u00e4\", B: |\n    }\n";
	struct config_errors errors;

	(void)state;
	for (size_t n = 0; n < sizeof(text); n++) {
		struct config *cfg = config_of(text, n, NULL, &errors);
		assert_int_equal(cfg == NULL, errors.count > 0);
		config_free(cfg);
		config_errors_fini(&errors);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_hostile),
		cmocka_unit_test(test_many_keys),
		cmocka_unit_test(test_alias_bomb),
		cmocka_unit_test(test_nul_bytes),
		cmocka_unit_test(test_cut_anywhere),
	};

	return cmocka_run_group_tests(tests, config_setup, config_teardown);
}
