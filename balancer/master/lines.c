/* Cutting a worker's output into lines; in the master, called by output.c.
 * Invariant: a kept partial line holds no newline and less than LINES_MAX bytes. */
#include "balancer/master/lines.h"

#include <string.h>

#include "common/base.h"
#include "common/mem.h"

static void keep(struct lines *l, const char *bytes, size_t n, line_f *f, void *arg)
{
	if (n == 0)
		return;
	if (!l->partial)
		l->partial = mem_alloc(LINES_MAX);
	if (!l->partial) {
		f(arg, bytes, n);
		return;
	}
	memcpy(l->partial + l->n, bytes, n);
	l->n += n;
}

/* Hands out a piece that ends a line (or has reached the limit), joined with
 * what was kept of its beginning. */
static void give(struct lines *l, const char *bytes, size_t n, line_f *f, void *arg)
{
	if (l->n == 0) {
		f(arg, bytes, n);
		return;
	}
	memcpy(l->partial + l->n, bytes, n);
	f(arg, l->partial, l->n + n);
	l->n = 0;
}

void lines_feed(struct lines *l, const char *bytes, size_t n, line_f *f, void *arg)
{
	while (n > 0) {
		size_t room = LINES_MAX - l->n;
		size_t look = MIN(n, room);
		const char *newline = memchr(bytes, '\n', look);
		size_t used = newline ? (size_t)(newline - bytes) : look;

		if (newline && used == 0 && l->cut)
			l->cut = false;
		else if (newline || used == room)
			give(l, bytes, used, f, arg);
		else
			keep(l, bytes, used, f, arg);
		l->cut = !newline && used == room;
		used += newline ? 1 : 0;
		bytes += used;
		n -= used;
	}
}

void lines_end(struct lines *l, line_f *f, void *arg)
{
	if (l->n)
		f(arg, l->partial, l->n);
	mem_free(l->partial);
	*l = (struct lines){ .partial = NULL };
}
