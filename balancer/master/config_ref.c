/* Counting the holders of a configuration; in the master alone. */
#include "balancer/master/config_ref.h"

#include "common/mem.h"

struct config_ref *config_ref_new(struct config *cfg)
{
	struct config_ref *ref = mem_alloc(sizeof(*ref));

	if (!ref) {
		config_free(cfg);
		return NULL;
	}
	*ref = (struct config_ref){ .cfg = cfg, .holders = 1 };
	return ref;
}

struct config_ref *config_ref_hold(struct config_ref *ref)
{
	ref->holders++;
	return ref;
}

struct config_ref *config_ref_drop(struct config_ref *ref)
{
	if (!ref || --ref->holders > 0)
		return NULL;
	config_free(ref->cfg);
	mem_free(ref);
	return NULL;
}
