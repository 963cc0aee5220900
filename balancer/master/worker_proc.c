/* Supervising one worker: a table of what each event does in each phase.  In
 * the master.  What follows for the app (a successor, a rollback) is decided in
 * app.c and reconcile.c.
 *
 *   STARTING ── ready ──► UP ── drain ──► DRAINING ── traffic has ended ──► STOPPING
 *      │                   │                 │                                 │ grace
 *      │ exit              │ exit            │ exit                 exit       ▼
 *      └───────────────────┴─────────────────┴────► LEAVING ◄────────────── KILLED
 *                                                      │ process group empty, balancers know
 *                                                      ▼
 *                                                    GONE
 *
 * "Ready" is the proof of ready.type, and then, with health.path, the first health probes.
 *
 * Routing stops before the signal is sent: DRAINING ends when every balancer has
 * acknowledged the roster that says so, and no request is counted any more.  When
 * stop.drain is over first, the roster says STOPPING, the balancers end the tunnels
 * that are left, acknowledge, and then comes the signal.
 */
#include "balancer/master/worker_proc.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "balancer/master/app.h"
#include "balancer/master/balancer_proc.h"
#include "balancer/master/core.h"
#include "common/fd.h"
#include "common/line_text.h"
#include "common/log.h"
#include "common/mem.h"

#define BOOT_LOOK_MS 5000
#define EXTENDED_AT_MOST 10 /* times ready.timeout, with EXTEND_TIMEOUT_USEC */
#define DRAIN_LOOK_MS 20
#define FOLLOW_US 1000000 /* at least, for the balancers to follow the roster */
#define LEAVING_LOOK_MS 20
#define KILLED_LOOK_MS 5000
#define WARM_REQUESTS 4096     /* sent to a worker before it counts as warm */
#define WARM_ENOUGH_US 1500000 /* and the longest that is waited for them */
#define QUIET_US 100000        /* after that long, QUIET_REQUESTS say that there is no load */
#define QUIET_REQUESTS 20
#define GIVE_UP_US 2000000  /* on a killed group that does not vanish: unreaped, not ours */
#define LAST_LINES 20       /* logged with an end that was not asked for */
#define LAST_LINE_BYTES 400 /* of each */
#define LAST_LINES_BYTES \
	((LAST_LINES + 4) * (LAST_LINE_BYTES + 2)) /* of all, with room to show the last */
#define SERVER_DRAIN_MS 30000 /* of a server whose app has no configuration any more */

typedef void worker_act_f(struct worker *w);

/* ---- small things ------------------------------------------------------- */

static const char *const phase_names[WS_MAX] = {
	[WS_STARTING] = "starting", [WS_UP] = "up",         [WS_DRAINING] = "draining",
	[WS_STOPPING] = "stopping", [WS_KILLED] = "killed", [WS_LEAVING] = "leaving",
	[WS_GONE] = "gone",
};

/* What balancers and the warden see of each phase. */
static const enum worker_state roster_states[WS_MAX] = {
	[WS_STARTING] = WORKER_STARTING, [WS_UP] = WORKER_UP,
	[WS_DRAINING] = WORKER_DRAINING, [WS_STOPPING] = WORKER_STOPPING,
	[WS_KILLED] = WORKER_STOPPING,   [WS_LEAVING] = WORKER_DOWN,
	[WS_GONE] = WORKER_EMPTY,
};

enum worker_state worker_roster_state(const struct worker *w)
{
	return roster_states[w->phase];
}

static void go(struct worker *w, enum worker_phase to)
{
	struct slots *s = &w->app->m->slots;

	w->phase = to;
	if (to == WS_GONE) {
		slots_release(s, w->slot);
		return;
	}
	if (s->draft->slots[w->slot].state != roster_states[to])
		slots_set_state(s, w->slot, roster_states[to]);
	w->version = slots_version(s);
}

static double seconds_since(uint64_t us)
{
	return (double)(master_now_us() - us) / 1e6;
}

static void signal_group(const struct worker *w, int signo)
{
	if (w->pid && !w->group_gone && kill(-w->pid, signo) != 0 && errno != ESRCH)
		log_error("cannot signal %s: %s", w->name, strerror(errno));
}

static uint64_t drain_ms(const struct worker *w)
{
	if (w->release)
		return w->release->conf->stop_drain_ms;
	return w->app->target ? w->app->target->conf->stop_drain_ms : SERVER_DRAIN_MS;
}

static uint64_t grace_ms(const struct worker *w)
{
	return w->release->conf->stop_grace_ms;
}

static bool log_line(void *arg, const struct recent_line *line)
{
	const struct worker *w = arg;

	log_error("  %s%.*s", w->output.prefix, MIN((int)line->n, LAST_LINE_BYTES), line->text);
	return true;
}

/* Its last lines, unless the end before said the same. */
static void log_last_lines(struct worker *w)
{
	struct instance *row = app_instance(w->app, w->instance);

	if (row && strcmp(row->last_words, w->exit_text) == 0 && !w->served)
		return;
	if (row)
		snprintf(row->last_words, sizeof(row->last_words), "%s",
			 w->served ? "" : w->exit_text);
	if (!w->output.recent)
		return;
	const struct recent *lines = &w->output.recent->lines;
	recent_each(lines, recent_before_last(lines, LAST_LINES), log_line, w);
}

struct text {
	char *bytes;
	size_t n, room;
};

static bool append_line(void *arg, const struct recent_line *line)
{
	struct text *t = arg;
	size_t n = MIN(line->n, (size_t)LAST_LINE_BYTES);

	if (t->room - t->n < 4 * n + 2)
		return false;
	t->n += line_text_show(t->bytes + t->n, line->text, n, false);
	t->bytes[t->n++] = '\n';
	t->bytes[t->n] = '\0';
	return true;
}

char *worker_last_lines(const struct worker *w)
{
	const struct recent *lines = w->output.recent ? &w->output.recent->lines : NULL;

	if (!lines || lines->n == 0)
		return NULL;
	struct text t = { .room = LAST_LINES_BYTES };
	t.bytes = mem_alloc_zero(t.room);
	if (t.bytes)
		recent_each(lines, recent_before_last(lines, LAST_LINES), append_line, &t);
	return t.bytes;
}

/* ---- the way up --------------------------------------------------------- */

static void start_stopping(struct worker *w);

/* What it has told us itself, for the lines about its start: "; its status: ...", or "". */
#define TOLD_MAX (4 * NOTIFY_STATUS_MAX + 128)

static const char *told(const struct worker *w, char buf[static TOLD_MAX])
{
	int n = 0;

	buf[0] = '\0';
	if (w->notify.status[0])
		n = snprintf(buf, TOLD_MAX, "; its status: %s", w->notify.status);
	if (w->notify.strangers)
		snprintf(buf + n, TOLD_MAX - (size_t)n,
			 "; notifications from outside its process "
			 "group were dropped: %u",
			 w->notify.strangers);
	return buf;
}

#define WHY_MAX (READY_LACK_MAX + TOLD_MAX + 128)

/* `why` goes on where its name ends: " was not ready within ...". */
static void boot_failed(struct worker *w, const char *why)
{
	char next[APP_NEXT_MAX];

	app_on_boot_failure(w->app, w, why, next);
	log_error("%s%s%s", w->name, why, next);
	log_last_lines(w);
}

static void mark_up(struct worker *w)
{
	char text[ADDR_TEXT_MAX], why[WHY_MAX];

	if (addr_is_unix(&w->address) && rundir_open_socket(w->address.un.sun_path)) {
		snprintf(why, sizeof(why), ": cannot let the balancers use %s: %s",
			 w->address.un.sun_path, strerror(errno));
		boot_failed(w, why);
		start_stopping(w);
		return;
	}
	event_del(&w->ev_timer);
	w->served = true;
	w->up_us = master_now_us();
	sampler_begin(w);
	worker_wait_for_sign(w);
	w->requests_before = tally_requests(w->app->m->tally, w->slot);
	slots_edit(&w->app->m->slots, w->slot)->up_since_us = w->up_us;
	go(w, WS_UP);
	log_notice("%s ready on %s in %.2f s", w->name, addr_format(&w->address, text),
		   seconds_since(w->started_us));
	app_on_up(w->app, w);
}

static const char *boot_lack(const struct worker *w, char buf[static READY_LACK_MAX])
{
	if (!w->health.active)
		return ready_lack(&w->ready, buf);
	_Static_assert(HEALTH_TEXT_MAX <= READY_LACK_MAX, "one buffer for both");
	return health_text(&w->health, buf);
}

/* A first look while whoever started us may still be watching, then the end of
 * ready.timeout, or of the time that the worker has asked for. */
static void look_at_boot(struct worker *w)
{
	char lack[READY_LACK_MAX], more[TOLD_MAX], why[WHY_MAX];
	uint64_t now = master_now_us();

	if (now < w->deadline_us) {
		if (!w->boot_looked)
			log_notice("%s: still waiting after %.0f s: %s%s", w->name,
				   seconds_since(w->started_us), boot_lack(w, lack), told(w, more));
		w->boot_looked = true;
		master_timer(&w->ev_timer, (w->deadline_us - now) / 1000 + 1);
		return;
	}
	snprintf(w->exit_text, sizeof(w->exit_text), "not ready in time");
	snprintf(why, sizeof(why), " was not ready within %.1f s: %s%s",
		 seconds_since(w->started_us), boot_lack(w, lack), told(w, more));
	boot_failed(w, why);
	start_stopping(w);
}

void worker_extend_boot(struct worker *w, uint64_t us)
{
	uint64_t most = w->release->conf->ready_timeout_ms * 1000 * EXTENDED_AT_MOST;
	uint64_t until = MIN(master_now_us() + us, w->started_us + most);

	w->deadline_us = MAX(w->deadline_us, until);
}

static void gave_up(struct worker *w)
{
	char more[TOLD_MAX], why[WHY_MAX];

	snprintf(w->exit_text, sizeof(w->exit_text), "stopping before it was ready");
	snprintf(why, sizeof(why), " sent STOPPING=1 before it was ready, after %.2f s%s",
		 seconds_since(w->started_us), told(w, more));
	boot_failed(w, why);
	start_stopping(w);
}

bool worker_warm(const struct worker *w)
{
	uint64_t up_us = master_now_us() - w->up_us;
	uint64_t requests = tally_requests(w->app->m->tally, w->slot) - w->requests_before;

	return requests >= WARM_REQUESTS || up_us >= WARM_ENOUGH_US ||
	       (up_us >= QUIET_US && requests < QUIET_REQUESTS);
}

/* ---- the way down ------------------------------------------------------- */

static void start_draining(struct worker *w);

/* STOPPING=1 from one that is UP: it counts as an end, but of one that may still finish
 * what it has. */
static void leaves(struct worker *w)
{
	char why[WHY_MAX], next[APP_NEXT_MAX];

	snprintf(why, sizeof(why), " says that it is stopping, after %.1f s",
		 seconds_since(w->started_us));
	app_on_end(w->app, w, why, next);
	log_notice("%s%s%s", w->name, why, next);
	start_draining(w);
}

void worker_hangs(struct worker *w, const char *why)
{
	char text[SAMPLER_TEXT_MAX], line[WHY_MAX], next[APP_NEXT_MAX];

	if (w->phase != WS_UP)
		return;
	snprintf(line, sizeof(line), " hangs: %s; %s", why, sampler_diagnose(w, text));
	app_on_end(w->app, w, line, next);
	log_error("%s%s%s", w->name, line, next);
	log_last_lines(w);
	w->hung = true;
	worker_event(w, WE_HANGS);
}

static void start_draining(struct worker *w)
{
	worker_stop_watching(w);
	go(w, WS_DRAINING);
	w->drain_us = master_now_us();
	/* Requests that a hung one holds are better off when it ends: those that may be sent
	 * again are. */
	w->deadline_us = w->drain_us + (w->hung ? 0 : drain_ms(w) * 1000);
	log_debug("%s is draining", w->name);
	master_timer(&w->ev_timer, DRAIN_LOOK_MS);
}

static void leave(struct worker *w);

static void start_stopping(struct worker *w)
{
	worker_stop_watching(w);
	if (w->pid == 0) {
		leave(w);
		return;
	}
	go(w, WS_STOPPING);
	w->signalled = true;
	w->deadline_us = master_now_us() + grace_ms(w) * 1000;
	signal_group(w, w->release->conf->stop_signal);
	master_timer(&w->ev_timer, grace_ms(w));
}

/* stop.drain is over: the balancers are to end its tunnels before it gets the signal. */
static void end_tunnels(struct worker *w)
{
	struct slots *s = &w->app->m->slots;

	slots_set_state(s, w->slot, WORKER_STOPPING);
	w->version = slots_version(s);
	w->drain_over = true;
	w->deadline_us = master_now_us() + FOLLOW_US;
	master_timer(&w->ev_timer, DRAIN_LOOK_MS);
}

/* Whether only tunnels are left, which may stay for all of stop.drain: a rollout goes on beside. */
static void note_lingering(struct worker *w, bool known, uint32_t busy)
{
	bool lingers = known && busy > 0 && busy == tally_tunnels(w->app->m->tally, w->slot);

	if (lingers == w->lingers)
		return;
	w->lingers = lingers;
	app_mark(w->app);
}

static void check_drained(struct worker *w)
{
	struct master *m = w->app->m;
	bool known = balancers_follow(m, w->version);
	uint32_t busy = tally_in_flight(m->tally, w->slot);
	/* Even with no time to drain: first nobody sends it anything any more. */
	uint64_t until = known ? w->deadline_us : MAX(w->deadline_us, w->drain_us + FOLLOW_US);

	note_lingering(w, known && !w->drain_over, busy);
	if (w->drain_over) {
		if (known || master_now_us() >= w->deadline_us)
			start_stopping(w);
		else
			master_timer(&w->ev_timer, DRAIN_LOOK_MS);
	} else if (known && busy == 0) {
		log_info("%s drained in %.2f s", w->name, seconds_since(w->drain_us));
		start_stopping(w);
	} else if (master_now_us() >= until) {
		if (!w->hung)
			log_warn("%s still has %u requests after stop.drain (%.1f s): stopping it",
				 w->name, busy, (double)drain_ms(w) / 1e3);
		end_tunnels(w);
	} else {
		master_timer(&w->ev_timer, DRAIN_LOOK_MS);
	}
}

static void kill_group(struct worker *w)
{
	worker_stop_watching(w);
	if (w->pid == 0) {
		leave(w);
		return;
	}
	w->signalled = true;
	w->deadline_us = master_now_us();
	go(w, WS_KILLED);
	signal_group(w, SIGKILL);
	master_timer(&w->ev_timer, KILLED_LOOK_MS);
}

static void grace_over(struct worker *w)
{
	log_warn("%s did not end within stop.grace (%.1f s): killing it", w->name,
		 (double)grace_ms(w) / 1e3);
	kill_group(w);
}

static void still_there(struct worker *w)
{
	log_warn("%s was killed but has not ended yet", w->name);
	kill_group(w);
}

/* ---- its end ------------------------------------------------------------ */

static void boot_exit(struct worker *w)
{
	char more[TOLD_MAX], why[WHY_MAX];
	const char *hint = w->was_clean ? " (it has to stay in the foreground)" : "";

	snprintf(why, sizeof(why), " ended before it was ready: %s, after %.2f s%s%s", w->exit_text,
		 seconds_since(w->started_us), hint, told(w, more));
	boot_failed(w, why);
	leave(w);
}

static void crashed(struct worker *w)
{
	char why[WHY_MAX], next[APP_NEXT_MAX];

	snprintf(why, sizeof(why), " ended: %s, after %.1f s", w->exit_text,
		 seconds_since(w->started_us));
	app_on_end(w->app, w, why, next);
	log_at(w->was_clean ? LOG_WARN : LOG_ERROR, "%s%s%s", w->name, why, next);
	if (!w->was_clean && !w->was_told)
		log_last_lines(w);
	leave(w);
}

static void ended_as_asked(struct worker *w)
{
	log_info("%s stopped: %s", w->name, w->exit_text);
	leave(w);
}

/* The process has ended, or there was none; the rest of its group gets what it
 * has got, at most once, and what is left of its grace. */
static void leave(struct worker *w)
{
	worker_stop_watching(w);
	go(w, WS_LEAVING);
	if (w->pid && !w->signalled) {
		w->signalled = true;
		w->deadline_us = master_now_us() + grace_ms(w) * 1000;
		signal_group(w, w->release->conf->stop_signal);
	}
	master_timer(&w->ev_timer, LEAVING_LOOK_MS);
}

static bool group_lives(const struct worker *w)
{
	return w->pid && !w->group_gone && kill(-w->pid, 0) == 0;
}

static void check_left(struct worker *w)
{
	struct master *m = w->app->m;
	uint64_t now = master_now_us();

	if (group_lives(w) && now < w->deadline_us + GIVE_UP_US) {
		if (now >= w->deadline_us)
			signal_group(w, SIGKILL);
		/* At once: whoever inherits the dead may be slow to reap them. */
		if (m->stop.at_once && now >= w->deadline_us)
			worker_bury(w);
		else
			master_timer(&w->ev_timer, LEAVING_LOOK_MS);
	} else if (!balancers_follow(m, w->version)) {
		master_timer(&w->ev_timer, LEAVING_LOOK_MS);
	} else {
		worker_bury(w);
	}
}

static void kill_rest(struct worker *w)
{
	w->deadline_us = master_now_us();
	signal_group(w, SIGKILL);
}

static void do_nothing(struct worker *w)
{
	(void)w;
}

void worker_bury(struct worker *w)
{
	struct master *m = w->app->m;

	go(w, WS_GONE);
	event_del(&w->ev_timer);
	if (w->pidfd >= 0)
		event_del(&w->ev_ended);
	fd_close(&w->pidfd);
	worker_stop_watching(w);
	w->health_of = release_drop(w->health_of);
	notify_close(&w->notify);
	output_close(&w->output);
	if (w->pid && addr_is_unix(&w->address))
		unlink(w->address.un.sun_path);
	w->release = release_drop(w->release);
	app_mark(w->app);
	list_remove(&w->link);
	list_push_back(&m->buried, &w->link);
}

/* ---- the table ---------------------------------------------------------- */

static worker_act_f *const acts[WS_MAX][WE_MAX] = {
	[WS_STARTING] = { [WE_READY] = mark_up,
			  [WE_TIMER] = look_at_boot,
			  [WE_EXIT] = boot_exit,
			  [WE_LEAVES] = gave_up,
			  [WE_DRAIN] = start_stopping,
			  [WE_STOP] = start_stopping,
			  [WE_KILL] = kill_group },
	[WS_UP] = { [WE_EXIT] = crashed,
		    [WE_LEAVES] = leaves,
		    [WE_HANGS] = start_draining,
		    [WE_DRAIN] = start_draining,
		    [WE_STOP] = start_stopping,
		    [WE_KILL] = kill_group },
	[WS_DRAINING] = { [WE_TIMER] = check_drained,
			  [WE_EXIT] = ended_as_asked,
			  [WE_LEAVES] = do_nothing,
			  [WE_DRAIN] = do_nothing,
			  [WE_STOP] = start_stopping,
			  [WE_KILL] = kill_group },
	[WS_STOPPING] = { [WE_TIMER] = grace_over,
			  [WE_EXIT] = ended_as_asked,
			  [WE_LEAVES] = do_nothing,
			  [WE_DRAIN] = do_nothing,
			  [WE_STOP] = do_nothing,
			  [WE_KILL] = kill_group },
	[WS_KILLED] = { [WE_TIMER] = still_there,
			[WE_EXIT] = ended_as_asked,
			[WE_LEAVES] = do_nothing,
			[WE_DRAIN] = do_nothing,
			[WE_STOP] = do_nothing,
			[WE_KILL] = do_nothing },
	[WS_LEAVING] = { [WE_TIMER] = check_left,
			 [WE_LEAVES] = do_nothing,
			 [WE_DRAIN] = do_nothing,
			 [WE_STOP] = do_nothing,
			 [WE_KILL] = kill_rest },
};

void worker_event(struct worker *w, enum worker_event ev)
{
	worker_act_f *act = acts[w->phase][ev];

	if (!act) {
		log_debug("%s: unexpected event %d while %s", w->name, (int)ev,
			  phase_names[w->phase]);
		return;
	}
	act(w);
	app_mark(w->app);
}

uint64_t worker_wait_ms(const struct worker *w)
{
	uint64_t now = master_now_us(), until = w->deadline_us;

	switch (w->phase) {
	case WS_STARTING:
		if (!w->boot_looked)
			until = MIN(until, w->started_us + BOOT_LOOK_MS * 1000);
		return until > now ? (until - now) / 1000 + 1 : 1;
	case WS_DRAINING: return DRAIN_LOOK_MS;
	case WS_STOPPING: return until > now ? (until - now) / 1000 + 1 : 1;
	case WS_KILLED: return KILLED_LOOK_MS;
	case WS_LEAVING: return LEAVING_LOOK_MS;
	default: return 0;
	}
}
