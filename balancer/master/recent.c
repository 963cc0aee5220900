/* Keeping the workers' last lines; in the master.  Written by output.c, read by
 * whoever reports on a worker.
 *
 * A ring holds records, each a header and its text, one behind the other; a
 * record may wrap around the end.  It is copied in and out, so nobody holds a
 * pointer into it.  Invariant: [from, from + used) modulo size is whole records.
 */
#include "balancer/master/recent.h"

#include <assert.h>
#include <string.h>
#include <time.h>

#include "common/mem.h"

/* ---- one ring ----------------------------------------------------------- */

void recent_init(struct recent *r, size_t size)
{
	assert(size > RECENT_LINE_BYTES + sizeof(struct recent_line));
	*r = (struct recent){ .size = size };
}

void recent_fini(struct recent *r)
{
	mem_free(r->bytes);
	*r = (struct recent){ .size = r->size };
}

static void put(struct recent *r, const void *bytes, size_t n)
{
	size_t at = (r->from + r->used) % r->size;
	size_t first = MIN(n, r->size - at);

	memcpy(r->bytes + at, bytes, first);
	if (n > first)
		memcpy(r->bytes, (const char *)bytes + first, n - first);
	r->used += n;
}

static void get(const struct recent *r, size_t offset, void *bytes, size_t n)
{
	size_t at = (r->from + offset) % r->size;
	size_t first = MIN(n, r->size - at);

	memcpy(bytes, r->bytes + at, first);
	if (n > first)
		memcpy((char *)bytes + first, r->bytes, n - first);
}

static void evict_oldest(struct recent *r)
{
	struct recent_line line;

	get(r, 0, &line, sizeof(line));
	r->from = (r->from + sizeof(line) + line.n) % r->size;
	r->used -= sizeof(line) + line.n;
	r->n--;
	r->n_evicted++;
	r->evicted = line.seq;
}

void recent_add(struct recent *r, const struct recent_line *line)
{
	struct recent_line head = *line;

	if (!r->bytes)
		r->bytes = mem_alloc(r->size);
	if (!r->bytes) {
		r->evicted = line->seq;
		r->n_evicted++;
		return;
	}
	head.text = NULL;
	while (r->size - r->used < sizeof(head) + head.n)
		evict_oldest(r);
	put(r, &head, sizeof(head));
	if (head.n)
		put(r, line->text, head.n);
	r->n++;
}

bool recent_next(const struct recent *r, size_t *offset, struct recent_line *ret_line)
{
	if (*offset >= r->used)
		return false;
	get(r, *offset, ret_line, sizeof(*ret_line));
	*offset += sizeof(*ret_line) + ret_line->n;
	return true;
}

void recent_text(const struct recent *r, size_t offset, const struct recent_line *line, char *text)
{
	get(r, offset - line->n, text, line->n);
}

void recent_each(const struct recent *r, uint64_t after, recent_f *f, void *arg)
{
	char text[RECENT_LINE_BYTES];
	struct recent_line line;
	size_t offset = 0;

	while (recent_next(r, &offset, &line)) {
		if (line.seq <= after)
			continue;
		recent_text(r, offset, &line, text);
		line.text = text;
		if (!f(arg, &line))
			return;
	}
}

uint64_t recent_before_last(const struct recent *r, uint32_t n)
{
	uint32_t skip = r->n > n ? r->n - n : 0;
	struct recent_line line = { .seq = 0 };

	for (size_t offset = 0; skip > 0; skip--) {
		get(r, offset, &line, sizeof(line));
		offset += sizeof(line) + line.n;
	}
	return line.seq;
}

/* ---- an app's ----------------------------------------------------------- */

static struct recent_worker *worker_of(struct list *it)
{
	return list_entry(it, struct recent_worker, link);
}

static void forget(struct recent_worker *w)
{
	list_remove(&w->link);
	recent_fini(&w->lines);
	mem_free(w);
}

void recents_init(struct recents *rs, uint64_t *seq)
{
	recent_init(&rs->all, RECENT_APP_BYTES);
	list_init(&rs->workers);
	rs->seq = seq;
}

void recents_fini(struct recents *rs)
{
	list_each_safe (it, &rs->workers)
		forget(worker_of(it));
	recent_fini(&rs->all);
}

struct recent_worker *recents_open(struct recents *rs, pid_t pid, uint32_t instance, uint32_t release)
{
	struct recent_worker *w = mem_alloc_zero(sizeof(*w));

	if (!w)
		return NULL;
	w->of = rs;
	w->pid = pid;
	w->instance = instance;
	w->release = release;
	recent_init(&w->lines, RECENT_WORKER_BYTES);
	list_push_back(&rs->workers, &w->link);
	return w;
}

void recents_add(struct recent_worker *w, int stream, const char *text, size_t n, bool cut)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME_COARSE, &now);
	struct recent_line line = {
		.seq = ++*w->of->seq,
		.wall_us = (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000,
		.pid = w->pid,
		.instance = w->instance,
		.release = w->release,
		.n = (uint16_t)MIN(n, RECENT_LINE_BYTES),
		.stream = (uint8_t)stream,
		.cut = cut || n > RECENT_LINE_BYTES,
		.text = text,
	};
	recent_add(&w->lines, &line);
	recent_add(&w->of->all, &line);
}

/* Of the ended ones of `instance` only the newest `keep` stay. */
static void keep_ended(struct recents *rs, uint32_t instance, unsigned keep)
{
	unsigned n = 0;

	list_each (it, &rs->workers)
		n += worker_of(it)->ended && worker_of(it)->instance == instance;
	list_each_safe (it, &rs->workers) {
		struct recent_worker *w = worker_of(it);
		if (n > keep && w->ended && w->instance == instance) {
			forget(w);
			n--;
		}
	}
}

struct recent_worker *recents_close(struct recent_worker *w)
{
	if (!w)
		return NULL;
	w->ended = true;
	/* In the order of their ends. */
	list_remove(&w->link);
	list_push_back(&w->of->workers, &w->link);
	keep_ended(w->of, w->instance, RECENT_ENDED_KEPT);
	return NULL;
}

void recents_trim(struct recents *rs, uint32_t wanted)
{
	list_each_safe (it, &rs->workers)
		if (worker_of(it)->ended && worker_of(it)->instance >= wanted)
			forget(worker_of(it));
}

const struct recent_worker *recents_of_pid(const struct recents *rs, pid_t pid)
{
	const struct recent_worker *found = NULL;

	list_each (it, &rs->workers)
		if (worker_of(it)->pid == pid)
			found = worker_of(it);
	return found;
}

const struct recent_worker *recents_of_instance(const struct recents *rs, uint32_t instance)
{
	const struct recent_worker *found = NULL;

	list_each (it, &rs->workers) {
		const struct recent_worker *w = worker_of(it);
		/* One that lives comes before any that has ended. */
		if (w->instance == instance && (!found || found->ended || !w->ended))
			found = w;
	}
	return found;
}
