/* What the master tells the service manager that started it (systemd, or whatever
 * else sets NOTIFY_SOCKET), after sd_notify(3). */
#ifndef DROVER_MASTER_SUPERVISOR_H
#define DROVER_MASTER_SUPERVISOR_H

#include <event2/event.h>
#include <event2/event_struct.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/un.h>

struct master;

enum supervisor_word {
	SAID_NOTHING = 0,
	SAID_READY,
	SAID_RELOADING,
	SAID_STOPPING,
};

struct supervisor {
	int fd;                   /* -1: nobody wants to hear */
	struct sockaddr_un to;
	socklen_t to_len;
	enum supervisor_word said;
	uint64_t reload_us;       /* a SIGHUP that it has not been told of; 0: none */
	uint32_t store;           /* descriptors that it keeps for us; 0: none (fdstore.c) */
	uint64_t watchdog_ms;     /* between two signs of life; 0: none wanted */
	bool complained;          /* that it cannot be reached */
	char status[256];         /* the latest that it knows */
	struct event ev_tick, ev_watchdog;
};

/* Reads NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID, and takes them out of the
 * environment: what we start must not speak for us.  Without them nothing here
 * does anything. */
void supervisor_start(struct master *m);
/* The same after an exec: `m->supervisor` is as it was. */
void supervisor_resume(struct master *m);
void supervisor_fini(struct supervisor *s);

/* Tells it `text`, lines of KEY=value; `fd` (-1: none, borrowed) rides along. */
void supervisor_tell(struct master *m, const char *text, int fd);

/* A SIGHUP has come; what it leads to follows. */
void supervisor_on_reload(struct master *m);

/* End of a turn: says what has changed. */
void supervisor_turn(struct master *m);

#endif
