/* common/clock.c: one reading per turn, and the frozen clock of other tests. */
#include "lib/check.h"

#include <time.h>

#include "common/clock.h"

static uint64_t real_now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000u + (uint64_t)t.tv_nsec / 1000u;
}

/* Must run first: nobody has called clock_update() yet. */
static void test_reads_itself_when_never_updated(void **state)
{
	(void)state;
	uint64_t before = real_now_us();
	uint64_t now = clock_now_us();

	assert_in_range(now, before, real_now_us());
	assert_true(clock_wall().tv_sec >= time(NULL) - 1);
}

static void test_stands_still_within_a_turn(void **state)
{
	(void)state;
	clock_update();
	uint64_t first = clock_now_us();
	uint64_t until = real_now_us() + 2000;

	while (real_now_us() < until)
		;
	assert_int_equal(clock_now_us(), first);
	clock_update();
	assert_true(clock_now_us() >= first + 2000);
}

static void test_wall_is_now(void **state)
{
	struct timespec real;

	(void)state;
	clock_update();
	clock_gettime(CLOCK_REALTIME, &real);
	assert_in_range(clock_wall().tv_sec, real.tv_sec - 1, real.tv_sec);
	assert_in_range(clock_wall().tv_nsec, 0, 999999999);
}

static void test_freeze(void **state)
{
	(void)state;
	clock_freeze(5);
	assert_int_equal(clock_now_us(), 5);
	clock_update();
	assert_int_equal(clock_now_us(), 5);
	clock_freeze(70000000);
	assert_int_equal(clock_now_us(), 70000000);
	uint64_t before = real_now_us();
	clock_freeze(0);
	assert_in_range(clock_now_us(), before, real_now_us());
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_reads_itself_when_never_updated),
		cmocka_unit_test(test_stands_still_within_a_turn),
		cmocka_unit_test(test_wall_is_now),
		cmocka_unit_test(test_freeze),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
