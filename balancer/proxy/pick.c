/* Which worker gets a request.  Runs in the balancer.
 *
 * Each balancer gives its requests to the UP workers in strict rotation.  Over
 * any run of its requests a worker is at most one off its share, so K balancers
 * together are at most K off; no coordination is needed.
 *
 * One exception: a worker that has just joined warm ones.  A fresh Node, Ruby or
 * JVM process answers its first requests many times slower than later ones; an
 * equal share of a busy application would queue up there, and every deploy would
 * show in the tail latency.  So a cold worker has few requests at a time, more with
 * each answer (as TCP's slow start), and sits out its turn when it has its fill.
 * Requests that come one at a time never notice.
 */
#include "balancer/proxy/pick.h"

#include "balancer/proxy/pacing.h"
#include "balancer/proxy/tunnel.h"
#include "balancer/proxy/upstream.h"
#include "common/clock.h"
#include "common/mem.h"

#define SUSPECT_MIN_MS 100
#define SUSPECT_MAX_MS 10000

enum err pick_start(struct proxy *p)
{
	p->roster = mem_must_alloc(sizeof(*p->roster));
	p->workers = mem_must_alloc(ROSTER_SLOTS * sizeof(*p->workers));
	p->apps = mem_must_alloc(p->config->n_apps * sizeof(*p->apps));
	for (size_t i = 0; i < p->config->n_apps; i++) {
		struct app_state *a = &p->apps[i];
		a->cfg = &p->config->apps[i];
		a->up = mem_must_alloc(ROSTER_SLOTS * sizeof(*a->up));
		a->last_slot = ROSTER_SLOTS;
		list_init(&a->queue);
	}
	return pick_follow_roster(p) ? ERR_OK : ERR_PROTOCOL;
}

void pick_stop(struct proxy *p)
{
	for (uint32_t i = 0; i < p->n_workers; i++)
		pool_flush(p, &p->workers[i]);
	for (size_t i = 0; i < p->config->n_apps; i++)
		mem_free(p->apps[i].up);
	mem_free(p->apps);
	mem_free(p->workers);
	mem_free(p->roster);
}

static struct app_state *find_app(struct proxy *p, uint32_t id)
{
	for (size_t i = 0; i < p->config->n_apps; i++)
		if (p->config->apps[i].id == id)
			return &p->apps[i];
	return NULL;
}

void pick_know_slots(struct proxy *p, uint32_t n)
{
	for (; p->n_workers < n; p->n_workers++) {
		struct worker_ref *w = &p->workers[p->n_workers];
		list_init(&w->idle);
		list_init(&w->waiting);
		list_init(&w->stirred);
		deadline_class_init(&w->pool_idle, 0, upstream_on_pool_timeout);
	}
}

/* Takes over one slot of the roster; its old occupant's connections go. */
static void follow_slot(struct proxy *p, uint32_t slot)
{
	const struct roster_slot *now = &p->roster->slots[slot];
	struct worker_ref *w = &p->workers[slot];
	if (w->epoch != now->epoch) {
		pool_flush(p, w);
		pacing_displace(p, w);
		w->n_fresh = 0;
		w->reply_us = 0;
		w->closes = false;
		w->epoch = now->epoch;
		w->address = now->address;
		w->suspect_until_us = 0;
		w->suspect_ms = 0;
		w->app = find_app(p, now->app_id);
		w->served = 0;
		w->idle_told = false;
		w->pool_idle.length_us = w->app ? w->app->cfg->idle_connection_ms * 1000 : 0;
	}
	if (now->state == WORKER_STOPPING && w->state != WORKER_STOPPING)
		tunnels_end(p, (uint16_t)slot); /* its time to drain is over */
	w->state = now->state;
	w->up_since_us = now->up_since_us;
	if (w->state != WORKER_UP) {
		pool_flush(p, w);
		pacing_displace(p, w);
		return;
	}
	if (w->app)
		w->app->up[w->app->n_up++] = (uint16_t)slot;
}

/* A worker of ours is cold until it has answered enough, if others of its app have
 * been UP for clearly longer.  Workers that came together share as equals. */
static void note_cold(struct proxy *p, struct app_state *a)
{
	uint64_t oldest = UINT64_MAX;
	for (uint32_t i = 0; i < a->n_up; i++)
		oldest = MIN(oldest, p->workers[a->up[i]].up_since_us);
	for (uint32_t i = 0; i < a->n_up; i++) {
		struct worker_ref *w = &p->workers[a->up[i]];
		w->cold = w->served < PICK_WARM && w->up_since_us >= oldest + PICK_OLDER_US;
	}
}

bool pick_follow_roster(struct proxy *p)
{
	uint64_t version = roster_read(p->heritage->roster, p->roster);
	if (!version)
		return false;
	p->version = version;
	for (size_t i = 0; i < p->config->n_apps; i++) {
		struct app_state *a = &p->apps[i];
		const struct roster_app *row = roster_find_app(p->roster, a->cfg->id);
		a->n_up = 0;
		a->coming = row && row->coming > 0;
	}
	pick_know_slots(p, p->roster->n_slots);
	for (uint32_t i = 0; i < p->roster->n_slots; i++)
		follow_slot(p, i);
	/* The rotation goes on behind the slot that was picked last. */
	for (size_t i = 0; i < p->config->n_apps; i++) {
		struct app_state *a = &p->apps[i];
		a->cursor = 0;
		while (a->cursor < a->n_up && a->last_slot < ROSTER_SLOTS &&
		       a->up[a->cursor] <= a->last_slot)
			a->cursor++;
		if (a->cursor >= a->n_up)
			a->cursor = 0;
		note_cold(p, a);
	}
	return true;
}

static bool has_its_fill(struct proxy *p, uint32_t slot)
{
	struct worker_ref *w = &p->workers[slot];
	/* The master may have stamped it after this turn read its clock. */
	if (clock_now_us() > w->up_since_us + PICK_COLD_US) {
		w->cold = false;
		return false;
	}
	uint32_t in_flight = atomic_load_explicit(&p->row->workers[slot].in_flight, memory_order_relaxed);
	return in_flight >= 1 + w->served / PICK_COLD_STEP;
}

static bool was_tried(const struct pick_tried *t, uint64_t epoch)
{
	for (uint32_t i = 0; i < t->n; i++)
		if (t->epoch[i] == epoch)
			return true;
	return false;
}

void pick_note_tried(struct pick_tried *t, uint64_t epoch)
{
	if (t->n == ARRAY_LEN(t->epoch)) { /* forget the oldest */
		for (uint32_t i = 1; i < t->n; i++)
			t->epoch[i - 1] = t->epoch[i];
		t->n--;
	}
	t->epoch[t->n++] = epoch;
}

uint32_t pick_next(struct proxy *p, struct app_state *app, const struct pick_tried *tried,
		   bool last_resort)
{
	uint32_t spare = PICK_NONE;
	for (uint32_t i = 0; i < app->n_up; i++) {
		uint32_t slot = app->up[app->cursor];
		struct worker_ref *w = &p->workers[slot];
		app->cursor = app->cursor + 1 == app->n_up ? 0 : app->cursor + 1;
		if (UNLIKELY(w->suspect_until_us) && !last_resort &&
		    w->suspect_until_us > clock_now_us())
			continue;
		if (UNLIKELY(tried->n) && was_tried(tried, w->epoch))
			continue;
		if (UNLIKELY(w->cold) && has_its_fill(p, slot)) {
			spare = slot;
			continue;
		}
		app->last_slot = slot;
		return slot;
	}
	return spare; /* nobody else: better a cold worker than none */
}

void pick_suspect(struct proxy *p, uint16_t slot, uint64_t epoch)
{
	struct worker_ref *w = &p->workers[slot];
	if (w->epoch != epoch)
		return;
	uint64_t now = clock_now_us();
	if (w->suspect_until_us > now)
		return; /* others of the same burst; counted once */
	w->suspect_ms = w->suspect_ms ? MIN(w->suspect_ms * 2, SUSPECT_MAX_MS) : SUSPECT_MIN_MS;
	w->suspect_until_us = now + w->suspect_ms * 1000ull;
}

/* A second before the worker would close them, or half of a shorter time: a request must
 * not meet its FIN.  Of several times that it names the shortest counts. */
void pick_note_idle(struct proxy *p, uint16_t slot, uint64_t epoch, uint32_t idle_s)
{
	struct worker_ref *w = &p->workers[slot];
	uint64_t length_us = idle_s > 1 ? (idle_s - 1) * 1000000ull : 500000;
	if (w->epoch != epoch || (w->idle_told && length_us >= w->pool_idle.length_us))
		return;
	if (length_us < w->pool_idle.length_us)
		pool_flush(p, w); /* what waits longer would stand in front of what waits less */
	w->idle_told = true;
	w->pool_idle.length_us = length_us;
}

void pick_answered(struct proxy *p, uint16_t slot)
{
	struct worker_ref *w = &p->workers[slot];
	_Atomic uint64_t *replies = &p->row->workers[slot].replies;
	atomic_store_explicit(replies, atomic_load_explicit(replies, memory_order_relaxed) + 1,
			      memory_order_relaxed);
	if (UNLIKELY(w->suspect_ms)) {
		w->suspect_ms = 0;
		w->suspect_until_us = 0;
	}
	if (UNLIKELY(w->served < PICK_WARM) && ++w->served == PICK_WARM)
		w->cold = false;
}
