/* Waiting until a worker proves that it is ready, as ready.type of its app says. */
#ifndef DROVER_MASTER_READY_H
#define DROVER_MASTER_READY_H

#include <event2/event.h>
#include <event2/event_struct.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "balancer/config/config.h"
#include "balancer/master/probe.h"
#include "common/addr.h"

typedef void ready_f(void *arg);

struct ready {
	bool active;
	struct event_base *base;
	struct addr address;
	pid_t worker;
	uint64_t stranger_us;       /* since when another process listens there; 0: none does */
	const struct cfg_app *conf;
	const struct sandbox *prober;
	bool probed;                /* there has been a report of the HTTP probe: */
	struct probe_report report; /* the last one */
	int pidfd;                  /* of the probe, then `fd` is its pipe; or -1 */
	struct event timer, connecting;
	int fd;           /* of the connect or probe in progress, or -1 */
	unsigned wait_ms; /* until the next attempt */
	ready_f *on_ready;
	void *arg;
};

/* Calls on_ready(arg) once, from the loop, when the process `worker` of `conf`, which is to
 * listen on `address`, has proved itself; never before returning.  Gives up only by ready_stop().
 * HTTP probes run in `prober`.  Borrows base, conf and prober. */
void ready_start(struct ready *r, struct event_base *base, const struct addr *address,
		 pid_t worker, const struct cfg_app *conf, const struct sandbox *prober,
		 ready_f *on_ready, void *arg);
void ready_stop(struct ready *r); /* harmless when not started */

/* The worker has sent READY=1; nothing to those that prove themselves in another way. */
void ready_notified(struct ready *r);

/* What the proof still lacks: "nothing accepts on 127.0.0.1:4000 ..."; returns `buf`. */
#define READY_LACK_MAX 512
const char *ready_lack(const struct ready *r, char buf[static READY_LACK_MAX]);

#endif
