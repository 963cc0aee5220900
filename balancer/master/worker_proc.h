/* One worker as the master sees it: a process we started, or a server that
 * somebody else runs (pid 0). */
#ifndef DROVER_MASTER_WORKER_PROC_H
#define DROVER_MASTER_WORKER_PROC_H

#include <event2/event.h>
#include <event2/event_struct.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "balancer/board/roster.h"
#include "balancer/master/health.h"
#include "balancer/master/notify.h"
#include "balancer/master/output.h"
#include "balancer/master/ready.h"
#include "balancer/master/sampler.h"
#include "common/addr.h"
#include "common/base.h"
#include "common/err.h"
#include "common/list.h"

struct app;
struct release;

/* Their numbers cross an exec into another version (carry_apps.c): new ones at the end. */
enum worker_phase {
	WS_STARTING = 0, /* spawned, not ready */
	WS_UP,
	WS_DRAINING,     /* gets no new requests; finishes those it has */
	WS_STOPPING,     /* was sent its stop signal */
	WS_KILLED,       /* was sent SIGKILL */
	WS_LEAVING,      /* has ended; others of its process group may not have */
	WS_GONE,         /* nothing is left; freed at the end of the turn */
	WS_MAX
};

enum worker_event {
	WE_READY = 0, /* its readiness is proved */
	WE_LEAVES,    /* it says that it is stopping, unasked */
	WE_HANGS,     /* it does not do what a worker that is well does */
	WE_TIMER,     /* the phase's timer */
	WE_EXIT,      /* the process has ended */
	WE_DRAIN,     /* it is not wanted any more */
	WE_STOP,      /* the same, and no request will come: no balancer is left */
	WE_KILL,      /* the same, and nobody waits */
	WE_MAX
};

struct worker {
	struct list link;         /* in app->workers; then buried */
	struct app *app;
	struct release *release;  /* held; NULL: a server */
	uint32_t instance;
	enum worker_phase phase;

	uint32_t slot;            /* of the roster */
	uint64_t version;         /* roster version that shows its latest phase */
	struct addr address;

	pid_t pid;                /* 0: a server */
	int pidfd;
	struct event ev_ended, ev_timer, ev_watchdog;
	struct ready ready;
	struct health health;
	struct release *health_of; /* held: a server's probes follow this one */
	struct vitals vitals;
	struct notify notify;
	struct output output;

	uint64_t started_us, up_us, drain_us;
	uint64_t requests_before;  /* of its slot, when it came UP */
	uint64_t deadline_us;     /* of STARTING and DRAINING; later: when SIGKILL is due */
	bool drain_over;          /* DRAINING, and its tunnels are being ended */
	bool lingers;             /* DRAINING, and has nothing but tunnels left: nobody waits for it */
	uint64_t watchdog_us;     /* longest silence of WATCHDOG=1; 0: none is expected */
	bool retiring;            /* UP, and to be replaced: it is recycled */
	bool hung;                /* was taken out for it: what it has in flight is not waited for */
	bool signalled;           /* was asked to stop by us */
	bool served;              /* was UP */
	bool boot_looked;         /* that its start takes long has been said */
	char name[80 + ADDR_TEXT_MAX]; /* "app web: worker 0 (pid 123)", or "server ..." */
	char exit_text[64];
	bool was_told;            /* ended by somebody's signal: its output explains nothing */
	bool was_clean;           /* ended with status 0 */
	bool group_gone;          /* its pid is somebody else's by now: nothing of its group is left */
};

/* Starts instance `instance` of `r` (held while it lives) as a member of `app`.
 * On failure the reason has been logged and nothing is left. */
MUST_CHECK enum err worker_start(struct app *app, struct release *r, uint32_t instance);

/* A server that others run becomes a member of `app`, UP at once. */
MUST_CHECK enum err worker_add_server(struct app *app, const struct addr *address);

void worker_event(struct worker *w, enum worker_event ev);

/* It is UP and hangs, for `why` ("no WATCHDOG=1 for 2.0 s"): diagnosed, taken out of the
 * rotation, stopped without waiting for what it has in flight, and replaced. */
void worker_hangs(struct worker *w, const char *why);

/* Probes the health of a server as `r`, which lists it, says. */
void worker_follow_health(struct worker *w, struct release *r);

/* UP and answering its health probes. */
static inline bool worker_fit(const struct worker *w)
{
	return w->phase == WS_UP && !(w->health.active && w->health.row.sick);
}

/* What it wrote last, as lines that end in \n; the caller frees it.  NULL: nothing. */
MUST_CHECK char *worker_last_lines(const struct worker *w);

/* Removes from its app, closes everything; memory goes at the end of the turn. */
void worker_bury(struct worker *w);

/* Whether it may stand in for one that leaves.  A process that has just come up
 * answers its first requests many times slower than later ones (code still to be
 * compiled, caches to be filled); while the application is busy, the ones that it
 * replaces stay until it has warmed up, or has had time enough to. */
bool worker_warm(const struct worker *w);

/* STARTING or UP: counts as a member of its release. */
static inline bool worker_counts(const struct worker *w)
{
	return w->phase == WS_STARTING || w->phase == WS_UP;
}

/* For worker_spawn.c: watches the end of a spawned process. */
void worker_watch(struct worker *w);

/* Between worker_proc.c and worker_watch.c. */
void worker_wait_for_sign(struct worker *w); /* the next WATCHDOG=1 is due in time from now */
void worker_stop_watching(struct worker *w); /* nothing goes on being asked of one on its way out */
/* EXTEND_TIMEOUT_USEC: however often it asks, a start that takes for ever fails at last. */
void worker_extend_boot(struct worker *w, uint64_t us);
uint64_t worker_wait_ms(const struct worker *w); /* of the phase's timer, now; 0: it has none */

/* What balancers and the warden see of its phase. */
enum worker_state worker_roster_state(const struct worker *w);
/* Shows it in its slot of the roster, at once. */
void worker_enter_roster(struct worker *w);

/* After an exec (carry_apps.c).  A worker without a process, slot or place in its app;
 * holds `r` (NULL: a server).  NULL: out of memory. */
struct worker *worker_new(struct app *app, struct release *r, uint32_t instance);
/* It is as it was: what its phase waits for is waited for again. */
void worker_resume(struct worker *w);
/* It has ended while there was no master to see it. */
void worker_lost(struct worker *w);

#endif
