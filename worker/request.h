/* The request that a connection is at, and the reply to it.
 *
 * A route (routes.h) fills in the callbacks and writes its reply through reply.h;
 * request.c calls them when bytes come in or go out.
 */
#ifndef DROVER_WORKER_REQUEST_H
#define DROVER_WORKER_REQUEST_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/slice.h"

struct connection;

typedef void connection_f(struct connection *c);
typedef void connection_data_f(struct connection *c, struct slice data);

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

	/* the reply; reply.c fills this in */
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
	bool consume_replies;       /* consume() copies into the reply: no more than fits there */

	/* the route's own figures */
	uint64_t total, made;       /* body bytes to make; made so far */
	uint32_t pause_ms;
	uint32_t sum;
};

/* A request without content: nothing asked, no reply, no file. */
void request_reset(struct request *r);

/* Steps, called by connection.c until they return false: nothing moved. */

/* IDLE, HEAD: a whole head begins a request; a bad one is refused. */
bool request_take_head(struct connection *c);

/* BUSY: body in, reply out, and what follows it. */
bool request_step(struct connection *c);

/* Answers something that is no request; the connection ends after it. */
void request_refuse(struct connection *c, uint16_t status, const char *detail);

/* Whether it is the client's move: to send its body, or to take our reply. */
bool request_waits_for_client(const struct connection *c);

/* For routes: the request body is wanted.  Says 100 Continue where the client
 * waits for it.  Call before the reply's head is written. */
void request_take_body(struct connection *c, connection_data_f *consume, connection_f *body_done);

#endif
