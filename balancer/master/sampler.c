/* Sampling; in the master.  Each worker is looked at once a second, an eighth of them at a
 * time: the most that a turn of the loop reads is 512 / 8 workers' few lines of /proc.
 *
 *   every 125 ms:  those whose turn it is, if UP
 *      silence   3 requests in a row without a reply in time    -> WE_HANGS
 *      recycle   past its memory, requests or age               -> app_recycle()
 */
#include "balancer/master/sampler.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "balancer/master/app.h"
#include "balancer/master/core.h"
#include "balancer/master/sample.h"
#include "balancer/master/worker_proc.h"
#include "common/log.h"

#define TICK_MS 125
#define TICKS 8 /* until the same worker's turn comes again */

static void look_at_cpu(struct worker *w, uint64_t now, const struct sample_stat *s)
{
	struct vitals *v = &w->vitals;
	uint64_t ticks = s->cpu_ticks - MIN(s->cpu_ticks, v->cpu_ticks);
	uint64_t hz = (uint64_t)sysconf(_SC_CLK_TCK);

	if (v->cpu_us && now > v->cpu_us)
		v->cpu_percent = (uint32_t)(ticks * 100 * 1000000 / hz / (now - v->cpu_us));
	v->cpu_ticks = s->cpu_ticks;
	v->cpu_us = now;
}

static uint64_t requests_of(const struct worker *w)
{
	return tally_requests(w->app->m->tally, w->slot) - w->requests_before;
}

static void recycle(struct worker *w, const char *key, uint64_t age_ms)
{
	const struct vitals *v = &w->vitals;
	char text[96];

	if (key[0] == 'm')
		snprintf(text, sizeof(text), "%" PRIu64 " MiB resident", v->memory_bytes >> 20);
	else if (key[0] == 'r')
		snprintf(text, sizeof(text), "%" PRIu64 " requests", requests_of(w));
	else
		snprintf(text, sizeof(text), "%.1f s old", (double)age_ms / 1e3);
	app_recycle(w->app, w, key, text);
}

static void look_at(struct worker *w)
{
	struct master *m = w->app->m;
	struct vitals *v = &w->vitals;
	uint64_t now = master_now_us(), age_ms = (now - w->started_us) / 1000;
	struct sample_stat s;
	char why[96];

	if (sample_stat(w->pid, &s))
		look_at_cpu(w, now, &s);
	if (vitals_hangs(&v->silence, tally_replies(m->tally, w->slot),
			 tally_timeouts(m->tally, w->slot))) {
		snprintf(why, sizeof(why), "no reply to any of its last requests within %.1f s",
			 (double)w->release->config->cfg->timeout_response_ms / 1e3);
		worker_hangs(w, why);
		return;
	}
	v->memory_bytes = v->limits.memory_bytes ? sample_memory(w->pid) : 0;
	const char *due = vitals_due(&v->limits, v->memory_bytes, requests_of(w), age_ms);
	if (due && !w->retiring)
		recycle(w, due, age_ms);
}

static void on_tick(evutil_socket_t fd, short what, void *arg)
{
	struct master *m = arg;
	uint32_t turn = m->sampler.tick++ % TICKS;

	(void)fd;
	(void)what;
	list_each (it, &m->apps)
		list_each_safe (at, &list_entry(it, struct app, link)->workers) {
			struct worker *w = list_entry(at, struct worker, link);
			if (w->pid && w->phase == WS_UP && w->slot % TICKS == turn)
				look_at(w);
		}
	master_timer(&m->sampler.ev, TICK_MS);
}

void sampler_start(struct master *m)
{
	master_event(m, &m->sampler.ev, -1, EV_TIMEOUT, on_tick, m);
	master_timer(&m->sampler.ev, TICK_MS);
}

void sampler_stop(struct sampler *s)
{
	event_del(&s->ev);
}

void sampler_begin(struct worker *w)
{
	w->vitals = (struct vitals){ .limits = vitals_limits(w->release->conf, (uint32_t)random()) };
}

const char *sampler_diagnose(struct worker *w, char buf[static SAMPLER_TEXT_MAX])
{
	uint32_t busy = tally_in_flight(w->app->m->tally, w->slot);
	char wchan[SAMPLE_WCHAN_MAX];
	struct sample_stat s;

	if (!sample_stat(w->pid, &s)) {
		snprintf(buf, SAMPLER_TEXT_MAX, "%u requests in flight", busy);
		return buf;
	}
	/* A moment after the last look says nothing: then what that one said is told. */
	if (master_now_us() - w->vitals.cpu_us > 300000)
		look_at_cpu(w, master_now_us(), &s);
	sample_wchan(w->pid, wchan);
	snprintf(buf, SAMPLER_TEXT_MAX,
		 "%u request%s in flight, state %c (%s), CPU %u %% of a core%s%s", busy,
		 busy == 1 ? "" : "s", s.state, sample_state_text(s.state), w->vitals.cpu_percent,
		 wchan[0] ? ", waits in " : "", wchan);
	return buf;
}
