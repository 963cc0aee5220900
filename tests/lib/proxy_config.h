/* What a balancer needs of a configuration, for tests that load none: a few defaults. */
#ifndef DROVER_TESTS_PROXY_CONFIG_H
#define DROVER_TESTS_PROXY_CONFIG_H

#include "balancer/config/config.h"

/* Among the initialisers of a struct config. */
#define PROXY_CONFIG                                                                        \
	.balancers = 1, .timeout_head_ms = 10000, .timeout_body_ms = 30000,                 \
	.timeout_idle_ms = 75000, .timeout_connect_ms = 2000, .timeout_response_ms = 60000, \
	.timeout_tunnel_ms = 3600000, .limit_head_bytes = 16384, .limit_uri_bytes = 8192,   \
	.limit_headers = 100

#endif
