/* balancer/board/tally.h: rows, sums over them, and what stays of those that ended. */
#include "lib/check.h"
#include "lib/process.h"

#include <errno.h>
#include <stddef.h>
#include <sys/mman.h>

#include "balancer/board/tally.h"

static struct tally *new_tally(int *ret_fd)
{
	struct tally *t;

	assert_int_equal(tally_create(ret_fd, &t), ERR_OK);
	return t;
}

static void drop(struct tally *t, int fd)
{
	munmap(t, sizeof(*t));
	close(fd);
}

static uint32_t claim(struct tally *t)
{
	uint32_t row = UINT32_MAX;

	assert_int_equal(tally_claim(t, &row), ERR_OK);
	assert_true(row < TALLY_ROWS);
	return row;
}

static void set_in_flight(struct tally *t, uint32_t row, uint32_t slot, uint32_t n)
{
	atomic_store(&t->rows[row].workers[slot].in_flight, n);
}

static void test_table(void **state)
{
	(void)state;
	for (size_t c = 0; c < COUNTER_MAX; c++) {
		const char *help = counter_table[c].help;
		check_row(counter_table[c].name, strlen(help) > 10 && help[strlen(help) - 1] == '.');
	}
	assert_string_equal(counter_table[COUNTER_requests].name, "requests");
	assert_int_equal(counter_table[COUNTER_requests].kind, COUNTER_KIND_SUM);
	assert_int_equal(counter_table[COUNTER_connections_open].kind, COUNTER_KIND_GAUGE);
}

static void test_sums_over_rows(void **state)
{
	int fd;
	struct tally *t = new_tally(&fd);
	uint32_t a = claim(t), b = claim(t);

	(void)state;
	assert_int_not_equal(a, b);
	tally_add(&t->rows[a], COUNTER_requests, 5);
	tally_inc(&t->rows[b], COUNTER_requests);
	tally_add(&t->rows[a], COUNTER_connections_open, 3);
	tally_dec(&t->rows[a], COUNTER_connections_open);
	tally_inc(&t->rows[b], COUNTER_connections_open);
	assert_int_equal(tally_total(t, COUNTER_requests), 6);
	assert_int_equal(tally_total(t, COUNTER_connections_open), 3);
	assert_int_equal(tally_total(t, COUNTER_MAX), 0);
	drop(t, fd);
}

/* What a process counted stays, what it held goes. */
static void test_retired_sums_stay_and_gauges_go(void **state)
{
	int fd;
	struct tally *t = new_tally(&fd);
	uint32_t a = claim(t), b = claim(t);

	(void)state;
	tally_add(&t->rows[a], COUNTER_requests, 10);
	tally_add(&t->rows[b], COUNTER_requests, 1);
	tally_add(&t->rows[a], COUNTER_connections_open, 4);
	tally_add(&t->rows[b], COUNTER_connections_open, 2);
	atomic_store(&t->rows[a].workers[7].requests, 10);
	set_in_flight(t, a, 7, 3);
	tally_retire(t, a);
	assert_int_equal(tally_total(t, COUNTER_requests), 11);
	assert_int_equal(tally_total(t, COUNTER_connections_open), 2);
	assert_int_equal(tally_in_flight(t, 7), 0);
	assert_int_equal(t->retired.workers[7].requests, 10);
	tally_retire(t, a); /* a second time changes nothing */
	assert_int_equal(tally_total(t, COUNTER_requests), 11);
	tally_retire(t, TALLY_ROWS);
	drop(t, fd);
}

static void test_refusals(void **state)
{
	int fd;
	struct tally *t = new_tally(&fd);
	uint32_t a = claim(t), b = claim(t);
	enum http_rule last = HTTP_RULE_MAX - 1;

	(void)state;
	tally_refused(&t->rows[a], TALLY_CLIENTS, HTTP_RULE_HOST_MISSING);
	tally_refused(&t->rows[b], TALLY_CLIENTS, HTTP_RULE_HOST_MISSING);
	tally_refused(&t->rows[a], TALLY_WORKERS, last);
	assert_int_equal(tally_refusals(t, TALLY_CLIENTS, HTTP_RULE_HOST_MISSING), 2);
	assert_int_equal(tally_refusals(t, TALLY_WORKERS, HTTP_RULE_HOST_MISSING), 0);
	assert_int_equal(tally_refusals(t, TALLY_WORKERS, last), 1);
	tally_retire(t, a);
	assert_int_equal(tally_refusals(t, TALLY_CLIENTS, HTTP_RULE_HOST_MISSING), 2);
	assert_int_equal(tally_refusals(t, TALLY_WORKERS, last), 1);
	assert_int_equal(claim(t), a); /* zeroed: nothing is counted twice */
	assert_int_equal(tally_refusals(t, TALLY_WORKERS, last), 1);
	assert_int_equal(tally_refusals(t, TALLY_SIDE_MAX, last), 0);
	assert_int_equal(tally_refusals(t, TALLY_WORKERS, HTTP_RULE_MAX), 0);
	drop(t, fd);
}

static void test_row_is_zero_for_its_next_owner(void **state)
{
	int fd;
	struct tally *t = new_tally(&fd);
	uint32_t a = claim(t);

	(void)state;
	tally_add(&t->rows[a], COUNTER_requests, 10);
	tally_add(&t->rows[a], COUNTER_tunnels_open, 10);
	set_in_flight(t, a, ROSTER_SLOTS - 1, 9);
	atomic_store(&t->rows[a].pid, 4711);
	tally_retire(t, a);
	assert_int_equal(claim(t), a);
	assert_int_equal(t->rows[a].pid, 0);
	assert_int_equal(tally_total(t, COUNTER_requests), 10);
	assert_int_equal(tally_total(t, COUNTER_tunnels_open), 0);
	assert_int_equal(tally_in_flight(t, ROSTER_SLOTS - 1), 0);
	drop(t, fd);
}

static void test_rows_run_out_and_come_back(void **state)
{
	int fd;
	struct tally *t = new_tally(&fd);
	uint32_t row = 12345;

	(void)state;
	for (uint32_t i = 0; i < TALLY_ROWS; i++)
		claim(t);
	assert_int_equal(tally_claim(t, &row), ERR_FULL);
	assert_int_equal(row, 12345);
	tally_retire(t, 100);
	assert_int_equal(claim(t), 100);
	assert_int_equal(tally_claim(t, &row), ERR_FULL);
	drop(t, fd);
}

static void test_in_flight_over_rows(void **state)
{
	int fd;
	struct tally *t = new_tally(&fd);
	uint32_t a = claim(t), b = claim(t);

	(void)state;
	set_in_flight(t, a, 0, 2);
	set_in_flight(t, b, 0, 3);
	set_in_flight(t, b, 1, 1);
	assert_int_equal(tally_in_flight(t, 0), 5);
	assert_int_equal(tally_in_flight(t, 1), 1);
	assert_int_equal(tally_in_flight(t, 2), 0);
	assert_int_equal(tally_in_flight(t, ROSTER_SLOTS), 0);
	assert_int_equal(tally_in_flight(t, UINT32_MAX), 0);
	drop(t, fd);
}

/* What an owner writes into its row hides no request of others, and gives nobody its row. */
static void test_forged_row(void **state)
{
	int fd;
	struct tally *t = new_tally(&fd);
	uint32_t forger = claim(t), honest = claim(t);

	(void)state;
	set_in_flight(t, forger, 0, UINT32_MAX);
	set_in_flight(t, honest, 0, 1);
	assert_int_equal(tally_in_flight(t, 0), UINT32_MAX);
	atomic_store(&t->rows[forger].workers[0].tunnels, UINT32_MAX);
	atomic_store(&t->rows[honest].workers[0].tunnels, 1);
	assert_int_equal(tally_tunnels(t, 0), UINT32_MAX);
	atomic_store(&t->rows[forger].used, 0);
	assert_int_equal(tally_in_flight(t, 0), 1);
	assert_int_equal(claim(t), honest + 1);
	/* Who says that it has no row does not keep it either, nor what it has written there. */
	tally_retire(t, forger);
	assert_int_equal(claim(t), forger);
	assert_int_equal(tally_in_flight(t, 0), 1);
	/* Of one that has ended nothing counts, until the row is another's. */
	set_in_flight(t, honest, 0, 7);
	tally_retire(t, honest);
	assert_int_equal(tally_in_flight(t, 0), 0);
	drop(t, fd);
}

/* Rows that no balancer ever had cost nothing, nor does reading over them. */
static void test_untouched_rows_cost_no_memory(void **state)
{
	unsigned char resident[sizeof(struct tally) / 4096];
	int fd;
	struct tally *t = new_tally(&fd);
	size_t pages = 0, bytes = sizeof(*t);

	(void)state;
	if (sysconf(_SC_PAGESIZE) != 4096)
		skip();
	claim(t);
	tally_total(t, COUNTER_requests);
	tally_in_flight(t, 3);
	assert_int_equal(mincore(t, bytes, resident), 0);
	for (size_t i = 0; i < bytes / 4096; i++)
		pages += resident[i] & 1;
	assert_in_range(pages, 1, 3 * offsetof(struct tally_row, peers) / 4096);
	drop(t, fd);
}

#define COUNTED 200000

struct writer {
	struct tally *t;
	uint32_t row;
};

static int count_up(void *arg)
{
	struct writer *w = arg;

	for (int i = 0; i < COUNTED; i++)
		tally_inc(&w->t->rows[w->row], COUNTER_requests);
	return 0;
}

/* One process counts, another reads and at last folds: the total only rises. */
static void test_total_never_steps_back(void **state)
{
	int fd;
	struct tally *t = new_tally(&fd);
	struct writer w = { t, claim(t) };
	uint64_t last = 0;
	pid_t pid = fork();

	(void)state;
	if (pid == 0)
		_exit(count_up(&w));
	while (waitpid(pid, NULL, WNOHANG) == 0) {
		uint64_t now = tally_total(t, COUNTER_requests);
		assert_true(now >= last && now <= COUNTED);
		last = now;
	}
	assert_int_equal(tally_total(t, COUNTER_requests), COUNTED);
	tally_retire(t, w.row);
	assert_int_equal(tally_total(t, COUNTER_requests), COUNTED);
	drop(t, fd);
}

/* Who owns no row, or one, can write to no other, whatever it asks for. */
static int shed(void *arg)
{
	const uint32_t own = *(const uint32_t *)arg;
	struct tally *t;
	int fd;

	if (tally_create(&fd, &t))
		return 1;
	tally_inc(&t->rows[3], COUNTER_requests);
	if (tally_shed(t, fd, own))
		return 2;
	if (tally_total(t, COUNTER_requests) != 0) /* the row is in nobody's use */
		return 3;
	if (atomic_load(&t->rows[3].counters[COUNTER_requests]) != 1)
		return 4;
	if (mprotect(t, 4096, PROT_READ | PROT_WRITE) == 0 || errno != EACCES ||
	    mprotect(&t->rows[4], sizeof(t->rows[4]), PROT_READ | PROT_WRITE) == 0)
		return 5;
	if (own == 3)
		tally_inc(&t->rows[3], COUNTER_requests);
	else if (mprotect(&t->rows[3], sizeof(t->rows[3]), PROT_READ | PROT_WRITE) == 0)
		return 6;
	/* What was written is in the segment, and not in a copy. */
	struct tally *again;
	if (tally_map(fd, &again) || atomic_load(&again->rows[3].counters[COUNTER_requests]) != 1 + (own == 3))
		return 7;
	return 0;
}

static void test_shed(void **state)
{
	uint32_t owns[] = { 3, TALLY_ROWS };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(owns); i++)
		assert_int_equal(in_child(shed, &owns[i]), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_table),
		cmocka_unit_test(test_sums_over_rows),
		cmocka_unit_test(test_retired_sums_stay_and_gauges_go),
		cmocka_unit_test(test_refusals),
		cmocka_unit_test(test_row_is_zero_for_its_next_owner),
		cmocka_unit_test(test_rows_run_out_and_come_back),
		cmocka_unit_test(test_in_flight_over_rows),
		cmocka_unit_test(test_forged_row),
		cmocka_unit_test(test_untouched_rows_cost_no_memory),
		cmocka_unit_test(test_total_never_steps_back),
		cmocka_unit_test(test_shed),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
