/* Waiting until a worker accepts connections: a connect every few milliseconds. */
#ifndef DROVER_MASTER_READY_H
#define DROVER_MASTER_READY_H

#include <event2/event.h>
#include <event2/event_struct.h>
#include <stdbool.h>

#include "common/addr.h"

typedef void ready_f(void *arg);

struct ready {
	bool active;
	struct event_base *base;
	struct addr address;
	struct event timer, connecting;
	int fd;           /* of the connect in progress, or -1 */
	unsigned wait_ms; /* until the next attempt */
	ready_f *on_ready;
	void *arg;
};

/* Calls on_ready(arg) once, from the loop, when `address` accepts; never before
 * returning.  Gives up only by ready_stop().  Borrows base. */
void ready_start(struct ready *r, struct event_base *base, const struct addr *address,
		 ready_f *on_ready, void *arg);
void ready_stop(struct ready *r); /* harmless when not started */

#endif
