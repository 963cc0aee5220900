/* common/http_parse.c: what a parsed head holds, heads that arrive in pieces, and
 * limits.  Single messages with their verdicts are in tests/wire. */
#include "lib/check.h"

#include <stdio.h>
#include <stdlib.h>

#include "common/http_parse.h"

static const struct http_limits limits = { 16384, 8192, 100, 0 };
static struct http_head head;

#define check_slice(row, got, want) check_row((row), slice_eq((got), slice_of(want)))

static enum http_verdict request(const char *text, enum http_rule *ret_rule)
{
	return http_parse_request(&head, text, strlen(text), 0, &limits, ret_rule);
}

static void test_request_fields(void **state)
{
	static const char text[] = "POST /a?b HTTP/1.1\r\n"
				   "Host: example.com:80\r\n"
				   "content-LENGTH:  5 \r\n"
				   "X-Empty:\r\n"
				   "X-Space: \t \r\n"
				   "X-Inner: a  b\t\r\n"
				   "\r\n"
				   "hello";
	static const struct {
		const char *name, *value;
		enum http_field_id id;
	} want[] = {
		{ "Host", "example.com:80", HTTP_F_HOST },
		{ "content-LENGTH", "5", HTTP_F_CONTENT_LENGTH },
		{ "X-Empty", "", HTTP_F_OTHER },
		{ "X-Space", "", HTTP_F_OTHER },
		{ "X-Inner", "a  b", HTTP_F_OTHER },
	};
	enum http_rule rule = HTTP_RULE_MAX;

	(void)state;
	memset(&head, 0xa5, sizeof(head));
	assert_int_equal(request(text, &rule), HTTP_WHOLE);
	assert_int_equal(rule, HTTP_RULE_MAX); /* untouched */
	check_slice("method", head.method, "POST");
	assert_int_equal(head.method_id, HTTP_M_POST);
	check_slice("target", head.target, "/a?b");
	check_slice("path", head.path, "/a?b");
	check_slice("host", head.host, "example.com:80");
	assert_int_equal(head.minor, 1);
	assert_int_equal(head.status, 0);
	assert_int_equal(head.framing, HTTP_BODY_LENGTH);
	assert_int_equal(head.length, 5);
	assert_true(head.has_length && head.keep_alive);
	assert_false(head.upgrade || head.expect_continue);
	assert_int_equal(head.head_bytes, strlen(text) - 5);
	assert_int_equal(head.n_fields, ARRAY_LEN(want));
	for (size_t i = 0; i < ARRAY_LEN(want); i++) {
		check_slice(want[i].name, head.fields[i].name, want[i].name);
		check_slice(want[i].name, head.fields[i].value, want[i].value);
		check_row_int(want[i].name, head.fields[i].id, want[i].id);
		check_row_int(want[i].name, head.fields[i].drop, false);
		/* Borrowed from the buffer, not copied. */
		check_row(want[i].name, head.fields[i].name.p > text &&
						head.fields[i].name.p < text + sizeof(text));
	}
	assert_ptr_equal(http_head_find(&head, HTTP_F_CONTENT_LENGTH), &head.fields[1]);
	assert_null(http_head_find(&head, HTTP_F_UPGRADE));
}

static void test_reply_fields(void **state)
{
	static const char text[] = "HTTP/1.0 404 Not  Found\r\nServer: x\r\n\r\n";
	enum http_rule rule;

	(void)state;
	memset(&head, 0xa5, sizeof(head));
	assert_int_equal(http_parse_reply(&head, text, strlen(text), 0, &limits, HTTP_M_GET, &rule),
			 HTTP_WHOLE);
	assert_int_equal(head.status, 404);
	assert_int_equal(head.minor, 0);
	check_slice("reason", head.reason, "Not  Found");
	assert_int_equal(head.framing, HTTP_BODY_CLOSE);
	assert_false(head.keep_alive);
	assert_int_equal(head.head_bytes, strlen(text));
	assert_int_equal(head.n_fields, 1);
	assert_int_equal(head.method.n + head.target.n + head.path.n + head.host.n, 0);
}

/* Methods that http-parser has rules for, or does not know, or knows and we do not. */
static void test_methods(void **state)
{
	static const char names[][9] = { "GET",     "HEAD",   "POST",  "PUT",      "DELETE",
					 "OPTIONS", "PATCH",  "QUERY", "PROPFIND", "M-SEARCH",
					 "SOURCE",  "X",      "HTTP",  "POSTPOST", "P",
					 "~",       "NOTIFY", "get" };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		char text[256];
		enum http_rule rule;
		snprintf(text, sizeof(text),
			 "%s /x HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n", names[i]);
		check_row_int(names[i], request(text, &rule), HTTP_WHOLE);
		check_slice(names[i], head.method, names[i]);
		check_row_int(names[i], head.method_id, http_method_find(slice_of(names[i])));
		check_slice(names[i], head.path, "/x");
		check_row_int(names[i], head.framing, HTTP_BODY_LENGTH);
		check_row_int(names[i], head.n_fields, 2);
	}
}

/* Pipelined: the second begins where the first ends. */
static void test_pipelined(void **state)
{
	static const char text[] = "GET /1 HTTP/1.1\r\nHost: a\r\n\r\n"
				   "\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n"
				   "GET /3 HTTP/1.1\r\nHost";
	static const char *const paths[] = { "/1", "/2" };
	const char *p = text, *end = text + strlen(text);
	enum http_rule rule;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
		assert_int_equal(http_parse_request(&head, p, (size_t)(end - p), 0, &limits, &rule),
				 HTTP_WHOLE);
		check_slice(paths[i], head.path, paths[i]);
		p += head.head_bytes;
	}
	assert_int_equal(http_parse_request(&head, p, (size_t)(end - p), 0, &limits, &rule),
			 HTTP_PARTIAL);
}

/* A byte at a time, and with every possible `seen`: PARTIAL until the last byte. */
static void test_trickle(void **state)
{
	static const char text[] = "\r\nGET http://a/b HTTP/1.1\r\nHost: a\r\nX: y\r\n\r\n";
	size_t n = strlen(text);
	enum http_rule rule;

	(void)state;
	for (size_t i = 0; i < n; i++) {
		for (size_t seen = 0; seen <= i; seen++) {
			char row[32];
			snprintf(row, sizeof(row), "%zu of %zu", seen, i);
			char *exact = malloc(i + !i);
			memcpy(exact, text, i);
			check_row_int(row, http_parse_request(&head, exact, i, seen, &limits, &rule),
				      HTTP_PARTIAL);
			free(exact);
		}
	}
	for (size_t seen = 0; seen < n; seen++)
		assert_int_equal(http_parse_request(&head, text, n, seen, &limits, &rule),
				 HTTP_WHOLE);
	check_slice("path", head.path, "/b");
}

/* "GET /" + path + " HTTP/1.1 ... X: " + fill, of exactly these sizes. */
static size_t build(char *buf, size_t target, size_t whole)
{
	size_t n = (size_t)sprintf(buf, "GET /");

	memset(buf + n, 'a', target - 1);
	n += target - 1;
	n += (size_t)sprintf(buf + n, " HTTP/1.1\r\nHost: a\r\nX: ");
	memset(buf + n, 'b', whole - n - 4);
	memcpy(buf + whole - 4, "\r\n\r\n", 5);
	return whole;
}

static void test_limits(void **state)
{
	static const struct {
		size_t target, whole;
		enum http_rule want;
	} rows[] = {
		{ 50, 200, HTTP_RULE_NONE },
		{ 50, 201, HTTP_RULE_HEAD_TOO_LARGE },
		{ 51, 200, HTTP_RULE_URI_TOO_LONG },
		{ 51, 201, HTTP_RULE_URI_TOO_LONG },
		{ 1, 200, HTTP_RULE_NONE },
		{ 300, 400, HTTP_RULE_URI_TOO_LONG },
		{ 1, 2000, HTTP_RULE_HEAD_TOO_LARGE },
	};
	static const struct http_limits tight = { 200, 50, 100, 0 };
	char buf[4096];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		char row[32];
		size_t n = build(buf, rows[i].target, rows[i].whole), k;
		enum http_rule rule = HTTP_RULE_NONE;
		enum http_verdict v = http_parse_request(&head, buf, n, 0, &tight, &rule);
		snprintf(row, sizeof(row), "%zu of %zu", rows[i].target, rows[i].whole);
		check_row_int(row, v, rows[i].want == HTTP_RULE_NONE ? HTTP_WHOLE : HTTP_REFUSED);
		check_row_text(row, http_rule_table[rule].name, http_rule_table[rows[i].want].name);

		/* In pieces it is never held longer than the limit. */
		rule = HTTP_RULE_NONE;
		for (k = 1;
		     (v = http_parse_request(&head, buf, k, k - 1, &tight, &rule)) == HTTP_PARTIAL;
		     k++)
			check_row(row, k < n);
		check_row_text(row, http_rule_table[rule].name, http_rule_table[rows[i].want].name);
		check_row(row, k <= 200);
	}
}

/* http-parser's own limit, 80 KiB, must not be a second one. */
static void test_large_head(void **state)
{
	static const struct http_limits wide = { 1 << 20, 1 << 19, 100, 0 };
	static char buf[1 << 20];
	enum http_rule rule = HTTP_RULE_NONE;

	(void)state;
	size_t n = build(buf, 400000, sizeof(buf) - 1);
	assert_int_equal(http_parse_request(&head, buf, n, 0, &wide, &rule), HTTP_WHOLE);
	assert_int_equal(head.path.n, 400000);
	assert_int_equal(head.n_fields, 2);
}

static void test_field_count(void **state)
{
	static char buf[HTTP_FIELDS_MAX * 8];

	(void)state;
	for (uint32_t max = 1; max <= 300; max += 85) {
		struct http_limits lim = { sizeof(buf), 8192, max, 0 };
		uint32_t most = MIN(max, HTTP_FIELDS_MAX);
		for (uint32_t extra = 0; extra < 2; extra++) {
			enum http_rule rule = HTTP_RULE_NONE;
			char *p = buf + sprintf(buf, "GET / HTTP/1.1\r\nHost: a\r\n");
			for (uint32_t i = 1; i < most + extra; i++)
				p += sprintf(p, "X:\r\n");
			p += sprintf(p, "\r\n");
			enum http_verdict v =
				http_parse_request(&head, buf, (size_t)(p - buf), 0, &lim, &rule);
			assert_int_equal(v, extra ? HTTP_REFUSED : HTTP_WHOLE);
			assert_int_equal(rule, extra ? HTTP_RULE_TOO_MANY_FIELDS : HTTP_RULE_NONE);
			if (!extra)
				assert_int_equal(head.n_fields, most);
		}
	}
}

/* What must not wait for more bytes, or for a timeout. */
static void test_refused_early(void **state)
{
	static const struct {
		const char *text;
		enum http_rule want;
	} rows[] = {
		{ "\x16\x03\x01", HTTP_RULE_CONTROL_BYTE },
		{ "\n", HTTP_RULE_BARE_LF },
		{ "GET /\n", HTTP_RULE_BARE_LF },
		{ "GET / HTTP/1.1\n", HTTP_RULE_BARE_LF },
		{ "GET / HTTP/1.1\r\nHost: a\n", HTTP_RULE_BARE_LF },
		{ "\rG", HTTP_RULE_BARE_CR },
		{ "\r\n\r\n", HTTP_RULE_REQUEST_LINE },
		{ "GET /\r\n", HTTP_RULE_REQUEST_LINE },
		{ "GET /a b\r\n", HTTP_RULE_REQUEST_LINE },
		{ "GET / HTTP/1.1\r\nA\x01", HTTP_RULE_CONTROL_BYTE },
		{ "(", HTTP_RULE_METHOD },
		{ "CONNECT a:1 HTTP/1.1\r\n", HTTP_RULE_METHOD_REFUSED },
		{ "GET / HTTP/3.0\r\n", HTTP_RULE_VERSION },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		enum http_rule rule = HTTP_RULE_NONE;
		check_row_int(rows[i].text, request(rows[i].text, &rule), HTTP_REFUSED);
		check_row_text(rows[i].text, http_rule_table[rule].name,
			       http_rule_table[rows[i].want].name);
	}
}

/* Any two bytes changed in a legal message: whatever the verdict, it is the same in
 * pieces, and no disagreement with the parser is left for the last net. */
static void test_mutations(void **state)
{
	static const char text[] =
		"PUT http://a:1/ HTTP/1.1\r\nHost:a:1\r\nTransfer-Encoding:chunked\r\n"
		"Connection:te,x\r\nContent-Lengt:12\r\n\r\n";
	static const char bytes[] = "\0\t\n\r !#*+,-./019:;=@AHTh{\x7f\x80\xff";
	size_t n = sizeof(text) - 1;
	uint32_t random = 1;
	char copy[sizeof(text)];

	(void)state;
	for (unsigned round = 0; round < 60000; round++) {
		enum http_rule rule = HTTP_RULE_NONE, rule2 = HTTP_RULE_NONE;
		memcpy(copy, text, sizeof(text));
		for (unsigned k = 0; k < 2; k++) {
			random = random * 1664525u + 1013904223u;
			copy[(random >> 8) % n] = bytes[(random >> 20) % (sizeof(bytes) - 1)];
		}
		enum http_verdict v = http_parse_request(&head, copy, n, 0, &limits, &rule);
		check_row(copy, rule != HTTP_RULE_PARSER);
		size_t cut = random % n;
		enum http_verdict v2 = http_parse_request(&head, copy, cut, 0, &limits, &rule2);
		if (v2 == HTTP_PARTIAL)
			v2 = http_parse_request(&head, copy, n, cut, &limits, &rule2);
		check_row_int(copy, v2, v);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_request_fields), cmocka_unit_test(test_reply_fields),
		cmocka_unit_test(test_methods),        cmocka_unit_test(test_pipelined),
		cmocka_unit_test(test_trickle),        cmocka_unit_test(test_limits),
		cmocka_unit_test(test_large_head),     cmocka_unit_test(test_field_count),
		cmocka_unit_test(test_refused_early),  cmocka_unit_test(test_mutations),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
