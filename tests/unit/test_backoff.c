/* balancer/master/backoff.h: how long the successor of a process waits. */
#include "lib/check.h"

#include "balancer/master/backoff.h"
#include "common/mem.h"

#define NO_JITTER 512 /* of 0 to 1024: the middle */

static const struct backoff_rule rule = { .min_ms = 100, .max_ms = 30000, .window_ms = 60000,
					  .budget = 10 };

static const struct {
	const char *row;
	uint32_t ends;
	bool served;
	uint64_t want_ms;
} delays[] = {
	{ "first end of one that served: at once", 1, true, 0 },
	{ "second", 2, true, 100 },
	{ "third", 3, true, 200 },
	{ "fourth", 4, true, 400 },
	{ "ninth", 9, true, 12800 },
	{ "tenth, within the budget", 10, true, 25600 },
	{ "past the budget: the longest", 11, true, 30000 },
	{ "far past it", 4000000000u, true, 30000 },
	{ "first failed start", 1, false, 100 },
	{ "second failed start", 2, false, 200 },
	{ "ninth failed start", 9, false, 25600 },
	{ "tenth failed start: at most the longest", 10, false, 30000 },
	{ "failed starts past the budget", 11, false, 30000 },
};

static void test_delays(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(delays); i++)
		check_row_int(delays[i].row,
			      backoff_delay_ms(&rule, delays[i].ends, delays[i].served, NO_JITTER),
			      delays[i].want_ms);
}

static const struct {
	const char *row;
	struct backoff_rule rule;
	uint32_t ends;
	uint64_t want_ms;
} odd_rules[] = {
	{ "no budget at all", { 100, 5000, 60000, 0 }, 1, 5000 },
	{ "longest below shortest", { 1000, 200, 60000, 10 }, 2, 200 },
	{ "no wait wanted", { 0, 0, 60000, 10 }, 5, 0 },
	{ "no wait wanted, past the budget", { 0, 0, 60000, 1 }, 5, 0 },
	{ "doubling stops at the longest", { 1u << 30, 1ull << 40, 60000, 1000 }, 900, 1ull << 40 },
};

static void test_odd_rules(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(odd_rules); i++) {
		uint64_t got = backoff_delay_ms(&odd_rules[i].rule, odd_rules[i].ends, true,
						NO_JITTER);
		uint64_t off = got > odd_rules[i].want_ms ? got - odd_rules[i].want_ms
							   : odd_rules[i].want_ms - got;
		check_row(odd_rules[i].row, off <= odd_rules[i].want_ms / 100);
	}
}

static void test_service_shortens_the_wait(void **state)
{
	static const struct {
		const char *row;
		uint64_t wait_ms, served_ms, want_ms;
	} rows[] = {
		{ "never ready", 400, 0, 400 },
		{ "hardly any service: a crash loop", 400, 999, 400 },
		{ "a second of service", 400, 1000, 250 },
		{ "more than the wait is worth", 400, 60000, 400 },
		{ "a long wait", 25600, 4000, 1000 },
		{ "no wait", 0, 4000, 0 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		check_row_int(rows[i].row, backoff_earned_ms(rows[i].wait_ms, rows[i].served_ms),
			      rows[i].want_ms);
}

static void test_jitter_is_a_quarter_either_way(void **state)
{
	uint64_t least = UINT64_MAX, most = 0;

	(void)state;
	for (uint32_t random = 0; random < 5000; random++) {
		uint64_t ms = backoff_delay_ms(&rule, 6, true, random * 2654435761u);
		least = MIN(least, ms);
		most = MAX(most, ms);
	}
	assert_in_range(least, 1200, 1210);
	assert_in_range(most, 1990, 2000);
	assert_in_range(backoff_delay_ms(&rule, 6, true, UINT32_MAX), 1200, 2000);
}

#define SECOND 1000000ull

static void test_window_slides(void **state)
{
	struct backoff_history h = { .n = 0 };
	uint64_t now = 500 * SECOND;

	(void)state;
	assert_int_equal(backoff_note_end(&h, &rule, now, true), 1);
	assert_int_equal(backoff_note_end(&h, &rule, now + 20 * SECOND, true), 2);
	assert_int_equal(backoff_note_end(&h, &rule, now + 40 * SECOND, true), 3);
	assert_int_equal(backoff_ends(&h, &rule, now + 60 * SECOND), 3);
	assert_int_equal(backoff_ends(&h, &rule, now + 61 * SECOND), 2);
	assert_int_equal(backoff_note_end(&h, &rule, now + 90 * SECOND, true), 2);
	assert_int_equal(backoff_note_end(&h, &rule, now + 1000 * SECOND, true), 1);
	backoff_history_fini(&h);
}

static void test_counts_up_to_budget_and_one(void **state)
{
	struct backoff_history h = { .n = 0 };
	uint32_t ends = 0;

	(void)state;
	for (uint32_t i = 0; i < 100; i++) {
		ends = backoff_note_end(&h, &rule, 10 * SECOND + i, true);
		assert_int_equal(ends, MIN(i + 1, rule.budget + 1));
	}
	assert_true(ends > rule.budget);
	/* The newest are kept: they leave the window last. */
	assert_int_equal(backoff_ends(&h, &rule, 70 * SECOND + 95), 5);
	backoff_history_fini(&h);
}

static void test_budget_may_shrink_by_a_reload(void **state)
{
	struct backoff_rule small = rule;
	struct backoff_history h = { .n = 0 };

	(void)state;
	for (uint32_t i = 0; i < 11; i++)
		backoff_note_end(&h, &rule, SECOND + i, true);
	small.budget = 2;
	assert_int_equal(backoff_note_end(&h, &small, SECOND + 50, true), 3);
	small.budget = 0;
	assert_int_equal(backoff_note_end(&h, &small, SECOND + 51, true), 1);
	backoff_history_fini(&h);
}

static void test_failed_starts_in_a_row(void **state)
{
	struct backoff_history h = { .n = 0 };

	(void)state;
	backoff_note_end(&h, &rule, SECOND, false);
	backoff_note_end(&h, &rule, 2 * SECOND, false);
	assert_int_equal(h.failed_starts, 2);
	backoff_note_end(&h, &rule, 3 * SECOND, true);
	assert_int_equal(h.failed_starts, 0);
	backoff_history_fini(&h);
	assert_int_equal(backoff_ends(&h, &rule, 4 * SECOND), 0);
}

static const struct {
	const char *row;
	uint32_t ends;
	bool served;
	uint64_t want_ms;
} own[] = {
	{ "killed once", 1, true, 0 },
	{ "killed five times in ten seconds", 5, true, 0 },
	{ "and once more", 6, true, 100 },
	{ "and again", 7, true, 200 },
	{ "for ever", 60, true, 5000 },
	{ "never ready", 1, false, 100 },
	{ "never ready, again", 2, false, 200 },
};

static void test_own_processes(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(own); i++)
		check_row_int(own[i].row,
			      backoff_own_delay_ms(own[i].ends, own[i].served, NO_JITTER),
			      own[i].want_ms);
}

static void test_without_memory(void **state)
{
	struct backoff_history h = { .n = 0 };

	(void)state;
	mem_fault_at(1);
	assert_int_equal(backoff_note_end(&h, &rule, SECOND, true), 1);
	assert_true(mem_fault_hit());
	mem_fault_at(0);
	for (uint32_t i = 0; i < 8; i++)
		backoff_note_end(&h, &rule, 2 * SECOND + i, true);
	mem_fault_at(1); /* no room for a ninth: the oldest makes room */
	assert_int_equal(backoff_note_end(&h, &rule, 3 * SECOND, true), 8);
	assert_true(mem_fault_hit());
	mem_fault_at(0);
	assert_int_equal(h.ends_us[h.n - 1], 3 * SECOND);
	backoff_history_fini(&h);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_delays),
		cmocka_unit_test(test_service_shortens_the_wait),
		cmocka_unit_test(test_odd_rules),
		cmocka_unit_test(test_jitter_is_a_quarter_either_way),
		cmocka_unit_test(test_window_slides),
		cmocka_unit_test(test_counts_up_to_budget_and_one),
		cmocka_unit_test(test_budget_may_shrink_by_a_reload),
		cmocka_unit_test(test_failed_starts_in_a_row),
		cmocka_unit_test(test_own_processes),
		cmocka_unit_test(test_without_memory),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
