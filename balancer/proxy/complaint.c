/* Complaints.  Runs in the balancer; see complaint.h. */
#include "balancer/proxy/complaint.h"

#include <stdio.h>
#include <string.h>

#include "balancer/proxy/request.h"
#include "common/clock.h"
#include "common/log.h"

#define LINE_BYTES_MAX 200 /* of a request line */

bool complaint_may_write(struct proxy *p, enum complaint_kind kind)
{
	struct complaint *c = &p->complaints[kind];
	if (!c->since_us) {
		c->since_us = clock_now_us();
		c->written = c->left_out = 0;
	}
	if (c->written == COMPLAINT_LINES) {
		c->left_out++;
		return false;
	}
	c->written++;
	return true;
}

void complaint_sweep(struct proxy *p)
{
	static const char *const what[COMPLAINT_MAX] = {
		[COMPLAINT_REPLY] = "malformed replies",
		[COMPLAINT_CONNECTION] = "connections refused",
	};
	for (int kind = 0; kind < COMPLAINT_MAX; kind++) {
		struct complaint *c = &p->complaints[kind];
		if (!c->since_us || clock_now_us() - c->since_us < COMPLAINT_WINDOW_US)
			continue;
		if (c->left_out)
			log_warn("%u more %s in %u seconds", c->left_out, what[kind],
				 COMPLAINT_WINDOW_US / 1000000);
		c->since_us = 0;
	}
}

void complaint_request(struct proxy *p, enum http_rule rule)
{
	tally_inc(p->row, COUNTER_requests_refused);
	tally_refused(p->row, TALLY_CLIENTS, rule);
}

/* "web/0 (127.0.0.1:20001)"; the slot may have another occupant by now. */
static void name_worker(const struct request *r, char *text, size_t size)
{
	const struct proxy *p = r->proxy;
	const struct upstream *up = r->upstream;
	char address[ADDR_TEXT_MAX];
	if (p->workers[up->slot].epoch == up->epoch)
		snprintf(text, size, "%s/%u (%s)", r->app->cfg->name,
			 p->roster->slots[up->slot].instance,
			 addr_format(&p->workers[up->slot].address, address));
	else
		snprintf(text, size, "%s (a worker that has gone)", r->app->cfg->name);
}

/* "GET /path"; queries hold secrets. */
static struct slice line_of(const struct request *r)
{
	struct slice line = kept_slice(r->head, r->kept.line);
	const char *query = line.n ? memchr(line.p, '?', line.n) : NULL;
	if (query)
		line.n = (size_t)(query - line.p);
	return (struct slice){ line.p, MIN(line.n, LINE_BYTES_MAX) };
}

void complaint_reply(const struct request *r, enum http_rule rule)
{
	struct proxy *p = r->proxy;
	const struct http_rule_info *info = &http_rule_table[rule];
	struct slice line = line_of(r);
	struct slice id = kept_slice(r->head, r->kept.request_id);
	char worker[64 + 16 + ADDR_TEXT_MAX];

	tally_refused(p->row, TALLY_WORKERS, rule);
	if (!complaint_may_write(p, COMPLAINT_REPLY))
		return;
	name_worker(r, worker, sizeof(worker));
	log_warn("%s: bad reply to %.*s, request id %.*s: %s (%s, %s)", worker,
		 (int)line.n, line.p, (int)MIN(id.n, LINE_BYTES_MAX), id.p,
		 info->text, info->name, info->source);
}
