/* Health probes; in the master, called by worker_proc.c.
 *
 * A child of the master asks (probe.c), for as long as the worker lives, and reports four
 * bytes per probe.  One per worker that has probes: such a child waits nearly always and
 * shares its memory with us, and one that is killed or fooled by what its worker answers
 * concerns that worker alone.  Here is only counted. */
#include "balancer/master/health.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#include "balancer/master/rundir.h"
#include "common/base.h"

#define FIRST_PAUSE_MS 250
#define AGAIN_MS 500 /* until another child takes the place of one that has ended */

enum health_news health_note(struct health_row *row, bool good, uint32_t fall, uint32_t rise)
{
	row->good = good ? row->good + (row->good < UINT32_MAX) : 0;
	row->bad = good ? 0 : row->bad + (row->bad < UINT32_MAX);
	if (!row->passed) {
		row->passed = row->good >= rise;
		return row->passed ? HEALTH_PASSED : HEALTH_SAME;
	}
	if (!row->sick && row->bad >= fall) {
		row->sick = true;
		return HEALTH_FELL;
	}
	if (row->sick && row->good >= rise) {
		row->sick = false;
		return HEALTH_ROSE;
	}
	return HEALTH_SAME;
}

static void end_child(struct health *h)
{
	if (h->fd < 0)
		return;
	event_del(&h->ev);
	probe_end(&h->pidfd, &h->fd);
}

static void again_later(struct health *h)
{
	end_child(h);
	event_add(&h->ev_again, &(struct timeval){ .tv_usec = AGAIN_MS * 1000 });
}

/* The child read what came from a network: its word is not taken on trust either. */
static void on_report(evutil_socket_t fd, short what, void *arg)
{
	struct health *h = arg;
	struct probe_report report;

	(void)what;
	ssize_t n = read(fd, &report, sizeof(report));
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n != sizeof(report) || report.verdict >= PROBE_MAX) {
		again_later(h); /* it has ended, or makes no sense */
		return;
	}
	h->report = report;
	h->probed = true;
	enum health_news news = health_note(&h->row, report.verdict == PROBE_READY,
					    h->conf->health_fall, h->conf->health_rise);
	if (news != HEALTH_SAME)
		h->on_news(h->arg, news);
}

static void start_child(struct health *h)
{
	const struct cfg_app *conf = h->conf;
	uint64_t first_ms = MIN(conf->health_interval_ms, (uint64_t)FIRST_PAUSE_MS);
	const struct probe_plan plan = {
		.path = conf->health_path,
		.timeout_ms = conf->health_timeout_ms,
		.first_pause_ms = h->row.passed ? conf->health_interval_ms : first_ms,
		.pause_ms = conf->health_interval_ms,
		.rise = conf->health_rise,
	};

	/* The socket of a worker that is not UP yet has not been opened to others. */
	if (!h->row.passed && addr_is_unix(&h->address) &&
	    rundir_open_socket(h->address.un.sun_path)) {
		again_later(h);
		return;
	}
	if (probe_start(&h->address, &plan, h->prober, &h->pidfd, &h->fd)) {
		again_later(h);
		return;
	}
	event_assign(&h->ev, h->base, h->fd, EV_READ | EV_PERSIST, on_report, h);
	event_priority_set(&h->ev, 0);
	event_add(&h->ev, NULL);
}

static void on_again(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	start_child(arg);
}

void health_start(struct health *h, struct event_base *base, const struct addr *address,
		  const struct cfg_app *conf, const struct sandbox *prober, bool fresh,
		  health_f *on_news, void *arg)
{
	*h = (struct health){ .active = true,
			      .base = base,
			      .address = *address,
			      .conf = conf,
			      .prober = prober,
			      .row = { .passed = !fresh },
			      .pidfd = -1,
			      .fd = -1,
			      .on_news = on_news,
			      .arg = arg };
	event_assign(&h->ev_again, base, -1, EV_TIMEOUT, on_again, h);
	event_priority_set(&h->ev_again, 0);
	start_child(h);
}

void health_stop(struct health *h)
{
	if (!h->active)
		return;
	h->active = false;
	event_del(&h->ev_again);
	end_child(h);
}

const char *health_text(const struct health *h, char buf[static HEALTH_TEXT_MAX])
{
	char probe[HEALTH_TEXT_MAX - 64];
	const struct probe_report none = { .verdict = PROBE_SILENT };

	probe_text(&h->address, h->conf->health_path, h->probed ? &h->report : &none, probe,
		   sizeof(probe));
	if (h->row.passed)
		snprintf(buf, HEALTH_TEXT_MAX, "%s", probe);
	else
		snprintf(buf, HEALTH_TEXT_MAX, "%s (%u of %u good in a row)", probe, h->row.good,
			 h->conf->health_rise);
	return buf;
}
