/* An upgraded connection (RFC 9110 7.8): bytes both ways, no framing, each
 * direction paced by its receiver and ended by its own FIN. */
#ifndef DROVER_PROXY_TUNNEL_H
#define DROVER_PROXY_TUNNEL_H

#include <stddef.h>
#include <stdint.h>

#include "common/err.h"

struct proxy;
struct request;

/* The worker's 101 is in proxy->reply_head; `rest` came behind it. */
void tunnel_start(struct request *r, char *rest, size_t n_rest);
void tunnel_from_client(struct request *r, char *p, size_t n);
void tunnel_from_worker(struct request *r, char *p, size_t n);
void tunnel_on_client_drained(struct request *r);
void tunnel_on_worker_drained(struct request *r);
void tunnel_on_client_end(struct request *r);            /* its FIN */
void tunnel_on_worker_end(struct request *r, enum err why); /* its FIN, or broken */
void tunnel_touch(struct request *r);                    /* restarts the idle wait */
void tunnel_settle(struct request *r);                   /* after both sides came back on the loop */
void tunnel_begin(struct request *r);                    /* counts it in */
void tunnel_end(struct request *r);                      /* and out */

/* The worker of `slot` is about to get its stop signal: ends all tunnels to it.  What was read
 * from it is still written to the clients. */
void tunnels_end(struct proxy *p, uint16_t slot);

#endif
