/* The admin server, in the monitor: HTTP/1.1, one request a connection, small and bounded.
 *
 *   accept ─► READING ── head and body whole ──► ASKED ── reply ──► WRITING ── all taken ──► LINGERING ─► end
 *                │ refused, too late ───────────────────────────────────┘
 *
 * Every state has a deadline, looked at four times a second while there is a connection; a door has at
 * most CONNS_MAX, and when one more comes, the oldest that has not asked for anything yet
 * makes room: slow or silent clients cannot lock the others out.
 *
 * Not libevent's evhttp: it bounds neither the number of connections nor the time that a
 * request may take in all, and its parser is a third one beside the two that drover has;
 * here the strict one of common/ reads, which is fuzzed.  The buffering is libevent's. */
#include "balancer/monitor/server.h"

#include <errno.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "balancer/monitor/ask.h"
#include "balancer/monitor/core.h"
#include "balancer/monitor/routes.h"
#include "common/clock.h"
#include "common/fd.h"
#include "common/http_parse.h"
#include "common/http_write.h"
#include "common/log.h"
#include "common/mem.h"

#define CONNS_MAX 32
#define HEAD_MAX 8192
#define BODY_MAX 4096
#define SWEEP_MS 250

#define LATER_MS 100
#define WAITING_MAX 16 /* of CONNS_MAX: who waits keeps nobody else out */

enum conn_state { CONN_READING = 0, CONN_ASKED, CONN_WAITING, CONN_WRITING, CONN_LINGERING, CONN_ENDED, CONN_MAX };

/* How long each may last. */
static const uint64_t state_us[CONN_MAX] = {
	[CONN_READING] = 5000000, [CONN_ASKED] = 10000000, [CONN_WAITING] = 10000000,
	[CONN_WRITING] = 10000000,
	[CONN_LINGERING] = 1000000,
};

struct conn {
	struct list link; /* in door->conns; then in monitor->graves */
	struct door *door;
	struct bufferevent *bev;
	enum conn_state state;
	uint64_t deadline_us;
	size_t seen;      /* bytes of the head that were looked at */
	uint32_t number;  /* the handler's */
	struct conn_tail tail; /* of logs.c */
	conn_f *again;    /* WAITING: what is called in a moment */
	bool head_only;   /* HEAD: the fields, not the body */
	bool continued;   /* it was told to go on with its body */
};

static void go(struct conn *c, enum conn_state to)
{
	clock_update();
	c->state = to;
	c->deadline_us = clock_now_us() + state_us[to];
}

struct monitor *conn_monitor(struct conn *c)
{
	return c->door->m;
}

bool conn_may_change(const struct conn *c)
{
	return c->door->may_change;
}

void conn_set_number(struct conn *c, uint32_t number)
{
	c->number = number;
}

uint32_t conn_number(const struct conn *c)
{
	return c->number;
}

struct conn_tail *conn_tail(struct conn *c)
{
	return &c->tail;
}

bool conn_later(struct conn *c, conn_f *again)
{
	struct monitor *m = conn_monitor(c);
	unsigned n = 0;

	list_each(it, &c->door->conns)
		n += list_entry(it, struct conn, link)->state == CONN_WAITING;
	if (n >= WAITING_MAX)
		return false;
	c->again = again;
	go(c, CONN_WAITING);
	if (!event_pending(m->ev_later, EV_TIMEOUT, NULL))
		event_add(m->ev_later, &(struct timeval){ .tv_usec = LATER_MS * 1000 });
	return true;
}

static void end(struct conn *c)
{
	struct monitor *m = conn_monitor(c);

	if (c->state == CONN_ENDED)
		return;
	c->state = CONN_ENDED;
	c->door->n--;
	bufferevent_disable(c->bev, EV_READ | EV_WRITE);
	bufferevent_setcb(c->bev, NULL, NULL, NULL, NULL);
	ask_forget(m, c);
	list_remove(&c->link);
	list_push_back(&m->graves, &c->link);
}

/* ---- replies ------------------------------------------------------------ */

static void reply(struct conn *c, uint16_t status, const char *type, const char *body, size_t n)
{
	struct evbuffer *out = bufferevent_get_output(c->bev);
	bool fine = evbuffer_add_printf(out, "HTTP/1.1 %u %s\r\nContent-Type: %s\r\n"
					"Content-Length: %zu\r\nCache-Control: no-store\r\n%s"
					"Connection: close\r\n\r\n", status, http_reason(status), type,
					n, status == 405 ? "Allow: GET, HEAD, POST\r\n" : "") > 0;

	if (fine && !c->head_only)
		fine = evbuffer_add(out, body, n) == 0;
	go(c, CONN_WRITING);
	if (!fine)
		end(c); /* out of memory: half a reply must not look like one */
}

void conn_reply_text(struct conn *c, uint16_t status, const char *type, struct slice text)
{
	reply(c, status, type, text.p, text.n);
}

static void reply_as(struct conn *c, uint16_t status, const char *type, json_t *body)
{
	char *text = body ? json_dumps(body, JSON_INDENT(2) | JSON_REAL_PRECISION(9)) : NULL;

	json_decref(body);
	if (!text) {
		static const char sorry[] = "out of memory\n";
		reply(c, 503, "text/plain", sorry, sizeof(sorry) - 1);
		return;
	}
	size_t n = strlen(text);
	text[n] = '\n'; /* in the place of the NUL: shells like it so */
	reply(c, status, type, text, n + 1);
	free(text);
}

void conn_reply_json(struct conn *c, uint16_t status, json_t *body)
{
	reply_as(c, status, "application/json", body);
}

void conn_refuse(struct conn *c, uint16_t status, const char *fmt, ...)
{
	char detail[512];
	va_list args;

	va_start(args, fmt);
	vsnprintf(detail, sizeof(detail), fmt, args);
	va_end(args);
	reply_as(c, status, "application/problem+json",
		 json_pack("{s:s, s:i, s:s}", "title", http_reason(status), "status", (int)status,
			   "detail", detail));
}

/* ---- requests ----------------------------------------------------------- */

/* Whether the body (of a whole head) is there; refuses what is not taken. */
static bool body_is_whole(struct conn *c, const struct http_head *h, size_t n)
{
	if (h->framing == HTTP_BODY_NONE)
		return true;
	if (h->framing != HTTP_BODY_LENGTH) {
		conn_refuse(c, 411, "A body needs a Content-Length here.");
		return false;
	}
	if (h->length > BODY_MAX) {
		conn_refuse(c, 413, "A body may have %d bytes at the most.", BODY_MAX);
		return false;
	}
	if (n - h->head_bytes >= h->length)
		return true;
	if (h->expect_continue && !c->continued)
		bufferevent_write(c->bev, "HTTP/1.1 100 Continue\r\n\r\n", 25);
	c->continued = true;
	return false;
}

static void read_request(struct conn *c)
{
	static const struct http_limits limits = { .head_bytes = HEAD_MAX, .uri_bytes = 2048, .fields = 64 };
	struct http_head *h = &conn_monitor(c)->head;
	struct evbuffer *in = bufferevent_get_input(c->bev);
	size_t n = evbuffer_get_length(in);
	const char *p = (const char *)evbuffer_pullup(in, -1);
	enum http_rule rule;

	if (n == 0 || !p)
		return;
	switch (http_parse_request(h, p, n, c->seen, &limits, &rule)) {
	case HTTP_PARTIAL:
		c->seen = n;
		return;
	case HTTP_REFUSED:
		conn_refuse(c, http_rule_table[rule].status, "%s", http_rule_table[rule].text);
		return;
	case HTTP_WHOLE:
		c->seen = 0; /* read again with its body */
		break;
	}
	c->head_only = h->method_id == HTTP_M_HEAD;
	if (!body_is_whole(c, h, n))
		return;
	go(c, CONN_ASKED);
	struct slice body = { p + h->head_bytes, h->framing == HTTP_BODY_LENGTH ? h->length : 0 };
	routes_call(c, h, body, c->door->may_change);
}

/* ---- from the loop ------------------------------------------------------ */

static void on_read(struct bufferevent *bev, void *arg)
{
	struct conn *c = arg;
	struct evbuffer *in = bufferevent_get_input(bev);

	if (c->state == CONN_READING)
		read_request(c);
	if (c->state != CONN_READING)
		evbuffer_drain(in, evbuffer_get_length(in));
}

/* All of the reply has gone to the kernel: the client is given a moment to read it before
 * the end, which would throw away what it has not read when bytes of its own are left. */
static void on_written(struct bufferevent *bev, void *arg)
{
	struct conn *c = arg;

	if (c->state != CONN_WRITING)
		return;
	shutdown(bufferevent_getfd(bev), SHUT_WR);
	go(c, CONN_LINGERING);
}

static void on_event(struct bufferevent *bev, short what, void *arg)
{
	struct conn *c = arg;

	(void)bev;
	/* A client may say that it has nothing more to send, and wait for its reply. */
	if ((what & BEV_EVENT_EOF) && (c->state == CONN_ASKED || c->state == CONN_WRITING))
		return;
	end(c);
}

static void open_conn(struct door *d, int fd)
{
	struct conn *c = mem_alloc_zero(sizeof(*c));
	struct bufferevent *bev = c ? bufferevent_socket_new(d->m->base, fd, BEV_OPT_CLOSE_ON_FREE) : NULL;

	if (!bev) {
		mem_free(c);
		fd_close(&fd);
		return;
	}
	c->door = d;
	c->bev = bev;
	go(c, CONN_READING);
	list_push_back(&d->conns, &c->link);
	d->n++;
	bufferevent_setcb(bev, on_read, on_written, on_event, c);
	bufferevent_setwatermark(bev, EV_READ, 0, HEAD_MAX + BODY_MAX);
	bufferevent_enable(bev, EV_READ | EV_WRITE);
	event_add(d->m->ev_sweep, &(struct timeval){ .tv_usec = SWEEP_MS * 1000 });
}

/* True when there is room for one more. */
static bool make_room(struct door *d)
{
	list_each(it, &d->conns) {
		struct conn *c = list_entry(it, struct conn, link);
		if (c->state == CONN_READING || c->state == CONN_LINGERING) {
			end(c);
			return true;
		}
	}
	return false;
}

static void on_accept(evutil_socket_t listener, short what, void *arg)
{
	struct door *d = arg;

	(void)what;
	while (d->n < CONNS_MAX || make_room(d)) {
		int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (fd >= 0) {
			open_conn(d, fd);
			continue;
		}
		if (errno == EINTR || errno == ECONNABORTED)
			continue;
		if (errno == EAGAIN)
			return;
		log_error("the admin socket cannot accept: %s", strerror(errno));
		break;
	}
	/* Looked at again by the sweep: a queue that is full must not keep us awake. */
	event_del(d->ev);
	event_add(d->m->ev_sweep, &(struct timeval){ .tv_usec = SWEEP_MS * 1000 });
}

static void too_late(struct conn *c)
{
	if (c->state == CONN_READING && evbuffer_get_length(bufferevent_get_input(c->bev)) > 0)
		conn_refuse(c, 408, "The request was not whole in time.");
	else if (c->state == CONN_ASKED)
		conn_refuse(c, 504, "The master has not answered in time.");
	else
		end(c);
}

static void on_sweep(evutil_socket_t fd, short what, void *arg)
{
	struct monitor *m = arg;
	bool any = false;

	(void)fd;
	(void)what;
	clock_update();
	for (int i = 0; i < DOOR_MAX; i++) {
		struct door *d = &m->doors[i];
		list_each_safe(it, &d->conns)
			if (clock_now_us() > list_entry(it, struct conn, link)->deadline_us)
				too_late(list_entry(it, struct conn, link));
		if (d->ev && !m->leaving && !event_pending(d->ev, EV_READ, NULL))
			event_add(d->ev, NULL);
		any = any || d->n > 0;
	}
	if (any)
		event_add(m->ev_sweep, &(struct timeval){ .tv_usec = SWEEP_MS * 1000 });
}

static void on_later(evutil_socket_t fd, short what, void *arg)
{
	struct monitor *m = arg;

	(void)fd;
	(void)what;
	for (int i = 0; i < DOOR_MAX; i++)
		list_each_safe(it, &m->doors[i].conns) {
			struct conn *c = list_entry(it, struct conn, link);
			if (c->state != CONN_WAITING)
				continue;
			go(c, CONN_ASKED);
			c->again(c);
		}
}

/* ---- start and stop ----------------------------------------------------- */

enum err server_start(struct monitor *m)
{
	const int fds[DOOR_MAX] = { [DOOR_UNIX] = m->heritage->admin_fd,
				    [DOOR_TCP] = m->heritage->admin_tcp_fd };

	for (int i = 0; i < DOOR_MAX; i++) {
		m->doors[i] = (struct door){ .m = m, .fd = fds[i], .may_change = i == DOOR_UNIX };
		list_init(&m->doors[i].conns);
	}
	m->ev_sweep = event_new(m->base, -1, EV_TIMEOUT, on_sweep, m);
	m->ev_later = event_new(m->base, -1, EV_TIMEOUT, on_later, m);
	if (!m->ev_sweep || !m->ev_later)
		return ERR_NOMEM;
	for (int i = 0; i < DOOR_MAX; i++) {
		struct door *d = &m->doors[i];
		if (d->fd < 0)
			continue;
		d->ev = event_new(m->base, d->fd, EV_READ | EV_PERSIST, on_accept, d);
		if (!d->ev || event_add(d->ev, NULL) != 0)
			return ERR_NOMEM;
	}
	return ERR_OK;
}

void server_leave(struct monitor *m)
{
	for (int i = 0; i < DOOR_MAX; i++) {
		struct door *d = &m->doors[i];
		if (d->ev)
			event_del(d->ev);
		list_each_safe(it, &d->conns)
			if (list_entry(it, struct conn, link)->state < CONN_WRITING)
				end(list_entry(it, struct conn, link));
	}
}

bool server_is_idle(const struct monitor *m)
{
	bool idle = true;

	for (int i = 0; i < DOOR_MAX; i++)
		list_each(it, &m->doors[i].conns)
			idle = idle && list_entry(it, struct conn, link)->state == CONN_LINGERING;
	return idle;
}

void server_bury(struct monitor *m)
{
	list_each_safe(it, &m->graves) {
		struct conn *c = list_entry(it, struct conn, link);
		list_remove(it);
		bufferevent_free(c->bev);
		mem_free(c);
	}
}

void server_stop(struct monitor *m)
{
	for (int i = 0; i < DOOR_MAX; i++) {
		struct door *d = &m->doors[i];
		if (!d->m)
			continue;
		list_each_safe(it, &d->conns)
			end(list_entry(it, struct conn, link));
		if (d->ev)
			event_free(d->ev);
	}
	server_bury(m);
	if (m->ev_sweep)
		event_free(m->ev_sweep);
	if (m->ev_later)
		event_free(m->ev_later);
}
