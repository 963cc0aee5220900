/* What the master hears of a worker: its end, its notifications, its proofs of readiness and
 * health, its timers; each becomes an event of worker_proc.c's table.  In the master.
 */
#include "balancer/master/worker_proc.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "balancer/master/app.h"
#include "balancer/master/core.h"
#include "common/fd.h"
#include "common/log.h"

void worker_wait_for_sign(struct worker *w)
{
	event_del(&w->ev_watchdog);
	if (w->watchdog_us && w->phase <= WS_UP)
		event_add(&w->ev_watchdog,
			  &(struct timeval){ .tv_sec = (time_t)(w->watchdog_us / 1000000),
					     .tv_usec = (suseconds_t)(w->watchdog_us % 1000000) });
}

void worker_stop_watching(struct worker *w)
{
	ready_stop(&w->ready);
	health_stop(&w->health);
	event_del(&w->ev_watchdog);
}

/* ---- from the loop ------------------------------------------------------ */

static void on_ended(evutil_socket_t fd, short what, void *arg)
{
	struct worker *w = arg;
	siginfo_t si = { .si_pid = 0 };

	(void)fd;
	notify_drain(&w->notify); /* before it is reaped: its last words know their group */
	if (!master_reap(w->app->m, &w->ev_ended, what, w->pid, w->pidfd, &si))
		return;
	event_del(&w->ev_ended);
	fd_close(&w->pidfd);
	proc_exit_text(si.si_code, si.si_status, w->exit_text);
	w->was_clean = si.si_code == CLD_EXITED && si.si_status == 0;
	w->was_told = si.si_code == CLD_KILLED &&
		      (si.si_status == SIGKILL || si.si_status == SIGTERM || si.si_status == SIGINT);
	output_drain(&w->output);
	worker_event(w, WE_EXIT);
	master_reap_strangers(w->app->m);
}

void worker_lost(struct worker *w)
{
	if (w->phase >= WS_LEAVING)
		return;
	snprintf(w->exit_text, sizeof(w->exit_text), "while there was no master");
	w->was_told = true; /* nobody knows why: it speaks against no release */
	output_drain(&w->output);
	worker_event(w, WE_EXIT);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	worker_event(arg, WE_TIMER);
}

static void on_health(void *arg, enum health_news news)
{
	struct worker *w = arg;
	char text[HEALTH_TEXT_MAX], why[HEALTH_TEXT_MAX + 64], next[APP_NEXT_MAX] = "";

	if (news == HEALTH_PASSED) {
		worker_event(w, WE_READY);
		return;
	}
	if (news == HEALTH_FELL) {
		snprintf(why, sizeof(why), " failed %u health probes in a row: %s",
			 w->health.row.bad, health_text(&w->health, text));
		app_on_sick(w->app, w, why, next);
		log_warn("%s%s%s", w->name, why, next);
	} else {
		log_notice("%s has passed %u health probes in a row: it gets requests again",
			   w->name, w->health.row.good);
	}
	app_mark(w->app);
}

static void on_ready(void *arg)
{
	struct worker *w = arg;
	struct master *m = w->app->m;

	if (w->release->conf->health_path)
		health_start(&w->health, m->base, &w->address, w->release->conf, &m->prober, true,
			     on_health, w);
	else
		worker_event(w, WE_READY);
}

void worker_follow_health(struct worker *w, struct release *r)
{
	struct master *m = w->app->m;
	struct health_row row = w->health.row;

	if (w->health_of == r || (!w->health_of && !r->conf->health_path))
		return;
	health_stop(&w->health);
	release_drop(w->health_of);
	w->health_of = r->conf->health_path ? release_hold(r) : NULL;
	if (!w->health_of)
		return;
	health_start(&w->health, m->base, &w->address, r->conf, &m->prober, false, on_health, w);
	w->health.row.sick = row.sick; /* a reload heals nobody */
}

/* What has come while we were not there to read it counts first. */
static void on_watchdog(evutil_socket_t fd, short what, void *arg)
{
	struct worker *w = arg;
	char why[64];

	(void)fd;
	(void)what;
	notify_drain(&w->notify);
	if (w->phase != WS_UP || event_pending(&w->ev_watchdog, EV_TIMEOUT, NULL))
		return;
	snprintf(why, sizeof(why), "no WATCHDOG=1 for %.1f s", (double)w->watchdog_us / 1e6);
	worker_hangs(w, why);
}

static void on_notified(void *arg, const struct notify_message *msg)
{
	struct worker *w = arg;

	if (msg->watchdog_us)
		w->watchdog_us = msg->watchdog_us;
	if ((msg->alive || msg->watchdog_us) && w->phase == WS_UP)
		worker_wait_for_sign(w);
	if (msg->gives_up)
		worker_hangs(w, "it says so itself (WATCHDOG=trigger)");
	if (msg->extend_us && w->phase == WS_STARTING)
		worker_extend_boot(w, msg->extend_us);
	if (msg->stopping)
		worker_event(w, WE_LEAVES);
	else if (msg->ready)
		ready_notified(&w->ready);
}

/* Its lines so far; nothing is written for one whose output has been closed. */
static struct recent_worker *recent_of(const struct worker *w)
{
	list_each (it, &w->app->recents.workers) {
		struct recent_worker *r = list_entry(it, struct recent_worker, link);
		if (r->pid == w->pid && !r->ended)
			return r;
	}
	return recents_open(&w->app->recents, w->pid, w->instance, w->release->number);
}

void worker_resume(struct worker *w)
{
	struct master *m = w->app->m;
	uint64_t ms = worker_wait_ms(w);

	master_event(m, &w->ev_timer, -1, EV_TIMEOUT, on_timer, w);
	master_event(m, &w->ev_watchdog, -1, EV_TIMEOUT, on_watchdog, w);
	if (ms)
		master_timer(&w->ev_timer, ms);
	if (w->pid == 0)
		return;
	output_start(&w->output, m->base,
		     &(struct output_of){ .app = w->app->name,
					  .instance = w->instance,
					  .release = w->release->number,
					  .pid = w->pid,
					  .format = w->release->conf->log_output_format,
					  .outlet = outlet_take(m, w->release->conf->log_output),
					  .recent = recent_of(w) });
	notify_start(&w->notify, m->base, w->pid, on_notified, w);
	if (w->pidfd >= 0) {
		master_event(m, &w->ev_ended, w->pidfd, EV_READ | EV_PERSIST, on_ended, w);
		event_add(&w->ev_ended, NULL);
	}
	if (w->phase == WS_STARTING)
		ready_start(&w->ready, m->base, &w->address, w->pid, w->release->conf, &m->prober,
			    on_ready, w);
	if (w->phase != WS_UP)
		return;
	sampler_begin(w);
	worker_wait_for_sign(w);
	if (w->release->conf->health_path) {
		bool sick = w->health.row.sick;
		health_start(&w->health, m->base, &w->address, w->release->conf, &m->prober, false,
			     on_health, w);
		w->health.row.sick = sick; /* an upgrade heals nobody */
	}
}

void worker_watch(struct worker *w)
{
	struct master *m = w->app->m;

	master_event(m, &w->ev_timer, -1, EV_TIMEOUT, on_timer, w);
	master_event(m, &w->ev_watchdog, -1, EV_TIMEOUT, on_watchdog, w);
	if (w->pid == 0)
		return;
	w->watchdog_us = w->release->conf->watchdog_ms * 1000;
	master_event(m, &w->ev_ended, w->pidfd, EV_READ | EV_PERSIST, on_ended, w);
	event_add(&w->ev_ended, NULL);
	w->deadline_us = w->started_us + w->release->conf->ready_timeout_ms * 1000;
	master_timer(&w->ev_timer, worker_wait_ms(w));
	ready_start(&w->ready, m->base, &w->address, w->pid, w->release->conf, &m->prober, on_ready,
		    w);
	notify_start(&w->notify, m->base, w->pid, on_notified, w);
}
