/* common/http_target.c: what may stand between a method and a version, and in Host. */
#include "lib/check.h"

#include <string.h>

#include "common/http_guard.h"

static void test_authority(void **state)
{
	static const struct {
		const char *text;
		bool valid;
	} rows[] = {
		{ "a", true },
		{ "example.com", true },
		{ "EXAMPLE.com:80", true },
		{ "127.0.0.1:8080", true },
		{ "xn--bcher-kva.example", true },
		{ "a_b", true },
		{ "a%20b", true },
		{ "a:", true },
		{ "a:0", true },
		{ "a:65535", true },
		{ "a:00080", true },
		{ "[::1]", true },
		{ "[::1]:80", true },
		{ "[::1]:", true },
		{ "[::ffff:1.2.3.4]", true },
		{ "a~!$&'()*+,;=", true },
		{ "a.", true },
		{ "", false },
		{ ":", false },
		{ ":80", false },
		{ "a:65536", false },
		{ "a:000080", false },
		{ "a:-1", false },
		{ "a:8 0", false },
		{ "a:b", false },
		{ "a:1:2", false },
		{ "a b", false },
		{ "a@b", false },
		{ "a/", false },
		{ "a%", false },
		{ "a%2", false },
		{ "a%2g", false },
		{ "a#", false },
		{ "a\\b", false },
		{ "[", false },
		{ "[]", false },
		{ "[::1", false },
		{ "[::1]x", false },
		{ "[::1]80", false },
		{ "[::1]]", false },
		{ "[a]", false },
		{ "[1.2.3.4]", false },
		{ "[::1%25lo]", false },
		{ "[v1.a]", false },
		{ "::1", false },
		{ "a[::1]", false },
		{ "\x80", false },
		{ "a\"", false },
		{ "[1111:2222:3333:4444:5555:6666:7777:8888:9999:aaaa:bbbb:cccc]", false },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		check_row_int(rows[i].text, http_authority_valid(slice_of(rows[i].text)),
			      rows[i].valid);
	assert_false(http_authority_valid((struct slice){ "a%20", 3 }));
	assert_false(http_authority_valid((struct slice){ "a\0b", 3 }));
	assert_false(http_authority_valid((struct slice){ "[::1\0]", 6 }));
	assert_false(http_authority_valid((struct slice){ NULL, 0 }));
}

static void test_target(void **state)
{
	static const struct {
		const char *target;
		enum http_method method;
		const char *path, *authority; /* path NULL: refused */
	} rows[] = {
		{ "/", HTTP_M_GET, "/", "" },
		{ "//a", HTTP_M_GET, "//a", "" },
		{ "/?", HTTP_M_OPTIONS, "/?", "" },
		{ "*", HTTP_M_OPTIONS, "*", "" },
		{ "*", HTTP_M_OTHER, NULL, NULL },
		{ "**", HTTP_M_OPTIONS, NULL, NULL },
		{ "http://a/", HTTP_M_GET, "/", "a" },
		{ "hTTp://a:1/b?c", HTTP_M_GET, "/b?c", "a:1" },
		{ "https://[::1]/b", HTTP_M_GET, "/b", "[::1]" },
		{ "http://a", HTTP_M_GET, "/", "a" },
		{ "http://a", HTTP_M_OPTIONS, "*", "a" },
		{ "http://a/", HTTP_M_OPTIONS, "/", "a" },
		{ "http://a?b", HTTP_M_GET, NULL, NULL },
		{ "http://a?b/", HTTP_M_GET, NULL, NULL },
		{ "http://", HTTP_M_GET, NULL, NULL },
		{ "http:///a", HTTP_M_GET, NULL, NULL },
		{ "http:/a", HTTP_M_GET, NULL, NULL },
		{ "http://u:p@a/", HTTP_M_GET, NULL, NULL },
		{ "ws://a/", HTTP_M_GET, NULL, NULL },
		{ "a:80", HTTP_M_GET, NULL, NULL },
		{ "?a", HTTP_M_GET, NULL, NULL },
		{ "", HTTP_M_GET, NULL, NULL },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct slice authority;
		struct http_head head = { .target = { NULL, 0 } };
		head.target = slice_of(rows[i].target);
		head.method_id = (uint8_t)rows[i].method;
		enum http_rule rule = http_guard_target(&head, &authority);
		check_row_text(rows[i].target, http_rule_table[rule].name,
			       http_rule_table[rows[i].path ? HTTP_RULE_NONE : HTTP_RULE_TARGET].name);
		if (!rows[i].path)
			continue;
		check_row(rows[i].target, slice_eq(head.path, slice_of(rows[i].path)));
		check_row(rows[i].target, slice_eq(authority, slice_of(rows[i].authority)));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_authority),
		cmocka_unit_test(test_target),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
