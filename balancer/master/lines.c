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

/* Length of the colour sequence (CSI digits and semicolons "m") at `p`, or 0. */
static size_t colour_at(const char *p, size_t n)
{
	size_t i = 2;

	if (n < 3 || p[0] != '\033' || p[1] != '[')
		return 0;
	while (i < n && ((p[i] >= '0' && p[i] <= '9') || p[i] == ';'))
		i++;
	return i < n && p[i] == 'm' ? i + 1 : 0;
}

/* C0 and DEL; C1 as UTF-8 writes it (C2 80 to C2 9F), which terminals obey too. */
static bool is_control(const char *line, size_t i, size_t n)
{
	unsigned char c = (unsigned char)line[i];

	if (c < 0x20)
		return c != '\t';
	return c == 0x7f || (c == 0xc2 && i + 1 < n && ((unsigned char)line[i + 1] & 0xe0) == 0x80);
}

size_t lines_show(char *out, const char *line, size_t n, bool colours)
{
	static const char hex[] = "0123456789abcdef";
	size_t to = 0;

	if (n && line[n - 1] == '\r')
		n--;
	for (size_t i = 0; i < n;) {
		size_t plain = colours ? colour_at(line + i, n - i) : 0;
		if (plain == 0 && !is_control(line, i, n))
			plain = 1;
		if (plain) {
			memcpy(out + to, line + i, plain);
			to += plain;
			i += plain;
			continue;
		}
		unsigned char c = (unsigned char)line[i++];
		memcpy(out + to, (char[]){ '\\', 'x', hex[c >> 4], hex[c & 15] }, 4);
		to += 4;
	}
	return to;
}
