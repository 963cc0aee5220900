/* The command line of drover: what was asked for, and everything that is not
 * running it (check, config, version, help). */
#ifndef DROVER_CLI_CLI_H
#define DROVER_CLI_CLI_H

#include "balancer/config/config.h"

/* What `drover run` needs; strings are borrowed from argv and cli.c. */
struct cli_run {
	struct config *config;   /* the caller's; NULL: nothing to run, exit */
	const char *config_file; /* or NULL */
	struct config_overrides overrides;
};

/* Carries the command out.  Returns the exit status (enum contract_exit); for
 * `run` with a good config ret_run->config is set, and that is what to do next. */
int cli_main(int argc, char **argv, struct cli_run *ret_run);

#endif
