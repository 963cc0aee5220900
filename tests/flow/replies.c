/* A reader of replies that forgives nothing; see replies.h. */
#include "flow/replies.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

const char *reply_field(const struct reply *r, const char *name)
{
	size_t n = strlen(name);

	for (const char *p = strstr(r->head, "\r\n"); p && p + 4 < r->head_end; p = strstr(p + 2, "\r\n"))
		if (strncasecmp(p + 2, name, n) == 0 && p[2 + n] == ':')
			return p + 3 + n + strspn(p + 3 + n, " ");
	return NULL;
}

/* Bytes of the chunked body at p[0..n); 0: cut, or malformed when *ret_bad. */
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
		if (size == 0) { /* trailers, then an empty line */
			const char *end = p + at;
			while (end < p + n && (end[0] != '\r' || end[1] != '\n')) {
				const char *crlf = strstr(end, "\r\n");
				*ret_bad = crlf && !memchr(end, ':', (size_t)(crlf - end));
				if (!crlf || *ret_bad)
					return 0;
				end = crlf + 2;
			}
			return end < p + n ? (size_t)(end - p) + 2 : 0;
		}
		at += size;
		*ret_bad = memcmp(p + at, "\r\n", 2) != 0;
		if (*ret_bad)
			return 0;
		at += 2;
	}
}

/* `n` bytes stand behind the head. */
static enum reply_verdict read_body(struct reply *r, size_t n, const char **ret_wrong)
{
	const char *length = reply_field(r, "Content-Length");
	const char *coding = reply_field(r, "Transfer-Encoding");
	bool bad = false;

	r->framed = true;
	r->body = 0;
	if (length && coding) {
		*ret_wrong = "both Content-Length and Transfer-Encoding";
		return REPLY_BAD;
	}
	if (r->status < 200 || r->status == 204 || r->status == 304)
		return REPLY_WHOLE;
	if (coding) {
		r->body = chunked(r->head_end, n, &bad);
		*ret_wrong = "a chunk is malformed";
		return bad ? REPLY_BAD : r->body ? REPLY_WHOLE : REPLY_CUT;
	}
	if (length) {
		r->body = strtoul(length, NULL, 10);
		return r->body <= n ? REPLY_WHOLE : REPLY_CUT;
	}
	r->framed = false;
	r->body = n;
	return REPLY_WHOLE;
}

enum reply_verdict reply_read(const char *p, size_t n, struct reply *ret_reply,
			      const char **ret_wrong)
{
	const char *end = strstr(p, "\r\n\r\n");

	if (n >= 9 && memcmp(p, "HTTP/1.1 ", 9) != 0) {
		*ret_wrong = "no status line where one must be";
		return REPLY_BAD;
	}
	if (!end)
		return REPLY_CUT;
	*ret_reply = (struct reply){ .status = atoi(p + 9), .head = p, .head_end = end + 4 };
	return read_body(ret_reply, n - (size_t)(end + 4 - p), ret_wrong);
}

const char *replies_judge(const char *p, size_t n, bool fin, size_t until_close)
{
	const char *end = p + n, *wrong = NULL;

	while (p < end) {
		struct reply r;
		switch (reply_read(p, (size_t)(end - p), &r, &wrong)) {
		case REPLY_BAD:
			return wrong;
		case REPLY_CUT:
			return fin ? "a reply is cut, and it ends like a whole one" : NULL;
		case REPLY_WHOLE:
			break;
		}
		if (r.status == 101)
			return NULL;
		if (!r.framed && fin && r.body != until_close)
			return "a body is cut, and it ends like a whole one";
		p = r.head_end + r.body;
	}
	return NULL;
}
