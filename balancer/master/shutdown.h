/* The way out: TERM, INT, QUIT. */
#ifndef DROVER_MASTER_SHUTDOWN_H
#define DROVER_MASTER_SHUTDOWN_H

#include <event2/event.h>
#include <event2/event_struct.h>
#include <stdbool.h>
#include <stdint.h>

struct master;

enum shutdown_phase {
	SHUTDOWN_NONE = 0,
	SHUTDOWN_LAME_DUCK, /* announced; still accepting */
	SHUTDOWN_DRAINING,  /* balancers finish their connections */
	SHUTDOWN_WORKERS,   /* balancers are gone; workers stop */
	SHUTDOWN_MAX
};

struct shutdown {
	enum shutdown_phase phase;
	bool forced;          /* a connection was cut, or a balancer killed */
	bool at_once;         /* asked for a second time, or the start has failed */
	bool silent;          /* the start has failed */
	uint64_t cut_before;  /* COUNTER_connections_forced when it began */
	uint64_t asked_us;    /* when it was asked for first */
	uint64_t drain_us;    /* when DRAINING began */
	struct event ev_step, ev_count;
};

void shutdown_init(struct master *m);
void shutdown_fini(struct shutdown *s);

/* TERM, INT or QUIT: the first begins to drain; a second ends at once, unless it is
 * only an echo of the first. */
void shutdown_ask(struct master *m, const char *why);

/* The start has failed, and has been explained: ends what runs already, without
 * another word; exit status 1. */
void shutdown_abort(struct master *m);

/* End of a turn: whether what was waited for has happened. */
void shutdown_turn(struct master *m);

/* A balancer ended with connections that were cut. */
void shutdown_on_forced(struct master *m);

static inline bool shutdown_begun(const struct shutdown *s)
{
	return s->phase != SHUTDOWN_NONE;
}

/* From here on no worker is started any more. */
static inline bool shutdown_stops_workers(const struct shutdown *s)
{
	return s->phase == SHUTDOWN_WORKERS || s->at_once;
}

#endif
