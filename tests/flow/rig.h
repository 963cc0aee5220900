/* A balancer under test, in this process: config, roster and tally made by hand,
 * the proxy driven turn by turn, and all its clients and workers scripted.
 *
 *   clients[] --> listener --> proxy --> workers' listeners --> conns[]
 *
 * Time stands still until rig_tick().  Nothing happens by itself: the sweep runs
 * when time moves, and a turn never waits. */
#ifndef DROVER_TESTS_RIG_H
#define DROVER_TESTS_RIG_H

#include <stdbool.h>
#include <stdint.h>

#include "balancer/proxy/loop.h"
#include "flow/heir.h"
#include "lib/peer.h"

#define RIG_CLIENTS 8
#define RIG_CONNS 64
#define RIG_WORKERS 6

/* How this balancer differs from the usual one; 0 leaves it as it is. */
struct rig_setup {
	uint32_t workers;      /* 2 */
	bool unix_sockets;     /* on both sides: their buffers are small and fixed */
	bool servers;          /* the app's servers are not of our starting */
	bool trusting;         /* 127.0.0.0/8 is believed */
	bool routed;           /* the app serves /app only */
	bool log_json;
	uint32_t connections;  /* limits.connections */
	uint32_t per_client;   /* limits.per_client */
	uint32_t sockets;      /* heritage.sockets_max; as good as unlimited */
	uint32_t queue;        /* 8 */
	uint32_t idle;         /* pooled connections per worker: 4 */
	uint64_t body_bytes;   /* limits.body */
	uint64_t min_rate;     /* limits.min_rate */
	uint32_t head_bytes;   /* limits.head */
};

/* Where a worker's address leads. */
enum rig_door { RIG_OPEN = 0, RIG_REFUSES, RIG_SILENT /* neither accepts nor refuses */ };

/* What befalls the run. */
enum rig_blow {
	RIG_UNHARMED = 0,
	RIG_NO_MEMORY,    /* the n-th allocation or registration of an event fails */
	RIG_MEMORY_GONE,  /* and from there on the first of each turn */
	RIG_IN_PIECES,    /* peers send n bytes at a time */
	RIG_CLIENT_ENDS,  /* from here: after the n-th turn, all connections of that side */
	RIG_CLIENT_RESETS,
	RIG_WORKER_ENDS,
	RIG_WORKER_RESETS,
	RIG_BLOW_MAX
};

struct rig {
	struct rig_setup setup;
	struct config config;
	struct cfg_app app;
	struct cfg_route route;
	struct cfg_listen listen;
	struct addr_block trust;
	struct addr servers[RIG_WORKERS];
	struct proxy_heritage heritage;
	struct proxy *proxy;
	uint32_t row;           /* of the tally */
	int listeners[2];       /* the proxy's own descriptors; the second is the one we use */
	int master;             /* our end of the channel; -1: the master has gone */
	int log, errors;        /* what the access log goes to, and the error log */
	bool drained;           /* the proxy said that it has finished */
	uint64_t acked;         /* last roster version that was acknowledged */
	bool ready, stopped;    /* MSG_READY, MSG_STOPPED have come */

	struct peer clients[RIG_CLIENTS];
	struct peer conns[RIG_CONNS]; /* in the order in which the workers got them */
	uint32_t conn_worker[RIG_CONNS];
	size_t answered[RIG_CONNS];   /* of conns[].in, by answer_alone() */
	uint32_t n_conns;
	int fillers[RIG_WORKERS][2];  /* keep a silent worker's queue full; else -1 */

	struct heir heir;       /* of the next generation; see rig_hand_over() */

	enum rig_blow blow;
	uint64_t blow_at;
	bool struck;            /* the blow has fallen */
	bool alone;             /* workers answer without a script */
	uint64_t turns;         /* in which the proxy did something */
	unsigned busiest;       /* most events that one of them had, by its own count */
	int n_fds;              /* open before the start */
};

/* Makes the sockets that all rigs of this program share; call once. */
void rig_boot(void);

void rig_start(struct rig *r, const struct rig_setup *setup, enum rig_blow blow, uint64_t blow_at);

/* One turn of everybody; true when something moved. */
bool rig_turn(struct rig *r);
/* Turns until nothing moves.  Fails the test when that never comes. */
void rig_settle(struct rig *r);

void rig_tick(struct rig *r, uint64_t ms);
/* The same, and the sweep comes behind what peers did before, in one turn. */
void rig_tick_behind(struct rig *r, uint64_t ms);
void rig_pause(uint64_t ms); /* time passes and the proxy did not run: its sweep is behind */
bool rig_connect(struct rig *r, unsigned client);
void rig_door(struct rig *r, unsigned worker, enum rig_door door);
void rig_roster(struct rig *r, unsigned worker, uint32_t state); /* enum worker_state */
void rig_replace(struct rig *r, unsigned worker);                /* another process in its slot */
void rig_coming(struct rig *r, uint32_t n);
void rig_drain(struct rig *r, uint32_t level);                   /* enum drain_level */
/* It drains for a new generation, which takes its connections or `refuses` them. */
void rig_hand_over(struct rig *r, bool refuses);
/* The worker of connection `conn`, which waits in its pool as the one to be taken next, closes
 * it between the balancer's last look at it and its next send(); with `heard`: of that send
 * so many bytes are taken, and it closes in front of the one after. */
void rig_late(struct rig *r, unsigned conn, size_t heard);
/* The worker of connection `conn` closes it, or with `text` says that (kept), when the balancer
 * has learnt of its next events and has looked at none. */
void rig_soon(struct rig *r, unsigned conn, const char *text);
/* The socket of the client that has been here longest takes `room` bytes more, and no other
 * before `times` sends of the balancer have met that (two in one turn may pass it by). */
void rig_narrow(struct rig *r, size_t room, unsigned times);
void rig_orphan(struct rig *r);
void rig_reopen_log(struct rig *r);
uint64_t rig_count(const struct rig *r, enum counter c);
uint64_t rig_refusals(const struct rig *r, enum tally_side side, enum http_rule rule);
/* What r->log or r->errors holds; the caller frees it. */
char *rig_log_text(int log);

/* The end of every run.  Without a word from any peer, time alone must end all
 * requests and connections; then a new client is served as if nothing had been; and
 * at last nothing may be left: no gauge above zero, no block, no descriptor.  `what`
 * names the run in failures. */
void rig_stop(struct rig *r, const char *what);

/* Frees what the peers were sent, which is still there after rig_stop(). */
void rig_fini(struct rig *r);

#endif
