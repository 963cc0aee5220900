/* What is carried of the master itself: its numbers, files, logs, output, and the
 * processes beside it.  In the master, called by carry.c. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "balancer/master/carry_parts.h"
#include "balancer/master/config_ref.h"
#include "balancer/master/outlet.h"
#include "common/contract.h"
#include "common/fd.h"
#include "common/log.h"
#include "common/mem.h"

/* ---- numbers ------------------------------------------------------------ */

static const struct state_field master_fields[] = {
	STATE_FIELD(struct master, U32, next_generation),
	STATE_FIELD(struct master, U32, next_app_id),
	STATE_FIELD(struct master, U32, next_port),
	STATE_FIELD(struct master, U64, told_version),
	STATE_FIELD(struct master, U64, last_line),
	STATE_FIELD(struct master, U32, reload_asked),
	STATE_FIELD(struct master, U32, reload_in_force),
	STATE_FIELD(struct master, U64, started_us),
	STATE_FIELD(struct master, BOOL, reload_wanted),
};

void carry_save_master(const struct master *m, struct state_out *o)
{
	state_record(o, "master");
	state_put(o, master_fields, ARRAY_LEN(master_fields), m);
	state_put_u64(o, "config", m->config->number);
}

enum err carry_load_master(struct carry_in *c, const struct state_record *r)
{
	state_get(r, master_fields, ARRAY_LEN(master_fields), c->m);
	return ERR_OK;
}

static const struct state_field upgrade_fields[] = {
	STATE_FIELD(struct upgrade, U32, asked),
	STATE_FIELD(struct upgrade, BOOL, again),
	STATE_FIELD(struct upgrade, TEXT, reason),
};

void carry_save_upgrade(const struct master *m, struct state_out *o)
{
	const struct upgrade *u = &m->upgrade;

	state_record(o, "upgrade");
	state_put(o, upgrade_fields, ARRAY_LEN(upgrade_fields), u);
	state_put_u64(o, "outcome", u->outcome);
	state_put_text(o, "path", u->path);
	state_put_text(o, "version", DROVER_VERSION);
}

enum err carry_load_upgrade(struct carry_in *c, const struct state_record *r)
{
	struct upgrade *u = &c->m->upgrade;
	struct slice before = { "?", 1 };

	state_get(r, upgrade_fields, ARRAY_LEN(upgrade_fields), u);
	u->outcome = (enum upgrade_outcome)MIN(state_get_u64(r, "outcome", 0), UPGRADE_FAILED);
	if (!c->heir) /* else we know where we were started from */
		u->path = state_get_dup(r, "path");
	(void)state_get_bytes(r, "version", &before);
	snprintf(u->before, sizeof(u->before), "%.*s", (int)MIN(before.n, 40), before.p);
	return ERR_OK;
}

/* ---- files -------------------------------------------------------------- */

void carry_save_rundir(const struct master *m, struct state_out *o)
{
	const struct rundir *d = &m->rundir;

	state_record(o, "rundir");
	state_put_text(o, "path", d->path);
	state_put_text(o, "name", d->name);
	state_put_text(o, "lock_path", d->lock_path);
	state_put_text(o, "sockets", d->sockets);
	state_put_text(o, "pid_file", d->pid_file);
	state_put_fd(o, "lock", d->lock_fd);
}

enum err carry_load_rundir(struct carry_in *c, const struct state_record *r)
{
	struct rundir *d = &c->m->rundir;

	d->path = state_get_dup(r, "path");
	d->name = state_get_dup(r, "name");
	d->lock_path = state_get_dup(r, "lock_path");
	d->sockets = state_get_dup(r, "sockets");
	d->pid_file = state_get_dup(r, "pid_file");
	d->lock_fd = state_get_fd(r, "lock");
	if (!d->path || !d->name || !d->lock_path || d->lock_fd < 0)
		return carry_refuse(r, "the lock of the instance's name is missing");
	c->m->name = d->name;
	return ERR_OK;
}

void carry_save_logs(const struct master *m, struct state_out *o)
{
	state_record(o, "logs");
	state_put_fd(o, "error", m->logs.error_fd);
	state_put_fd(o, "access", m->logs.access_fd);
	state_put_text(o, "error_path", m->logs.error_path);
	state_put_text(o, "access_path", m->logs.access_path);
}

/* The same descriptors, not the same paths: a file that has been moved away goes on being
 * written until SIGUSR1. */
enum err carry_load_logs(struct carry_in *c, const struct state_record *r)
{
	struct logs *l = &c->m->logs;

	l->error_path = state_get_dup(r, "error_path");
	l->access_path = state_get_dup(r, "access_path");
	l->error_fd = state_get_fd(r, "error");
	l->access_fd = state_get_fd(r, "access");
	l->booting = false;
	if (!c->in->dry)
		log_to_fd(l->error_fd);
	log_set_level((enum log_level)c->m->config->cfg->log_level);
	return ERR_OK;
}

/* ---- output ------------------------------------------------------------- */

static const struct state_field sink_fields[] = {
	STATE_FIELD(struct sink, FD, fd),
	STATE_FIELD(struct sink, FD, file),
	STATE_FIELD(struct sink, FD, writer),
	STATE_FIELD(struct sink, U64, writer_us),
	STATE_FIELD(struct sink, BOOL, is_socket),
	STATE_FIELD(struct sink, BOOL, is_terminal),
	STATE_FIELD(struct sink, BOOL, may_wait),
	STATE_FIELD(struct sink, BOOL, mid_line),
	STATE_FIELD(struct sink, U64, dropped),
	STATE_FIELD(struct sink, U64, gap),
	STATE_FIELD(struct sink, U32, report_s),
};

/* Each stream of each outlet, also those that are closed: that they are is known then. */
void carry_save_sinks(const struct master *m, struct state_out *o)
{
	list_each(it, &m->outlets) {
		const struct outlet *at = list_entry(it, struct outlet, link);
		for (uint32_t i = 0; at->opened && i < ARRAY_LEN(at->sinks); i++) {
			const struct sink *s = &at->sinks[i];
			state_record(o, "sink");
			state_put_text(o, "path", at->path);
			state_put_u64(o, "stream", i);
			state_put(o, sink_fields, ARRAY_LEN(sink_fields), s);
			if (s->fd >= 0)
				state_put_bytes(o, "queue", s->queue + s->from, s->to - s->from);
		}
	}
}

enum err carry_load_sink(struct carry_in *c, const struct state_record *r)
{
	char *path = state_get_dup(r, "path");
	struct outlet *at = outlet_resume(c->m, path);
	struct slice queue = { NULL, 0 };

	mem_free(path);
	if (!at)
		return ERR_NOMEM;
	struct sink *s = &at->sinks[state_get_u64(r, "stream", 0) == 1];
	if (s->fd >= 0)
		return carry_refuse(r, "it is there twice");
	state_get(r, sink_fields, ARRAY_LEN(sink_fields), s);
	(void)state_get_bytes(r, "queue", &queue);
	return sink_resume(s, queue.p, queue.n);
}

/* ---- the service manager ------------------------------------------------ */

static const struct state_field supervisor_fields[] = {
	STATE_FIELD(struct supervisor, FD, fd),
	STATE_FIELD(struct supervisor, U64, reload_us),
	STATE_FIELD(struct supervisor, U32, store),
	STATE_FIELD(struct supervisor, U64, watchdog_ms),
	STATE_FIELD(struct supervisor, BOOL, complained),
	STATE_FIELD(struct supervisor, TEXT, status),
};

void carry_save_supervisor(const struct master *m, struct state_out *o)
{
	const struct supervisor *s = &m->supervisor;

	state_record(o, "supervisor");
	state_put(o, supervisor_fields, ARRAY_LEN(supervisor_fields), s);
	state_put_u64(o, "said", s->said);
	state_put_bytes(o, "to", &s->to, s->to_len);
}

enum err carry_load_supervisor(struct carry_in *c, const struct state_record *r)
{
	struct supervisor *s = &c->m->supervisor;
	struct slice to = { NULL, 0 };
	uint64_t said = state_get_u64(r, "said", SAID_NOTHING);

	state_get(r, supervisor_fields, ARRAY_LEN(supervisor_fields), s);
	if (said > SAID_STOPPING || (state_get_bytes(r, "to", &to) && to.n > sizeof(s->to)))
		return carry_refuse(r, "what the service manager was told");
	s->said = (enum supervisor_word)said;
	if (to.n)
		memcpy(&s->to, to.p, to.n);
	s->to_len = (socklen_t)to.n;
	supervisor_resume(c->m);
	return ERR_OK;
}

void carry_save_activation(const struct master *m, struct state_out *o)
{
	activation_save(&m->activation, o);
}

enum err carry_load_activation(struct carry_in *c, const struct state_record *r)
{
	return activation_load(&c->m->activation, r);
}

/* ---- the warden --------------------------------------------------------- */

void carry_save_warden(const struct master *m, struct state_out *o)
{
	const struct warden *w = &m->warden;

	state_record(o, "warden");
	state_put_u64(o, "pid", (uint64_t)w->pid);
	state_put_fd(o, "life", w->life);
	state_put_fd(o, "balancers_read", w->balancers[0]);
	state_put_fd(o, "balancers_write", w->balancers[1]);
	state_put_fd(o, "notes", w->notes_fd);
	state_put_u64(o, "notes_bytes", sizeof(*w->notes));
	carry_put_history(o, &w->history);
}

enum err carry_load_warden(struct carry_in *c, const struct state_record *r)
{
	struct warden *w = &c->m->warden;
	bool same_notes = state_get_u64(r, "notes_bytes", 0) == sizeof(*w->notes);

	if (!c->heir) { /* else it is the one that gives everything away */
		w->pid = (pid_t)state_get_u64(r, "pid", 0);
		w->life = state_get_fd(r, "life");
	}
	w->balancers[0] = state_get_fd(r, "balancers_read");
	w->balancers[1] = state_get_fd(r, "balancers_write");
	w->notes_fd = state_get_fd(r, "notes");
	if (w->balancers[0] < 0 || w->balancers[1] < 0)
		return carry_refuse(r, "the pipe that it waits for balancers on is missing");
	c->fresh_notes = c->in->dry || !same_notes || w->notes_fd < 0;
	if (c->fresh_notes)
		fd_close(&w->notes_fd);
	carry_get_history(r, &w->history);
	return warden_resume(c->m);
}

static const struct state_field adoption_fields[] = {
	STATE_FIELD(struct adoption, U32, taken),
	STATE_FIELD(struct adoption, I32, from_pid),
	STATE_FIELD(struct adoption, U64, taken_us),
};

void carry_save_adoption(const struct master *m, struct state_out *o)
{
	state_record(o, "adoption");
	state_put(o, adoption_fields, ARRAY_LEN(adoption_fields), &m->adoption);
}

enum err carry_load_adoption(struct carry_in *c, const struct state_record *r)
{
	state_get(r, adoption_fields, ARRAY_LEN(adoption_fields), &c->m->adoption);
	return ERR_OK;
}

/* ---- control groups ----------------------------------------------------- */

/* Once divided it cannot be found out anew by a master that was started elsewhere. */
void carry_save_cgroup(const struct master *m, struct state_out *o)
{
	const struct cgroup *g = &m->cgroup;
	char list[CGROUP_GROUPS * sizeof(g->names[0])];
	size_t n = 0;

	if (!g->usable)
		return;
	for (uint32_t i = 0; i < g->n_names; i++)
		n += (size_t)snprintf(list + n, sizeof(list) - n, "%s/", g->names[i]);
	state_record(o, "cgroup");
	state_put_text(o, "base", g->base);
	state_put_bytes(o, "names", list, n);
}

enum err carry_load_cgroup(struct carry_in *c, const struct state_record *r)
{
	struct cgroup *g = &c->m->cgroup;
	struct slice base, list;

	if (c->in->dry || !state_get_bytes(r, "base", &base) || base.n == 0 ||
	    base.n >= sizeof(g->base))
		return ERR_OK;
	memcpy(g->base, base.p, base.n);
	g->base[base.n] = '\0';
	g->tried = g->usable = true;
	if (!state_get_bytes(r, "names", &list))
		return ERR_OK;
	for (const char *slash; list.n > 0 && (slash = memchr(list.p, '/', list.n));) {
		size_t n = (size_t)(slash - list.p);
		(void)cgroup_note(g, (struct slice){ list.p, n });
		list.p += n + 1;
		list.n -= n + 1;
	}
	return ERR_OK;
}

/* ---- the admin channel -------------------------------------------------- */

static const struct state_field admin_fields[] = {
	STATE_FIELD(struct admin_sockets, FD, fd),
	STATE_FIELD(struct admin_sockets, I32, warden_note),
	STATE_FIELD(struct admin_sockets, ADDR, tcp),
	STATE_FIELD(struct admin_sockets, FD, tcp_fd),
};

/* The sockets, and not the monitor: another one is started, of the same program as we. */
void carry_save_admin(const struct master *m, struct state_out *o)
{
	state_record(o, "admin");
	state_put(o, admin_fields, ARRAY_LEN(admin_fields), &m->admin.now);
	state_put_text(o, "path", m->admin.now.path);
}

enum err carry_load_admin(struct carry_in *c, const struct state_record *r)
{
	struct admin_sockets *now = &c->m->admin.now;

	state_get(r, admin_fields, ARRAY_LEN(admin_fields), now);
	now->path = state_get_dup(r, "path");
	if (c->fresh_notes)
		now->warden_note = now->path && !c->in->dry ? warden_note(&c->m->warden, now->path) : -1;
	return ERR_OK;
}
