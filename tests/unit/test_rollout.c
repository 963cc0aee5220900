/* Verdicts on releases and reloads: each number finds its own, none is given twice. */
#include "lib/check.h"

#include <string.h>

#include "balancer/master/rollout.h"
#include "common/mem.h"

static char *text(const char *s)
{
	char *copy = mem_alloc(strlen(s) + 1);

	assert_non_null(copy);
	return strcpy(copy, s);
}

static enum rollout_state state_of(const struct rollouts *r, uint32_t number)
{
	const struct rollout *one = rollouts_find(r, number);

	return one ? one->state : ROLLOUT_STATE_MAX;
}

static void test_nothing_yet(void **state)
{
	struct rollouts r = { .n = 0 };

	(void)state;
	assert_int_equal(rollouts_latest(&r)->state, ROLLOUT_NONE);
	assert_int_equal(rollouts_latest(&r)->number, 0);
	assert_null(rollouts_find(&r, 0));
	assert_null(rollouts_find(&r, 1));
	rollouts_done(&r, 1, 5);
	rollouts_fail(&r, 1, 5, 0, "why", text("taken all the same\n"));
	assert_int_equal(rollouts_latest(&r)->state, ROLLOUT_NONE);
	rollouts_fini(&r);
}

static void test_each_has_its_own(void **state)
{
	struct rollouts r = { .n = 0 };

	(void)state;
	for (uint32_t i = 1; i <= 3; i++)
		rollouts_begin(&r, i, 10 + i, i);
	rollouts_fail(&r, 2, 20, 1, "worker 0 (pid 7) ended", text("no database\n"));
	rollouts_supersede(&r, 1, 21);
	assert_int_equal(state_of(&r, 1), ROLLOUT_SUPERSEDED);
	assert_int_equal(state_of(&r, 3), ROLLOUT_RUNNING);
	const struct rollout *bad = rollouts_find(&r, 2);
	assert_int_equal(bad->state, ROLLOUT_FAILED);
	assert_int_equal(bad->reload, 12);
	assert_int_equal(bad->kept, 1);
	assert_int_equal(bad->ended_us, 20);
	assert_string_equal(bad->reason, "worker 0 (pid 7) ended");
	assert_string_equal(bad->lines, "no database\n");
	rollouts_done(&r, 3, 22);
	assert_int_equal(rollouts_latest(&r)->state, ROLLOUT_DONE);
	rollouts_fini(&r);
}

static void test_a_verdict_stays(void **state)
{
	struct rollouts r = { .n = 0 };

	(void)state;
	rollouts_begin(&r, 1, 0, 1);
	rollouts_done(&r, 1, 2);
	rollouts_fail(&r, 1, 3, 0, "too late", text("x\n"));
	rollouts_supersede(&r, 1, 4);
	assert_int_equal(state_of(&r, 1), ROLLOUT_DONE);
	assert_int_equal(rollouts_latest(&r)->ended_us, 2);
	/* The only way on: what had failed was tried again, and came. */
	rollouts_begin(&r, 2, 0, 5);
	rollouts_fail(&r, 2, 6, 0, "first", text("first\n"));
	rollouts_fail(&r, 2, 7, 0, "second", NULL);
	assert_string_equal(rollouts_latest(&r)->reason, "first");
	rollouts_supersede(&r, 2, 8);
	assert_int_equal(state_of(&r, 2), ROLLOUT_FAILED);
	rollouts_done(&r, 2, 9);
	assert_int_equal(state_of(&r, 2), ROLLOUT_DONE);
	assert_string_equal(rollouts_latest(&r)->reason, "");
	assert_null(rollouts_latest(&r)->lines);
	rollouts_fini(&r);
}

static void test_only_the_latest_are_kept(void **state)
{
	struct rollouts r = { .n = 0 };

	(void)state;
	for (uint32_t i = 1; i <= 3 * ROLLOUTS_KEPT; i++) {
		rollouts_begin(&r, i, 0, i);
		rollouts_fail(&r, i, i, 0, "no", text("lines\n"));
	}
	assert_null(rollouts_find(&r, 2 * ROLLOUTS_KEPT));
	for (uint32_t i = 2 * ROLLOUTS_KEPT + 1; i <= 3 * ROLLOUTS_KEPT; i++)
		assert_int_equal(state_of(&r, i), ROLLOUT_FAILED);
	assert_int_equal(rollouts_latest(&r)->number, 3 * ROLLOUTS_KEPT);
	rollouts_fini(&r);
}

static void test_reasons_are_bounded(void **state)
{
	struct rollouts r = { .n = 0 };
	char reason[2 * ROLLOUT_REASON_MAX];

	(void)state;
	memset(reason, 'x', sizeof(reason) - 1);
	reason[sizeof(reason) - 1] = '\0';
	rollouts_begin(&r, 1, 0, 1);
	rollouts_fail(&r, 1, 2, 0, reason, NULL);
	assert_int_equal(strlen(rollouts_latest(&r)->reason), ROLLOUT_REASON_MAX - 1);
	rollouts_fini(&r);
}

static void test_states_have_texts(void **state)
{
	(void)state;
	assert_string_equal(rollout_state_text(ROLLOUT_SUPERSEDED), "superseded");
	assert_string_equal(rollout_state_text(ROLLOUT_NONE), "none");
	assert_string_equal(rollout_state_text((enum rollout_state)99), "?");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_nothing_yet),
		cmocka_unit_test(test_each_has_its_own),
		cmocka_unit_test(test_a_verdict_stays),
		cmocka_unit_test(test_only_the_latest_are_kept),
		cmocka_unit_test(test_reasons_are_bounded),
		cmocka_unit_test(test_states_have_texts),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
