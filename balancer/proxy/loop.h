/* What the files of proxy/ share: the state of this one process.
 *
 * proxy.c owns the loop and this struct; every other file acts on the parts it
 * is named after.  One process, one thread: nothing here is locked.
 */
#ifndef DROVER_PROXY_LOOP_H
#define DROVER_PROXY_LOOP_H

#include <event2/event.h>
#include <stdbool.h>
#include <stdint.h>

#include "balancer/heritage.h"
#include "balancer/proxy/block.h"
#include "balancer/proxy/complaint.h"
#include "balancer/proxy/deadline.h"
#include "balancer/proxy/gather.h"
#include "common/http_guard.h"
#include "common/http_head.h"
#include "common/list.h"
#include "common/msg.h"

#define SCRATCH_BYTES (64u * 1024)    /* one read; bounds what a connection can keep back */
#define REPLY_HEAD_BYTES (64u * 1024) /* largest head accepted from a worker */
#define OUT_BYTES (REPLY_HEAD_BYTES + 8u * 1024)

/* The access log of this process; see access_log.h. */
struct access_log {
	int fd;            /* -1: off */
	const char *name;  /* a path, or "stdout"; of the config */
	uint32_t format;   /* enum cfg_log_format */
	char *buffer;
	size_t used;
	bool torn;         /* the buffer begins with the rest of a line that is partly written */
	bool complained;   /* a failure to write was reported, and has not ended */
};

/* One worker as this balancer sees it, by roster slot. */
struct worker_ref {
	uint64_t epoch;            /* of the occupant; 0: none known */
	struct addr address;
	uint32_t state;            /* enum worker_state */
	struct app_state *app;     /* NULL: of an app that this generation does not know */
	struct list idle;          /* pooled connections, most recently used first */
	struct deadline_class pool_idle; /* of them */
	bool idle_told;            /* it has said how long they may be idle */
	uint32_t n_idle;
	uint32_t n_fresh;          /* connections opened a moment ago that have not answered yet */
	uint32_t reply_us;         /* smoothed time from a request to its reply's head; 0: unknown */
	bool closes;               /* it ended a connection after its last reply */
	struct list waiting;       /* requests that wait for a connection to come free; see pacing.h */
	struct list stirred;       /* in proxy->stirred: its waiters are to be looked at */
	uint64_t up_since_us;      /* when the master saw it ready; 0: a server, not ours */
	uint32_t served;           /* requests it has answered to us, up to PICK_WARM */
	bool cold;                 /* just joined workers that are warm: gets few requests at a time */
	uint64_t suspect_until_us; /* did not take a connection: passed over until then */
	uint32_t suspect_ms;       /* length of the next suspicion; grows with each in a row */
};

/* One app of this generation's config. */
struct app_state {
	const struct cfg_app *cfg;
	uint16_t *up;              /* roster slots that may be picked, ascending */
	uint32_t n_up;
	uint32_t cursor;           /* index into up of the next pick */
	uint32_t last_slot;        /* picked last: keeps the rotation over a rebuild */
	bool coming;               /* the master expects a worker soon */
	struct list queue;         /* requests waiting for a worker, oldest first */
	uint32_t n_queued;
};

struct listener {
	struct event *event;
	struct proxy *proxy;
	int fd;
};

struct giver; /* handover_give.c */

/* What a connection waits for that goes from one process to another. */
enum inherited { INHERITED_IDLE = 0, INHERITED_HEAD, INHERITED_STALL, INHERITED_TUNNEL, INHERITED_MAX };

struct proxy {
	struct event_base *base;
	const struct proxy_heritage *heritage;
	const struct config *config;
	struct tally_row *row;
	struct http_limits limits;

	/* scratch of the loop: valid inside one callback */
	char *scratch;                 /* SCRATCH_BYTES */
	char *out;                     /* OUT_BYTES: heads on their way to clients */
	struct http_head request_head, reply_head;

	struct block_pool blocks;
	/* Client connections; each is on one of these, or is being handed over: clients_each(). */
	struct list clients;
	struct list resumable;         /* to be looked at between turns: client_resume() */
	struct list unwatched;         /* whose first request came with the connection */
	uint32_t n_clients;
	uint32_t n_upstreams;          /* connections to workers, pooled ones included */
	struct list stirred;           /* workers whose waiting requests may go on */
	struct list displaced;         /* requests whose worker left before they had a connection */
	struct event *pacing_event;
	struct list spare_requests;    /* struct request, unused */
	uint32_t n_spare_requests;
	struct list graves;            /* dead objects, freed between turns */
	bool turn_open;                /* the clock was read in this turn */
	unsigned turn_events;          /* callbacks in it */
	struct gather gather;

	struct listener *listeners;
	bool accept_paused;
	uint64_t accept_paused_us;     /* last time; 0: never */
	struct event *accept_retry;

	struct event *channel_event;
	struct event *sweep_event;
	struct roster *roster;         /* our copy */
	uint64_t version;              /* of the copy */
	bool ack_owed;
	struct worker_ref *workers;    /* ROSTER_SLOTS, of which those from n_workers on are untouched */
	uint32_t n_workers;
	struct app_state *apps;        /* config->n_apps */
	bool starved;                  /* a request in a queue wants a descriptor: pumped each turn */
	double retry_tokens;           /* budget of second sends; see request_fail.c */

	struct deadline_class head_wait, idle_wait, body_wait, stall_wait, linger_wait, tunnel_wait;
	struct deadline_class connect_wait, response_wait, fresh_wait;

	struct access_log access_log;
	struct complaint complaints[COMPLAINT_MAX];
	char id_prefix[16];            /* of request ids */
	uint64_t id_counter;

	struct giver *giver;           /* connections go to the next generation over it; NULL: they end here */
	struct list givers;            /* it, and those before it that are still owed a verdict */
	struct list takers;            /* channels over which they come from the generation before */
	struct deadline_class inherited[INHERITED_MAX]; /* waits that began in another process */

	enum drain_level drain;
	bool forced;                   /* something unfinished was cut */
	bool orphaned;                 /* the master has gone: we drain by our own clock */
	uint64_t orphaned_us;
	uint64_t accept_until_us;      /* while draining, 0: no longer */
};

/* The pieces of proxy_run(), so that tests can drive a balancer turn by turn. */
struct proxy *proxy_new(const struct proxy_heritage *h);
void proxy_start(struct proxy *p);
/* One turn; `flags` 0 waits for an event, EVLOOP_NONBLOCK does not.  False: drained. */
bool proxy_turn(struct proxy *p, int flags);
void proxy_stop(struct proxy *p);

/* Reads the clock once per loop turn; call first in every event callback. */
void loop_turn_begin(struct proxy *p);

/* ---- graveyard: nothing with events is freed inside a callback ---- */

/* Frees, between turns, the object whose first member is `link`; that is on no list any more, and
 * the object's events are off. */
void loop_bury(struct proxy *p, struct list *link);

/* ---- draining (drain.c) ---- */
void drain_to(struct proxy *p, enum drain_level level, bool leaves);
void drain_sweep(struct proxy *p);

/* ---- the master's messages (channel.c) ---- */
MUST_CHECK enum err channel_start(struct proxy *p);
void channel_stop(struct proxy *p);
void channel_owed_ack(struct proxy *p);
MUST_CHECK enum err channel_send(struct proxy *p, enum msg_type type, uint64_t raw);

/* ---- accepting (accept.c) ---- */
MUST_CHECK enum err accept_start(struct proxy *p);
void accept_pause(struct proxy *p, const char *why);
void accept_room(struct proxy *p);      /* a connection has gone: accept again if paused */
bool accept_full(const struct proxy *p); /* descriptors are short: no further connection */
void accept_stop(struct proxy *p);      /* empties the queues, closes the listeners, tells the master */

#endif
