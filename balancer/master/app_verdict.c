/* What ends, failures and ill health of workers mean for their app: when a successor starts,
 * whether requests still wait for it, and the verdict on a release.  In the master.
 */
#include "balancer/master/app.h"

#include <stdio.h>
#include <stdlib.h>

#include "balancer/master/core.h"
#include "balancer/master/reconcile.h"
#include "balancer/master/worker_proc.h"
#include "common/fd.h"
#include "common/log.h"

#define FAILED_STARTS_BELIEVED 2 /* in a row; after one more requests do not wait */
#define RECYCLED_EARLY_US 10000000

struct backoff_rule app_backoff_rule(const struct app *a)
{
	const struct cfg_app *conf = a->target->conf;

	return (struct backoff_rule){ .min_ms = conf->backoff_min_ms,
				      .max_ms = conf->backoff_max_ms,
				      .window_ms = conf->restart_window_ms,
				      .budget = conf->restart_budget };
}

/* Notes an end of instance `i`, which had been UP since `up_us` (0: never): when its
 * successor may start, and whether requests still wait for it. */
static void note_end(struct app *a, uint32_t i, uint64_t up_us, char next[static APP_NEXT_MAX])
{
	struct instance *row = app_instance(a, i);

	next[0] = '\0';
	if (!a->target || !row)
		return;
	struct backoff_rule rule = app_backoff_rule(a);
	uint64_t now = master_now_us();
	bool served = up_us > 0;
	uint32_t ends = backoff_note_end(&row->history, &rule, now, served);
	uint64_t wait = backoff_delay_ms(&rule, ends, served, (uint32_t)random());
	if (served && ends <= rule.budget)
		wait = backoff_earned_ms(wait, (now - up_us) / 1000);
	bool failing = ends > rule.budget || row->history.failed_starts > FAILED_STARTS_BELIEVED;

	row->not_before_us = now + wait * 1000;
	if (i >= a->wanted)
		return;
	row->restarts++;
	if (wait == 0)
		snprintf(next, APP_NEXT_MAX, "; its successor starts at once");
	else
		snprintf(next, APP_NEXT_MAX, "; %sanother starts in %.1f s",
			 !failing       ? ""
			 : row->failing ? "failing; "
					: "failing: requests no longer wait for it; ",
			 (double)wait / 1e3);
	row->failing = failing;
}

/* For who asks how instance `i` is: `why` follows the name of the worker (pid 0: there was none). */
static void note_failure(struct app *a, uint32_t i, pid_t pid, const char *why)
{
	struct instance *row = app_instance(a, i);

	if (!row)
		return;
	row->failure = (struct failure){ .at_us = master_now_us(), .pid = pid };
	snprintf(row->failure.why, sizeof(row->failure.why), "%s", why + (why[0] == ' '));
}

/* The verdict on the target: `w` (NULL: it could not be spawned) has failed it. */
static void fail_target(struct app *a, const struct worker *w, const char *why, uint32_t kept)
{
	char reason[ROLLOUT_REASON_MAX];

	if (w)
		snprintf(reason, sizeof(reason), "worker %u (pid %d)%s", w->instance, (int)w->pid,
			 why);
	rollouts_fail(&a->rollouts, a->target->number, master_now_us(), kept, w ? reason : why,
		      w ? worker_last_lines(w) : NULL);
}

/* What can be gone back to from `failed`: whose workers serve, else what is known to have
 * worked, since its last worker may be starting anew or have ended at this moment. */
static struct release *fallback(const struct app *a, const struct release *failed)
{
	struct release *serving = reconcile_other_release(a, failed);

	return serving || a->proven == failed ? serving : a->proven;
}

/* A new release does not start while an older one serves: the older one stays. */
static bool go_back(struct app *a, const struct release *failed, const struct worker *w,
		    const char *why, char next[static APP_NEXT_MAX])
{
	if (failed != a->target)
		return false;
	struct release *working = fallback(a, failed);
	fail_target(a, w, why, working ? working->number : 0);
	if (!working)
		return false;
	snprintf(next, APP_NEXT_MAX, "; release %u does not become ready: keeping release %u",
		 failed->number, working->number);
	working->announced = true;
	app_aim_at(a, working);
	return true;
}

/* The port was free when it was chosen, and is not now that its worker is gone:
 * somebody else was quicker. */
static bool port_was_taken(struct app *a, const struct worker *w, char next[static APP_NEXT_MAX])
{
	struct instance *row = app_instance(a, w->instance);

	if (addr_is_unix(&w->address) || !row || row->port_excused || w->pidfd >= 0 ||
	    fd_probe_bind(&w->address) == ERR_OK)
		return false;
	row->port_excused = true;
	snprintf(next, APP_NEXT_MAX, "; port %u was taken by somebody else: trying another",
		 addr_port(&w->address));
	return true;
}

void app_on_up(struct app *a, struct worker *w)
{
	struct instance *row = app_instance(a, w->instance);

	if (!row || w->release != a->target)
		return;
	row->history.failed_starts = 0;
	row->failing = row->port_excused = false;
}

/* A worker of a release that is on its way, and that has an older one to go back to: its
 * end speaks against the release, unless somebody else caused it. */
static bool speaks_against(const struct app *a, const struct worker *w)
{
	const struct rollout *one = rollouts_latest(&a->rollouts);

	return !w->was_told && w->release == a->target && one->number == w->release->number &&
	       one->state == ROLLOUT_RUNNING && fallback(a, w->release);
}

void app_on_end(struct app *a, struct worker *w, const char *why, char next[static APP_NEXT_MAX])
{
	next[0] = '\0';
	if (shutdown_stops_workers(&a->m->stop))
		return;
	note_failure(a, w->instance, w->pid, why);
	if (!speaks_against(a, w) || !go_back(a, w->release, w, why, next))
		note_end(a, w->instance, w->up_us, next);
}

void app_on_sick(struct app *a, struct worker *w, const char *why, char next[static APP_NEXT_MAX])
{
	if (w->release && speaks_against(a, w) && go_back(a, w->release, w, why, next))
		return;
	snprintf(next, APP_NEXT_MAX, "%s",
		 app_others_fit(a, w) ? "; it gets no requests until it is well"
				      : "; no other is left, so it stays in the rotation");
}

void app_recycle(struct app *a, struct worker *w, const char *key, const char *text)
{
	uint32_t up = 0;

	if (w->release != a->target || shutdown_begun(&a->m->stop) ||
	    rollouts_latest(&a->rollouts)->state == ROLLOUT_RUNNING)
		return;
	list_each (it, &a->workers) {
		const struct worker *other = list_entry(it, struct worker, link);
		if (other->phase != WS_UP && other->phase != WS_LEAVING)
			return;
		if (other->retiring)
			return;
		up += worker_fit(other);
	}
	if (up < a->wanted)
		return;
	if (master_now_us() - w->up_us < RECYCLED_EARLY_US && !w->release->recycle_warned) {
		w->release->recycle_warned = true;
		log_warn(
			"%s is past recycle.%s (%s) only %.1f s after it became ready: is that too "
			"low?",
			w->name, key, text, (double)(master_now_us() - w->up_us) / 1e6);
	}
	log_notice("%s is past recycle.%s (%s): it is replaced", w->name, key, text);
	w->retiring = true;
	app_mark(a);
}

/* Somebody killed it, or the kernel for want of memory: once per release that says nothing
 * about the release. */
static bool was_killed(const struct worker *w, char next[static APP_NEXT_MAX])
{
	if (!w->was_told || w->pidfd >= 0 || w->release->kill_excused)
		return false;
	w->release->kill_excused = true;
	snprintf(next, APP_NEXT_MAX, "; somebody else ended it: it is started once more");
	return true;
}

void app_on_boot_failure(struct app *a, struct worker *w, const char *why,
			 char next[static APP_NEXT_MAX])
{
	next[0] = '\0';
	note_failure(a, w->instance, w->pid, why);
	if (w->release != a->target || port_was_taken(a, w, next) || was_killed(w, next))
		return;
	if (!go_back(a, w->release, w, why, next))
		note_end(a, w->instance, 0, next);
}

void app_on_complete(struct app *a)
{
	rollouts_done(&a->rollouts, a->target->number, master_now_us());
	release_drop(a->proven);
	a->proven = release_hold(a->target);
}

void app_on_spawn_failure(struct app *a, struct release *r, uint32_t instance)
{
	char next[APP_NEXT_MAX];

	note_failure(a, instance, 0, a->cannot_start);
	if (!go_back(a, r, NULL, a->cannot_start, next))
		note_end(a, instance, 0, next);
	log_error("app %s: worker %u could not be started%s", a->name, instance, next);
}
