/* Which field of a config was written where: what `struct cfg_origins` holds.
 * Filled while loading; then read by check.c (carets) and dump.c (comments). */
#ifndef DROVER_CONFIG_ORIGINS_H
#define DROVER_CONFIG_ORIGINS_H

#include "balancer/config/report.h"

struct origin {
	const void *field; /* its address is its name: fields do not move once set */
	struct place at;
	bool broken; /* was refused: rules must not judge it */
};

struct cfg_origins {
	struct origin *all;
	size_t n;
};

void origins_add(struct cfg_origins *o, const void *field, struct place at, bool broken);

/* After the last one: origins_find() works from here on. */
void origins_sort(struct cfg_origins *o);

/* Never NULL: a field that nobody wrote has PLACE_DEFAULT. */
const struct origin *origins_find(const struct cfg_origins *o, const void *field);

struct cfg_origins *origins_free(struct cfg_origins *o); /* accepts NULL; returns NULL */

#endif
