/* What the error log says of peers that misbehave: enough to find the cause, and
 * no more lines in a flood than a reader can take. */
#ifndef DROVER_PROXY_COMPLAINT_H
#define DROVER_PROXY_COMPLAINT_H

#include <stdbool.h>
#include <stdint.h>

#include "common/http_guard.h"

struct proxy;
struct request;

enum complaint_kind { COMPLAINT_REPLY = 0, COMPLAINT_CONNECTION, COMPLAINT_MAX };

#define COMPLAINT_LINES 5           /* of a kind, written in one window */
#define COMPLAINT_WINDOW_US 10000000

/* Of one kind, in this process. */
struct complaint {
	uint64_t since_us; /* begin of the window; 0: none is open */
	uint32_t written, left_out;
};

/* Whether one more line of this kind may be written now; the caller then does. */
bool complaint_may_write(struct proxy *p, enum complaint_kind kind);

/* A client broke `rule` (of a head, or of a body): counts it. */
void complaint_request(struct proxy *p, enum http_rule rule);

/* The worker of `r`, which still holds its connection, broke `rule`: counts it, and
 * writes a line that names both. */
void complaint_reply(const struct request *r, enum http_rule rule);

/* Ends windows, and says how many lines were left out; call from the sweep. */
void complaint_sweep(struct proxy *p);

#endif
