/* Accepting client connections.  Runs in the balancer.
 *
 * Each listening socket has its own accept queue, kept open by the master; this
 * process only takes from it.  At limits.connections, or when the descriptors that are
 * left will be needed to answer the clients that are here (heritage.h: sockets_max),
 * accepting pauses, the kernel's queue waits, and it goes on when a connection ends. */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "balancer/proxy/admit.h"
#include "balancer/proxy/client.h"
#include "balancer/proxy/loop.h"
#include "common/clock.h"
#include "common/fd.h"
#include "common/log.h"
#include "common/mem.h"

#define BATCH 64             /* connections per listener and turn */
#define DRAIN_BATCH 65536    /* bound on emptying a queue that is being filled */
#define RETRY_MS 100
#define EPISODE_US 10000000ull /* without a pause: the next one is news */
#define NO_DESCRIPTORS "out of file descriptors (raise the limit, or set limits.connections)"

static bool few_descriptors(const struct proxy *p)
{
	return p->n_clients + p->n_upstreams >= p->heritage->sockets_max;
}

bool accept_full(const struct proxy *p)
{
	return few_descriptors(p);
}

static bool at_limit(const struct proxy *p)
{
	uint32_t most = p->config->limit_connections;
	return (most && p->n_clients >= most) || few_descriptors(p);
}

void accept_pause(struct proxy *p, const char *why)
{
	if (p->accept_paused)
		return;
	struct timeval retry = { 0, RETRY_MS * 1000 };
	uint64_t now = clock_now_us();
	p->accept_paused = true;
	tally_inc(p->row, COUNTER_accept_paused);
	/* At the limit it pauses with every connection that takes a free place: that is one story. */
	if (!p->accept_paused_us || now - p->accept_paused_us > EPISODE_US)
		log_warn("accepting pauses: %s; %u connections are open", why, p->n_clients);
	p->accept_paused_us = now;
	for (size_t i = 0; i < p->heritage->n_listeners; i++)
		if (p->listeners[i].event)
			event_del(p->listeners[i].event);
	event_add(p->accept_retry, &retry);
}

static void accept_go_on(struct proxy *p)
{
	p->accept_paused = false;
	p->accept_paused_us = clock_now_us();
	event_del(p->accept_retry);
	for (size_t i = 0; i < p->heritage->n_listeners; i++) {
		if (p->listeners[i].event && event_add(p->listeners[i].event, NULL) != 0) {
			accept_pause(p, "a listening socket cannot be watched");
			return;
		}
	}
}

void accept_room(struct proxy *p)
{
	if (UNLIKELY(p->accept_paused) && !at_limit(p))
		accept_go_on(p);
}

static void on_accept_retry(evutil_socket_t fd, short what, void *arg)
{
	struct proxy *p = arg;
	(void)fd, (void)what;
	loop_turn_begin(p);
	if (p->accept_paused && !at_limit(p))
		accept_go_on(p);
	else if (p->accept_paused)
		event_add(p->accept_retry, &(struct timeval){ 0, RETRY_MS * 1000 });
}

/* Takes one connection.  False: nothing more to take now. */
static bool accept_one(struct proxy *p, struct listener *l)
{
	struct addr peer;
	peer.len = sizeof(peer.un);
	peer.sa.sa_family = AF_UNSPEC;
	int fd = accept4(l->fd, &peer.sa, &peer.len, SOCK_NONBLOCK | SOCK_CLOEXEC);
	if (fd < 0) {
		switch (errno) {
		case EAGAIN:
			return false;
		case EMFILE:
		case ENFILE:
			accept_pause(p, NO_DESCRIPTORS);
			return false;
		case ENOBUFS:
		case ENOMEM:
			accept_pause(p, "the kernel is out of memory");
			return false;
		default: /* that connection died in the queue (accept(2)): the next one */
			return true;
		}
	}
	bool counted;
	if (!admit(p, &peer, &counted)) {
		fd_reset(&fd);
		return true;
	}
	tally_inc(p->row, COUNTER_connections_accepted);
	uint32_t index = p->heritage->listener_of[l - p->listeners];
	if (client_new(p, fd, &peer, index, counted) != ERR_OK) {
		if (counted)
			admit_leave(p, &peer);
		accept_pause(p, "out of memory");
		return false;
	}
	return true;
}

static void on_listener(evutil_socket_t fd, short what, void *arg)
{
	struct listener *l = arg;
	(void)fd, (void)what;
	loop_turn_begin(l->proxy);
	for (int i = 0; i < BATCH && accept_one(l->proxy, l); i++) {
		if (at_limit(l->proxy)) {
			accept_pause(l->proxy, few_descriptors(l->proxy) ? NO_DESCRIPTORS
									 : "limits.connections is reached");
			return;
		}
	}
}

enum err accept_start(struct proxy *p)
{
	size_t n = p->heritage->n_listeners;
	p->listeners = mem_must_alloc((n ? n : 1) * sizeof(*p->listeners));
	p->accept_retry = evtimer_new(p->base, on_accept_retry, p);
	if (!p->accept_retry)
		return ERR_NOMEM;
	for (size_t i = 0; i < n; i++) {
		struct listener *l = &p->listeners[i];
		l->proxy = p;
		l->fd = p->heritage->listeners[i];
		l->event = event_new(p->base, l->fd, EV_READ | EV_PERSIST, on_listener, l);
		if (!l->event || event_add(l->event, NULL) != 0)
			return ERR_NOMEM;
	}
	return ERR_OK;
}

void accept_stop(struct proxy *p)
{
	if (!p->listeners)
		return;
	for (size_t i = 0; i < p->heritage->n_listeners; i++) {
		struct listener *l = &p->listeners[i];
		/* What has been queued was promised an answer: at the limit from the next
		 * generation, which has the same sockets, and where none comes from us. */
		bool ours = p->drain >= DRAIN_SHUTDOWN;
		for (int n = 0; n < DRAIN_BATCH && (ours || !at_limit(p)) && accept_one(p, l); n++)
			;
		event_free(l->event);
		l->event = NULL;
		fd_close(&l->fd);
	}
	event_free(p->accept_retry);
	p->accept_retry = NULL;
	p->accept_paused = false;
	mem_free(p->listeners);
	p->listeners = NULL;
	if (channel_send(p, MSG_STOPPED, 0) != ERR_OK)
		log_debug("the master does not hear that accepting has stopped");
}
