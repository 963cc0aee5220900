/* balancer/proxy/stream: framing off and on, whole, in place, cut at every offset. */
#include "lib/check.h"

#include <stdio.h>
#include <stdlib.h>

#include "balancer/proxy/stream.h"
#include "common/mem.h"

#define WIRE_MAX 4096

struct sent {
	char bytes[WIRE_MAX];
	size_t n, used;
	bool ended;
	enum http_rule rule;
};

static struct block_pool pool;

/* Feeds wire[0..n) as one read and adds what goes out to *out. */
static void feed(struct stream *s, const char *wire, size_t n, struct sent *out)
{
	char *buffer = malloc(n + 1); /* of that size, for the sanitizer */
	char line[HTTP_CHUNK_LINE_MAX];
	struct iovec iov[STREAM_IOV];
	struct stream_piece piece;

	assert_non_null(buffer);
	memcpy(buffer, wire, n);
	stream_decode(s, buffer, n, &piece);
	int n_iov = stream_frame(s, &piece, line, iov);
	assert_in_range(n_iov, 0, STREAM_IOV);
	for (int i = 0; i < n_iov; i++) {
		assert_in_range(iov[i].iov_len, 1, WIRE_MAX - out->n);
		memcpy(out->bytes + out->n, iov[i].iov_base, iov[i].iov_len);
		out->n += iov[i].iov_len;
	}
	out->used += piece.used;
	assert_int_equal(piece.ended, stream_ended(s));
	out->ended = piece.ended;
	out->rule = piece.rule;
	free(buffer);
}

#define NONE HTTP_BODY_NONE
#define LENGTH HTTP_BODY_LENGTH
#define CHUNKED HTTP_BODY_CHUNKED
#define CLOSED HTTP_BODY_CLOSE

static const struct {
	const char *name;
	enum http_framing in;
	uint64_t length, limit;
	enum http_framing out;
	const char *wire, *rest; /* `rest` follows and belongs to somebody else */
	const char *want;        /* when it comes in one read */
	bool ended;
	enum http_rule rule;
} cases[] = {
	{ "none", NONE, 0, 0, NONE, "", "GET", "", true, 0 },
	{ "length", LENGTH, 5, 0, LENGTH, "hello", "GET", "hello", true, 0 },
	{ "length, more to come", LENGTH, 9, 0, LENGTH, "hello", "", "hello", false, 0 },
	{ "length to chunks", LENGTH, 5, 0, CHUNKED, "hello", "x", "5\r\nhello\r\n0\r\n\r\n", true, 0 },
	{ "length, nothing", LENGTH, 5, 0, CHUNKED, "", "", "", false, 0 },
	{ "length at the limit", LENGTH, 5, 5, LENGTH, "hello", "", "hello", true, 0 },
	{ "chunks", CHUNKED, 0, 0, CHUNKED, "5\r\nhello\r\n0\r\n\r\n", "GET", "5\r\nhello\r\n0\r\n\r\n", true, 0 },
	{ "chunks that close up", CHUNKED, 0, 0, CHUNKED, "1\r\na\r\n2;x=\"y\"\r\nbc\r\n10\r\n0123456789abcdef\r\n", "",
	  "13\r\nabc0123456789abcdef\r\n", false, 0 },
	{ "chunks, ended with data", CHUNKED, 0, 0, CHUNKED, "1\r\na\r\n1\r\nb\r\n0\r\nT: x\r\n\r\n", "next",
	  "2\r\nab\r\n0\r\nT: x\r\n\r\n", true, 0 },
	{ "trailers alone", CHUNKED, 0, 0, CHUNKED, "0\r\nA:\r\nb:\t 1 \r\n\r\n", "\r\n", "0\r\nA:\r\nb:\t 1 \r\n\r\n", true, 0 },
	{ "trailers, some barred", CHUNKED, 0, 0, CHUNKED, "1\r\na\r\n0\r\nHost: x\r\nA: 1\r\ncontent_length: 5\r\nB: 2\r\nTE: x\r\n\r\n", "A: 3\r\n",
	  "1\r\na\r\n0\r\nA: 1\r\nB: 2\r\n\r\n", true, 0 },
	{ "trailers, all barred", CHUNKED, 0, 0, CHUNKED, "0\r\nHost: x\r\n\r\n", "", "0\r\n\r\n", true, 0 },
	{ "trailers to the end of the connection", CHUNKED, 0, 0, CLOSED, "1\r\na\r\n0\r\nA: 1\r\n\r\n", "", "a", true, 0 },
	{ "trailers without an end", CHUNKED, 0, 0, CHUNKED, "1\r\na\r\n0\r\nA: 1\r\nB", "", "1\r\na\r\n", false, 0 },
	{ "trailers, malformed", CHUNKED, 0, 0, CHUNKED, "1\r\na\r\n0\r\nA: 1\r\nB\r\n\r\n", "", "1\r\na\r\n", false, HTTP_RULE_TRAILER },
	{ "chunks to the end of the connection", CHUNKED, 0, 0, CLOSED, "1\r\na\r\n1\r\nb\r\n0\r\n\r\n", "", "ab", true, 0 },
	{ "the last chunk alone", CHUNKED, 0, 0, CHUNKED, "0\r\n\r\n", "", "0\r\n\r\n", true, 0 },
	{ "a size line alone", CHUNKED, 0, 0, CHUNKED, "5\r\n", "", "", false, 0 },
	{ "data in front of nonsense", CHUNKED, 0, 0, CHUNKED, "1\r\na\r\nzz", "", "1\r\na\r\n", false, HTTP_RULE_CHUNK_SIZE },
	{ "chunks over the limit", CHUNKED, 0, 4, CHUNKED, "3\r\nabc\r\n2\r\n", "", "3\r\nabc\r\n", false,
	  HTTP_RULE_BODY_TOO_LARGE },
	{ "close", CLOSED, 0, 0, CLOSED, "abc", "", "abc", false, 0 },
	{ "close to chunks", CLOSED, 0, 0, CHUNKED, "abc", "", "3\r\nabc\r\n", false, 0 },
};

static void test_one_read(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		char wire[256];
		struct stream s;
		struct sent out = { .n = 0 };
		stream_init(&s, cases[i].in, cases[i].length, cases[i].limit, cases[i].out);
		stream_pass_trailers(&s, &pool);
		snprintf(wire, sizeof(wire), "%s%s", cases[i].wire, cases[i].rest);
		feed(&s, wire, strlen(wire), &out);
		out.bytes[out.n] = '\0';
		check_row_text(cases[i].name, out.bytes, cases[i].want);
		check_row_int(cases[i].name, out.ended, cases[i].ended);
		check_row_int(cases[i].name, out.rule, cases[i].rule);
		if (!out.rule)
			check_row_int(cases[i].name, out.used, strlen(cases[i].wire));
		stream_fini(&s);
		assert_int_equal(pool.bytes_lent, 0);
	}
}

/* The payload of what was sent, whatever its chunks, and behind it the last chunk with
 * the trailers. */
static void payload_of(const struct sent *out, enum http_framing framing, char text[static WIRE_MAX])
{
	struct stream s;
	struct sent plain = { .n = 0 };
	const char *last = NULL;

	stream_init(&s, framing, UINT32_MAX, 0, CLOSED);
	feed(&s, out->bytes, out->n, &plain);
	assert_int_equal(plain.rule, HTTP_RULE_NONE);
	if (plain.ended && framing == CHUNKED)
		last = out->n > 5 ? memmem(out->bytes, out->n, "\r\n0\r\n", 5) : out->bytes;
	memcpy(text, plain.bytes, plain.n);
	text[plain.n] = '\0';
	if (last)
		snprintf(text + plain.n, WIRE_MAX - plain.n, "%.*s", (int)(out->bytes + out->n - last),
			 last + (out->n > 5 && *last == '\r' ? 2 : 0));
}

static void test_cut_everywhere(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		char want[WIRE_MAX], got[WIRE_MAX];
		struct sent whole = { .n = strlen(cases[i].want) };
		memcpy(whole.bytes, cases[i].want, whole.n);
		payload_of(&whole, cases[i].out, want);
		for (size_t cut = 0; cut <= strlen(cases[i].wire); cut++) {
			struct stream s;
			struct sent out = { .n = 0 };
			stream_init(&s, cases[i].in, cases[i].length, cases[i].limit, cases[i].out);
			stream_pass_trailers(&s, &pool);
			feed(&s, cases[i].wire, cut, &out);
			if (out.rule == HTTP_RULE_NONE && !out.ended)
				feed(&s, cases[i].wire + cut, strlen(cases[i].wire) - cut, &out);
			payload_of(&out, cases[i].out, got);
			check_row_text(cases[i].name, got, want);
			check_row_int(cases[i].name, out.ended, cases[i].ended);
			check_row_int(cases[i].name, out.rule, cases[i].rule);
			stream_fini(&s);
			assert_int_equal(pool.bytes_lent, 0);
		}
	}
}

/* Without memory for them trailers go, and nothing else. */
static void test_no_memory_for_trailers(void **state)
{
	static const char wire[] = "1\r\na\r\n0\r\nA: 1\r\nB: 2\r\n\r\n";
	struct block_pool empty;
	struct stream s;
	struct sent out = { .n = 0 };

	(void)state;
	block_pool_init(&empty);
	stream_init(&s, CHUNKED, 0, 0, CHUNKED);
	stream_pass_trailers(&s, &empty);
	mem_fault_at(1);
	feed(&s, wire, sizeof(wire) - 1, &out);
	assert_true(mem_fault_hit());
	mem_fault_at(0);
	assert_int_equal(out.rule, HTTP_RULE_NONE);
	assert_true(out.ended);
	assert_int_equal(out.n, 11);
	assert_memory_equal(out.bytes, "1\r\na\r\n0\r\n\r\n", 11);
	stream_fini(&s);
	block_pool_fini(&empty);
}

/* The end that comes with the connection's: nothing or the last chunk. */
static void test_end_by_close(void **state)
{
	struct stream_piece end = { .ended = true };
	char line[HTTP_CHUNK_LINE_MAX];
	struct iovec iov[STREAM_IOV];
	struct stream s;

	(void)state;
	stream_init(&s, CLOSED, 0, 0, CHUNKED);
	assert_false(stream_ended(&s));
	stream_end_by_close(&s);
	assert_true(stream_ended(&s));
	assert_int_equal(stream_frame(&s, &end, line, iov), 1);
	assert_int_equal(iov[0].iov_len, 5);
	assert_memory_equal(iov[0].iov_base, "0\r\n\r\n", 5);
	stream_init(&s, CLOSED, 0, 0, CLOSED);
	assert_int_equal(stream_frame(&s, &end, line, iov), 0);
}

static int boot(void **state)
{
	(void)state;
	block_pool_init(&pool);
	return 0;
}

static int end(void **state)
{
	(void)state;
	block_pool_fini(&pool);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_one_read),
		cmocka_unit_test(test_cut_everywhere),
		cmocka_unit_test(test_no_memory_for_trailers),
		cmocka_unit_test(test_end_by_close),
	};
	return cmocka_run_group_tests(tests, boot, end);
}
