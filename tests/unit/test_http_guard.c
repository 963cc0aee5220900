/* common/http_guard.c, http_bytes.c, http_head.c: the rules one by one, below the
 * parser.  Whole messages are in tests/wire. */
#include "lib/check.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/http_guard.h"

static const struct http_limits limits = { 16384, 8192, 100, 0 };
static struct http_head head;

#define check_rule(row, got, want) \
	check_row_text((row), http_rule_table[got].name, http_rule_table[want].name)

/* --- tables ------------------------------------------------------------------- */

static void test_rule_table(void **state)
{
	(void)state;
	for (unsigned r = HTTP_RULE_NONE + 1; r < HTTP_RULE_MAX; r++) {
		const struct http_rule_info *info = &http_rule_table[r];
		check_row(info->name, info->status >= 400 && info->status < 600);
		check_row(info->name, info->text[0] && info->source[0]);
	}
	assert_int_equal(http_rule_table[HTTP_RULE_URI_TOO_LONG].status, 414);
	assert_int_equal(http_rule_table[HTTP_RULE_NONE].status, 0);
}

/* The classes of http_bytes.c, in the words of the RFCs. */
static void test_byte_classes(void **state)
{
	(void)state;
	for (unsigned c = 0; c < 256; c++) {
		char row[8];
		bool visible = c > 0x20 && c < 0x7f;
		snprintf(row, sizeof(row), "0x%02x", c);
		check_row_int(row, !!(http_byte_class[c] & HTTP_B_NAME), slice_tchar[c]);
		check_row_int(row, !!(http_byte_class[c] & HTTP_B_TARGET), visible && c != '#');
		check_row_int(row, !!(http_byte_class[c] & HTTP_B_VALUE),
			      visible || c == ' ' || c == '\t' || c >= 0x80);
		check_row_int(row, !!(http_byte_class[c] & HTTP_B_UNDERSCORE), c == '_');
		check_row_int(row, !!(http_byte_class[c] & HTTP_B_REG_NAME),
			      c && c < 0x80 && (isalnum((int)c) || strchr("-._~!$&'()*+,;=", (int)c)));
	}
}

/* What a name is found as that has no row of its own. */
static enum http_field_id no_row(struct slice name)
{
	return name.n > 12 && slice_istarts(name, SLICE("x-forwarded-")) ? HTTP_F_X_FORWARDED
									  : HTTP_F_OTHER;
}

static void test_field_find(void **state)
{
	(void)state;
	for (unsigned id = HTTP_F_OTHER + 1; id < HTTP_F_MAX; id++) {
		struct slice name = http_field_table[id].name;
		char text[HTTP_FIELD_NAME_MAX + 2];
		assert_true(name.n > 0 && name.n <= HTTP_FIELD_NAME_MAX);
		check_row_int(name.p, http_field_find(name), id);
		for (size_t i = 0; i < name.n; i++) {
			char c = name.p[i];
			check_row(name.p, (c >= 'a' && c <= 'z') || c == '-' || c == '*');
			text[i] = (char)(c >= 'a' ? c - 0x20 : c);
		}
		check_row_int(name.p, http_field_find((struct slice){ text, name.n }), id);
		/* Neighbours: shorter, longer, one byte other; CR is '-' without bit 5. */
		check_row_int(name.p, http_field_find((struct slice){ text, name.n - 1 }),
			      no_row((struct slice){ text, name.n - 1 }));
		text[name.n] = 'x';
		check_row_int(name.p, http_field_find((struct slice){ text, name.n + 1 }),
			      no_row((struct slice){ text, name.n + 1 }));
		for (size_t i = 0; i < name.n; i++) {
			char c = text[i];
			text[i] = c == '-' ? '\r' : '_';
			check_row_int(name.p, http_field_find((struct slice){ text, name.n }),
				      no_row((struct slice){ text, name.n }));
			text[i] = c;
		}
	}
	assert_int_equal(http_field_find((struct slice){ NULL, 0 }), HTTP_F_OTHER);
	assert_int_equal(http_field_find(SLICE("content-type")), HTTP_F_OTHER);
	assert_int_equal(http_field_find(SLICE("x-a-name-longer-than-any")), HTTP_F_OTHER);
	assert_int_equal(http_field_find(SLICE("X-Forwarded-Tls-Client-Cert")), HTTP_F_X_FORWARDED);
	assert_int_equal(http_field_find(SLICE("x-forwarded-")), HTTP_F_OTHER);
}

static void test_methods(void **state)
{
	static const struct {
		const char *name;
		enum http_method id;
		bool idempotent;
	} rows[] = {
		{ "GET", HTTP_M_GET, true },         { "HEAD", HTTP_M_HEAD, true },
		{ "POST", HTTP_M_POST, false },      { "PUT", HTTP_M_PUT, true },
		{ "DELETE", HTTP_M_DELETE, true },   { "OPTIONS", HTTP_M_OPTIONS, true },
		{ "PATCH", HTTP_M_PATCH, false },    { "CONNECT", HTTP_M_CONNECT, false },
		{ "TRACE", HTTP_M_TRACE, true },     { "QUERY", HTTP_M_OTHER, false },
		{ "get", HTTP_M_OTHER, false },      { "GE", HTTP_M_OTHER, false },
		{ "OPTIONSS", HTTP_M_OTHER, false }, { "", HTTP_M_OTHER, false },
		{ "PUSH", HTTP_M_OTHER, false },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		check_row_int(rows[i].name, http_method_find(slice_of(rows[i].name)), rows[i].id);
		check_row_int(rows[i].name, http_method_idempotent(rows[i].id), rows[i].idempotent);
	}
	assert_false(http_method_idempotent((enum http_method)HTTP_M_MAX));
	assert_string_equal(http_framing_text(HTTP_BODY_CHUNKED), "chunked");
	assert_string_equal(http_framing_text(HTTP_BODY_MAX), "unknown");
}

/* --- bytes -------------------------------------------------------------------- */

struct bytes_row {
	const char *text;
	enum http_rule want;
};

#define L "GET / HTTP/1.1\r\n"
static const struct bytes_row request_rows[] = {
	{ L "\r\n", HTTP_RULE_NONE },
	{ L "A: b\r\nC:d\r\nE:\r\n\r\n", HTTP_RULE_NONE },
	{ "", HTTP_RULE_REQUEST_LINE },
	{ "\r\n\r\n", HTTP_RULE_REQUEST_LINE },
	{ "GET\r\n\r\n", HTTP_RULE_REQUEST_LINE },
	{ "GET /\r\n\r\n", HTTP_RULE_REQUEST_LINE },
	{ "GET / \r\n\r\n", HTTP_RULE_REQUEST_LINE },
	{ "GET / H\r\n\r\n", HTTP_RULE_REQUEST_LINE },
	{ "GET / HTTP/\r\n\r\n", HTTP_RULE_REQUEST_LINE },
	{ "GET / HTTP/1\r\n\r\n", HTTP_RULE_REQUEST_LINE },
	{ "GET / HTTP/1.\r\n\r\n", HTTP_RULE_REQUEST_LINE },
	{ "GET / HTTP/1.1\r\r\n\r\n", HTTP_RULE_BARE_CR },
	{ "GET / HTTP/1.1", HTTP_RULE_REQUEST_LINE }, /* no LF at the end */
	{ L "A: b", HTTP_RULE_REQUEST_LINE },
	{ "/ HTTP/1.1\r\n\r\n", HTTP_RULE_METHOD },
	{ "G@T / HTTP/1.1\r\n\r\n", HTTP_RULE_METHOD },
	{ "TRACE / HTTP/1.1\r\n\r\n", HTTP_RULE_METHOD_REFUSED },
	{ "ABCDEFGHIJABCDEFGHIJABCDEFGHIJAB / HTTP/1.1\r\n\r\n", HTTP_RULE_NONE },
	{ "ABCDEFGHIJABCDEFGHIJABCDEFGHIJABC / HTTP/1.1\r\n\r\n", HTTP_RULE_METHOD_REFUSED },
	{ "GET /\xff HTTP/1.1\r\n\r\n", HTTP_RULE_TARGET },
	{ "GET # HTTP/1.1\r\n\r\n", HTTP_RULE_TARGET },
	{ "GET / HTTP/3.0\r\n\r\n", HTTP_RULE_VERSION },
	{ "GET / HTTP/1.9\r\n\r\n", HTTP_RULE_VERSION },
	{ L "A: \x01\r\n\r\n", HTTP_RULE_CONTROL_BYTE },
	{ L "A: \x1f\r\n\r\n", HTTP_RULE_CONTROL_BYTE },
	{ L "A: b\rc\r\n\r\n", HTTP_RULE_BARE_CR },
	{ L "A: b\nC: d\r\n\r\n", HTTP_RULE_BARE_LF },
	{ L "A\nC: d\r\n\r\n", HTTP_RULE_BARE_LF },
	{ L "A: b\r\n c\r\n\r\n", HTTP_RULE_OBS_FOLD },
	{ L "\tA: b\r\n\r\n", HTTP_RULE_OBS_FOLD },
	{ L ": b\r\n\r\n", HTTP_RULE_FIELD_NAME },
	{ L "A B: c\r\n\r\n", HTTP_RULE_FIELD_NAME },
	{ L "A/B: c\r\n\r\n", HTTP_RULE_FIELD_NAME },
	{ L "A \t: b\r\n\r\n", HTTP_RULE_SPACE_COLON },
	{ L "A\r\n\r\n", HTTP_RULE_NO_COLON },
	{ L "A \r\n\r\n", HTTP_RULE_NO_COLON },
};
#undef L

#define L "HTTP/1.1 200 OK\r\n"
static const struct bytes_row reply_rows[] = {
	{ L "\r\n", HTTP_RULE_NONE },
	{ L "A: b\r\n\r\n", HTTP_RULE_NONE },
	{ "HTTP/1.0 599\r\n\r\n", HTTP_RULE_NONE },
	{ "HTTP/1.0 100 \r\n\r\n", HTTP_RULE_NONE },
	{ "", HTTP_RULE_STATUS_LINE },
	{ "\r\n\r\n", HTTP_RULE_STATUS_LINE },
	{ "HTTP/1.1\r\n\r\n", HTTP_RULE_STATUS_LINE },
	{ "HTTP/1.1 \r\n\r\n", HTTP_RULE_STATUS_LINE },
	{ "HTTP/1.1 2\r\n\r\n", HTTP_RULE_STATUS_LINE },
	{ "HTTP/1.1 600\r\n\r\n", HTTP_RULE_STATUS_LINE },
	{ "HTTP/1.1 2001\r\n\r\n", HTTP_RULE_STATUS_LINE },
	{ "HTTP/1.1 200OK\r\n\r\n", HTTP_RULE_STATUS_LINE },
	{ "HTTP/2.0 200 OK\r\n\r\n", HTTP_RULE_VERSION },
	{ "HTTP/1.1 200 O\rK\r\n\r\n", HTTP_RULE_BARE_CR },
	{ "HTTP/1.1 200 O\x7fK\r\n\r\n", HTTP_RULE_CONTROL_BYTE },
	{ L "A : b\r\n\r\n", HTTP_RULE_SPACE_COLON },
};
#undef L

/* From a buffer of exactly its size, so that a sanitizer sees a step too far.  What is
 * legal must also be whole. */
static enum http_rule guard_exact(const char *text, size_t n, bool is_request)
{
	char *exact = malloc(n + !n);
	size_t end = 0;

	memcpy(exact, text, n);
	enum http_rule rule = http_guard_split(&head, exact, n, is_request, HTTP_FIELDS_MAX, &end);
	free(exact);
	if (rule == HTTP_RULE_NONE)
		assert_int_equal(end, n);
	return rule;
}

/* A head whose empty line has not come, and what stands behind one. */
static void test_split_end(void **state)
{
	static const char text[] = "GET / HTTP/1.1\r\nA: b\r\n\r\n\n\x01\n";
	size_t n = sizeof(text) - 1, end = 1;

	(void)state;
	for (size_t cut = 16; cut < n; cut++) {
		if (text[cut - 1] != '\n')
			continue;
		assert_int_equal(http_guard_split(&head, text, cut, true, 1, &end), HTTP_RULE_NONE);
		check_row_int(text, end, cut < 24 ? 0 : 24);
	}
	assert_int_equal(http_guard_split(&head, text, 24, true, 0, &end), HTTP_RULE_TOO_MANY_FIELDS);
}

/* Values of every length, with a byte of every kind at every place: they are scanned in
 * steps of sixteen. */
static void test_value_lengths(void **state)
{
	static const char bytes[] = "\t \x01\x1f\x7f\x80\xff~\n";
	char text[128];

	(void)state;
	for (size_t n = 1; n < 50; n++) {
		for (size_t at = 0; at < n; at++) {
			for (size_t k = 0; k < sizeof(bytes) - 1; k++) {
				size_t m = (size_t)sprintf(text, "GET / HTTP/1.1\r\nA:");
				memset(text + m, 'v', n);
				text[m + at] = bytes[k];
				strcpy(text + m + n, "\r\n\r\n");
				enum http_rule want = bytes[k] == '\n' ? HTTP_RULE_BARE_LF
						      : k >= 2 && k <= 4 ? HTTP_RULE_CONTROL_BYTE
									 : HTTP_RULE_NONE;
				check_rule(text, guard_exact(text, m + n + 4, true), want);
				if (want != HTTP_RULE_NONE)
					continue;
				bool edge = k < 2 && (at == 0 || at == n - 1);
				check_row_int(text, head.n_fields, 1);
				check_row_int(text, head.fields[0].value.n, n - edge);
			}
		}
	}
}

static void test_bytes(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(request_rows); i++) {
		const char *text = request_rows[i].text;
		check_rule(text, guard_exact(text, strlen(text), true), request_rows[i].want);
	}
	for (size_t i = 0; i < ARRAY_LEN(reply_rows); i++) {
		const char *text = reply_rows[i].text;
		check_rule(text, guard_exact(text, strlen(text), false), reply_rows[i].want);
	}
}

/* Every byte value at every place of a legal head: exactly those are accepted that
 * the grammar of that place allows. */
static void test_every_byte_everywhere(void **state)
{
	/* M method, T target, F field name, V value; others are as they stand. */
	static const char text[] = "GET /ab HTTP/1.1\r\nName:value\r\n\r\n";
	static const char place[] = "MMM TTT VVVVVVVVEEFFFF:VVVVVEEEE";
	char copy[sizeof(text)];

	(void)state;
	for (size_t i = 0; i < sizeof(text) - 1; i++) {
		for (unsigned c = 0; c < 256; c++) {
			char row[32];
			bool ok = (char)c == text[i];
			memcpy(copy, text, sizeof(text));
			copy[i] = (char)c;
			snprintf(row, sizeof(row), "offset %zu, 0x%02x", i, c);
			if (place[i] == 'M')
				ok |= slice_tchar[c];
			else if (place[i] == 'T')
				ok |= c > 0x20 && c < 0x7f && c != '#';
			else if (place[i] == 'F')
				ok |= slice_tchar[c] || (c == ':' && i > 18);
			else if (place[i] == 'V' && i > 20)
				ok |= c == '\t' || (c >= 0x20 && c != 0x7f);
			else if (i == 15) /* the minor version */
				ok |= c == '0';
			enum http_rule rule = guard_exact(copy, sizeof(text) - 1, true);
			check_row_int(row, rule == HTTP_RULE_NONE, ok);
		}
	}
}

static void test_partial(void **state)
{
	static const struct {
		const char *text;
		size_t seen;
		bool is_request;
		enum http_rule want;
	} rows[] = {
		{ "", 0, true, HTTP_RULE_NONE },
		{ "G", 0, true, HTTP_RULE_NONE },
		{ "GET", 2, true, HTTP_RULE_NONE },
		{ "GET ", 3, true, HTTP_RULE_NONE },
		{ "GET /12345678", 0, true, HTTP_RULE_NONE },
		{ "GET /123456789", 0, true, HTTP_RULE_NONE },
		{ "GET /1234567890", 0, true, HTTP_RULE_URI_TOO_LONG },
		{ "GET /1234567890", 14, true, HTTP_RULE_URI_TOO_LONG },
		{ "GET /1234567890 HTTP/1.1\r\nA", 0, true, HTTP_RULE_URI_TOO_LONG },
		{ "GET / HTTP/1.1\r", 14, true, HTTP_RULE_NONE },
		{ "GET / HTTP/1.1\rA", 15, true, HTTP_RULE_BARE_CR },
		{ "GET / HTTP/2.0\r\n", 15, true, HTTP_RULE_VERSION },
		{ "GET / HTTP/1.1\r\nA: \x01", 18, true, HTTP_RULE_CONTROL_BYTE },
		{ "GET / HTTP/1.1\r\nA: b", 18, true, HTTP_RULE_NONE },
		{ " ", 0, true, HTTP_RULE_METHOD },
		{ "{", 0, true, HTTP_RULE_METHOD },
		{ "\r", 0, true, HTTP_RULE_NONE },
		{ "ABCDEFGHIJABCDEFGHIJABCDEFGHIJAB", 0, true, HTTP_RULE_NONE },
		{ "ABCDEFGHIJABCDEFGHIJABCDEFGHIJABC", 0, true, HTTP_RULE_METHOD_REFUSED },
		{ "HT", 0, false, HTTP_RULE_NONE },
		{ "HX", 0, false, HTTP_RULE_STATUS_LINE },
		{ "HTTP/1.1 2", 0, false, HTTP_RULE_NONE },
		{ "HTTP/1.1 6xx\r\n", 0, false, HTTP_RULE_STATUS_LINE },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		size_t n = strlen(rows[i].text);
		char *exact = malloc(n + !n);
		memcpy(exact, rows[i].text, n);
		check_rule(rows[i].text,
			   http_guard_partial(exact, n, rows[i].seen, rows[i].is_request, 10),
			   rows[i].want);
		free(exact);
	}
}

/* --- fields ------------------------------------------------------------------- */

/* `text` is "Name: value" lines, each ended by \n. */
static void fill_fields(const char *text)
{
	struct slice rest = slice_of(text);

	head.n_fields = 0;
	while (rest.n) {
		struct http_field *f = &head.fields[head.n_fields++];

		const char *colon = memchr(rest.p, ':', rest.n), *end = memchr(rest.p, '\n', rest.n);
		f->name = (struct slice){ rest.p, (size_t)(colon - rest.p) };
		f->value = slice_trim((struct slice){ colon + 1, (size_t)(end - colon) - 1 });
		f->id = (uint8_t)http_field_find(f->name);
		f->underscore = memchr(f->name.p, '_', f->name.n) != NULL;
		f->drop = true; /* to be judged, not inherited */
		rest = (struct slice){ end + 1, rest.n - (size_t)(end + 1 - rest.p) };
	}
}

static enum http_rule guard_request(const char *fields, const char *target, uint8_t minor,
				    const struct http_limits *lim)
{
	memset(&head, 0xa5, sizeof(head)); /* nothing may be taken over from the last head */
	head.method = SLICE("GET");
	head.method_id = HTTP_M_GET;
	head.target = slice_of(target);
	head.minor = minor;
	fill_fields(fields);
	return http_guard_request(&head, lim);
}

static void test_request_rules(void **state)
{
	static const struct {
		const char *fields;
		uint8_t minor;
		enum http_rule want;
	} rows[] = {
		{ "", 0, HTTP_RULE_NONE },
		{ "", 1, HTTP_RULE_HOST_MISSING },
		{ "Host: a\nHost: a\n", 1, HTTP_RULE_HOST_REPEATED },
		{ "Host: a\nHost: a\n", 0, HTTP_RULE_HOST_REPEATED },
		{ "Host: a b\n", 0, HTTP_RULE_HOST_INVALID },
		{ "Host: b\n", 1, HTTP_RULE_HOST_DIFFERS },
		{ "Host: a\nContent-Length: 9223372036854775807\n", 1, HTTP_RULE_NONE },
		{ "Host: a\nContent-Length: 9223372036854775808\n", 1, HTTP_RULE_LENGTH_INVALID },
		{ "Host: a\nContent-Length: 1\nContent-Length: 1\n", 1, HTTP_RULE_LENGTH_REPEATED },
		{ "Host: a\nContent-Length: 1\nTransfer-Encoding: chunked\n", 1,
		  HTTP_RULE_LENGTH_AND_TE },
		{ "Host: a\nTransfer-Encoding: chunked\nTransfer-Encoding: chunked\n", 1,
		  HTTP_RULE_TE_REPEATED },
		{ "Host: a\nTransfer-Encoding: gzip\n", 1, HTTP_RULE_TE_UNKNOWN },
		{ "Host: a\nTransfer-Encoding: chunked\n", 0, HTTP_RULE_TE_IN_HTTP10 },
		{ "Host: a\nExpect: a\n", 1, HTTP_RULE_EXPECT_UNKNOWN },
		{ "Host: a\nExpect: \n", 1, HTTP_RULE_NONE },
		{ "Host: a\nConnection: close\nConnection: x\n", 1, HTTP_RULE_NONE },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		check_rule(rows[i].fields,
			   guard_request(rows[i].fields, "http://a/", rows[i].minor, &limits),
			   rows[i].want);
	head.method_id = HTTP_M_TRACE;
	assert_int_equal(http_guard_request(&head, &limits), HTTP_RULE_METHOD_REFUSED);
	assert_int_equal(guard_request("Host: a\n", "a", 1, &limits), HTTP_RULE_TARGET);
	static const struct http_limits tight = { 16384, 5, 100, 7 };
	assert_int_equal(guard_request("Host: a\n", "/1234", 1, &tight), HTTP_RULE_NONE);
	assert_int_equal(guard_request("Host: a\n", "/12345", 1, &tight), HTTP_RULE_URI_TOO_LONG);
	assert_int_equal(guard_request("Host: a\nContent-Length: 7\n", "/", 1, &tight),
			 HTTP_RULE_NONE);
	assert_int_equal(guard_request("Host: a\nContent-Length: 8\n", "/", 1, &tight),
			 HTTP_RULE_BODY_TOO_LARGE);
}

static void test_connection_options(void **state)
{
	char fields[1024] = "Host: a\nConnection: a";
	size_t n = strlen(fields);

	(void)state;
	for (unsigned i = 1; i < 64; i++, n += 2)
		memcpy(fields + n, ",a", 2);
	strcpy(fields + n, "\n");
	check_rule("64", guard_request(fields, "/", 1, &limits), HTTP_RULE_NONE);
	strcpy(fields + n, "\nConnection: b\n");
	check_rule("65", guard_request(fields, "/", 1, &limits), HTTP_RULE_CONNECTION);
}

/* Which fields go on to the worker. */
static void test_drop(void **state)
{
	static const struct {
		const char *fields;
		const char *drop; /* one letter a field: d or k, in order */
	} rows[] = {
		{ "Host: a\nX: 1\nAccept: b\n", "kkk" },
		{ "Host: a\nConnection: x\nX: 1\nx: 2\nXx: 3\n", "kdddk" },
		{ "Host: a\nX: 1\nConnection: , ,X,,\n", "kdd" },
		{ "Host: a\nConnection: host, forwarded, x-request-id, accept\nForwarded: b\n"
		  "X-Request-Id: 1\nAccept: c\n",
		  "kdkkd" },
		{ "Host: a\nConnection: \"x\nX: 1\n", "kdk" },
		{ "Host: a\nUpgrade: a\nTE: a\nTrailer: b\n", "kddk" },
		{ "Host: a\nX_Request_Id: 1\nx-forwarded_host: 2\nUser_Agent: 3\nX_Y: 4\n",
		  "kddkk" },
		{ "Host: a\nContent_Length: 1\nProxy_Authorization: 2\n", "kdd" },
		{ "Host: a\nExpect: 100-continue\n", "kd" },
		{ "Host: a\nExpect: 100-continue\nContent-Length: 1\n", "kkk" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		check_rule(rows[i].fields, guard_request(rows[i].fields, "/", 1, &limits),
			   HTTP_RULE_NONE);
		check_row_int(rows[i].fields, head.n_fields, strlen(rows[i].drop));
		for (uint32_t k = 0; k < head.n_fields; k++)
			check_row_int(head.fields[k].name.p, head.fields[k].drop,
				      rows[i].drop[k] == 'd');
	}
}

static void test_reply_framing(void **state)
{
	enum { NO, LEN, CHUNK, CLOSE };
	static const struct {
		const char *fields;
		uint16_t status;
		enum http_method method;
		uint8_t framing;
		bool has_length, keep;
	} rows[] = {
		{ "", 200, HTTP_M_GET, CLOSE, false, false },
		{ "", 200, HTTP_M_HEAD, NO, false, true },
		{ "", 304, HTTP_M_GET, NO, false, true },
		{ "", 204, HTTP_M_GET, NO, false, true },
		{ "", 103, HTTP_M_GET, NO, false, true },
		{ "", 205, HTTP_M_GET, CLOSE, false, false },
		{ "Content-Length: 2\n", 200, HTTP_M_GET, LEN, true, true },
		{ "Content-Length: 0\n", 200, HTTP_M_GET, NO, true, true },
		{ "Content-Length: 2\n", 200, HTTP_M_HEAD, NO, true, true },
		{ "Content-Length: 2\n", 304, HTTP_M_GET, NO, true, true },
		{ "Content-Length: 2\n", 204, HTTP_M_GET, NO, false, false },
		{ "Content-Length: 0\n", 204, HTTP_M_GET, NO, false, true },
		{ "Content-Length: 2\n", 100, HTTP_M_GET, NO, false, false },
		{ "Transfer-Encoding: chunked\n", 200, HTTP_M_GET, CHUNK, false, true },
		{ "Transfer-Encoding: chunked\n", 500, HTTP_M_HEAD, NO, false, true },
		{ "Transfer-Encoding: chunked\n", 204, HTTP_M_GET, NO, false, false },
		{ "Connection: close\nContent-Length: 2\n", 200, HTTP_M_GET, LEN, true, false },
	};
	static const uint8_t framings[] = { HTTP_BODY_NONE, HTTP_BODY_LENGTH, HTTP_BODY_CHUNKED,
					    HTTP_BODY_CLOSE };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		char row[64];
		snprintf(row, sizeof(row), "%zu: %u %s", i, rows[i].status, rows[i].fields);
		memset(&head, 0xa5, sizeof(head));
		head.status = rows[i].status;
		head.minor = 1;
		fill_fields(rows[i].fields);
		check_rule(row, http_guard_reply(&head, (uint8_t)rows[i].method), HTTP_RULE_NONE);
		check_row_text(row, http_framing_text(head.framing),
			       http_framing_text(framings[rows[i].framing]));
		check_row_int(row, head.has_length, rows[i].has_length);
		check_row_int(row, head.keep_alive, rows[i].keep);
		check_row_int(row, head.upgrade, false);
		check_row_int(row, head.expect_continue, false);
	}
}

/* Keep-Alive: timeout=N of a reply, strictly read. */
static void test_reply_idle(void **state)
{
	static const struct {
		const char *fields;
		uint32_t idle_s;
		bool keep;
	} rows[] = {
		{ "", 0, true },
		{ "Keep-Alive: timeout=5\n", 5, true },
		{ "Keep-Alive: timeout=5, max=100\n", 5, true },
		{ "keep-alive: max=100,TIMEOUT=65\n", 65, true },
		{ "Keep-Alive: timeout=7, timeout=3\n", 3, true },
		{ "Keep-Alive: timeout=7\nKeep-Alive: timeout=9\n", 7, true },
		{ "Keep-Alive: timeout=604800\n", 604800, true },
		{ "Keep-Alive: timeout=604801\n", 0, true },
		{ "Keep-Alive: timeout=18446744073709551621\n", 0, true },
		{ "Keep-Alive: timeout=-5\n", 0, true },
		{ "Keep-Alive: timeout=+5\n", 0, true },
		{ "Keep-Alive: timeout= 5\n", 0, true },
		{ "Keep-Alive: timeout=5s\n", 0, true },
		{ "Keep-Alive: timeout=\n", 0, true },
		{ "Keep-Alive: timeout\n", 0, true },
		{ "Keep-Alive: 5\n", 0, true },
		{ "Keep-Alive: xtimeout=5\n", 0, true },
		{ "Keep-Alive: timeout=0\n", 0, false },
		{ "Keep-Alive: timeout=5\nConnection: close\n", 5, false },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		memset(&head, 0xa5, sizeof(head));
		head.status = 204;
		head.minor = 1;
		fill_fields(rows[i].fields);
		check_rule(rows[i].fields, http_guard_reply(&head, HTTP_M_GET), HTTP_RULE_NONE);
		check_row_int(rows[i].fields, head.idle_s, rows[i].idle_s);
		check_row_int(rows[i].fields, head.keep_alive, rows[i].keep);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rule_table),
		cmocka_unit_test(test_byte_classes),
		cmocka_unit_test(test_field_find),
		cmocka_unit_test(test_methods),
		cmocka_unit_test(test_bytes),
		cmocka_unit_test(test_split_end),
		cmocka_unit_test(test_value_lengths),
		cmocka_unit_test(test_every_byte_everywhere),
		cmocka_unit_test(test_partial),
		cmocka_unit_test(test_request_rules),
		cmocka_unit_test(test_connection_options),
		cmocka_unit_test(test_drop),
		cmocka_unit_test(test_reply_framing),
		cmocka_unit_test(test_reply_idle),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
