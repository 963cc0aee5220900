/* common/http_write.c and http_error.c: the bounded writer, and the replies that
 * are drover's own, read back with drover's own parser. */
#include "lib/check.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "common/http_parse.h"
#include "common/http_write.h"

static const struct http_limits limits = { 16384, 8192, 100, 0 };
static char buf[8192];
static struct http_head head;

static struct http_out out_of(size_t n)
{
	return (struct http_out){ buf, buf + n, false };
}

static bool holds(struct slice s, const char *part)
{
	return memmem(s.p, s.n, part, strlen(part)) != NULL;
}

static void test_numbers(void **state)
{
	static const struct {
		uint64_t v;
		char decimal[24], line[24];
	} rows[] = {
		{ 0, "0", "0\r\n" },
		{ 1, "1", "1\r\n" },
		{ 15, "15", "f\r\n" },
		{ 16, "16", "10\r\n" },
		{ 500, "500", "1f4\r\n" },
		{ 65535, "65535", "ffff\r\n" },
		{ 65536, "65536", "10000\r\n" },
		{ UINT64_MAX, "18446744073709551615", "ffffffffffffffff\r\n" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct http_out o = out_of(sizeof(buf));
		char *line = malloc(HTTP_CHUNK_LINE_MAX);
		http_out_u64(&o, rows[i].v);
		check_row_int(rows[i].decimal, o.p - buf, strlen(rows[i].decimal));
		check_row(rows[i].decimal, memcmp(buf, rows[i].decimal, (size_t)(o.p - buf)) == 0);
		size_t n = http_chunk_line(line, rows[i].v);
		check_row_int(rows[i].line, n, strlen(rows[i].line));
		check_row(rows[i].line, memcmp(line, rows[i].line, n) == 0);
		free(line);
	}
}

/* Into a buffer of every size: all of it, or a prefix that ends between two writes,
 * never a byte beyond, and `full` says so from then on. */
static void test_bounds(void **state)
{
	static const char want[] = "A: b\r\nEmpty: \r\nx12345yz";

	(void)state;
	for (size_t size = 0; size <= sizeof(want); size++) {
		char *exact = malloc(size + !size);
		struct http_out o = { exact, exact + size, false };
		http_out_field(&o, SLICE("A"), SLICE("b"));
		http_out_field(&o, SLICE("Empty"), (struct slice){ NULL, 0 });
		http_out_text(&o, "x");
		http_out_u64(&o, 12345);
		http_out_slice(&o, (struct slice){ NULL, 0 });
		http_out_slice(&o, SLICE("y"));
		http_out_bytes(&o, "z", 1);
		size_t n = (size_t)(o.p - exact);
		assert_int_equal(o.full, size < sizeof(want) - 1);
		assert_true(n <= size);
		assert_memory_equal(exact, want, n);
		if (!o.full)
			assert_int_equal(n, sizeof(want) - 1);
		/* Nothing small slips in behind something large that did not fit. */
		if (size == 13)
			assert_int_equal(n, 6);
		free(exact);
	}
}

static void test_reasons(void **state)
{
	(void)state;
	assert_string_equal(http_reason(200), "OK");
	assert_string_equal(http_reason(413), "Content Too Large");
	assert_string_equal(http_reason(511), "Network Authentication Required");
	assert_string_equal(http_reason(0), "Unknown");
	assert_string_equal(http_reason(299), "Unknown");
	assert_string_equal(http_reason(512), "Unknown");
	assert_string_equal(http_reason(65535), "Unknown");
	/* Every refusal has a name to answer with. */
	for (unsigned r = HTTP_RULE_NONE + 1; r < HTTP_RULE_MAX; r++)
		check_row(http_rule_table[r].name,
			  strcmp(http_reason(http_rule_table[r].status), "Unknown") != 0);
}

static void test_date(void **state)
{
	char text[30];
	struct tm tm = { 0 };

	(void)state;
	struct slice date = http_date();
	assert_int_equal(date.n, 29);
	memcpy(text, date.p, 29);
	text[29] = '\0';
	/* The tests run in the C locale, where strptime reads what the RFC writes. */
	assert_ptr_equal(strptime(text, "%a, %d %b %Y %H:%M:%S GMT", &tm), text + 29);
	assert_true(llabs((long long)(timegm(&tm) - time(NULL))) <= 2);
	int weekday = tm.tm_wday;
	time_t then = timegm(&tm);
	gmtime_r(&then, &tm);
	assert_int_equal(tm.tm_wday, weekday);
}

/* --- error pages -------------------------------------------------------------- */

/* Writes the page and parses it; its body. */
static struct slice page_body(const struct http_error_page *page, uint8_t method)
{
	struct http_out o = out_of(sizeof(buf));
	enum http_rule rule = HTTP_RULE_NONE;

	http_out_error_page(&o, page);
	assert_false(o.full);
	size_t n = (size_t)(o.p - buf);
	assert_int_equal(http_parse_reply(&head, buf, n, 0, &limits, method, &rule), HTTP_WHOLE);
	assert_int_equal(head.status, page->status);
	assert_true(head.has_length);
	return (struct slice){ buf + head.head_bytes, n - head.head_bytes };
}

static struct slice field(const char *name)
{
	for (uint32_t i = 0; i < head.n_fields; i++) {
		if (slice_ieq(head.fields[i].name, slice_of(name)))
			return head.fields[i].value;
	}
	return (struct slice){ NULL, 0 };
}

static void test_page_fields(void **state)
{
	struct http_error_page page = { .status = 502,
					.detail = "It broke.",
					.proxy_error = "connection_refused",
					.request_id = SLICE("id-1"),
					.retry_after_s = 5,
					.close = true };

	(void)state;
	struct slice body = page_body(&page, HTTP_M_GET);
	assert_int_equal(body.n, head.length);
	assert_int_equal(head.framing, HTTP_BODY_LENGTH);
	assert_false(head.keep_alive);
	assert_true(slice_eq(head.reason, SLICE("Bad Gateway")));
	assert_true(slice_eq(field("Proxy-Status"), SLICE("drover; error=connection_refused")));
	assert_true(slice_eq(field("X-Request-Id"), SLICE("id-1")));
	assert_true(slice_eq(field("Retry-After"), SLICE("5")));
	assert_true(slice_eq(field("Connection"), SLICE("close")));
	assert_true(slice_eq(field("Cache-Control"), SLICE("no-store")));
	assert_int_equal(field("Date").n, 29);
	assert_true(slice_starts(body, SLICE("502 Bad Gateway\n")));
	assert_true(holds(body, "It broke.\n") && holds(body, "id-1\n"));

	page = (struct http_error_page){ .status = 400 };
	body = page_body(&page, HTTP_M_GET);
	assert_true(slice_eq(body, SLICE("400 Bad Request\n")));
	assert_true(head.keep_alive);
	assert_true(slice_eq(field("Connection"), SLICE("keep-alive"))); /* for 1.0 clients */
	assert_null(field("Proxy-Status").p);
	assert_null(field("X-Request-Id").p);
	assert_null(field("Retry-After").p);

	/* HEAD: the same fields, no bytes. */
	page.no_body = true;
	assert_int_equal(page_body(&page, HTTP_M_HEAD).n, 0);
	assert_int_equal(head.length, 16);
}

static void test_page_type(void **state)
{
	static const char text[] = "text/plain; charset=utf-8", html[] = "text/html; charset=utf-8",
			  json[] = "application/problem+json";
	static const struct {
		const char *accept, *type;
	} rows[] = {
		{ "", text },
		{ "*/*", text },
		{ "text/*", text },
		{ "image/png", text },
		{ "text/html", html },
		{ "TEXT/HTML", html },
		{ "text/html;level=1", html },
		{ "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", html },
		{ "text/html;q=0.5, text/plain", text },
		{ "text/plain;q=0.5, text/html", html },
		{ "text/html;q=0", text },
		{ "text/html;q=0, */*", text },
		{ "text/plain;q=0, */*;q=0.1", html },
		{ "text/*;q=0, */*", json },
		{ "text/*;q=0.4, application/*;q=0.5", json },
		{ "application/json", json },
		{ "application/problem+json", json },
		{ "application/json, text/plain, */*", json },
		{ "application/json;q=0.9, text/html;q=0.900", json },
		{ "text/html;q=0.9, application/json;q=0.900", html },
		{ "application/json;q=0.899, text/html;q=0.9", html },
		{ "application/json ; q=0.1 , text/html ; Q=0.2", html },
		{ "text/html;q=0.2;ext=1, application/json;q=0.1", html },
		{ "application/xml", text },
		{ "json", text },
		{ "/", text },
		{ ";q=1,,;", text },
		{ "text/html;q=", html },
		{ "text/html;q=2, application/json;q=0.999", html },
		{ "text/html;q=x, application/json;q=0.999", html },
		{ "text/html;q=0.0001, application/json;q=0.5", html }, /* no weight: four digits */
		{ "text/html\xff, a/b;q=\"x,y\", application/json", json },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct http_error_page page = { .status = 503, .accept = slice_of(rows[i].accept) };
		page_body(&page, HTTP_M_GET);
		struct slice type = field("Content-Type");
		char got[64];
		snprintf(got, sizeof(got), "%.*s", (int)type.n, type.p);
		check_row_text(rows[i].accept, got, rows[i].type);
	}
}

/* Nothing from outside gets out of the place it was put in. */
static void test_page_escapes(void **state)
{
	struct http_error_page page = {
		.status = 400,
		.detail = "<b>\"x\\y\"</b> & 'z' \xc3\xa4\x01",
		.request_id = SLICE("<i>\"\r\nX: 1\x80"),
	};

	(void)state;
	page.accept = SLICE("text/html");
	struct slice body = page_body(&page, HTTP_M_GET);
	assert_true(holds(body, "<p>&lt;b&gt;&quot;x\\y&quot;&lt;/b&gt; &amp; &#39;z&#39; ??"
				"?</p>"));
	assert_true(holds(body, "Request: &lt;i&gt;&quot;??X: 1?</small>"));
	assert_null(field("X-Request-Id").p);
	assert_null(field("X").p);

	page.accept = SLICE("application/json");
	body = page_body(&page, HTTP_M_GET);
	assert_true(slice_eq(body, SLICE("{\"type\":\"about:blank\",\"title\":\"Bad Request\","
					 "\"status\":400,"
					 "\"detail\":\"<b>\\\"x\\\\y\\\"</b> & 'z' ???\","
					 "\"request_id\":\"<i>\\\"??X: 1?\"}\n")));

	page.accept = SLICE("text/plain");
	body = page_body(&page, HTTP_M_GET);
	assert_true(holds(body, "\n<b>\"x\\y\"</b> & 'z' ???\n"));
	assert_true(holds(body, "\nRequest: <i>\"??X: 1?\n"));
}

/* An id that fits no page is left out of the body, and the page is still whole. */
static void test_page_large_id(void **state)
{
	static char id[6000];
	struct http_error_page page = { .status = 502,
					.detail = "x",
					.request_id = { id, 5000 },
					.accept = SLICE("text/html") };

	(void)state;
	memset(id, '"', sizeof(id));
	struct slice body = page_body(&page, HTTP_M_GET);
	assert_int_equal(body.n, head.length);
	assert_true(holds(body, "<h1>502 Bad Gateway</h1>") && !holds(body, "&quot;"));
	assert_int_equal(field("X-Request-Id").n, 5000);
}

/* A page that does not fit says so, at every size. */
static void test_page_full(void **state)
{
	struct http_error_page page = { .status = 502,
					.detail = "It broke.",
					.accept = SLICE("text/html") };
	struct http_out o = out_of(sizeof(buf));

	(void)state;
	http_out_error_page(&o, &page);
	size_t whole = (size_t)(o.p - buf);
	for (size_t size = 0; size <= whole; size++) {
		char *exact = malloc(size + !size);
		o = (struct http_out){ exact, exact + size, false };
		http_out_error_page(&o, &page);
		assert_int_equal(o.full, size < whole);
		free(exact);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_numbers),      cmocka_unit_test(test_bounds),
		cmocka_unit_test(test_reasons),      cmocka_unit_test(test_date),
		cmocka_unit_test(test_page_fields),  cmocka_unit_test(test_page_type),
		cmocka_unit_test(test_page_escapes), cmocka_unit_test(test_page_large_id),
		cmocka_unit_test(test_page_full),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
