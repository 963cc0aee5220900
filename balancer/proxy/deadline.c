/* Deadline lists.  Runs in the balancer; see deadline.h. */
#include "balancer/proxy/deadline.h"

#include "common/clock.h"

void deadline_class_init(struct deadline_class *c, uint64_t length_ms, deadline_f *on_expired)
{
	list_init(&c->waiting);
	c->length_us = length_ms * 1000;
	c->on_expired = on_expired;
}

void deadline_start(struct deadline *d, struct deadline_class *c)
{
	list_remove(&d->link);
	if (!c->length_us)
		return;
	d->due_us = clock_now_us() + c->length_us;
	list_push_back(&c->waiting, &d->link);
}

void deadline_resume(struct deadline *d, struct deadline_class *c)
{
	list_remove(&d->link);
	if (!d->due_us) /* its class was switched off where it began */
		return;
	struct list *before = c->waiting.prev;
	while (before != &c->waiting && list_entry(before, struct deadline, link)->due_us > d->due_us)
		before = before->prev;
	list_insert_between(&d->link, before, before->next);
}

void deadline_sweep(struct deadline_class *c, void *arg)
{
	uint64_t now = clock_now_us();
	struct list *first;
	while ((first = list_first(&c->waiting))) {
		struct deadline *d = list_entry(first, struct deadline, link);
		if (d->due_us > now)
			return;
		list_remove(first);
		c->on_expired(d, arg);
	}
}
