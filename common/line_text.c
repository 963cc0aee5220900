/* Showing lines that may hold any bytes; see line_text.h.  In the master (output.c,
 * notify.c), in the monitor and in the commands. */
#include "common/line_text.h"

#include <string.h>

#include "common/base.h"

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

size_t line_text_show(char *out, const char *line, size_t n, bool colours)
{
	size_t to = 0;

	n -= n && line[n - 1] == '\r';
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
	size_t length = s[0] < 0x80   ? 1
			: s[0] < 0xc2 ? 0
			: s[0] < 0xe0 ? 2
			: s[0] < 0xf0 ? 3
			: s[0] < 0xf5 ? 4
				      : 0;

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

/* The character at the front of the line, or U+FFFD for a byte with which none begins; *ret_used:
 * how many bytes of the line that was.  Returns how many `out` got. */
static size_t put_utf8(char *out, const char *line, size_t n, size_t *ret_used)
{
	size_t length = utf8_at((const unsigned char *)line, n);

	*ret_used = MAX(length, 1u);
	if (length == 0)
		memcpy(out, "\xef\xbf\xbd", 3);
	else
		memcpy(out, line, length);
	return length ? length : 3;
}

/* What has to be escaped in a JSON string, or should be; 0: it is none of these. */
static size_t put_escape(char *out, unsigned char c)
{
	if (c == '"' || c == '\\') {
		memcpy(out, (char[]){ '\\', (char)c }, 2);
		return 2;
	}
	if (c >= 0x20 && c != 0x7f)
		return 0;
	memcpy(out, (char[]){ '\\', 'u', '0', '0', hex[c >> 4], hex[c & 15] }, 6);
	return 6;
}

size_t line_text_utf8(char *out, const char *line, size_t n)
{
	size_t to = 0;

	n -= n && line[n - 1] == '\r';
	for (size_t i = 0, used; i < n; i += used)
		to += put_utf8(out + to, line + i, n - i, &used);
	return to;
}

/* The same, escaped. */
size_t line_text_json(char *out, const char *line, size_t n)
{
	size_t to = 0;

	n -= n && line[n - 1] == '\r';
	for (size_t i = 0, used; i < n; i += used) {
		size_t escape = put_escape(out + to, (unsigned char)line[i]);
		used = 1;
		to += escape ? escape : put_utf8(out + to, line + i, n - i, &used);
	}
	return to;
}
