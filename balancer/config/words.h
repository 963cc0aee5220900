/* A command line split into words, as a shell would quote them, and without
 * anything else that a shell does. */
#ifndef DROVER_CONFIG_WORDS_H
#define DROVER_CONFIG_WORDS_H

#include <stddef.h>

#include "common/base.h"

#define WORDS_WHY_MAX 160

/* Quotes ('...' literal, "..." with \" \\ \$ \`), backslash, blanks.  What only
 * a shell could carry out (| && ; > `...` $(...) FOO=bar in front) is refused:
 * passed on silently it would surprise.  Gives a NULL-terminated list, ended with
 * words_free(); or NULL, with the reason in `why`. */
MUST_CHECK char **words_split(const char *text, char why[static WORDS_WHY_MAX]);

char **words_free(char **words); /* accepts NULL; returns NULL */

/* Puts `word` (taken) at the end of a list of `n`; gives the list. */
MUST_CHECK char **words_push(char **words, size_t n, char *word);

#endif
