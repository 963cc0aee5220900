/* All that crosses from the master to a balancer or to the monitor at fork, in a struct each.
 * The only header that master/, proxy/ and monitor/ share besides config/, board/ and common/. */
#ifndef DROVER_HERITAGE_H
#define DROVER_HERITAGE_H

#include <stddef.h>
#include <stdint.h>

#include "balancer/board/roster.h"
#include "balancer/board/tally.h"
#include "balancer/config/config.h"

/* Which form the records have that balancers send each other when connections go from one
 * generation to the next (proxy/handover_record.h).  The master makes no channel between two
 * that were built with different ones. */
#define HANDOVER_FORM 2

struct proxy_heritage {
	const struct config *config;     /* finished, never changed */
	const struct roster *roster;     /* read-only from here on */
	const struct tally *tally;
	struct tally_row *row;           /* of it; this process is its only writer */
	int channel;                     /* SOCK_SEQPACKET to the master (common/msg.h) */
	const int *listeners;            /* listening sockets, already listening */
	const uint32_t *listener_of;     /* per socket: index into config->listens */
	size_t n_listeners;
	int access_log_fd;               /* private, non-blocking; or -1 */
	int schedstat_fd;                /* this process's /proc/self/schedstat, or -1 */
	uint32_t sockets_max;            /* of clients and workers together; then accepting pauses */
	uint32_t index;                  /* 0-based among this generation's balancers */
	/* Or NULL.  To be called once, when all that lives as long as the process stands (the
	 * loop, a ring) and before the first byte from outside: few system calls are left then. */
	void (*seal)(void);
};

/* The balancer's main function; main.c hands proxy_run() to the master under
 * this type, so that master/ and proxy/ never include each other. */
typedef int balancer_main_f(const struct proxy_heritage *h);

struct monitor_heritage {
	const char *name;                /* of this instance */
	const char *config_file;         /* or NULL */
	const struct roster *roster;     /* read-only */
	const struct tally *tally;       /* read-only */
	int channel;                     /* to the master: ASK up, ANSWER down */
	int admin_fd;                    /* listening Unix socket, or -1 */
	int admin_tcp_fd;                /* listening TCP socket, for those who may only look; or -1 */
	void (*seal)(void);              /* as above */
};

/* The monitor's main function; monitor_run() of monitor/. */
typedef int monitor_main_f(const struct monitor_heritage *h);

#endif
