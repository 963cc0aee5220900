/* A body through drover: framing off, framing on, in pieces. */
#ifndef DROVER_TESTS_FUZZ_RELAY_H
#define DROVER_TESTS_FUZZ_RELAY_H

#include "common/http_guard.h"
#include "fuzz/fuzz.h"

struct relay {
	/* what came */
	uint8_t in; /* enum http_framing */
	uint64_t length, limit;
	/* what goes */
	uint8_t out;
	bool trailers; /* they are passed on, where they can be */
	unsigned cuts; /* see fuzz_cuts() */

	struct fuzz_bytes payload, sent;
	size_t used; /* bytes that belonged to the body */
	bool ended;
	enum http_rule rule; /* of the refusal, or NONE */
};

/* Relays p[0..n), and the connection's end behind it when `end`.  What was in `sent`
 * stays in front.  Fails when a run of payload lies outside its piece, when bytes get
 * lost, or when the pieces matter. */
void relay_take(struct relay *r, const char *p, size_t n, bool end);
void relay_fini(struct relay *r);

#endif
