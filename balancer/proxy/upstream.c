/* One connection to a worker, and the pool.  Runs in the balancer; see upstream.h. */
#include "balancer/proxy/upstream.h"

#include <errno.h>
#include <sys/socket.h>

#include "balancer/proxy/batch.h"
#include "balancer/proxy/pacing.h"
#include "balancer/proxy/request.h"
#include "common/clock.h"
#include "common/fd.h"
#include "common/mem.h"

static void on_upstream_event(evutil_socket_t fd, short what, void *arg);
static void upstream_close(struct upstream *up);

static struct worker_ref *worker_of(struct upstream *up)
{
	return &up->proxy->workers[up->slot];
}

/* ---- birth ---- */

/* Gives up the pooled connection that has idled longest.  False: there is none. */
static bool pool_shed(struct proxy *p)
{
	struct upstream *longest = NULL;
	for (uint32_t i = 0; i < p->n_workers; i++) {
		struct list *first = list_first(&p->workers[i].pool_idle.waiting);
		struct upstream *up =
			first ? container_of(first, struct upstream, deadline.link) : NULL;
		if (up && (!longest || up->deadline.due_us < longest->deadline.due_us))
			longest = up;
	}
	if (longest)
		upstream_close(longest);
	return longest != NULL;
}

static struct upstream *make(struct proxy *p, int fd, uint16_t slot, uint64_t epoch)
{
	struct upstream *up = mem_alloc_zero(sizeof(*up));
	if (!up) {
		fd_close(&fd);
		return NULL;
	}
	up->proxy = p;
	up->slot = slot;
	up->epoch = epoch;
	p->n_upstreams++;
	deadline_init(&up->pacing);
	list_init(&up->idle);
	deadline_init(&up->deadline);
	conn_init(&up->conn, p->base, fd, on_upstream_event, up);
	return up;
}

enum err upstream_open(struct proxy *p, uint16_t slot, struct upstream **ret_up)
{
	struct worker_ref *w = &p->workers[slot];
	int fd;
	bool done;
	enum err e = fd_connect(&w->address, &fd, &done);
	if (e == ERR_FD_LIMIT && pool_shed(p))
		e = fd_connect(&w->address, &fd, &done);
	if (e != ERR_OK)
		return e;
	struct upstream *up = make(p, fd, slot, w->epoch);
	if (!up)
		return ERR_NOMEM;
	up->fresh = true;
	w->n_fresh++;
	deadline_start(&up->pacing, &p->fresh_wait);
	tally_inc(p->row, COUNTER_upstream_connects);
	*ret_up = up;
	return ERR_OK;
}

/* It no longer counts as one that the worker has yet to accept. */
static void settle(struct upstream *up)
{
	struct worker_ref *w = worker_of(up);
	if (!up->fresh)
		return;
	up->fresh = false;
	deadline_stop(&up->pacing);
	if (w->epoch == up->epoch)
		w->n_fresh--;
	pacing_stir(up->proxy, w);
}

static void upstream_close(struct upstream *up)
{
	struct proxy *p = up->proxy;
	if (up->dead)
		return;
	up->dead = true;
	settle(up);
	deadline_stop(&up->deadline);
	if (list_linked(&up->idle)) {
		list_remove(&up->idle);
		worker_of(up)->n_idle--;
	}
	block_give_back(&p->blocks, up->input);
	up->input = NULL;
	conn_close(&up->conn, &p->blocks, false);
	p->n_upstreams--;
	accept_room(p);
	loop_bury(p, &up->idle);
}

/* Whatever keeps the answer (the client's body, a long poll), it is not accepting. */
void upstream_on_pacing_timeout(struct deadline *d, void *arg)
{
	(void)arg;
	settle(container_of(d, struct upstream, pacing));
}

/* ---- the pool ---- */

/* Whether the worker has closed, or sent something unasked, since we last looked. */
static bool went_stale(struct upstream *up)
{
	char byte;
	ssize_t n = recv(up->conn.fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
	return !(n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK));
}

struct upstream *upstream_from_pool(struct proxy *p, uint16_t slot, bool sure)
{
	struct worker_ref *w = &p->workers[slot];
	struct list *first;
	while ((first = list_first(&w->idle))) {
		struct upstream *up = list_entry(first, struct upstream, idle);
		bool over = deadline_running(&up->deadline) && up->deadline.due_us <= clock_now_us();
		if (over || (sure && went_stale(up))) {
			upstream_close(up);
			continue;
		}
		list_remove(&up->idle);
		w->n_idle--;
		deadline_stop(&up->deadline);
		up->reused = true;
		up->sent_any = up->got_any = false;
		tally_inc(p->row, COUNTER_upstream_reuses);
		return up;
	}
	return NULL;
}

void pool_flush(struct proxy *p, struct worker_ref *w)
{
	(void)p;
	struct list *first;
	while ((first = list_first(&w->idle)))
		upstream_close(list_entry(first, struct upstream, idle));
}

void upstream_on_pool_timeout(struct deadline *d, void *arg)
{
	(void)arg;
	upstream_close(container_of(d, struct upstream, deadline));
}

/* ---- with a request ---- */

/* One writer per row: the load and the store need not be one instruction. */
static void count_in_flight(struct tally_worker *t, uint32_t change)
{
	atomic_store_explicit(&t->in_flight,
			      atomic_load_explicit(&t->in_flight, memory_order_relaxed) + change,
			      memory_order_relaxed);
}

enum err upstream_inherit(struct request *r, int fd, uint16_t slot, uint64_t epoch)
{
	struct upstream *up = make(r->proxy, fd, slot, epoch);
	if (!up)
		return ERR_NOMEM;
	up->request = r;
	r->upstream = up;
	count_in_flight(&r->proxy->row->workers[slot], 1);
	return ERR_OK;
}

void upstream_assign(struct upstream *up, struct request *r)
{
	struct tally_worker *t = &up->proxy->row->workers[up->slot];
	up->request = r;
	up->sent_us = clock_now_us();
	r->upstream = up;
	count_in_flight(t, 1);
	atomic_store_explicit(&t->requests,
			      atomic_load_explicit(&t->requests, memory_order_relaxed) + 1,
			      memory_order_relaxed);
	upstream_read_on(up);
}

void upstream_answered(struct upstream *up, bool keeps_alive)
{
	struct worker_ref *w = worker_of(up);
	settle(up);
	if (w->epoch != up->epoch)
		return;
	int64_t took_us = (int64_t)MIN(clock_now_us() - up->sent_us, (uint64_t)UINT32_MAX);
	w->reply_us = (uint32_t)(w->reply_us ? w->reply_us + (took_us - w->reply_us) / 8 : took_us);
	w->closes = !keeps_alive;
}

void upstream_release(struct upstream *up, bool reusable)
{
	struct proxy *p = up->proxy;
	struct worker_ref *w = worker_of(up);
	count_in_flight(&p->row->workers[up->slot], UINT32_MAX); /* one less */
	up->request->upstream = NULL;
	up->request = NULL;
	deadline_stop(&up->deadline);
	if (!reusable || up->conn.broken || !chain_empty(&up->conn.out) || up->input || !w->app ||
	    w->epoch != up->epoch || w->state != WORKER_UP ||
	    w->n_idle >= w->app->cfg->idle_connections || p->drain >= DRAIN_SHUTDOWN) {
		upstream_close(up);
		return;
	}
	upstream_read_on(up);
	list_push_front(&w->idle, &up->idle);
	w->n_idle++;
	deadline_start(&up->deadline, &w->pool_idle);
	pacing_stir(p, w);
}

void upstream_read_on(struct upstream *up)
{
	if (!up->dead && conn_read_on(&up->conn) != ERR_OK)
		up->conn.broken = true; /* found out at the next write, or by its deadline */
}

void upstream_read_off(struct upstream *up)
{
	conn_read_off(&up->conn);
}

/* ---- readiness ---- */

/* Reads once; false: there was nothing, or it has ended. */
static bool on_readable(struct upstream *up)
{
	struct proxy *p = up->proxy;
	size_t n = 0;
	enum err e = conn_read(&up->conn, p->scratch, SCRATCH_BYTES, &n);
	if (e == ERR_AGAIN)
		return false;
	if (!up->request) { /* pooled: closed by the worker, or talking out of turn */
		if (e == ERR_OK)
			tally_refused(p->row, TALLY_WORKERS, HTTP_RULE_EXTRA_BYTES);
		upstream_close(up);
		return false;
	}
	if (e != ERR_OK) {
		request_on_upstream_end(up->request, e);
		return false;
	}
	up->got_any = true;
	request_on_reply_bytes(up->request, p->scratch, n);
	return true;
}

static void on_writable(struct upstream *up)
{
	size_t sent = 0;
	enum err e = conn_flush(&up->conn, &up->proxy->blocks, &sent);
	if (!up->request) {
		upstream_close(up);
		return;
	}
	if (sent) {
		up->sent_any = true;
		request_on_upstream_sent(up->request);
	}
	if (e != ERR_OK) {
		/* Its reply may still be there to be read (an early 413, then a close);
		 * without one the read says so. */
		if (!up->sent_any || conn_read_on(&up->conn) != ERR_OK)
			request_on_upstream_end(up->request, e);
		return;
	}
	if (chain_empty(&up->conn.out))
		request_on_upstream_drained(up->request);
}

static void on_upstream_event(evutil_socket_t fd, short what, void *arg)
{
	struct upstream *up = arg;
	(void)fd;
	loop_turn_begin(up->proxy);
	if (UNLIKELY(up->conn.sender)) /* no answer is read before what it answers has left */
		batch_flush(&up->proxy->blocks);
	if (UNLIKELY(up->conn.unsent)) /* counted when it was left for the end of the turn */
		up->sent_any = up->conn.unsent = false;
	if (!up->dead && (what & EV_WRITE))
		on_writable(up);
	if (up->dead || !(what & CONN_EVENT_READ))
		return;
	/* One in the pool is never left: a request might take it meanwhile, and what was read before would
	 * be its answer.  In other states it would be no harm and no gain. */
	if (up->request && up->request->state == REQ_SEND &&
	    batch_defer(&up->conn, what & CONN_EVENT_READ))
		return;
	/* A pooled one waits for nothing. */
	for (unsigned n = 1; on_readable(up) && conn_reads_on(&up->conn, what, n, !up->request); n++)
		;
}

void upstream_on_timeout(struct deadline *d, void *arg)
{
	struct upstream *up = container_of(d, struct upstream, deadline);
	(void)arg;
	request_on_upstream_timeout(up->request);
}
