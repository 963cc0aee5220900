/* The words of `command:` written as one string.  Called by load.c. */
#include "balancer/config/words.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "common/mem.h"

#define BLANKS " \t\r\n"

char **words_push(char **words, size_t n, char *word)
{
	words = mem_must_grow(words, (n + 2) * sizeof(*words));
	words[n] = word;
	words[n + 1] = NULL;
	return words;
}

char **words_free(char **words)
{
	for (size_t i = 0; words && words[i]; i++)
		mem_wipe(words[i]); /* of env, too */
	mem_free(words);
	return NULL;
}

/* "NAME=" at the beginning: an assignment for a shell. */
static bool is_assignment(const char *p)
{
	size_t n = strspn(p, "ABCDEFGHIJKLMNOPQRSTUVWXYZ_0123456789abcdefghijklmnopqrstuvwxyz");
	return n > 0 && p[n] == '=' && (p[0] < '0' || p[0] > '9');
}

/* One word from *rest into `out`, which has room for all of it.  False: a quote
 * is not closed, or *ret_operator names what only a shell understands. */
static bool take_word(const char **rest, char *out, const char **ret_operator)
{
	const char *p = *rest;
	for (; *p && !strchr(BLANKS, *p); p++) {
		if (*p == '\'') {
			const char *end = strchr(p + 1, '\'');
			if (!end)
				return false;
			memcpy(out, p + 1, (size_t)(end - p - 1));
			out += end - p - 1;
			p = end;
		} else if (*p == '"') {
			for (p++; *p != '"'; p++) {
				if (*p == '\\' && p[1] && strchr("\"\\$`", p[1]))
					p++;
				if (!*p)
					return false;
				*out++ = *p;
			}
		} else if (*p == '\\') {
			if (!p[1])
				return false;
			*out++ = *++p;
		} else if (strchr("|&;<>`()", *p) || (*p == '$' && p[1] == '(')) {
			*ret_operator = p;
			return false;
		} else {
			*out++ = *p;
		}
	}
	*out = '\0';
	*rest = p;
	return true;
}

char **words_split(const char *text, char why[static WORDS_WHY_MAX])
{
	char **words = NULL;
	size_t n = 0;
	for (const char *p = text + strspn(text, BLANKS); *p; p += strspn(p, BLANKS)) {
		const char *operator= NULL;
		char *word = mem_must_alloc(strlen(p) + 1);
		bool good = take_word(&p, word, &operator);
		words = words_push(words, n++, word);
		if (!good && !operator)
			snprintf(why, WORDS_WHY_MAX, "a quote is not closed");
		else if (!good)
			snprintf(why, WORDS_WHY_MAX,
				 "no shell runs the command, so %c has no meaning; put it in "
				 "quotes, or run a shell: [sh, -c, \"...\"]",
				 *operator);
		else if (n == 1 && is_assignment(text + strspn(text, BLANKS)))
			snprintf(
				why, WORDS_WHY_MAX,
				"no shell runs the command: variables in front of it go under env");
		else
			continue;
		words_free(words);
		return NULL;
	}
	if (n == 0)
		snprintf(why, WORDS_WHY_MAX, "the command is empty");
	return words;
}
