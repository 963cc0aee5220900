/* Tables and layout of what master and monitor say to each other; in both. */
#include "balancer/board/admin.h"

#include <string.h>

#include "balancer/board/roster.h"
#include "balancer/board/tally.h"

const struct admin_code_info admin_code_table[ADMIN_CODE_MAX] = {
#define CODE(name, http_status, text) [ADMIN_##name##_CODE] = { http_status, text },
#include "balancer/board/admin_codes.def"
#undef CODE
};

#define LISTENERS_MAX 4096 /* those of several configurations may be there at a time */

static const char *text_of(const char *const *texts, size_t n, uint32_t i)
{
	return i < n ? texts[i] : "?";
}

const char *admin_state_text(uint32_t state)
{
	static const char *const texts[ADMIN_STATE_MAX] = {
		[ADMIN_STATE_STARTING] = "starting", [ADMIN_STATE_SERVING] = "serving",
		[ADMIN_STATE_LEAVING] = "leaving",   [ADMIN_STATE_DRAINING] = "draining",
		[ADMIN_STATE_STOPPING] = "stopping",
	};
	return text_of(texts, ARRAY_LEN(texts), state);
}

const char *generation_state_text(uint32_t state)
{
	static const char *const texts[GENERATION_MAX] = {
#define GSTATE(name, text) [GENERATION_##name] = text,
#include "balancer/board/generation_states.def"
#undef GSTATE
	};
	return text_of(texts, ARRAY_LEN(texts), state);
}

const char *rollout_state_text(uint32_t state)
{
	static const char *const texts[ROLLOUT_STATE_MAX] = {
#define ROLLOUT(name, text) [ROLLOUT_##name] = text,
#include "balancer/board/rollout_states.def"
#undef ROLLOUT
	};
	return text_of(texts, ARRAY_LEN(texts), state);
}

size_t snapshot_bytes(const struct snapshot *head)
{
	return sizeof(*head) + head->n_apps * sizeof(struct snapshot_app) +
	       head->n_workers * sizeof(struct snapshot_worker) +
	       head->n_instances * sizeof(struct snapshot_instance) +
	       head->n_generations * sizeof(struct snapshot_generation) +
	       head->n_balancers * sizeof(struct snapshot_balancer) +
	       head->n_rollouts * sizeof(struct snapshot_rollout) +
	       head->n_listeners * sizeof(struct snapshot_listener);
}

static bool ends(const char *text, size_t room)
{
	return memchr(text, '\0', room) != NULL;
}

static bool texts_end(const struct snapshot_view *v)
{
	const struct snapshot *h = v->head;
	bool good = ends(h->upgrade_from, sizeof(h->upgrade_from)) &&
		    ends(h->upgrade_reason, sizeof(h->upgrade_reason));

	for (uint32_t i = 0; i < h->n_apps; i++)
		good = good && ends(v->apps[i].name, sizeof(v->apps[i].name));
	for (uint32_t i = 0; i < h->n_workers; i++)
		good = good && ends(v->workers[i].address, sizeof(v->workers[i].address));
	for (uint32_t i = 0; i < h->n_instances; i++)
		good = good && ends(v->instances[i].failure, sizeof(v->instances[i].failure));
	for (uint32_t i = 0; i < h->n_listeners; i++)
		good = good && ends(v->listeners[i].address, sizeof(v->listeners[i].address));
	for (uint32_t i = 0; i < h->n_rollouts; i++)
		good = good && ends(v->rollouts[i].reason, sizeof(v->rollouts[i].reason)) &&
		       ends(v->rollouts[i].lines, sizeof(v->rollouts[i].lines));
	return good;
}

enum err snapshot_view(const void *data, size_t bytes, struct snapshot_view *ret_view)
{
	struct snapshot_view v = { .head = data };
	const struct snapshot *h = data;

	if (bytes < sizeof(*h) || h->stamp != SNAPSHOT_STAMP || h->n_apps > ROSTER_APPS ||
	    h->n_workers > ROSTER_SLOTS || h->n_instances > ROSTER_APPS * ROSTER_SLOTS ||
	    h->n_generations > TALLY_ROWS || h->n_balancers > 2 * TALLY_ROWS ||
	    h->n_rollouts > 2 * ROSTER_APPS || h->n_listeners > LISTENERS_MAX ||
	    bytes != snapshot_bytes(h))
		return ERR_PROTOCOL;
	v.apps = (const void *)(h + 1);
	v.workers = (const void *)(v.apps + h->n_apps);
	v.instances = (const void *)(v.workers + h->n_workers);
	v.generations = (const void *)(v.instances + h->n_instances);
	v.balancers = (const void *)(v.generations + h->n_generations);
	v.rollouts = (const void *)(v.balancers + h->n_balancers);
	v.listeners = (const void *)(v.rollouts + h->n_rollouts);
	if (!texts_end(&v))
		return ERR_PROTOCOL;
	*ret_view = v;
	return ERR_OK;
}
