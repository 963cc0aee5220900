/* The monitor's state, for the files of this folder.  One instance, kept by monitor.c. */
#ifndef DROVER_MONITOR_CORE_H
#define DROVER_MONITOR_CORE_H

#include <event2/event.h>
#include <stdbool.h>
#include <stdint.h>

#include "balancer/heritage.h"
#include "balancer/monitor/server.h"
#include "common/http_head.h"
#include "common/list.h"

struct monitor {
	const struct monitor_heritage *heritage;
	struct event_base *base;
	struct event *ev_channel, *ev_sweep, *ev_later, *ev_alive;
	struct door doors[DOOR_MAX];
	struct list asks;        /* struct ask: the master owes an answer */
	struct list graves;      /* struct conn: freed at the end of the turn */
	uint32_t next_ticket;
	bool leaving;            /* the master has closed the channel */
	struct http_head head;   /* scratch of whoever parses */
	struct roster roster;    /* a copy, as of the last roster_read() */
};

#endif
