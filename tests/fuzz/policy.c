/* The forwarding policy as an oracle; see policy.h. */
#include "fuzz/policy.h"

#include "common/http_trailers.h"

/* RFC 9110 7.6.1, RFC 9112 C.2.2. */
static const char *const hop_by_hop[] = {
	"connection", "keep-alive",         "proxy-connection",    "te", "transfer-encoding",
	"upgrade",    "proxy-authenticate", "proxy-authorization", NULL
};
static const char *const framing[] = { "content-length", "transfer-encoding", NULL };
/* Set by drover; a trusted peer's are passed on. */
static const char *const forwarding[] = { "forwarded",         "x-forwarded-for",
					  "x-forwarded-proto", "x-forwarded-host",
					  "x-request-id",      NULL };
/* What stands behind the fields that go on. */
static const char *const added[] = { "transfer-encoding",
				     "x-forwarded-for",
				     "x-forwarded-proto",
				     "x-forwarded-host",
				     "x-request-id",
				     "connection",
				     "upgrade",
				     "te",
				     NULL };

static bool in_list(struct slice name, const char *const *list)
{
	for (; *list; list++)
		if (slice_ieq(name, slice_of(*list)))
			return true;
	return false;
}

/* And whatever else calls itself X-Forwarded-Something. */
static bool is_forwarding(struct slice name)
{
	return in_list(name, forwarding) ||
	       (name.n > 12 && slice_istarts(name, SLICE("x-forwarded-")));
}

/* Next of the comma-separated options; a comma in quotes does not separate. */
static bool next_option(struct slice *rest, struct slice *ret_option)
{
	bool quoted = false;
	size_t i = 0;

	if (rest->n == 0)
		return false;
	for (; i < rest->n && (quoted || rest->p[i] != ','); i++) {
		if (rest->p[i] == '"')
			quoted = !quoted;
		else if (quoted && rest->p[i] == '\\' && i + 1 < rest->n)
			i++;
	}
	*ret_option = slice_trim((struct slice){ rest->p, i });
	i += i < rest->n;
	*rest = (struct slice){ rest->p + i, rest->n - i };
	return true;
}

/* Connection: <name>.  Its own options name no field. */
static bool named_by_connection(const struct reading *in, struct slice name)
{
	if (in_list(name, (const char *const[]){ "close", "host", "content-length", NULL }) ||
	    is_forwarding(name))
		return false;
	for (size_t i = 0; i < in->n_fields; i++) {
		struct slice rest = in->fields[i].value, option;
		if (!slice_ieq(in->fields[i].name, SLICE("connection")))
			continue;
		while (next_option(&rest, &option))
			if (slice_ieq(option, name))
				return true;
	}
	return false;
}

/* A program that reads fields as variables takes X_Forwarded_For for X-Forwarded-For. */
static bool shadows(struct slice name)
{
	char dashed[32];

	if (!memchr(name.p, '_', name.n))
		return false;
	name.n = MIN(name.n, sizeof(dashed)); /* a longer one can only begin like one of them */
	for (size_t i = 0; i < name.n; i++)
		dashed[i] = name.p[i] == '_' ? '-' : name.p[i];
	struct slice s = { dashed, name.n };
	return in_list(s, hop_by_hop) || in_list(s, framing) || is_forwarding(s);
}

static bool goes_on(const struct policy *p, const struct reading *in, const struct reading_field *f)
{
	if (slice_ieq(f->name, SLICE("content-length")))
		return p->length;
	if (in_list(f->name, hop_by_hop) || named_by_connection(in, f->name))
		return false;
	if (slice_ieq(f->name, SLICE("trailer")))
		return p->trailer;
	if (!p->is_request)
		return true;
	if (slice_ieq(f->name, SLICE("host")) || slice_ieq(f->name, SLICE("x-forwarded-for")))
		return false; /* merged, or said anew */
	if (is_forwarding(f->name))
		return p->trusted;
	if (slice_ieq(f->name, SLICE("expect")))
		return p->continues;
	return !shadows(f->name);
}

void policy_check_trailers(const struct reading *in, const struct reading *out, bool passed)
{
	size_t at = 0;

	for (size_t i = 0; passed && i < in->n_trailers; i++) {
		const struct reading_field *f = &in->trailers[i];
		bool barred = in_list(f->name, hop_by_hop) || in_list(f->name, framing) ||
			      is_forwarding(f->name) || slice_ieq(f->name, SLICE("host")) ||
			      shadows(f->name);
		FUZZ_CHECK(!barred || !http_trailer_allowed(f->name),
			   "\"%.*s\" may stand in a trailer section", S(f->name));
		if (!http_trailer_allowed(f->name))
			continue;
		FUZZ_CHECK(at < out->n_trailers && slice_eq(out->trailers[at].name, f->name) &&
				   slice_eq(out->trailers[at].value, f->value),
			   "the trailer \"%.*s: %.*s\" does not go on", S(f->name), S(f->value));
		at++;
	}
	FUZZ_CHECK(out->n_trailers == at, "the trailer \"%.*s\" should not go on",
		   S(out->trailers[at].name));
}

size_t policy_upgrade(const struct reading *r, char *ret_list, size_t room)
{
	size_t n = 0;

	for (size_t i = 0; i < r->n_fields; i++) {
		struct slice v = r->fields[i].value;
		if (!slice_ieq(r->fields[i].name, SLICE("upgrade")) || !v.n)
			continue;
		FUZZ_CHECK(v.n + 2 <= room - n, "%zu bytes do not hold the Upgrade fields", room);
		if (n) {
			memcpy(ret_list + n, ", ", 2);
			n += 2;
		}
		memcpy(ret_list + n, v.p, v.n);
		n += v.n;
	}
	return n;
}

/* Unchanged, but for the leading zeros of a length. */
static bool same_field(const struct reading_field *a, const struct reading_field *b)
{
	struct slice v = a->value;

	if (!slice_ieq(a->name, SLICE("content-length")))
		return slice_eq(a->name, b->name) && slice_eq(v, b->value);
	while (v.n > 1 && v.p[0] == '0')
		v = (struct slice){ v.p + 1, v.n - 1 };
	return slice_ieq(a->name, b->name) && slice_eq(v, b->value);
}

struct slice policy_field(const struct reading *r, const char *name)
{
	struct slice found = { NULL, 0 };

	for (size_t i = 0; i < r->n_fields; i++) {
		if (!slice_ieq(r->fields[i].name, slice_of(name)))
			continue;
		if (found.p)
			return (struct slice){ NULL, 0 };
		found = r->fields[i].value.p ? r->fields[i].value : SLICE("");
	}
	return found;
}

void policy_check(const struct policy *p, const struct reading *in, const struct reading *out)
{
	size_t at = 0;

	if (p->is_request) {
		FUZZ_CHECK(out->n_fields && slice_ieq(out->fields[0].name, SLICE("host")),
			   "the written head does not begin with Host");
		at++;
	}
	for (size_t i = 0; i < in->n_fields; i++) {
		const struct reading_field *f = &in->fields[i];
		if (!goes_on(p, in, f))
			continue;
		FUZZ_CHECK(at < out->n_fields && same_field(f, &out->fields[at]),
			   "\"%.*s: %.*s\" does not go on, or not in its place: \"%.*s: %.*s\"",
			   S(f->name), S(f->value),
			   S(at < out->n_fields ? out->fields[at].name : SLICE("(end)")),
			   S(at < out->n_fields ? out->fields[at].value : SLICE("")));
		at++;
	}
	for (size_t i = at; i < out->n_fields; i++) {
		const struct reading_field *f = &out->fields[i];
		FUZZ_CHECK(in_list(f->name, added), "\"%.*s: %.*s\" should not go on", S(f->name),
			   S(f->value));
		for (size_t k = at; k < i; k++)
			FUZZ_CHECK(!slice_ieq(f->name, out->fields[k].name),
				   "\"%.*s\" is added twice", S(f->name));
	}
}
