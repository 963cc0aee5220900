/* What the command line said, for the commands of this folder. */
#ifndef DROVER_CLI_ARGS_H
#define DROVER_CLI_ARGS_H

#include <stdbool.h>

#include "balancer/config/config.h"
#include "common/base.h"

struct args {
	const char *config_file;
	struct config_overrides over; /* its command: the words behind the options of `run` */
	char *const *words;           /* behind the options of the others, NULL-terminated */
	int n_words;
	const char *lines;            /* of `logs`: a number, or "all"; or NULL */
	bool reference, json, wait, follow;
};

/* One line to stderr, behind "drover: ".  Returns EXIT_USAGE. */
int cli_complain(const char *fmt, ...) PRINTF_LIKE(1, 2);

/* `status`, or EXIT_FAILED when what was printed did not arrive (a full disk, a closed pipe). */
int cli_answered(int status);

/* The config, with the worker that comes with drover known to it; NULL: *ret_status says
 * why, and it has been printed. */
struct config *cli_load(struct args *a, int *ret_status);

#endif
