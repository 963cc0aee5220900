/* Opening connections at a pace.  Runs in the balancer; see pacing.h. */
#include "balancer/proxy/pacing.h"

#include "balancer/proxy/request.h"
#include "balancer/proxy/upstream.h"
#include "common/clock.h"

#define LOOK_MS 10

static void on_look(evutil_socket_t fd, short what, void *arg);

enum err pacing_start(struct proxy *p)
{
	list_init(&p->stirred);
	list_init(&p->displaced);
	p->pacing_event = evtimer_new(p->base, on_look, p);
	return p->pacing_event ? ERR_OK : ERR_NOMEM;
}

void pacing_stop(struct proxy *p)
{
	event_free(p->pacing_event);
}

bool pacing_holds(const struct worker_ref *w)
{
	return w->n_fresh >= PACING_FRESH && !w->closes && w->reply_us < PACING_SLOW_US;
}

static void look_soon(struct proxy *p)
{
	struct timeval soon = { 0, LOOK_MS * 1000 };
	if (!event_pending(p->pacing_event, EV_TIMEOUT, NULL))
		event_add(p->pacing_event, &soon);
}

void pacing_wait(struct request *r, struct worker_ref *w)
{
	r->waits_us = clock_now_us();
	list_push_back(&w->waiting, &r->queued);
	look_soon(r->proxy);
}

void pacing_leave(struct request *r)
{
	list_remove(&r->queued);
}

void pacing_stir(struct proxy *p, struct worker_ref *w)
{
	if (!list_empty(&w->waiting) && !list_linked(&w->stirred))
		list_push_back(&p->stirred, &w->stirred);
}

static struct request *oldest(struct worker_ref *w)
{
	struct list *first = list_first(&w->waiting);
	return first ? list_entry(first, struct request, queued) : NULL;
}

/* Lets go of as many as there are connections for; of all whose time is up. */
static void serve(struct worker_ref *w)
{
	struct request *r;
	while ((r = oldest(w))) {
		bool late = clock_now_us() - r->waits_us >= PACING_WAIT_US;
		if (!late && list_empty(&w->idle) && pacing_holds(w))
			return;
		pacing_leave(r);
		request_on_turn(r, late);
	}
}

void pacing_run(struct proxy *p)
{
	struct list *first;
	while ((first = list_first(&p->stirred))) {
		list_remove(first);
		serve(list_entry(first, struct worker_ref, stirred));
	}
}

/* Nothing came free in time somewhere: see who has waited enough. */
void pacing_look(struct proxy *p)
{
	bool any = false;
	deadline_sweep(&p->fresh_wait, p);
	for (uint32_t i = 0; i < p->n_workers; i++) {
		struct worker_ref *w = &p->workers[i];
		serve(w);
		any |= !list_empty(&w->waiting);
	}
	if (any)
		look_soon(p);
}

static void on_look(evutil_socket_t fd, short what, void *arg)
{
	(void)fd, (void)what;
	loop_turn_begin(arg);
	pacing_look(arg);
}

void pacing_displace(struct proxy *p, struct worker_ref *w)
{
	struct list *first;
	while ((first = list_first(&w->waiting))) {
		list_remove(first);
		list_push_back(&p->displaced, first);
	}
}

void pacing_replace(struct proxy *p)
{
	struct list *first;
	while ((first = list_first(&p->displaced))) {
		list_remove(first);
		request_retry_pick(list_entry(first, struct request, queued));
	}
}
