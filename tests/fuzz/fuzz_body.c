/* Chunked bodies and their trailers: the first byte sets how the rest is read, the rest
 * is the body.  Deeper than the request target gets, which has to make a head first.
 *
 *   drover ends it       llhttp ends it there too, with the same payload
 *   drover goes on       so does llhttp
 *   drover sends it on   llhttp reads the same payload in that */
#include "common/http_body.h"
#include "fuzz/known.h"
#include "fuzz/policy.h"
#include "fuzz/relay.h"

enum setting {
	SET_CUTS = 3,      /* two bits: fuzz_cuts() */
	SET_SMALL = 4,     /* a limit that a small input meets */
	SET_CLOSE = 8,     /* goes out without framing, as for a 1.0 client */
	SET_TRAILERS = 16, /* they are passed on */
};

static const char head_in[] = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
static const char head_out[] = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
static const char head_close[] = "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n";

static struct reading original, written;

static void check_payload(const struct relay *r)
{
	FUZZ_CHECK(fuzz_begins(&original.body, &r->payload),
		   "payload that llhttp does not see there: %s",
		   original.refused ? original.refused : "another");
	if (r->ended)
		FUZZ_CHECK(original.whole && original.used == sizeof(head_in) - 1 + r->used &&
				   original.body.n == r->payload.n,
			   "the body ends at %zu for us, at %zu for llhttp (%s)", r->used,
			   original.used - sizeof(head_in) + 1,
			   original.refused ? original.refused : "");
	else if (!r->rule)
		FUZZ_CHECK(!original.whole && !original.refused,
			   "the body goes on for us, not for llhttp: %s",
			   original.refused ? original.refused : "it has ended");
}

static void check_sent(const struct relay *r)
{
	bool close = r->out == HTTP_BODY_CLOSE;

	reading_take(&written, r->sent.p, r->sent.n, READ_REPLY, close && r->ended);
	FUZZ_CHECK(written.head && !written.refused, "llhttp refuses what drover sent: %s",
		   written.refused ? written.refused : "no head");
	FUZZ_CHECK(written.whole == r->ended, "%s for us, %s in what drover sent",
		   r->ended ? "ended" : "going on", written.whole ? "ended" : "going on");
	FUZZ_CHECK(written.body.n == r->payload.n && fuzz_begins(&r->payload, &written.body),
		   "the payload changed on the way");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	if (n-- < 1)
		return 0;
	unsigned setting = *data++;
	bool close = setting & SET_CLOSE;
	struct relay r = { .in = HTTP_BODY_CHUNKED,
			   .cuts = setting & SET_CUTS,
			   .out = close ? HTTP_BODY_CLOSE : HTTP_BODY_CHUNKED,
			   .trailers = setting & SET_TRAILERS,
			   .limit = setting & SET_SMALL ? 20 : 0 };
	struct fuzz_bytes in = { 0 };

	fuzz_append(&in, head_in, sizeof(head_in) - 1);
	fuzz_append(&in, (const char *)data, n);
	reading_take(&original, in.p, in.n, READ_REQUEST, false);
	fuzz_append(&r.sent, close ? head_close : head_out,
		    (close ? sizeof(head_close) : sizeof(head_out)) - 1);
	relay_take(&r, (const char *)data, n, false);
	FUZZ_CHECK(!r.limit || r.payload.n <= r.limit, "%zu bytes past a limit of %zu", r.payload.n,
		   (size_t)r.limit);
	if (!known_refusal(&original, in.p, in.n))
		check_payload(&r);
	check_sent(&r);
	if (original.whole && written.whole)
		policy_check_trailers(&original, &written, r.trailers && !close);
	relay_fini(&r);
	reading_fini(&original);
	reading_fini(&written);
	free(in.p);
	return 0;
}
