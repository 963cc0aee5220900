/* Header rules: what goes to the worker, what goes to the client. */
#ifndef DROVER_PROXY_REWRITE_H
#define DROVER_PROXY_REWRITE_H

#include <stdint.h>

#include "balancer/proxy/client.h"
#include "common/http_write.h"

struct request;

/* Places in a request's serialised head; length 0 where there is none. */
struct kept_place {
	uint32_t at, n;
};
struct kept_fields {
	struct kept_place line;    /* "GET /path" */
	struct kept_place referer, user_agent, accept, request_id;
};

static inline struct slice kept_slice(const struct block *b, struct kept_place k)
{
	return (struct slice){ b ? b->bytes + k.at : "", b ? k.n : 0 };
}

/* Writes the head that a worker gets for `h` into *ret_block (given), and notes
 * where the kept fields stand.  ERR_NOMEM. */
MUST_CHECK enum err rewrite_request(struct client *c, const struct http_head *h,
				    struct block **ret_block, struct kept_fields *ret_kept);

/* Writes the head that the client of `r` gets for the worker's `h`, with the
 * framing of r->to_client.  `out` is full when it did not fit. */
void rewrite_reply(const struct request *r, const struct http_head *h, struct http_out *out);

#endif
