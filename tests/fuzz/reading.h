/* A message as llhttp reads it: the second opinion. */
#ifndef DROVER_TESTS_FUZZ_READING_H
#define DROVER_TESTS_FUZZ_READING_H

#include <stdbool.h>
#include <stdint.h>

#include "fuzz/fuzz.h"

#define READING_FIELDS_MAX 512

struct reading_field {
	struct slice name, value; /* value trimmed */
};

/* Slices borrow the bytes that were read. */
struct reading {
	const char *refused; /* llhttp's words; NULL when it was content with all it saw */
	size_t refused_at;
	bool head;   /* the head is whole and was accepted */
	bool whole;  /* so is the body */
	size_t used; /* bytes of the message, when whole */
	struct slice method, target, reason;
	uint16_t status;
	uint8_t minor;
	struct reading_field fields[READING_FIELDS_MAX];
	size_t n_fields;
	struct reading_field trailers[READING_FIELDS_MAX];
	size_t n_trailers;
	bool chunked, has_length, until_end; /* what the head announces */
	uint64_t length;
	bool keep_alive, upgrade;
	struct fuzz_bytes body;
};

/* What the bytes are part of. */
enum reading_kind {
	READ_REQUEST = 0,
	READ_REPLY,
	READ_REPLY_TO_HEAD, /* no body, whatever the fields say */
};

/* Reads one message.  READ_REPLY knows that 1xx, 204 and 304 have no body (RFC 9112
 * 6.3), which llhttp leaves to its user.  `end`: nothing follows, ever. */
void reading_take(struct reading *r, const char *p, size_t n, enum reading_kind kind, bool end);
void reading_fini(struct reading *r);

/* Whether llhttp knows this method as one of HTTP. */
bool reading_knows_method(struct slice name);

#endif
