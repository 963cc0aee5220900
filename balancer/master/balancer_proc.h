/* One balancer process as the master sees it. */
#ifndef DROVER_MASTER_BALANCER_PROC_H
#define DROVER_MASTER_BALANCER_PROC_H

#include <event2/event.h>
#include <event2/event_struct.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "balancer/master/backoff.h"
#include "common/base.h"
#include "common/err.h"
#include "common/list.h"
#include "common/msg.h"

struct master;
struct generation;

struct balancer {
	struct list link;        /* in generation->balancers */
	struct generation *generation;
	uint32_t index;          /* 0-based in its generation */
	pid_t pid;               /* 0: none, waiting to be started again */
	uint64_t start_ticks;    /* proc_start_ticks() of it */
	int pidfd, channel;
	uint32_t row;            /* of the tally */
	uint64_t acked;          /* newest roster version that it is known to follow */
	int64_t acks_over;       /* ACKs that came, less the ROSTERs that asked for one */
	uint64_t behind_since_us; /* it owes us an ACK since then; 0: it does not */
	bool ready, stopped, killed;
	uint32_t handover;       /* HANDOVER_FORM of the program that forked it; 0: it knows of none */
	bool foreign;            /* reads a roster, and writes a tally, of another layout than ours */

	/* What it is still to be told; each kind keeps only the newest. */
	bool tell_roster;
	bool tell_reopen[LOG_KIND_MAX];
	enum drain_level tell_drain; /* DRAIN_NONE: nothing */

	struct event ev_ended, ev_channel, ev_writable, ev_restart;
	struct backoff_history history;
};

/* Forks balancer `index` of `g`; `again`: takes the place of this one, which has
 * ended (its memory is used on).  ERR_*, logged; with `again` the caller retries. */
MUST_CHECK enum err balancer_start(struct generation *g, uint32_t index, struct balancer *again);

/* After an exec: one that was started before (pid, channel and the rest are filled) is a
 * member of its generation and watched, or, without a pid, about to be started again. */
void balancer_resume(struct balancer *b);

/* A balancer of a serving generation has ended: starts it again, at once unless
 * it keeps ending. */
void balancer_replace(struct balancer *b);

void balancer_drain(struct balancer *b, enum drain_level level);
void balancer_kill(struct balancer *b); /* SIGKILL; its end arrives as for any other */
void balancer_free(struct balancer *b); /* one that has ended */

/* Wakes all balancers for the roster's newest version, if they do not know it. */
void balancers_tell_roster(struct master *m);
/* Sends all balancers the descriptor that is now in force for a log. */
void balancers_reopen(struct master *m, enum log_kind which);
/* Whether every living balancer follows `version`. */
bool balancers_follow(const struct master *m, uint64_t version);
void balancers_kill_all(struct master *m);
/* Kills those that have not answered for half a minute: they hang. */
void balancers_kill_hung(struct master *m);

#endif
