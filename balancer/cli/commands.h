/* The commands that talk to a running drover. */
#ifndef DROVER_CLI_COMMANDS_H
#define DROVER_CLI_COMMANDS_H

#include "balancer/cli/args.h"
#include "balancer/cli/cli.h"

/* Each returns the exit status; ret_run is left alone. */
int command_status(const struct args *a, struct cli_run *ret_run);
int command_reload(const struct args *a, struct cli_run *ret_run);
int command_restart(const struct args *a, struct cli_run *ret_run);
int command_scale(const struct args *a, struct cli_run *ret_run);
int command_drain(const struct args *a, struct cli_run *ret_run);
int command_stop(const struct args *a, struct cli_run *ret_run);
int command_logs(const struct args *a, struct cli_run *ret_run);
int command_upgrade(const struct args *a, struct cli_run *ret_run);

#endif
