/* GET /api/v1/logs, /api/v1/apps/APP/logs, /api/v1/apps/APP/workers/N/logs. */
#ifndef DROVER_MONITOR_LOGS_H
#define DROVER_MONITOR_LOGS_H

#include <stdint.h>

#include "balancer/monitor/server.h"

/* Replies with the workers' lines: of the app `app_id`, or of all (0); of `instance`, or of
 * all (ADMIN_LOGS_ALL). */
void logs_ask(struct conn *c, const struct call *call, uint32_t app_id, uint32_t instance);

#endif
