/* One client connection (downstream): heads, keep-alive, timeouts.  It knows
 * nothing of workers; request.c decides what a request does. */
#ifndef DROVER_PROXY_CLIENT_H
#define DROVER_PROXY_CLIENT_H

#include <stdbool.h>

#include "balancer/proxy/conn.h"
#include "balancer/proxy/loop.h"
#include "common/addr.h"

struct request;

enum client_state {
	CLIENT_IDLE = 0, /* between requests, no byte of the next one yet */
	CLIENT_HEAD,     /* part of a head is in `input` */
	CLIENT_REQUEST,  /* a request is in progress (or a tunnel) */
	CLIENT_CLOSING,  /* the last reply is on its way out, then it ends */
	CLIENT_LINGER,   /* our FIN is sent; what still comes is discarded (RFC 9112 9.6) */
	CLIENT_DEAD,
};

/* Nearly all of what an idle connection costs; see tests/unit/test_client.c before it grows. */
struct client {
	struct list link;          /* in proxy->clients, ->resumable or ->unwatched; first, for loop_bury() */
	struct conn conn;
	struct proxy *proxy;
	struct deadline deadline;
	struct request *request;
	struct block *input;       /* bytes read and not yet used */
	uint32_t seen;             /* of input: looked at for the end of a head */
	uint32_t listen_index;     /* into config->listens; n_listens: none of them */
	uint8_t state;             /* enum client_state */
	bool served;               /* at least one request was answered on it */
	bool eof;                  /* the client has sent its FIN */
	bool counted;              /* in row->peers */
	bool trusted;              /* its forwarding fields are believed */
	bool linger;               /* CLOSING: unread bytes may be coming, so LINGER before the end */
	bool leftover;             /* came over an address that is not served any more: one answer is left */
	struct addr_host peer;
};

/* Takes an accepted socket, which `counted` in admit.c.  On ERR_NOMEM it has been
 * closed, and the count is the caller's. */
MUST_CHECK enum err client_new(struct proxy *p, int fd, const struct addr *peer,
			       uint32_t listen_index, bool counted);

/* One that another balancer has accepted at `listen_index`: in `state`, counted, and on no list, wait or loop
 * yet; handover.c goes on.  Takes `fd`, also when it returns NULL (out of memory). */
MUST_CHECK struct client *client_inherit(struct proxy *p, int fd, const struct addr *peer,
					 uint32_t listen_index, enum client_state state);

/* Whether its connection ends with its next answer: there is nobody to go on with it. */
static inline bool client_ends_next(const struct client *c)
{
	return UNLIKELY(c->leftover) || (UNLIKELY(c->proxy->drain != DRAIN_NONE) && !c->proxy->giver);
}

/* Calls `each` for every one that is not under way to another balancer.  It may end the one it is
 * called for, no other; for that one it may be called again. */
void clients_each(struct proxy *p, void (*each)(struct client *c, void *arg), void *arg);

/* Whether `trust` names this peer. */
bool client_trusts(const struct proxy *p, const struct addr *peer);

/* Writes to it, as conn_write() and conn_write_soon() do, and counts what leaves. */
MUST_CHECK enum err client_write(struct client *c, struct iovec *iov, int n_iov);
MUST_CHECK enum err client_write_soon(struct client *c, struct iovec *iov, int n_iov);

/* The request of this client has ended and its reply, if any, was handed to the
 * socket.  `close`: the connection ends after it.  `unread`: parts of the request
 * were not read, so the end lingers. */
void client_request_done(struct client *c, bool close, bool unread);

/* Ends it now: RST when `reset`, so that a cut reply cannot look complete. */
void client_abort(struct client *c, bool reset);

/* Pauses and resumes reading (request body, tunnel). */
void client_read_on(struct client *c);
void client_read_off(struct client *c);

/* From the sweep, and when a drain begins: none is in proxy->unwatched any more.  Where a request
 * runs, reading goes on. */
void clients_watch(struct proxy *p);

/* A shutdown ends idle connections: reads once more, so that a request that has
 * already arrived is answered, and ends the connection if there is none.  One that
 * never asked for anything yet gets a moment: its request may be on the way. */
void client_end_idle(struct client *c);

/* Looks at buffered bytes, or, when it is idle in a balancer that drains, ends it or hands
 * it over; called between turns for clients in proxy->resumable. */
void client_resume(struct client *c);

/* Starts the wait that fits: the client must send (body), or take bytes (stall). */
void client_await_body(struct client *c);
void client_await_writable(struct client *c);

/* Deadline callbacks of the client's classes, for proxy.c to install. */
void client_on_head_timeout(struct deadline *d, void *arg);
void client_on_idle_timeout(struct deadline *d, void *arg);
void client_on_body_timeout(struct deadline *d, void *arg);
void client_on_stall_timeout(struct deadline *d, void *arg);
void client_on_linger_timeout(struct deadline *d, void *arg);
void client_on_tunnel_timeout(struct deadline *d, void *arg);

#endif
