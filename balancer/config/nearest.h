/* "Did you mean ...?": the known word that a misspelt one most likely meant. */
#ifndef DROVER_CONFIG_NEAREST_H
#define DROVER_CONFIG_NEAREST_H

#include <stddef.h>

/* `next(arg, i)` gives the i-th known word, NULL past the end.  Returns the
 * nearest to `word`, or NULL when none is near enough to be worth naming. */
typedef const char *nearest_next_f(const void *arg, size_t i);
const char *nearest(const char *word, nearest_next_f *next, const void *arg);

#endif
