/* Counting the holders of a configuration; in the master alone. */
#include "balancer/master/config_ref.h"

#include "common/mem.h"

static uint32_t last_number;
static struct list all = { &all, &all };

struct config_ref *config_ref_resume(struct config *cfg, uint32_t number)
{
	struct config_ref *ref = mem_alloc(sizeof(*ref));

	if (!ref) {
		config_free(cfg);
		return NULL;
	}
	*ref = (struct config_ref){ .cfg = cfg, .holders = 1, .number = number };
	list_push_back(&all, &ref->link);
	last_number = MAX(last_number, number);
	return ref;
}

struct config_ref *config_ref_new(struct config *cfg)
{
	return config_ref_resume(cfg, last_number + 1);
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
	list_remove(&ref->link);
	config_free(ref->cfg);
	mem_free(ref);
	return NULL;
}

void config_refs_wipe_secrets(void)
{
	list_each(it, &all)
		config_wipe_secrets(list_entry(it, struct config_ref, link)->cfg);
}
