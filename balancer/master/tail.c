/* See tail.h; in the master, called by command.c.
 *
 * Nobody is waited for and nothing is kept for a reader: he comes and says how far he was.
 * A page is bounded, and made by merging the rings of kept lines (recent.h) by their numbers:
 *
 *   of all apps         each app's ring; a place is a line's number
 *   of an app           its ring; a place is how many lines the app had written
 *   of an instance      the same, the others' lines passed over; but the first page comes
 *                       from its workers' own rings, which a neighbour cannot flood
 */
#include "balancer/master/tail.h"

#include <string.h>

#include "balancer/board/admin.h"
#include "balancer/board/page.h"
#include "balancer/board/roster.h"
#include "balancer/master/app.h"
#include "balancer/master/core.h"
#include "common/fd.h"
#include "common/mem.h"

#define PAGE_BYTES (256u * 1024)

/* A ring, and the line of it that is next. */
struct source {
	const struct recent *ring;
	uint32_t app_id;
	size_t offset;
	bool has;
	struct recent_line line;
};

struct merge {
	struct source *sources;
	size_t n, room;
	union {
		struct page page;
		char bytes[PAGE_BYTES];
	};
	size_t used;
};

/* ---- sources ------------------------------------------------------------ */

static void advance(struct source *s)
{
	s->has = recent_next(s->ring, &s->offset, &s->line);
}

static enum err add_source(struct merge *g, const struct recent *ring, uint32_t app_id)
{
	if (g->n == g->room) {
		size_t room = g->room ? 2 * g->room : 16;
		struct source *grown = mem_alloc(room * sizeof(*grown));
		if (!grown)
			return ERR_NOMEM;
		if (g->n)
			memcpy(grown, g->sources, g->n * sizeof(*grown));
		mem_free(g->sources);
		g->sources = grown;
		g->room = room;
	}
	g->sources[g->n] = (struct source){ .ring = ring, .app_id = app_id };
	advance(&g->sources[g->n++]);
	return ERR_OK;
}

static bool from_workers(const struct tail *t)
{
	return t->app && t->instance != ADMIN_LOGS_ALL && t->since == 0;
}

static enum err add_sources(struct merge *g, const struct master *m, const struct tail *t)
{
	enum err e = ERR_OK;

	if (from_workers(t)) {
		list_each (it, &t->app->recents.workers) {
			const struct recent_worker *w = list_entry(it, struct recent_worker, link);
			if (!e && w->instance == t->instance)
				e = add_source(g, &w->lines, t->app->id);
		}
		return e;
	}
	if (t->app)
		return add_source(g, &t->app->recents.all, t->app->id);
	list_each (it, &m->apps) {
		const struct app *a = list_entry(it, struct app, link);
		if (!e)
			e = add_source(g, &a->recents.all, a->id);
	}
	return e;
}

static struct source *next_source(struct merge *g)
{
	struct source *first = NULL;

	for (size_t i = 0; i < g->n; i++)
		if (g->sources[i].has && (!first || g->sources[i].line.seq < first->line.seq))
			first = &g->sources[i];
	return first;
}

/* ---- places ------------------------------------------------------------- */

/* The place behind all that has been written. */
static uint64_t newest(const struct master *m, const struct tail *t)
{
	const struct recent *all = t->app ? &t->app->recents.all : NULL;

	return all ? all->n_evicted + all->n : m->last_line;
}

/* Passes over what is not behind `since`; returns how many lines are left. */
static uint64_t seek(struct merge *g, const struct tail *t, uint64_t since)
{
	uint64_t left = 0;

	for (size_t i = 0; i < g->n; i++) {
		struct source *s = &g->sources[i];
		uint64_t at = s->ring->n_evicted, n = s->ring->n;
		while (s->has && (t->app ? at < since : s->line.seq <= since)) {
			advance(s);
			at++;
			n--;
		}
		left += n;
	}
	return left;
}

/* ---- the page ----------------------------------------------------------- */

/* False: there is no room for it. */
static bool add_line(struct merge *g, const struct source *s)
{
	const struct recent_line *l = &s->line;
	size_t bytes = page_line_bytes(l->n);
	struct page_line row = { .seq = l->seq,
				 .wall_us = l->wall_us,
				 .pid = l->pid,
				 .app_id = s->app_id,
				 .instance = l->instance,
				 .release = l->release,
				 .n = l->n,
				 .stream = l->stream,
				 .cut = l->cut };

	if (sizeof(g->bytes) - g->used < bytes)
		return false;
	memcpy(g->bytes + g->used, &row, sizeof(row));
	recent_text(s->ring, s->offset, l, g->bytes + g->used + sizeof(row));
	memset(g->bytes + g->used + sizeof(row) + l->n, 0, bytes - sizeof(row) - l->n);
	g->used += bytes;
	g->page.n_lines++;
	return true;
}

/* Takes lines in their order, the first `skip` only to pass over them, until the page is
 * full; returns how many. */
static uint64_t fill(struct merge *g, const struct tail *t, uint64_t skip, uint64_t since)
{
	uint64_t taken = 0;
	struct source *s;

	while ((s = next_source(g))) {
		bool wanted = t->instance == ADMIN_LOGS_ALL || s->line.instance == t->instance;
		if (taken >= skip && wanted && !add_line(g, s)) {
			g->page.more = 1;
			break;
		}
		since = t->app ? since + 1 : s->line.seq;
		taken++;
		advance(s);
	}
	g->page.next = since;
	return taken;
}

static enum err make(struct merge *g, const struct master *m, const struct tail *t)
{
	uint64_t end = newest(m, t), since = t->since > end ? 0 : t->since;
	enum err e = add_sources(g, m, t);

	if (e)
		return e;
	g->used = sizeof(g->page);
	g->page = (struct page){ .stamp = PAGE_STAMP };
	if (from_workers(t)) {
		uint64_t left = seek(g, t, 0);
		fill(g, t, left > t->lines ? left - t->lines : 0, 0);
		g->page.next = end; /* what did not fit is not asked for again: the newest is */
		g->page.more = 0;
		return ERR_OK;
	}
	if (t->app && t->app->recents.all.n_evicted > since) {
		g->page.missing = t->app->recents.all.n_evicted - since;
		since = t->app->recents.all.n_evicted;
	}
	uint64_t left = seek(g, t, since);
	bool last = t->lines != ADMIN_LOGS_ALL && left > t->lines;
	uint64_t taken = fill(g, t, last ? left - t->lines : 0, since);
	if (!g->page.more)
		g->page.next = end;
	if (!t->app)
		g->page.missing = g->page.next - since - taken;
	return ERR_OK;
}

enum err tail_make(const struct master *m, const struct tail *t, int *ret_fd, uint64_t *ret_next)
{
	struct merge *g = mem_alloc(sizeof(*g));

	if (!g)
		return ERR_NOMEM;
	g->sources = NULL;
	g->n = g->room = 0;
	*ret_fd = -1;
	enum err e = make(g, m, t);
	*ret_next = g->page.next;
	if (!e && (g->page.n_lines || g->page.missing))
		e = fd_sealed("drover-lines", g->bytes, g->used, ret_fd);
	mem_free(g->sources);
	mem_free(g);
	return e;
}
