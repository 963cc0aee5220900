/* A snapshot and the tally as JSON. */
#ifndef DROVER_MONITOR_STATUS_H
#define DROVER_MONITOR_STATUS_H

#include <jansson.h>
#include <stdbool.h>

#include "balancer/board/admin.h"
#include "balancer/heritage.h"

/* All of it; the caller's.  NULL: out of memory.  `lines`: also what workers printed who
 * failed a release, here and below. */
json_t *status_json(const struct snapshot_view *v, const struct monitor_heritage *h, bool lines);

/* What came of reload `number`, and of the releases that it asked for; NULL: it is not known. */
json_t *status_reload_json(const struct snapshot_view *v, uint32_t number, bool lines);

#endif
