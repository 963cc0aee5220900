/* The master: starts, watches and stops everything else.  Privileged; never
 * touches a request byte.  See master.c for the story. */
#ifndef DROVER_MASTER_MASTER_H
#define DROVER_MASTER_MASTER_H

#include "balancer/config/config.h"
#include "balancer/heritage.h"
#include "balancer/master/takeover.h"
#include "common/base.h"

/* How to load the configuration again on SIGHUP. */
struct master_options {
	const char *config_file;                /* or NULL */
	struct config_overrides overrides;      /* borrowed for the whole run */
	char *const *argv;                      /* all of it: for the next exec, and its checks */
};

/* Runs drover in the foreground until it ends; takes `cfg`.  Returns the
 * process's exit status (enum contract_exit). */
int master_run(struct config *cfg, const struct master_options *opt,
	       balancer_main_f *balancer_main, monitor_main_f *monitor_main);

/* The same in a process that was executed by the master before it, which was this process;
 * `t` says where it left its state. */
int master_take_over(const struct takeover *t, const struct master_options *opt,
		     balancer_main_f *balancer_main, monitor_main_f *monitor_main);

/* Whether that would succeed: with a copy of the state on stdin.  Says so on stdout, and
 * ends the process. */
NORETURN void master_rehearse(const struct master_options *opt, balancer_main_f *balancer_main,
			      monitor_main_f *monitor_main);

#endif
