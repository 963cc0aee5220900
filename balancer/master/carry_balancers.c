/* What is carried of the way of a request: the board, listening sockets, generations and
 * their balancers.  In the master, called by carry.c. */
#include <stdio.h>
#include <string.h>

#include "balancer/master/app.h"
#include "balancer/master/balancer_proc.h"
#include "balancer/master/carry_parts.h"
#include "balancer/master/generation.h"
#include "balancer/master/listener.h"
#include "balancer/master/reload.h"
#include "common/fd.h"
#include "common/log.h"
#include "common/mem.h"

/* ---- the board ---------------------------------------------------------- */

/* Names the layout of both segments: programs of the same text may share them. */
static void board_layout(char *buf, size_t size)
{
	uint64_t names = 14695981039346656037u; /* FNV-1a */

	for (size_t i = 0; i < COUNTER_MAX; i++)
		for (const char *c = counter_table[i].name; *c; c++)
			names = (names ^ (uint8_t)*c) * 1099511628211u;
	snprintf(buf, size, "%llx/%zu %llx/%zu %llx", (unsigned long long)ROSTER_STAMP,
		 sizeof(struct roster), (unsigned long long)TALLY_STAMP, sizeof(struct tally),
		 (unsigned long long)names);
}

void carry_save_board(const struct master *m, struct state_out *o)
{
	char layout[128];

	board_layout(layout, sizeof(layout));
	state_record(o, "board");
	state_put_text(o, "layout", layout);
	state_put_fd(o, "roster", m->slots.fd);
	state_put_fd(o, "tally", m->tally_fd);
	state_put_u64(o, "next_epoch", m->slots.next_epoch);
}

static enum err map_board(struct master *m, const struct state_record *r, uint64_t next_epoch)
{
	int roster = state_get_fd(r, "roster");
	enum err e = slots_resume(&m->slots, roster, next_epoch);

	m->tally_fd = state_get_fd(r, "tally");
	return e ? e : tally_map(m->tally_fd, &m->tally);
}

/* The balancers that read the old segments get nothing more from us than the order to
 * drain; what they still do is not counted. */
static enum err make_board(struct master *m, uint64_t next_epoch)
{
	enum err e = slots_init(&m->slots);

	m->slots.next_epoch = next_epoch;
	m->told_version = 0;
	return e ? e : tally_create(&m->tally_fd, &m->tally);
}

enum err carry_load_board(struct carry_in *c, const struct state_record *r)
{
	char layout[128];
	struct slice theirs = { "", 0 };
	uint64_t next_epoch = state_get_u64(r, "next_epoch", 0);

	board_layout(layout, sizeof(layout));
	(void)state_get_bytes(r, "layout", &theirs);
	if (next_epoch == 0)
		return carry_refuse(r, "the next epoch is missing");
	c->fresh_board = c->in->dry || !slice_eq(theirs, slice_of(layout));
	enum err e = c->fresh_board ? make_board(c->m, next_epoch) : map_board(c->m, r, next_epoch);
	if (e)
		log_error("cannot use the shared segments that were handed over: %s", err_text(e));
	return e;
}

/* Used where the tally cannot be: by name, so that totals do not step back. */
void carry_save_counters(const struct master *m, struct state_out *o)
{
	for (size_t i = 0; i < COUNTER_MAX; i++) {
		if (counter_table[i].kind != COUNTER_KIND_SUM)
			continue;
		state_record(o, "counter");
		state_put_text(o, "name", counter_table[i].name);
		state_put_u64(o, "total", tally_total(m->tally, (enum counter)i));
	}
}

enum err carry_load_counter(struct carry_in *c, const struct state_record *r)
{
	struct slice name;

	if (!c->fresh_board || !state_get_bytes(r, "name", &name))
		return ERR_OK;
	for (size_t i = 0; i < COUNTER_MAX; i++)
		if (slice_eq(name, slice_of(counter_table[i].name)) &&
		    counter_table[i].kind == COUNTER_KIND_SUM)
			tally_add(&c->m->tally->retired, (enum counter)i,
				  state_get_u64(r, "total", 0));
	return ERR_OK;
}

/* ---- listening sockets -------------------------------------------------- */

static const struct state_field listener_fields[] = {
	STATE_FIELD(struct listener, ADDR, wanted),
	STATE_FIELD(struct listener, ADDR, actual),
	STATE_FIELD(struct listener, BOOL, inherited),
	STATE_FIELD(struct listener, I32, warden_note),
	STATE_FIELD(struct listener, BOOL, file_stays),
	STATE_FIELD(struct listener, U64, file_device),
	STATE_FIELD(struct listener, U64, file_inode),
};

void carry_save_listeners(const struct master *m, struct state_out *o)
{
	list_each(it, &m->listeners) {
		const struct listener *l = list_entry(it, struct listener, link);
		char name[32];

		state_record(o, "listener");
		state_put(o, listener_fields, ARRAY_LEN(listener_fields), l);
		state_put_u64(o, "sockets", l->n_fds);
		state_put_u64(o, "committed", l->n_committed);
		for (size_t i = 0; i < l->n_fds; i++) {
			snprintf(name, sizeof(name), "socket%zu", i);
			state_put_fd(o, name, l->fds[i]);
		}
	}
}

static enum err take_sockets(struct listener *l, const struct state_record *r, bool heir)
{
	uint64_t n = state_get_u64(r, "sockets", 0);
	char name[32];

	if (n > 1 << 16)
		return carry_refuse(r, "too many sockets");
	l->fds = mem_alloc_zero((n + 1) * sizeof(*l->fds));
	if (!l->fds)
		return ERR_NOMEM;
	for (size_t i = 0; i < n; i++) {
		snprintf(name, sizeof(name), "socket%zu", i);
		int fd = state_get_fd(r, name);
		if (fd >= 0)
			l->fds[l->n_fds++] = fd;
		else if (!heir) /* else it was closed after the state had been written */
			return carry_refuse(r, "a socket is missing");
	}
	l->n_committed = MIN(state_get_u64(r, "committed", 0), l->n_fds);
	return ERR_OK;
}

enum err carry_load_listener(struct carry_in *c, const struct state_record *r)
{
	struct listener *l = mem_alloc_zero(sizeof(*l));
	struct listener **grown = mem_alloc((c->n_listeners + 1) * sizeof(struct listener *));

	if (!l || !grown) {
		mem_free(l);
		mem_free(grown);
		return ERR_NOMEM;
	}
	if (c->n_listeners)
		memcpy(grown, c->listeners, c->n_listeners * sizeof(struct listener *));
	mem_free(c->listeners);
	c->listeners = grown;
	c->listeners[c->n_listeners++] = l;
	l->warden_note = -1;
	list_push_back(&c->m->listeners, &l->link);
	state_get(r, listener_fields, ARRAY_LEN(listener_fields), l);
	if (l->wanted.len == 0 || l->actual.len == 0)
		return carry_refuse(r, "its address is missing");
	if (c->fresh_notes && l->warden_note >= 0)
		l->warden_note = c->in->dry ? -1 : warden_note(&c->m->warden,
							       l->actual.un.sun_path);
	return take_sockets(l, r, c->heir);
}

/* From 1 in the order of their records; 0: none. */
static uint64_t number_of(const struct master *m, const struct listener *l)
{
	uint64_t n = 0;

	list_each(it, &m->listeners) {
		n++;
		if (list_entry(it, struct listener, link) == l)
			return n;
	}
	return 0;
}

/* ---- generations -------------------------------------------------------- */

static const struct state_field generation_fields[] = {
	STATE_FIELD(struct generation, U64, began_us),
	STATE_FIELD(struct generation, BOOL, accepting),
	STATE_FIELD(struct generation, BOOL, keeps_workers),
};

void carry_save_generations(const struct master *m, struct state_out *o)
{
	list_each(it, &m->generations) {
		const struct generation *g = list_entry(it, struct generation, link);
		size_t n = g->config->cfg->n_listens;
		uint64_t *listeners = mem_alloc_zero((n + 1) * sizeof(*listeners));

		if (!listeners || g->state == GENERATION_GONE) {
			o->failed |= !listeners;
			mem_free(listeners);
			continue;
		}
		state_record(o, "generation");
		state_put(o, generation_fields, ARRAY_LEN(generation_fields), g);
		state_put_u64(o, "number", g->number);
		state_put_u64(o, "state", g->state);
		state_put_u64(o, "drain", g->drain);
		state_put_u64(o, "config", g->config->number);
		for (size_t i = 0; g->accepting && i < n; i++)
			listeners[i] = number_of(m, g->listeners[i]);
		carry_put_list(o, "listeners", listeners, g->accepting ? n : 0);
		mem_free(listeners);
	}
}

static enum err take_listeners(struct carry_in *c, struct generation *g, const struct state_record *r)
{
	size_t n = g->config->cfg->n_listens;
	uint64_t *numbers = mem_alloc_zero((n + 1) * sizeof(*numbers));
	enum err e = ERR_OK;

	if (!numbers)
		return ERR_NOMEM;
	if (carry_get_list(r, "listeners", numbers, n) != n)
		e = carry_refuse(r, "its addresses are not those of its configuration");
	for (size_t i = 0; !e && i < n; i++) {
		if (numbers[i] == 0)
			continue;
		if (numbers[i] > c->n_listeners) {
			e = carry_refuse(r, "there is no listener of that number");
			break;
		}
		g->listeners[i] = c->listeners[numbers[i] - 1];
		g->listeners[i]->users++;
	}
	mem_free(numbers);
	return e;
}

enum err carry_load_generation(struct carry_in *c, const struct state_record *r)
{
	struct config_ref *config = carry_config(c, state_get_u64(r, "config", 0));
	uint64_t state = state_get_u64(r, "state", GENERATION_MAX);
	uint64_t drain = state_get_u64(r, "drain", DRAIN_NONE);
	struct master *m = c->m;

	if (!config || state >= GENERATION_GONE || drain >= DRAIN_MAX)
		return carry_refuse(r, !config ? "its configuration is missing" : "its state is none");
	enum err e = apps_identify(m, config->cfg);
	if (e)
		return e;
	struct generation *g = generation_resume(m, config, (uint32_t)state_get_u64(r, "number", 0),
						 (enum generation_state)state);
	if (!g)
		return ERR_NOMEM;
	state_get(r, generation_fields, ARRAY_LEN(generation_fields), g);
	g->drain = (enum drain_level)drain;
	if (g->state == GENERATION_SERVING)
		m->serving = g;
	e = generation_find_user(m, config->cfg, &g->user);
	if (!e && g->accepting)
		e = take_listeners(c, g, r);
	if (!e && g == m->serving) {
		m->balancer_user = g->user;
		reload_set_prober(m, config->cfg);
	}
	return e;
}

#define ACKS_UNHEARD (2 * ROSTER_SLOTS) /* more than a warden asks for */

/* ---- balancers ---------------------------------------------------------- */

static const struct state_field balancer_fields[] = {
	STATE_FIELD(struct balancer, U32, index),
	STATE_FIELD(struct balancer, I32, pid),
	STATE_FIELD(struct balancer, U64, start_ticks),
	STATE_FIELD(struct balancer, FD, channel),
	STATE_FIELD(struct balancer, U32, row),
	STATE_FIELD(struct balancer, U64, acked),
	STATE_FIELD(struct balancer, U64, behind_since_us),
	STATE_FIELD(struct balancer, BOOL, ready),
	STATE_FIELD(struct balancer, BOOL, stopped),
	STATE_FIELD(struct balancer, BOOL, killed),
	STATE_FIELD(struct balancer, U32, handover),
	STATE_FIELD(struct balancer, BOOL, foreign),
	STATE_FIELD(struct balancer, BOOL, tell_roster),
};

void carry_save_balancers(const struct master *m, struct state_out *o)
{
	list_each(it, &m->generations)
		list_each(at, &list_entry(it, struct generation, link)->balancers) {
			const struct balancer *b = list_entry(at, struct balancer, link);

			state_record(o, "balancer");
			state_put(o, balancer_fields, ARRAY_LEN(balancer_fields), b);
			state_put_u64(o, "generation", b->generation->number);
			state_put_u64(o, "tell_reopen_error", b->tell_reopen[LOG_KIND_ERROR]);
			state_put_u64(o, "tell_reopen_access", b->tell_reopen[LOG_KIND_ACCESS]);
			state_put_u64(o, "tell_drain", b->tell_drain);
			carry_put_history(o, &b->history);
		}
}

static struct generation *find_generation(struct master *m, uint64_t number)
{
	list_each(it, &m->generations) {
		struct generation *g = list_entry(it, struct generation, link);
		if (g->number == number)
			return g;
	}
	return NULL;
}

static struct balancer *new_balancer(struct generation *g)
{
	struct balancer *b = mem_alloc_zero(sizeof(*b));

	if (b) {
		b->generation = g;
		b->pidfd = b->channel = -1;
		list_init(&b->link);
	}
	return b;
}

/* In another process than its parent: it may have ended, and nobody knows. */
static void find_again(struct carry_in *c, struct balancer *b)
{
	struct master *m = c->m;

	if (b->pid == 0)
		return;
	b->acks_over = -ACKS_UNHEARD; /* those to its warden's ROSTERs may still come */
	if (b->channel < 0 || !carry_find(b->pid, b->start_ticks, &b->pidfd)) {
		log_warn("balancer %u (pid %d) has ended while there was no master", b->index,
			 (int)b->pid);
		fd_close(&b->channel);
		if (!b->foreign)
			tally_retire(m->tally, b->row);
		b->pid = 0;
	}
	if (!b->foreign)
		warden_note_balancer(&m->warden, b->row, b->pid);
}

enum err carry_load_balancer(struct carry_in *c, const struct state_record *r)
{
	struct generation *g = find_generation(c->m, state_get_u64(r, "generation", 0));

	if (!g)
		return carry_refuse(r, "there is no generation of that number");
	struct balancer *b = new_balancer(g);
	if (!b)
		return ERR_NOMEM;
	state_get(r, balancer_fields, ARRAY_LEN(balancer_fields), b);
	b->tell_reopen[LOG_KIND_ERROR] = state_get_u64(r, "tell_reopen_error", 0);
	b->tell_reopen[LOG_KIND_ACCESS] = state_get_u64(r, "tell_reopen_access", 0);
	b->tell_drain = (enum drain_level)MIN(state_get_u64(r, "tell_drain", 0), DRAIN_HARD);
	b->foreign |= c->fresh_board;
	carry_get_history(r, &b->history);
	if (b->row >= TALLY_ROWS || (b->pid && (b->pid <= 1 || (b->channel < 0 && !c->heir)))) {
		list_push_back(&g->balancers, &b->link);
		return carry_refuse(r, "its channel is missing");
	}
	if (c->heir) {
		find_again(c, b);
		balancer_resume(b);
		return ERR_OK;
	}
	/* A child of ours that has ended, but was not reaped, is still found. */
	if (b->pid && fd_of_pid(b->pid, &b->pidfd)) {
		fd_close(&b->channel);
		b->pid = 0;
	}
	if (c->fresh_notes && !c->in->dry && !b->foreign)
		warden_note_balancer(&c->m->warden, b->row, b->pid);
	balancer_resume(b);
	return ERR_OK;
}
