/* drover's own error replies: one head, one of three bodies.  Runs in balancers
 * and in the worker, off the fast path.  Text from outside (the request id) is
 * escaped for the body it stands in, and left out of the head unless it is plain. */
#include "common/http_write.h"

enum page_type {
	PAGE_TEXT = 0, /* the first wins where the client has no preference */
	PAGE_HTML,
	PAGE_JSON,
	PAGE_MAX
};

static const struct page_type_info {
	struct slice type, subtype, alias;
	struct slice content_type;
} page_types[PAGE_MAX] = {
	[PAGE_TEXT] = { { "text", 4 },
			{ "plain", 5 },
			{ "plain", 5 },
			{ "text/plain; charset=utf-8", 25 } },
	[PAGE_HTML] = { { "text", 4 }, { "html", 4 }, { "html", 4 }, { "text/html; charset=utf-8", 24 } },
	/* RFC 9457 3: whoever asks for JSON can read a problem document. */
	[PAGE_JSON] = { { "application", 11 },
			{ "problem+json", 12 },
			{ "json", 4 },
			{ "application/problem+json", 24 } },
};

/* How much a client wants a type: RFC 9110 12.5.1 says the most specific range that
 * matches decides; between types, higher q, then specificity, then place in the list. */
struct wish {
	unsigned q;           /* thousandths */
	unsigned specificity; /* 0 none, 1 any type, 2 any subtype, 3 exact */
	unsigned place;
};

/* "0.7" in thousandths; 1000 for what is not a weight (RFC 9110 12.4.2). */
static unsigned read_weight(struct slice s)
{
	unsigned q = 0, unit = 100;

	if (s.n == 0 || s.n > 5 || (s.p[0] != '0' && s.p[0] != '1') || (s.n > 1 && s.p[1] != '.'))
		return 1000;
	if (s.p[0] == '1')
		return 1000;
	for (size_t i = 2; i < s.n; i++, unit /= 10) {
		if (s.p[i] < '0' || s.p[i] > '9')
			return 1000;
		q += (unsigned)(s.p[i] - '0') * unit;
	}
	return q;
}

/* Cuts s at the first `c`; *ret_tail is what follows it, empty when there is none. */
static struct slice cut(struct slice s, char c, struct slice *ret_tail)
{
	const char *at = s.n ? memchr(s.p, c, s.n) : NULL;

	if (!at) {
		*ret_tail = (struct slice){ s.p, 0 };
		return s;
	}
	*ret_tail = (struct slice){ at + 1, s.n - (size_t)(at - s.p) - 1 };
	return (struct slice){ s.p, (size_t)(at - s.p) };
}

static unsigned range_weight(struct slice params)
{
	while (params.n) {
		struct slice value, param = cut(params, ';', &params);
		struct slice name = cut(slice_trim(param), '=', &value);
		if (slice_ieq(name, SLICE("q")))
			return read_weight(value);
	}
	return 1000;
}

static unsigned match(const struct page_type_info *t, struct slice type, struct slice subtype)
{
	if (slice_ieq(type, SLICE("*")))
		return slice_ieq(subtype, SLICE("*")) ? 1 : 0;
	if (!slice_ieq(type, t->type))
		return 0;
	if (slice_ieq(subtype, SLICE("*")))
		return 2;
	return slice_ieq(subtype, t->subtype) || slice_ieq(subtype, t->alias) ? 3 : 0;
}

static bool better(const struct wish *a, const struct wish *b)
{
	if (a->q != b->q)
		return a->q > b->q;
	if (a->q == 0)
		return false; /* neither is wanted */
	if (a->specificity != b->specificity)
		return a->specificity > b->specificity;
	return a->place < b->place;
}

static enum page_type choose_type(struct slice accept)
{
	struct wish wishes[PAGE_MAX] = { 0 };
	struct slice range;

	for (unsigned place = 0; slice_next_item(&accept, &range); place++) {
		struct slice params, subtype;
		struct slice type = cut(slice_trim(cut(range, ';', &params)), '/', &subtype);
		unsigned q = range_weight(params);
		for (unsigned t = 0; t < PAGE_MAX; t++) {
			unsigned specificity = match(&page_types[t], type, subtype);
			if (specificity > wishes[t].specificity)
				wishes[t] = (struct wish){ q, specificity, place };
		}
	}
	unsigned best = PAGE_TEXT;
	for (unsigned t = 1; t < PAGE_MAX; t++) {
		if (better(&wishes[t], &wishes[best]))
			best = t;
	}
	return (enum page_type)best;
}

static void put_html(struct http_out *o, struct slice s)
{
	for (size_t i = 0; i < s.n; i++) {
		unsigned char c = (unsigned char)s.p[i];
		switch (c) {
		case '&': http_out_text(o, "&amp;"); break;
		case '<': http_out_text(o, "&lt;"); break;
		case '>': http_out_text(o, "&gt;"); break;
		case '"': http_out_text(o, "&quot;"); break;
		case '\'': http_out_text(o, "&#39;"); break;
		default: http_out_bytes(o, c < 0x20 || c >= 0x7f ? "?" : &s.p[i], 1);
		}
	}
}

static void put_json(struct http_out *o, struct slice s)
{
	for (size_t i = 0; i < s.n; i++) {
		unsigned char c = (unsigned char)s.p[i];
		if (c == '"' || c == '\\')
			http_out_text(o, "\\");
		http_out_bytes(o, c < 0x20 || c >= 0x7f ? "?" : &s.p[i], 1);
	}
}

static void put_plain(struct http_out *o, struct slice s)
{
	for (size_t i = 0; i < s.n; i++) {
		unsigned char c = (unsigned char)s.p[i];
		http_out_bytes(o, c < 0x20 || c >= 0x7f ? "?" : &s.p[i], 1);
	}
}

static void write_text(struct http_out *o, const struct http_error_page *page)
{
	http_out_u64(o, page->status);
	http_out_text(o, " ");
	http_out_slice(o, slice_of(http_reason(page->status)));
	http_out_text(o, "\n");
	if (page->detail) {
		http_out_text(o, "\n");
		put_plain(o, slice_of(page->detail));
		http_out_text(o, "\n");
	}
	if (page->request_id.n) {
		http_out_text(o, "\nRequest: ");
		put_plain(o, page->request_id);
		http_out_text(o, "\n");
	}
}

static void write_html(struct http_out *o, const struct http_error_page *page)
{
	struct slice reason = slice_of(http_reason(page->status));

	http_out_text(o,
		      "<!DOCTYPE html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\"><title>");
	http_out_u64(o, page->status);
	http_out_text(o, " ");
	put_html(o, reason);
	http_out_text(o, "</title></head>\n<body>\n<h1>");
	http_out_u64(o, page->status);
	http_out_text(o, " ");
	put_html(o, reason);
	http_out_text(o, "</h1>\n");
	if (page->detail) {
		http_out_text(o, "<p>");
		put_html(o, slice_of(page->detail));
		http_out_text(o, "</p>\n");
	}
	if (page->request_id.n) {
		http_out_text(o, "<p><small>Request: ");
		put_html(o, page->request_id);
		http_out_text(o, "</small></p>\n");
	}
	http_out_text(o, "</body>\n</html>\n");
}

/* RFC 9457 4.2.1: "about:blank", the title is the reason phrase. */
static void write_json(struct http_out *o, const struct http_error_page *page)
{
	http_out_text(o, "{\"type\":\"about:blank\",\"title\":\"");
	put_json(o, slice_of(http_reason(page->status)));
	http_out_text(o, "\",\"status\":");
	http_out_u64(o, page->status);
	if (page->detail) {
		http_out_text(o, ",\"detail\":\"");
		put_json(o, slice_of(page->detail));
		http_out_text(o, "\"");
	}
	if (page->request_id.n) {
		http_out_text(o, ",\"request_id\":\"");
		put_json(o, page->request_id);
		http_out_text(o, "\"");
	}
	http_out_text(o, "}\n");
}

/* May stand in a field as it is. */
static bool is_plain(struct slice s)
{
	for (size_t i = 0; i < s.n; i++) {
		if (s.p[i] < 0x21 || s.p[i] > 0x7e)
			return false;
	}
	return s.n > 0;
}

static void write_head(struct http_out *o, const struct http_error_page *page, enum page_type type,
		       size_t body_bytes)
{
	http_out_text(o, "HTTP/1.1 ");
	http_out_u64(o, page->status);
	http_out_text(o, " ");
	http_out_slice(o, slice_of(http_reason(page->status)));
	http_out_text(o, "\r\n");
	http_out_field(o, SLICE("Date"), http_date());
	http_out_field(o, SLICE("Content-Type"), page_types[type].content_type);
	http_out_text(o, "Content-Length: ");
	http_out_u64(o, body_bytes);
	/* RFC 9111 4.2.2: 404, 414 and 501 could otherwise be kept by a cache. */
	http_out_text(o, "\r\nCache-Control: no-store\r\n");
	if (is_plain(page->request_id))
		http_out_field(o, SLICE("X-Request-Id"), page->request_id);
	if (page->proxy_error) {
		http_out_text(o, "Proxy-Status: drover; error=");
		http_out_slice(o, slice_of(page->proxy_error));
		http_out_text(o, "\r\n");
	}
	if (page->retry_after_s) {
		http_out_text(o, "Retry-After: ");
		http_out_u64(o, page->retry_after_s);
		http_out_text(o, "\r\n");
	}
	if (page->close)
		http_out_text(o, "Connection: close\r\n\r\n");
	else
		http_out_text(o, "Connection: keep-alive\r\n\r\n");
}

void http_out_error_page(struct http_out *o, const struct http_error_page *page)
{
	static void (*const writers[PAGE_MAX])(struct http_out *, const struct http_error_page *) = {
		[PAGE_TEXT] = write_text,
		[PAGE_HTML] = write_html,
		[PAGE_JSON] = write_json,
	};
	enum page_type type = choose_type(page->accept);
	char body[4096];
	struct http_out b = { body, body + sizeof(body), false };

	writers[type](&b, page);
	if (b.full) {
		/* A request id of kilobytes: the status alone is the answer. */
		struct http_error_page bare = { .status = page->status };
		b = (struct http_out){ body, body + sizeof(body), false };
		writers[type](&b, &bare);
	}
	write_head(o, page, type, (size_t)(b.p - body));
	if (!page->no_body)
		http_out_bytes(o, body, (size_t)(b.p - body));
}
