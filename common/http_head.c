/* The tables behind a head: which field names drover knows, which methods.
 * Runs in balancers and in the worker, for every field of every message, so a
 * name is looked up by its length and first byte, never by walking the table. */
#include "common/http_head.h"

const struct http_field_info http_field_table[HTTP_F_MAX] = {
	[HTTP_F_OTHER] = { { "", 0 }, 0, "" },
#define HOP HTTP_FF_HOP
#define ONE HTTP_FF_ONE
#define OWN HTTP_FF_OWN
#define KEEP HTTP_FF_KEEP
#define FIELD(id, text, flag_bits, from) \
	[HTTP_F_##id] = { { text, sizeof(text) - 1 }, flag_bits, from },
#include "common/http_fields.def"
#undef FIELD
#undef HOP
#undef ONE
#undef OWN
#undef KEEP
};

#define FIELD(id, text, flag_bits, from)                                                      \
	_Static_assert(sizeof(text) - 1 <= HTTP_FIELD_NAME_MAX, "HTTP_FIELD_NAME_MAX is too " \
								"small");
#include "common/http_fields.def"
#undef FIELD

/* Length and first letter name at most one row of http_fields.def; a test looks
 * every row up.  Extend it when a row is added. */
static enum http_field_id candidate(size_t n, char first)
{
#define KEY(length, letter) ((unsigned)(length) << 8 | (unsigned char)(letter))
	switch (KEY(n, first)) {
	case KEY(2, 't'): return HTTP_F_TE;
	case KEY(4, 'h'): return HTTP_F_HOST;
	case KEY(4, 'd'): return HTTP_F_DATE;
	case KEY(6, 'a'): return HTTP_F_ACCEPT;
	case KEY(6, 'e'): return HTTP_F_EXPECT;
	case KEY(7, 'r'): return HTTP_F_REFERER;
	case KEY(7, 't'): return HTTP_F_TRAILER;
	case KEY(7, 'u'): return HTTP_F_UPGRADE;
	case KEY(9, 'f'): return HTTP_F_FORWARDED;
	case KEY(10, 'c'): return HTTP_F_CONNECTION;
	case KEY(10, 'k'): return HTTP_F_KEEP_ALIVE;
	case KEY(10, 'u'): return HTTP_F_USER_AGENT;
	case KEY(12, 'x'): return HTTP_F_X_REQUEST_ID;
	case KEY(14, 'c'): return HTTP_F_CONTENT_LENGTH;
	case KEY(15, 'x'): return HTTP_F_X_FORWARDED_FOR;
	case KEY(16, 'p'): return HTTP_F_PROXY_CONNECTION;
	case KEY(16, 'x'): return HTTP_F_X_FORWARDED_HOST;
	case KEY(17, 't'): return HTTP_F_TRANSFER_ENCODING;
	case KEY(17, 'x'): return HTTP_F_X_FORWARDED_PROTO;
	case KEY(18, 'p'): return HTTP_F_PROXY_AUTHENTICATE;
	case KEY(19, 'p'): return HTTP_F_PROXY_AUTHORIZATION;
	default: return HTTP_F_OTHER;
	}
#undef KEY
}

static bool same_name(struct slice name, const char *want)
{
	for (size_t i = 0; i < name.n; i++) {
		if (ascii_lower(name.p[i]) != want[i])
			return false;
	}
	return true;
}

/* Names with x are mostly an application's own; those of the table go on with "-f" or "-r". */
static bool may_be_known(struct slice name, char first)
{
	if (first != 'x')
		return true;
	char third = name.n > 2 ? ascii_lower(name.p[2]) : 0;
	return third == 'f' || third == 'r';
}

/* A name that begins with x and is none of the exact ones. */
static enum http_field_id find_x(struct slice name)
{
	static const struct slice prefix = { "x-forwarded-", 12 };

	if (name.n <= prefix.n)
		return HTTP_F_OTHER;
	name.n = prefix.n;
	return same_name(name, prefix.p) ? HTTP_F_X_FORWARDED : HTTP_F_OTHER;
}

enum http_field_id http_field_find(struct slice name)
{
	if (name.n == 0)
		return HTTP_F_OTHER;
	char first = ascii_lower(name.p[0]);
	if (!may_be_known(name, first))
		return HTTP_F_OTHER;
	enum http_field_id id = candidate(name.n, first);
	if (id == HTTP_F_OTHER || !same_name(name, http_field_table[id].name.p))
		return first == 'x' ? find_x(name) : HTTP_F_OTHER;
	return id;
}

static const struct method_info {
	const char *name;
	uint8_t n;
	bool idempotent; /* RFC 9110 9.2.2 */
} methods[HTTP_M_MAX] = {
	[HTTP_M_OTHER] = { "", 0, false },          [HTTP_M_GET] = { "GET", 3, true },
	[HTTP_M_HEAD] = { "HEAD", 4, true },        [HTTP_M_POST] = { "POST", 4, false },
	[HTTP_M_PUT] = { "PUT", 3, true },          [HTTP_M_DELETE] = { "DELETE", 6, true },
	[HTTP_M_OPTIONS] = { "OPTIONS", 7, true },  [HTTP_M_PATCH] = { "PATCH", 5, false },
	[HTTP_M_CONNECT] = { "CONNECT", 7, false }, [HTTP_M_TRACE] = { "TRACE", 5, true },
};

/* Methods are case-sensitive (RFC 9110 9.1). */
enum http_method http_method_find(struct slice name)
{
	if (name.n < 3 || name.n > 7)
		return HTTP_M_OTHER;
	for (unsigned m = HTTP_M_OTHER + 1; m < HTTP_M_MAX; m++) {
		if (methods[m].n == name.n && methods[m].name[0] == name.p[0] &&
		    memcmp(methods[m].name, name.p, name.n) == 0)
			return (enum http_method)m;
	}
	return HTTP_M_OTHER;
}

bool http_method_idempotent(enum http_method m)
{
	return (unsigned)m < HTTP_M_MAX && methods[m].idempotent;
}

const struct http_field *http_head_find(const struct http_head *h, enum http_field_id id)
{
	for (uint32_t i = 0; i < h->n_fields; i++) {
		if (h->fields[i].id == id)
			return &h->fields[i];
	}
	return NULL;
}

const char *http_framing_text(uint8_t framing)
{
	static const char *const texts[HTTP_BODY_MAX] = {
		[HTTP_BODY_NONE] = "none",
		[HTTP_BODY_LENGTH] = "length",
		[HTTP_BODY_CHUNKED] = "chunked",
		[HTTP_BODY_CLOSE] = "close",
	};
	return framing < HTTP_BODY_MAX ? texts[framing] : "unknown";
}
