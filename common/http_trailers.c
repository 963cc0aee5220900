/* Trailer sections.  Runs in balancers, for the few messages that have one. */
#include "common/http_trailers.h"

#include <string.h>

#include "common/http_head.h"

static const struct slice barred[] = {
#define BARRED(name, why) { name, sizeof(name) - 1 },
#include "common/http_trailers.def"
#undef BARRED
};

#define NAME_MAX_BYTES 64 /* no barred one is longer */

#define BARRED(name, why) _Static_assert(sizeof(name) <= NAME_MAX_BYTES, "NAME_MAX_BYTES is too small");
#include "common/http_trailers.def"
#undef BARRED

bool http_trailer_allowed(struct slice name)
{
	char dashed[NAME_MAX_BYTES];

	name.n = MIN(name.n, sizeof(dashed));
	for (size_t i = 0; i < name.n; i++)
		dashed[i] = name.p[i] == '_' ? '-' : name.p[i];
	struct slice plain = { dashed, name.n };
	if (http_field_table[http_field_find(plain)].flags)
		return false;
	for (size_t i = 0; i < ARRAY_LEN(barred); i++) {
		if (slice_ieq(plain, barred[i]))
			return false;
	}
	return true;
}

size_t http_trailers_filter(char *p, size_t n)
{
	size_t kept = 0;

	for (size_t at = 0, line; at < n; at += line) {
		const char *lf = memchr(p + at, '\n', n - at), *colon = memchr(p + at, ':', n - at);
		line = lf ? (size_t)(lf - p) + 1 - at : n - at;
		if (!colon || !http_trailer_allowed((struct slice){ p + at, (size_t)(colon - p) - at }))
			continue;
		memmove(p + kept, p + at, line);
		kept += line;
	}
	return kept;
}
