/* A snapshot and the tally as JSON. */
#ifndef DROVER_MONITOR_STATUS_H
#define DROVER_MONITOR_STATUS_H

#include <jansson.h>

#include "balancer/board/admin.h"
#include "balancer/heritage.h"

/* All of it; the caller's.  NULL: out of memory. */
json_t *status_json(const struct snapshot_view *v, const struct monitor_heritage *h);

#endif
