/* The monitor process as the master sees it. */
#ifndef DROVER_MASTER_MONITOR_PROC_H
#define DROVER_MASTER_MONITOR_PROC_H

#include <event2/event.h>
#include <event2/event_struct.h>
#include <stdbool.h>
#include <sys/types.h>

#include "balancer/master/backoff.h"
#include "balancer/master/command.h"

struct master;

struct monitor_proc {
	pid_t pid;            /* 0: none, or waiting to be started again */
	int pidfd, channel;
	bool wanted;          /* replaced when it ends */
	bool relieved;        /* told to end, since it holds sockets of before */
	bool owes;            /* `owed` could not be sent yet; meanwhile nothing is read */
	struct answer owed;
	uint32_t owed_ticket;
	bool tell_reopen;     /* it is to get the error log that is in force */
	struct event ev_ended, ev_channel, ev_writable, ev_restart, ev_silent;
	struct backoff_history history;
};

void monitor_init(struct master *m);

/* Forks it, where there is an admin socket for it to serve.  A failure is logged and tried
 * again: nothing but the admin channel depends on it. */
void monitor_start(struct master *m);

/* The admin sockets are others than before: it is replaced by one that has the new ones. */
void monitor_renew(struct master *m);

/* Sends it the error log that is now in force. */
void monitor_reopen(struct master *m);

/* The end: it sends what it has to say, and goes (leave); that is waited for, not for long,
 * and the process is reaped (stop). */
void monitor_leave(struct master *m);
void monitor_stop(struct master *m);

#endif
