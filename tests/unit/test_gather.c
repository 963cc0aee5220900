/* When a balancer pauses to let events gather. */
#include "lib/check.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "balancer/proxy/gather.h"

/* As the kernel would say it, `queued_us` in all. */
static void say_queued(const struct gather *g, uint64_t queued_us)
{
	char text[64];
	int n = snprintf(text, sizeof(text), "123456789 %llu000 42\n", (unsigned long long)queued_us);
	assert_int_equal(ftruncate(g->fd, 0), 0);
	assert_int_equal(pwrite(g->fd, text, (size_t)n, 0), n);
}

static struct gather alone(void)
{
	struct gather g = { .fd = memfd_create("schedstat", MFD_CLOEXEC) };
	assert_true(g.fd >= 0);
	say_queued(&g, 7000000);
	return g;
}

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
	struct gather g = alone();
	uint64_t now = 1000000;
	/* One request each 200 us, 20 us of work: a tenth. */
	for (int i = 0; i < 10000; i++)
		assert_false(run(&g, &now, 1, 1, 20, 180));
	gather_stop(&g);
}

static void test_first_request_after_silence(void **state)
{
	(void)state;
	struct gather g = alone();
	uint64_t now = 1000000;
	/* A long turn out of nowhere says nothing about load. */
	assert_false(run(&g, &now, 1, 1, 900, 3000000));
	assert_false(run(&g, &now, 1, 1, 20, 100));
	gather_stop(&g);
}

static void test_busy(void **state)
{
	(void)state;
	struct gather g = alone();
	uint64_t now = 1000000;
	assert_true(run(&g, &now, 1000, 2, 20, 15));
	/* Goes on when the pauses themselves have made it less busy ... */
	assert_true(run(&g, &now, 1000, 8, 80, 240));
	/* ... until there is little left to do. */
	assert_false(run(&g, &now, 1000, 1, 10, 190));
	gather_stop(&g);
}

static void test_full_turns(void **state)
{
	(void)state;
	struct gather g = alone();
	uint64_t now = 1000000;
	assert_true(run(&g, &now, 1000, 2, 20, 15));
	assert_false(run(&g, &now, 1, GATHER_EVENTS, 500, 0));
	assert_false(run(&g, &now, 1, 4, GATHER_TURN_US, 0));
	assert_true(run(&g, &now, 1, 4, 40, 0));
	gather_stop(&g);
}

/* A busy balancer that waits `percent` of the time for a processor, for 50 ms. */
static bool crowded(struct gather *g, uint64_t *now_us, uint64_t *queued_us, unsigned percent)
{
	bool wants = false;
	for (int i = 0; i < 50; i++) {
		*queued_us += 10 * percent;
		say_queued(g, *queued_us);
		wants = run(g, now_us, 10, 2, 80, 20);
	}
	return wants;
}

static void test_crowded(void **state)
{
	(void)state;
	struct gather g = alone();
	uint64_t now = 1000000, queued = 7000000;
	assert_true(crowded(&g, &now, &queued, 2));
	assert_true(crowded(&g, &now, &queued, GATHER_CROWDED_PERCENT - 2));
	assert_false(crowded(&g, &now, &queued, GATHER_CROWDED_PERCENT + 2));
	assert_false(crowded(&g, &now, &queued, GATHER_ALONE_PERCENT + 2));
	assert_true(crowded(&g, &now, &queued, 2));
	gather_stop(&g);
}

static void test_kernel_does_not_tell(void **state)
{
	(void)state;
	struct gather g = { .fd = -1 };
	uint64_t now = 1000000;
	assert_false(run(&g, &now, 1000, 2, 20, 15));
}

static void test_kernel_tells(void **state)
{
	(void)state;
	struct gather g = { 0 };
	uint64_t now = 1000000;
	gather_start(&g, open("/proc/self/schedstat", O_RDONLY | O_CLOEXEC));
	run(&g, &now, 1000, 2, 20, 15);
	assert_true(g.queued_ns > 0);
	gather_stop(&g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_idle_never),
		cmocka_unit_test(test_first_request_after_silence),
		cmocka_unit_test(test_busy),
		cmocka_unit_test(test_full_turns),
		cmocka_unit_test(test_crowded),
		cmocka_unit_test(test_kernel_does_not_tell),
		cmocka_unit_test(test_kernel_tells),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
