/* The order in which a master's state is written and read; in the master, called by
 * upgrade.c.  Each kind of record is one row; who is named by others comes before them.
 *
 *   self        master rundir logs sink supervisor activated warden
 *   config ──► board ──► listener, app ──► release, instance, rollout, writer ──► worker, line
 *                            └──────────► generation ──► balancer
 */
#include "balancer/master/carry.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "balancer/master/app.h"
#include "balancer/master/carry_parts.h"
#include "common/log.h"
#include "common/mem.h"

#define NEEDED 1u /* without one there is nothing to go on with */
#define OWN 2u    /* of this process: another one has its own, or goes without */

static const struct {
	const char *kind;
	carry_save_f *save;
	carry_load_f *load;
	unsigned flags;
} parts[] = {
	{ "master", carry_save_master, carry_load_master, NEEDED },
	{ "upgrade", carry_save_upgrade, carry_load_upgrade, 0 },
	{ "config", carry_save_configs, carry_load_config, NEEDED },
	{ "logs", carry_save_logs, carry_load_logs, NEEDED | OWN },
	{ "rundir", carry_save_rundir, carry_load_rundir, NEEDED },
	{ "sink", carry_save_sinks, carry_load_sink, OWN },
	{ "supervisor", carry_save_supervisor, carry_load_supervisor, OWN },
	{ "activated", carry_save_activation, carry_load_activation, 0 },
	{ "board", carry_save_board, carry_load_board, NEEDED },
	{ "counter", carry_save_counters, carry_load_counter, OWN },
	{ "warden", carry_save_warden, carry_load_warden, NEEDED },
	{ "adoption", carry_save_adoption, carry_load_adoption, 0 },
	{ "cgroup", carry_save_cgroup, carry_load_cgroup, 0 },
	{ "admin", carry_save_admin, carry_load_admin, 0 },
	{ "listener", carry_save_listeners, carry_load_listener, 0 },
	{ "app", carry_save_apps, carry_load_app, 0 },
	{ "release", carry_save_releases, carry_load_release, 0 },
	{ "instance", carry_save_instances, carry_load_instance, 0 },
	{ "rollout", carry_save_rollouts, carry_load_rollout, 0 },
	{ "writer", carry_save_writers, carry_load_writer, 0 },
	{ "worker", carry_save_workers, carry_load_worker, 0 },
	{ "line", carry_save_lines, carry_load_line, OWN },
	{ "generation", carry_save_generations, carry_load_generation, NEEDED },
	{ "balancer", carry_save_balancers, carry_load_balancer, 0 },
};

/* ---- for the parts ------------------------------------------------------ */

void carry_put_list(struct state_out *o, const char *name, const uint64_t *values, size_t n)
{
	enum { DIGITS = 21 };
	char *text = mem_alloc(n * DIGITS + 1);
	size_t used = 0;

	if (!text) {
		o->failed = true;
		return;
	}
	for (size_t i = 0; i < n; i++)
		used += (size_t)sprintf(text + used, "%s%" PRIu64, i ? " " : "", values[i]);
	state_put_bytes(o, name, text, used);
	mem_free(text);
}

size_t carry_get_list(const struct state_record *r, const char *name, uint64_t *values, size_t room)
{
	struct slice list;
	size_t n = 0;

	if (!state_get_bytes(r, name, &list))
		return 0;
	while (list.n > 0) {
		const char *blank = memchr(list.p, ' ', list.n);
		size_t digits = blank ? (size_t)(blank - list.p) : list.n;
		uint64_t value;
		if (slice_to_u64((struct slice){ list.p, digits }, UINT64_MAX, &value))
			break;
		if (n < room)
			values[n] = value;
		n++;
		list.p += digits + (blank != NULL);
		list.n -= digits + (blank != NULL);
	}
	return n;
}

void carry_put_history(struct state_out *o, const struct backoff_history *h)
{
	carry_put_list(o, "ends_us", h->ends_us, h->n);
	state_put_u64(o, "failed_starts", h->failed_starts);
}

void carry_get_history(const struct state_record *r, struct backoff_history *h)
{
	size_t n = carry_get_list(r, "ends_us", NULL, 0);

	*h = (struct backoff_history){
		.failed_starts = (uint32_t)state_get_u64(r, "failed_starts", 0),
	};
	if (n == 0 || n > UINT32_MAX)
		return;
	h->ends_us = mem_alloc(n * sizeof(*h->ends_us));
	if (!h->ends_us)
		return;
	h->room = h->n = (uint32_t)carry_get_list(r, "ends_us", h->ends_us, n);
}

enum err carry_refuse(const struct state_record *r, const char *why)
{
	log_error("the state that was handed over makes no sense: %.*s: %s", (int)r->kind.n,
		  r->kind.p, why);
	return ERR_SYNTAX;
}

/* ---- all of it ---------------------------------------------------------- */

void carry_save(const struct master *m, struct state_out *o)
{
	for (size_t i = 0; i < ARRAY_LEN(parts); i++)
		parts[i].save(m, o);
}

void carry_save_for_heir(const struct master *m, struct state_out *o)
{
	for (size_t i = 0; i < ARRAY_LEN(parts); i++)
		if (!(parts[i].flags & OWN))
			parts[i].save(m, o);
}

static enum err load_kind(struct carry_in *c, size_t i)
{
	struct state_record r;
	size_t at = 0;
	bool found = false;

	while (state_next(c->in, &at, parts[i].kind, &r)) {
		enum err e = parts[i].load(c, &r);
		found = true;
		if (e)
			return e;
	}
	if ((parts[i].flags & NEEDED) && !found) {
		log_error("the state that was handed over makes no sense: it has no %s",
			  parts[i].kind);
		return ERR_SYNTAX;
	}
	return ERR_OK;
}

static void drop_references(struct carry_in *c)
{
	for (size_t i = 0; i < c->n_configs; i++)
		config_ref_drop(c->configs[i]);
	for (size_t i = 0; i < c->n_releases; i++)
		release_drop(c->releases[i]);
	mem_free(c->configs);
	mem_free(c->listeners);
	mem_free(c->releases);
	mem_free(c->release_apps);
}

static enum err load(struct carry_in *c)
{
	struct master *m = c->m;
	enum err e = ERR_OK;

	m->carried_in = c->in;
	for (size_t i = 0; !e && i < ARRAY_LEN(parts); i++)
		if (!c->heir || !(parts[i].flags & OWN))
			e = load_kind(c, i);
	m->carried_in = NULL;
	drop_references(c);
	if (e == ERR_NOMEM)
		log_error("out of memory for the state that was handed over");
	if (!e && !m->serving) {
		log_error("the state that was handed over makes no sense: no generation serves");
		e = ERR_SYNTAX;
	}
	return e;
}

enum err carry_load(struct master *m, struct state_in *in)
{
	struct carry_in c = { .m = m, .in = in };

	return load(&c);
}

enum err carry_load_as_heir(struct master *m, struct state_in *in)
{
	struct carry_in c = { .m = m, .in = in, .heir = true };
	enum err e = load(&c);

	if (!e)
		carry_settle(m);
	return e;
}
