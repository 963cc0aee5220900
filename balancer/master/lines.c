/* Cutting a worker's output into lines; in the master, called by output.c.  Invariant: a kept partial line holds no newline. */
#include "balancer/master/lines.h"

#include <string.h>

#include "common/base.h"
#include "common/mem.h"

/* ---- cutting ------------------------------------------------------------ */

/* Hands out what was kept, and `bytes` behind it. */
static void give(struct lines *l, const char *bytes, size_t n, bool goes_on, line_f *f, void *arg)
{
	unsigned piece = (goes_on ? LINES_GOES_ON : 0) | (l->continues ? LINES_CONTINUES : 0);

	l->continues = goes_on;
	if (l->n == 0) {
		f(arg, bytes, n, piece);
		return;
	}
	memcpy(l->partial + l->n, bytes, n);
	n += l->n;
	l->n = 0;
	f(arg, l->partial, n, piece);
}

static void keep(struct lines *l, const char *bytes, size_t n, line_f *f, void *arg)
{
	if (!l->partial)
		l->partial = mem_alloc(LINES_MAX);
	if (!l->partial) {
		give(l, bytes, n, true, f, arg);
		return;
	}
	memcpy(l->partial + l->n, bytes, n);
	l->n += n;
}

/* Where to cut at most `n` bytes so that no UTF-8 sequence is torn, as far as one
 * can see: a sequence has three bytes at most behind its first. */
static size_t cut_at(const char *bytes, size_t n)
{
	for (size_t back = 0; back < 4 && back < n; back++)
		if (((unsigned char)bytes[n - back] & 0xc0) != 0x80)
			return n - back;
	return n;
}

void lines_feed(struct lines *l, const char *bytes, size_t n, line_f *f, void *arg)
{
	while (n > 0) {
		size_t room = LINES_MAX - l->n, used = n;
		/* One byte further: a line of just the limit is whole. */
		const char *newline = memchr(bytes, '\n', MIN(n, room + 1));

		if (newline) {
			used = (size_t)(newline - bytes);
			give(l, bytes, used++, false, f, arg);
		} else if (n > room) {
			used = cut_at(bytes, room);
			give(l, bytes, used, true, f, arg);
		} else {
			keep(l, bytes, n, f, arg);
		}
		bytes += used;
		n -= used;
	}
}

enum err lines_resume(struct lines *l, const char *partial, size_t n, bool continues)
{
	*l = (struct lines){ .continues = continues };
	if (n == 0)
		return ERR_OK;
	l->partial = mem_alloc(LINES_MAX);
	if (!l->partial)
		return ERR_NOMEM;
	l->n = MIN(n, LINES_MAX);
	memcpy(l->partial, partial, l->n);
	return ERR_OK;
}

void lines_end(struct lines *l, line_f *f, void *arg)
{
	if (l->n)
		give(l, "", 0, false, f, arg);
	mem_free(l->partial);
	*l = (struct lines){ .partial = NULL };
}
