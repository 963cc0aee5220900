/* Body bytes that a reader can check, made as the client takes them. */
#include "worker/pattern.h"

#include "worker/connection.h"
#include "worker/reply.h"

#define RUN_MAX 16384u

struct slice pattern_run(uint64_t at, size_t n)
{
	static char bytes[RUN_MAX + PATTERN_PERIOD];

	for (size_t i = bytes[1] ? sizeof(bytes) : 0; i < sizeof(bytes); i++)
		bytes[i] = (char)(i % PATTERN_PERIOD);
	return (struct slice){ bytes + at % PATTERN_PERIOD, MIN(n, RUN_MAX) };
}

static void produce(struct connection *c)
{
	struct request *r = &c->req;

	while (r->made < r->total && reply_room(c) > 0) {
		struct slice run = pattern_run(r->made, MIN(r->total - r->made, reply_room(c)));

		reply_body(c, run.p, run.n);
		r->made += run.n;
	}
	if (r->made == r->total)
		reply_end(c);
}

void pattern_start(struct connection *c, uint64_t bytes)
{
	c->req.total = bytes;
	c->req.produce = produce;
}
