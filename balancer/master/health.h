/* Health probes of one worker or server: whether it is fit for requests. */
#ifndef DROVER_MASTER_HEALTH_H
#define DROVER_MASTER_HEALTH_H

#include <event2/event.h>
#include <event2/event_struct.h>
#include <stdbool.h>
#include <stdint.h>

#include "balancer/config/config.h"
#include "balancer/master/probe.h"
#include "common/addr.h"

/* ---- what follows from a row of probes: pure ---- */

enum health_news { HEALTH_SAME = 0, HEALTH_PASSED, HEALTH_FELL, HEALTH_ROSE };

struct health_row {
	uint32_t good, bad; /* in a row, up to now */
	bool passed;        /* it has been good enough once */
	bool sick;
};

/* One more probe.  PASSED: the first `rise` good ones in a row; until then nothing else is
 * news.  FELL: `fall` bad ones; ROSE: `rise` good ones after that. */
enum health_news health_note(struct health_row *row, bool good, uint32_t fall, uint32_t rise);

/* ---- the probes ---- */

typedef void health_f(void *arg, enum health_news news);

struct health {
	bool active;
	struct event_base *base;
	struct addr address;
	const struct cfg_app *conf;
	const struct sandbox *prober;
	struct health_row row;
	bool probed;                /* there has been a report: */
	struct probe_report report; /* the last one */
	int pidfd, fd;              /* of the probing child, or -1 */
	struct event ev, ev_again;
	health_f *on_news;
	void *arg;
};

/* Probes as conf->health_* says until health_stop(), and calls on_news(arg) from the loop;
 * never before returning.  `fresh`: the first ones come faster; else, for what is in the
 * rotation already, it counts as passed.  Borrows base, conf and prober. */
void health_start(struct health *h, struct event_base *base, const struct addr *address,
		  const struct cfg_app *conf, const struct sandbox *prober, bool fresh,
		  health_f *on_news, void *arg);
void health_stop(struct health *h); /* harmless when not started */

/* "GET /healthz on 127.0.0.1:4000 is answered 503 (1 of 2 good in a row)"; returns `buf`. */
#define HEALTH_TEXT_MAX 384
const char *health_text(const struct health *h, char buf[static HEALTH_TEXT_MAX]);

#endif
