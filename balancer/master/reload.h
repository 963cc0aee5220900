/* Taking over a new configuration: prepared whole, then committed or dropped whole. */
#ifndef DROVER_MASTER_RELOAD_H
#define DROVER_MASTER_RELOAD_H

#include "balancer/config/config.h"
#include "common/base.h"
#include "common/err.h"

struct generation;
struct master;

/* The first configuration (taken): logs, listeners, workers, the first
 * generation.  On failure the reason has been logged. */
MUST_CHECK enum err reload_boot(struct master *m, struct config *cfg);

/* After an exec: a generation of this program's balancers, and no new workers; or, when the
 * configuration has been edited meanwhile, what a reload does.  One that cannot be taken is
 * logged, and the one in force stays. */
MUST_CHECK enum err reload_of_new_master(struct master *m, const char *why);

/* After going back: what the other program was loading. */
void reload_give_up_loading(struct master *m);

/* SIGHUP.  Returns its number, under which m->reloads tells what comes of it; 0: drover is
 * stopping. */
uint32_t reload_ask(struct master *m, const char *why);

/* The start is over: what reload_ask() has put off. */
void reload_now(struct master *m, const char *why);

/* HTTP probes run as the balancers of `cfg` do; m->balancer_user is set. */
void reload_set_prober(struct master *m, const struct config *cfg);

/* All balancers of the loading generation are ready: it takes over. */
void reload_commit(struct generation *g);

/* They will not be: everything stays as it was; at the first start: the end. */
void reload_failed(struct generation *g, const char *why);

/* Whatever is loading is given up: drained, like an older one. */
void reload_cancel(struct master *m);

#endif
