/* Body bytes in one direction: framing off, framing on.  The same code serves
 * request bodies (client to worker) and reply bodies (worker to client). */
#ifndef DROVER_PROXY_STREAM_H
#define DROVER_PROXY_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/uio.h>

#include "common/http_body.h"
#include "common/http_write.h"

struct stream {
	struct http_body in;  /* what comes, with its framing */
	uint8_t out_framing;  /* enum http_framing of what goes */
};

void stream_init(struct stream *s, enum http_framing in, uint64_t length, uint64_t limit,
		 enum http_framing out);
static inline bool stream_ended(const struct stream *s) { return s->in.ended; }

struct stream_piece {
	char *data;           /* payload, moved together inside the buffer that was read */
	size_t n;
	size_t used;          /* bytes of the buffer that belonged to the body */
	bool ended;           /* the body is complete with this piece */
	enum http_rule rule;  /* not NONE: the framing is broken; data before it is still valid */
};

/* Takes the framing off p[0..n), in place. */
void stream_decode(struct stream *s, char *p, size_t n, struct stream_piece *ret_piece);

/* The body's end came with the connection's (HTTP_BODY_CLOSE). */
void stream_end_by_close(struct stream *s);

/* Describes `piece` with the outgoing framing, in at most STREAM_IOV entries;
 * `line` must live until they are written.  Returns how many (0: nothing to send). */
#define STREAM_IOV 3
int stream_frame(const struct stream *s, const struct stream_piece *piece,
		 char line[static HTTP_CHUNK_LINE_MAX], struct iovec iov[static STREAM_IOV]);

#endif
