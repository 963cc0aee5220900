/* The monitor: serves the admin channel.  Unprivileged; see monitor.c for the story. */
#ifndef DROVER_MONITOR_MONITOR_H
#define DROVER_MONITOR_MONITOR_H

#include "balancer/heritage.h"

/* Runs until the master closes the channel; returns the exit status. */
int monitor_run(const struct monitor_heritage *h);

#endif
