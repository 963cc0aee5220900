/* The admin server: connections, requests, replies.  One request a connection. */
#ifndef DROVER_MONITOR_SERVER_H
#define DROVER_MONITOR_SERVER_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/base.h"
#include "common/http_head.h"
#include "common/list.h"

struct monitor;
struct conn;

/* A listening socket. */
enum door_kind {
	DOOR_UNIX = 0, /* its file's mode says who may come */
	DOOR_TCP,      /* anybody may: to look, not to change */
	DOOR_MAX
};

struct door {
	struct monitor *m;
	int fd;              /* -1: there is none */
	bool may_change;
	struct event *ev;
	struct list conns;   /* struct conn, oldest first */
	unsigned n;
};

/* Begins to accept on what was inherited. ERR_NOMEM. */
MUST_CHECK enum err server_start(struct monitor *m);

/* No more connections; those that have not got their whole reply yet go on. */
void server_leave(struct monitor *m);
bool server_is_idle(const struct monitor *m);

/* Frees connections that have ended; at the end of a turn. */
void server_bury(struct monitor *m);
void server_stop(struct monitor *m);

/* ---- for routes.c ---- */

#define ROUTE_ARGS 2

/* What was asked for; borrowed for the time of the call. */
struct call {
	struct slice args[ROUTE_ARGS]; /* what stood for the * of its route */
	struct slice query;            /* behind the ?, without it */
	struct slice body;
};

struct monitor *conn_monitor(struct conn *c);

/* Whether it came through the owner's door. */
bool conn_may_change(const struct conn *c);

/* A number that a handler keeps until the master's answer comes. */
void conn_set_number(struct conn *c, uint32_t number);
uint32_t conn_number(const struct conn *c);

/* Which lines are asked for, and until when they are waited for (logs.c). */
struct conn_tail {
	uint32_t app_id, number;
	uint64_t since;
	bool follows;        /* since was said */
	uint64_t until_us;
};
struct conn_tail *conn_tail(struct conn *c);

/* There is nothing to reply yet: `again` is called with `c` in a moment, unless it ends
 * before.  False: too many wait already. */
typedef void conn_f(struct conn *c);
MUST_CHECK bool conn_later(struct conn *c, conn_f *again);

/* The reply, whole: exactly one of these for each connection.  `body` (taken, may be NULL:
 * out of memory) becomes JSON; `text` is borrowed. */
void conn_reply_json(struct conn *c, uint16_t status, json_t *body);
void conn_reply_text(struct conn *c, uint16_t status, const char *type, struct slice text);

/* An error reply as RFC 9457 wants it; `detail` is a sentence. */
void conn_refuse(struct conn *c, uint16_t status, const char *fmt, ...) PRINTF_LIKE(3, 4);

#endif
