/* Requests: the first byte sets how the rest is read, the rest is what a client sent.
 *
 *   drover accepts   llhttp accepts, and reads the same
 *   drover writes    llhttp reads there what policy lets through of the original, and
 *                    the same body; drover reads it too, and writes it again the same */
#include "balancer/proxy/client.h"
#include "balancer/proxy/rewrite.h"
#include "common/http_parse.h"
#include "fuzz/known.h"
#include "fuzz/policy.h"
#include "fuzz/relay.h"
#include "fuzz/split.h"

enum setting {
	SET_CUTS = 3,    /* two bits: fuzz_cuts() */
	SET_TRUSTED = 4, /* the client's forwarding fields are believed */
	SET_SMALL = 8,   /* limits that a small input meets */
};

#define PEER "203.0.113.9"

static struct proxy proxy;
static struct client client;
static struct http_head head, again;
static struct reading original, written;

static const struct http_limits usual = { 16384, 8192, 100, 0 };
static const struct http_limits small = { 256, 40, 6, 100 };
/* Serialising adds something. */
static const struct http_limits roomy = { 32768, 8192, 120, 0 };

/* A head in front of a body, as the worker gets it. */
static void write_head(const struct http_head *h, struct fuzz_bytes *out)
{
	struct block *b;
	struct kept_fields kept;

	proxy.id_counter = 1; /* the same request, the same id */
	if (rewrite_request(&client, h, &b, &kept) != ERR_OK)
		FUZZ_FAIL("a head of %u bytes cannot be written", h->head_bytes);
	fuzz_append(out, b->bytes + b->start, block_used(b));
	struct slice line = kept_slice(b, kept.line), id = kept_slice(b, kept.request_id);
	FUZZ_CHECK(line.n == h->method.n + 1 + h->path.n && line.p[h->method.n] == ' ' && id.n,
		   "what was kept for the log is \"%.*s\", \"%.*s\"", S(line), S(id));
	block_give_back(&proxy.blocks, b);
}

/* llhttp knows a list of methods; drover takes any token. */
static bool is_foreign(const struct http_head *h)
{
	return h->method_id == HTTP_M_OTHER && !reading_knows_method(h->method);
}

/* A copy for llhttp, with POST for a method that it does not know: that has no rules
 * of its own.  *ret_shift: how much longer the copy is. */
static char *show(const struct http_head *h, const char *p, size_t n, long *ret_shift, size_t *ret_n)
{
	size_t at = h->method.n ? (size_t)(h->method.p - p) : 0;

	*ret_shift = 0;
	*ret_n = n;
	if (!is_foreign(h))
		return fuzz_copy(p, n);
	*ret_shift = 4 - (long)h->method.n;
	*ret_n = n - h->method.n + 4;
	char *copy = malloc(*ret_n);
	if (!copy)
		abort();
	memcpy(copy, p, at);
	memcpy(copy + at, "POST", 4);
	memcpy(copy + at + 4, p + at + h->method.n, n - at - h->method.n);
	return copy;
}

static void check_added(const struct http_head *h)
{
	struct slice length = policy_field(&written, "content-length");
	struct slice from = policy_field(&written, "x-forwarded-for");
	bool upgrade = policy_field(&written, "upgrade").p != NULL;

	FUZZ_CHECK(written.minor == 1, "written as HTTP/1.%u", written.minor);
	FUZZ_CHECK(slice_eq(written.target, h->path), "the target is \"%.*s\", not \"%.*s\"",
		   S(written.target), S(h->path));
	FUZZ_CHECK(slice_eq(policy_field(&written, "host"), h->host.n ? h->host : SLICE("localhost")),
		   "Host is not \"%.*s\"", S(h->host));
	FUZZ_CHECK(written.chunked == original.chunked && (length.p != NULL) == original.has_length &&
			   (!length.p || written.length == original.length),
		   "the framing changed on the way");
	FUZZ_CHECK(from.n >= strlen(PEER) &&
			   memcmp(from.p + from.n - strlen(PEER), PEER, strlen(PEER)) == 0,
		   "X-Forwarded-For: %.*s does not end with the client", S(from));
	FUZZ_CHECK(client.trusted || from.n == strlen(PEER), "X-Forwarded-For: %.*s is believed",
		   S(from));
	FUZZ_CHECK(policy_field(&written, "x-request-id").n || client.trusted, "no request id");
	struct slice connection = policy_field(&written, "connection");
	bool te = slice_eq(policy_field(&written, "te"), SLICE("trailers"));
	FUZZ_CHECK(upgrade == h->upgrade && written.upgrade == h->upgrade &&
			   slice_ieq(connection, upgrade ? SLICE("upgrade")
						 : te    ? SLICE("te")
							 : SLICE("")),
		   "an upgrade came or went on the way: Connection: %.*s", S(connection));
	if (upgrade) {
		static char list[65536];
		size_t n = policy_upgrade(&original, list, sizeof(list));
		FUZZ_CHECK(slice_eq(policy_field(&written, "upgrade"), (struct slice){ list, n }),
			   "the upgrade is another: %.*s", S(policy_field(&written, "upgrade")));
	}
}

/* What was written, read and written again, stays the same. */
static void check_stable(const struct http_head *h, const struct fuzz_bytes *out, size_t head_bytes)
{
	enum http_rule rule;
	struct fuzz_bytes twice = { 0 };
	enum http_verdict v = http_parse_request(&again, out->p, head_bytes, 0, &roomy, &rule);

	FUZZ_CHECK(v == HTTP_WHOLE && again.head_bytes == head_bytes,
		   "drover does not accept the head that it wrote: verdict %d, %s", v,
		   v == HTTP_REFUSED ? http_rule_table[rule].name : "");
	FUZZ_CHECK(again.framing == h->framing && again.length == h->length &&
			   again.upgrade == h->upgrade && again.method_id == h->method_id,
		   "drover reads another request in the head that it wrote");
	/* A trusted client is appended to X-Forwarded-For each time; a request of 1.0
	 * without a Host has one afterwards, which is then forwarded. */
	if (client.trusted || !h->host.n)
		return;
	write_head(&again, &twice);
	FUZZ_CHECK(twice.n == head_bytes && memcmp(twice.p, out->p, twice.n) == 0,
		   "written twice, the head is another:\n%.*s\n%.*s", (int)head_bytes, out->p,
		   (int)twice.n, twice.p);
	free(twice.p);
}

static void check_body(const struct relay *relay, size_t head_bytes, long shift, bool comparable)
{
	FUZZ_CHECK(written.whole == relay->ended, "%s for us, %s for llhttp",
		   relay->ended ? "ended" : "going on", written.whole ? "ended" : "going on");
	if (comparable && relay->ended)
		FUZZ_CHECK(original.whole &&
				   (long)original.used == (long)(head_bytes + relay->used) + shift,
			   "the message ends at %zu for us, at %ld for llhttp (%s)",
			   head_bytes + relay->used, (long)original.used - shift,
			   original.refused ? original.refused : "");
	FUZZ_CHECK(written.body.n == relay->payload.n && fuzz_begins(&relay->payload, &written.body) &&
			   (!comparable || fuzz_begins(&original.body, &written.body)),
		   "the body changed on the way");
}

/* The body behind the head, and the whole message as the worker gets it. */
static void check_message(const struct http_head *h, const char *p, size_t n, unsigned setting,
			  const struct http_limits *limits, long shift, bool comparable)
{
	struct relay relay = { .in = h->framing,
			       .out = h->framing,
			       .length = h->length,
			       .limit = limits->body_bytes,
			       .cuts = setting & SET_CUTS,
			       .trailers = !h->names_fields };
	const struct policy policy = { .is_request = true,
				       .length = true,
				       .trailer = true,
				       .trusted = client.trusted,
				       .continues = h->expect_continue };

	FUZZ_CHECK(!h->expect_continue || (h->minor && h->framing != HTTP_BODY_NONE),
		   "100-continue is expected of a request without a body, or of 1.0");
	write_head(h, &relay.sent);
	size_t head_bytes = relay.sent.n, behind = h->head_bytes, seen;
	check_stable(h, &relay.sent, head_bytes);
	relay_take(&relay, p + behind, n - behind, false);
	long out_shift;
	struct http_head as_written = *h;
	as_written.method.p = relay.sent.p;
	char *shown = show(&as_written, relay.sent.p, relay.sent.n, &out_shift, &seen);
	reading_take(&written, shown, seen, READ_REQUEST, false);
	FUZZ_CHECK(written.head && !written.refused, "llhttp refuses what drover wrote: %s",
		   written.refused ? written.refused : "no end of the head");
	FUZZ_CHECK(slice_eq(written.method, original.method), "the method changed on the way");
	check_added(h);
	policy_check(&policy, &original, &written);
	check_body(&relay, behind, shift, comparable);
	if (original.whole && written.whole)
		policy_check_trailers(&original, &written, relay.trailers);
	FUZZ_CHECK(!relay.ended || written.used == seen,
		   "bytes behind the end of what drover wrote");
	free(shown);
	relay_fini(&relay);
	reading_fini(&written);
}

static void boot(void)
{
	static bool done;

	if (done)
		return;
	done = true;
	block_pool_init(&proxy.blocks);
	memcpy(proxy.id_prefix, "0123456789abcdef", sizeof(proxy.id_prefix));
	client.proxy = &proxy;
	client.peer = (struct addr_host){ AF_INET, { 203, 0, 113, 9 } };
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	enum http_rule rule;
	size_t seen;
	long shift;

	boot();
	if (n-- < 1)
		return 0;
	unsigned setting = *data++;
	struct split split = { .is_request = true,
			       .cuts = setting & SET_CUTS,
			       .limits = setting & SET_SMALL ? small : usual };
	client.trusted = setting & SET_TRUSTED;
	char *p = fuzz_copy(data, n);
	if (split_head(&split, &head, p, n, &rule) == HTTP_WHOLE) {
		char *shown = show(&head, p, n, &shift, &seen);
		reading_take(&original, shown, seen, READ_REQUEST, false);
		FUZZ_CHECK(original.head, "drover accepts a head that llhttp refuses: %s",
			   original.refused ? original.refused : "it waits for more");
		struct http_head compared = head;
		if (is_foreign(&head))
			compared.method = SLICE("POST");
		split_compare(&compared, &original, true);
		check_message(&head, p, n, setting, &split.limits, shift,
			      !known_refusal(&original, shown, seen));
		free(shown);
		reading_fini(&original);
	}
	free(p);
	return 0;
}
