/* Timeouts as deadline lists: one FIFO per class, because all entries of a class
 * wait equally long; swept a few times a second.  No timer per request. */
#ifndef DROVER_PROXY_DEADLINE_H
#define DROVER_PROXY_DEADLINE_H

#include <stdint.h>

#include "common/list.h"

struct deadline {
	struct list link;
	uint64_t due_us;
};

typedef void deadline_f(struct deadline *d, void *arg);

struct deadline_class {
	struct list waiting;    /* earliest first */
	uint64_t length_us;     /* 0: never */
	deadline_f *on_expired; /* called with the entry already off the list */
};

void deadline_class_init(struct deadline_class *c, uint64_t length_ms, deadline_f *on_expired);

static inline void deadline_init(struct deadline *d)
{
	list_init(&d->link);
	d->due_us = 0;
}

/* Starts or restarts `d` in class `c`, from clock_now_us(); it may stand in another class. */
void deadline_start(struct deadline *d, struct deadline_class *c);

/* Puts `d` into class `c` with the due_us that it has: for what began elsewhere.  Quick where
 * such entries come with the earliest first; give them a class of their own. */
void deadline_resume(struct deadline *d, struct deadline_class *c);
static inline void deadline_stop(struct deadline *d) { list_remove(&d->link); }
static inline int deadline_running(const struct deadline *d) { return list_linked(&d->link); }

/* Expires what is due. */
void deadline_sweep(struct deadline_class *c, void *arg);

#endif
