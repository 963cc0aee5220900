/* common/mem.c: what boot calls do when there is nothing left, and the failing
 * allocations that other tests ask for. */
#include "lib/check.h"

#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/contract.h"
#include "common/log.h"
#include "common/mem.h"
#include "lib/process.h"

/* With a sanitizer, too, an impossible size is NULL instead of the end. */
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
	return "allocator_may_return_null=1";
}

static volatile size_t impossible = SIZE_MAX / 2; /* volatile: the compiler would object */

static void test_alloc(void **state)
{
	(void)state;
	unsigned char *p = mem_alloc_zero(300);
	unsigned char *q = mem_must_alloc(300);

	for (int i = 0; i < 300; i++) {
		assert_int_equal(p[i], 0);
		assert_int_equal(q[i], 0);
	}
	q = mem_must_grow(q, 600);
	assert_int_equal(q[299], 0);
	mem_free(p);
	mem_free(q);
	mem_free(NULL);
}

static void test_nothing_is_something(void **state)
{
	(void)state;
	void *all[] = { mem_alloc(0), mem_alloc_zero(0), mem_must_alloc(0),
			mem_must_grow(NULL, 0) };

	for (size_t i = 0; i < ARRAY_LEN(all); i++) {
		assert_non_null(all[i]);
		mem_free(all[i]);
	}
}

/* ---- what lies on the stack ---- */

#define DEPTH 48 /* KiB, within MEM_STACK_BYTES */

/* Not as text anywhere in the program: it would be found there. */
static void spell(char out[static 32])
{
	for (int i = 0; i < 32; i++)
		out[i] = (char)('A' + (i * 7) % 26);
}

__attribute__((noinline)) static int leave_behind(int kib)
{
	char volatile here[1024];

	here[0] = (char)kib;
	if (kib)
		return leave_behind(kib - 1) + here[0]; /* not a tail call */
	spell((char *)(uintptr_t)here);
	return here[31];
}

static bool on_stack(FILE *maps, int memory, char *copy, size_t room)
{
	static char needle[32];
	char line[256];
	unsigned long begin, end;
	bool found = false;

	rewind(maps);
	while (fgets(line, sizeof(line), maps)) {
		if (!strstr(line, "[stack]") || sscanf(line, "%lx-%lx", &begin, &end) != 2)
			continue;
		assert_in_range(end - begin, 1, room);
		assert_int_equal(pread(memory, copy, end - begin, (off_t)begin), end - begin);
		spell(needle);
		found = memmem(copy, end - begin, needle, sizeof(needle)) != NULL;
	}
	return found;
}

static void test_stack_is_wiped(void **state)
{
	size_t room = 16 << 20;
	FILE *maps = fopen("/proc/self/maps", "r");
	int memory = open("/proc/self/mem", O_RDONLY | O_CLOEXEC);
	char *copy = malloc(room);

	(void)state;
	assert_true(maps && memory >= 0 && copy);
	on_stack(maps, memory, copy, room);
	leave_behind(DEPTH);
	assert_true(on_stack(maps, memory, copy, room));
	leave_behind(DEPTH);
	mem_wipe_stack();
	assert_false(on_stack(maps, memory, copy, room));
	free(copy);
	close(memory);
	fclose(maps);
}

static void test_text(void **state)
{
	(void)state;
	char *a = mem_must_dup("drover"), *b = mem_must_dupn("drover", 3);
	char *c = mem_must_dupn(NULL, 0);
	char *d = mem_must_printf("%s-%d", "web", 7);

	assert_string_equal(a, "drover");
	assert_string_equal(b, "dro");
	assert_string_equal(c, "");
	assert_string_equal(d, "web-7");
	assert_null(mem_must_dup(NULL));
	mem_free(a);
	mem_free(b);
	mem_free(c);
	mem_free(d);
}

static void test_run_time_failure_is_null(void **state)
{
	(void)state;
	assert_null(mem_alloc(impossible));
	assert_null(mem_alloc_zero(impossible));
}

static int must_alloc(void *arg)
{
	(void)arg;
	return mem_must_alloc(impossible) ? 100 : 101;
}

static int must_grow(void *arg)
{
	(void)arg;
	return mem_must_grow(NULL, impossible) ? 100 : 101;
}

static void test_boot_failure_is_the_end(void **state)
{
	(void)state;
	log_to_fd(-1);
	assert_int_equal(in_child(must_alloc, NULL), EXIT_FAILED);
	assert_int_equal(in_child(must_grow, NULL), EXIT_FAILED);
	log_to_fd(STDERR_FILENO);
}

/* Which of six allocations, of alternating kinds, fail: "....x." */
static const char *pattern(uint64_t n, char buf[static 7])
{
	mem_fault_at(n);
	for (int i = 0; i < 6; i++) {
		void *p = i % 2 ? mem_alloc_zero(8) : mem_alloc(8);
		buf[i] = p ? '.' : 'x';
		mem_free(p);
	}
	buf[6] = '\0';
	return buf;
}

static void test_injected_faults(void **state)
{
	static const struct {
		uint64_t n;
		const char *want;
	} rows[] = {
		{ 0, "......" }, { 1, "x....." }, { 2, ".x...." }, { 6, ".....x" }, { 7, "......" },
	};
	char buf[7];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		check_row_text(rows[i].want, pattern(rows[i].n, buf), rows[i].want);
		check_row_int(rows[i].want, mem_fault_hit(), strchr(rows[i].want, 'x') != NULL);
	}
	/* One more would be the seventh's turn: switching off forgets it. */
	mem_fault_at(0);
	void *p = mem_alloc(1);
	assert_non_null(p);
	mem_free(p);
}

static void test_boot_calls_are_spared(void **state)
{
	(void)state;
	mem_fault_at(1);
	void *p = mem_must_alloc(1);
	assert_int_equal(mem_fault_hit(), 0);
	assert_null(mem_alloc(1));
	assert_int_equal(mem_fault_hit(), 1);
	mem_free(p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_alloc),
		cmocka_unit_test(test_nothing_is_something),
		cmocka_unit_test(test_stack_is_wiped),
		cmocka_unit_test(test_text),
		cmocka_unit_test(test_run_time_failure_is_null),
		cmocka_unit_test(test_boot_failure_is_the_end),
		cmocka_unit_test(test_injected_faults),
		cmocka_unit_test(test_boot_calls_are_spared),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
