/* What the files of a request's life share: request.c (its way to the worker, its end),
 * request_reply.c (the reply's way back) and request_fail.c (what goes wrong).  Nobody
 * else includes this. */
#ifndef DROVER_PROXY_REQUEST_LIFE_H
#define DROVER_PROXY_REQUEST_LIFE_H

#include "balancer/proxy/reply.h"
#include "balancer/proxy/request.h"

/* The one way to change the state. */
void request_enter(struct request *r, enum request_state to);

/* In PICK: takes the request to QUEUE, WAIT, SEND or DONE. */
void request_pick(struct request *r);

/* A connection that this request opened was not taken: others go elsewhere for a
 * while too. */
void request_note_refusal(struct request *r, uint16_t slot, uint64_t epoch);

/* Counts the time in which it is the client's turn and nobody else's. */
void request_turn_is(struct turns *t, bool on);

/* limits.min_rate, of which `spare_ms` is spared. */
bool request_too_slow(const struct request *r, const struct turns *t, uint64_t spare_ms,
		      uint64_t bytes);

/* Whose clock runs: that of each side that has to act next.  Call after any
 * progress; there is no state between SEND and DONE in which no clock runs. */
void request_set_clocks(struct request *r);

/* The connection in use is lost before a reply: another try where that is safe. */
void request_attempt_failed(struct request *r, enum outcome why);

/* What the worker says cannot be passed on: 502, or a cut where it is too late for that. */
void request_bad_reply(struct request *r, enum http_rule rule);

/* The three ways to end: a reply of our own; the worker's reply cut in its middle; any,
 * of which the first two make use.  Where request_finish() ends the client's connection
 * too, the caller does that next.  `r` is gone afterwards. */
void request_answer_self(struct request *r, enum outcome why, enum http_rule rule);
void request_cut_reply(struct request *r, enum outcome why);
void request_finish(struct request *r, enum outcome outcome);

#endif
