/* Which code answers which path. */
#ifndef DROVER_WORKER_ROUTES_H
#define DROVER_WORKER_ROUTES_H

#include <stdbool.h>
#include <stdint.h>

#include "common/http_head.h"
#include "common/slice.h"

struct connection;

/* A request as its route sees it.  Valid during the call only. */
struct ask {
	const struct http_head *head;
	struct slice path;  /* without the query, as sent */
	struct slice query; /* without the question mark; may be empty */
	struct slice raw;   /* the whole head, as received */
};

/* Begins the answer to a request.  Either writes a reply, whole or in part, or
 * sets callbacks in c->req that will. */
typedef void route_f(struct connection *c, const struct ask *ask);

/* Finds the route and begins; 404 when there is none. */
void routes_begin(struct connection *c, const struct ask *ask);

/* The number behind `name=` in the query, or `otherwise` when it is absent.
 * False when it is there but is no number up to `max`: a 400 has been answered. */
bool ask_number(struct connection *c, const struct ask *ask, const char *name, uint64_t max,
		uint64_t otherwise, uint64_t *ret_value);

/* The text behind `name=`, undecoded; empty when absent. */
struct slice ask_text(const struct ask *ask, const char *name);

/* GET and HEAD pass; anything else is answered 405. */
bool ask_is_read(struct connection *c, const struct ask *ask);

/* Routes in other files. */
route_f welcome_begin;
route_f files_begin;

/* Test mode: well behaved (bounce.c) ... */
route_f echo_begin;
route_f sink_begin;
route_f huge_begin;
route_f continue_begin;
route_f early_begin;
route_f upgrade_begin;

/* ... and not (faults.c). */
route_f slow_begin;
route_f drip_begin;
route_f cut_begin;
route_f reset_begin;
route_f close_begin;
route_f crash_begin;
route_f exit_begin;
route_f hang_begin;
route_f status_begin;
route_f bad_begin;
route_f http10_begin;
route_f nolength_begin;
route_f expect417_begin;
route_f early_reply_begin;

#endif
