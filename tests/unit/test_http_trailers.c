/* common/http_trailers.h: which fields a trailer section may hold. */
#include "lib/check.h"

#include "common/http_head.h"
#include "common/http_trailers.h"

static void test_names(void **state)
{
	static const struct {
		const char *name;
		bool allowed;
	} rows[] = {
		{ "Server-Timing", true },     { "Digest", true },
		{ "Content-Digest", true },    { "ETag", true },
		{ "Authentication-Info", true }, { "grpc-status", true },
		{ "X-Checksum", true },        { "Hos", true },
		{ "Hosts", true },             { "x-forwarded", true },
		{ "Host", false },             { "HOST", false },
		{ "Content-Length", false },   { "content_length", false },
		{ "Transfer-Encoding", false },{ "Transfer_Encoding", false },
		{ "Connection", false },       { "Keep-Alive", false },
		{ "Proxy-Connection", false }, { "TE", false },
		{ "Upgrade", false },          { "Trailer", false },
		{ "X-Forwarded-For", false },  { "X_FORWARDED_FOR", false },
		{ "X-Forwarded-Proto", false },{ "X-Forwarded-Host", false },
		{ "Forwarded", false },        { "X-Request-Id", false },
		{ "Authorization", false },    { "Proxy-Authorization", false },
		{ "Cookie", false },           { "Set-Cookie", false },
		{ "Content-Type", false },     { "Content-Encoding", false },
		{ "Content-Range", false },    { "If-Match", false },
		{ "Cache-Control", false },    { "Expect", false },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		check_row(rows[i].name, http_trailer_allowed(slice_of(rows[i].name)) == rows[i].allowed);
}

/* Each row bars its name; and each that http_fields.def has a use for is barred. */
static void test_every_row(void **state)
{
	static const char *const names[] = {
#define BARRED(name, why) name,
#include "common/http_trailers.def"
#undef BARRED
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		check_row(names[i], !http_trailer_allowed(slice_of(names[i])));
	for (int id = 1; id < HTTP_F_MAX; id++)
		if (http_field_table[id].flags)
			check_row(http_field_table[id].name.p,
				  !http_trailer_allowed(http_field_table[id].name));
}

static void test_long_name(void **state)
{
	char name[300];

	(void)state;
	memset(name, 'a', sizeof(name));
	for (size_t n = 1; n <= sizeof(name); n++)
		assert_true(http_trailer_allowed((struct slice){ name, n }));
}

static void test_filter(void **state)
{
	static const struct {
		const char *name, *in, *out;
	} rows[] = {
		{ "nothing", "", "" },
		{ "one", "A: 1\r\n", "A: 1\r\n" },
		{ "none is left", "Host: a\r\nTE:\r\n", "" },
		{ "the first goes", "Host: a\r\nB: 2\r\n", "B: 2\r\n" },
		{ "the last goes", "B: 2\r\nHost: a\r\n", "B: 2\r\n" },
		{ "one between", "A: 1\r\nHost: a:b\r\nC: Host: 3\r\n", "A: 1\r\nC: Host: 3\r\n" },
		{ "no value", "A:\r\nB:\r\n", "A:\r\nB:\r\n" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		char text[128];
		size_t n = strlen(rows[i].in);
		memcpy(text, rows[i].in, n);
		text[http_trailers_filter(text, n)] = '\0';
		check_row_text(rows[i].name, text, rows[i].out);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_every_row),
		cmocka_unit_test(test_long_name),
		cmocka_unit_test(test_filter),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
