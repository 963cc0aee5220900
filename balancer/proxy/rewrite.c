/* Header rules.  Runs in the balancer.
 *
 * Heads are always written anew from parsed fields.  What the guard marked to
 * drop (hop-by-hop, named by Connection, colliding names) is left out; framing
 * fields are ours; forwarding fields of peers that are not trusted are replaced.
 */
#include "balancer/proxy/rewrite.h"

#include "balancer/proxy/request.h"

/* Room for what we add: forwarding fields, request id, framing, a Host. */
#define ADDED_BYTES 640

/* 32 hex digits: random for this process, then a scrambled counter (splitmix64's
 * finaliser), so that ids neither repeat nor tell how many there were. */
static void make_request_id(struct proxy *p, char id[static 32])
{
	static const char hex[] = "0123456789abcdef";
	uint64_t z = (p->id_counter += 0x9e3779b97f4a7c15u);
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	z ^= z >> 31;
	memcpy(id, p->id_prefix, 16);
	for (int i = 0; i < 16; i++) {
		id[16 + i] = hex[z & 15];
		z >>= 4;
	}
}

/* ---- fields ---- */

/* Fields on their way out.  What we write for a field, "name: value" CRLF, is most often
 * byte for byte what came; such fields that stand side by side leave in one copy. */
struct fields_out {
	struct http_out *o;
	const char *from, *to; /* the run that is not copied yet */
};

static void end_run(struct fields_out *w)
{
	if (w->to > w->from)
		http_out_bytes(w->o, w->from, (size_t)(w->to - w->from));
	w->from = w->to;
}

/* Bytes written when the run has been copied. */
static const char *place_of_next(const struct fields_out *w)
{
	return w->o->p + (w->to - w->from);
}

static bool stands_as_written(const struct http_field *f)
{
	const char *colon = f->name.p + f->name.n, *end = f->value.p + f->value.n;
	return f->value.p == colon + 2 && colon[1] == ' ' && end[0] == '\r' && end[1] == '\n';
}

static void put_field(struct fields_out *w, const struct http_field *f)
{
	if (!stands_as_written(f)) {
		end_run(w);
		http_out_field(w->o, f->name, f->value);
		return;
	}
	if (f->name.p != w->to) {
		end_run(w);
		w->from = f->name.p;
	}
	w->to = f->value.p + f->value.n + 2;
}

/* Content-Length, in place: as it came, unless it has leading zeros, which some readers
 * take for octal. */
static void put_length(struct fields_out *w, const struct http_field *f, const struct http_head *h)
{
	if (f->value.n == 1 || f->value.p[0] != '0') {
		put_field(w, f);
		return;
	}
	end_run(w);
	http_out_text(w->o, "Content-Length: ");
	http_out_u64(w->o, h->length);
	http_out_text(w->o, "\r\n");
}

static void put_forwarding(struct http_out *o, const struct client *c, const struct http_head *h,
			   uint32_t present)
{
	char host[ADDR_TEXT_MAX];
	http_out_text(o, "X-Forwarded-For: ");
	if (c->trusted) {
		for (uint32_t i = 0; i < h->n_fields; i++) {
			const struct http_field *f = &h->fields[i];
			if (f->id != HTTP_F_X_FORWARDED_FOR || f->drop || !f->value.n)
				continue;
			http_out_slice(o, f->value);
			http_out_text(o, ", ");
		}
	}
	http_out_bytes(o, host, addr_format_host(&c->peer, host));
	http_out_text(o, "\r\n");
	if (!(present & 1u << HTTP_F_X_FORWARDED_PROTO))
		http_out_text(o, "X-Forwarded-Proto: http\r\n");
	if (!(present & 1u << HTTP_F_X_FORWARDED_HOST) && h->host.n)
		http_out_field(o, SLICE("X-Forwarded-Host"), h->host);
}

static void put_request_line(struct http_out *o, const struct block *b, const struct http_head *h,
			     struct kept_fields *kept)
{
	kept->line.at = (uint32_t)(o->p - b->bytes);
	http_out_slice(o, h->method);
	http_out_text(o, " ");
	http_out_slice(o, h->path);
	kept->line.n = (uint32_t)(o->p - b->bytes) - kept->line.at;
	/* Host first, as RFC 9110 7.2 advises.  A 1.0 client may name none; many
	 * servers refuse an empty one, so that some name has to stand there. */
	http_out_text(o, " HTTP/1.1\r\nHost: ");
	http_out_slice(o, h->host.n ? h->host : SLICE("localhost"));
	http_out_text(o, "\r\n");
}

/* Where the log and the error pages find a field again; NULL: they do not look. */
static struct kept_place *place_for(struct kept_fields *kept, uint8_t id)
{
	switch (id) {
	case HTTP_F_REFERER: return &kept->referer;
	case HTTP_F_USER_AGENT: return &kept->user_agent;
	case HTTP_F_ACCEPT: return &kept->accept;
	case HTTP_F_X_REQUEST_ID: return &kept->request_id;
	default: return NULL;
	}
}

/* Whether a field goes to the worker as the client sent it. */
static bool passes(const struct client *c, const struct http_field *f)
{
	if (f->drop)
		return false;
	switch (f->id) {
	case HTTP_F_HOST:
	case HTTP_F_X_FORWARDED_FOR:
		return false; /* written by us */
	case HTTP_F_FORWARDED:
	case HTTP_F_X_FORWARDED_PROTO:
	case HTTP_F_X_FORWARDED_HOST:
	case HTTP_F_X_FORWARDED:
	case HTTP_F_X_REQUEST_ID:
		return c->trusted;
	default:
		return true;
	}
}

/* The fields that are passed on; returns which of ours are among them, as bits. */
static uint32_t put_request_fields(struct http_out *o, const struct block *b,
				   const struct client *c, const struct http_head *h,
				   struct kept_fields *kept)
{
	struct fields_out w = { o, NULL, NULL };
	uint32_t present = 0;
	for (uint32_t i = 0; i < h->n_fields; i++) {
		const struct http_field *f = &h->fields[i];
		if (f->id != HTTP_F_OTHER || f->drop) {
			if (!passes(c, f))
				continue;
			present |= 1u << f->id;
			if (f->id == HTTP_F_CONTENT_LENGTH) {
				put_length(&w, f, h);
				continue;
			}
			struct kept_place *place = place_for(kept, f->id);
			if (place) {
				size_t at = (size_t)(place_of_next(&w) - b->bytes) + f->name.n + 2;
				*place = (struct kept_place){ (uint32_t)at, (uint32_t)f->value.n };
			}
		}
		put_field(&w, f);
	}
	end_run(&w);
	return present;
}

/* Connection and Upgrade are hop-by-hop: said anew where an upgrade is wanted, the
 * latter as one list (RFC 9110 5.3). */
static void put_upgrade(struct http_out *o, const struct http_head *h)
{
	bool first = true;
	http_out_text(o, "Connection: Upgrade\r\nUpgrade: ");
	for (uint32_t i = 0; i < h->n_fields; i++) {
		const struct http_field *f = &h->fields[i];
		if (f->id != HTTP_F_UPGRADE || !f->value.n)
			continue;
		if (!first)
			http_out_text(o, ", ");
		http_out_slice(o, f->value);
		first = false;
	}
	http_out_text(o, "\r\n");
}

enum err rewrite_request(struct client *c, const struct http_head *h, struct block **ret_block,
			 struct kept_fields *ret_kept)
{
	struct proxy *p = c->proxy;
	struct kept_fields kept = { 0 };
	/* Serialising adds at most two bytes a field ("a:b" becomes "a: b"), the host
	 * twice more, and what we add. */
	struct block *b = block_take(&p->blocks, h->head_bytes + 2u * h->n_fields + 2 * h->host.n +
							 ADDED_BYTES);
	if (!b)
		return ERR_NOMEM;
	struct http_out o = { b->bytes, b->bytes + b->capacity, false };
	put_request_line(&o, b, h, &kept);
	uint32_t present = put_request_fields(&o, b, c, h, &kept);
	if (h->framing == HTTP_BODY_CHUNKED)
		http_out_text(&o, "Transfer-Encoding: chunked\r\n");
	put_forwarding(&o, c, h, present);
	if (!kept.request_id.n) {
		char id[32];
		make_request_id(p, id);
		http_out_text(&o, "X-Request-Id: ");
		kept.request_id = (struct kept_place){ (uint32_t)(o.p - b->bytes), sizeof(id) };
		http_out_bytes(&o, id, sizeof(id));
		http_out_text(&o, "\r\n");
	}
	if (h->upgrade)
		put_upgrade(&o, h);
	else if (h->takes_trailers && h->minor >= 1)
		http_out_text(&o, "Connection: TE\r\nTE: trailers\r\n"); /* we pass them on */
	http_out_text(&o, "\r\n");
	if (o.full) {
		block_give_back(&p->blocks, b);
		return ERR_NOMEM;
	}
	b->end = (uint32_t)(o.p - b->bytes);
	*ret_block = b;
	*ret_kept = kept;
	return ERR_OK;
}

void rewrite_reply(const struct request *r, const struct http_head *h, struct http_out *o)
{
	bool trailers_go = r->to_client.out_framing == HTTP_BODY_CHUNKED || r->method == HTTP_M_HEAD;
	const char status[] = { (char)('0' + h->status / 100), (char)('0' + h->status / 10 % 10),
				(char)('0' + h->status % 10), ' ' };
	http_out_text(o, "HTTP/1.1 ");
	http_out_bytes(o, status, sizeof(status));
	http_out_slice(o, h->reason);
	http_out_text(o, "\r\n");
	struct fields_out w = { o, NULL, NULL };
	for (uint32_t i = 0; i < h->n_fields; i++) {
		const struct http_field *f = &h->fields[i];
		if (f->drop || (f->id == HTTP_F_TRAILER && !trailers_go))
			continue;
		if (f->id == HTTP_F_CONTENT_LENGTH)
			put_length(&w, f, h);
		else
			put_field(&w, f);
	}
	end_run(&w);
	if (h->status == 101) {
		put_upgrade(o, h);
	} else if (h->status >= 200) {
		if (r->to_client.out_framing == HTTP_BODY_CHUNKED)
			http_out_text(o, "Transfer-Encoding: chunked\r\n");
		if (r->close)
			http_out_text(o, "Connection: close\r\n");
		else if (r->minor == 0)
			http_out_text(o, "Connection: keep-alive\r\n");
	}
	http_out_text(o, "\r\n");
}
