/* The step from what runs to what is wanted. */
#ifndef DROVER_MASTER_RECONCILE_H
#define DROVER_MASTER_RECONCILE_H

#include <stdint.h>

struct app;
struct release;

/* Takes the next steps for one app; called after every event that concerns it. */
void reconcile(struct app *a);

/* How many instances requests may wait for: not up, but starting or about to. */
uint32_t reconcile_coming(struct app *a);

/* The newest release but `r` that has a worker UP, or NULL. */
struct release *reconcile_other_release(const struct app *a, const struct release *r);

#endif
