/* What is carried of the applications: configurations, apps, releases and workers.  In the master, called by carry.c. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "balancer/master/app.h"
#include "balancer/master/carry_parts.h"
#include "balancer/master/generation.h"
#include "balancer/master/reload.h"
#include "balancer/master/worker_proc.h"
#include "common/fd.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/proc.h"

/* ---- configurations ----------------------------------------------------- */

static void save_command_line(const struct config_overrides *over, struct state_out *o)
{
	char name[32];

	state_put_u64(o, "instances", over->instances);
	state_put_text(o, "listen", over->listen);
	state_put_text(o, "name", over->name);
	for (size_t i = 0; over->command && over->command[i]; i++) {
		snprintf(name, sizeof(name), "word%zu", i);
		state_put_text(o, name, over->command[i]);
	}
}

/* As the bytes that they were read from: whoever takes over reads them with his own
 * tables, and has all that there is to know about a release that is to be gone back to. */
static void save_config(const struct config_ref *ref, struct state_out *o)
{
	const struct config *cfg = ref->cfg;
	char name[32];

	state_record(o, "config");
	state_put_u64(o, "number", ref->number);
	state_put_text(o, "file", cfg->file);
	state_put_text(o, "directory", cfg->directory);
	save_command_line(&cfg->over, o);
	for (size_t i = 0; i < cfg->sources.n; i++) {
		snprintf(name, sizeof(name), "path%zu", i);
		state_put_text(o, name, cfg->sources.all[i].path);
		snprintf(name, sizeof(name), "text%zu", i);
		state_put_bytes(o, name, cfg->sources.all[i].text, cfg->sources.all[i].n);
	}
}

typedef void each_config_f(const struct config_ref *ref, void *arg);

static void each_config(const struct master *m, each_config_f *f, void *arg)
{
	f(m->config, arg);
	list_each(it, &m->generations)
		f(list_entry(it, struct generation, link)->config, arg);
	list_each(it, &m->apps) {
		const struct app *a = list_entry(it, struct app, link);
		if (a->target)
			f(a->target->config, arg);
		if (a->proven)
			f(a->proven->config, arg);
		list_each(at, &a->workers) {
			const struct worker *w = list_entry(at, struct worker, link);
			if (w->release)
				f(w->release->config, arg);
		}
	}
}

/* The lowest number above `after`, so that each is written once. */
struct next_config {
	uint32_t after;
	const struct config_ref *found;
};

static void look_at(const struct config_ref *ref, void *arg)
{
	struct next_config *next = arg;

	if (ref->number > next->after && (!next->found || ref->number < next->found->number))
		next->found = ref;
}

void carry_save_configs(const struct master *m, struct state_out *o)
{
	struct next_config next = { .after = 0 };

	for (;;) {
		next.found = NULL;
		each_config(m, look_at, &next);
		if (!next.found)
			return;
		save_config(next.found, o);
		next.after = next.found->number;
	}
}

static void take_sources(const struct state_record *r, struct cfg_sources *ret)
{
	char name[32];
	struct slice text;

	for (;; ret->n++) {
		snprintf(name, sizeof(name), "path%zu", ret->n);
		char *path = state_get_dup(r, name);
		snprintf(name, sizeof(name), "text%zu", ret->n);
		if (!path || !state_get_bytes(r, name, &text)) {
			mem_free(path);
			return;
		}
		ret->all = mem_must_grow(ret->all, (ret->n + 1) * sizeof(*ret->all));
		ret->all[ret->n] = (struct cfg_source){ .path = path,
							.text = mem_must_dupn(text.p, text.n),
							.n = text.n };
	}
}

/* The command line that it was made with: ours may be another.  Without one (an older
 * version wrote the state) it is the same, since the process is. */
static struct config_overrides take_command_line(const struct carry_in *c,
						 const struct state_record *r, char ***ret_words)
{
	struct config_overrides over = c->m->opt->overrides;
	struct slice there;
	char name[32], *word;
	size_t n = 0;

	*ret_words = NULL;
	if (!state_get_bytes(r, "instances", &there))
		return over;
	over.instances = (uint32_t)state_get_u64(r, "instances", 0);
	over.listen = state_get_dup(r, "listen");
	over.name = state_get_dup(r, "name");
	do {
		snprintf(name, sizeof(name), "word%zu", n);
		word = state_get_dup(r, name);
		*ret_words = mem_must_grow(*ret_words, (n + 1) * sizeof(char *));
		(*ret_words)[n++] = word;
	} while (word);
	over.command = n > 1 ? *ret_words : NULL;
	return over;
}

static void free_command_line(struct config_overrides *over, char **words)
{
	if (!words)
		return; /* it was our own */
	mem_free((void *)(uintptr_t)over->listen);
	mem_free((void *)(uintptr_t)over->name);
	for (size_t i = 0; words[i]; i++)
		mem_free(words[i]);
	mem_free(words);
}

static void free_sources(struct cfg_sources *s)
{
	for (size_t i = 0; i < s->n; i++) {
		mem_free(s->all[i].path);
		mem_wipe(s->all[i].text);
	}
	mem_free(s->all);
}

/* Places in `configs` are found by number: the numbers there are those of the writer. */
static enum err keep_config(struct carry_in *c, struct config *cfg, uint32_t number)
{
	struct config_ref *ref = config_ref_resume(cfg, number);
	struct config_ref **grown = mem_alloc((c->n_configs + 1) * sizeof(struct config_ref *));

	if (!ref || !grown) {
		config_ref_drop(ref);
		mem_free(grown);
		return ERR_NOMEM;
	}
	if (c->n_configs)
		memcpy(grown, c->configs, c->n_configs * sizeof(struct config_ref *));
	mem_free(c->configs);
	c->configs = grown;
	c->configs[c->n_configs++] = ref;
	return ERR_OK;
}

enum err carry_load_config(struct carry_in *c, const struct state_record *r)
{
	struct cfg_sources sources = { .all = NULL };
	struct config_errors errors = { .text = NULL };
	struct state_record master;
	size_t at = 0;
	uint32_t number = (uint32_t)state_get_u64(r, "number", 0);
	char *file = state_get_dup(r, "file"), *directory = state_get_dup(r, "directory");

	char **words;
	struct config_overrides over = take_command_line(c, r, &words);

	take_sources(r, &sources);
	struct config *cfg = config_load_kept(file, directory ? directory : "/", &over, &sources,
					      &errors);
	free_sources(&sources);
	free_command_line(&over, words);
	mem_free(file);
	mem_free(directory);
	if (!cfg)
		log_error("a configuration that is in force is none any more:\n%s",
			  errors.text ? errors.text : "");
	config_errors_fini(&errors);
	if (!cfg)
		return ERR_SYNTAX;
	enum err e = keep_config(c, cfg, number);
	if (e || !state_next(c->in, &at, "master", &master) ||
	    state_get_u64(&master, "config", 0) != number)
		return e;
	c->m->config = config_ref_hold(c->configs[c->n_configs - 1]);
	/* For those that we start while we read on: writers, probes. */
	reload_set_prober(c->m, cfg);
	return generation_find_user(c->m, cfg, &c->m->balancer_user);
}

struct config_ref *carry_config(const struct carry_in *c, uint64_t number)
{
	for (size_t i = 0; i < c->n_configs; i++)
		if (c->configs[i]->number == number)
			return c->configs[i];
	return NULL;
}

/* ---- apps --------------------------------------------------------------- */

static const struct state_field app_fields[] = {
	STATE_FIELD(struct app, U32, wanted),
	STATE_FIELD(struct app, U32, last_release),
	STATE_FIELD(struct app, BOOL, in_config),
	STATE_FIELD(struct app, TEXT, cannot_start),
};

void carry_save_apps(const struct master *m, struct state_out *o)
{
	list_each(it, &m->apps) {
		const struct app *a = list_entry(it, struct app, link);
		state_record(o, "app");
		state_put_u64(o, "id", a->id);
		state_put_text(o, "name", a->name);
		state_put(o, app_fields, ARRAY_LEN(app_fields), a);
		state_put_u64(o, "target", a->target ? a->target->number : 0);
		state_put_u64(o, "lines_gone", a->recents.all.n_evicted);
	}
}

struct app *carry_app(struct master *m, uint64_t id)
{
	list_each(it, &m->apps) {
		struct app *a = list_entry(it, struct app, link);
		if (a->id == id)
			return a;
	}
	return NULL;
}

enum err carry_load_app(struct carry_in *c, const struct state_record *r)
{
	uint64_t id = state_get_u64(r, "id", 0);
	char *name = state_get_dup(r, "name");

	if (id == 0 || id > UINT32_MAX || !name || carry_app(c->m, id)) {
		mem_free(name);
		return carry_refuse(r, "it has no name or no id of its own");
	}
	struct app *a = app_resume(c->m, (uint32_t)id, name);
	mem_free(name);
	if (!a)
		return ERR_NOMEM;
	state_get(r, app_fields, ARRAY_LEN(app_fields), a);
	a->recents.all.n_evicted = state_get_u64(r, "lines_gone", 0);
	app_mark(a);
	return ERR_OK;
}

/* ---- releases ----------------------------------------------------------- */

static const struct state_field release_fields[] = {
	STATE_FIELD(struct release, U32, number),
	STATE_FIELD(struct release, U32, wanted),
	STATE_FIELD(struct release, BOOL, announced),
	STATE_FIELD(struct release, BOOL, recycle_warned),
	STATE_FIELD(struct release, BOOL, kill_excused),
};

static void save_release(const struct app *a, const struct release *r, struct state_out *o)
{
	state_record(o, "release");
	state_put(o, release_fields, ARRAY_LEN(release_fields), r);
	state_put_u64(o, "app", a->id);
	state_put_u64(o, "config", r->config->number);
	state_put_u64(o, "is_target", r == a->target);
	state_put_u64(o, "is_proven", r == a->proven);
}

/* Whether a worker before `at`, or the app itself, has named it. */
static bool named_before(const struct app *a, const struct list *at, const struct release *r)
{
	if (r == a->target || r == a->proven)
		return true;
	list_each(it, &a->workers) {
		if (it == at)
			return false;
		if (list_entry(it, struct worker, link)->release == r)
			return true;
	}
	return false;
}

void carry_save_releases(const struct master *m, struct state_out *o)
{
	list_each(it, &m->apps) {
		const struct app *a = list_entry(it, struct app, link);
		if (a->target)
			save_release(a, a->target, o);
		if (a->proven && a->proven != a->target)
			save_release(a, a->proven, o);
		list_each(at, &a->workers) {
			const struct release *r = list_entry(at, struct worker, link)->release;
			if (r && !named_before(a, at, r))
				save_release(a, r, o);
		}
	}
}

static struct release *keep_release(struct carry_in *c, const struct app *a)
{
	size_t n = c->n_releases;
	struct release *r = mem_alloc_zero(sizeof(*r));
	struct release **rows = mem_alloc((n + 1) * sizeof(struct release *));
	uint32_t *apps = mem_alloc((n + 1) * sizeof(*apps));

	if (!r || !rows || !apps) {
		mem_free(r);
		mem_free(rows);
		mem_free(apps);
		return NULL;
	}
	if (n) {
		memcpy(rows, c->releases, n * sizeof(struct release *));
		memcpy(apps, c->release_apps, n * sizeof(*apps));
	}
	mem_free(c->releases);
	mem_free(c->release_apps);
	c->releases = rows;
	c->release_apps = apps;
	c->releases[n] = release_hold(r);
	c->release_apps[n] = a->id;
	c->n_releases++;
	return r;
}

enum err carry_load_release(struct carry_in *c, const struct state_record *r)
{
	struct app *a = carry_app(c->m, state_get_u64(r, "app", 0));
	struct config_ref *config = carry_config(c, state_get_u64(r, "config", 0));
	const struct cfg_app *conf = a && config ? config_app(config->cfg, a->name) : NULL;

	if (!conf)
		return carry_refuse(r, "its app or its configuration is missing");
	struct release *kept = keep_release(c, a);
	if (!kept)
		return ERR_NOMEM;
	kept->config = config_ref_hold(config);
	kept->conf = conf;
	kept->wanted = conf->command ? conf->instances : 0;
	state_get(r, release_fields, ARRAY_LEN(release_fields), kept);
	if (state_get_u64(r, "is_target", 0) && !a->target)
		a->target = release_hold(kept);
	if (state_get_u64(r, "is_proven", 0) && !a->proven)
		a->proven = release_hold(kept);
	return ERR_OK;
}

/* ---- workers ------------------------------------------------------------ */

static const struct state_field worker_fields[] = {
	STATE_FIELD(struct worker, U32, instance),
	STATE_FIELD(struct worker, U32, slot),
	STATE_FIELD(struct worker, U64, version),
	STATE_FIELD(struct worker, ADDR, address),
	STATE_FIELD(struct worker, I32, pid),
	STATE_FIELD(struct worker, U64, started_us),
	STATE_FIELD(struct worker, U64, up_us),
	STATE_FIELD(struct worker, U64, drain_us),
	STATE_FIELD(struct worker, U64, requests_before),
	STATE_FIELD(struct worker, U64, deadline_us),
	STATE_FIELD(struct worker, U64, watchdog_us),
	STATE_FIELD(struct worker, BOOL, retiring),
	STATE_FIELD(struct worker, BOOL, hung),
	STATE_FIELD(struct worker, BOOL, drain_over),
	STATE_FIELD(struct worker, BOOL, signalled),
	STATE_FIELD(struct worker, BOOL, served),
	STATE_FIELD(struct worker, BOOL, boot_looked),
	STATE_FIELD(struct worker, BOOL, was_told),
	STATE_FIELD(struct worker, BOOL, was_clean),
	STATE_FIELD(struct worker, TEXT, name),
	STATE_FIELD(struct worker, TEXT, exit_text),
};

static const struct state_field notify_fields[] = {
	{ "notify", STATE_FD, offsetof(struct notify, fd), sizeof(int) },
	{ "notify_path", STATE_TEXT, offsetof(struct notify, path), sizeof(((struct notify *)0)->path) },
	{ "notify_status", STATE_TEXT, offsetof(struct notify, status),
	  sizeof(((struct notify *)0)->status) },
	{ "notify_strangers", STATE_U32, offsetof(struct notify, strangers), sizeof(uint32_t) },
};

static const char *const stream_names[2][3] = {
	{ "stdout", "stdout_partial", "stdout_continues" },
	{ "stderr", "stderr_partial", "stderr_continues" },
};

static void save_worker(const struct app *a, const struct worker *w, struct state_out *o)
{
	const struct roster_slot *row = &a->m->slots.draft->slots[w->slot];

	state_record(o, "worker");
	state_put_u64(o, "app", a->id);
	state_put_u64(o, "release", w->release ? w->release->number : 0);
	state_put_u64(o, "phase", w->phase);
	state_put_u64(o, "alive", w->pidfd >= 0);
	state_put_u64(o, "epoch", row->epoch);
	state_put_u64(o, "start_ticks", row->start_ticks);
	state_put_u64(o, "sick", w->health.row.sick);
	state_put(o, worker_fields, ARRAY_LEN(worker_fields), w);
	state_put(o, notify_fields, ARRAY_LEN(notify_fields), &w->notify);
	for (int i = 0; i < 2; i++) {
		const struct output_stream *s = &w->output.streams[i];
		state_put_fd(o, stream_names[i][0], s->fd);
		if (s->lines.partial)
			state_put_bytes(o, stream_names[i][1], s->lines.partial, s->lines.n);
		state_put_u64(o, stream_names[i][2], s->lines.continues);
	}
}

void carry_save_workers(const struct master *m, struct state_out *o)
{
	list_each(it, &m->apps) {
		const struct app *a = list_entry(it, struct app, link);
		list_each(at, &a->workers)
			save_worker(a, list_entry(at, struct worker, link), o);
	}
}

static struct release *find_release(const struct carry_in *c, const struct app *a, uint64_t number)
{
	for (size_t i = 0; i < c->n_releases; i++)
		if (c->release_apps[i] == a->id && c->releases[i]->number == number)
			return c->releases[i];
	return NULL;
}

static enum err take_output(struct worker *w, const struct state_record *r)
{
	for (int i = 0; i < 2; i++) {
		struct slice partial = { NULL, 0 };
		int fd = state_get_fd(r, stream_names[i][0]);
		(void)state_get_bytes(r, stream_names[i][1], &partial);
		enum err e = output_resume(&w->output, i, fd, partial,
					   state_get_u64(r, stream_names[i][2], 0));
		if (e)
			return e;
	}
	return ERR_OK;
}

/* What the roster, had it been handed over, would show. */
static void enter_again(struct worker *w, const struct state_record *r)
{
	struct roster *d = w->app->m->slots.draft;

	d->n_slots = MAX(d->n_slots, w->slot + 1);
	d->slots[w->slot] = (struct roster_slot){ .epoch = state_get_u64(r, "epoch", 0), .weight = 1 };
	worker_enter_roster(w);
}

static bool makes_sense(const struct worker *w, uint64_t phase)
{
	return phase < WS_GONE && w->slot < ROSTER_SLOTS && (w->pid == 0 || w->pid > 1) &&
	       w->address.len > 0 && (w->pid == 0) == (w->release == NULL);
}

/* In another process than its parent.  That it has ended is told to its app when all of them
 * are there (carry_settle). */
static void find_again(struct worker *w, uint64_t start_ticks)
{
	if (w->pid && !carry_find(w->pid, start_ticks, &w->pidfd))
		/* A number is given to another process only when nothing of its group is left. */
		w->group_gone = proc_start_ticks(w->pid) != 0 && proc_start_ticks(w->pid) != start_ticks;
	const struct roster_slot *row = &w->app->m->slots.draft->slots[w->slot];
	if (w->phase != WS_UP || row->pid != w->pid ||
	    (row->state != WORKER_DRAINING && row->state != WORKER_STOPPING))
		return;
	/* It was taken out in the last moment, and may have been asked to stop. */
	w->phase = WS_DRAINING;
	w->drain_us = master_now_us();
	w->deadline_us = w->drain_us + w->release->conf->stop_drain_ms * 1000;
}

enum err carry_load_worker(struct carry_in *c, const struct state_record *r)
{
	struct app *a = carry_app(c->m, state_get_u64(r, "app", 0));
	uint64_t phase = state_get_u64(r, "phase", WS_MAX);

	if (!a)
		return carry_refuse(r, "its app is missing");
	struct release *release = find_release(c, a, state_get_u64(r, "release", 0));
	struct worker *w = worker_new(a, release, 0);
	if (!w)
		return ERR_NOMEM;
	list_push_back(&a->workers, &w->link);
	w->started_us = 0;
	state_get(r, worker_fields, ARRAY_LEN(worker_fields), w);
	state_get(r, notify_fields, ARRAY_LEN(notify_fields), &w->notify);
	if (!makes_sense(w, phase))
		return carry_refuse(r, "its release, its phase or its place is missing");
	w->phase = (enum worker_phase)phase;
	w->health.row.sick = state_get_u64(r, "sick", 0);
	enum err e = take_output(w, r);
	bool alive = state_get_u64(r, "alive", 0);
	if (!e && alive && c->heir)
		find_again(w, state_get_u64(r, "start_ticks", 0));
	else if (!e && alive && fd_of_pid(w->pid, &w->pidfd) && !c->in->dry)
		return carry_refuse(r, "there is no such process");
	if (e)
		return e;
	if (c->fresh_board)
		enter_again(w, r);
	worker_resume(w);
	return ERR_OK;
}
