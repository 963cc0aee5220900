/* Body bytes in one direction.  Runs in the balancer; see stream.h. */
#include "balancer/proxy/stream.h"

#include <string.h>

#include "common/http_trailers.h"

void stream_init(struct stream *s, enum http_framing in, uint64_t length, uint64_t limit,
		 enum http_framing out)
{
	http_body_init(&s->in, in, length, limit);
	s->out_framing = (uint8_t)out;
	s->pool = NULL;
	s->trailers = NULL;
}

void stream_pass_trailers(struct stream *s, struct block_pool *pool)
{
	if (s->in.framing != HTTP_BODY_CHUNKED || s->out_framing != HTTP_BODY_CHUNKED)
		return;
	s->pool = pool;
	s->in.give_trailers = true;
}

void stream_drop_trailers(struct stream *s)
{
	block_give_back(s->pool, s->trailers);
	s->trailers = NULL;
}

static void keep_trailers(struct stream *s, struct slice lines)
{
	if (block_append(s->pool, &s->trailers, lines) == ERR_OK)
		return;
	stream_drop_trailers(s);
	s->in.give_trailers = false;
}

static void end_trailers(struct stream *s)
{
	struct block *b = s->trailers;
	b->end = b->start + (uint32_t)http_trailers_filter(b->bytes + b->start, block_used(b));
	if (!block_used(b))
		stream_drop_trailers(s);
}

void stream_decode(struct stream *s, char *p, size_t n, struct stream_piece *ret_piece)
{
	struct stream_piece piece = { .data = p };
	while (!piece.ended) {
		struct slice data = { NULL, 0 };
		size_t used = 0;
		enum http_body_step step =
			http_body_read(&s->in, p + piece.used, n - piece.used, &used, &data, &piece.rule);
		piece.used += used;
		if (step == HTTP_BODY_DATA) {
			/* The first run stays where it is; later ones close up, so that many
			 * small chunks leave as one. */
			if (piece.n == 0)
				piece.data = p + (data.p - p);
			else
				memmove(piece.data + piece.n, data.p, data.n);
			piece.n += data.n;
			if (s->in.ended) /* the last byte of a known length */
				piece.ended = true;
			continue;
		}
		if (step == HTTP_BODY_TRAILERS) {
			keep_trailers(s, data);
			continue;
		}
		if (step == HTTP_BODY_END) {
			piece.ended = true;
			if (s->trailers)
				end_trailers(s);
		}
		break;
	}
	*ret_piece = piece;
}

void stream_end_by_close(struct stream *s)
{
	s->in.ended = true;
}

static struct iovec framing(const char *p, size_t n)
{
	return (struct iovec){ (void *)(uintptr_t)p, n };
}

int stream_frame(const struct stream *s, const struct stream_piece *piece,
		 char line[static HTTP_CHUNK_LINE_MAX], struct iovec iov[static STREAM_IOV])
{
	int n = 0;
	if (s->out_framing != HTTP_BODY_CHUNKED) {
		if (piece->n)
			iov[n++] = (struct iovec){ piece->data, piece->n };
		return n;
	}
	/* The end of this chunk, the last chunk, the end of the trailer section. */
	static const char tail[] = "\r\n" "0\r\n" "\r\n";
	size_t skip = piece->n ? 0 : 2;
	if (piece->n) {
		iov[n++] = framing(line, http_chunk_line(line, piece->n));
		iov[n++] = (struct iovec){ piece->data, piece->n };
	}
	if (!piece->ended) {
		if (piece->n)
			iov[n++] = framing(tail, 2);
	} else if (!s->trailers) {
		iov[n++] = framing(tail + skip, 7 - skip);
	} else {
		iov[n++] = framing(tail + skip, 5 - skip);
		iov[n++] = framing(s->trailers->bytes + s->trailers->start, block_used(s->trailers));
		iov[n++] = framing(tail + 5, 2);
	}
	return n;
}
