/* Body bytes in one direction.  Runs in the balancer; see stream.h. */
#include "balancer/proxy/stream.h"

#include <string.h>

void stream_init(struct stream *s, enum http_framing in, uint64_t length, uint64_t limit,
		 enum http_framing out)
{
	http_body_init(&s->in, in, length, limit);
	s->out_framing = (uint8_t)out;
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
		if (step == HTTP_BODY_END)
			piece.ended = true;
		break;
	}
	*ret_piece = piece;
}

void stream_end_by_close(struct stream *s)
{
	s->in.ended = true;
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
	/* The tail closes this chunk, and the body when it has ended. */
	static const char tail[] = "\r\n0\r\n\r\n";
	if (piece->n) {
		iov[n++] = (struct iovec){ line, http_chunk_line(line, piece->n) };
		iov[n++] = (struct iovec){ piece->data, piece->n };
		iov[n++] = (struct iovec){ (void *)(uintptr_t)tail, piece->ended ? sizeof(tail) - 1 : 2 };
	} else if (piece->ended) {
		iov[n++] = (struct iovec){ (void *)(uintptr_t)(tail + 2), sizeof(tail) - 3 };
	}
	return n;
}
