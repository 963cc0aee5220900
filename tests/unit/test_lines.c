/* balancer/master/lines.h: output cut into lines, however it comes. */
#include "lib/check.h"

#include <stdint.h>
#include <string.h>

#include "balancer/master/lines.h"
#include "common/base.h"
#include "common/mem.h"

/* Lines as "a|bc|": each ended by a bar. */
struct taken {
	char text[64 * 1024];
	size_t n, lines, longest;
	char marks[64]; /* of each line: w whole, ( goes on, ) continues, = both */
};

static struct taken taken;

static void take(void *arg, const char *line, size_t n, unsigned piece)
{
	struct taken *t = arg;

	t->marks[MIN(t->lines, sizeof(t->marks) - 2)] =
		piece == LINES_WHOLE ? 'w' : piece == LINES_GOES_ON ? '(' :
		piece == LINES_CONTINUES ? ')' : '=';
	t->lines++;
	t->longest = MAX(t->longest, n);
	assert_true(n <= LINES_MAX);
	if (t->n + n + 1 >= sizeof(t->text))
		return;
	memcpy(t->text + t->n, line, n);
	t->n += n;
	t->text[t->n++] = '|';
	t->text[t->n] = '\0';
}

static const struct {
	const char *row;
	const char *pieces[5];
	const char *want;
} cuts[] = {
	{ "one line", { "abc\n" }, "abc|" },
	{ "two in one piece", { "abc\nde\n" }, "abc|de|" },
	{ "one in two pieces", { "ab", "c\n" }, "abc|" },
	{ "newline alone", { "abc", "\n" }, "abc|" },
	{ "empty lines", { "\n\n", "\n" }, "|||" },
	{ "without an end", { "abc\nde" }, "abc|de|" },
	{ "pieces of one byte", { "a", "b", "\n", "c", "\n" }, "ab|c|" },
	{ "end in mid-piece", { "ab", "c\nd", "e\nf", "g" }, "abc|de|fg|" },
	{ "carriage returns stay", { "a\r\nb\r", "c\n" }, "a\r|b\rc|" },
	{ "nothing", { "" }, "" },
};

static void test_cuts(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cuts); i++) {
		struct lines l = { .partial = NULL };
		taken = (struct taken){ .n = 0 };
		for (size_t p = 0; p < 5 && cuts[i].pieces[p]; p++)
			lines_feed(&l, cuts[i].pieces[p], strlen(cuts[i].pieces[p]), take, &taken);
		lines_end(&l, take, &taken);
		check_row_text(cuts[i].row, taken.text, cuts[i].want);
	}
}

static const struct {
	const char *row;
	size_t bytes, piece; /* a line of `bytes`, fed `piece` at a time */
	size_t want_lines;
	const char *want_marks;
} long_lines[] = {
	{ "one below the limit", LINES_MAX - 1, LINES_MAX * 3, 1, "w" },
	{ "the limit", LINES_MAX, LINES_MAX * 3, 1, "w" },
	{ "the limit, in halves", LINES_MAX, LINES_MAX / 2, 1, "w" },
	{ "the limit, the newline on its own", LINES_MAX, LINES_MAX, 1, "w" },
	{ "one above the limit", LINES_MAX + 1, LINES_MAX * 3, 2, "()" },
	{ "one above, in odd pieces", LINES_MAX + 1, 1000, 2, "()" },
	{ "twice the limit", LINES_MAX * 2, 777, 2, "()" },
	{ "huge", LINES_MAX * 40 + 5, 65536, 41, "(=======================================)" },
};

static void test_long_lines_come_in_pieces(void **state)
{
	static char text[LINES_MAX * 41];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(long_lines); i++) {
		struct lines l = { .partial = NULL };
		size_t n = long_lines[i].bytes + 1;
		memset(text, 'x', n - 1);
		text[n - 1] = '\n';
		taken = (struct taken){ .n = 0 };
		for (size_t at = 0; at < n; at += long_lines[i].piece)
			lines_feed(&l, text + at, MIN(long_lines[i].piece, n - at), take, &taken);
		check_row_int(long_lines[i].row, taken.lines, long_lines[i].want_lines);
		check_row_text(long_lines[i].row, taken.marks, long_lines[i].want_marks);
		lines_feed(&l, "next\n\n", 6, take, &taken);
		check_row_int(long_lines[i].row, taken.lines, long_lines[i].want_lines + 2);
		lines_end(&l, take, &taken);
		check_row_int(long_lines[i].row, taken.lines, long_lines[i].want_lines + 2);
	}
}

static void test_no_sequence_is_torn(void **state)
{
	static char text[LINES_MAX + 8];

	(void)state;
	for (size_t shift = 0; shift < 4; shift++) {
		struct lines l = { .partial = NULL };
		memset(text, 'x', LINES_MAX - shift);
		memcpy(text + LINES_MAX - shift, "\xf0\x9f\x98\x80y\n", 6);
		taken = (struct taken){ .n = 0 };
		lines_feed(&l, text, LINES_MAX - shift + 6, take, &taken);
		assert_string_equal(taken.marks, "()");
		assert_int_equal(taken.text[LINES_MAX - shift], '|');
		assert_string_equal(taken.text + LINES_MAX - shift + 1, "\xf0\x9f\x98\x80y|");
		lines_end(&l, take, &taken);
	}
}

/* Whatever the bytes and however they come: none is lost, none is added. */
static void test_binary_junk(void **state)
{
	static char junk[100000];
	struct lines l = { .partial = NULL };
	size_t newlines = 0;
	uint32_t x = 12345;

	(void)state;
	for (size_t i = 0; i < sizeof(junk); i++) {
		x = x * 1664525u + 1013904223u;
		junk[i] = (char)(x >> 24);
		newlines += junk[i] == '\n';
	}
	taken = (struct taken){ .n = 0 };
	for (size_t at = 0; at < sizeof(junk);) {
		size_t n = MIN(1 + at % 5000, sizeof(junk) - at);
		lines_feed(&l, junk + at, n, take, &taken);
		at += n;
	}
	lines_end(&l, take, &taken);
	assert_in_range(taken.lines, newlines, newlines + 1);
	const char *newline = memchr(junk, '\n', sizeof(junk));
	assert_memory_equal(taken.text, junk, (size_t)(newline - junk));
}

static void test_without_memory_a_partial_line_is_a_line(void **state)
{
	struct lines l = { .partial = NULL };

	(void)state;
	taken = (struct taken){ .n = 0 };
	mem_fault_at(1);
	lines_feed(&l, "abc", 3, take, &taken);
	mem_fault_at(0);
	lines_feed(&l, "de\n", 3, take, &taken);
	lines_end(&l, take, &taken);
	assert_string_equal(taken.text, "abc|de|");
	assert_string_equal(taken.marks, "()");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_cuts),
		cmocka_unit_test(test_long_lines_come_in_pieces),
		cmocka_unit_test(test_no_sequence_is_torn),
		cmocka_unit_test(test_binary_junk),
		cmocka_unit_test(test_without_memory_a_partial_line_is_a_line),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
