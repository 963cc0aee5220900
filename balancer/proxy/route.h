/* Which app a request is for. */
#ifndef DROVER_PROXY_ROUTE_H
#define DROVER_PROXY_ROUTE_H

#include "balancer/config/config.h"
#include "common/slice.h"

#define ROUTE_NONE UINT32_MAX

/* Index into cfg->apps of the first route that matches, or ROUTE_NONE.  `host` is
 * the request's authority (any case, maybe with a port), `path` its target in
 * origin form, with or without a query. */
uint32_t route_find(const struct config *cfg, struct slice host, struct slice path);

#endif
