/* Draining and ending; in the master.
 *
 *   ask ── lame_duck ──► DRAINING ── all balancers gone ──► WORKERS ── all gone ──► finish
 *                          │ soft:  DRAIN_SOFT
 *                          │ hard:  DRAIN_HARD, and a moment later SIGKILL
 *                          └ every second: "N connections open"
 *
 * A second signal: balancers are killed, workers get their stop signal and a
 * second later SIGKILL.  One that comes within a moment of the first is the first
 * told twice: a closed terminal's SIGHUP comes from the kernel and from the shell,
 * ^C under npm from the terminal and from npm, timeout(1) signals the command and
 * then its group.
 */
#include "balancer/master/shutdown.h"

#include "balancer/master/app.h"
#include "balancer/master/balancer_proc.h"
#include "balancer/master/core.h"
#include "balancer/master/generation.h"
#include "balancer/master/listener.h"
#include "balancer/master/reload.h"
#include "balancer/master/worker_proc.h"
#include "common/contract.h"
#include "common/log.h"

#define COUNT_MS 1000
#define HARD_MARGIN_MS 2000 /* for balancers to obey DRAIN_HARD */
#define AT_ONCE_MS 1000     /* between stop signal and SIGKILL when nobody waits */
#define ECHO_MS 100         /* nobody asks twice as fast as that */

static void step(struct master *m);

static void on_step(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	step(arg);
}

static void say_count(struct master *m)
{
	uint64_t n = tally_total(m->tally, COUNTER_connections_open);

	log_notice("%llu connections open", (unsigned long long)n);
}

static void on_count(evutil_socket_t fd, short what, void *arg)
{
	struct master *m = arg;

	(void)fd;
	(void)what;
	if (m->stop.phase != SHUTDOWN_DRAINING)
		return;
	say_count(m);
	master_timer(&m->stop.ev_count, COUNT_MS);
}

void shutdown_init(struct master *m)
{
	master_event(m, &m->stop.ev_step, -1, EV_TIMEOUT, on_step, m);
	master_event(m, &m->stop.ev_count, -1, EV_TIMEOUT, on_count, m);
}

void shutdown_fini(struct shutdown *s)
{
	event_del(&s->ev_step);
	event_del(&s->ev_count);
}

static void drain_all(struct master *m, enum drain_level level)
{
	list_each(it, &m->generations)
		generation_drain(list_entry(it, struct generation, link), level);
}

static void begin_drain(struct master *m)
{
	struct shutdown *s = &m->stop;

	s->phase = SHUTDOWN_DRAINING;
	s->drain_us = master_now_us();
	reload_cancel(m);
	listeners_leave(m, NULL);
	drain_all(m, DRAIN_SHUTDOWN);
	say_count(m);
	master_timer(&s->ev_count, COUNT_MS);
	master_timer(&s->ev_step, m->config->cfg->shutdown_soft_ms);
}

static enum drain_level highest(const struct master *m)
{
	enum drain_level level = DRAIN_NONE;

	list_each(it, &m->generations)
		level = MAX(level, list_entry(it, struct generation, link)->drain);
	return level;
}

/* The next deadline of the drain has come. */
static void press(struct master *m)
{
	const struct config *cfg = m->config->cfg;
	struct shutdown *s = &m->stop;

	switch (highest(m)) {
	case DRAIN_HARD:
		log_error("killing the balancers that have not ended");
		s->forced = true;
		balancers_kill_all(m);
		break;
	case DRAIN_SOFT:
		log_notice("closing all connections");
		drain_all(m, DRAIN_HARD);
		master_timer(&s->ev_step, HARD_MARGIN_MS);
		break;
	default:
		drain_all(m, DRAIN_SOFT);
		master_timer(&s->ev_step, cfg->shutdown_hard_ms > cfg->shutdown_soft_ms ?
			     cfg->shutdown_hard_ms - cfg->shutdown_soft_ms : 0);
		break;
	}
}

static void step(struct master *m)
{
	switch (m->stop.phase) {
	case SHUTDOWN_LAME_DUCK:
		begin_drain(m);
		break;
	case SHUTDOWN_DRAINING:
		press(m);
		break;
	case SHUTDOWN_WORKERS:
		apps_tell_all(m, WE_KILL);
		break;
	default:
		break;
	}
}

static void end_at_once(struct master *m)
{
	struct shutdown *s = &m->stop;

	s->at_once = s->forced = true;
	if (s->phase < SHUTDOWN_DRAINING) {
		s->phase = SHUTDOWN_DRAINING;
		reload_cancel(m);
		listeners_leave(m, NULL);
		drain_all(m, DRAIN_HARD);
	}
	balancers_kill_all(m);
	/* The workers' turn comes when the balancers are gone: right after this. */
	if (s->phase == SHUTDOWN_WORKERS)
		master_timer(&s->ev_step, AT_ONCE_MS);
}

void shutdown_ask(struct master *m, const char *why)
{
	struct shutdown *s = &m->stop;
	uint64_t lame_duck_ms = m->config->cfg->lame_duck_ms;

	if (s->at_once)
		return;
	if (shutdown_begun(s) && master_now_us() - s->asked_us < ECHO_MS * 1000)
		return;
	if (shutdown_begun(s)) {
		log_notice("%s again: ending at once", why);
		end_at_once(m);
		return;
	}
	s->phase = SHUTDOWN_LAME_DUCK;
	s->asked_us = master_now_us();
	s->cut_before = tally_total(m->tally, COUNTER_connections_forced);
	if (lame_duck_ms) {
		log_notice("%s: stopping in %.1f s", why, (double)lame_duck_ms / 1e3);
		master_timer(&s->ev_step, lame_duck_ms);
	} else {
		log_notice("%s: stopping", why);
		begin_drain(m);
	}
}

void shutdown_abort(struct master *m)
{
	m->stop.silent = true;
	end_at_once(m);
}

void shutdown_on_forced(struct master *m)
{
	if (m->stop.phase == SHUTDOWN_DRAINING)
		m->stop.forced = true;
}

static void stop_workers(struct master *m)
{
	struct shutdown *s = &m->stop;

	event_del(&s->ev_count);
	event_del(&s->ev_step);
	s->phase = SHUTDOWN_WORKERS;
	if (m->tally && tally_total(m->tally, COUNTER_connections_forced) > s->cut_before)
		s->forced = true;
	if (!s->silent)
		log_notice("all connections ended%s: stopping the workers",
			   s->forced ? ", some by force" : "");
	apps_tell_all(m, WE_STOP);
	if (s->at_once)
		master_timer(&s->ev_step, AT_ONCE_MS);
}

void shutdown_turn(struct master *m)
{
	struct shutdown *s = &m->stop;

	if (s->phase == SHUTDOWN_DRAINING && generations_balancers(m) == 0)
		stop_workers(m);
	if (s->phase == SHUTDOWN_WORKERS && apps_empty(m)) {
		if (!s->silent)
			log_notice("stopped%s", s->forced ? ", not all in peace" : "");
		master_finish(m, s->forced ? EXIT_FAILED : EXIT_DRAINED);
	}
}
