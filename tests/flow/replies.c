/* A reader of replies that forgives nothing; see replies.h. */
#include "flow/replies.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* Value of a field in the head p[0..n), or NULL. */
static const char *field(const char *p, const char *end, const char *name)
{
	size_t n = strlen(name);

	for (p = strstr(p, "\r\n"); p && p + 2 < end; p = strstr(p + 2, "\r\n"))
		if (strncasecmp(p + 2, name, n) == 0 && p[2 + n] == ':')
			return p + 3 + n + strspn(p + 3 + n, " ");
	return NULL;
}

/* Bytes of the chunked body at p[0..n); 0: cut; *ret_bad: malformed. */
static size_t chunked(const char *p, size_t n, bool *ret_bad)
{
	size_t at = 0;

	for (;;) {
		char *after;
		const char *line_end = strstr(p + at, "\r\n");
		if (!line_end)
			return 0;
		size_t size = strtoul(p + at, &after, 16);
		*ret_bad = after != line_end || !isxdigit((unsigned char)p[at]);
		if (*ret_bad)
			return 0;
		at = (size_t)(line_end - p) + 2;
		if (n - at < size + 2)
			return 0;
		at += size;
		*ret_bad = memcmp(p + at, "\r\n", 2) != 0;
		if (*ret_bad)
			return 0;
		at += 2;
		if (size == 0)
			return at;
	}
}

const char *replies_judge(const char *p, size_t n, bool fin, size_t until_close)
{
	while (n) {
		const char *end = strstr(p, "\r\n\r\n");
		if (n >= 9 && memcmp(p, "HTTP/1.1 ", 9) != 0)
			return "no status line where one must be";
		if (!end)
			return fin ? "a head is cut, and it ends like a whole one" : NULL;
		end += 4;
		int status = atoi(p + 9);
		if (status == 101)
			return NULL;
		n -= (size_t)(end - p);
		const char *length = field(p, end - 2, "Content-Length");
		const char *coding = field(p, end - 2, "Transfer-Encoding");
		size_t body = 0;
		bool bad = false, cut = false;
		if (length && coding)
			return "both Content-Length and Transfer-Encoding";
		if (status >= 200 && status != 204 && status != 304) {
			if (coding) {
				body = chunked(end, n, &bad);
				cut = body == 0;
			} else if (length) {
				body = strtoul(length, NULL, 10);
				cut = body > n;
			} else {
				body = n;
				cut = n != until_close;
			}
		}
		if (bad)
			return "a chunk is malformed";
		if (cut)
			return fin ? "a body is cut, and it ends like a whole one" : NULL;
		p = end + body;
		n -= body;
	}
	return NULL;
}
