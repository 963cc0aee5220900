/* What the tests of config/ share: a folder of their own as the current one, and
 * configs loaded from text. */
#ifndef DROVER_TESTS_UNIT_TEST_CONFIG_H
#define DROVER_TESTS_UNIT_TEST_CONFIG_H

#include "lib/check.h"
#include "lib/process.h"

#include "balancer/config/config.h"

static char config_folder[128];

static inline int config_setup(void **state)
{
	(void)state;
	return scratch_new(config_folder) && chdir(config_folder) == 0 ? 0 : -1;
}

static inline int config_teardown(void **state)
{
	(void)state;
	scratch_remove(config_folder);
	return chdir("/");
}

/* Writes `n` bytes to a file in the folder. */
static inline void config_write(const char *name, const char *text, size_t n)
{
	FILE *f = fopen(name, "w");

	assert_non_null(f);
	assert_int_equal(fwrite(text, 1, n, f), n);
	assert_int_equal(fclose(f), 0);
}

/* Loads `text` as the file t.yaml. */
static inline struct config *config_of(const char *text, size_t n,
				       const struct config_overrides *over,
				       struct config_errors *ret_errors)
{
	config_write("t.yaml", text, n);
	return config_load("t.yaml", over, ret_errors);
}

/* The same, of text that must be good. */
static inline struct config *config_good(const char *text, const struct config_overrides *over)
{
	struct config_errors errors;
	struct config *cfg = config_of(text, strlen(text), over, &errors);

	if (!cfg)
		print_error("%s\nis refused:\n%s", text, errors.text);
	assert_non_null(cfg);
	assert_null(errors.text);
	assert_int_equal(errors.count, 0);
	config_errors_fini(&errors);
	return cfg;
}

#define APP "apps: { web: { command: sh } }\n"

/* A file, and all that is said of it. */
struct refused {
	const char *file, *errors;
};

static inline void check_refused(const struct refused *rows, size_t n,
				 const struct config_overrides *over)
{
	for (size_t i = 0; i < n; i++) {
		struct config_errors errors;
		struct config *cfg =
			config_of(rows[i].file, strlen(rows[i].file), over, &errors);
		check_row(rows[i].file, cfg == NULL);
		check_row(rows[i].file, errors.count > 0);
		check_row_text(rows[i].file, errors.text, rows[i].errors);
		config_errors_fini(&errors);
		assert_null(errors.text);
	}
}

#endif
