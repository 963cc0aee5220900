/* Fields and their places; see origins.h. */
#include "balancer/config/origins.h"

#include <stdlib.h>

#include "common/mem.h"

void origins_add(struct cfg_origins *o, const void *field, struct place at, bool broken)
{
	if ((o->n & (o->n - 1)) == 0)
		o->all = mem_must_grow(o->all, (o->n ? 2 * o->n : 1) * sizeof(*o->all));
	o->all[o->n++] = (struct origin){ field, at, broken };
}

static int by_field(const void *a, const void *b)
{
	uintptr_t x = (uintptr_t)((const struct origin *)a)->field;
	uintptr_t y = (uintptr_t)((const struct origin *)b)->field;
	return x < y ? -1 : x > y;
}

void origins_sort(struct cfg_origins *o)
{
	if (o->n > 1)
		qsort(o->all, o->n, sizeof(*o->all), by_field);
}

const struct origin *origins_find(const struct cfg_origins *o, const void *field)
{
	static const struct origin unwritten;
	struct origin wanted = { .field = field };
	const struct origin *found =
		o->n ? bsearch(&wanted, o->all, o->n, sizeof(*o->all), by_field) : NULL;
	return found ? found : &unwritten;
}

struct cfg_origins *origins_free(struct cfg_origins *o)
{
	if (o)
		mem_free(o->all);
	mem_free(o);
	return NULL;
}
