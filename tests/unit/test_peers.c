/* balancer/board/peers.h: connections by address. */
#include "lib/check.h"

#include <stdlib.h>
#include <sys/mman.h>

#include "balancer/board/peers.h"
#include "balancer/board/tally.h"

static struct tally *tally;

static int boot(void **state)
{
	int fd;

	(void)state;
	return tally_create(&fd, &tally) ? -1 : 0;
}

static struct addr address(const char *text)
{
	struct addr a;

	assert_int_equal(addr_parse(slice_of(text), true, &a), ERR_OK);
	return a;
}

static uint64_t key(const char *text)
{
	struct addr a = address(text);

	return peers_key(&a, 42);
}

static void test_keys(void **state)
{
	static const struct {
		const char *a, *b;
		bool same;
	} rows[] = {
		{ "10.0.0.1:1", "10.0.0.1:2", true },
		{ "10.0.0.1:1", "10.0.0.2:1", false },
		{ "10.0.0.1:1", "1.0.0.10:1", false },
		{ "[::ffff:10.0.0.1]:1", "10.0.0.1:1", true },
		{ "[2001:db8:1:2::1]:1", "[2001:db8:1:2:ffff:ffff:ffff:ffff]:1", true },
		{ "[2001:db8:1:2::1]:1", "[2001:db8:1:3::1]:1", false },
		{ "[::1]:1", "0.0.0.0:1", false },
		{ "[::1]:1", "0.0.0.1:1", false },
	};
	struct addr local;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		check_row(rows[i].a, key(rows[i].a) != 0 && key(rows[i].b) != 0);
		check_row(rows[i].a, (key(rows[i].a) == key(rows[i].b)) == rows[i].same);
	}
	assert_int_equal(addr_unix("/x", &local), ERR_OK);
	assert_int_equal(peers_key(&local, 42), 0);
	struct addr a = address("10.0.0.1:1");
	assert_true(peers_key(&a, 1) != peers_key(&a, 2));
}

static void test_enter_and_leave(void **state)
{
	struct peers *t = calloc(1, sizeof(*t));
	uint64_t a = key("10.0.0.1:1"), b = key("10.0.0.2:1");

	(void)state;
	assert_non_null(t);
	assert_int_equal(peers_count(t, a), 0);
	peers_leave(t, a); /* never entered: nothing happens */
	for (int i = 1; i <= 1000; i++) {
		assert_true(peers_enter(t, a));
		assert_int_equal(peers_count(t, a), i);
	}
	assert_true(peers_enter(t, b));
	for (int i = 999; i >= 0; i--) {
		peers_leave(t, a);
		assert_int_equal(peers_count(t, a), i);
	}
	peers_leave(t, a);
	assert_int_equal(peers_count(t, a), 0);
	assert_int_equal(peers_count(t, b), 1);
	free(t);
}

/* Keys of one bucket: those beyond its slots are not counted, and a slot that came
 * free is used again. */
static void test_full_bucket(void **state)
{
	struct peers *t = calloc(1, sizeof(*t));

	(void)state;
	assert_non_null(t);
	for (uint64_t i = 1; i <= PEERS_WAYS; i++)
		assert_true(peers_enter(t, i * PEERS_BUCKETS + 7));
	uint64_t one_more = (PEERS_WAYS + 1) * PEERS_BUCKETS + 7;
	assert_false(peers_enter(t, one_more));
	assert_int_equal(peers_count(t, one_more), 0);
	assert_true(peers_enter(t, 3 * PEERS_BUCKETS + 7)); /* has one */
	assert_true(peers_enter(t, one_more + 1));          /* another bucket */
	peers_leave(t, 5 * PEERS_BUCKETS + 7);
	assert_true(peers_enter(t, one_more));
	assert_int_equal(peers_count(t, one_more), 1);
	assert_int_equal(peers_count(t, 5 * PEERS_BUCKETS + 7), 0);
	assert_int_equal(peers_count(t, 3 * PEERS_BUCKETS + 7), 2);
	free(t);
}

/* Addresses as they come spread well: hardly any finds its bucket full. */
static void test_many(void **state)
{
	struct peers *t = calloc(1, sizeof(*t));
	struct addr a = address("10.0.0.0:1");
	unsigned refused = 0;

	(void)state;
	assert_non_null(t);
	for (uint32_t i = 0; i < 32768; i++) {
		a.in.sin_addr.s_addr = htonl(0x0a000000 + i);
		refused += !peers_enter(t, peers_key(&a, 42));
	}
	assert_in_range(refused, 0, 60);
	free(t);
}

/* Over all balancers; what one of them held goes with it, and its row begins at zero. */
static void test_over_rows(void **state)
{
	uint32_t one, two;
	uint64_t a = key("10.0.0.1:1");

	(void)state;
	assert_int_equal(tally_claim(tally, &one), ERR_OK);
	assert_int_equal(tally_claim(tally, &two), ERR_OK);
	for (int i = 0; i < 3; i++)
		assert_true(peers_enter(&tally->rows[one].peers, a));
	assert_true(peers_enter(&tally->rows[two].peers, a));
	assert_int_equal(tally_peers(tally, a), 4);
	tally_retire(tally, one);
	assert_int_equal(tally_peers(tally, a), 1);
	assert_int_equal(tally_claim(tally, &one), ERR_OK);
	assert_int_equal(tally_peers(tally, a), 1);
	assert_int_equal(tally_peers(tally, key("10.0.0.2:1")), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_keys),
		cmocka_unit_test(test_enter_and_leave),
		cmocka_unit_test(test_full_bucket),
		cmocka_unit_test(test_many),
		cmocka_unit_test(test_over_rows),
	};
	return cmocka_run_group_tests(tests, boot, NULL);
}
