/* Requests that wait while no worker of their app is ready: bounded, deadlined,
 * first come first served. */
#ifndef DROVER_PROXY_QUEUE_H
#define DROVER_PROXY_QUEUE_H

#include <stdbool.h>

#include "balancer/proxy/loop.h"

struct request;

/* False when the app's queue is full. */
bool queue_push(struct request *r);
void queue_remove(struct request *r); /* harmless when it does not wait */

/* Sends on what a worker may take now, oldest first; call when the roster has
 * changed and from the sweep; every turn while one of them wants a descriptor. */
void queue_pump(struct proxy *p);

/* Ends what has waited too long. */
void queue_sweep(struct proxy *p);

#endif
