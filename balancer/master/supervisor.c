/* Speaking to the service manager; in the master, at the end of each turn.
 *
 *   NOTHING ── ready ──► READY ◄── settled ── RELOADING
 *                          └────── SIGHUP ───────┘           any ── TERM ──► STOPPING
 *
 * READY=1, which ends "systemctl start", is said when the balancers serve and every
 * app has a worker that is ready.  An app whose workers keep failing is not waited for
 * once another is ready: one broken app must not take the others down after a reboot.
 * When none is ready nothing is said, and the start fails at TimeoutStartSec=.
 *
 * READY=1 after RELOADING=1 is said when everything that the SIGHUP set off has
 * ended: refused, given up, or carried out until the last old worker has given its last
 * answer and is asked to stop.
 *
 * A change of state brings its STATUS= along; else that is looked at once a second,
 * and told if it has changed.
 *
 * The protocol is a datagram of lines.  libsystemd is not used for it on purpose: it
 * would bring its compression and cryptography into the process that has root, and into
 * every container, to send these; and its sd_notify() may wait, which this process
 * does not.  sd_notify(3) promises that the protocol stays as it is.
 */
#include "balancer/master/supervisor.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "balancer/master/app.h"
#include "balancer/master/core.h"
#include "balancer/master/generation.h"
#include "balancer/master/worker_proc.h"
#include "common/fd.h"
#include "common/log.h"
#include "common/slice.h"

#define TICK_MS 1000
/* How long the next sign of progress may take, while stopping and reloading: both
 * have their own limits, in the configuration.  A master that hangs is not waited for. */
#define EXTEND "EXTEND_TIMEOUT_USEC=15000000\n"

/* ---- what there is to tell ---------------------------------------------- */

struct summary {
	uint32_t up, wanted;      /* workers and servers */
	bool settled;             /* no app is on its way to another release */
	bool answered;            /* every app has a ready worker, or has failed to */
	char failing[128];        /* names of apps without a ready worker that keep failing */
};

static uint32_t count_up(const struct app *a)
{
	uint32_t n = 0;

	list_each(it, &a->workers)
		n += list_entry(it, struct worker, link)->phase == WS_UP;
	return n;
}

static bool is_failing(const struct app *a)
{
	for (uint32_t i = 0; i < a->wanted && i < a->n_instances; i++)
		if (a->instances[i].failing)
			return true;
	return false;
}

/* Of another release, and not done with its requests; tunnels are not waited for. */
static bool has_old(const struct app *a)
{
	list_each(it, &a->workers) {
		const struct worker *w = list_entry(it, struct worker, link);
		if (w->release && w->release != a->target && w->phase <= WS_DRAINING &&
		    !(w->phase == WS_DRAINING && w->lingers))
			return true;
	}
	return false;
}

static void add_app(struct summary *s, const struct app *a)
{
	uint32_t up = count_up(a);
	bool failing = is_failing(a);
	size_t n = strlen(s->failing);

	s->up += up;
	s->wanted += a->target->conf->command ? a->wanted : (uint32_t)a->target->conf->n_servers;
	s->settled &= !a->target->conf->command || failing || (a->target->announced && !has_old(a));
	s->answered &= up > 0 || failing;
	if (failing && n < sizeof(s->failing))
		snprintf(s->failing + n, sizeof(s->failing) - n, "%s%s", n ? ", " : "; failing: ",
			 a->name);
}

static struct summary sum_up(const struct master *m)
{
	struct summary s = { .settled = true, .answered = true };

	list_each(it, &m->apps) {
		const struct app *a = list_entry(it, struct app, link);
		if (a->target && a->in_config)
			add_app(&s, a);
	}
	return s;
}

static bool is_reloading(const struct master *m)
{
	return m->booting || m->loading || m->reload_wanted;
}

static void put_status(const struct master *m, char *out, size_t size)
{
	static const char *const prefix[] = {
		[SAID_NOTHING] = "Starting: ", [SAID_READY] = "",
		[SAID_RELOADING] = "Reloading: ", [SAID_STOPPING] = "Stopping: ",
	};
	struct summary s = sum_up(m);
	/* A start may fail before there is a tally. */
	unsigned long long open = m->tally ? tally_total(m->tally, COUNTER_connections_open) : 0;

	snprintf(out, size, "%s%u of %u workers up, %llu connections, generation %u%s",
		 prefix[m->supervisor.said], s.up, s.wanted, open,
		 m->serving ? m->serving->number : 0, s.failing);
}

/* ---- telling ------------------------------------------------------------ */

/* One datagram, `fd` (-1: none) along with it.  False: not delivered; whatever it was about
 * is told again later. */
static bool tell_with(struct supervisor *s, const char *text, int fd)
{
	_Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(int))] = { 0 };
	struct iovec iov = { (void *)(uintptr_t)text, strlen(text) };
	struct msghdr msg = { .msg_name = &s->to, .msg_namelen = s->to_len, .msg_iov = &iov,
			      .msg_iovlen = 1 };

	if (fd >= 0) {
		msg.msg_control = control;
		msg.msg_controllen = sizeof(control);
		struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(c), &fd, sizeof(int));
	}
	ssize_t n = sendmsg(s->fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);

	if (n < 0 && errno != EAGAIN && errno != ENOBUFS && !s->complained) {
		s->complained = true;
		log_warn("the service manager (NOTIFY_SOCKET) cannot be told anything: %s",
			 strerror(errno));
	}
	return n >= 0;
}

static bool tell(struct supervisor *s, const char *text)
{
	return tell_with(s, text, -1);
}

void supervisor_tell(struct master *m, const char *text, int fd)
{
	if (m->supervisor.fd >= 0)
		(void)!tell_with(&m->supervisor, text, fd);
}

static void tell_status(struct master *m, const char *lines)
{
	struct supervisor *s = &m->supervisor;
	char status[sizeof(s->status)], text[sizeof(status) + 128];

	put_status(m, status, sizeof(status));
	bool news = strcmp(status, s->status) != 0;
	if (!news && !lines[0])
		return;
	snprintf(text, sizeof(text), "%s%s%s", lines, news ? "STATUS=" : "", news ? status : "");
	if (tell(s, text))
		memcpy(s->status, status, sizeof(status));
}

/* The state before is kept when the message did not go out. */
static void say(struct master *m, enum supervisor_word word, const char *lines)
{
	struct supervisor *s = &m->supervisor;
	enum supervisor_word before = s->said;
	char status[sizeof(s->status)], text[sizeof(status) + 128];

	s->said = word;
	put_status(m, status, sizeof(status));
	snprintf(text, sizeof(text), "%sSTATUS=%s", lines, status);
	if (tell(s, text))
		memcpy(s->status, status, sizeof(status));
	else
		s->said = before;
}

static void say_reloading(struct master *m)
{
	struct supervisor *s = &m->supervisor;
	char lines[128];

	snprintf(lines, sizeof(lines), "RELOADING=1\nMONOTONIC_USEC=%llu\n" EXTEND,
		 (unsigned long long)s->reload_us);
	say(m, SAID_RELOADING, lines);
	if (s->said == SAID_RELOADING)
		s->reload_us = 0;
}

void supervisor_on_reload(struct master *m)
{
	struct supervisor *s = &m->supervisor;

	/* One during the start is part of it. */
	if (s->fd >= 0 && s->said != SAID_NOTHING && !shutdown_begun(&m->stop))
		s->reload_us = master_now_us();
}

void supervisor_turn(struct master *m)
{
	struct supervisor *s = &m->supervisor;

	if (s->fd < 0 || s->said == SAID_STOPPING)
		return;
	if (shutdown_begun(&m->stop)) {
		say(m, SAID_STOPPING, "STOPPING=1\n" EXTEND);
		return;
	}
	if (s->reload_us)
		say_reloading(m);
	if (s->said == SAID_READY || s->reload_us || is_reloading(m))
		return;
	struct summary sum = sum_up(m);
	if (s->said == SAID_NOTHING ? sum.answered && sum.up > 0 : sum.settled)
		say(m, SAID_READY, "READY=1\n");
}

static void on_tick(evutil_socket_t fd, short what, void *arg)
{
	struct master *m = arg;
	enum supervisor_word said = m->supervisor.said;

	(void)fd;
	(void)what;
	tell_status(m, said == SAID_RELOADING || said == SAID_STOPPING ? EXTEND : "");
	master_timer(&m->supervisor.ev_tick, TICK_MS);
}

/* From the loop, so that a master whose loop stands still is restarted. */
static void on_watchdog(evutil_socket_t fd, short what, void *arg)
{
	struct master *m = arg;

	(void)fd;
	(void)what;
	(void)tell(&m->supervisor, "WATCHDOG=1\n");
	master_timer(&m->supervisor.ev_watchdog, m->supervisor.watchdog_ms);
}

/* ---- start and end ------------------------------------------------------ */

/* A path, or with an @ in front a name without a file. */
static bool read_address(struct supervisor *s, const char *text)
{
	size_t n = strlen(text);

	if ((text[0] != '/' && text[0] != '@') || n < 2 || n >= sizeof(s->to.sun_path)) {
		log_warn("NOTIFY_SOCKET=%s is neither a path nor @name of a Unix socket: ignored",
			 text);
		return false;
	}
	s->to.sun_family = AF_UNIX;
	memcpy(s->to.sun_path, text, n + 1);
	if (text[0] == '@')
		s->to.sun_path[0] = '\0';
	s->to_len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n + (text[0] == '/'));
	return true;
}

/* Microseconds between two signs of life that are wanted of this process; 0: none. */
static uint64_t read_watchdog(void)
{
	const char *us = getenv("WATCHDOG_USEC"), *pid = getenv("WATCHDOG_PID");
	uint64_t value, whose;

	if (!us || (pid && (slice_to_u64(slice_of(pid), INT32_MAX, &whose) ||
			    (pid_t)whose != getpid())))
		return 0;
	if (slice_to_u64(slice_of(us), UINT64_MAX / 2, &value)) {
		log_warn("WATCHDOG_USEC=%s is not a number: no signs of life are sent", us);
		return 0;
	}
	return value;
}

void supervisor_resume(struct master *m)
{
	struct supervisor *s = &m->supervisor;

	master_event(m, &s->ev_tick, -1, EV_TIMEOUT, on_tick, m);
	master_event(m, &s->ev_watchdog, -1, EV_TIMEOUT, on_watchdog, m);
	if (s->watchdog_ms)
		master_timer(&s->ev_watchdog, s->watchdog_ms);
	if (s->fd >= 0)
		master_timer(&s->ev_tick, TICK_MS);
}

void supervisor_start(struct master *m)
{
	struct supervisor *s = &m->supervisor;
	const char *address = getenv("NOTIFY_SOCKET");

	if (address && read_address(s, address)) {
		s->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
		if (s->fd < 0)
			log_warn("the service manager (NOTIFY_SOCKET) cannot be told anything: %s",
				 strerror(errno));
	}
	uint64_t watchdog_us = s->fd >= 0 ? read_watchdog() : 0;
	if (watchdog_us)
		s->watchdog_ms = MAX(watchdog_us / 2000, (uint64_t)1);
	supervisor_resume(m);
	unsetenv("NOTIFY_SOCKET");
	unsetenv("WATCHDOG_USEC");
	unsetenv("WATCHDOG_PID");
}

void supervisor_fini(struct supervisor *s)
{
	event_del(&s->ev_tick);
	event_del(&s->ev_watchdog);
	fd_close(&s->fd);
}
