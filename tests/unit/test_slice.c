/* common/slice.c: comparing, trimming, lists, numbers, tokens. */
#include "lib/check.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/slice.h"

static const struct slice nothing = { NULL, 0 };

static void test_compare(void **state)
{
	static const struct {
		const char *a, *b;
		bool eq, ieq, starts, istarts; /* does a start with b? */
	} rows[] = {
		{ "", "", true, true, true, true },
		{ "a", "", false, false, true, true },
		{ "", "a", false, false, false, false },
		{ "abc", "abc", true, true, true, true },
		{ "abc", "aBC", false, true, false, true },
		{ "abcd", "ABC", false, false, false, true },
		{ "abcd", "abc", false, false, true, true },
		{ "abc", "abcd", false, false, false, false },
		/* Bytes 0x20 apart that are no letters. */
		{ "[", "{", false, false, false, false },
		{ "@", "`", false, false, false, false },
		/* Not ASCII: A and a with diaeresis in Latin-1. */
		{ "\xc4", "\xe4", false, false, false, false },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct slice a = slice_of(rows[i].a), b = slice_of(rows[i].b);
		check_row_int(rows[i].a, slice_eq(a, b), rows[i].eq);
		check_row_int(rows[i].a, slice_ieq(a, b), rows[i].ieq);
		check_row_int(rows[i].a, slice_starts(a, b), rows[i].starts);
		check_row_int(rows[i].a, slice_istarts(a, b), rows[i].istarts);
	}
	assert_true(slice_eq(nothing, SLICE("")));
	assert_true(slice_ieq(SLICE(""), nothing));
	assert_true(slice_starts(SLICE("x"), nothing));
	assert_true(slice_istarts(nothing, nothing));
	assert_true(slice_eq(SLICE("a\0b"), SLICE("a\0b")));
	assert_false(slice_eq(SLICE("a\0b"), SLICE("a\0c")));
	assert_int_equal(slice_of(NULL).n, 0);
}

static void test_trim(void **state)
{
	static const struct {
		const char *text, *want;
	} rows[] = {
		{ "", "" },           { " ", "" },     { "\t \t", "" },        { "a", "a" },
		{ " a b\t", "a b" },  { "a ", "a" },   { "\ta", "a" },
		{ "\na\r", "\na\r" }, /* OWS is space and tab, nothing else */
		{ "\va\f", "\va\f" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		check_row(rows[i].text, slice_eq(slice_trim(slice_of(rows[i].text)),
						 slice_of(rows[i].want)));
	assert_int_equal(slice_trim(nothing).n, 0);
}

static void test_next_item(void **state)
{
	/* The elements, joined with '|'. */
	static const struct {
		const char *text, *want;
	} rows[] = {
		{ "", "" },
		{ ",", "" },
		{ " , ,\t,", "" },
		{ "a", "a" },
		{ "a,b", "a|b" },
		{ " a , b ", "a|b" },
		{ ",,a,,b,,", "a|b" },
		{ "a b, c", "a b|c" },
		{ "\"a,b\", c", "\"a,b\"|c" },
		{ "x=\"a,b\";y, c", "x=\"a,b\";y|c" },
		{ "\"a\\\",b\", c", "\"a\\\",b\"|c" },  /* an escaped quote does not close */
		{ "\"a\\\\\", c", "\"a\\\\\"|c" },       /* an escaped backslash does not escape */
		{ "a\\,b", "a\\|b" },                    /* no escapes outside quotes */
		{ "\"a, b", "\"a, b" },                  /* never closed */
		{ "\"a, b\\", "\"a, b\\" },              /* ends in the middle of an escape */
		{ "\"\",a", "\"\"|a" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		/* On the heap to the byte: reading past the end is an error. */
		size_t n = strlen(rows[i].text);
		char *exact = memcpy(malloc(n + 1), rows[i].text, n);
		struct slice rest = { n ? exact : NULL, n }, item;
		char got[128], *p = got;

		exact = realloc(exact, n ? n : 1);
		rest.p = n ? exact : NULL;
		while (slice_next_item(&rest, &item)) {
			if (p != got)
				*p++ = '|';
			p = (char *)memcpy(p, item.p, item.n) + item.n;
		}
		*p = '\0';
		check_row_text(rows[i].text, got, rows[i].want);
		check_row_int(rows[i].text, rest.n, 0);
		free(exact);
	}
}

static void test_next_item_keeps_result_at_end(void **state)
{
	struct slice rest = SLICE(" ,"), item = SLICE("kept");

	(void)state;
	assert_false(slice_next_item(&rest, &item));
	assert_true(slice_eq(item, SLICE("kept")));
}

static void test_to_u64(void **state)
{
	static const struct {
		const char *text;
		uint64_t max;
		enum err want;
		uint64_t value;
	} rows[] = {
		{ "0", 0, ERR_OK, 0 },
		{ "00012", 12, ERR_OK, 12 },
		{ "65535", 65535, ERR_OK, 65535 },
		{ "65536", 65535, ERR_RANGE, 0 },
		{ "18446744073709551615", UINT64_MAX, ERR_OK, UINT64_MAX },
		{ "18446744073709551616", UINT64_MAX, ERR_RANGE, 0 },
		{ "18446744073709551620", UINT64_MAX, ERR_RANGE, 0 },
		{ "99999999999999999999999999", UINT64_MAX, ERR_RANGE, 0 },
		{ "000000000000000000000000000000000000001", 1, ERR_OK, 1 },
		{ "", UINT64_MAX, ERR_SYNTAX, 0 },
		{ "+1", UINT64_MAX, ERR_SYNTAX, 0 },
		{ "-1", UINT64_MAX, ERR_SYNTAX, 0 },
		{ " 1", UINT64_MAX, ERR_SYNTAX, 0 },
		{ "1 ", UINT64_MAX, ERR_SYNTAX, 0 },
		{ "0x1", UINT64_MAX, ERR_SYNTAX, 0 },
		{ "1_0", UINT64_MAX, ERR_SYNTAX, 0 },
		{ "1.0", UINT64_MAX, ERR_SYNTAX, 0 },
		{ "1e3", UINT64_MAX, ERR_SYNTAX, 0 },
		{ "\xd9\xa1", UINT64_MAX, ERR_SYNTAX, 0 }, /* an Arabic digit one */
		{ "99999999999999999999999999x", 5, ERR_SYNTAX, 0 },
		{ "/", 9, ERR_SYNTAX, 0 },
		{ ":", 9, ERR_SYNTAX, 0 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		uint64_t value = 4711;
		enum err e = slice_to_u64(slice_of(rows[i].text), rows[i].max, &value);
		check_row_int(rows[i].text, e, rows[i].want);
		check_row(rows[i].text, value == (rows[i].want ? 4711 : rows[i].value));
	}
	uint64_t value;
	assert_int_equal(slice_to_u64(SLICE("1\0"), 9, &value), ERR_SYNTAX);
	assert_int_equal(slice_to_u64(nothing, 9, &value), ERR_SYNTAX);
}

static void test_token(void **state)
{
	(void)state;
	for (int c = 0; c < 256; c++) {
		char byte = (char)c, text[8];
		/* RFC 9110 5.6.2, said differently: visible ASCII but the delimiters. */
		bool want = c > 0x20 && c < 0x7f && !strchr("\"(),/:;<=>?@[\\]{}", c);
		snprintf(text, sizeof(text), "%#x", (unsigned)c);
		check_row_int(text, slice_is_token((struct slice){ &byte, 1 }), want);
	}
	assert_false(slice_is_token(nothing));
	assert_true(slice_is_token(SLICE("X-Request-Id")));
	assert_false(slice_is_token(SLICE("X Request")));
	assert_false(slice_is_token(SLICE("Host\0")));
	assert_false(slice_is_token(SLICE("Host ")));
}

static void test_ascii_lower(void **state)
{
	(void)state;
	for (int c = 0; c < 256; c++) {
		int want = c < 0x80 ? tolower(c) : c;
		assert_int_equal((unsigned char)ascii_lower((char)c), want);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_compare),
		cmocka_unit_test(test_trim),
		cmocka_unit_test(test_next_item),
		cmocka_unit_test(test_next_item_keeps_result_at_end),
		cmocka_unit_test(test_to_u64),
		cmocka_unit_test(test_token),
		cmocka_unit_test(test_ascii_lower),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
