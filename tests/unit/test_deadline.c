/* balancer/proxy/deadline: order, moves between classes, what a callback may do. */
#include "lib/check.h"

#include "balancer/proxy/deadline.h"
#include "common/clock.h"

struct thing {
	char name;
	struct deadline deadline;
};

static struct deadline_class quick, slow, never;
static struct thing a = { .name = 'a' }, b = { .name = 'b' }, c = { .name = 'c' };
static char expired[32];
static size_t n_expired;

static void on_expired(struct deadline *d, void *arg)
{
	assert_ptr_equal(arg, &expired);
	assert_false(deadline_running(d));
	expired[n_expired++] = container_of(d, struct thing, deadline)->name;
	expired[n_expired] = '\0';
}

/* Begins again, in its own class; and ends another that is due as well. */
static void on_expired_busy(struct deadline *d, void *arg)
{
	on_expired(d, arg);
	deadline_start(d, &quick);
	deadline_stop(&c.deadline);
}

static const char *sweep_at(uint64_t ms)
{
	n_expired = 0;
	expired[0] = '\0';
	clock_freeze(1000000 + ms * 1000);
	deadline_sweep(&quick, &expired);
	deadline_sweep(&slow, &expired);
	deadline_sweep(&never, &expired);
	return expired;
}

static int start(void **state)
{
	(void)state;
	clock_freeze(1000000);
	deadline_class_init(&quick, 100, on_expired);
	deadline_class_init(&slow, 1000, on_expired);
	deadline_class_init(&never, 0, on_expired);
	deadline_init(&a.deadline);
	deadline_init(&b.deadline);
	deadline_init(&c.deadline);
	return 0;
}

static void test_order(void **state)
{
	(void)state;
	deadline_start(&b.deadline, &quick);
	sweep_at(10);
	deadline_start(&a.deadline, &quick);
	deadline_start(&c.deadline, &slow);
	assert_string_equal(sweep_at(99), "");
	assert_string_equal(sweep_at(100), "b");
	assert_string_equal(sweep_at(100), "");
	assert_string_equal(sweep_at(2000), "ac");
}

static void test_restart(void **state)
{
	(void)state;
	deadline_start(&a.deadline, &quick);
	deadline_start(&b.deadline, &quick);
	sweep_at(50);
	deadline_start(&a.deadline, &quick); /* now behind b */
	assert_string_equal(sweep_at(100), "b");
	assert_string_equal(sweep_at(149), "");
	assert_string_equal(sweep_at(150), "a");
}

static void test_moves(void **state)
{
	(void)state;
	deadline_start(&a.deadline, &quick);
	deadline_start(&a.deadline, &slow);
	assert_string_equal(sweep_at(999), "");
	deadline_start(&a.deadline, &quick);
	assert_string_equal(sweep_at(1000), "");
	assert_string_equal(sweep_at(1099), "a");
	deadline_start(&a.deadline, &slow);
	deadline_start(&a.deadline, &never); /* which is the same as stopping it */
	assert_false(deadline_running(&a.deadline));
	assert_string_equal(sweep_at(1000000), "");
}

static void test_stop(void **state)
{
	(void)state;
	deadline_stop(&a.deadline); /* harmless */
	deadline_start(&a.deadline, &quick);
	assert_true(deadline_running(&a.deadline));
	deadline_stop(&a.deadline);
	deadline_stop(&a.deadline);
	assert_string_equal(sweep_at(1000), "");
}

static void test_callback_acts(void **state)
{
	(void)state;
	quick.on_expired = on_expired_busy;
	deadline_start(&a.deadline, &quick);
	deadline_start(&c.deadline, &quick);
	assert_string_equal(sweep_at(100), "a");
	assert_false(deadline_running(&c.deadline));
	assert_string_equal(sweep_at(199), "");
	assert_string_equal(sweep_at(200), "a");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_order, start),
		cmocka_unit_test_setup(test_restart, start),
		cmocka_unit_test_setup(test_moves, start),
		cmocka_unit_test_setup(test_stop, start),
		cmocka_unit_test_setup(test_callback_acts, start),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
