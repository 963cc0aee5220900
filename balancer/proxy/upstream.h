/* One connection to a worker, and the pool of idle ones.
 *
 * upstream.c turns readiness into the events of a reply; only request.c decides
 * what they mean.  A pooled connection keeps its read event: a worker that closes
 * it, or sends bytes nobody asked for, removes it from the pool. */
#ifndef DROVER_PROXY_UPSTREAM_H
#define DROVER_PROXY_UPSTREAM_H

#include <stdbool.h>

#include "balancer/proxy/conn.h"
#include "balancer/proxy/loop.h"

struct request;

struct upstream {
	struct list idle;          /* in worker_ref.idle; first, for loop_bury() */
	struct conn conn;
	struct proxy *proxy;
	struct deadline deadline;
	struct request *request;   /* NULL: pooled */
	struct block *input;       /* part of a reply head */
	uint64_t epoch;            /* of the worker it was opened to */
	uint64_t sent_us;          /* when it got its request */
	struct deadline pacing;    /* while fresh */
	uint32_t seen;             /* of input: looked at for the end of the head */
	uint16_t slot;
	bool fresh;                /* opened a moment ago, has not answered: counted in worker_ref.n_fresh */
	bool reused;               /* came from the pool for this request */
	bool sent_any;             /* at least one byte of this request reached the kernel's socket */
	bool got_any;              /* at least one byte of the reply has come */
	bool dead;
};

/* A live pooled connection to the worker of `slot`, or NULL.  `sure`: ask the
 * kernel whether the worker has closed it meanwhile (one system call), for
 * requests that must not be sent twice. */
struct upstream *upstream_from_pool(struct proxy *p, uint16_t slot, bool sure);

/* Starts a new one.  Errors of the connect itself: ERR_SYS, ERR_FD_LIMIT, ERR_NOMEM. */
MUST_CHECK enum err upstream_open(struct proxy *p, uint16_t slot, struct upstream **ret_up);

/* The reply's head has come: the worker has accepted it, and this is how fast it is. */
void upstream_answered(struct upstream *up, bool keeps_alive);

/* Attaches and detaches a request; the slot's in-flight count follows. */
void upstream_assign(struct upstream *up, struct request *r);

/* One that another balancer has opened, with `r`, a tunnel, attached and counted in flight; on no
 * loop yet.  Takes `fd`.  `slot` and `epoch` name a worker that may have gone.  ERR_NOMEM. */
MUST_CHECK enum err upstream_inherit(struct request *r, int fd, uint16_t slot, uint64_t epoch);

/* The request is done with it: back to the pool when `reusable` and there is
 * room, else closed. */
void upstream_release(struct upstream *up, bool reusable);

void upstream_read_on(struct upstream *up);
void upstream_read_off(struct upstream *up);

/* Closes the pooled connections of a worker. */
void pool_flush(struct proxy *p, struct worker_ref *w);

/* Deadline callbacks, for proxy.c to install. */
void upstream_on_timeout(struct deadline *d, void *arg);      /* connect, response */
void upstream_on_pacing_timeout(struct deadline *d, void *arg); /* no answer yet */
void upstream_on_pool_timeout(struct deadline *d, void *arg); /* idle in the pool */

#endif
