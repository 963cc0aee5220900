/* One client connection of drover-worker, and the request it is at.
 *
 * The connection owns bytes and time: it reads, takes heads apart, hands body
 * bytes to the route that answers, sends what the route wrote, and decides what
 * follows.  A route (routes.c) fills in the callbacks of `struct request` and
 * writes its reply through reply.h; it never touches the descriptor.
 *
 * Memory: two blocks of BLOCK_BYTES while a request is being served, none while
 * idle.  A request begins with an empty `out`, so a reply that is shorter than a
 * block can always be written at once.
 */
#ifndef DROVER_WORKER_CONNECTION_H
#define DROVER_WORKER_CONNECTION_H

#include <event2/event.h>
#include <event2/event_struct.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/http_body.h"
#include "common/http_head.h"
#include "common/list.h"
#include "common/slice.h"

#define BLOCK_BYTES 65536u

struct connection;
struct server;

typedef void connection_f(struct connection *c);
typedef void connection_data_f(struct connection *c, struct slice data);

enum connection_state {
	CONN_IDLE = 0, /* no byte of the next head is here */
	CONN_HEAD,     /* part of a head is */
	CONN_BUSY,     /* a request is being answered */
	CONN_TUNNEL,   /* after 101: bytes go back as they come */
	CONN_LINGER,   /* our side has ended; what still comes is dropped, so that no reset eats the reply */
	CONN_DEAD,     /* in the graveyard */
	CONN_STATE_MAX
};

/* What follows a reply. */
enum request_end {
	END_NEXT = 0, /* another request, where both sides allow it */
	END_CLOSE,    /* an orderly end */
	END_CUT,      /* close at once, whatever is unread or unsent by the route */
	END_RESET,    /* a TCP reset, once what was written has been acknowledged */
	END_MAX
};

struct request {
	/* what was asked; set before the route begins */
	uint8_t method;         /* enum http_method */
	uint8_t minor;          /* HTTP/1.minor */
	uint8_t framing;        /* enum http_framing of the request body */
	bool expects_continue;  /* and nobody has said 100 yet */
	bool wants_html;        /* Accept prefers it: decides what error pages look like */

	/* the reply; written by reply.c */
	bool replied;           /* the head of the final reply is in `out` */
	bool ended;             /* so is all of its body, but for the file */
	bool no_body;           /* HEAD, 204, 304: body bytes are dropped */
	bool keep_alive;        /* until the reply's head has been written: as asked */
	uint8_t reply_framing;  /* enum http_framing */
	uint8_t end;            /* enum request_end */
	int file;               /* descriptor whose bytes follow `out`, or -1; owned */
	off_t file_at;
	uint64_t file_left;

	/* the route's callbacks; all may stay NULL */
	connection_data_f *consume; /* a run of payload of the request body; NULL: dropped */
	connection_f *body_done;    /* the request body has ended */
	connection_f *produce;      /* `out` has room for more of the reply's body */
	connection_f *wake;         /* the time of connection_wake_after() has come */
	bool consume_replies;       /* consume() copies its data into the reply: hand it no more than fits */

	/* the route's own figures */
	uint64_t total, made;       /* body bytes to make; made so far */
	uint32_t pause_ms;
	uint32_t sum;
};

struct connection {
	struct list link;        /* in server->connections, or in its graveyard */
	struct server *server;
	int fd;
	uint8_t state;           /* enum connection_state */
	bool eof;                /* the client has ended its side */
	bool blocked;            /* the last write found the socket full */
	bool reading, writing;   /* which events are added */
	struct event read_ev, write_ev, timer_ev;
	uint64_t since_us;       /* IDLE, HEAD, LINGER: since when; BUSY: the last byte in or out */
	uint64_t n_requests;

	char *in;                /* block or NULL; in_at..in_end is unread */
	uint32_t in_at, in_end;
	uint32_t in_seen;        /* bytes of a partial head that were searched already */
	char *out;               /* block or NULL; out_at..out_end is unsent */
	uint32_t out_at, out_end;

	struct http_body body;   /* of the request */
	struct request req;
};

/* Takes a connected, non-blocking `fd`; closes it on failure.  ERR_NOMEM.
 * Nothing is read before the loop says so. */
MUST_CHECK enum err connection_new(struct server *s, int fd);

/* Ends the connection at once.  Its memory lives until the loop turn ends. */
void connection_close(struct connection *c);

/* Frees a dead connection; only the server's graveyard calls this. */
void connection_free(struct connection *c);

/* The server drains: ends the connection if it is idle, after one last look for
 * a request that is already here. */
void connection_drain(struct connection *c);

/* Ends what has waited too long; called a few times a second. */
void connection_sweep(struct connection *c, uint64_t now_us);

/* Whether ending it now would break something: a request or a tunnel. */
bool connection_has_work(const struct connection *c);

/* For routes. */

/* The request body is wanted: says 100 Continue where the client waits for it.
 * Call before the reply's head is written. */
void connection_take_body(struct connection *c, connection_data_f *consume, connection_f *body_done);

/* `wake` runs once, `ms` milliseconds from now. */
void connection_wake_after(struct connection *c, uint32_t ms, connection_f *wake);

/* The 101 reply is in `out`: from here on, what comes in goes back. */
void connection_tunnel(struct connection *c);

#endif
