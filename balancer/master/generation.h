/* A generation: the balancers that were forked with one configuration. */
#ifndef DROVER_MASTER_GENERATION_H
#define DROVER_MASTER_GENERATION_H

#include <event2/event.h>
#include <event2/event_struct.h>
#include <stdbool.h>
#include <stdint.h>

#include "balancer/board/admin.h"
#include "balancer/master/config_ref.h"
#include "common/base.h"
#include "common/err.h"
#include "common/list.h"
#include "common/msg.h"
#include "common/proc.h"

struct master;
struct listener;
struct logs_files;
struct balancer;

struct generation {
	struct list link;              /* in master->generations */
	struct master *m;
	uint32_t number;               /* from 1 */
	enum generation_state state;
	uint64_t began_us;             /* when it was forked */
	struct config_ref *config;     /* held */
	struct proc_user user;         /* of its balancers */
	const struct logs_files *logs; /* while LOADING after a reload: not yet in force; or NULL */
	struct listener **listeners;   /* one per config->listens, each counted in */
	bool keeps_workers;            /* an upgrade started it: no new release comes with it */
	bool accepting;                /* some of it may still accept */
	bool leaves;                   /* an address of its is no longer listened on by others */
	enum drain_level drain;        /* the highest level it was told */
	struct list balancers;         /* struct balancer */
	struct event deadline;         /* of LOADING */
};

/* Opens the listeners of `config` (held) and forks its balancers, with the log
 * files that are to be in force once it serves (borrowed until then).  On failure
 * nothing is left and the reason has been logged. */
MUST_CHECK enum err generation_start(struct master *m, struct config_ref *config,
				     const struct logs_files *logs,
				     struct generation **ret_generation);

/* After an exec: one that was there (`config` is held), without listeners and balancers
 * yet.  NULL: out of memory, logged. */
struct generation *generation_resume(struct master *m, struct config_ref *config, uint32_t number,
				     enum generation_state state);

/* The user that balancers under `cfg` run as: unset = ours.  On failure the
 * reason has been logged. */
MUST_CHECK enum err generation_find_user(struct master *m, const struct config *cfg,
					 struct proc_user *ret_user);

/* How many connections, of clients and to workers together, each of its balancers
 * may hold before it stops accepting.  The descriptors that are left then are for
 * the connections to workers that the clients' next requests need. */
uint32_t generation_sockets_max(const struct generation *g);

/* A balancer of `g` said READY, said STOPPED, or is gone. */
void generation_on_ready(struct generation *g, struct balancer *b);
void generation_on_stopped(struct generation *g);
void generation_on_balancer_gone(struct generation *g, struct balancer *b, bool failed);

/* The READY one takes over: from now on it is replaced when it dies. */
void generation_serve(struct generation *g);

/* Raises the drain level of all its balancers; DRAIN_RELOAD at least. */
void generation_drain(struct generation *g, enum drain_level level);

/* Drains one whose successor serves.  `leaves`: not all of its addresses are the
 * successor's. */
void generation_retire(struct generation *g, bool leaves);

/* Gives up one that is LOADING.  All of it is drained, also what has not said
 * READY yet: that may be on its way, and behind it the first clients. */
void generation_abandon(struct generation *g);

/* Frees those that are GONE; at the end of a turn. */
void generations_sweep(struct master *m);

/* Whether some living generation has an app of this id in its configuration. */
bool generations_know_app(const struct master *m, uint32_t app_id);

/* Living balancers of all generations. */
unsigned generations_balancers(const struct master *m);

#endif
