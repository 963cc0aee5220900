/* An app: the release that is to run, how many of it, and who runs now. */
#ifndef DROVER_MASTER_APP_H
#define DROVER_MASTER_APP_H

#include <event2/event.h>
#include <event2/event_struct.h>
#include <stdbool.h>
#include <stdint.h>

#include "balancer/master/backoff.h"
#include "balancer/master/config_ref.h"
#include "balancer/master/recent.h"
#include "balancer/master/rollout.h"
#include "common/base.h"
#include "common/err.h"
#include "common/list.h"
#include "common/proc.h"

struct master;
struct worker;

/* The workers that one start or reload of drover asks for. */
struct release {
	struct config_ref *config;   /* held */
	const struct cfg_app *conf;  /* in it */
	uint32_t number;             /* from 1, per app */
	unsigned holders;            /* its workers, and the app when it is the target */
	uint32_t wanted;             /* copies: as configured, or as it was scaled since */
	bool announced;              /* "all workers ready" has been logged */
	bool recycle_warned;         /* that recycle.* is reached soon after a start */
	bool kill_excused;           /* one start that somebody killed was not held against it */
};

/* How a worker of an instance failed last: it ended by itself, hung, or was not ready. */
struct failure {
	char why[192];               /* "ended: killed by SIGKILL, after 3.2 s"; "": never */
	uint64_t at_us;              /* monotonic */
	pid_t pid;                   /* 0: it could not even be started */
};

struct instance {
	struct backoff_history history;
	uint64_t not_before_us;      /* the successor may start then */
	uint32_t restarts;           /* ends that had, or are to have, a successor; over all releases */
	bool failing;                /* over its budget, or never ready in a row: not waited for */
	bool port_excused;           /* one failed start was put down to a port that was taken */
	struct failure failure;      /* over all releases */
	char last_words[64];         /* why it ended last, so as not to say the same again */
};

struct app {
	struct list link;            /* in master->apps */
	struct master *m;
	uint32_t id;                 /* never reused */
	char *name;
	struct release *target;      /* NULL: nothing is to run */
	struct release *proven;      /* held: the last that all of its workers were ready of; or NULL */
	uint32_t wanted;             /* instances: the target's, and SIGTTIN/SIGTTOU */
	struct list workers;         /* struct worker, oldest first */
	struct recents recents;      /* what its workers have written last */
	struct instance *instances;
	uint32_t n_instances;        /* allocated */
	uint32_t last_release;
	struct rollouts rollouts;    /* what came of its releases */
	char cannot_start[256];      /* why a worker could not even be spawned last */
	bool in_config;              /* of the configuration in force */
	bool dirty;                  /* something happened: reconcile it */
	struct event ev_retry;
};

/* Gives every app of `cfg` its id: the same name has the same id for ever.  New
 * apps are made known to the roster, so that requests may wait for them.  On
 * failure the reason has been logged.  New ones that no generation comes to know
 * are let go at the end of the turn. */
MUST_CHECK enum err apps_identify(struct master *m, struct config *cfg);

/* After an exec: the app that had this id and name; its numbers follow.  NULL: out of
 * memory, or there is no room in the roster. */
struct app *app_resume(struct master *m, uint32_t id, const char *name);

/* The configuration is in force: a new release of every app in it. */
void apps_release(struct master *m, struct config_ref *config);

/* Apps that no living generation knows any more are let go. */
void apps_retire_unknown(struct master *m);

/* Reconciles the dirty ones and publishes what they are waiting for. */
void apps_turn(struct master *m);

/* First start: spawns all workers; fails, logged, when one cannot be started at all. */
MUST_CHECK enum err apps_boot(struct master *m);

/* Every worker of every app; true when none is left. */
bool apps_tell_all(struct master *m, int worker_event);
bool apps_empty(const struct master *m);
/* Worker processes that live. */
uint32_t apps_workers(const struct master *m);

/* SIGTTIN, SIGTTOU. */
void apps_change_instances(struct master *m, int by);

/* By its id, as long as it is in the configuration; or NULL. */
struct app *apps_find(struct master *m, uint32_t id);

/* Commands.  A new release of what is in force; `n` instances until the next release; the
 * worker that serves as instance `i` leaves, *ret_pid, and its successor starts.  What they
 * do is logged. */
enum admin_code app_restart(struct app *a);
enum admin_code app_scale(struct app *a, uint32_t n);
enum admin_code app_drain(struct app *a, uint32_t i, pid_t *ret_pid);

void apps_free(struct master *m);

/* From worker_proc.c; those about an end get what is to be said about it ("was not ready
 * within 30.0 s: ..."), the reason should its release fail for it, and write what follows from
 * it ("its successor starts at once") for the line that the caller logs. */
#define APP_NEXT_MAX 192
void app_mark(struct app *a);
void app_on_up(struct app *a, struct worker *w);
void app_on_end(struct app *a, struct worker *w, const char *why,
		char next[static APP_NEXT_MAX]); /* was UP */
void app_on_sick(struct app *a, struct worker *w, const char *why,
		 char next[static APP_NEXT_MAX]);
void app_on_boot_failure(struct app *a, struct worker *w, const char *why,
			 char next[static APP_NEXT_MAX]);
/* From sampler.c: `w` is past recycle.`key`, as `text` says.  It is replaced unless something
 * else is going on in its app: then a later look finds the same. */
void app_recycle(struct app *a, struct worker *w, const char *key, const char *text);
/* From reconcile.c: every worker that is wanted is there, and of the target. */
void app_on_complete(struct app *a);
/* Also: instance `instance` of `r` could not even be spawned. */
void app_on_spawn_failure(struct app *a, struct release *r, uint32_t instance);

/* `r` (NULL: none) is what the app is to become from now on; another that is on its way is
 * superseded. */
void app_aim_at(struct app *a, struct release *r);
/* How many others than `w` (may be NULL) are left to take requests. */
uint32_t app_others_fit(const struct app *a, const struct worker *w);

struct release *release_hold(struct release *r);
struct release *release_drop(struct release *r);

/* The rows of an instance; NULL when out of memory. */
struct instance *app_instance(struct app *a, uint32_t instance);
struct backoff_rule app_backoff_rule(const struct app *a);

/* The user that the workers run as: unset = the master's. ERR_MISSING. */
MUST_CHECK enum err app_user(const struct cfg_app *conf, struct proc_user *ret_user);

#endif
