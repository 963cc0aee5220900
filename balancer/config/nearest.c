/* Edit distance for suggestions.  Called for unknown keys, choices, apps, and by
 * the command line for unknown commands and options. */
#include "balancer/config/nearest.h"

#include <string.h>

#include "common/base.h"
#include "common/slice.h"

#define WORD_MAX 40 /* longer words are nobody's misspelling of ours */

/* Insertions, deletions, substitutions and swaps of neighbours, case and '-'
 * against '_' ignored: what typing gets wrong. */
static unsigned distance(const char *a, size_t na, const char *b, size_t nb)
{
	unsigned rows[3][WORD_MAX + 1];
	for (size_t j = 0; j <= nb; j++)
		rows[0][j] = (unsigned)j;
	for (size_t i = 1; i <= na; i++) {
		unsigned *row = rows[i % 3];
		const unsigned *up = rows[(i + 2) % 3], *up2 = rows[(i + 1) % 3];
		row[0] = (unsigned)i;
		for (size_t j = 1; j <= nb; j++) {
			unsigned cost = a[i - 1] != b[j - 1];
			unsigned best = MIN(MIN(up[j], row[j - 1]) + 1, up[j - 1] + cost);
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
				best = MIN(best, up2[j - 2] + 1);
			row[j] = best;
		}
	}
	return rows[na % 3][nb];
}

static size_t fold(char *to, const char *from, size_t n)
{
	for (size_t i = 0; i < n; i++)
		to[i] = from[i] == '-' ? '_' : ascii_lower(from[i]);
	return n;
}

const char *nearest(const char *word, nearest_next_f *next, const void *arg)
{
	char a[WORD_MAX], b[WORD_MAX];
	size_t na = strlen(word), nb;
	if (na == 0 || na > WORD_MAX)
		return NULL;
	fold(a, word, na);
	const char *best = NULL, *known;
	unsigned least =
		na < 4 ? 2 : (unsigned)na / 3 + 2; /* one slip in a short word, more in a long one */
	for (size_t i = 0; (known = next(arg, i)); i++) {
		nb = strlen(known);
		if (nb > WORD_MAX)
			continue;
		fold(b, known, nb);
		unsigned d = distance(a, na, b, nb);
		if (nb > na && na >= 3 && memcmp(a, b, na) == 0)
			d = MIN(d, 1u); /* a beginning of the word: "inst" */
		if (d < least && d < MAX(na, nb)) {
			least = d;
			best = known;
		}
	}
	return best;
}
