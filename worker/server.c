/* The one server of a drover-worker process, in the order of its life:
 *
 *   server_run    open_listener, loop, close
 *   on_accept     connections come in; pauses when descriptors run out
 *   on_sweep      deadlines of all connections
 *   on_signal     first: drain.  Second: the end, at once
 *   drain         close_listener: accept what is queued; then end what is idle
 *
 * The loop is run one turn at a time; dead connections are freed between turns.
 */
#include "worker/server.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/contract.h"
#include "common/fd.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/notify.h"
#include "worker/connection.h"

#define BACKLOG 1024
#define ACCEPTS_PER_TURN 64
#define PAUSE_MS 100      /* between tries while descriptors are short */
#define SWEEP_MS 250
#define DRAIN_US 10000000ull
#define SPARE_MAX 64      /* blocks kept for the next request */

const struct http_limits server_limits = {
	.head_bytes = 32 * 1024,
	.uri_bytes = 16 * 1024,
	.fields = 200,
};

static const int end_signals[] = { SIGTERM, SIGINT, SIGQUIT };

char *server_block(struct server *s)
{
	if (s->n_spare > 0)
		return s->spare[--s->n_spare];
	return mem_alloc(BLOCK_BYTES);
}

void server_block_return(struct server *s, char *block)
{
	if (block && s->n_spare < SPARE_MAX)
		s->spare[s->n_spare++] = block;
	else
		mem_free(block);
}

static void stop_if_drained(struct server *s)
{
	if (server_draining(s) && s->n_connections == 0 && s->listener < 0)
		s->stopped = true;
}

void server_bury(struct server *s, struct connection *c)
{
	list_remove(&c->link);
	list_push_back(&s->graveyard, &c->link);
	s->n_connections--;
	stop_if_drained(s);
}

static void empty_graveyard(struct server *s)
{
	list_each_safe(it, &s->graveyard) {
		list_remove(it);
		connection_free(list_entry(it, struct connection, link));
	}
}

static void arm(struct event *ev, uint32_t ms)
{
	struct timeval tv = { .tv_sec = ms / 1000, .tv_usec = (long)(ms % 1000) * 1000 };

	if (!event_pending(ev, EV_TIMEOUT, NULL) && event_add(ev, &tv) < 0)
		log_error("cannot set a timer");
}

/* Out of descriptors: connections wait in the kernel's queue until some end. */
static void pause_accepting(struct server *s, int error)
{
	if (!s->is_short)
		log_warn("cannot accept: %s; trying again every %d ms", strerror(error), PAUSE_MS);
	s->is_short = true;
	event_del(&s->accept_ev);
	arm(&s->pause_ev, PAUSE_MS);
}

/* Accepts one.  False when there is nothing more to accept now. */
static bool accept_one(struct server *s)
{
	int fd = accept4(s->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

	if (fd < 0) {
		if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
			pause_accepting(s, errno);
			return false;
		}
		if (errno == EAGAIN)
			s->is_short = false;
		/* One that has ended in the queue is no reason to leave the next one there. */
		return errno == ECONNABORTED || errno == EINTR;
	}
	if (connection_new(s, fd) != ERR_OK)
		log_warn("a connection was refused: %s", err_text(ERR_NOMEM));
	arm(&s->sweep_ev, SWEEP_MS);
	return true;
}

static void on_accept(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	struct server *s = arg;

	clock_update();
	for (int i = 0; i < ACCEPTS_PER_TURN && accept_one(s); i++)
		;
}

/* Who has reached our queue was promised an answer: the socket is closed once
 * the queue is empty. */
static void close_listener(struct server *s)
{
	while (accept_one(s))
		;
	if (s->is_short) /* on_pause_over() comes back here */
		return;
	event_del(&s->accept_ev);
	event_del(&s->pause_ev);
	fd_close(&s->listener);
	stop_if_drained(s);
}

static void on_pause_over(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	struct server *s = arg;

	clock_update();
	if (server_draining(s))
		close_listener(s);
	else if (event_add(&s->accept_ev, NULL) < 0)
		arm(&s->pause_ev, PAUSE_MS);
}

static void cut_rest(struct server *s)
{
	uint32_t n_cut = 0;

	list_each_safe(it, &s->connections) {
		struct connection *c = list_entry(it, struct connection, link);

		n_cut += connection_has_work(c);
		connection_close(c);
	}
	if (n_cut > 0) {
		s->was_cut = true;
		log_warn("ended with %u unfinished requests", n_cut);
	}
	s->stopped = true;
}

static void on_sweep(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	struct server *s = arg;

	clock_update();
	uint64_t now_us = clock_now_us();

	list_each_safe(it, &s->connections)
		connection_sweep(list_entry(it, struct connection, link), now_us);
	if (server_draining(s) && now_us >= s->drain_by_us)
		cut_rest(s);
	else if (s->n_connections > 0)
		arm(&s->sweep_ev, SWEEP_MS);
}

/* Whoever started us may wait for it. */
static void notify(const char *text)
{
	enum err e = notify_send(text);

	if (e)
		log_warn("cannot send %s to $" CONTRACT_NOTIFY ": %s", text,
			 e == ERR_SYS ? strerror(errno) : err_text(e));
}

static void drain(struct server *s)
{
	notify("STOPPING=1");
	s->drain_by_us = clock_now_us() + DRAIN_US;
	close_listener(s);
	list_each_safe(it, &s->connections)
		connection_drain(list_entry(it, struct connection, link));
	log_notice("draining: %u connections open", s->n_connections);
}

static void on_signal(evutil_socket_t signo, short what, void *arg)
{
	(void)signo;
	(void)what;
	struct server *s = arg;

	clock_update();
	if (server_draining(s))
		cut_rest(s);
	else
		drain(s);
}

static void open_listener(struct server *s)
{
	const struct addr *a = &s->settings->address;
	char text[ADDR_TEXT_MAX];
	enum err e = fd_listen(a, false, BACKLOG, 0666, &s->listener);

	if (e != ERR_OK)
		die(EXIT_FAILED, "cannot listen on %s: %s", addr_format(a, text),
		    e == ERR_SYS ? strerror(errno) : err_text(e));
	if (addr_is_unix(a)) {
		struct stat st;

		if (stat(a->un.sun_path, &st) == 0) {
			s->socket_dev = st.st_dev;
			s->socket_ino = st.st_ino;
		}
	}
}

/* Where we can be reached: the kernel may have chosen the port.  Said last, so
 * that who waits for it finds everything in place, signals too. */
static void announce(const struct server *s)
{
	struct addr bound = s->settings->address;
	char text[ADDR_TEXT_MAX];

	if (!addr_is_unix(&bound)) {
		bound.len = sizeof(bound.in6);
		if (getsockname(s->listener, &bound.sa, &bound.len) < 0)
			die(EXIT_FAILED, "cannot read the address of a socket: %s", strerror(errno));
	}
	log_notice("listening on %s", addr_format(&bound, text));
	notify("READY=1");
}

/* Removes the socket's file, unless a successor has put its own there. */
static void remove_socket(const struct server *s)
{
	const struct addr *a = &s->settings->address;
	struct stat st;

	if (addr_is_unix(a) && stat(a->un.sun_path, &st) == 0 && st.st_dev == s->socket_dev &&
	    st.st_ino == s->socket_ino)
		unlink(a->un.sun_path);
}

static void start_events(struct server *s)
{
	s->base = event_base_new();
	if (!s->base)
		die(EXIT_FAILED, "cannot start the event loop: %s", strerror(errno));
	event_assign(&s->accept_ev, s->base, s->listener, EV_READ | EV_PERSIST, on_accept, s);
	evtimer_assign(&s->sweep_ev, s->base, on_sweep, s);
	evtimer_assign(&s->pause_ev, s->base, on_pause_over, s);
	for (size_t i = 0; i < ARRAY_LEN(end_signals); i++) {
		evsignal_assign(&s->signal_ev[i], s->base, end_signals[i], on_signal, s);
		if (event_add(&s->signal_ev[i], NULL) < 0)
			die(EXIT_FAILED, "cannot watch signals");
	}
	if (event_add(&s->accept_ev, NULL) < 0)
		die(EXIT_FAILED, "cannot watch the listening socket");
}

static void stop_events(struct server *s)
{
	for (size_t i = 0; i < ARRAY_LEN(end_signals); i++)
		event_del(&s->signal_ev[i]);
	event_del(&s->accept_ev);
	event_del(&s->pause_ev);
	event_del(&s->sweep_ev);
	fd_close(&s->listener);
	event_base_free(s->base);
	while (s->n_spare > 0)
		mem_free(s->spare[--s->n_spare]);
	mem_free(s->spare);
}

int server_run(const struct settings *settings)
{
	struct server *s = mem_must_alloc(sizeof(*s));

	s->settings = settings;
	s->listener = -1;
	s->spare = mem_must_alloc(SPARE_MAX * sizeof(*s->spare));
	list_init(&s->connections);
	list_init(&s->graveyard);
	clock_update();
	s->started_us = clock_now_us();
	open_listener(s);
	start_events(s);
	announce(s);
	while (!s->stopped) {
		if (event_base_loop(s->base, EVLOOP_ONCE) < 0)
			die(EXIT_FAILED, "the event loop failed: %s", strerror(errno));
		empty_graveyard(s);
	}
	remove_socket(s);
	stop_events(s);
	int status = s->was_cut ? EXIT_FAILED : EXIT_DRAINED;

	mem_free(s);
	return status;
}
