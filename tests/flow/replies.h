/* What a client may be sent, whatever happens: whole replies, the last one perhaps cut. */
#ifndef DROVER_TESTS_REPLIES_H
#define DROVER_TESTS_REPLIES_H

#include <stdbool.h>
#include <stddef.h>

struct reply {
	int status;
	const char *head, *head_end; /* head_end: behind the empty line */
	size_t body;                 /* bytes on the wire; all that there are where there is no framing */
	bool framed;                 /* the head tells where the body ends */
};

enum reply_verdict { REPLY_WHOLE = 0, REPLY_CUT, REPLY_BAD };

/* Reads the reply at the beginning of p[0..n) (NUL-terminated, n > 0), which does not
 * answer a HEAD.  BAD: *ret_wrong says why. */
enum reply_verdict reply_read(const char *p, size_t n, struct reply *ret_reply,
			      const char **ret_wrong);

/* The value of a field in the head of `r`, up to its CR; or NULL. */
const char *reply_field(const struct reply *r, const char *name);

/* Splits p[0..n) (NUL-terminated) into replies, up to a 101.  `fin`: the connection
 * ended as if all had been said, so a reply that is cut is an error; a body without
 * framing has to have `until_close` bytes then.  NULL when all is well, else what is
 * wrong. */
const char *replies_judge(const char *p, size_t n, bool fin, size_t until_close);

#endif
