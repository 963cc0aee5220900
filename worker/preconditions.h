/* Conditional and range requests: RFC 9110, chapters 13 and 14. */
#ifndef DROVER_WORKER_PRECONDITIONS_H
#define DROVER_WORKER_PRECONDITIONS_H

#include <stdint.h>
#include <time.h>

#include "common/http_head.h"
#include "common/slice.h"

/* What a file is right now. */
struct representation {
	struct slice etag; /* with its quotes; strong */
	time_t modified;   /* whole seconds */
	uint64_t bytes;
};

/* Evaluates If-Match, If-Unmodified-Since, If-None-Match and If-Modified-Since
 * in the order of RFC 9110 13.2.2, for GET and HEAD.  0: send it; else 304 or
 * 412. */
uint16_t preconditions_check(const struct http_head *h, const struct representation *r);

enum range_kind {
	RANGE_WHOLE = 0,   /* none asked, not understood, more than one, or If-Range says no */
	RANGE_PART,        /* *ret_first and *ret_bytes are filled; at least one byte */
	RANGE_OUTSIDE,     /* 416 */
};

/* More than one range gets the whole: RFC 9110 14.2 lets a server ignore Range,
 * and nothing that many overlapping ranges would ask for is worth sending. */
enum range_kind preconditions_range(const struct http_head *h, const struct representation *r,
				    uint64_t *ret_first, uint64_t *ret_bytes);

/* "Sun, 06 Nov 1994 08:49:37 GMT" */
#define HTTP_DATE_BYTES 30
struct slice http_date_of(time_t t, char buf[static HTTP_DATE_BYTES]);

#endif
