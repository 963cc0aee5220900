/* balancer/master/slots.h: a step of the master is one version of the roster. */
#include "lib/check.h"

#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "balancer/master/slots.h"

static struct roster seen; /* large for a stack */

struct board {
	struct slots s;
	struct tally *t;
	int tally_fd;
};

static struct board open_board(void)
{
	struct board b;

	assert_int_equal(slots_init(&b.s), ERR_OK);
	assert_int_equal(tally_create(&b.tally_fd, &b.t), ERR_OK);
	return b;
}

static void close_board(struct board *b)
{
	munmap(b->s.shared, sizeof(*b->s.shared));
	munmap(b->t, sizeof(*b->t));
	close(b->tally_fd);
	slots_fini(&b->s);
}

static uint32_t take(struct board *b)
{
	uint32_t slot = UINT32_MAX;

	assert_int_equal(slots_take(&b->s, b->t, &slot), ERR_OK);
	return slot;
}

static void test_edits_show_at_once_or_not_at_all(void **state)
{
	struct board b = open_board();
	uint64_t before = roster_read(b.s.shared, &seen);

	(void)state;
	uint32_t slot = take(&b);
	slots_edit(&b.s, slot)->pid = 77;
	assert_int_equal(slots_add_app(&b.s, 5, "web"), ERR_OK);
	assert_int_equal(roster_read(b.s.shared, &seen), before);
	assert_int_equal(seen.n_slots, 0);
	assert_int_equal(slots_version(&b.s), before + 2); /* known before it is published */
	assert_true(slots_publish(&b.s));
	assert_int_equal(roster_read(b.s.shared, &seen), before + 2);
	assert_int_equal(seen.n_slots, 1);
	assert_int_equal(seen.slots[slot].pid, 77);
	assert_int_equal(seen.slots[slot].state, WORKER_STARTING);
	assert_string_equal(seen.apps[0].name, "web");
	assert_false(slots_publish(&b.s)); /* nothing new: no version, nobody is woken */
	assert_int_equal(slots_version(&b.s), before + 2);
	close_board(&b);
}

static void test_epochs_never_repeat(void **state)
{
	struct board b = open_board();
	uint64_t last = 0;

	(void)state;
	for (int i = 0; i < 50; i++) {
		uint32_t slot = take(&b);
		assert_int_equal(slot, 0);
		uint64_t epoch = b.s.draft->slots[slot].epoch;
		assert_true(epoch > last);
		last = epoch;
		slots_release(&b.s, slot);
		assert_int_equal(b.s.draft->slots[slot].epoch, epoch);
		assert_int_equal(b.s.draft->slots[slot].state, WORKER_EMPTY);
		assert_int_equal(b.s.draft->slots[slot].pid, 0);
	}
	close_board(&b);
}

/* Requests to an earlier occupant would be counted as the next one's. */
static void test_slot_with_requests_in_flight_rests(void **state)
{
	struct board b = open_board();
	uint32_t row;

	(void)state;
	assert_int_equal(tally_claim(b.t, &row), ERR_OK);
	uint32_t slot = take(&b);
	slots_release(&b.s, slot);
	atomic_store(&b.t->rows[row].workers[slot].in_flight, 1);
	assert_int_not_equal(take(&b), slot);
	atomic_store(&b.t->rows[row].workers[slot].in_flight, 0);
	assert_int_equal(take(&b), slot);
	close_board(&b);
}

static void test_full(void **state)
{
	struct board b = open_board();
	uint32_t slot = 9999, row;

	(void)state;
	for (int i = 0; i < ROSTER_SLOTS; i++)
		take(&b);
	assert_int_equal(slots_take(&b.s, b.t, &slot), ERR_FULL);
	assert_int_equal(slot, 9999);
	/* The only empty one is taken even with a request of old. */
	assert_int_equal(tally_claim(b.t, &row), ERR_OK);
	atomic_store(&b.t->rows[row].workers[500].in_flight, 3);
	slots_release(&b.s, 500);
	assert_int_equal(take(&b), 500);
	close_board(&b);
}

static void test_apps(void **state)
{
	struct board b = open_board();
	char name[8];

	(void)state;
	for (uint32_t id = 1; id <= ROSTER_APPS; id++) {
		snprintf(name, sizeof(name), "app%u", id);
		assert_int_equal(slots_add_app(&b.s, id, name), ERR_OK);
	}
	assert_int_equal(slots_add_app(&b.s, 100, "more"), ERR_FULL);
	slots_remove_app(&b.s, 7);
	assert_int_equal(slots_add_app(&b.s, 100, "more"), ERR_OK);
	slots_set_app(&b.s, 100, 4, 2);
	slots_publish(&b.s);
	roster_read(b.s.shared, &seen);
	assert_int_equal(seen.n_apps, ROSTER_APPS);
	assert_null(roster_find_app(&seen, 7));
	assert_int_equal(roster_find_app(&seen, 100)->coming, 4);
	assert_int_equal(roster_find_app(&seen, 100)->release, 2);
	slots_set_app(&b.s, 100, 4, 2); /* no change, no version */
	slots_set_app(&b.s, 4711, 1, 1);
	slots_remove_app(&b.s, 4711);
	assert_false(slots_publish(&b.s));
	close_board(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_edits_show_at_once_or_not_at_all),
		cmocka_unit_test(test_epochs_never_repeat),
		cmocka_unit_test(test_slot_with_requests_in_flight_rests),
		cmocka_unit_test(test_full),
		cmocka_unit_test(test_apps),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
