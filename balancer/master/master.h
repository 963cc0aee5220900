/* The master: starts, watches and stops everything else.  Privileged; never
 * touches a request byte.  See master.c for the story. */
#ifndef DROVER_MASTER_MASTER_H
#define DROVER_MASTER_MASTER_H

#include "balancer/config/config.h"
#include "balancer/heritage.h"

/* How to load the configuration again on SIGHUP. */
struct master_options {
	const char *config_file;                /* or NULL */
	struct config_overrides overrides;      /* borrowed for the whole run */
};

/* Runs drover in the foreground until it ends; takes `cfg`.  Returns the
 * process's exit status (enum contract_exit). */
int master_run(struct config *cfg, const struct master_options *opt,
	       balancer_main_f *balancer_main, monitor_main_f *monitor_main);

#endif
