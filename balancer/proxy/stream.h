/* Body bytes in one direction: framing off, framing on.  The same code serves
 * request bodies (client to worker) and reply bodies (worker to client). */
#ifndef DROVER_PROXY_STREAM_H
#define DROVER_PROXY_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/uio.h>

#include "balancer/proxy/block.h"
#include "common/http_body.h"
#include "common/http_write.h"

struct stream {
	struct http_body in;  /* what comes, with its framing */
	uint8_t out_framing;  /* enum http_framing of what goes */
	struct block_pool *pool;  /* trailers are passed on, and kept in blocks of this; NULL: dropped */
	struct block *trailers;   /* whole lines once the body has ended; NULL: none */
};

void stream_init(struct stream *s, enum http_framing in, uint64_t length, uint64_t limit,
		 enum http_framing out);
/* Trailers are passed on, where both sides are chunked; call after init, before the
 * first byte.  Borrows `pool` until stream_fini(). */
void stream_pass_trailers(struct stream *s, struct block_pool *pool);
/* Gives back what the trailers took; also right for a stream that is all zeros. */
void stream_drop_trailers(struct stream *s);
static inline void stream_fini(struct stream *s)
{
	if (UNLIKELY(s->trailers != NULL))
		stream_drop_trailers(s);
}
static inline bool stream_ended(const struct stream *s) { return s->in.ended; }

struct stream_piece {
	char *data;           /* payload, moved together inside the buffer that was read */
	size_t n;
	size_t used;          /* bytes of the buffer that belonged to the body */
	bool ended;           /* the body is complete with this piece */
	enum http_rule rule;  /* not NONE: the framing is broken; data before it is still valid */
};

/* Takes the framing off p[0..n), in place.  Trailers for which there is no memory are
 * dropped, as any intermediary may (RFC 9110 6.5.1). */
void stream_decode(struct stream *s, char *p, size_t n, struct stream_piece *ret_piece);

/* The body's end came with the connection's (HTTP_BODY_CLOSE). */
void stream_end_by_close(struct stream *s);

/* Describes `piece` with the outgoing framing, in at most STREAM_IOV entries;
 * `line` and the stream must live until they are written.  Returns how many (0: nothing to send). */
#define STREAM_IOV 5
int stream_frame(const struct stream *s, const struct stream_piece *piece,
		 char line[static HTTP_CHUNK_LINE_MAX], struct iovec iov[static STREAM_IOV]);

#endif
