/* A balancer from start to end.  Runs in its own process, forked by the master,
 * which waits for READY before it relies on us.
 *
 *   proxy_run   start: tables, listeners, channel; READY
 *   proxy_turn  one turn of the loop; then buffered requests, then the graveyard
 *   on_sweep    a few times a second: timeouts, queue, log
 *   proxy_stop  nothing is left; the exit status says whether something was cut
 */
#include "balancer/proxy/proxy.h"

#include <assert.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "balancer/proxy/access_log.h"
#include "balancer/proxy/batch.h"
#include "balancer/proxy/client.h"
#include "balancer/proxy/gather.h"
#include "balancer/proxy/handover.h"
#include "balancer/proxy/loop.h"
#include "balancer/proxy/pacing.h"
#include "balancer/proxy/pick.h"
#include "balancer/proxy/queue.h"
#include "balancer/proxy/request.h"
#include "balancer/proxy/upstream.h"
#include "common/clock.h"
#include "common/contract.h"
#include "common/log.h"
#include "common/mem.h"

#define SWEEP_MS 100
#define LINGER_MS 2000
#define RETRY_TOKENS_START 4096.0

void loop_turn_begin(struct proxy *p)
{
	p->turn_events++;
	if (p->turn_open)
		return;
	p->turn_open = true;
	clock_update();
}

void loop_bury(struct proxy *p, struct list *link)
{
	list_push_back(&p->graves, link);
}

static void empty_graves(struct proxy *p)
{
	struct list *first;
	while ((first = list_first(&p->graves))) {
		list_remove(first);
		mem_free(first);
	}
}

/* Clients whose next request was already in their buffer when the last one ended. */
static void resume_clients(struct proxy *p)
{
	struct list *first;
	while ((first = list_first(&p->resumable))) {
		list_move_back(&p->clients, first);
		client_resume(list_entry(first, struct client, link));
	}
}

/* Its callbacks are those that were left, and counted then. */
static void read_batch(struct proxy *p)
{
	unsigned events = p->turn_events;
	batch_read(&p->scratch, &p->blocks);
	p->turn_events = events;
}

static void on_sweep(evutil_socket_t fd, short what, void *arg)
{
	struct proxy *p = arg;
	struct deadline_class *classes[] = {
		&p->head_wait, &p->idle_wait, &p->body_wait, &p->stall_wait,
		&p->linger_wait, &p->tunnel_wait, &p->connect_wait, &p->response_wait,
	};
	(void)fd, (void)what;
	loop_turn_begin(p);
	read_batch(p); /* who has spoken in time is not timed out */
	clients_watch(p);
	for (size_t i = 0; i < ARRAY_LEN(classes); i++)
		deadline_sweep(classes[i], p);
	for (size_t i = 0; i < INHERITED_MAX; i++)
		deadline_sweep(&p->inherited[i], p);
	for (uint32_t i = 0; i < p->n_workers; i++)
		deadline_sweep(&p->workers[i].pool_idle, p);
	pacing_look(p);
	queue_sweep(p);
	handover_walk(p);
	channel_owed_ack(p);
	drain_sweep(p);
	complaint_sweep(p);
	access_log_flush(&p->access_log, p->row);
}

/* ---- start ---- */

static void start_waits(struct proxy *p)
{
	const struct config *c = p->config;
	deadline_class_init(&p->head_wait, c->timeout_head_ms, client_on_head_timeout);
	deadline_class_init(&p->idle_wait, c->timeout_idle_ms, client_on_idle_timeout);
	deadline_class_init(&p->body_wait, c->timeout_body_ms, client_on_body_timeout);
	/* A client that takes no byte of its answer is given as long as an idle one. */
	deadline_class_init(&p->stall_wait, c->timeout_idle_ms, client_on_stall_timeout);
	deadline_class_init(&p->linger_wait, LINGER_MS, client_on_linger_timeout);
	deadline_class_init(&p->tunnel_wait, c->timeout_tunnel_ms, client_on_tunnel_timeout);
	deadline_class_init(&p->connect_wait, c->timeout_connect_ms, upstream_on_timeout);
	deadline_class_init(&p->response_wait, c->timeout_response_ms, upstream_on_timeout);
	deadline_class_init(&p->fresh_wait, PACING_WAIT_US / 1000, upstream_on_pacing_timeout);
}

static void start_ids(struct proxy *p)
{
	static const char hex[] = "0123456789abcdef";
	unsigned char seed[16];
	if (getrandom(seed, sizeof(seed), 0) != (ssize_t)sizeof(seed))
		die(EXIT_FAILED, "cannot get random bytes for request ids");
	for (int i = 0; i < 16; i++)
		p->id_prefix[i] = hex[seed[i / 2] >> (i % 2 ? 0 : 4) & 15];
	memcpy(&p->id_counter, seed + 8, sizeof(p->id_counter));
}

static struct event_base *make_base(void)
{
	struct event_config *cfg = event_config_new();
	if (!cfg)
		return NULL;
	/* One thread: no locks to take, and nobody to notify. */
	event_config_set_flag(cfg, EVENT_BASE_FLAG_NOLOCK | EVENT_BASE_FLAG_NO_CACHE_TIME);
	struct event_base *base = event_base_new_with_config(cfg);
	event_config_free(cfg);
	return base;
}

struct proxy *proxy_new(const struct proxy_heritage *h)
{
	struct proxy *p = mem_must_alloc(sizeof(*p));
	p->heritage = h;
	p->config = h->config;
	p->row = h->row;
	p->scratch = mem_must_alloc(SCRATCH_BYTES);
	p->out = mem_must_alloc(OUT_BYTES);
	p->retry_tokens = RETRY_TOKENS_START;
	p->limits = (struct http_limits){
		.head_bytes = (uint32_t)h->config->limit_head_bytes,
		.uri_bytes = (uint32_t)h->config->limit_uri_bytes,
		.fields = h->config->limit_headers,
		.body_bytes = h->config->limit_body_bytes,
	};
	block_pool_init(&p->blocks);
	list_init(&p->clients);
	list_init(&p->resumable);
	list_init(&p->unwatched);
	list_init(&p->graves);
	list_init(&p->spare_requests);
	handover_start(p);
	start_waits(p);
	start_ids(p);
	return p;
}

void proxy_start(struct proxy *p)
{
	struct timeval sweep = { 0, SWEEP_MS * 1000 };
	p->base = make_base();
	p->sweep_event = p->base ? event_new(p->base, -1, EV_PERSIST, on_sweep, p) : NULL;
	if (!p->sweep_event || event_add(p->sweep_event, &sweep) != 0)
		die(EXIT_FAILED, "cannot start the event loop");
	access_log_start(&p->access_log, p->heritage->access_log_fd, p->config->log_access,
			 p->config->log_format);
	enum err e = pacing_start(p);
	if (e != ERR_OK)
		die(EXIT_FAILED, "cannot start the event loop");
	e = pick_start(p);
	if (e != ERR_OK)
		die(EXIT_FAILED, "cannot read the roster: %s", err_text(e));
	if ((e = accept_start(p)) != ERR_OK || (e = channel_start(p)) != ERR_OK)
		die(EXIT_FAILED, "cannot watch sockets: %s", err_text(e));
	if (p->heritage->seal)
		p->heritage->seal();
	if ((e = channel_send(p, MSG_READY, 0)) != ERR_OK)
		die(EXIT_FAILED, "cannot tell the master that this balancer is ready: %s", err_text(e));
	/* The roster may have changed between the copy and now; the master counts on an ACK. */
	if ((e = channel_send(p, MSG_ACK, p->version)) != ERR_OK)
		p->ack_owed = true;
}

/* ---- loop, end ---- */

static bool finished(const struct proxy *p)
{
	return p->drain != DRAIN_NONE && !p->accept_until_us && p->n_clients == 0;
}

bool proxy_turn(struct proxy *p, int flags)
{
	p->turn_open = false;
	p->turn_events = 0;
	if (event_base_loop(p->base, EVLOOP_ONCE | flags) < 0)
		die(EXIT_FAILED, "the event loop failed");
	read_batch(p);
	/* A request that pacing lets go may end at once, with the next one behind it. */
	do {
		resume_clients(p);
		pacing_run(p);
		if (UNLIKELY(p->starved))
			queue_pump(p);
	} while (!list_empty(&p->resumable));
	batch_flush(&p->blocks);
	empty_graves(p);
	return !finished(p);
}

void proxy_stop(struct proxy *p)
{
	access_log_stop(&p->access_log, p->row);
	handover_recall(p);
	handover_stop_taking(p);
	pick_stop(p);
	pacing_stop(p);
	empty_graves(p);
	requests_stop(p);
	channel_stop(p);
	event_free(p->sweep_event);
	event_base_free(p->base);
	block_pool_fini(&p->blocks);
	mem_free(p->out);
	mem_free(p->scratch);
	mem_free(p);
}

int proxy_run(const struct proxy_heritage *h)
{
	struct proxy *p = proxy_new(h);
	/* System calls that are out of reach after proxy_start(). */
	gather_start(&p->gather, h->schedstat_fd);
	batch_start(SCRATCH_BYTES);
	proxy_start(p);
	while (proxy_turn(p, 0))
		if (p->turn_open &&
		    gather_wants_pause(&p->gather, p->turn_events, clock_now_us(), clock_read_us()))
			gather_pause();
	gather_stop(&p->gather);
	int status = p->forced ? EXIT_FAILED : EXIT_DRAINED;
	proxy_stop(p);
	batch_stop();
	return status;
}
