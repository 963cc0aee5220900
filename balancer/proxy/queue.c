/* Requests that wait for a worker.  Runs in the balancer; see queue.h. */
#include "balancer/proxy/queue.h"

#include "balancer/proxy/request.h"
#include "common/clock.h"

bool queue_push(struct request *r)
{
	struct app_state *a = r->app;
	struct proxy *p = r->proxy;
	if (a->n_queued >= a->cfg->queue_limit) {
		tally_inc(p->row, COUNTER_queue_full);
		return false;
	}
	list_push_back(&a->queue, &r->queued);
	a->n_queued++;
	tally_inc(p->row, COUNTER_requests_queued);
	return true;
}

void queue_remove(struct request *r)
{
	if (!list_linked(&r->queued))
		return;
	list_remove(&r->queued);
	r->app->n_queued--;
	tally_dec(r->proxy->row, COUNTER_requests_queued);
}

/* Whether some worker of `a` would be picked now; the rotation does not move. */
static bool has_worker(const struct proxy *p, const struct app_state *a)
{
	for (uint32_t i = 0; i < a->n_up; i++)
		if (p->workers[a->up[i]].suspect_until_us <= clock_now_us())
			return true;
	return false;
}

static void pump_app(struct proxy *p, struct app_state *a)
{
	/* Those that come back to the queue stand behind `n` and wait for the next pump. */
	for (uint32_t n = a->n_queued; n && has_worker(p, a) && !p->starved; n--) {
		struct request *r = list_entry(list_first(&a->queue), struct request, queued);
		queue_remove(r);
		request_retry_pick(r);
	}
	while (!a->n_up && !a->coming && a->n_queued) {
		/* Nobody will come: the wait would end in an error anyway. */
		struct request *r = list_entry(list_first(&a->queue), struct request, queued);
		queue_remove(r);
		request_retry_pick(r);
	}
}

void queue_pump(struct proxy *p)
{
	bool starved = false;
	for (size_t i = 0; i < p->config->n_apps; i++) {
		p->starved = false;
		pump_app(p, &p->apps[i]);
		starved |= p->starved;
	}
	p->starved = starved;
}

void queue_sweep(struct proxy *p)
{
	uint64_t now = clock_now_us();
	for (size_t i = 0; i < p->config->n_apps; i++) {
		struct app_state *a = &p->apps[i];
		/* All of them: one that a worker refused came back behind younger ones. */
		list_each_safe(it, &a->queue) {
			struct request *r = list_entry(it, struct request, queued);
			if (now - r->queued_us < a->cfg->queue_timeout_ms * 1000)
				continue;
			tally_inc(p->row, COUNTER_queue_timeouts);
			request_on_queue_timeout(r);
		}
	}
	queue_pump(p);
}
