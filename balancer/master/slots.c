/* Slots and rows of the roster, in the master: the only writer. */
#include "balancer/master/slots.h"

#include <stdio.h>
#include <string.h>

#include "common/fd.h"
#include "common/mem.h"

enum err slots_init(struct slots *s)
{
	struct roster *draft = mem_alloc_zero(sizeof(*draft));

	if (!draft)
		return ERR_NOMEM;
	enum err e = roster_create(&s->fd, &s->shared);
	if (e) {
		mem_free(draft);
		return e;
	}
	s->draft = draft;
	s->dirty = false;
	s->next_epoch = 1;
	return ERR_OK;
}

enum err slots_resume(struct slots *s, int fd, uint64_t next_epoch)
{
	struct roster *draft = mem_alloc_zero(sizeof(*draft));
	enum err e = draft ? roster_map_writable(fd, &s->shared) : ERR_NOMEM;

	if (e) {
		fd_close(&fd);
		mem_free(draft);
		return e;
	}
	*draft = *s->shared;
	s->draft = draft;
	s->fd = fd;
	s->dirty = false;
	s->next_epoch = next_epoch;
	return ERR_OK;
}

void slots_fini(struct slots *s)
{
	fd_close(&s->fd);
	mem_free(s->draft);
	s->draft = NULL;
}

enum err slots_take(struct slots *s, const struct tally *t, uint32_t *ret_slot)
{
	struct roster *d = s->draft;
	uint32_t found = ROSTER_SLOTS;

	for (uint32_t i = 0; i < d->n_slots; i++) {
		if (d->slots[i].state != WORKER_EMPTY)
			continue;
		if (tally_in_flight(t, i) == 0) {
			found = i;
			break;
		}
		if (d->n_slots == ROSTER_SLOTS && found == ROSTER_SLOTS)
			found = i;
	}
	if (found == ROSTER_SLOTS) {
		if (d->n_slots == ROSTER_SLOTS)
			return ERR_FULL;
		found = d->n_slots++;
	}
	d->slots[found] = (struct roster_slot){ .epoch = s->next_epoch++, .weight = 1,
						.state = WORKER_STARTING };
	s->dirty = true;
	*ret_slot = found;
	return ERR_OK;
}

void slots_release(struct slots *s, uint32_t slot)
{
	struct roster *d = s->draft;

	/* The epoch stays: what a balancer kept for it dies with the next one. */
	d->slots[slot] = (struct roster_slot){ .epoch = d->slots[slot].epoch,
					       .state = WORKER_EMPTY };
	s->dirty = true;
}

struct roster_slot *slots_edit(struct slots *s, uint32_t slot)
{
	s->dirty = true;
	return &s->draft->slots[slot];
}

void slots_set_state(struct slots *s, uint32_t slot, enum worker_state state)
{
	slots_edit(s, slot)->state = state;
}

static struct roster_app *find_app(struct slots *s, uint32_t id)
{
	for (uint32_t i = 0; i < s->draft->n_apps; i++)
		if (s->draft->apps[i].id == id)
			return &s->draft->apps[i];
	return NULL;
}

enum err slots_add_app(struct slots *s, uint32_t id, const char *name)
{
	struct roster_app *row = find_app(s, 0);

	if (!row) {
		if (s->draft->n_apps == ROSTER_APPS)
			return ERR_FULL;
		row = &s->draft->apps[s->draft->n_apps++];
	}
	*row = (struct roster_app){ .id = id };
	snprintf(row->name, sizeof(row->name), "%s", name);
	s->dirty = true;
	return ERR_OK;
}

void slots_remove_app(struct slots *s, uint32_t id)
{
	struct roster_app *row = find_app(s, id);

	if (!row)
		return;
	*row = (struct roster_app){ .id = 0 };
	s->dirty = true;
}

void slots_set_app(struct slots *s, uint32_t id, uint32_t coming, uint32_t release)
{
	struct roster_app *row = find_app(s, id);

	if (!row || (row->coming == coming && row->release == release))
		return;
	row->coming = coming;
	row->release = release;
	s->dirty = true;
}

uint64_t slots_version(const struct slots *s)
{
	uint64_t now = atomic_load_explicit(&s->shared->version, memory_order_relaxed);

	return s->dirty ? now + 2 : now;
}

bool slots_publish(struct slots *s)
{
	struct roster *to = s->shared;
	const struct roster *from = s->draft;

	if (!s->dirty)
		return false;
	roster_begin(to);
	to->n_slots = from->n_slots;
	to->n_apps = from->n_apps;
	memcpy(to->apps, from->apps, from->n_apps * sizeof(to->apps[0]));
	memcpy(to->slots, from->slots, from->n_slots * sizeof(to->slots[0]));
	roster_end(to);
	s->dirty = false;
	return true;
}
