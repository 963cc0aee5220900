/* common/http_body.c: bodies in pieces of every size, limits, and what bounds the
 * framing.  Malformed chunks one by one are in tests/wire. */
#include "lib/check.h"

#include <stdio.h>
#include <stdlib.h>

#include "common/http_body.h"

/* What came of a body: its payload, the bytes behind it, or why it was refused. */
struct result {
	enum http_body_step last;
	enum http_rule rule;
	char data[4096];
	size_t data_n, used;
};

/* Feeds p[0..n) in pieces of `piece` bytes, each from a buffer of exactly its size. */
static void feed(struct http_body *b, const char *p, size_t n, size_t piece, struct result *r)
{
	*r = (struct result){ .last = HTTP_BODY_MORE };
	for (size_t at = 0; at < n && r->last == HTTP_BODY_MORE; at += piece) {
		size_t left = MIN(piece, n - at);
		char *exact = malloc(left), *q = exact;
		memcpy(exact, p + at, left);
		do {
			size_t used = 0;
			struct slice data = { NULL, 0 };
			r->last = http_body_read(b, q, left, &used, &data, &r->rule);
			assert_true(used <= left);
			if (r->last == HTTP_BODY_DATA) {
				/* The run lies in the piece and ends where reading goes on. */
				assert_true(data.n > 0 && data.p >= q && data.p + data.n == q + used);
				assert_true(r->data_n + data.n <= sizeof(r->data));
				memcpy(r->data + r->data_n, data.p, data.n);
				r->data_n += data.n;
			}
			q += used;
			left -= used;
			r->used += used;
		} while (r->last == HTTP_BODY_DATA);
		if (r->last == HTTP_BODY_MORE)
			assert_int_equal(left, 0);
		free(exact);
	}
}

static const struct row {
	const char *text;
	const char *data; /* NULL: not compared */
	enum http_body_step last;
	enum http_rule rule;
	size_t used; /* with END */
} chunked_rows[] = {
	{ "0\r\n\r\n", "", HTTP_BODY_END, HTTP_RULE_NONE, 5 },
	{ "0\r\n\r\nrest", "", HTTP_BODY_END, HTTP_RULE_NONE, 5 },
	{ "3\r\nabc\r\n0\r\n\r\n", "abc", HTTP_BODY_END, HTTP_RULE_NONE, 13 },
	{ "a\r\n0123456789\r\n1;x=\"y\"\r\nA\r\n00;z\r\n\r\n!", "0123456789A", HTTP_BODY_END,
	  HTTP_RULE_NONE, 35 },
	{ "00000000000000Ff", "", HTTP_BODY_MORE, HTTP_RULE_NONE, 0 },
	{ "1\r\n\r\r\n0\r\n\r\n", "\r", HTTP_BODY_END, HTTP_RULE_NONE, 11 },
	{ "5\r\n\r\n0\r\n\r\n0\r\n\r\n", "\r\n0\r\n", HTTP_BODY_END, HTTP_RULE_NONE, 15 },
	{ "0\r\nA: b\r\nC:\r\n\r\nX", "", HTTP_BODY_END, HTTP_RULE_NONE, 15 },
	{ "3\r\nab", "ab", HTTP_BODY_MORE, HTTP_RULE_NONE, 0 },
	{ "3\r\nabc", "abc", HTTP_BODY_MORE, HTTP_RULE_NONE, 0 },
	{ "0\r\n", "", HTTP_BODY_MORE, HTTP_RULE_NONE, 0 },
	{ "0\r\n\r", "", HTTP_BODY_MORE, HTTP_RULE_NONE, 0 },
	{ "0\r\nA", "", HTTP_BODY_MORE, HTTP_RULE_NONE, 0 },
	{ "7fffffffffffffff\r\nab", "ab", HTTP_BODY_MORE, HTTP_RULE_NONE, 0 },
	{ "8000000000000000\r\n", "", HTTP_BODY_BAD, HTTP_RULE_CHUNK_SIZE, 0 },
	{ "00000000000000001\r\n", "", HTTP_BODY_BAD, HTTP_RULE_CHUNK_SIZE, 0 },
	{ "\r\n", "", HTTP_BODY_BAD, HTTP_RULE_CHUNK_SIZE, 0 },
	{ "\n", "", HTTP_BODY_BAD, HTTP_RULE_BARE_LF, 0 },
	{ ";a\r\n", "", HTTP_BODY_BAD, HTTP_RULE_CHUNK_SIZE, 0 },
	{ "1\n", "", HTTP_BODY_BAD, HTTP_RULE_BARE_LF, 0 },
	{ "1\r1", "", HTTP_BODY_BAD, HTTP_RULE_BARE_CR, 0 },
	{ "1\r\r\n", "", HTTP_BODY_BAD, HTTP_RULE_BARE_CR, 0 },
	{ "1 \r\n", "", HTTP_BODY_BAD, HTTP_RULE_CHUNK_SIZE, 0 },
	{ "1 1\r\n", "", HTTP_BODY_BAD, HTTP_RULE_CHUNK_SIZE, 0 },
	{ "1;a\x7f\r\n", "", HTTP_BODY_BAD, HTTP_RULE_CHUNK_EXTENSION, 0 },
	{ "1;a\n", "", HTTP_BODY_BAD, HTTP_RULE_BARE_LF, 0 },
	{ "1;\n", "", HTTP_BODY_BAD, HTTP_RULE_BARE_LF, 0 },
	{ "1;a=\n", "", HTTP_BODY_BAD, HTTP_RULE_BARE_LF, 0 },
	{ "1;a=\"\n", "", HTTP_BODY_BAD, HTTP_RULE_BARE_LF, 0 },
	{ "1;a=\"\\\n", "", HTTP_BODY_BAD, HTTP_RULE_BARE_LF, 0 },
	{ "1;a=\"b\"\n", "", HTTP_BODY_BAD, HTTP_RULE_BARE_LF, 0 },
	{ "1;a=b=c\r\n", "", HTTP_BODY_BAD, HTTP_RULE_CHUNK_EXTENSION, 0 },
	{ "1;a=b\"\r\n", "", HTTP_BODY_BAD, HTTP_RULE_CHUNK_EXTENSION, 0 },
	{ "1 \n", "", HTTP_BODY_BAD, HTTP_RULE_CHUNK_SIZE, 0 },
	{ "1;a\rb", "", HTTP_BODY_BAD, HTTP_RULE_BARE_CR, 0 },
	{ "1\r\nab", "a", HTTP_BODY_BAD, HTTP_RULE_CHUNK_END, 0 },
	{ "1\r\na\n", "a", HTTP_BODY_BAD, HTTP_RULE_CHUNK_END, 0 },
	{ "1\r\na\rb", "a", HTTP_BODY_BAD, HTTP_RULE_CHUNK_END, 0 },
	{ "1\r\na\r\r\n", "a", HTTP_BODY_BAD, HTTP_RULE_CHUNK_END, 0 },
	{ "0\r\n\n", "", HTTP_BODY_BAD, HTTP_RULE_BARE_LF, 0 },
	{ "0\r\n\ra", "", HTTP_BODY_BAD, HTTP_RULE_BARE_CR, 0 },
	{ "0\r\n :b\r\n", "", HTTP_BODY_BAD, HTTP_RULE_TRAILER, 0 },
	{ "0\r\n:b\r\n", "", HTTP_BODY_BAD, HTTP_RULE_TRAILER, 0 },
	{ "0\r\na\r\n", "", HTTP_BODY_BAD, HTTP_RULE_TRAILER, 0 },
	{ "0\r\na b: c\r\n", "", HTTP_BODY_BAD, HTTP_RULE_TRAILER, 0 },
	{ "0\r\na: \x01\r\n", "", HTTP_BODY_BAD, HTTP_RULE_TRAILER, 0 },
	{ "0\r\na\n", "", HTTP_BODY_BAD, HTTP_RULE_BARE_LF, 0 },
	{ "0\r\na: b\n", "", HTTP_BODY_BAD, HTTP_RULE_BARE_LF, 0 },
	{ "0\r\na: b\rc", "", HTTP_BODY_BAD, HTTP_RULE_BARE_CR, 0 },
};

static void test_chunked(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(chunked_rows); i++) {
		const struct row *row = &chunked_rows[i];
		size_t n = strlen(row->text);
		for (size_t piece = 1; piece <= n; piece++) {
			struct http_body b;
			struct result r;
			http_body_init(&b, HTTP_BODY_CHUNKED, 0, 0);
			assert_false(b.ended);
			feed(&b, row->text, n, piece, &r);
			check_row_int(row->text, r.last, row->last);
			check_row_text(row->text, http_rule_table[r.rule].name,
				       http_rule_table[row->rule].name);
			check_row_int(row->text, r.data_n, strlen(row->data));
			check_row(row->text, memcmp(r.data, row->data, r.data_n) == 0);
			check_row_int(row->text, b.data_bytes, r.data_n);
			check_row_int(row->text, b.ended, row->last == HTTP_BODY_END);
			if (row->last != HTTP_BODY_END)
				continue;
			check_row_int(row->text, r.used, row->used);
			check_row_int(row->text, b.frame_bytes, row->used - r.data_n);
			/* Over is over. */
			size_t used = 1;
			struct slice data;
			check_row_int(row->text, http_body_read(&b, "1", 1, &used, &data, &r.rule),
				      HTTP_BODY_END);
			check_row_int(row->text, used, 0);
		}
	}
}

static void test_length(void **state)
{
	(void)state;
	for (size_t length = 1; length <= 10; length++) {
		for (size_t piece = 1; piece <= 10; piece++) {
			struct http_body b;
			struct result r;
			http_body_init(&b, HTTP_BODY_LENGTH, length, 0);
			feed(&b, "0123456789", 10, piece, &r);
			/* The end is known with its last byte, and said at the next call. */
			assert_true(b.ended);
			assert_int_equal(r.last, HTTP_BODY_END);
			assert_int_equal(r.used, length);
			assert_int_equal(r.data_n, length);
			assert_memory_equal(r.data, "0123456789", length);
			assert_int_equal(b.left, 0);
		}
	}
}

static void test_none_and_close(void **state)
{
	static const enum http_framing none[] = { HTTP_BODY_NONE, HTTP_BODY_LENGTH };
	struct http_body b;
	struct result r;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(none); i++) {
		http_body_init(&b, none[i], 0, 0);
		assert_true(b.ended);
		feed(&b, "abc", 3, 3, &r);
		assert_int_equal(r.last, HTTP_BODY_END);
		assert_int_equal(r.used, 0);
	}
	http_body_init(&b, HTTP_BODY_CLOSE, 0, 0);
	for (int i = 0; i < 3; i++) {
		feed(&b, "abc", 3, 2, &r);
		assert_int_equal(r.last, HTTP_BODY_MORE);
		assert_int_equal(r.data_n, 3);
		assert_false(b.ended);
	}
	assert_int_equal(b.data_bytes, 9);
}

/* No bytes, no change; a body that is over says so even then. */
static void test_no_bytes(void **state)
{
	static const enum http_framing framings[] = { HTTP_BODY_LENGTH, HTTP_BODY_CHUNKED,
						      HTTP_BODY_CLOSE };
	enum http_rule rule;
	struct slice data;
	size_t used = 1;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(framings); i++) {
		struct http_body b;
		http_body_init(&b, framings[i], 5, 0);
		assert_int_equal(http_body_read(&b, NULL, 0, &used, &data, &rule), HTTP_BODY_MORE);
		assert_int_equal(used, 0);
	}
}

static void test_limit(void **state)
{
	static const struct {
		enum http_framing framing;
		uint64_t length;
		const char *text;
		bool ok;
	} rows[] = {
		{ HTTP_BODY_CHUNKED, 0, "5\r\nabcde\r\n0\r\n\r\n", true },
		{ HTTP_BODY_CHUNKED, 0, "2\r\nab\r\n3\r\ncde\r\n0\r\n\r\n", true },
		{ HTTP_BODY_CHUNKED, 0, "6\r\n", false },
		{ HTTP_BODY_CHUNKED, 0, "3\r\nabc\r\n3\r\n", false },
		{ HTTP_BODY_CHUNKED, 0, "5\r\nabcde\r\n1\r\n", false },
		{ HTTP_BODY_CHUNKED, 0, "1\r\na\r\n7fffffffffffffff\r\n", false },
		{ HTTP_BODY_LENGTH, 5, "abcde", true },
		{ HTTP_BODY_LENGTH, 6, "abcdef", false },
		{ HTTP_BODY_CLOSE, 0, "abcde", true },
		{ HTTP_BODY_CLOSE, 0, "abcdef", false },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		for (size_t piece = 1; piece < 30; piece++) {
			struct http_body b;
			struct result r;
			http_body_init(&b, rows[i].framing, rows[i].length, 5);
			feed(&b, rows[i].text, strlen(rows[i].text), piece, &r);
			check_row_int(rows[i].text, r.last == HTTP_BODY_BAD, !rows[i].ok);
			check_row_text(rows[i].text, http_rule_table[r.rule].name,
				       rows[i].ok ? "NONE" : "BODY_TOO_LARGE");
			check_row(rows[i].text, r.data_n <= 5);
		}
	}
}

/* Reads `n` times `unit`; the rule that ended it, or NONE. */
static enum http_rule repeat(struct http_body *b, const char *unit, size_t n)
{
	enum http_rule rule = HTTP_RULE_NONE;

	for (size_t i = 0; i < n; i++) {
		const char *p = unit;
		size_t left = strlen(unit), used;
		enum http_body_step step;
		struct slice data;
		do {
			step = http_body_read(b, p, left, &used, &data, &rule);
			p += used;
			left -= used;
		} while (step == HTTP_BODY_DATA);
		if (step == HTTP_BODY_BAD)
			return rule;
	}
	return HTTP_RULE_NONE;
}

/* Honest senders are never refused, padders are, long before it costs anything. */
static void test_overhead(void **state)
{
	static const struct {
		const char *unit;
		enum http_rule want;
	} rows[] = {
		{ "1\r\nx\r\n", HTTP_RULE_NONE },
		{ "0001\r\nx\r\n", HTTP_RULE_NONE },
		{ "00000001\r\nx\r\n", HTTP_RULE_NONE },
		{ "2;ieof=abcdefghijklmnopq\r\nxx\r\n", HTTP_RULE_NONE },
		{ "1;aaaaaaaaaaaaaaaaaaa\r\nx\r\n", HTTP_RULE_CHUNK_OVERHEAD },
		{ "0000000000000001\r\nx\r\n", HTTP_RULE_CHUNK_OVERHEAD },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct http_body b;
		http_body_init(&b, HTTP_BODY_CHUNKED, 0, 0);
		check_row_text(rows[i].unit, http_rule_table[repeat(&b, rows[i].unit, 50000)].name,
			       http_rule_table[rows[i].want].name);
		if (rows[i].want != HTTP_RULE_NONE)
			check_row(rows[i].unit, b.frame_bytes > 16384 && b.frame_bytes < 200000);
	}
}

static void test_extension_limit(void **state)
{
	struct http_body b;

	(void)state;
	for (size_t fill = 253; fill < 258; fill++) {
		char text[300] = "1;";
		memset(text + 2, 'a', fill);
		strcpy(text + 2 + fill, "\r\n");
		http_body_init(&b, HTTP_BODY_CHUNKED, 0, 0);
		/* Counted: what stands between ";" and LF. */
		assert_int_equal(repeat(&b, text, 1),
				 fill + 1 <= 256 ? HTTP_RULE_NONE : HTTP_RULE_CHUNK_EXTENSION);
	}
	/* Each chunk anew. */
	char text[300] = "1;";
	memset(text + 2, 'a', 200);
	strcpy(text + 202, "\r\nx\r\n");
	http_body_init(&b, HTTP_BODY_CHUNKED, 0, 0);
	assert_int_equal(repeat(&b, text, 3), HTTP_RULE_NONE);
}

static void test_trailer_limits(void **state)
{
	struct http_body b;

	(void)state;
	for (size_t lines = 63; lines < 67; lines++) {
		http_body_init(&b, HTTP_BODY_CHUNKED, 0, 0);
		assert_int_equal(repeat(&b, "0\r\n", 1), HTTP_RULE_NONE);
		assert_int_equal(repeat(&b, "a:\r\n", lines),
				 lines <= 64 ? HTTP_RULE_NONE : HTTP_RULE_TRAILER);
	}
	for (size_t bytes = 8190; bytes < 8195; bytes++) {
		http_body_init(&b, HTTP_BODY_CHUNKED, 0, 0);
		assert_int_equal(repeat(&b, "0\r\na:", 1), HTTP_RULE_NONE);
		assert_int_equal(repeat(&b, "b", bytes - 2),
				 bytes <= 8192 ? HTTP_RULE_NONE : HTTP_RULE_TRAILER);
	}
}

/* A large chunk is handed on in as many runs as there are pieces. */
static void test_large_chunk(void **state)
{
	static char piece[65536];
	struct http_body b;
	enum http_rule rule = HTTP_RULE_NONE;
	struct slice data;
	size_t used;

	(void)state;
	http_body_init(&b, HTTP_BODY_CHUNKED, 0, 0);
	assert_int_equal(repeat(&b, "10000000\r\n", 1), HTTP_RULE_NONE);
	for (unsigned i = 0; i < 4096; i++) {
		assert_int_equal(http_body_read(&b, piece, sizeof(piece), &used, &data, &rule),
				 HTTP_BODY_DATA);
		assert_int_equal(data.n, sizeof(piece));
		assert_int_equal(used, sizeof(piece));
	}
	assert_int_equal(b.data_bytes, 0x10000000);
	assert_int_equal(http_body_read(&b, "\r\n0\r\n\r\n", 7, &used, &data, &rule), HTTP_BODY_END);
	assert_int_equal(used, 7);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_chunked),         cmocka_unit_test(test_length),
		cmocka_unit_test(test_none_and_close),  cmocka_unit_test(test_no_bytes),
		cmocka_unit_test(test_limit),           cmocka_unit_test(test_overhead),
		cmocka_unit_test(test_extension_limit), cmocka_unit_test(test_trailer_limits),
		cmocka_unit_test(test_large_chunk),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
