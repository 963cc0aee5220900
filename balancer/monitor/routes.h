/* The table of what can be asked for. */
#ifndef DROVER_MONITOR_ROUTES_H
#define DROVER_MONITOR_ROUTES_H

#include <stdbool.h>

#include "balancer/monitor/server.h"

/* Finds the route for a request whose head and body are whole, and calls it, or refuses.
 * `head` and `body` are borrowed for the call. */
void routes_call(struct conn *c, const struct http_head *head, struct slice body,
		 bool may_change);

#endif
