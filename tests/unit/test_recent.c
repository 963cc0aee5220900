/* balancer/master/recent.h: the last lines, in bounded memory. */
#include "lib/check.h"

#include <stdio.h>
#include <string.h>

#include "balancer/master/recent.h"
#include "common/mem.h"

/* What was read, as "seq:text|seq:text|". */
struct reading {
	char text[1 << 20];
	size_t n;
	uint32_t lines, stop_after;
};

static struct reading reading;

static bool take(void *arg, const struct recent_line *line)
{
	struct reading *r = arg;

	r->n += (size_t)snprintf(r->text + r->n, sizeof(r->text) - r->n, "%llu:%.*s|",
				 (unsigned long long)line->seq, (int)line->n, line->text);
	return ++r->lines != r->stop_after;
}

static const char *read_ring(const struct recent *r, uint64_t after, uint32_t stop_after)
{
	reading.n = reading.lines = 0;
	reading.text[0] = '\0';
	reading.stop_after = stop_after;
	recent_each(r, after, take, &reading);
	return reading.text;
}

static void add(struct recent *r, uint64_t seq, const char *text, size_t n)
{
	recent_add(r, &(struct recent_line){ .seq = seq, .n = (uint16_t)n, .text = text });
}

static void test_ring(void **state)
{
	struct recent r;

	(void)state;
	recent_init(&r, 4096);
	assert_string_equal(read_ring(&r, 0, 0), "");
	assert_int_equal(recent_before_last(&r, 5), 0);
	add(&r, 3, "one", 3);
	add(&r, 5, "", 0);
	add(&r, 9, "three", 5);
	assert_string_equal(read_ring(&r, 0, 0), "3:one|5:|9:three|");
	assert_string_equal(read_ring(&r, 3, 0), "5:|9:three|");
	assert_string_equal(read_ring(&r, 4, 1), "5:|");
	assert_string_equal(read_ring(&r, 9, 0), "");
	assert_int_equal(recent_before_last(&r, 1), 5);
	assert_int_equal(recent_before_last(&r, 2), 3);
	assert_int_equal(recent_before_last(&r, 3), 0);
	assert_int_equal(recent_before_last(&r, 0), 9);
	assert_int_equal(r.evicted, 0);
	recent_fini(&r);
	assert_string_equal(read_ring(&r, 0, 0), "");
}

/* Lines of every length, around the end of the ring many times: what is kept is
 * always the newest, whole, and as much of it as there is room for. */
static void test_ring_keeps_the_newest(void **state)
{
	static char texts[4000][RECENT_LINE_BYTES + 1], want[1 << 20];
	struct recent r;
	uint32_t x = 1;

	(void)state;
	recent_init(&r, 8192);
	for (uint32_t i = 0; i < ARRAY_LEN(texts); i++) {
		x = x * 1664525u + 1013904223u;
		size_t n = (x >> 8) % ((x & 0x70) ? 60 : RECENT_LINE_BYTES + 1);
		memset(texts[i], 'a' + (int)(i % 26), n);
		add(&r, i + 1, texts[i], n);
		assert_true(r.used <= r.size);
	}
	read_ring(&r, 0, 0);
	assert_int_equal(reading.lines, r.n);
	assert_int_equal(r.evicted, ARRAY_LEN(texts) - r.n);
	size_t at = 0, held = 0;
	for (uint32_t i = ARRAY_LEN(texts) - r.n; i < ARRAY_LEN(texts); i++) {
		at += (size_t)snprintf(want + at, sizeof(want) - at, "%u:%s|", i + 1, texts[i]);
		held += sizeof(struct recent_line) + strlen(texts[i]);
	}
	assert_string_equal(reading.text, want);
	assert_int_equal(held, r.used);
	size_t before = strlen(texts[ARRAY_LEN(texts) - r.n - 1]);
	assert_true(held + sizeof(struct recent_line) + before > r.size - RECENT_LINE_BYTES);
	recent_fini(&r);
}

static void test_without_memory(void **state)
{
	struct recent r;
	struct recents rs;
	uint64_t seq = 0;

	(void)state;
	recent_init(&r, 4096);
	mem_fault_at(1);
	add(&r, 1, "lost", 4);
	mem_fault_at(0);
	assert_int_equal(r.evicted, 1);
	add(&r, 2, "kept", 4);
	assert_string_equal(read_ring(&r, 0, 0), "2:kept|");
	recent_fini(&r);
	recents_init(&rs, &seq);
	mem_fault_at(1);
	assert_null(recents_open(&rs, 1, 0, 1));
	mem_fault_at(0);
	assert_null(recents_close(NULL));
	recents_fini(&rs);
}

static void say(struct recent_worker *w, const char *text)
{
	recents_add(w, 1, text, strlen(text), false);
}

static bool see_fields(void *arg, const struct recent_line *line)
{
	*(struct recent_line *)arg = *line;
	return true;
}

static void test_workers_of_an_app(void **state)
{
	struct recents rs, other;
	struct recent_line seen;
	uint64_t seq = 0;

	(void)state;
	recents_init(&rs, &seq);
	recents_init(&other, &seq);
	struct recent_worker *a = recents_open(&rs, 100, 0, 7);
	struct recent_worker *b = recents_open(&rs, 101, 1, 7);
	struct recent_worker *c = recents_open(&other, 102, 0, 1);
	say(a, "a1");
	say(b, "b1");
	say(c, "c1");
	recents_add(a, 2, "a2", 2, true);
	assert_string_equal(read_ring(&rs.all, 0, 0), "1:a1|2:b1|4:a2|");
	assert_string_equal(read_ring(&a->lines, 0, 0), "1:a1|4:a2|");
	assert_string_equal(read_ring(&other.all, 0, 0), "3:c1|");
	recent_each(&a->lines, 1, see_fields, &seen);
	assert_int_equal(seen.pid, 100);
	assert_int_equal(seen.instance, 0);
	assert_int_equal(seen.release, 7);
	assert_int_equal(seen.stream, 2);
	assert_true(seen.cut);
	assert_true(seen.wall_us > 1500000000ull * 1000000);
	recents_fini(&rs);
	recents_fini(&other);
}

/* A worker that floods has the app's lines to itself, not the others' own. */
static void test_flood_of_one(void **state)
{
	static char long_line[RECENT_LINE_BYTES + 100];
	struct recents rs;
	struct recent_line seen;
	uint64_t seq = 0;

	(void)state;
	memset(long_line, 'x', sizeof(long_line));
	recents_init(&rs, &seq);
	struct recent_worker *quiet = recents_open(&rs, 100, 0, 1);
	struct recent_worker *loud = recents_open(&rs, 101, 1, 1);
	say(quiet, "listening");
	for (int i = 0; i < 1000; i++)
		recents_add(loud, 1, long_line, sizeof(long_line), false);
	assert_string_equal(read_ring(&quiet->lines, 0, 0), "1:listening|");
	assert_null(strstr(read_ring(&rs.all, 0, 0), "listening"));
	assert_true(rs.all.used <= RECENT_APP_BYTES && loud->lines.used <= RECENT_WORKER_BYTES);
	recent_each(&loud->lines, 1000, see_fields, &seen);
	assert_int_equal(seen.n, RECENT_LINE_BYTES);
	assert_true(seen.cut);
	recents_fini(&rs);
}

static uint32_t count(const struct recents *rs)
{
	uint32_t n = 0;

	list_each (it, &rs->workers)
		n++;
	return n;
}

/* The lines of one that has ended stay, but not for ever. */
static void test_after_the_end(void **state)
{
	struct recents rs;
	uint64_t seq = 0;

	(void)state;
	recents_init(&rs, &seq);
	struct recent_worker *steady = recents_open(&rs, 99, 1, 1);
	for (pid_t pid = 100; pid < 110; pid++) {
		struct recent_worker *w = recents_open(&rs, pid, 0, 1);
		say(w, "hello");
		assert_ptr_equal(recents_of_instance(&rs, 0), w);
		recents_close(w);
		assert_ptr_equal(recents_of_instance(&rs, 0), w);
	}
	assert_int_equal(count(&rs), 1 + RECENT_ENDED_KEPT);
	assert_null(recents_of_pid(&rs, 107));
	assert_string_equal(read_ring(&recents_of_pid(&rs, 108)->lines, 0, 0), "9:hello|");
	assert_string_equal(read_ring(&recents_of_pid(&rs, 109)->lines, 0, 0), "10:hello|");
	/* The older of two that live goes last: it is then the newest end. */
	struct recent_worker *old = recents_open(&rs, 200, 0, 1);
	struct recent_worker *failed = recents_open(&rs, 201, 0, 2);
	recents_close(failed);
	assert_ptr_equal(recents_of_instance(&rs, 0), old);
	recents_close(old);
	assert_ptr_equal(recents_of_instance(&rs, 0), old);
	assert_non_null(recents_of_pid(&rs, 201));
	recents_close(steady);
	recents_trim(&rs, 2);
	assert_int_equal(count(&rs), 3);
	recents_trim(&rs, 1);
	assert_int_equal(count(&rs), 2);
	recents_trim(&rs, 0);
	assert_int_equal(count(&rs), 0);
	assert_int_equal(rs.all.n, 10);
	recents_fini(&rs);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ring),           cmocka_unit_test(test_ring_keeps_the_newest),
		cmocka_unit_test(test_without_memory), cmocka_unit_test(test_workers_of_an_app),
		cmocka_unit_test(test_flood_of_one),   cmocka_unit_test(test_after_the_end),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
