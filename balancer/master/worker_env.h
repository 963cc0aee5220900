/* What a worker is started with: its arguments and its whole environment, as
 * common/contract.h promises. */
#ifndef DROVER_MASTER_WORKER_ENV_H
#define DROVER_MASTER_WORKER_ENV_H

#include <stdint.h>

#include "balancer/config/config.h"
#include "common/addr.h"
#include "common/base.h"
#include "common/err.h"

struct worker_env {
	char **argv, **env; /* NULL-terminated */
};

/* For instance `instance` of `app`, which is to listen on `address` and to notify at the
 * path `notify` (NULL: nowhere).  The caller ends it with worker_env_fini().
 * ERR_NOMEM: nothing to end. */
MUST_CHECK enum err worker_env_init(struct worker_env *e, const struct cfg_app *app,
				    const struct addr *address, uint32_t instance, uint32_t release,
				    const char *notify, char *const *inherited);
void worker_env_fini(struct worker_env *e);

/* `text` with ${PORT}, ${HOST} and ${INSTANCE} replaced; anything else stays as
 * it is.  The caller frees it; NULL when out of memory. */
MUST_CHECK char *worker_env_expand(const char *text, const char *port, const char *host,
				   const char *instance);

#endif
