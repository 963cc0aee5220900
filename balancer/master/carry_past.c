/* What is carried of the past: how instances ended, what came of releases and reloads, and
 * what workers have written last.  In the master, called by carry.c. */
#include <stdio.h>
#include <string.h>

#include "balancer/master/app.h"
#include "balancer/master/carry_parts.h"
#include "common/mem.h"

/* ---- instances ---------------------------------------------------------- */

static const struct state_field instance_fields[] = {
	STATE_FIELD(struct instance, U64, not_before_us),
	STATE_FIELD(struct instance, U32, restarts),
	STATE_FIELD(struct instance, BOOL, failing),
	STATE_FIELD(struct instance, BOOL, port_excused),
	STATE_FIELD(struct instance, TEXT, last_words),
};

static const struct state_field failure_fields[] = {
	{ "failed_why", STATE_TEXT, offsetof(struct failure, why), sizeof(((struct failure *)0)->why) },
	{ "failed_at", STATE_U64, offsetof(struct failure, at_us), sizeof(uint64_t) },
	{ "failed_pid", STATE_I32, offsetof(struct failure, pid), sizeof(pid_t) },
};

void carry_save_instances(const struct master *m, struct state_out *o)
{
	list_each(it, &m->apps) {
		const struct app *a = list_entry(it, struct app, link);
		for (uint32_t i = 0; i < a->n_instances; i++) {
			state_record(o, "instance");
			state_put_u64(o, "app", a->id);
			state_put_u64(o, "instance", i);
			state_put(o, instance_fields, ARRAY_LEN(instance_fields), &a->instances[i]);
			state_put(o, failure_fields, ARRAY_LEN(failure_fields),
				  &a->instances[i].failure);
			carry_put_history(o, &a->instances[i].history);
		}
	}
}

enum err carry_load_instance(struct carry_in *c, const struct state_record *r)
{
	struct app *a = carry_app(c->m, state_get_u64(r, "app", 0));
	uint64_t i = state_get_u64(r, "instance", UINT64_MAX);

	if (!a || i >= ROSTER_SLOTS)
		return carry_refuse(r, "its app or its number is missing");
	struct instance *row = app_instance(a, (uint32_t)i);
	if (!row)
		return ERR_NOMEM;
	state_get(r, instance_fields, ARRAY_LEN(instance_fields), row);
	state_get(r, failure_fields, ARRAY_LEN(failure_fields), &row->failure);
	carry_get_history(r, &row->history);
	return ERR_OK;
}

/* ---- verdicts ----------------------------------------------------------- */

static const struct state_field rollout_fields[] = {
	STATE_FIELD(struct rollout, U32, number),
	STATE_FIELD(struct rollout, U32, reload),
	STATE_FIELD(struct rollout, U32, kept),
	STATE_FIELD(struct rollout, U64, began_us),
	STATE_FIELD(struct rollout, U64, ended_us),
	STATE_FIELD(struct rollout, TEXT, reason),
};

/* Oldest first.  `app` 0: of reloads. */
static void save_rollouts(const struct rollouts *all, uint32_t app, struct state_out *o)
{
	for (uint32_t i = 0; i < ROLLOUTS_KEPT; i++) {
		const struct rollout *one = &all->kept[(all->n + i) % ROLLOUTS_KEPT];
		if (one->state == ROLLOUT_NONE)
			continue;
		state_record(o, "rollout");
		state_put_u64(o, "app", app);
		state_put_text(o, "state", rollout_state_text(one->state));
		state_put(o, rollout_fields, ARRAY_LEN(rollout_fields), one);
		state_put_text(o, "lines", one->lines);
	}
}

void carry_save_rollouts(const struct master *m, struct state_out *o)
{
	save_rollouts(&m->reloads, 0, o);
	list_each(it, &m->apps) {
		const struct app *a = list_entry(it, struct app, link);
		save_rollouts(&a->rollouts, a->id, o);
	}
}

enum err carry_load_rollout(struct carry_in *c, const struct state_record *r)
{
	uint64_t id = state_get_u64(r, "app", 0);
	struct app *a = id ? carry_app(c->m, id) : NULL;
	struct slice state;

	if ((id && !a) || !state_get_bytes(r, "state", &state))
		return carry_refuse(r, "its app or its state is missing");
	struct rollouts *all = a ? &a->rollouts : &c->m->reloads;
	struct rollout *one = &all->kept[all->n % ROLLOUTS_KEPT];
	rollouts_begin(all, 0, 0, 0);
	state_get(r, rollout_fields, ARRAY_LEN(rollout_fields), one);
	for (int i = ROLLOUT_RUNNING; i < ROLLOUT_STATE_MAX; i++)
		if (slice_eq(state, slice_of(rollout_state_text((enum rollout_state)i))))
			one->state = (enum rollout_state)i;
	one->lines = state_get_dup(r, "lines");
	return ERR_OK;
}

/* ---- what workers have written ------------------------------------------ */

/* Who has written: also those that have ended. */
void carry_save_writers(const struct master *m, struct state_out *o)
{
	list_each(it, &m->apps) {
		const struct app *a = list_entry(it, struct app, link);
		list_each(at, &a->recents.workers) {
			const struct recent_worker *w = list_entry(at, struct recent_worker, link);
			state_record(o, "writer");
			state_put_u64(o, "app", a->id);
			state_put_u64(o, "pid", (uint64_t)w->pid);
			state_put_u64(o, "instance", w->instance);
			state_put_u64(o, "release", w->release);
			state_put_u64(o, "ended", w->ended);
		}
	}
}

enum err carry_load_writer(struct carry_in *c, const struct state_record *r)
{
	struct app *a = carry_app(c->m, state_get_u64(r, "app", 0));
	uint64_t instance = state_get_u64(r, "instance", ROSTER_SLOTS);

	if (!a || instance >= ROSTER_SLOTS)
		return carry_refuse(r, "its app or its instance is missing");
	struct recent_worker *w = recents_open(&a->recents, (pid_t)state_get_u64(r, "pid", 0),
					       (uint32_t)instance,
					       (uint32_t)state_get_u64(r, "release", 0));
	if (w && state_get_u64(r, "ended", 0))
		recents_close(w);
	return ERR_OK;
}

struct line_writer {
	struct state_out *o;
	uint32_t app;
	bool of_all; /* of the app's ring; else of the worker's own */
};

static bool save_line(void *arg, const struct recent_line *l)
{
	const struct line_writer *to = arg;

	state_record(to->o, "line");
	state_put_u64(to->o, "app", to->app);
	state_put_u64(to->o, "of_all", to->of_all);
	state_put_u64(to->o, "seq", l->seq);
	state_put_u64(to->o, "wall_us", l->wall_us);
	state_put_u64(to->o, "pid", (uint64_t)l->pid);
	state_put_u64(to->o, "instance", l->instance);
	state_put_u64(to->o, "release", l->release);
	state_put_u64(to->o, "stream", l->stream);
	state_put_u64(to->o, "cut", l->cut);
	state_put_bytes(to->o, "text", l->text, l->n);
	return true;
}

void carry_save_lines(const struct master *m, struct state_out *o)
{
	list_each(it, &m->apps) {
		const struct app *a = list_entry(it, struct app, link);
		struct line_writer to = { .o = o, .app = a->id, .of_all = true };
		recent_each(&a->recents.all, 0, save_line, &to);
		to.of_all = false;
		list_each(at, &a->recents.workers)
			recent_each(&list_entry(at, struct recent_worker, link)->lines, 0,
				    save_line, &to);
	}
}

static struct recent *ring_of(struct app *a, const struct state_record *r, pid_t pid)
{
	if (state_get_u64(r, "of_all", 0))
		return &a->recents.all;
	list_each(at, &a->recents.workers) {
		struct recent_worker *w = list_entry(at, struct recent_worker, link);
		if (w->pid == pid)
			return &w->lines;
	}
	return NULL;
}

enum err carry_load_line(struct carry_in *c, const struct state_record *r)
{
	struct app *a = carry_app(c->m, state_get_u64(r, "app", 0));
	struct slice text;
	struct recent_line line = {
		.seq = state_get_u64(r, "seq", 0),
		.wall_us = state_get_u64(r, "wall_us", 0),
		.pid = (pid_t)state_get_u64(r, "pid", 0),
		.instance = (uint32_t)state_get_u64(r, "instance", 0),
		.release = (uint32_t)state_get_u64(r, "release", 0),
		.stream = state_get_u64(r, "stream", 1) == 2 ? 2 : 1,
		.cut = state_get_u64(r, "cut", 0),
	};
	struct recent *ring = a ? ring_of(a, r, line.pid) : NULL;

	if (!ring || !state_get_bytes(r, "text", &text) || text.n > RECENT_LINE_BYTES)
		return ERR_OK; /* a line less */
	line.text = text.p;
	line.n = (uint16_t)text.n;
	recent_add(ring, &line);
	return ERR_OK;
}
