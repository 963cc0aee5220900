/* drover's reading of a head, checked against itself and against llhttp's; see split.h. */
#include "fuzz/split.h"

#include "fuzz/known.h"

static enum http_verdict parse(const struct split *s, struct http_head *head, const char *p,
			       size_t n, size_t seen, enum http_rule *ret_rule)
{
	*ret_rule = HTTP_RULE_NONE;
	enum http_verdict v = s->is_request
				      ? http_parse_request(head, p, n, seen, &s->limits, ret_rule)
				      : http_parse_reply(head, p, n, seen, &s->limits,
							 s->request_method, ret_rule);
	FUZZ_CHECK(v == HTTP_WHOLE || v == HTTP_PARTIAL || v == HTTP_REFUSED, "verdict %d", v);
	if (v == HTTP_REFUSED)
		FUZZ_CHECK(*ret_rule > HTTP_RULE_NONE && *ret_rule < HTTP_RULE_MAX,
			   "refused by no rule: %d", *ret_rule);
	if (v == HTTP_PARTIAL)
		FUZZ_CHECK(n < s->limits.head_bytes, "%zu bytes are still no head", n);
	return v;
}

static void check_inside(const char *what, struct slice s, const char *p, size_t n)
{
	if (s.n)
		FUZZ_CHECK(s.p >= p && s.n <= n && s.p - p <= (ptrdiff_t)(n - s.n),
			   "%s lies outside the head", what);
}

static void check_slices(const struct split *s, const struct http_head *h, const char *p)
{
	FUZZ_CHECK(h->head_bytes >= 4 && h->head_bytes <= s->limits.head_bytes,
		   "a head of %u bytes", h->head_bytes);
	FUZZ_CHECK(memcmp(p + h->head_bytes - 4, "\r\n\r\n", 4) == 0,
		   "the head does not end in an empty line");
	FUZZ_CHECK(h->n_fields <= s->limits.fields, "%u fields", h->n_fields);
	FUZZ_CHECK(h->framing < HTTP_BODY_MAX && h->minor <= 1, "framing %d, minor %d", h->framing,
		   h->minor);
	check_inside("the method", h->method, p, h->head_bytes);
	check_inside("the target", h->target, p, h->head_bytes);
	check_inside("the host", h->host, p, h->head_bytes);
	check_inside("the reason", h->reason, p, h->head_bytes);
	/* "*" and "/" may stand for what the target left out. */
	if (h->path.n != 1)
		check_inside("the path", h->path, p, h->head_bytes);
	for (uint32_t i = 0; i < h->n_fields; i++) {
		const struct http_field *f = &h->fields[i];
		check_inside("a name", f->name, p, h->head_bytes);
		check_inside("a value", f->value, p, h->head_bytes);
		FUZZ_CHECK(f->id < HTTP_F_MAX && f->id == http_field_find(f->name),
			   "\"%.*s\" is field %u", S(f->name), f->id);
	}
}

static void check_same_slice(const char *what, struct slice a, const char *in_a, struct slice b,
			     const char *in_b, size_t n)
{
	bool inside = a.p >= in_a && a.p <= in_a + n;

	FUZZ_CHECK(a.n == b.n && (!a.n || (inside ? a.p - in_a == b.p - in_b : a.p == b.p)),
		   "%s differs when the head comes in pieces: \"%.*s\" and \"%.*s\"", what, S(a),
		   S(b));
}

static void check_same_head(const struct http_head *a, const char *in_a, const struct http_head *b,
			    const char *in_b)
{
	size_t n = a->head_bytes;

	FUZZ_CHECK(a->head_bytes == b->head_bytes && a->n_fields == b->n_fields &&
			   a->method_id == b->method_id && a->status == b->status &&
			   a->minor == b->minor && a->framing == b->framing &&
			   a->has_length == b->has_length && a->length == b->length &&
			   a->keep_alive == b->keep_alive && a->upgrade == b->upgrade &&
			   a->expect_continue == b->expect_continue &&
			   a->takes_trailers == b->takes_trailers &&
			   a->names_fields == b->names_fields,
		   "a head is read differently when it comes in pieces");
	check_same_slice("the method", a->method, in_a, b->method, in_b, n);
	check_same_slice("the target", a->target, in_a, b->target, in_b, n);
	check_same_slice("the path", a->path, in_a, b->path, in_b, n);
	check_same_slice("the host", a->host, in_a, b->host, in_b, n);
	check_same_slice("the reason", a->reason, in_a, b->reason, in_b, n);
	for (uint32_t i = 0; i < a->n_fields; i++) {
		const struct http_field *f = &a->fields[i], *g = &b->fields[i];
		check_same_slice("a name", f->name, in_a, g->name, in_b, n);
		check_same_slice("a value", f->value, in_a, g->value, in_b, n);
		FUZZ_CHECK(f->drop == g->drop && f->id == g->id,
			   "\"%.*s\" is judged differently when the head comes in pieces",
			   S(f->name));
	}
}

/* Each piece in a buffer of its own size, as if the buffer had grown elsewhere. */
static void check_pieces(const struct split *s, enum http_verdict want,
			 const struct http_head *head, const char *p, size_t n)
{
	static struct http_head other;
	struct fuzz_cuts cuts = fuzz_cuts(p, n, s->cuts);
	enum http_verdict v = HTTP_PARTIAL;
	enum http_rule rule;
	size_t end, seen = 0;

	/* Byte by byte is for small ones: it costs their square. */
	if (cuts.way == 0 && n > 400)
		cuts.way = 3;
	while (v == HTTP_PARTIAL && fuzz_cut(&cuts, &end)) {
		char *part = fuzz_copy(p, end);
		v = parse(s, &other, part, end, seen, &rule);
		if (v == HTTP_WHOLE && want == HTTP_WHOLE)
			check_same_head(head, p, &other, part);
		free(part);
		seen = end;
	}
	FUZZ_CHECK(n == 0 || v == want,
		   "verdict %d, but %d when it comes in pieces up to %zu of %zu", want, v, seen, n);
}

enum http_verdict split_head(const struct split *s, struct http_head *head, const char *p, size_t n,
			     enum http_rule *ret_rule)
{
	/* What an earlier head left there must not matter. */
	memset(head, 0xa5, sizeof(*head));
	enum http_verdict v = parse(s, head, p, n, 0, ret_rule);

	if (v == HTTP_WHOLE)
		check_slices(s, head, p);
	check_pieces(s, v, head, p, n);
	return v;
}

static void same_text(const char *what, struct slice ours, struct slice theirs)
{
	FUZZ_CHECK(slice_eq(ours, theirs), "%s is \"%.*s\" for us, \"%.*s\" for llhttp", what,
		   S(ours), S(theirs));
}

void split_compare(const struct http_head *h, const struct reading *r, bool is_request)
{
	if (is_request) {
		same_text("the method", h->method, r->method);
		same_text("the target", h->target, r->target);
	} else {
		FUZZ_CHECK(h->status == r->status, "status %u for us, %u for llhttp", h->status,
			   r->status);
		same_text("the reason", h->reason, r->reason);
	}
	FUZZ_CHECK(h->minor == r->minor, "minor %u for us, %u for llhttp", h->minor, r->minor);
	FUZZ_CHECK(h->n_fields == r->n_fields, "%u fields for us, %zu for llhttp", h->n_fields,
		   r->n_fields);
	for (uint32_t i = 0; i < h->n_fields; i++) {
		same_text("a name", h->fields[i].name, r->fields[i].name);
		same_text("a value", h->fields[i].value, r->fields[i].value);
	}
	if (h->has_length)
		FUZZ_CHECK(r->has_length && r->length == h->length,
			   "length %llu for us, %llu for llhttp", (unsigned long long)h->length,
			   (unsigned long long)r->length);
	switch ((enum http_framing)h->framing) {
	case HTTP_BODY_LENGTH:
		FUZZ_CHECK(r->has_length && !r->chunked, "a length for us, not for llhttp");
		break;
	case HTTP_BODY_CHUNKED: FUZZ_CHECK(r->chunked, "chunked for us, not for llhttp"); break;
	case HTTP_BODY_CLOSE:
		FUZZ_CHECK(r->until_end, "until the end for us, not for llhttp");
		break;
	default:
		FUZZ_CHECK(!r->until_end, "no body for us, until the end for llhttp");
		/* Replies to HEAD, 204 and 304 announce what does not come. */
		FUZZ_CHECK(!is_request || (!r->chunked && r->length == 0),
			   "no body for us, one for llhttp");
		break;
	}
	if (known_connection(r))
		return;
	/* We may end a connection that llhttp would keep, never the other way round. */
	FUZZ_CHECK(!h->keep_alive || r->keep_alive, "keep-alive for us, not for llhttp");
	FUZZ_CHECK(!h->upgrade || r->upgrade, "an upgrade for us, not for llhttp");
}
