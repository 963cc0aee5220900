/* Client connections that outlive their balancer: when it drains for a new generation, those
 * between two requests and the tunnels go on there, instead of keeping the old process. */
#ifndef DROVER_PROXY_HANDOVER_H
#define DROVER_PROXY_HANDOVER_H

#include "balancer/proxy/client.h"
#include "balancer/proxy/loop.h"

/* ---- the giving side (handover_give.c) ---- */

/* From now on connections go out over `fd` (taken), to a balancer that serves. */
void handover_give_over(struct proxy *p, int fd);

/* Gives what can be given now; call when the drain begins and from the sweep. */
void handover_walk(struct proxy *p);
/* The same for one connection that has just become idle. */
void handover_client(struct client *c);

/* No more: a shutdown ends connections here.  What is under way stays so. */
void handover_stop(struct proxy *p);
/* And what is under way is ours again, to be cut. */
void handover_recall(struct proxy *p);

/* A tunnel to a worker whose tunnels are to end is under way, and has a moment to arrive:
 * the roster that says so is not acknowledged before. */
bool handover_owes_end(const struct proxy *p);

/* ---- the taking side (handover_take.c) ---- */

/* Connections come in over `fd` (taken). */
void handover_take_over(struct proxy *p, int fd);
void handover_stop_taking(struct proxy *p);

/* ---- both (handover.c) ---- */

void handover_start(struct proxy *p);

/* A connection from elsewhere, or that was to go elsewhere, lives on here: on the loop, among
 * the clients, with what is left of its wait. */
void handover_attach(struct client *c);

/* Of struct proxy's `inherited`. */
void handover_on_timeout(struct deadline *d, void *arg);

#endif
