/* Replies: the first byte sets how the rest is read, the rest is what a worker sent.
 * The same as for requests, with the framing that the client is to get. */
#include "balancer/proxy/request.h"
#include "balancer/proxy/rewrite.h"
#include "common/http_parse.h"
#include "fuzz/known.h"
#include "fuzz/policy.h"
#include "fuzz/relay.h"
#include "fuzz/split.h"

enum setting {
	SET_CUTS = 3,   /* two bits: fuzz_cuts() */
	SET_HEAD = 4,   /* the request was HEAD */
	SET_OLD = 8,    /* the client speaks 1.0 */
	SET_SMALL = 16, /* limits that a small input meets */
	SET_CLOSE = 32, /* the client's connection ends after this reply */
	SET_END = 64,   /* the worker's connection ended behind the last byte */
};

static struct http_head head, again;
static struct reading original, written;
static char out_bytes[OUT_BYTES];

static const struct http_limits usual = { REPLY_HEAD_BYTES, UINT32_MAX, HTTP_FIELDS_MAX, 0 };
static const struct http_limits small = { 200, UINT32_MAX, 4, 0 };

/* As request.c chooses it. */
static enum http_framing framing_out(const struct http_head *h, bool old_client)
{
	if (h->framing == HTTP_BODY_CHUNKED || h->framing == HTTP_BODY_CLOSE)
		return old_client ? HTTP_BODY_CLOSE : HTTP_BODY_CHUNKED;
	return (enum http_framing)h->framing;
}

static void write_head(const struct http_head *h, const struct request *r, struct fuzz_bytes *out)
{
	struct http_out o = { out_bytes, out_bytes + sizeof(out_bytes), false };

	rewrite_reply(r, h, &o);
	FUZZ_CHECK(!o.full, "a head of %u bytes cannot be written", h->head_bytes);
	fuzz_append(out, out_bytes, (size_t)(o.p - out_bytes));
}

static void check_added(const struct http_head *h, const struct request *r)
{
	struct slice length = policy_field(&written, "content-length");
	struct slice connection = policy_field(&written, "connection");
	enum http_framing out = (enum http_framing)r->to_client.out_framing;
	bool interim = h->status < 200;

	FUZZ_CHECK(written.minor == 1 && written.status == h->status &&
			   slice_eq(written.reason, h->reason),
		   "another status line: %u %.*s", written.status, S(written.reason));
	FUZZ_CHECK(written.chunked == (out == HTTP_BODY_CHUNKED && !interim),
		   "chunked came or went on the way");
	FUZZ_CHECK((length.p != NULL) == (h->has_length && !interim && h->status != 204) &&
			   (!length.p || written.length == h->length),
		   "Content-Length is \"%.*s\"", S(length));
	FUZZ_CHECK(written.until_end == (out == HTTP_BODY_CLOSE), "the end of the connection %s",
		   written.until_end ? "means something now" : "means nothing any more");
	if (h->status == 101) {
		static char list[OUT_BYTES];
		size_t n = policy_upgrade(&original, list, sizeof(list));
		FUZZ_CHECK(written.upgrade && slice_ieq(connection, SLICE("upgrade")) &&
				   slice_eq(policy_field(&written, "upgrade"),
					    (struct slice){ list, n }),
			   "101 upgrades to %.*s", S(policy_field(&written, "upgrade")));
	}
	if (h->status == 101)
		return;
	if (r->close && !interim)
		FUZZ_CHECK(slice_ieq(connection, SLICE("close")) && !written.keep_alive,
			   "the connection ends and Connection says \"%.*s\"", S(connection));
	else
		FUZZ_CHECK(!connection.p || slice_ieq(connection, SLICE("keep-alive")),
			   "the connection goes on and Connection says \"%.*s\"", S(connection));
}

/* What was written, read and written again, stays the same. */
static void check_stable(const struct http_head *h, const struct request *r, uint8_t method,
			 const struct fuzz_bytes *out)
{
	enum http_rule rule;
	struct fuzz_bytes twice = { 0 };
	struct http_limits roomy = { OUT_BYTES, UINT32_MAX, HTTP_FIELDS_MAX, 0 };
	size_t n = out->n;

	if (h->n_fields + 3 > HTTP_FIELDS_MAX)
		return;
	enum http_verdict v = http_parse_reply(&again, out->p, n, 0, &roomy, method, &rule);
	FUZZ_CHECK(v == HTTP_WHOLE && again.head_bytes == n,
		   "drover does not accept the head that it wrote: verdict %d, %s", v,
		   v == HTTP_REFUSED ? http_rule_table[rule].name : "");
	FUZZ_CHECK(again.framing == r->to_client.out_framing && again.length == h->length &&
			   again.upgrade == h->upgrade,
		   "drover reads another reply in the head that it wrote");
	write_head(&again, r, &twice);
	FUZZ_CHECK(twice.n == n && memcmp(twice.p, out->p, n) == 0,
		   "written twice, the head is another:\n%.*s\n%.*s", (int)n, out->p, (int)twice.n,
		   twice.p);
	free(twice.p);
}

static void check_body(const struct http_head *h, const struct relay *relay, bool comparable)
{
	FUZZ_CHECK(written.whole == relay->ended, "%s for us, %s for llhttp",
		   relay->ended ? "ended" : "going on", written.whole ? "ended" : "going on");
	if (comparable && relay->ended && h->framing != HTTP_BODY_CLOSE)
		FUZZ_CHECK(original.whole && original.used == h->head_bytes + relay->used,
			   "the message ends at %zu for us, at %zu for llhttp (%s)",
			   h->head_bytes + relay->used, original.used,
			   original.refused ? original.refused : "");
	if (relay->ended)
		FUZZ_CHECK(written.used == relay->sent.n,
			   "bytes behind the end of what drover wrote");
	FUZZ_CHECK(written.body.n == relay->payload.n && fuzz_begins(&relay->payload, &written.body) &&
			   (!comparable || fuzz_begins(&original.body, &written.body)),
		   "the body changed on the way");
}

static void check_message(const struct http_head *h, const char *p, size_t n, unsigned setting,
			  enum reading_kind kind)
{
	static struct request r;
	uint8_t method = setting & SET_HEAD ? HTTP_M_HEAD : HTTP_M_GET;

	r.minor = !(setting & SET_OLD);
	r.to_client.out_framing = (uint8_t)framing_out(h, setting & SET_OLD);
	r.close = setting & SET_CLOSE || r.to_client.out_framing == HTTP_BODY_CLOSE;
	r.method = method;
	const struct policy policy = { .length = h->status >= 200 && h->status != 204,
				       .trailer = setting & SET_HEAD ||
						  r.to_client.out_framing == HTTP_BODY_CHUNKED };
	struct relay relay = { .in = h->framing,
			       .out = r.to_client.out_framing,
			       .length = h->length,
			       .cuts = setting & SET_CUTS,
			       .trailers = !h->names_fields };
	write_head(h, &r, &relay.sent);
	check_stable(h, &r, method, &relay.sent);
	relay_take(&relay, p + h->head_bytes, n - h->head_bytes, setting & SET_END);
	reading_take(&written, relay.sent.p, relay.sent.n, kind,
		     relay.ended && r.to_client.out_framing == HTTP_BODY_CLOSE);
	FUZZ_CHECK(written.head && !written.refused, "llhttp refuses what drover wrote: %s",
		   written.refused ? written.refused : "no end of the head");
	check_added(h, &r);
	policy_check(&policy, &original, &written);
	if (original.whole && written.whole)
		policy_check_trailers(&original, &written,
				      relay.trailers && relay.out == HTTP_BODY_CHUNKED &&
					      relay.in == HTTP_BODY_CHUNKED);
	check_body(h, &relay, !known_refusal(&original, p, n));
	relay_fini(&relay);
	reading_fini(&written);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	enum http_rule rule;

	if (n-- < 1)
		return 0;
	unsigned setting = *data++;
	struct split split = { .request_method = setting & SET_HEAD ? HTTP_M_HEAD : HTTP_M_GET,
			       .cuts = setting & SET_CUTS,
			       .limits = setting & SET_SMALL ? small : usual };
	enum reading_kind kind = setting & SET_HEAD ? READ_REPLY_TO_HEAD : READ_REPLY;
	char *p = fuzz_copy(data, n);
	if (split_head(&split, &head, p, n, &rule) == HTTP_WHOLE) {
		reading_take(&original, p, n, kind, false);
		FUZZ_CHECK(original.head, "drover accepts a head that llhttp refuses: %s",
			   original.refused ? original.refused : "it waits for more");
		split_compare(&head, &original, false);
		/* 101 that nobody asked for is never written. */
		if (head.status != 101 || head.upgrade)
			check_message(&head, p, n, setting, kind);
		reading_fini(&original);
	}
	free(p);
	return 0;
}
