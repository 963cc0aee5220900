/* THE life of a request: request.c to the worker and at its end, request_reply.c on the
 * way back, request_fail.c when something goes wrong.
 *
 * client.c and upstream.c report what happened; only these three decide what it
 * means.  They know neither protocol's bytes. */
#ifndef DROVER_PROXY_REQUEST_H
#define DROVER_PROXY_REQUEST_H

#include <stdbool.h>
#include <stdint.h>

#include "balancer/proxy/client.h"
#include "balancer/proxy/loop.h"
#include "balancer/proxy/pick.h"
#include "balancer/proxy/rewrite.h"
#include "balancer/proxy/stream.h"
#include "balancer/proxy/upstream.h"

enum request_state {
	REQ_HEAD = 0, /* the head is whole and legal */
	REQ_PICK,     /* choosing a worker */
	REQ_QUEUE,    /* none is ready, one is coming */
	REQ_WAIT,     /* one is picked; a connection of it comes free soon */
	REQ_SEND,     /* assigned to a connection: connecting, sending, waiting for the head */
	REQ_REPLY,    /* the reply's head has gone to the client, its body follows */
	REQ_TUNNEL,   /* upgraded: bytes both ways */
	REQ_DONE,
	REQ_STATE_MAX
};

/* How long it was somebody's turn, over many turns. */
struct turns {
	uint64_t since_us;  /* of this one; 0: it is not */
	uint64_t before_us; /* in those before */
};

struct request {
	struct client *client;
	struct proxy *proxy;
	struct app_state *app;      /* NULL until routed */
	struct upstream *upstream;  /* from SEND on */
	uint16_t slot;              /* picked, in WAIT */
	uint64_t waits_us;          /* since when, in WAIT */
	struct list queued;         /* in app->queue while QUEUE, in worker_ref.waiting while WAIT */
	uint64_t started_us;
	struct turns owing, behind; /* of the client: to send its body, to take its reply */
	uint64_t queued_us;         /* when its wait began; 0: none since it was last sent */

	uint8_t state;              /* enum request_state */
	uint8_t method;             /* enum http_method */
	uint8_t minor;              /* of the client's HTTP/1.x */
	bool idempotent;
	bool keep_alive;            /* the client allows another request after this one */
	bool upgrade;               /* may become a tunnel */
	bool close;                 /* the client connection ends after the reply */
	bool unheard;               /* the worker had closed its connection before it came */
	bool body_held;             /* every body byte read so far is in `head`: it can be sent again */
	bool fresh_only;            /* no pooled connection for the next try */
	bool pausing_reply;         /* the worker is not read until the client has taken what we hold */
	bool worker_keep_alive;     /* the worker's connection may serve another request after this one */
	bool extra_bytes;           /* the worker sent more than its reply: its connection is poisoned */
	bool client_ended;          /* tunnel: the client's FIN was passed on */
	bool worker_ended;          /* tunnel: the worker's FIN has come */

	struct block *head;         /* serialised head for the worker, then the body bytes that came with it */
	struct kept_fields kept;    /* where things stand in it, for the log and error pages */
	struct stream to_worker, to_client;
	struct pick_tried tried;
	uint8_t picks;              /* connections tried since it last waited */
	uint8_t resends;            /* times it was sent again after bytes had gone out */

	uint8_t outcome;            /* enum outcome; set early when the request is doomed before it starts */
	uint8_t failure;            /* enum outcome of the last try that failed; 0: none did */
	uint8_t rule;               /* enum http_rule that the request, or its reply, broke */
	uint8_t interim;            /* interim replies so far */
	uint16_t status;            /* of the reply; 0: none yet */
	uint64_t bytes_out;         /* body bytes given to the client */
};

/* A client sent a whole legal head (proxy->request_head).  `rest` is what the
 * buffer holds behind it, and is decoded in place; *ret_used is how much of that
 * belonged to this request.  The client's bytes are not needed afterwards.  Follow
 * with request_go() once the rest is safe.  NULL: out of memory. */
struct request *request_new(struct client *c, char *rest, size_t n_rest, size_t *ret_used);
void request_go(struct request *r);

/* Frees what is kept for requests to come. */
void requests_stop(struct proxy *p);

/* From the client side. */
bool request_wants_bytes(const struct request *r);  /* body or tunnel: the client's bytes are ours now */
size_t request_on_client_bytes(struct request *r, char *p, size_t n); /* returns how many were used */
void request_on_client_took(struct request *r);     /* some of what we held for the client is gone */
void request_on_client_drained(struct request *r);  /* all of it is gone */
void request_on_client_gone(struct request *r);     /* reset or stalled: gives up; the client is closed too */
void request_on_client_eof(struct request *r);      /* end of file where bytes were wanted */
void request_cut(struct request *r);                /* a shutdown or tunnel timeout ends it and the client, now */
void request_on_body_timeout(struct request *r);

/* From the worker side. */
void request_on_reply_bytes(struct request *r, char *p, size_t n);
void request_on_upstream_sent(struct request *r);    /* more was taken by the kernel */
void request_on_upstream_drained(struct request *r); /* all we held for the worker is gone */
void request_on_upstream_end(struct request *r, enum err why); /* ERR_CLOSED, or broken */
void request_on_upstream_timeout(struct request *r);

/* From the queue. */
void request_on_queue_timeout(struct request *r);
void request_on_turn(struct request *r, bool late); /* WAIT is over; `late`: without a connection coming free */
void request_retry_pick(struct request *r);          /* off the queue: a worker may be ready */

/* Used by tunnel.c. */
void request_finish_tunnel(struct request *r);
/* The same from our side, while the client is there: what it is owed is still delivered, within
 * the time that any answer has, and its own last bytes meet no RST. */
void request_close_tunnel(struct request *r);

/* A tunnel that another balancer has opened for `c`: counted as such.  The connection to the
 * worker of `slot` is `fd` (taken, also when it returns NULL: out of memory). */
MUST_CHECK struct request *request_inherit_tunnel(struct client *c, int fd, uint16_t slot,
						  uint64_t epoch);
/* Another balancer has this one and goes on with it: counted out, and not logged.  The
 * caller ends the client. */
void request_forget_tunnel(struct request *r);

#endif
