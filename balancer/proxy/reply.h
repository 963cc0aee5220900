/* drover's own replies. */
#ifndef DROVER_PROXY_REPLY_H
#define DROVER_PROXY_REPLY_H

#include "balancer/proxy/client.h"
#include "balancer/proxy/outcome.h"
#include "common/http_guard.h"

/* What the access log says of one. */
struct own_reply {
	enum outcome outcome;
	enum http_rule rule;
	uint16_t status;
	uint64_t body_bytes;
};

/* Writes the error page of `outcome` (of `rule`, when the policy refused) to the
 * client.  `r` may be NULL when no request stands behind it.  `close` is what the
 * page announces.  ERR_CLOSED and ERR_NOMEM in *ret_err. */
struct own_reply reply_error(struct client *c, const struct request *r, enum outcome outcome,
			     enum http_rule rule, bool close, enum err *ret_err);

#endif
