/* A worker's private NOTIFY_SOCKET. */
#ifndef DROVER_MASTER_NOTIFY_H
#define DROVER_MASTER_NOTIFY_H

#include <event2/event.h>
#include <event2/event_struct.h>
#include <stdint.h>
#include <sys/types.h>

#include "balancer/master/notify_message.h"
#include "common/addr.h"
#include "common/proc.h"

#define NOTIFY_STATUS_MAX 200 /* bytes kept of a status, before they are made printable */

typedef void notify_f(void *arg, const struct notify_message *m);

struct notify {
	int fd;             /* -1: there is none */
	char path[108];     /* of the socket: as long as an address may be */
	pid_t group;        /* whose messages are taken */
	uint32_t strangers; /* messages of others, dropped */
	char status[4 * NOTIFY_STATUS_MAX + 1]; /* the last STATUS=, printable; "": none */
	struct event ev, rest;
	notify_f *on_message;
	void *arg;
};

/* Binds a socket at `path`, which only `owner` (unset: our user) may send to.  What comes
 * before notify_start() waits.  ERR_FD_LIMIT, ERR_RANGE (the path is too long), ERR_SYS. */
MUST_CHECK enum err notify_open(struct notify *n, const char *path, const struct proc_user *owner);

/* Calls on_message(arg) from the loop for every message of a process of the group `group`.
 * It may not close `n`.  Borrows base until notify_close(). */
void notify_start(struct notify *n, struct event_base *base, pid_t group, notify_f *on_message,
		  void *arg);

/* Takes what is there now, without waiting: the worker has ended, and is not reaped yet. */
void notify_drain(struct notify *n);

/* Also removes the socket's file.  Accepts one that is not open. */
void notify_close(struct notify *n);

#endif
