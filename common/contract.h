/* What the master and a worker agree on.  See "What a worker gets" in the
 * README; drover-worker shows it in use. */
#ifndef DROVER_COMMON_CONTRACT_H
#define DROVER_COMMON_CONTRACT_H

/* Environment of a worker. */
#define CONTRACT_PORT "PORT"                        /* TCP port, or the path of a Unix socket */
#define CONTRACT_HOST "HOST"                        /* 127.0.0.1; absent with a Unix socket */
#define CONTRACT_INSTANCE "INSTANCE"                /* 0-based, reused by the successor */
#define CONTRACT_NODE_INSTANCE "NODE_APP_INSTANCE"  /* the same, where PM2 users look for it */
#define CONTRACT_APP "DROVER_APP"
#define CONTRACT_RELEASE "DROVER_RELEASE"
#define CONTRACT_CONCURRENCY "WEB_CONCURRENCY"      /* 1: no clustering inside a copy */
#define CONTRACT_NOTIFY "NOTIFY_SOCKET"             /* READY=1 and so on are sent there: sd_notify(3) */
#define CONTRACT_WATCHDOG "WATCHDOG_USEC"            /* there with `watchdog`: WATCHDOG=1 at least this often */

/* Exit statuses of drover itself (sysexits.h where one fits). */
enum contract_exit {
	EXIT_DRAINED = 0,
	EXIT_FAILED = 1,
	EXIT_USAGE = 2,
	EXIT_CONFIG = 78 /* EX_CONFIG */
};

#endif
