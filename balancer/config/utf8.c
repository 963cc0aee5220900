/* UTF-8 decoding and the little that is known here about terminals.
 * Called by yaml.c (refuse bad bytes), report.c (carets) and env_file.c. */
#include "balancer/config/utf8.h"

#include "common/base.h"

size_t utf8_decode(const char *p, size_t n, uint32_t *ret_code)
{
	const unsigned char *s = (const unsigned char *)p;
	if (s[0] < 0x80) {
		*ret_code = s[0];
		return 1;
	}
	size_t len = s[0] >= 0xf0 ? 4 : s[0] >= 0xe0 ? 3 : 2;
	if (s[0] < 0xc2 || s[0] > 0xf4 || n < len)
		return 0;
	uint32_t code = s[0] & (0x7fu >> len);
	for (size_t i = 1; i < len; i++) {
		if ((s[i] & 0xc0) != 0x80)
			return 0;
		code = code << 6 | (s[i] & 0x3fu);
	}
	static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };
	if (code < least[len] || code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff))
		return 0;
	*ret_code = code;
	return len;
}

struct range {
	uint32_t from, to;
};

static bool in_ranges(uint32_t code, const struct range *ranges, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (code >= ranges[i].from && code <= ranges[i].to)
			return true;
	return false;
}

bool utf8_printable(uint32_t code)
{
	static const struct range never[] = {
		{ 0x0000, 0x001f }, { 0x007f, 0x009f }, /* C0, DEL, C1 */
		{ 0x200e, 0x200f }, { 0x2028, 0x202e }, /* marks, line ends, overrides */
		{ 0x2066, 0x2069 }, { 0xfeff, 0xfeff }, { 0xfffe, 0xffff },
	};
	return !in_ranges(code, never, ARRAY_LEN(never));
}

/* Not the whole of Unicode's tables (wcwidth() needs a locale, and a daemon has
 * none): enough that a caret stands right under accents, CJK and emoji. */
unsigned utf8_width(uint32_t code)
{
	static const struct range none[] = {
		{ 0x0300, 0x036f },
		{ 0x200b, 0x200d },
		{ 0x20d0, 0x20f0 },
		{ 0xfe00, 0xfe0f },
	};
	static const struct range wide[] = {
		{ 0x1100, 0x115f },   { 0x2e80, 0xa4cf },   { 0xac00, 0xd7a3 },
		{ 0xf900, 0xfaff },   { 0xfe30, 0xfe6f },   { 0xff00, 0xff60 },
		{ 0xffe0, 0xffe6 },   { 0x1f300, 0x1f64f }, { 0x1f680, 0x1f6ff },
		{ 0x1f900, 0x1f9ff }, { 0x20000, 0x3fffd },
	};
	if (in_ranges(code, none, ARRAY_LEN(none)))
		return 0;
	return in_ranges(code, wide, ARRAY_LEN(wide)) ? 2 : 1;
}
