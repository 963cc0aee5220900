/* Text as (pointer, length): borrowed, not NUL-terminated, may hold any byte. */
#ifndef DROVER_COMMON_SLICE_H
#define DROVER_COMMON_SLICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "common/base.h"
#include "common/err.h"

struct slice {
	const char *p;
	size_t n;
};

#define SLICE(literal) ((struct slice){ (literal), sizeof(literal) - 1 })

static inline struct slice slice_of(const char *text)
{
	return (struct slice){ text, text ? strlen(text) : 0 };
}

/* Byte-exact, and ASCII case-insensitive (locale never matters). */
bool slice_eq(struct slice a, struct slice b);
bool slice_ieq(struct slice a, struct slice b);
bool slice_starts(struct slice s, struct slice prefix);
bool slice_istarts(struct slice s, struct slice prefix);

/* Without SP and HTAB at both ends (RFC 9110 5.6.3 OWS). */
struct slice slice_trim(struct slice s);

/* Next non-empty element of a comma-separated list, trimmed; advances *rest.
 * False at the end.  Commas inside quoted strings do not separate (RFC 9110 5.6.1). */
bool slice_next_item(struct slice *rest, struct slice *ret_item);

/* Decimal digits only: no sign, space, prefix or empty text.  ERR_SYNTAX, or
 * ERR_RANGE past `max`. */
MUST_CHECK enum err slice_to_u64(struct slice s, uint64_t max, uint64_t *ret_value);

/* RFC 9110 5.6.2 token: one or more tchar. */
bool slice_is_token(struct slice s);
extern const uint8_t slice_tchar[256]; /* 1 where the byte is a tchar */

static inline char ascii_lower(char c)
{
	return (c >= 'A' && c <= 'Z') ? (char)(c | 0x20) : c;
}

#endif
