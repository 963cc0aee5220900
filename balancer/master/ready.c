/* Proofs of readiness; in the master, called by worker_proc.c.
 *
 *   port     it accepts a connection.  The master sends and reads no byte.
 *   notify   it says so: nothing to do here but to wait for ready_notified().
 */
#include "balancer/master/ready.h"

#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>

#include "common/base.h"
#include "common/fd.h"

#define FIRST_WAIT_MS 10
#define LONGEST_WAIT_MS 50
#define CONNECT_MS 1000

static void try_again_later(struct ready *r)
{
	struct timeval tv = { .tv_usec = r->wait_ms * 1000 };

	r->wait_ms = MIN(r->wait_ms + 5, LONGEST_WAIT_MS);
	event_add(&r->timer, &tv);
}

static void succeed(struct ready *r)
{
	fd_close(&r->fd);
	r->active = false;
	r->on_ready(r->arg);
}

static void on_connected(evutil_socket_t fd, short what, void *arg)
{
	struct ready *r = arg;
	int error = 0;

	if ((what & EV_TIMEOUT) ||
	    getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &(socklen_t){ sizeof(error) }) != 0 ||
	    error != 0) {
		fd_close(&r->fd);
		try_again_later(r);
		return;
	}
	succeed(r);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct ready *r = arg;
	bool done;

	(void)fd;
	(void)what;
	if (fd_connect(&r->address, &r->fd, &done)) {
		/* A Unix socket with a full backlog accepts all the same. */
		if (addr_is_unix(&r->address) && errno == EAGAIN) {
			r->active = false;
			r->on_ready(r->arg);
			return;
		}
		try_again_later(r);
	} else if (done) {
		succeed(r);
	} else {
		struct timeval tv = { .tv_usec = 0, .tv_sec = CONNECT_MS / 1000 };
		event_assign(&r->connecting, r->base, r->fd, EV_WRITE, on_connected, r);
		event_priority_set(&r->connecting, 0);
		event_add(&r->connecting, &tv);
	}
}

void ready_start(struct ready *r, struct event_base *base, const struct addr *address,
		 const struct cfg_app *conf, ready_f *on_ready, void *arg)
{
	*r = (struct ready){ .active = true, .base = base, .address = *address, .conf = conf,
			     .fd = -1, .wait_ms = FIRST_WAIT_MS, .on_ready = on_ready, .arg = arg };
	event_assign(&r->timer, base, -1, EV_TIMEOUT, on_timer, r);
	event_priority_set(&r->timer, 0);
	if (conf->ready_type != READY_NOTIFY)
		try_again_later(r);
}

void ready_notified(struct ready *r)
{
	if (r->active && r->conf->ready_type == READY_NOTIFY)
		succeed(r);
}

const char *ready_lack(const struct ready *r, char buf[static READY_LACK_MAX])
{
	char text[ADDR_TEXT_MAX];

	if (r->conf->ready_type == READY_NOTIFY)
		snprintf(buf, READY_LACK_MAX, "no READY=1 has come over $NOTIFY_SOCKET");
	else
		snprintf(buf, READY_LACK_MAX, "nothing accepts on %s (does the command listen on "
			 "$PORT?)", addr_format(&r->address, text));
	return buf;
}

void ready_stop(struct ready *r)
{
	if (!r->active)
		return;
	r->active = false;
	event_del(&r->timer);
	if (r->fd >= 0)
		event_del(&r->connecting);
	fd_close(&r->fd);
}
