/* Outcomes: who ended a request, and how.  Rows live in outcome.def. */
#ifndef DROVER_PROXY_OUTCOME_H
#define DROVER_PROXY_OUTCOME_H

#include <stdint.h>

enum outcome {
#define OUTCOME(name, status, retry_after, error, detail) OUTCOME_##name,
#include "balancer/proxy/outcome.def"
#undef OUTCOME
	OUTCOME_MAX
};

struct outcome_info {
	const char *name; /* "BODY_TIMEOUT" */
	uint16_t status;
	uint16_t retry_after_s;
	const char *proxy_error, *detail;
};
extern const struct outcome_info outcome_table[OUTCOME_MAX];

#endif
