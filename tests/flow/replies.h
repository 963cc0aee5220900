/* What a client may be sent, whatever happens: whole replies, the last one perhaps cut. */
#ifndef DROVER_TESTS_REPLIES_H
#define DROVER_TESTS_REPLIES_H

#include <stdbool.h>
#include <stddef.h>

/* Splits p[0..n) (NUL-terminated) into replies, up to a 101.  `fin`: the connection
 * ended as if all had been said, so a reply that is cut is an error; a body without
 * framing has to have `until_close` bytes then.  NULL when all is well, else what is
 * wrong. */
const char *replies_judge(const char *p, size_t n, bool fin, size_t until_close);

#endif
