/* The guard's second half: what the fields of a head mean together.  Framing,
 * Host, Connection, Expect, for requests and replies.  Runs in balancers and in
 * the worker; called by http_parse.c once the fields are known.
 *
 * Nothing here repairs: where two readings are possible the head is refused. */
#include "common/http_guard.h"

const struct http_rule_info http_rule_table[HTTP_RULE_MAX] = {
	[HTTP_RULE_NONE] = { "NONE", 0, "not refused", "" },
#define RULE(id, code, words, from) [HTTP_RULE_##id] = { #id, code, words, from },
#include "common/http_rules.def"
#undef RULE
};

/* A longer Keep-Alive: timeout= is nonsense, or as good as none. */
#define IDLE_MAX_S (7 * 24 * 3600)

/* One Connection option costs a walk over the fields. */
#define CONNECTION_OPTIONS_MAX 64

/* What one pass over the fields found. */
struct facts {
	const struct http_field *host, *te; /* the last of each */
	struct http_field *length;
	unsigned n_host, n_length, n_te, n_expect, n_options;
	bool has_upgrade;          /* an Upgrade field that names something */
	bool http_upgrade;         /* another HTTP among it, or what may be one */
	bool close, keep, upgrade; /* named by Connection */
	bool expect_continue, expect_other;
};

static void drop_named(struct http_head *h, struct slice name)
{
	if (http_field_table[http_field_find(name)].flags & (HTTP_FF_KEEP | HTTP_FF_HOP))
		return; /* must stay, or goes anyway */
	h->names_fields = true;
	for (uint32_t i = 0; i < h->n_fields; i++) {
		if (slice_ieq(h->fields[i].name, name))
			h->fields[i].drop = true;
	}
}

/* RFC 9110 7.6.1 */
static enum http_rule read_connection(struct http_head *h, struct facts *facts, struct slice value)
{
	struct slice option;

	while (slice_next_item(&value, &option)) {
		if (++facts->n_options > CONNECTION_OPTIONS_MAX)
			return HTTP_RULE_CONNECTION;
		/* What cannot be read may have meant anything: one message is safe. */
		if (slice_ieq(option, SLICE("close")) || !slice_is_token(option))
			facts->close = true;
		else if (slice_ieq(option, SLICE("keep-alive")))
			facts->keep = true;
		else if (slice_ieq(option, SLICE("upgrade")))
			facts->upgrade = true;
		else
			drop_named(h, option);
	}
	return HTTP_RULE_NONE;
}

/* RFC 9110 10.1.1: a list with one known member. */
static void read_expect(struct facts *facts, struct slice value)
{
	struct slice item;

	while (slice_next_item(&value, &item)) {
		if (slice_ieq(item, SLICE("100-continue")))
			facts->expect_continue = true;
		else
			facts->expect_other = true;
	}
}

/* RFC 9110 10.1.4 */
static void read_te(struct http_head *h, struct slice value)
{
	struct slice item;

	while (slice_next_item(&value, &item))
		h->takes_trailers |= slice_ieq(item, SLICE("trailers"));
}

/* "timeout=5, max=100": no RFC says what it means, RFC 2068 19.7.1.1 named it; Node and
 * Apache send it, and mean it.  What is no number counts as not said; no time at all is
 * the end of the connection. */
static void read_keep_alive(struct http_head *h, struct facts *facts, struct slice value)
{
	const struct slice name = SLICE("timeout=");
	struct slice item;
	uint64_t s;

	while (slice_next_item(&value, &item)) {
		if (!slice_istarts(item, name) ||
		    slice_to_u64((struct slice){ item.p + name.n, item.n - name.n }, IDLE_MAX_S, &s))
			continue;
		if (s == 0)
			facts->close = true;
		else if (h->idle_s == 0 || s < h->idle_s)
			h->idle_s = (uint32_t)s;
	}
}

/* RFC 9110 7.8: token ["/" token]. */
static bool is_protocol(struct slice s)
{
	const char *slash = memchr(s.p, '/', s.n);
	size_t n = slash ? (size_t)(slash - s.p) : s.n;

	return slice_is_token((struct slice){ s.p, n }) &&
	       (!slash || slice_is_token((struct slice){ slash + 1, s.n - n - 1 }));
}

/* RFC 9110 7.8.  A tunnel of HTTP/2 ("h2c", withdrawn by RFC 9113 3.1) would carry
 * requests past everything that is checked and routed here.  Nor is anything upgraded
 * to what is no protocol's name: quotes could hide "h2c" from us. */
static void read_upgrade(struct facts *facts, struct slice value)
{
	struct slice item;

	while (slice_next_item(&value, &item)) {
		facts->has_upgrade = true;
		if (slice_ieq(item, SLICE("h2c")) || slice_istarts(item, SLICE("http/")) ||
		    !is_protocol(item))
			facts->http_upgrade = true;
	}
}

/* Servers that hand fields on as variables (CGI, WSGI, Rack, PHP) cannot tell "_"
 * from "-", so X_Forwarded_For would pass for the field that drover vouches for. */
static bool shadows_known_field(struct slice name)
{
	char dashed[HTTP_FIELD_NAME_MAX];

	if (name.n > sizeof(dashed)) /* but may begin like one */
		name.n = sizeof("x-forwarded-*") - 1;
	for (size_t i = 0; i < name.n; i++)
		dashed[i] = name.p[i] == '_' ? '-' : name.p[i];
	enum http_field_id id = http_field_find((struct slice){ dashed, name.n });
	return http_field_table[id].flags != 0;
}

static enum http_rule read_fields(struct http_head *h, struct facts *facts, bool is_request)
{
	bool has_connection = false;

	h->takes_trailers = h->names_fields = false;
	h->idle_s = 0;
	for (uint32_t i = 0; i < h->n_fields; i++) {
		struct http_field *f = &h->fields[i];
		f->drop = http_field_table[f->id].flags & HTTP_FF_HOP;
		switch (f->id) {
		case HTTP_F_OTHER: f->drop = is_request && f->underscore && shadows_known_field(f->name); break;
		case HTTP_F_HOST:
			facts->host = f;
			facts->n_host++;
			break;
		case HTTP_F_CONTENT_LENGTH:
			facts->length = f;
			facts->n_length++;
			break;
		case HTTP_F_TRANSFER_ENCODING:
			facts->te = f;
			facts->n_te++;
			break;
		case HTTP_F_TE: read_te(h, f->value); break;
		case HTTP_F_UPGRADE: read_upgrade(facts, f->value); break;
		case HTTP_F_EXPECT:
			facts->n_expect++;
			read_expect(facts, f->value);
			break;
		case HTTP_F_CONNECTION: has_connection = true; break;
		case HTTP_F_KEEP_ALIVE:
			if (!is_request)
				read_keep_alive(h, facts, f->value);
			break;
		default: break;
		}
	}
	/* In a second pass: Connection may name fields on either side of it. */
	for (uint32_t i = 0; has_connection && i < h->n_fields; i++) {
		if (h->fields[i].id != HTTP_F_CONNECTION)
			continue;
		enum http_rule rule = read_connection(h, facts, h->fields[i].value);
		if (rule != HTTP_RULE_NONE)
			return rule;
	}
	return HTTP_RULE_NONE;
}

/* Content-Length and Transfer-Encoding (RFC 9112 6): has_length and length, and
 * framing NONE, LENGTH or CHUNKED. */
static enum http_rule read_framing(struct http_head *h, const struct facts *facts)
{
	h->framing = HTTP_BODY_NONE;
	h->has_length = false;
	h->length = 0;

	if (facts->n_te) {
		/* RFC 9112 6.3 lets a gateway drop the length; we do not guess which the
		 * other side believed. */
		if (facts->n_length)
			return HTTP_RULE_LENGTH_AND_TE;
		if (facts->n_te > 1)
			return HTTP_RULE_TE_REPEATED;
		if (h->minor == 0)
			return HTTP_RULE_TE_IN_HTTP10;
		if (!slice_ieq(facts->te->value, SLICE("chunked")))
			return HTTP_RULE_TE_UNKNOWN;
		h->framing = HTTP_BODY_CHUNKED;
		return HTTP_RULE_NONE;
	}
	if (!facts->n_length)
		return HTTP_RULE_NONE;
	if (facts->n_length > 1)
		return HTTP_RULE_LENGTH_REPEATED;
	if (slice_to_u64(facts->length->value, INT64_MAX, &h->length) != ERR_OK)
		return HTTP_RULE_LENGTH_INVALID;
	h->has_length = true;
	if (h->length > 0)
		h->framing = HTTP_BODY_LENGTH;
	return HTTP_RULE_NONE;
}

/* Connection and Upgrade say so together, and 1.0 has neither (RFC 9110 7.8). */
static bool names_upgrade(const struct http_head *h, const struct facts *facts)
{
	return facts->upgrade && facts->has_upgrade && !facts->http_upgrade && h->minor >= 1;
}

/* RFC 9112 9.3 */
static bool wants_keep_alive(const struct http_head *h, const struct facts *facts)
{
	return !facts->close && (h->minor >= 1 || facts->keep);
}

/* RFC 9112 3.2: Host exactly once in 1.1.  An empty one is legal only for targets
 * without authority, and "http" URIs must have one (RFC 9110 4.2.1), so in 1.1 it
 * is refused; in 1.0 it counts as absent. */
static enum http_rule read_host(struct http_head *h, const struct facts *facts, struct slice authority)
{
	h->host = authority;
	if (facts->n_host > 1)
		return HTTP_RULE_HOST_REPEATED;
	if (facts->n_host == 0)
		return h->minor >= 1 ? HTTP_RULE_HOST_MISSING : HTTP_RULE_NONE;

	struct slice host = facts->host->value;
	if (host.n == 0 && h->minor == 0)
		return HTTP_RULE_NONE;
	if (!http_authority_valid(host))
		return HTTP_RULE_HOST_INVALID;
	/* RFC 9112 3.2.2 lets the target win; a worker that looks at Host would see
	 * another site than the one that was routed. */
	if (authority.n && !slice_ieq(authority, host))
		return HTTP_RULE_HOST_DIFFERS;
	h->host = host;
	return HTTP_RULE_NONE;
}

/* RFC 9110 10.1.1: 1.0 knows no expectations, and without a body there is nothing
 * to continue with.  A worker would answer what the client does not wait for. */
static enum http_rule judge_expect(struct http_head *h, const struct facts *facts)
{
	if (facts->expect_other && h->minor >= 1)
		return HTTP_RULE_EXPECT_UNKNOWN;
	h->expect_continue = facts->expect_continue && h->minor >= 1 && h->framing != HTTP_BODY_NONE;
	for (uint32_t i = 0; facts->n_expect && i < h->n_fields; i++) {
		if (h->fields[i].id == HTTP_F_EXPECT)
			h->fields[i].drop = !h->expect_continue;
	}
	return HTTP_RULE_NONE;
}

enum http_rule http_guard_request(struct http_head *h, const struct http_limits *lim)
{
	struct facts facts = { 0 };
	struct slice authority;
	enum http_rule rule;

	if (h->target.n > lim->uri_bytes)
		return HTTP_RULE_URI_TOO_LONG;
	if (h->method_id == HTTP_M_CONNECT || h->method_id == HTTP_M_TRACE)
		return HTTP_RULE_METHOD_REFUSED;
	if ((rule = http_guard_target(h, &authority)) != HTTP_RULE_NONE ||
	    (rule = read_fields(h, &facts, true)) != HTTP_RULE_NONE ||
	    (rule = read_host(h, &facts, authority)) != HTTP_RULE_NONE ||
	    (rule = read_framing(h, &facts)) != HTTP_RULE_NONE)
		return rule;
	if (lim->body_bytes && h->length > lim->body_bytes)
		return HTTP_RULE_BODY_TOO_LARGE;

	if ((rule = judge_expect(h, &facts)) != HTTP_RULE_NONE)
		return rule;
	h->keep_alive = wants_keep_alive(h, &facts);
	/* With a body in front of it the tunnel's beginning would hang on our reading of
	 * that body: passed on as an ordinary request, which is a server's right. */
	h->upgrade = names_upgrade(h, &facts) && h->framing == HTTP_BODY_NONE;
	return HTTP_RULE_NONE;
}

enum http_rule http_guard_reply(struct http_head *h, uint8_t request_method)
{
	struct facts facts = { 0 };
	enum http_rule rule;

	if ((rule = read_fields(h, &facts, false)) != HTTP_RULE_NONE ||
	    (rule = read_framing(h, &facts)) != HTTP_RULE_NONE)
		return rule;
	h->keep_alive = wants_keep_alive(h, &facts);
	h->expect_continue = false;
	h->upgrade = false;

	if (h->status < 200 || h->status == 204) {
		/* RFC 9110 8.6: no Content-Length here; RFC 9112 6.3: no body, whatever it
		 * says.  A worker that announces one may send it: nothing may follow. */
		if (h->framing != HTTP_BODY_NONE)
			h->keep_alive = false;
		h->framing = HTTP_BODY_NONE;
		h->has_length = false;
		h->length = 0;
		if (facts.length)
			facts.length->drop = true;
		if (h->status == 101) {
			h->upgrade = names_upgrade(h, &facts);
			h->keep_alive = false; /* no further message of this protocol */
		}
	} else if (h->status == 304 || request_method == HTTP_M_HEAD) {
		h->framing = HTTP_BODY_NONE;
	} else if (!facts.n_te && !facts.n_length) {
		h->framing = HTTP_BODY_CLOSE;
		h->keep_alive = false;
	}
	return HTTP_RULE_NONE;
}
