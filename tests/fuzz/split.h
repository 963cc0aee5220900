/* A head as drover's parser sees it, whole and in pieces, with what must hold for any
 * bytes whatever. */
#ifndef DROVER_TESTS_FUZZ_SPLIT_H
#define DROVER_TESTS_FUZZ_SPLIT_H

#include "common/http_parse.h"
#include "fuzz/reading.h"

struct split {
	bool is_request;
	uint8_t request_method; /* of a reply: enum http_method */
	struct http_limits limits;
	unsigned cuts; /* which way to cut; see fuzz_cuts() */
};

/* Parses p[0..n) into *head.  Fails unless: the verdict is one and the same when the
 * bytes come in pieces; a head accepted lies inside the buffer; a refusal has a rule. */
enum http_verdict split_head(const struct split *s, struct http_head *head, const char *p, size_t n,
			     enum http_rule *ret_rule);

/* Fails unless llhttp read the same head: start line, fields, framing as far as both
 * know it. */
void split_compare(const struct http_head *h, const struct reading *r, bool is_request);

#endif
