/* balancer/proxy/pick: exact rotation over rebuilds, suspects, the roster's changes,
 * cold joiners. */
#include "lib/check.h"

#include <stdlib.h>

#include "balancer/proxy/pick.h"
#include "common/clock.h"

#define APP 7
#define OTHER_APP 8
#define T0 1000000000u

static struct roster *roster;
static struct tally *tally;
static struct cfg_app app_cfg;
static struct config config;
static struct proxy_heritage heritage;
static struct proxy proxy;
static struct app_state *app;
static uint64_t next_epoch;
static const struct pick_tried nobody;

static int boot(void **state)
{
	int fd;

	(void)state;
	return roster_create(&fd, &roster) || tally_create(&fd, &tally) ? -1 : 0;
}

/* A roster of `n` workers, all UP, in slots 0, 2, 4 ... of which another app has the
 * odd ones. */
static void fill(uint32_t n)
{
	roster_begin(roster);
	roster->n_apps = 1;
	roster->apps[0] = (struct roster_app){ .id = APP };
	for (uint32_t i = 0; i < 2 * n; i++)
		roster->slots[i] = (struct roster_slot){ .epoch = next_epoch++, .state = WORKER_UP,
							 .app_id = i % 2 ? OTHER_APP : APP,
							 .up_since_us = T0 - 60000000u };
	roster->n_slots = 2 * n;
	roster_end(roster);
}

static void begin(uint32_t n)
{
	clock_freeze(T0);
	next_epoch = 1;
	fill(n);
	app_cfg = (struct cfg_app){ .id = APP, .idle_connection_ms = 1000 };
	config = (struct config){ .apps = &app_cfg, .n_apps = 1 };
	heritage = (struct proxy_heritage){ .config = &config, .roster = roster };
	proxy = (struct proxy){ .config = &config, .heritage = &heritage, .row = &tally->rows[0] };
	memset(&tally->rows[0], 0, sizeof(tally->rows[0]));
	assert_int_equal(pick_start(&proxy), ERR_OK);
	app = &proxy.apps[0];
}

static void end(void)
{
	pick_stop(&proxy);
}

static void set_state(uint32_t slot, uint32_t state)
{
	roster_begin(roster);
	roster->slots[slot].state = state;
	roster_end(roster);
	assert_true(pick_follow_roster(&proxy));
}

static void replace(uint32_t slot)
{
	roster_begin(roster);
	roster->slots[slot].epoch = next_epoch++;
	roster->slots[slot].state = WORKER_UP;
	roster->slots[slot].up_since_us = clock_now_us();
	roster_end(roster);
	assert_true(pick_follow_roster(&proxy));
}

static uint32_t next(void)
{
	return pick_next(&proxy, app, &nobody, false);
}

static void later(uint64_t ms)
{
	clock_freeze(clock_now_us() + ms * 1000);
}

static void test_rotation(void **state)
{
	(void)state;
	for (uint32_t n = 1; n <= 5; n++) {
		begin(n);
		for (uint32_t i = 0; i < 3 * n; i++)
			assert_int_equal(next(), i % n * 2);
		end();
	}
	begin(0);
	assert_int_equal(next(), PICK_NONE);
	end();
}

/* Whatever changes are told of, workers that stay get equal shares, give or take one. */
static void test_exact_over_rebuilds(void **state)
{
	uint32_t got[ROSTER_SLOTS] = { 0 };

	(void)state;
	begin(7);
	srand(2);
	for (int i = 0; i < 7 * 100; i++) {
		uint32_t slot = next();
		assert_true(slot < ROSTER_SLOTS && slot % 2 == 0);
		got[slot]++;
		if (rand() % 3 == 0)
			set_state(1, rand() % 2 ? WORKER_UP : WORKER_DOWN); /* the other app's affairs */
	}
	for (uint32_t slot = 0; slot < 14; slot += 2)
		assert_int_equal(got[slot], 100);
	end();
}

static void test_leaving_and_joining(void **state)
{
	(void)state;
	begin(4); /* slots 0 2 4 6 */
	assert_int_equal(next(), 0);
	assert_int_equal(next(), 2);
	set_state(2, WORKER_DRAINING); /* the one picked last: the next one is still 4 */
	assert_int_equal(next(), 4);
	set_state(6, WORKER_STOPPING); /* the one due: round to the first */
	assert_int_equal(next(), 0);
	set_state(2, WORKER_UP); /* back, and behind 0 */
	assert_int_equal(next(), 2);
	set_state(6, WORKER_UP);
	assert_int_equal(next(), 4);
	assert_int_equal(next(), 6);
	set_state(0, WORKER_DOWN);
	set_state(2, WORKER_DOWN);
	set_state(4, WORKER_DOWN);
	assert_int_equal(next(), 6);
	assert_int_equal(next(), 6);
	set_state(6, WORKER_DOWN);
	assert_int_equal(next(), PICK_NONE);
	set_state(4, WORKER_UP);
	assert_int_equal(next(), 4);
	end();
}

static void test_states(void **state)
{
	(void)state;
	for (uint32_t s = 0; s < WORKER_STATE_MAX; s++) {
		begin(1);
		set_state(0, s);
		check_row_int(worker_state_text(s), next(), s == WORKER_UP ? 0 : PICK_NONE);
		check_row_int(worker_state_text(s), app->n_up, s == WORKER_UP);
		end();
	}
}

static void test_coming(void **state)
{
	(void)state;
	begin(1);
	assert_false(app->coming);
	roster_begin(roster);
	roster->apps[0].coming = 2;
	roster_end(roster);
	assert_true(pick_follow_roster(&proxy));
	assert_true(app->coming);
	roster_begin(roster);
	roster->n_apps = 0; /* the app is unknown to the roster */
	roster_end(roster);
	assert_true(pick_follow_roster(&proxy));
	assert_false(app->coming);
	end();
}

/* The master died while it wrote: what we have stays as it is. */
static void test_torn_roster(void **state)
{
	(void)state;
	begin(2);
	uint64_t version = proxy.version;
	roster_begin(roster);
	roster->slots[0].state = WORKER_DOWN;
	assert_false(pick_follow_roster(&proxy));
	assert_int_equal(proxy.version, version);
	assert_int_equal(app->n_up, 2);
	assert_int_equal(next(), 0);
	roster_end(roster);
	assert_true(pick_follow_roster(&proxy));
	assert_int_equal(next(), 2);
	assert_int_equal(next(), 2);
	end();
}

static void test_suspects(void **state)
{
	(void)state;
	begin(2);
	uint64_t epoch = proxy.workers[0].epoch;
	pick_suspect(&proxy, 0, epoch);
	assert_int_equal(next(), 2);
	assert_int_equal(next(), 2);
	assert_int_equal(pick_next(&proxy, app, &nobody, true), 0); /* rather than nobody */
	later(99);
	assert_int_equal(next(), 2);
	later(1);
	assert_int_equal(next(), 0);
	pick_suspect(&proxy, 2, proxy.workers[2].epoch + 1); /* of one who is gone */
	assert_int_equal(next(), 2);
	end();
}

/* Each suspicion in a row is longer; an answer ends the row. */
static void test_suspicion_grows(void **state)
{
	static const uint32_t lengths_ms[] = { 100, 200, 400, 800, 1600, 3200, 6400, 10000, 10000 };

	(void)state;
	begin(1);
	for (size_t i = 0; i < ARRAY_LEN(lengths_ms); i++) {
		pick_suspect(&proxy, 0, proxy.workers[0].epoch);
		pick_suspect(&proxy, 0, proxy.workers[0].epoch); /* of the same burst */
		later(lengths_ms[i] - 1);
		assert_int_equal(next(), PICK_NONE);
		later(1);
		assert_int_equal(next(), 0);
	}
	pick_answered(&proxy, 0);
	pick_suspect(&proxy, 0, proxy.workers[0].epoch);
	later(100);
	assert_int_equal(next(), 0);
	pick_suspect(&proxy, 0, proxy.workers[0].epoch);
	replace(0); /* another process is another matter */
	assert_int_equal(next(), 0);
	end();
}

static void test_tried(void **state)
{
	struct pick_tried tried = { .n = 0 };

	(void)state;
	begin(6);
	for (uint32_t i = 0; i < 6; i++) {
		uint32_t slot = pick_next(&proxy, app, &tried, false);
		assert_int_equal(slot, i * 2);
		pick_note_tried(&tried, proxy.workers[slot].epoch);
	}
	assert_int_equal(tried.n, ARRAY_LEN(tried.epoch));
	assert_int_equal(pick_next(&proxy, app, &tried, false), 0); /* the oldest are forgotten */
	assert_int_equal(pick_next(&proxy, app, &tried, true), 2);
	assert_int_equal(pick_next(&proxy, app, &tried, true), 0); /* not 4, 6, 8, 10 */
	end();
}

/* ---- joiners among workers that have been there for longer ---- */

static void answers(uint32_t slot, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		pick_answered(&proxy, (uint16_t)slot);
}

static uint32_t next_counted(void)
{
	uint32_t slot = next();

	assert_true(slot < ROSTER_SLOTS);
	atomic_fetch_add(&proxy.row->workers[slot].in_flight, 1);
	return slot;
}

static uint32_t in_flight(uint32_t slot)
{
	return atomic_load(&proxy.row->workers[slot].in_flight);
}

static void test_cold_joiner(void **state)
{
	(void)state;
	begin(2);
	replace(2);
	for (int i = 0; i < 10; i++)
		next_counted();
	assert_int_equal(in_flight(2), 1); /* one at a time at first */
	answers(2, 2 * PICK_COLD_STEP);
	for (int i = 0; i < 10; i++)
		next_counted();
	assert_int_equal(in_flight(2), 3);
	set_state(1, WORKER_DOWN); /* a rebuild forgets nothing */
	for (int i = 0; i < 4; i++)
		assert_int_equal(next_counted(), 0);
	answers(2, PICK_WARM - 2 * PICK_COLD_STEP);
	for (int i = 0; i < 10; i++)
		next_counted();
	assert_int_equal(in_flight(2), 3 + 5); /* its share */
	end();
}

/* One at a time, nobody notices: the rotation is exact. */
static void test_cold_in_turn(void **state)
{
	(void)state;
	begin(3);
	replace(2);
	for (uint32_t i = 0; i < 30; i++)
		assert_int_equal(next(), i % 3 * 2);
	end();
}

static void test_cold_for_a_while_at_most(void **state)
{
	(void)state;
	begin(2);
	replace(2);
	assert_int_equal(next_counted(), 0);
	assert_int_equal(next_counted(), 2);
	assert_int_equal(next_counted(), 0);
	assert_int_equal(next_counted(), 0);
	later(PICK_COLD_US / 1000 + 1);
	assert_int_equal(next_counted(), 2);
	assert_int_equal(next_counted(), 0);
	assert_int_equal(next_counted(), 2);
	end();
}

/* The master's clock may be ahead of what this turn has read. */
static void test_cold_from_the_future(void **state)
{
	(void)state;
	begin(2);
	later(1);
	replace(2);
	clock_freeze(T0);
	assert_int_equal(next_counted(), 0);
	assert_int_equal(next_counted(), 2);
	assert_int_equal(next_counted(), 0);
	assert_int_equal(next_counted(), 0);
	end();
}

/* Workers that came together are all equally cold; and a cold one beats nobody. */
static void test_cold_alone(void **state)
{
	(void)state;
	begin(2);
	replace(0);
	later(500);
	replace(2);
	for (int i = 0; i < 10; i++)
		assert_int_equal(next_counted(), i % 2 * 2);
	end();
	begin(2);
	replace(2);
	atomic_store(&proxy.row->workers[2].in_flight, 5);
	set_state(0, WORKER_DOWN);
	assert_int_equal(next_counted(), 2);
	end();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rotation),
		cmocka_unit_test(test_exact_over_rebuilds),
		cmocka_unit_test(test_leaving_and_joining),
		cmocka_unit_test(test_states),
		cmocka_unit_test(test_coming),
		cmocka_unit_test(test_torn_roster),
		cmocka_unit_test(test_suspects),
		cmocka_unit_test(test_suspicion_grows),
		cmocka_unit_test(test_tried),
		cmocka_unit_test(test_cold_joiner),
		cmocka_unit_test(test_cold_in_turn),
		cmocka_unit_test(test_cold_for_a_while_at_most),
		cmocka_unit_test(test_cold_from_the_future),
		cmocka_unit_test(test_cold_alone),
	};
	return cmocka_run_group_tests(tests, boot, NULL);
}
