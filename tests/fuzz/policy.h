/* Which fields of a head go on, said a second time: short, slow, and written from the
 * RFCs and the manual rather than from the guard.  The targets hold the heads that
 * drover writes against it. */
#ifndef DROVER_TESTS_FUZZ_POLICY_H
#define DROVER_TESTS_FUZZ_POLICY_H

#include "fuzz/reading.h"

struct policy {
	bool is_request;
	bool trusted;   /* the client's own forwarding fields are believed */
	bool length;    /* Content-Length has one, and stays */
	bool trailer;   /* Trailer has a meaning: it may be followed by some */
	bool continues; /* Expect has a meaning: 100-continue, in 1.1, with a body */
};

/* Checks the fields of `out`, what drover wrote, against those of `in`, what came:
 * what goes on stands there in order and unchanged, between Host (requests) and what
 * drover adds, each of that at most once.  Fails when not. */
void policy_check(const struct policy *p, const struct reading *in, const struct reading *out);

/* Checks the trailers of `out` against those of `in`, both whole: what may stand there
 * goes on in order and unchanged when `passed`, else nothing does. */
void policy_check_trailers(const struct reading *in, const struct reading *out, bool passed);

/* The only value of this field in `r`, or an empty slice without pointer. */
struct slice policy_field(const struct reading *r, const char *name);

/* All values of Upgrade as one list; returns its length. */
size_t policy_upgrade(const struct reading *r, char *ret_list, size_t room);

#endif
