/* Cutting a worker's output into lines, and showing them; in the master, called by
 * output.c.  Invariant: a kept partial line holds no newline. */
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

/* ---- showing ------------------------------------------------------------ */

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

static const char hex[] = "0123456789abcdef";

size_t lines_show(char *out, const char *line, size_t n, bool colours)
{
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

/* Length of the UTF-8 sequence at `s` (RFC 3629 section 4), or 0. */
static size_t utf8_at(const unsigned char *s, size_t n)
{
	unsigned char lo = 0x80, hi = 0xbf;
	size_t length = s[0] < 0x80 ? 1 : s[0] < 0xc2 ? 0 : s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 :
			s[0] < 0xf5 ? 4 : 0;

	if (length == 0 || length > n)
		return 0;
	if (s[0] == 0xe0)
		lo = 0xa0; /* overlong */
	else if (s[0] == 0xed)
		hi = 0x9f; /* surrogates */
	else if (s[0] == 0xf0)
		lo = 0x90; /* overlong */
	else if (s[0] == 0xf4)
		hi = 0x8f; /* above U+10FFFF */
	for (size_t i = 1; i < length; i++, lo = 0x80, hi = 0xbf)
		if (s[i] < lo || s[i] > hi)
			return 0;
	return length;
}

size_t lines_json(char *out, const char *line, size_t n)
{
	size_t to = 0;

	if (n && line[n - 1] == '\r')
		n--;
	for (size_t i = 0, length; i < n; i += MAX(length, 1u)) {
		unsigned char c = (unsigned char)line[i];
		length = utf8_at((const unsigned char *)line + i, n - i);
		if (length == 0) {
			memcpy(out + to, "\xef\xbf\xbd", 3);
			to += 3;
		} else if (c < 0x20 || c == 0x7f) {
			memcpy(out + to, (char[]){ '\\', 'u', '0', '0', hex[c >> 4], hex[c & 15] }, 6);
			to += 6;
		} else {
			if (c == '"' || c == '\\')
				out[to++] = '\\';
			memcpy(out + to, line + i, length);
			to += length;
		}
	}
	return to;
}
