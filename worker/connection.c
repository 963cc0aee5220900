/* One client connection of drover-worker:
 *
 *   on_readable, on_writable, on_timer   something happened
 *   read_more         from the socket into `in`
 *   connection_flush  from `out`, then the file, to the socket
 *   linger, reset     ends that take a while
 *   carry             TUNNEL: what came in goes out
 *   pump              takes steps until nothing moves
 *   watch             which events to wait for now
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
#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/fd.h"
#include "common/log.h"
#include "common/mem.h"
#include "worker/server.h"

#define PUMP_STEPS 16            /* then others get their turn */
#define FILE_STEP (512u * 1024)  /* bytes of a file per step */
#define HEAD_US 10000000ull      /* a head must be whole by then */
#define STALL_US 60000000ull     /* longest wait for a client that reads or sends slowly */
#define LINGER_US 5000000ull
#define FRESH_US 1000000ull      /* while draining: time for a new connection's first request */

static void pump(struct connection *c);
static void on_readable(evutil_socket_t fd, short what, void *arg);
static void on_writable(evutil_socket_t fd, short what, void *arg);
static void on_timer(evutil_socket_t fd, short what, void *arg);

void connection_go(struct connection *c, enum connection_state to)
{
	assert(c->state != CONN_DEAD);
	c->state = to;
	c->since_us = clock_now_us();
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
	connection_go(c, CONN_DEAD);
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

void connection_abandon(struct connection *c, const char *how)
{
	log_debug("ending a connection: cannot go on %s", how);
	connection_close(c);
}

bool connection_has_out(struct connection *c)
{
	if (!c->out)
		c->out = server_block(c->server);
	if (!c->out)
		connection_abandon(c, "without memory");
	return c->out != NULL;
}

/* Reads once.  False when nothing came (the end of the stream sets c->eof) or
 * the connection has died of it. */
static bool read_more(struct connection *c)
{
	if (!c->in && !(c->in = server_block(c->server))) {
		connection_abandon(c, "without memory");
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
		connection_abandon(c, "reading");
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
		connection_abandon(c, "without a timer");
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
	connection_abandon(c, "sending a file");
	return false;
}

bool connection_flush(struct connection *c)
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
			connection_abandon(c, "writing");
		return false;
	}
	c->out_at += (uint32_t)sent;
	if (c->out_at == c->out_end)
		c->out_at = c->out_end = 0;
	c->since_us = clock_now_us();
	return true;
}

void connection_linger(struct connection *c)
{
	if (shutdown(c->fd, SHUT_WR) < 0 || c->eof) {
		connection_close(c);
		return;
	}
	connection_go(c, CONN_LINGER);
}

void connection_reset(struct connection *c)
{
	int queued = 0;
	struct linger hard = { .l_onoff = 1, .l_linger = 0 };
	struct pollfd ended = { .fd = c->fd }; /* POLLERR, POLLHUP: nobody will acknowledge */
	bool patient = clock_now_us() - c->since_us < LINGER_US && poll(&ended, 1, 0) == 0;

	/* A reset overtakes what is still queued. */
	if (patient && ioctl(c->fd, SIOCOUTQ, &queued) == 0 && queued > 0) {
		connection_wake_after(c, 2, connection_reset);
		return;
	}
	setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
	connection_close(c);
}

void connection_tunnel(struct connection *c)
{
	c->req.ended = true;
	connection_go(c, CONN_TUNNEL);
}

static bool carry(struct connection *c)
{
	uint32_t n = MIN(c->in_end - c->in_at, BLOCK_BYTES - c->out_end);

	memcpy(c->out + c->out_end, c->in + c->in_at, n);
	c->in_at += n;
	c->out_end += n;
	bool moved = connection_flush(c) || n > 0;

	if (c->state == CONN_TUNNEL && c->eof && c->in_at == c->in_end && c->out_at == c->out_end)
		connection_close(c);
	return moved && c->state == CONN_TUNNEL;
}

static bool step(struct connection *c)
{
	switch (c->state) {
	case CONN_IDLE:
	case CONN_HEAD:
		return request_take_head(c);
	case CONN_BUSY:
		return request_step(c);
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

void connection_sweep(struct connection *c, uint64_t now_us)
{
	uint64_t age_us = now_us - c->since_us;
	uint64_t idle_us = c->server->settings->keep_alive_s * 1000000ull;

	if (c->n_requests == 0)
		idle_us = MAX(idle_us, HEAD_US);
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
			request_refuse(c, 408, "the request did not come in time");
			pump(c);
		}
		break;
	case CONN_BUSY:
		if (age_us >= STALL_US && request_waits_for_client(c))
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
