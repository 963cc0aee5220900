/* One client connection of drover-worker, in the order of this file:
 *
 *   on_readable, on_writable, on_timer   something happened
 *   pump                                 takes steps until nothing moves
 *     take_head        IDLE, HEAD        bytes become a request; its route begins
 *     take_body        BUSY              payload to the route
 *     make_more        BUSY              the route writes more of its reply
 *     flush            BUSY, TUNNEL      `out`, then the file, to the socket
 *     end_request      BUSY              next request, or one of the ends
 *     carry            TUNNEL            what came in goes out
 *   watch                                which events to wait for now
 *   connection_drain, connection_sweep   called by the server: idle ends, deadlines
 *
 * Runs in drover-worker only.  Nothing here frees a connection: it dies into the
 * server's graveyard, so that any callback may look at its connection after
 * calling out.
 */
#include "worker/connection.h"

#include <assert.h>
#include <errno.h>
#include <linux/sockios.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/fd.h"
#include "common/http_parse.h"
#include "common/log.h"
#include "common/mem.h"
#include "worker/reply.h"
#include "worker/routes.h"
#include "worker/server.h"

#define PUMP_STEPS 16            /* then others get their turn */
#define FILE_STEP (512u * 1024)  /* bytes of a file per step */
#define HEAD_US 10000000ull      /* a head must be whole by then */
#define STALL_US 60000000ull     /* longest wait for a client that reads or sends slowly */
#define LINGER_US 5000000ull
#define FRESH_US 1000000ull      /* while draining: how long a new connection may bring its first request */

static void pump(struct connection *c);
static void on_readable(evutil_socket_t fd, short what, void *arg);
static void on_writable(evutil_socket_t fd, short what, void *arg);
static void on_timer(evutil_socket_t fd, short what, void *arg);

static void go(struct connection *c, enum connection_state to)
{
	assert(c->state != CONN_DEAD);
	c->state = to;
	c->since_us = clock_now_us();
}

static void request_reset(struct request *r)
{
	*r = (struct request){ .file = -1 };
}

enum err connection_new(struct server *s, int fd)
{
	struct connection *c = mem_alloc_zero(sizeof(*c));

	if (!c) {
		fd_close(&fd);
		return ERR_NOMEM;
	}
	c->server = s;
	c->fd = fd;
	c->since_us = clock_now_us();
	request_reset(&c->req);
	event_assign(&c->read_ev, s->base, fd, EV_READ | EV_PERSIST, on_readable, c);
	event_assign(&c->write_ev, s->base, fd, EV_WRITE | EV_PERSIST, on_writable, c);
	evtimer_assign(&c->timer_ev, s->base, on_timer, c);
	if (event_add(&c->read_ev, NULL) < 0) {
		fd_close(&c->fd);
		mem_free(c);
		return ERR_NOMEM;
	}
	c->reading = true;
	list_push_back(&s->connections, &c->link);
	s->n_connections++;
	return ERR_OK;
}

void connection_close(struct connection *c)
{
	if (c->state == CONN_DEAD)
		return;
	event_del(&c->read_ev);
	event_del(&c->write_ev);
	event_del(&c->timer_ev);
	fd_close(&c->fd);
	fd_close(&c->req.file);
	go(c, CONN_DEAD);
	server_bury(c->server, c);
}

void connection_free(struct connection *c)
{
	server_block_return(c->server, c->in);
	server_block_return(c->server, c->out);
	mem_free(c);
}

bool connection_has_work(const struct connection *c)
{
	return c->state == CONN_HEAD || c->state == CONN_BUSY || c->state == CONN_TUNNEL;
}

/* The other side is gone, or there is no memory for it: nobody to answer. */
static void abandon(struct connection *c, const char *doing)
{
	log_debug("ending a connection: cannot go on %s", doing);
	connection_close(c);
}

/* Reads once.  False when nothing came (the end of the stream sets c->eof) or
 * the connection has died of it. */
static bool read_more(struct connection *c)
{
	if (!c->in && !(c->in = server_block(c->server))) {
		abandon(c, "without memory");
		return false;
	}
	if (c->in_at > 0) {
		memmove(c->in, c->in + c->in_at, c->in_end - c->in_at);
		c->in_end -= c->in_at;
		c->in_at = 0;
	}
	if (c->in_end == BLOCK_BYTES)
		return false;
	ssize_t n = recv(c->fd, c->in + c->in_end, BLOCK_BYTES - c->in_end, 0);

	if (n > 0) {
		c->in_end += (uint32_t)n;
		if (c->state == CONN_BUSY)
			c->since_us = clock_now_us();
		return true;
	}
	if (n == 0)
		c->eof = true;
	else if (errno != EAGAIN && errno != EINTR)
		abandon(c, "reading");
	return false;
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	struct connection *c = arg;

	clock_update();
	read_more(c);
	pump(c);
}

static void on_writable(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	struct connection *c = arg;

	clock_update();
	c->blocked = false;
	pump(c);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	struct connection *c = arg;
	connection_f *wake = c->req.wake;

	clock_update();
	c->req.wake = NULL;
	if (wake)
		wake(c);
	pump(c);
}

void connection_wake_after(struct connection *c, uint32_t ms, connection_f *wake)
{
	struct timeval tv = { .tv_sec = ms / 1000, .tv_usec = (long)(ms % 1000) * 1000 };

	c->req.wake = wake;
	if (event_add(&c->timer_ev, &tv) < 0)
		abandon(c, "without a timer");
}

/* Answers something that is no request; its connection cannot go on after it. */
static void refuse(struct connection *c, uint16_t status, const char *detail)
{
	request_reset(&c->req);
	c->req.minor = 1;
	c->in_at = c->in_end;
	http_body_init(&c->body, HTTP_BODY_NONE, 0, 0);
	if (!c->out && !(c->out = server_block(c->server))) {
		abandon(c, "without memory");
		return;
	}
	go(c, CONN_BUSY);
	reply_error(c, status, detail, (struct slice){ 0 });
	c->req.end = END_CLOSE;
	/* What is wrong with these bytes may be more of them on the way. */
	c->body.ended = false;
}

static void begin_request(struct connection *c, const struct http_head *h)
{
	const char *raw = c->in + c->in_at;
	const char *mark = h->path.n ? memchr(h->path.p, '?', h->path.n) : NULL;
	const struct http_field *accept = http_head_find(h, HTTP_F_ACCEPT);
	struct ask ask = { .head = h, .path = h->path, .raw = { raw, h->head_bytes } };

	if (mark) {
		ask.path.n = (size_t)(mark - h->path.p);
		ask.query = (struct slice){ mark + 1, h->path.n - ask.path.n - 1 };
	}
	request_reset(&c->req);
	c->req.method = h->method_id;
	c->req.minor = h->minor;
	c->req.framing = h->framing;
	c->req.keep_alive = h->keep_alive;
	c->req.expects_continue = h->expect_continue;
	c->req.wants_html = accept && accept_quality(accept->value, SLICE("text/html")) >
		accept_quality(accept->value, SLICE("text/plain"));
	http_body_init(&c->body, h->framing, h->length, 0);
	c->in_at += h->head_bytes;
	c->in_seen = 0;
	c->n_requests++;
	c->server->n_requests++;
	go(c, CONN_BUSY);
	routes_begin(c, &ask);
}

static bool take_head(struct connection *c)
{
	uint32_t n = c->in_end - c->in_at;
	enum http_rule rule = HTTP_RULE_NONE;
	struct http_head *h = &c->server->head;

	if (n == 0) {
		if (c->eof)
			connection_close(c);
		return false;
	}
	if (c->state == CONN_IDLE)
		go(c, CONN_HEAD);
	switch (http_parse_request(h, c->in + c->in_at, n, c->in_seen, &server_limits, &rule)) {
	case HTTP_PARTIAL:
		c->in_seen = n;
		if (c->eof)
			connection_close(c);
		return false;
	case HTTP_REFUSED:
		refuse(c, http_rule_table[rule].status, http_rule_table[rule].text);
		return true;
	case HTTP_WHOLE:
		break;
	}
	if (!c->out && !(c->out = server_block(c->server))) {
		abandon(c, "without memory");
		return false;
	}
	begin_request(c, h);
	return true;
}

void connection_take_body(struct connection *c, connection_data_f *consume, connection_f *body_done)
{
	c->req.consume = consume;
	c->req.body_done = body_done;
	/* RFC 9110 10.1.1: not needed once some of the body is here. */
	if (c->req.expects_continue && c->in_at == c->in_end)
		reply_raw(c, SLICE("HTTP/1.1 100 Continue\r\n\r\n"));
	c->req.expects_continue = false;
}

/* The body is broken, or ends before its end: no later byte can be trusted. */
static void body_failed(struct connection *c, enum http_rule rule)
{
	if (c->req.replied || c->eof)
		connection_close(c);
	else
		refuse(c, http_rule_table[rule].status, http_rule_table[rule].text);
}

static bool take_body(struct connection *c)
{
	bool moved = false;

	while (c->state == CONN_BUSY && !c->body.ended && c->req.end == END_NEXT) {
		uint32_t n = c->in_end - c->in_at;
		size_t used = 0;
		struct slice data = { 0 };
		enum http_rule rule = HTTP_RULE_NONE;

		if (c->req.consume_replies && !c->req.no_body)
			n = MIN(n, reply_room(c));
		enum http_body_step step =
			http_body_read(&c->body, c->in + c->in_at, n, &used, &data, &rule);
		c->in_at += (uint32_t)used;
		moved = moved || used > 0;
		if (step == HTTP_BODY_BAD) {
			body_failed(c, rule);
			return true;
		}
		if (step == HTTP_BODY_DATA && c->req.consume)
			c->req.consume(c, data);
		if (step == HTTP_BODY_MORE)
			break;
	}
	if (c->state == CONN_BUSY && c->body.ended && c->req.body_done) {
		connection_f *done = c->req.body_done;

		c->req.body_done = NULL;
		done(c);
		moved = true;
	}
	return moved;
}

static bool make_more(struct connection *c)
{
	struct request *r = &c->req;

	if (c->state != CONN_BUSY || !r->produce || r->ended || c->out_end > BLOCK_BYTES / 2)
		return false;
	r->produce(c);
	return true;
}

static bool flush_file(struct connection *c)
{
	struct request *r = &c->req;

	if (r->file < 0 || r->file_left == 0 || c->blocked)
		return false;
	ssize_t n = sendfile(c->fd, r->file, &r->file_at, MIN(r->file_left, FILE_STEP));

	if (n > 0) {
		r->file_left -= (uint64_t)n;
		c->since_us = clock_now_us();
		return true;
	}
	if (n < 0 && errno == EAGAIN) {
		c->blocked = true;
		return false;
	}
	/* Shrunk under our hands (n == 0): the promised length cannot be kept, and
	 * only an early end tells the client so. */
	if (n == 0)
		log_warn("a file became shorter while it was being sent");
	else if (errno == EINTR)
		return true;
	abandon(c, "sending a file");
	return false;
}

static bool flush(struct connection *c)
{
	uint32_t n = c->out_end - c->out_at;

	if (c->blocked || c->state == CONN_DEAD)
		return false;
	if (n == 0)
		return flush_file(c);
	ssize_t sent = send(c->fd, c->out + c->out_at, n,
			    MSG_NOSIGNAL | (c->req.file_left > 0 ? MSG_MORE : 0));

	if (sent < 0) {
		if (errno == EAGAIN)
			c->blocked = true;
		else if (errno != EINTR)
			abandon(c, "writing");
		return false;
	}
	c->out_at += (uint32_t)sent;
	if (c->out_at == c->out_end)
		c->out_at = c->out_end = 0;
	c->since_us = clock_now_us();
	return true;
}

static void linger(struct connection *c)
{
	if (shutdown(c->fd, SHUT_WR) < 0 || c->eof) {
		connection_close(c);
		return;
	}
	go(c, CONN_LINGER);
}

/* Waits until the peer's kernel has all bytes: a reset overtakes what is still
 * queued, and a test wants to know how many bytes came. */
static void reset_when_acknowledged(struct connection *c)
{
	int queued = 0;
	struct linger hard = { .l_onoff = 1, .l_linger = 0 };

	if (ioctl(c->fd, SIOCOUTQ, &queued) == 0 && queued > 0) {
		connection_wake_after(c, 2, reset_when_acknowledged);
		return;
	}
	setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
	connection_close(c);
}

/* The reply is out.  True when another request may follow at once. */
static bool end_request(struct connection *c)
{
	struct request *r = &c->req;
	bool whole = c->body.ended;

	fd_close(&r->file);
	if (r->end == END_RESET) {
		if (!r->wake)
			reset_when_acknowledged(c);
		return false;
	}
	if (r->end == END_CUT) {
		connection_close(c);
		return false;
	}
	if (r->end == END_CLOSE || !r->keep_alive) {
		if (whole && c->in_at == c->in_end)
			connection_close(c);
		else
			linger(c);
		return false;
	}
	if (!whole) { /* take_body() drops the rest; it is not much, see reply_begin() */
		if (c->eof)
			connection_close(c);
		return false;
	}
	request_reset(r);
	go(c, CONN_IDLE);
	return true;
}

static bool reply_is_out(const struct connection *c)
{
	return c->req.ended && c->out_at == c->out_end && c->req.file_left == 0;
}

static bool step_busy(struct connection *c)
{
	bool moved = take_body(c);

	moved = make_more(c) || moved;
	moved = flush(c) || moved;
	if (c->state != CONN_BUSY)
		return c->state != CONN_DEAD && moved;
	if (reply_is_out(c))
		return end_request(c) || moved;
	if (c->eof && !moved) {
		/* Half a body will never be whole; and with no reply, no producer and
		 * no timer nothing would ever happen again. */
		bool waits = c->req.produce || c->req.wake || c->out_at < c->out_end ||
			     c->req.file_left > 0;
		if (!c->body.ended || !waits)
			connection_close(c);
	}
	return moved;
}

void connection_tunnel(struct connection *c)
{
	c->req.ended = true;
	go(c, CONN_TUNNEL);
}

static bool carry(struct connection *c)
{
	uint32_t n = MIN(c->in_end - c->in_at, BLOCK_BYTES - c->out_end);

	memcpy(c->out + c->out_end, c->in + c->in_at, n);
	c->in_at += n;
	c->out_end += n;
	bool moved = flush(c) || n > 0;

	if (c->state == CONN_TUNNEL && c->eof && c->in_at == c->in_end && c->out_at == c->out_end)
		connection_close(c);
	return moved && c->state == CONN_TUNNEL;
}

static bool step(struct connection *c)
{
	switch (c->state) {
	case CONN_IDLE:
	case CONN_HEAD:
		return take_head(c);
	case CONN_BUSY:
		return step_busy(c);
	case CONN_TUNNEL:
		return carry(c);
	case CONN_LINGER:
		c->in_at = c->in_end;
		if (c->eof)
			connection_close(c);
		return false;
	default:
		return false;
	}
}

static void want(struct event *ev, bool *is_added, bool wanted)
{
	if (*is_added == wanted)
		return;
	if ((wanted ? event_add(ev, NULL) : event_del(ev)) == 0)
		*is_added = wanted;
}

static void watch(struct connection *c, bool more_to_do)
{
	if (c->state == CONN_IDLE) {
		server_block_return(c->server, c->in);
		server_block_return(c->server, c->out);
		c->in = c->out = NULL;
		c->in_at = c->in_end = c->in_seen = 0;
	}
	bool room = c->in_end - c->in_at < BLOCK_BYTES;

	want(&c->read_ev, &c->reading, !c->eof && room);
	want(&c->write_ev, &c->writing, c->blocked || more_to_do);
}

static void pump(struct connection *c)
{
	bool moved = true;

	for (int i = 0; i < PUMP_STEPS && moved && c->state != CONN_DEAD; i++)
		moved = step(c);
	if (c->state == CONN_DEAD)
		return;
	/* An idle connection that finds the server draining has had its chance. */
	if (c->state == CONN_IDLE && server_draining(c->server) && c->n_requests > 0) {
		connection_drain(c);
		return;
	}
	watch(c, moved);
}

void connection_drain(struct connection *c)
{
	if (c->state != CONN_IDLE)
		return;
	/* A request that is already in our socket was sent in good faith. */
	if (read_more(c)) {
		pump(c);
		return;
	}
	if (c->state != CONN_IDLE)
		return;
	if (c->n_requests > 0 || c->eof)
		connection_close(c);
	else
		watch(c, false);
}

static bool waits_for_client(const struct connection *c)
{
	bool wants_body = c->req.consume || c->req.replied;

	return c->blocked || (wants_body && !c->body.ended && c->in_at == c->in_end);
}

void connection_sweep(struct connection *c, uint64_t now_us)
{
	uint64_t age_us = now_us - c->since_us;
	uint64_t idle_us = c->server->settings->keep_alive_s * 1000000ull;

	switch (c->state) {
	case CONN_IDLE:
		if (server_draining(c->server))
			idle_us = c->n_requests > 0 ? 0 : FRESH_US;
		if (age_us >= idle_us && !read_more(c))
			connection_close(c);
		else if (c->in)
			pump(c);
		break;
	case CONN_HEAD:
		if (age_us >= HEAD_US) {
			refuse(c, 408, "the request did not come in time");
			pump(c);
		}
		break;
	case CONN_BUSY:
		if (age_us >= STALL_US && waits_for_client(c))
			connection_close(c);
		break;
	case CONN_LINGER:
		if (age_us >= LINGER_US)
			connection_close(c);
		break;
	default:
		break;
	}
}
