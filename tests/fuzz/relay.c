/* See relay.h. */
#include "fuzz/relay.h"

#include "balancer/proxy/stream.h"

static struct block_pool pool; /* zeros are an empty one */

static void start(const struct relay *r, struct stream *s)
{
	stream_init(s, (enum http_framing)r->in, r->length, r->limit, (enum http_framing)r->out);
	if (r->trailers)
		stream_pass_trailers(s, &pool);
}

/* One piece in a buffer of its own size, decoded in place as the proxy does. */
static void take_piece(struct relay *r, struct stream *s, const char *p, size_t n)
{
	char *buf = fuzz_copy(p, n), line[HTTP_CHUNK_LINE_MAX];
	struct stream_piece piece = { 0 };
	struct iovec iov[STREAM_IOV];

	stream_decode(s, buf, n, &piece);
	FUZZ_CHECK(piece.used <= n, "%zu of %zu bytes used", piece.used, n);
	FUZZ_CHECK(piece.n <= piece.used && (!piece.n || (piece.data >= buf &&
							  piece.data + piece.n <= buf + piece.used)),
		   "payload lies outside the bytes that came");
	FUZZ_CHECK(piece.ended || piece.rule || piece.used == n,
		   "%zu of %zu bytes taken, and no end", piece.used, n);
	FUZZ_CHECK(piece.ended == stream_ended(s), "the end is seen, and is not");
	fuzz_append(&r->payload, piece.data, piece.n);
	int count = stream_frame(s, &piece, line, iov);
	FUZZ_CHECK(count <= STREAM_IOV, "%d parts", count);
	for (int i = 0; i < count; i++)
		fuzz_append(&r->sent, iov[i].iov_base, iov[i].iov_len);
	r->used += piece.used;
	r->ended = piece.ended;
	r->rule = piece.rule;
	free(buf);
}

static void end_by_close(struct relay *r, struct stream *s)
{
	struct stream_piece piece = { .ended = true };
	char line[HTTP_CHUNK_LINE_MAX];
	struct iovec iov[STREAM_IOV];

	stream_end_by_close(s);
	int count = stream_frame(s, &piece, line, iov);
	for (int i = 0; i < count; i++)
		fuzz_append(&r->sent, iov[i].iov_base, iov[i].iov_len);
	r->ended = true;
}

static void take(struct relay *r, const char *p, size_t n, bool end)
{
	struct stream s;
	struct fuzz_cuts cuts = fuzz_cuts(p, n, r->cuts);
	size_t from = 0, to;

	start(r, &s);
	r->ended = stream_ended(&s);
	while (!r->ended && !r->rule && fuzz_cut(&cuts, &to)) {
		take_piece(r, &s, p + from, to - from);
		from = to;
	}
	if (end && !r->ended && !r->rule && r->in == HTTP_BODY_CLOSE)
		end_by_close(r, &s);
	stream_fini(&s);
	FUZZ_CHECK(pool.bytes_lent == 0, "%zu bytes of trailers stay", (size_t)pool.bytes_lent);
}

void relay_take(struct relay *r, const char *p, size_t n, bool end)
{
	struct relay whole = { .in = r->in,
			       .out = r->out,
			       .length = r->length,
			       .limit = r->limit,
			       .trailers = r->trailers };

	take(r, p, n, end);
	/* In one piece. */
	struct stream s;
	start(r, &s);
	whole.ended = stream_ended(&s);
	if (!whole.ended)
		take_piece(&whole, &s, p, n);
	if (end && !whole.ended && !whole.rule && r->in == HTTP_BODY_CLOSE)
		end_by_close(&whole, &s);
	stream_fini(&s);
	FUZZ_CHECK(whole.ended == r->ended && whole.rule == r->rule && whole.used == r->used,
		   "a body ends at %zu by %s, in pieces at %zu by %s", whole.used,
		   http_rule_table[whole.rule].name, r->used, http_rule_table[r->rule].name);
	FUZZ_CHECK(whole.payload.n == r->payload.n &&
			   (!whole.payload.n ||
			    memcmp(whole.payload.p, r->payload.p, whole.payload.n) == 0),
		   "the payload is another in pieces");
	relay_fini(&whole);
}

void relay_fini(struct relay *r)
{
	free(r->payload.p);
	free(r->sent.p);
	r->payload = r->sent = (struct fuzz_bytes){ 0 };
}
