/* balancer/proxy/block: classes and spares, growing blocks, chains against a plain buffer. */
#include "lib/check.h"
#include "lib/process.h"

#include <stdlib.h>

#include "balancer/proxy/block.h"
#include "common/mem.h"

static struct block_pool pool;

static int start(void **state)
{
	(void)state;
	block_pool_init(&pool);
	return 0;
}

static int stop(void **state)
{
	(void)state;
	mem_fault_at(0);
	block_pool_fini(&pool);
	return 0;
}

static void test_take(void **state)
{
	static const struct {
		size_t bytes;
		int class; /* -1: none is large enough */
	} cases[] = {
		{ 0, BLOCK_SMALL }, { 1, BLOCK_SMALL }, { 1900, BLOCK_SMALL },
		{ 2048, BLOCK_MEDIUM }, { 24 * 1024, BLOCK_MEDIUM }, { 24 * 1024 + 1, BLOCK_LARGE },
		{ BLOCK_LARGE_BYTES, BLOCK_LARGE }, { BLOCK_LARGE_BYTES + 1, -1 }, { SIZE_MAX, -1 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		char row[32];
		snprintf(row, sizeof(row), "%zu bytes", cases[i].bytes);
		struct block *b = block_take(&pool, cases[i].bytes);
		check_row_int(row, b ? (int)b->class : -1, cases[i].class);
		if (!b)
			continue;
		check_row(row, block_room(b) >= cases[i].bytes && block_used(b) == 0);
		check_row_int(row, pool.bytes_lent, b->capacity);
		memset(b->bytes, 'x', b->capacity);
		block_give_back(&pool, b);
		check_row_int(row, pool.bytes_lent, 0);
	}
	block_give_back(&pool, NULL);
}

/* What was given back is taken again, empty, without asking for memory. */
static void test_spares(void **state)
{
	(void)state;
	for (int class = 0; class < BLOCK_CLASS_MAX; class++) {
		static const size_t bytes[BLOCK_CLASS_MAX] = { 100, 10000, 100000 };
		struct block *b = block_take(&pool, bytes[class]);
		assert_non_null(b);
		b->start = 3;
		b->end = 7;
		block_give_back(&pool, b);
		mem_fault_at(1);
		struct block *again = block_take(&pool, bytes[class]);
		assert_ptr_equal(again, b);
		assert_int_equal(block_used(again), 0);
		assert_null(again->next);
		assert_null(block_take(&pool, bytes[class])); /* that one is out of memory */
		block_give_back(&pool, again);
	}
}

/* A burst does not stay in the pool for ever. */
static void test_spares_are_bounded(void **state)
{
	struct block *held[40];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(held); i++)
		assert_non_null(held[i] = block_take(&pool, BLOCK_LARGE_BYTES));
	for (size_t i = 0; i < ARRAY_LEN(held); i++)
		block_give_back(&pool, held[i]);
	assert_in_range(pool.n_spare[BLOCK_LARGE], 1, 16);
	uint32_t n = 0;
	for (struct block *b = pool.spare[BLOCK_LARGE]; b; b = b->next)
		n++;
	assert_int_equal(n, pool.n_spare[BLOCK_LARGE]);
}

static void test_append(void **state)
{
	static char big[BLOCK_LARGE_BYTES + 1];
	struct block *b = NULL;

	(void)state;
	memset(big, 'y', sizeof(big));
	assert_int_equal(block_append(&pool, &b, SLICE("head")), ERR_OK);
	assert_int_equal(b->class, BLOCK_SMALL);
	b->start = 1; /* some of it was used */
	struct block *small = b;
	mem_fault_at(1);
	assert_int_equal(block_append(&pool, &b, (struct slice){ big, 10000 }), ERR_NOMEM);
	assert_ptr_equal(b, small);
	assert_memory_equal(b->bytes + b->start, "ead", 3);
	assert_int_equal(block_append(&pool, &b, (struct slice){ big, 10000 }), ERR_OK);
	assert_int_equal(b->class, BLOCK_MEDIUM);
	assert_int_equal(block_used(b), 10003);
	assert_memory_equal(b->bytes + b->start, "eadyyy", 6);
	assert_int_equal(pool.bytes_lent, b->capacity); /* the small one is back */
	assert_int_equal(block_append(&pool, &b, (struct slice){ big, BLOCK_LARGE_BYTES - 10002 }), ERR_FULL);
	assert_int_equal(block_used(b), 10003);
	assert_int_equal(block_append(&pool, &b, (struct slice){ big, BLOCK_LARGE_BYTES - 10003 }), ERR_OK);
	assert_int_equal(block_used(b), BLOCK_LARGE_BYTES);
	block_give_back(&pool, b);
	b = NULL;
	assert_int_equal(block_append(&pool, &b, (struct slice){ big, sizeof(big) }), ERR_FULL);
	assert_null(b);
}

/* ---- chains ---- */

#define MODEL_BYTES (1024 * 1024)

static void check_chain(const struct chain *c, const char *want, size_t n)
{
	struct iovec iov[64];
	int n_iov = chain_iov(c, iov, 64);
	size_t at = 0;

	assert_int_equal(chain_bytes(c), n);
	assert_int_equal(chain_empty(c), n == 0);
	for (int i = 0; i < n_iov; i++) {
		assert_in_range(iov[i].iov_len, 1, n - at);
		assert_memory_equal(iov[i].iov_base, want + at, iov[i].iov_len);
		at += iov[i].iov_len;
	}
	assert_true(at == n || n_iov == 64);
	char *copy = malloc(n + 1);
	assert_ptr_equal(chain_copy(c, copy), copy + n);
	assert_memory_equal(copy, want, n);
	free(copy);
}

static void test_chain_against_a_buffer(void **state)
{
	static char model[MODEL_BYTES];
	static const size_t sizes[] = { 1, 3, 700, 2047, 2048, 5000, 24576, 65536, BLOCK_LARGE_BYTES };
	size_t begin = 0, end = 0;
	struct chain c;

	(void)state;
	chain_init(&c);
	srand(1);
	for (size_t i = 0; i < sizeof(model); i++)
		model[i] = (char)(i * 7 + i / 251);
	for (int turn = 0; turn < 2000; turn++) {
		size_t n = sizes[(size_t)rand() % ARRAY_LEN(sizes)];
		if (rand() % 2 && end + n <= sizeof(model)) {
			assert_int_equal(chain_append(&c, &pool, (struct slice){ model + end, n }), ERR_OK);
			end += n;
		} else {
			n = MIN(n, end - begin);
			chain_consume(&c, &pool, n);
			begin += n;
		}
		check_chain(&c, model + begin, end - begin);
		if (begin == end)
			assert_int_equal(pool.bytes_lent, 0);
		if (begin > sizeof(model) / 2) {
			chain_clear(&c, &pool);
			begin = end = 0;
		}
	}
	chain_clear(&c, &pool);
	assert_true(chain_empty(&c));
}

/* A failure adds nothing, not even what would have fitted. */
static void test_chain_append_fails(void **state)
{
	static char bytes[4096];
	struct chain c;

	(void)state;
	chain_init(&c);
	assert_int_equal(chain_append(&c, &pool, SLICE("first")), ERR_OK);
	mem_fault_at(1);
	assert_int_equal(chain_append(&c, &pool, (struct slice){ bytes, sizeof(bytes) }), ERR_NOMEM);
	check_chain(&c, "first", 5);
	chain_clear(&c, &pool);
}

static int fini_with_a_block_out(void *arg)
{
	(void)arg;
	if (!freopen("/dev/null", "w", stderr) || !block_take(&pool, 1))
		return 0;
	block_pool_fini(&pool);
	return 0;
}

static void test_fini_finds_what_is_lent(void **state)
{
	(void)state;
	assert_int_not_equal(in_child(fini_with_a_block_out, NULL), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_take, start, stop),
		cmocka_unit_test_setup_teardown(test_spares, start, stop),
		cmocka_unit_test_setup_teardown(test_spares_are_bounded, start, stop),
		cmocka_unit_test_setup_teardown(test_append, start, stop),
		cmocka_unit_test_setup_teardown(test_chain_against_a_buffer, start, stop),
		cmocka_unit_test_setup_teardown(test_chain_append_fails, start, stop),
		cmocka_unit_test_setup_teardown(test_fini_finds_what_is_lent, start, stop),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
