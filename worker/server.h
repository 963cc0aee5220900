/* The one server of a drover-worker process: its socket, its connections, its end. */
#ifndef DROVER_WORKER_SERVER_H
#define DROVER_WORKER_SERVER_H

#include <event2/event.h>
#include <event2/event_struct.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/addr.h"
#include "common/http_guard.h"
#include "common/http_head.h"
#include "common/list.h"

/* From arguments and environment; never changes. */
struct settings {
	struct addr address;
	uint32_t instance;
	const char *app;      /* NULL: started by hand, not by drover */
	const char *release;  /* NULL likewise */
	int root;             /* directory to serve files from, or -1 */
	bool test;            /* misbehaves on request */
	uint32_t keep_alive_s;
};

struct server {
	const struct settings *settings;
	struct event_base *base;
	int listener;
	struct event accept_ev;
	struct event sweep_ev;      /* every SWEEP_MS while there are connections */
	struct event pause_ev;      /* until accepting is tried again */
	struct event signal_ev[3];
	struct list connections;
	struct list graveyard;      /* dead connections, freed between loop turns */
	uint32_t n_connections;
	uint64_t n_requests;        /* answered since start */
	uint64_t started_us;
	uint64_t drain_by_us;       /* 0: serving; else the end of patience */
	bool stopped;               /* the loop is to end */
	bool is_short;              /* out of descriptors, and said so */
	bool was_cut;               /* something unfinished was ended */
	char **spare;               /* free blocks */
	uint32_t n_spare;
	uint64_t socket_dev, socket_ino; /* of the Unix socket's file: ours to remove */
	struct http_head head;      /* scratch: the head being parsed */
};

/* Serves until told to end by SIGTERM, SIGINT or SIGQUIT; returns the exit
 * status.  Cannot listen: says so and exits. */
int server_run(const struct settings *settings);

/* A block of BLOCK_BYTES, or NULL.  Given back with server_block_return(), which
 * accepts NULL. */
char *server_block(struct server *s);
void server_block_return(struct server *s, char *block);

/* A connection is dead: counts it out, and frees it when the turn ends. */
struct connection;
void server_bury(struct server *s, struct connection *c);

static inline bool server_draining(const struct server *s)
{
	return s->drain_by_us != 0;
}

/* Heads that are let in: more than drover lets in, which adds fields of its own. */
extern const struct http_limits server_limits;

#endif
