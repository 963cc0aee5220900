/* One client connection of drover-worker.
 *
 * The connection owns descriptor, bytes and time; what the bytes mean is for
 * request.c, which is stepped from here.  Routes never touch the descriptor.
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

#include "common/err.h"
#include "common/http_body.h"
#include "common/list.h"
#include "worker/request.h"

#define BLOCK_BYTES 65536u

struct connection;
struct server;

enum connection_state {
	CONN_IDLE = 0, /* no byte of the next head is here */
	CONN_HEAD,     /* part of a head is */
	CONN_BUSY,     /* a request is being answered */
	CONN_TUNNEL,   /* after 101: bytes go back as they come */
	CONN_LINGER,   /* our side has ended; what still comes is dropped */
	CONN_DEAD,     /* in the graveyard */
	CONN_STATE_MAX
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

/* `wake` runs once, `ms` milliseconds from now. */
void connection_wake_after(struct connection *c, uint32_t ms, connection_f *wake);

/* The 101 reply is in `out`: from here on, what comes in goes back. */
void connection_tunnel(struct connection *c);

/* For request.c. */

/* Enters a state, from now on. */
void connection_go(struct connection *c, enum connection_state to);

/* Nobody is left to answer, or nothing to answer with: closes, and says why to
 * who debugs: "cannot go on <how>". */
void connection_abandon(struct connection *c, const char *how);

/* Makes sure that there is an `out`.  False: there is no memory, and no
 * connection any more. */
bool connection_has_out(struct connection *c);

/* Writes of `out`, else of the file behind it, what the socket takes.  False
 * when nothing went out. */
bool connection_flush(struct connection *c);

/* Ends our side, and stays until the client has ended its own: closing with
 * bytes unread would be a reset, which could overtake the reply (RFC 9112 9.6). */
void connection_linger(struct connection *c);

/* Ends with a TCP reset once the peer's kernel has all that was written, or does
 * not take it for 5 s.  (A Unix socket knows no reset: there it is a plain end.) */
void connection_reset(struct connection *c);

#endif
