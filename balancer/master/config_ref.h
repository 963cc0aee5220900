/* A configuration shared by those who still need it: the master, generations of
 * balancers, releases of workers.  It is freed with its last holder. */
#ifndef DROVER_MASTER_CONFIG_REF_H
#define DROVER_MASTER_CONFIG_REF_H

#include <stdint.h>

#include "balancer/config/config.h"
#include "common/base.h"
#include "common/list.h"

struct config_ref {
	struct list link; /* of all that there are */
	struct config *cfg;
	unsigned holders;
	uint32_t number; /* never used twice in one process */
};

/* Takes `cfg`; the caller is the first holder.  NULL when out of memory: `cfg` is freed then. */
MUST_CHECK struct config_ref *config_ref_new(struct config *cfg);
/* After an exec: one that had this number. */
MUST_CHECK struct config_ref *config_ref_resume(struct config *cfg, uint32_t number);
MUST_CHECK struct config_ref *config_ref_hold(struct config_ref *ref);

/* Accepts NULL; returns NULL. */
struct config_ref *config_ref_drop(struct config_ref *ref);

/* In a forked child: config_wipe_secrets() on all that there are, whoever holds them. */
void config_refs_wipe_secrets(void);

#endif
