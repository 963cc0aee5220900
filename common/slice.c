/* Text as (pointer, length), in every process.  Nothing here looks at the
 * locale, allocates, or needs a NUL. */
#include "common/slice.h"

/* RFC 9110 5.6.2: tchar */
const uint8_t slice_tchar[256] = {
	['!'] = 1, ['#'] = 1, ['$'] = 1, ['%'] = 1, ['&'] = 1, ['\''] = 1, ['*'] = 1, ['+'] = 1,
	['-'] = 1, ['.'] = 1, ['^'] = 1, ['_'] = 1, ['`'] = 1, ['|'] = 1, ['~'] = 1,
	['0' ... '9'] = 1, ['A' ... 'Z'] = 1, ['a' ... 'z'] = 1,
};

/* An empty slice may have a NULL pointer, which memcmp() must not see. */
static bool bytes_eq(const char *a, const char *b, size_t n)
{
	return n == 0 || memcmp(a, b, n) == 0;
}

static bool bytes_ieq(const char *a, const char *b, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (ascii_lower(a[i]) != ascii_lower(b[i]))
			return false;
	}
	return true;
}

bool slice_eq(struct slice a, struct slice b)
{
	return a.n == b.n && bytes_eq(a.p, b.p, a.n);
}

bool slice_ieq(struct slice a, struct slice b)
{
	return a.n == b.n && bytes_ieq(a.p, b.p, a.n);
}

bool slice_starts(struct slice s, struct slice prefix)
{
	return s.n >= prefix.n && bytes_eq(s.p, prefix.p, prefix.n);
}

bool slice_istarts(struct slice s, struct slice prefix)
{
	return s.n >= prefix.n && bytes_ieq(s.p, prefix.p, prefix.n);
}

static bool is_ows(char c)
{
	return c == ' ' || c == '\t';
}

struct slice slice_trim(struct slice s)
{
	while (s.n && is_ows(s.p[0])) {
		s.p++;
		s.n--;
	}
	while (s.n && is_ows(s.p[s.n - 1]))
		s.n--;
	return s;
}

/* Bytes before the first comma outside quotes.  A quoted string that is never
 * closed reaches to the end: what follows it cannot be trusted to be a list. */
static size_t item_length(struct slice s)
{
	bool quoted = false;
	size_t i = 0;

	while (i < s.n && (quoted || s.p[i] != ',')) {
		if (s.p[i] == '"')
			quoted = !quoted;
		else if (quoted && s.p[i] == '\\' && i + 1 < s.n)
			i++; /* RFC 9110 5.6.4: quoted-pair */
		i++;
	}
	return i;
}

bool slice_next_item(struct slice *rest, struct slice *ret_item)
{
	while (rest->n) {
		size_t n = item_length(*rest);
		struct slice item = slice_trim((struct slice){ rest->p, n });

		if (n < rest->n)
			n++; /* the comma */
		rest->p += n;
		rest->n -= n;
		if (item.n) {
			*ret_item = item;
			return true;
		}
	}
	return false;
}

enum err slice_to_u64(struct slice s, uint64_t max, uint64_t *ret_value)
{
	uint64_t value = 0;
	bool over = false;

	if (s.n == 0)
		return ERR_SYNTAX;
	/* To the end even past `max`: "999999999999999999999x" is no number. */
	for (size_t i = 0; i < s.n; i++) {
		if (s.p[i] < '0' || s.p[i] > '9')
			return ERR_SYNTAX;
		uint64_t digit = (uint64_t)(s.p[i] - '0');
		if (i >= 19 && value > (UINT64_MAX - digit) / 10) /* nineteen always fit */
			over = true;
		else
			value = value * 10 + digit;
	}
	if (over || value > max)
		return ERR_RANGE;
	*ret_value = value;
	return ERR_OK;
}

bool slice_is_token(struct slice s)
{
	for (size_t i = 0; i < s.n; i++) {
		if (!slice_tchar[(uint8_t)s.p[i]])
			return false;
	}
	return s.n > 0;
}
