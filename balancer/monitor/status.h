/* A snapshot and the tally as JSON. */
#ifndef DROVER_MONITOR_STATUS_H
#define DROVER_MONITOR_STATUS_H

#include <jansson.h>

#include "balancer/board/admin.h"
#include "balancer/heritage.h"

/* All of it; the caller's.  NULL: out of memory. */
json_t *status_json(const struct snapshot_view *v, const struct monitor_heritage *h);

/* What came of reload `number`, and of the releases that it asked for; NULL: it is not known. */
json_t *status_reload_json(const struct snapshot_view *v, uint32_t number);

#endif
