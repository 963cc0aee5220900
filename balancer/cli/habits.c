/* Words of other programs, and what they are called here.  Read by cli.c when a
 * word is unknown, before it looks for a misspelling. */
#include "balancer/cli/habits.h"

#include <stddef.h>
#include <string.h>

#include "common/base.h"

#define FOREGROUND "drover stays in the foreground, and a service manager keeps it running"

struct habit {
	const char *words; /* between blanks, also at both ends */
	const char *instead;
};

static const struct habit commands[] = {
	{ " start serve server up launch exec ", "did you mean run?" },
	{ " test configtest validate verify lint ", "did you mean check?" },
	{ " show dump print ", "did you mean config?" },
	{ " quit kill shutdown down ", "did you mean stop?" },
	{ " deploy hup ", "did you mean reload?" },
	{ " ps list ls top info ", "did you mean status?" },
	{ " log tail follow attach ", "did you mean logs?" },
	{ " reopen ", "to reopen the log files, send SIGUSR1 to the master" },
	{ " -s ", "did you mean drover reload, or drover stop?" },
};

static const struct habit options[] = {
	{ " port bind host address p l b ", "did you mean --listen?" },
	{ " workers processes threads i n w ", "did you mean --instances?" },
	{ " conf file f ", "did you mean --config?" },
	{ " daemon daemonize background d D ", FOREGROUND },
};

static const char *find(const struct habit *rows, size_t n, const char *word)
{
	size_t length = strlen(word);

	if (length == 0 || strchr(word, ' '))
		return NULL;
	for (size_t i = 0; i < n; i++) {
		const char *at = rows[i].words;

		while ((at = strstr(at, word)) != NULL) {
			if (at[-1] == ' ' && at[length] == ' ')
				return rows[i].instead;
			at++;
		}
	}
	return NULL;
}

const char *habit_command(const char *word)
{
	return find(commands, ARRAY_LEN(commands), word);
}

const char *habit_option(const char *word)
{
	return find(options, ARRAY_LEN(options), word);
}
