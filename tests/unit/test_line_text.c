/* common/line_text.h: lines of any bytes, as a terminal, JSON and UTF-8 take them. */
#include "lib/check.h"

#include <string.h>

#include "common/base.h"
#include "common/line_text.h"

static const struct {
	const char *line, *plain, *coloured;
} shows[] = {
	{ "hello", "hello", "hello" },
	{ "", "", "" },
	{ "tab\there", "tab\there", "tab\there" },
	{ "end\r", "end", "end" },
	{ "over\rwrite", "over\\x0dwrite", "over\\x0dwrite" },
	{ "bell\a", "bell\\x07", "bell\\x07" },
	{ "del\177", "del\\x7f", "del\\x7f" },
	{ "\033[31mred\033[0m", "\\x1b[31mred\\x1b[0m", "\033[31mred\033[0m" },
	{ "\033[m", "\\x1b[m", "\033[m" },
	{ "\033[2J", "\\x1b[2J", "\\x1b[2J" },
	{ "\033[1;2", "\\x1b[1;2", "\\x1b[1;2" },
	{ "\033]0;title\a", "\\x1b]0;title\\x07", "\\x1b]0;title\\x07" },
	{ "na\xc3\xafve \xe2\x82\xac", "na\xc3\xafve \xe2\x82\xac", "na\xc3\xafve \xe2\x82\xac" },
	{ "c1 \xc2\x9b" "2J", "c1 \\xc2\x9b" "2J", "c1 \\xc2\x9b" "2J" },
	{ "\xc2\xa0", "\xc2\xa0", "\xc2\xa0" },
	{ "\xff\xfe", "\xff\xfe", "\xff\xfe" },
};

static void test_shows(void **state)
{
	char out[256];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(shows); i++) {
		size_t n = strlen(shows[i].line);
		out[line_text_show(out, shows[i].line, n, false)] = '\0';
		check_row_text(shows[i].plain, out, shows[i].plain);
		out[line_text_show(out, shows[i].line, n, true)] = '\0';
		check_row_text(shows[i].plain, out, shows[i].coloured);
	}
	assert_int_equal(line_text_show(out, "\0x", 2, false), 5);
	assert_memory_equal(out, "\\x00x", 5);
}

static const struct {
	const char *line, *json;
} jsons[] = {
	{ "hello", "hello" },
	{ "", "" },
	{ "end\r", "end" },
	{ "a\rb", "a\\u000db" },
	{ "say \"hi\\\"", "say \\\"hi\\\\\\\"" },
	{ "tab\t\x1b[31m\177", "tab\\u0009\\u001b[31m\\u007f" },
	{ "na\xc3\xafve \xe2\x82\xac \xf0\x9f\x98\x80", "na\xc3\xafve \xe2\x82\xac \xf0\x9f\x98\x80" },
	{ "\xff\xfe", "\xef\xbf\xbd\xef\xbf\xbd" },
	{ "overlong \xc0\x80.", "overlong \xef\xbf\xbd\xef\xbf\xbd." },
	{ "surrogate \xed\xa0\x80.", "surrogate \xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd." },
	{ "too high \xf4\x90\x80\x80.", "too high \xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd." },
	{ "torn \xe2\x82", "torn \xef\xbf\xbd\xef\xbf\xbd" },
	{ "torn \xe2\x82z", "torn \xef\xbf\xbd\xef\xbf\xbdz" },
};

static void test_json(void **state)
{
	char out[256];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(jsons); i++) {
		size_t n = strlen(jsons[i].line), to = line_text_json(out, jsons[i].line, n);
		out[to] = '\0';
		assert_true(to <= LINE_TEXT_JSON * n);
		check_row_text(jsons[i].json, out, jsons[i].json);
	}
	assert_int_equal(line_text_json(out, "\0", 1), 6);
}

static void test_utf8(void **state)
{
	static const struct {
		const char *line, *utf8;
	} rows[] = {
		{ "hello\r", "hello" },
		{ "a\rb\t\x1b[m", "a\rb\t\x1b[m" },
		{ "na\xc3\xafve \xff\xf0\x9f\x98\x80\xe2\x82", "na\xc3\xafve \xef\xbf\xbd\xf0\x9f\x98\x80\xef\xbf\xbd\xef\xbf\xbd" },
	};
	char out[256];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		size_t n = strlen(rows[i].line), to = line_text_utf8(out, rows[i].line, n);
		out[to] = '\0';
		assert_true(to <= LINE_TEXT_UTF8 * n);
		check_row_text(rows[i].utf8, out, rows[i].utf8);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_shows),
		cmocka_unit_test(test_json),
		cmocka_unit_test(test_utf8),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
