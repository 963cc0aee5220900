/* Proofs of readiness; in the master, called by worker_proc.c.
 *
 *   port     it accepts a connection.  The master sends and reads no byte.
 *   http     the same first, then a child of the master asks (probe.c).
 *   notify   it says so: nothing to do here but to wait for ready_notified().
 *
 * A port that accepts proves something only when the worker, or a child of it, listens there.
 */
#include "balancer/master/ready.h"

#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "balancer/master/owner.h"
#include "balancer/master/rundir.h"
#include "common/base.h"
#include "common/clock.h"
#include "common/fd.h"
#include "common/log.h"

#define FIRST_WAIT_MS 10
#define LONGEST_WAIT_MS 50
#define CONNECT_MS 1000
#define STRANGER_US 3000000
#define TRY_MS 5000 /* of an HTTP probe */
#define PAUSE_MS 100

static void try_again_later(struct ready *r)
{
	struct timeval tv = { .tv_usec = r->wait_ms * 1000 };

	r->wait_ms = MIN(r->wait_ms + 5, LONGEST_WAIT_MS);
	event_add(&r->timer, &tv);
}

static void close_fd(struct ready *r)
{
	if (r->pidfd >= 0)
		probe_end(&r->pidfd, &r->fd);
	fd_close(&r->fd);
}

static void succeed(struct ready *r)
{
	close_fd(r);
	r->active = false;
	r->on_ready(r->arg);
}

/* The child read what came from a network: its word is not taken on trust either. */
static void on_report(evutil_socket_t fd, short what, void *arg)
{
	struct ready *r = arg;
	struct probe_report report;

	(void)what;
	ssize_t n = read(fd, &report, sizeof(report));
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n == sizeof(report) && report.verdict < PROBE_MAX) {
		r->report = report;
		r->probed = true;
		if (report.verdict != PROBE_READY)
			return;
		event_del(&r->connecting);
		succeed(r);
		return;
	}
	/* It has ended, or makes no sense. */
	event_del(&r->connecting);
	close_fd(r);
	try_again_later(r);
}

/* Another process has the port: the worker will find that out, and end.  One that has not
 * after a while has somebody listen for it on purpose (docker run): so it is believed. */
static bool is_strangers(struct ready *r)
{
	char text[ADDR_TEXT_MAX];
	uint64_t now = clock_now_us();

	if (owner_of_listener(&r->address, r->worker) != OWNER_OTHER) {
		r->stranger_us = 0;
		return false;
	}
	if (!r->stranger_us)
		r->stranger_us = now;
	if (now - r->stranger_us < STRANGER_US)
		return true;
	log_warn("app %s: the process that listens on %s is none of the worker's (pid %d), which "
		 "goes on all the same: taking it for the worker", r->conf->name,
		 addr_format(&r->address, text), (int)r->worker);
	return false;
}

/* It accepts connections: for `port` that is all. */
static void accepted(struct ready *r)
{
	close_fd(r);
	if (!addr_is_unix(&r->address) && is_strangers(r)) {
		try_again_later(r);
		return;
	}
	if (r->conf->ready_type == READY_PORT) {
		succeed(r);
		return;
	}
	const struct probe_plan plan = { .path = r->conf->ready_path, .timeout_ms = TRY_MS,
					 .first_pause_ms = PAUSE_MS, .rise = 1 };
	if ((addr_is_unix(&r->address) && rundir_open_socket(r->address.un.sun_path)) ||
	    probe_start(&r->address, &plan, r->prober, &r->pidfd, &r->fd)) {
		try_again_later(r);
		return;
	}
	event_assign(&r->connecting, r->base, r->fd, EV_READ | EV_PERSIST, on_report, r);
	event_add(&r->connecting, NULL);
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
	accepted(r);
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
			accepted(r);
			return;
		}
		try_again_later(r);
	} else if (done) {
		accepted(r);
	} else {
		struct timeval tv = { .tv_usec = 0, .tv_sec = CONNECT_MS / 1000 };
		event_assign(&r->connecting, r->base, r->fd, EV_WRITE, on_connected, r);
		event_priority_set(&r->connecting, 0);
		event_add(&r->connecting, &tv);
	}
}

void ready_start(struct ready *r, struct event_base *base, const struct addr *address,
		 pid_t worker, const struct cfg_app *conf, const struct sandbox *prober,
		 ready_f *on_ready, void *arg)
{
	*r = (struct ready){ .active = true, .base = base, .address = *address, .worker = worker,
			     .conf = conf, .prober = prober, .pidfd = -1, .fd = -1, .wait_ms = FIRST_WAIT_MS,
			     .on_ready = on_ready, .arg = arg };
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

static void probe_lack(const struct ready *r, char buf[static READY_LACK_MAX])
{
	const struct probe_report none = { .verdict = PROBE_SILENT };

	probe_text(&r->address, r->conf->ready_path, r->probed ? &r->report : &none, buf,
		   READY_LACK_MAX);
}

const char *ready_lack(const struct ready *r, char buf[static READY_LACK_MAX])
{
	char text[ADDR_TEXT_MAX];

	if (r->conf->ready_type == READY_NOTIFY)
		snprintf(buf, READY_LACK_MAX, "no READY=1 has come over $NOTIFY_SOCKET");
	else if (r->stranger_us)
		snprintf(buf, READY_LACK_MAX, "%s was taken by a process that is none of the worker's",
			 addr_format(&r->address, text));
	else if (r->probed || r->pidfd >= 0)
		probe_lack(r, buf);
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
	close_fd(r);
}
