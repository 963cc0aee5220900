/* balancer/master/vitals.h, health.h, sample.h: what is concluded from a worker's numbers. */
#include "lib/check.h"

#include <string.h>
#include <unistd.h>

#include "balancer/master/health.h"
#include "balancer/master/sample.h"
#include "balancer/master/vitals.h"

/* ---- recycling ---------------------------------------------------------- */

static void test_jitter_only_lowers(void **state)
{
	const struct cfg_app conf = { .recycle_memory_bytes = 1000,
				      .recycle_requests = 1000,
				      .recycle_age_ms = 100000 };
	uint64_t least = UINT64_MAX, most = 0;

	(void)state;
	for (uint32_t random = 0; random < 5000; random++) {
		struct vitals_limits l = vitals_limits(&conf, random);
		assert_int_equal(l.memory_bytes, 1000);
		assert_in_range(l.requests, 900, 1000);
		assert_in_range(l.age_ms, 90000, 100000);
		least = MIN(least, l.requests);
		most = MAX(most, l.requests);
	}
	assert_int_equal(least, 900);
	assert_int_equal(most, 1000);
}

static void test_never_stays_never(void **state)
{
	const struct cfg_app off = { .recycle_requests = 0 }, one = { .recycle_requests = 1 };

	(void)state;
	for (uint32_t random = 0; random < 2000; random++) {
		struct vitals_limits l = vitals_limits(&off, random);
		assert_null(vitals_due(&l, UINT64_MAX, UINT64_MAX, UINT64_MAX));
		assert_int_equal(vitals_limits(&one, random).requests, 1);
	}
}

static void test_due(void **state)
{
	static const struct {
		uint64_t memory, requests, age;
		const char *due;
	} rows[] = {
		{ 100, 9, 999, NULL }, { 101, 9, 999, "memory" },   { 0, 10, 0, "requests" },
		{ 0, 0, 1000, "age" }, { 101, 10, 1000, "memory" }, { 0, 0, 0, NULL },
	};
	const struct vitals_limits l = { .memory_bytes = 100, .requests = 10, .age_ms = 1000 };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		const char *due = vitals_due(&l, rows[i].memory, rows[i].requests, rows[i].age);
		if (rows[i].due)
			assert_string_equal(due, rows[i].due);
		else
			assert_null(due);
	}
}

/* ---- hanging ------------------------------------------------------------ */

static void test_hangs(void **state)
{
	/* One look after the other at the sums of a worker. */
	static const struct {
		uint64_t replies, timeouts;
		bool hangs;
	} looks[] = {
		{ 5, 7, false },                    /* the slot's history does not count */
		{ 5, 9, false },  { 6, 10, false }, /* a reply between them */
		{ 6, 12, false }, { 6, 13, true },  { 6, 14, true },
		{ 7, 15, false },                   /* it was slow after all */
		{ 7, 17, false }, { 2, 17, false }, /* a balancer ended, and took its counts along */
		{ 2, 19, false }, { 2, 4, false },  { 2, 7, true },
	};
	struct vitals_silence s = { .begun = false };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(looks); i++) {
		if (vitals_hangs(&s, looks[i].replies, looks[i].timeouts) != looks[i].hangs)
			fail_msg("look %zu", i);
	}
}

/* ---- health ------------------------------------------------------------- */

static void test_health(void **state)
{
	/* g: a good probe, b: a bad one; beside each the news: . none, P passed, F fell, R rose.
	 * fall 3, rise 2. */
	static const char *const rows[][2] = {
		{ "gg", ".P" },
		{ "bbbbbgg", "......P" },
		{ "gbgg", "...P" },
		{ "ggbbgbbb", ".P.....F" },
		{ "ggbbbbgbgg", ".P..F....R" },
		{ "ggbbbggbbb", ".P..F.R..F" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct health_row row = { .good = 0 };
		for (size_t k = 0; rows[i][0][k]; k++) {
			enum health_news news = health_note(&row, rows[i][0][k] == 'g', 3, 2);
			if (".PFR"[news] != rows[i][1][k])
				fail_msg("row %zu, probe %zu: %c", i, k, ".PFR"[news]);
		}
	}
}

/* ---- /proc -------------------------------------------------------------- */

static void test_parse_stat(void **state)
{
	static const struct {
		const char *text;
		bool good;
		char state;
		pid_t group;
		uint64_t ticks;
	} rows[] = {
		{ "7 (node) S 1 42 42 0 -1 4194304 1 2 3 4 100 20 0 0 20 0 1 0 5 6 7\n", true, 'S',
		  42, 120 },
		{ "7 (a) R (b) D 1 42 9 34816 -1 0 1 2 3 4 5 6", true, 'D', 42, 11 },
		{ "7 () Z 1 2 3 4 5 6 7 8 9 10 11 12 13", true, 'Z', 2, 23 },
		{ "7 (short) S 1 2 3", false, 0, 0, 0 },
		{ "7 (bad) S 1 two 3 4 5 6 7 8 9 10 11 12", false, 0, 0, 0 },
		{ "7 (end)", false, 0, 0, 0 },
		{ "", false, 0, 0, 0 },
		{ ")", false, 0, 0, 0 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct sample_stat s = { .state = 0 };
		bool good =
			sample_parse_stat((struct slice){ rows[i].text, strlen(rows[i].text) }, &s);
		check_row_int(rows[i].text, good, rows[i].good);
		check_row_int(rows[i].text, s.state, rows[i].state);
		check_row_int(rows[i].text, s.group, rows[i].group);
		check_row_int(rows[i].text, (long)s.cpu_ticks, (long)rows[i].ticks);
	}
}

static void test_ourselves(void **state)
{
	struct sample_stat s;
	char wchan[SAMPLE_WCHAN_MAX];

	(void)state;
	assert_true(sample_stat(getpid(), &s));
	assert_int_equal(s.state, 'R');
	assert_int_equal(s.group, getpgrp());
	assert_in_range(sample_memory(getpid()), 100 * 1024, 1ull << 40);
	assert_non_null(sample_wchan(getpid(), wchan));
	assert_false(sample_stat(0x3fffffff, &s));
	assert_int_equal(sample_memory(0x3fffffff), 0);
	assert_string_equal(sample_wchan(0x3fffffff, wchan), "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_jitter_only_lowers),
		cmocka_unit_test(test_never_stays_never),
		cmocka_unit_test(test_due),
		cmocka_unit_test(test_hangs),
		cmocka_unit_test(test_health),
		cmocka_unit_test(test_parse_stat),
		cmocka_unit_test(test_ourselves),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
