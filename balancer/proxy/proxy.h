/* A balancer: one process, one loop, no threads.  See proxy.c for the story. */
#ifndef DROVER_PROXY_PROXY_H
#define DROVER_PROXY_PROXY_H

#include "balancer/heritage.h"

/* Runs until drained or forced; returns the exit status: 0 drained, 1 something
 * was forced or failed.  Takes the channel, listeners, log and schedstat. */
int proxy_run(const struct proxy_heritage *h);

#endif
