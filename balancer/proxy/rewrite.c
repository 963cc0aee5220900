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

static struct kept_place put_kept(struct http_out *o, const struct block *b, struct slice v)
{
	struct kept_place k = { (uint32_t)(o->p - b->bytes), (uint32_t)v.n };
	http_out_slice(o, v);
	return k;
}

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

/* Whether a field that drover sets itself is passed on as the client sent it. */
static bool believed(const struct client *c, const struct http_field *f)
{
	if (!c->trusted)
		return false;
	/* X-Forwarded-For is appended to, below. */
	return f->id != HTTP_F_X_FORWARDED_FOR;
}

static void put_forwarding(struct http_out *o, const struct client *c, const struct http_head *h,
			   uint32_t believed_ids)
{
	struct addr peer;
	char host[ADDR_TEXT_MAX];
	client_addr(c, &peer);
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
	http_out_bytes(o, host, addr_format_host(&peer, host));
	http_out_text(o, "\r\n");
	if (!(believed_ids & 1u << HTTP_F_X_FORWARDED_PROTO))
		http_out_text(o, "X-Forwarded-Proto: http\r\n");
	if (!(believed_ids & 1u << HTTP_F_X_FORWARDED_HOST) && h->host.n)
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

static void put_request_field(struct http_out *o, const struct block *b, const struct client *c,
			      const struct http_field *f, struct kept_fields *kept,
			      uint32_t *believed_ids)
{
	struct kept_place *place = NULL;
	switch ((enum http_field_id)f->id) {
	case HTTP_F_HOST:
	case HTTP_F_CONTENT_LENGTH:
	case HTTP_F_TRANSFER_ENCODING:
		return; /* written by us */
	case HTTP_F_FORWARDED:
	case HTTP_F_X_FORWARDED_FOR:
	case HTTP_F_X_FORWARDED_PROTO:
	case HTTP_F_X_FORWARDED_HOST:
	case HTTP_F_X_REQUEST_ID:
		if (!believed(c, f))
			return;
		*believed_ids |= 1u << f->id;
		if (f->id == HTTP_F_X_REQUEST_ID)
			place = &kept->request_id;
		break;
	case HTTP_F_REFERER:
		place = &kept->referer;
		break;
	case HTTP_F_USER_AGENT:
		place = &kept->user_agent;
		break;
	case HTTP_F_ACCEPT:
		place = &kept->accept;
		break;
	default:
		break;
	}
	if (!place) {
		http_out_field(o, f->name, f->value);
		return;
	}
	http_out_slice(o, f->name);
	http_out_text(o, ": ");
	*place = put_kept(o, b, f->value);
	http_out_text(o, "\r\n");
}

static void put_framing(struct http_out *o, const struct http_head *h)
{
	if (h->framing == HTTP_BODY_CHUNKED) {
		http_out_text(o, "Transfer-Encoding: chunked\r\n");
	} else if (h->has_length) {
		http_out_text(o, "Content-Length: ");
		http_out_u64(o, h->length);
		http_out_text(o, "\r\n");
	}
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
	uint32_t believed_ids = 0;
	/* Serialising adds at most two bytes a field ("a:b" becomes "a: b"), the host
	 * twice more, and what we add. */
	struct block *b = block_take(&p->blocks, h->head_bytes + 2u * h->n_fields + 2 * h->host.n +
							 ADDED_BYTES);
	if (!b)
		return ERR_NOMEM;
	struct http_out o = { b->bytes, b->bytes + b->capacity, false };
	put_request_line(&o, b, h, &kept);
	for (uint32_t i = 0; i < h->n_fields; i++)
		if (!h->fields[i].drop)
			put_request_field(&o, b, c, &h->fields[i], &kept, &believed_ids);
	put_framing(&o, h);
	put_forwarding(&o, c, h, believed_ids);
	if (!kept.request_id.n) {
		char id[32];
		make_request_id(p, id);
		http_out_text(&o, "X-Request-Id: ");
		kept.request_id = put_kept(&o, b, (struct slice){ id, sizeof(id) });
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
	bool interim = h->status < 200;
	bool trailers_go = r->to_client.out_framing == HTTP_BODY_CHUNKED || r->method == HTTP_M_HEAD;
	http_out_text(o, "HTTP/1.1 ");
	http_out_u64(o, h->status);
	http_out_text(o, " ");
	http_out_slice(o, h->reason);
	http_out_text(o, "\r\n");
	for (uint32_t i = 0; i < h->n_fields; i++) {
		const struct http_field *f = &h->fields[i];
		if (f->drop || f->id == HTTP_F_CONTENT_LENGTH || f->id == HTTP_F_TRANSFER_ENCODING ||
		    (f->id == HTTP_F_TRAILER && !trailers_go))
			continue;
		http_out_field(o, f->name, f->value);
	}
	if (h->status == 101) {
		put_upgrade(o, h);
	} else if (!interim) {
		if (r->to_client.out_framing == HTTP_BODY_CHUNKED) {
			http_out_text(o, "Transfer-Encoding: chunked\r\n");
		} else if (h->has_length && h->status != 204) { /* RFC 9110 8.6 */
			http_out_text(o, "Content-Length: ");
			http_out_u64(o, h->length);
			http_out_text(o, "\r\n");
		}
		if (r->close)
			http_out_text(o, "Connection: close\r\n");
		else if (r->minor == 0)
			http_out_text(o, "Connection: keep-alive\r\n");
	}
	http_out_text(o, "\r\n");
}
