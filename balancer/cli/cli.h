/* The command line of drover: what was asked for, and everything that is not
 * running it (check, config, version, help). */
#ifndef DROVER_CLI_CLI_H
#define DROVER_CLI_CLI_H

#include <stdbool.h>

#include "balancer/config/config.h"

/* What `drover run` needs; strings are borrowed from argv and cli.c. */
enum cli_role {
	CLI_NONE = 0,  /* nothing to run: exit */
	CLI_RUN,
	CLI_REHEARSE,  /* try to take over from the master that asks for it */
};

struct cli_run {
	bool takes_over;         /* set by the caller: a master hands over to us, and with it its
	                          * configuration; none is loaded */
	enum cli_role role;
	struct config *config;   /* the caller's; NULL unless one was loaded */
	const char *config_file; /* or NULL */
	struct config_overrides overrides;
};

/* Carries the command out.  Returns the exit status (enum contract_exit); for
 * `run` with a good config ret_run->role is CLI_RUN, and that is what to do next. */
int cli_main(int argc, char **argv, struct cli_run *ret_run);

#endif
