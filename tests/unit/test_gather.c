/* When a balancer pauses to let events gather. */
#include "lib/check.h"

#include "balancer/proxy/gather.h"

/* `n` turns of `events` events, `work_us` each, `wait_us` between; the last answer. */
static bool run(struct gather *g, uint64_t *now_us, unsigned n, unsigned events, uint64_t work_us,
		uint64_t wait_us)
{
	bool wants = false;
	for (unsigned i = 0; i < n; i++) {
		*now_us += wait_us;
		wants = gather_wants_pause(g, events, *now_us, *now_us + work_us);
		*now_us += work_us;
	}
	return wants;
}

static void test_idle_never(void **state)
{
	(void)state;
	struct gather g = { 0 };
	uint64_t now = 1000000;
	/* One request each 200 us, 20 us of work: a tenth. */
	for (int i = 0; i < 10000; i++)
		assert_false(run(&g, &now, 1, 1, 20, 180));
}

static void test_first_request_after_silence(void **state)
{
	(void)state;
	struct gather g = { 0 };
	uint64_t now = 1000000;
	/* A long turn out of nowhere says nothing about load. */
	assert_false(run(&g, &now, 1, 1, 900, 3000000));
	assert_false(run(&g, &now, 1, 1, 20, 100));
}

static void test_busy(void **state)
{
	(void)state;
	struct gather g = { 0 };
	uint64_t now = 1000000;
	assert_true(run(&g, &now, 1000, 2, 20, 15));
	/* Goes on when the pauses themselves have made it less busy ... */
	assert_true(run(&g, &now, 1000, 8, 80, 240));
	/* ... until there is little left to do. */
	assert_false(run(&g, &now, 1000, 1, 10, 190));
}

static void test_full_turns(void **state)
{
	(void)state;
	struct gather g = { 0 };
	uint64_t now = 1000000;
	assert_true(run(&g, &now, 1000, 2, 20, 15));
	assert_false(run(&g, &now, 1, GATHER_EVENTS, 500, 0));
	assert_false(run(&g, &now, 1, 4, GATHER_TURN_US, 0));
	assert_true(run(&g, &now, 1, 4, 40, 0));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_idle_never),
		cmocka_unit_test(test_first_request_after_silence),
		cmocka_unit_test(test_busy),
		cmocka_unit_test(test_full_turns),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
