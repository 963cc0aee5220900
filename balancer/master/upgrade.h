/* Replacing the running program in place: SIGUSR2, and `drover upgrade`. */
#ifndef DROVER_MASTER_UPGRADE_H
#define DROVER_MASTER_UPGRADE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "balancer/master/rehearsal.h"
#include "common/err.h"

struct generation;
struct master;

enum upgrade_phase {
	UPGRADE_NONE = 0,
	UPGRADE_CHECKING,   /* the new program looks at the configuration */
	UPGRADE_REHEARSING, /* it reads a copy of the state */
	UPGRADE_DUE,        /* the exec follows at the end of a turn in which nothing is loading */
	UPGRADE_TRIAL,      /* we are the new program; its first generation is starting */
	UPGRADE_MAX
};

enum upgrade_outcome { UPGRADE_NEVER = 0, UPGRADE_DONE, UPGRADE_FAILED };

struct upgrade {
	enum upgrade_phase phase;
	uint32_t asked;                /* how many have begun, ever */
	enum upgrade_outcome outcome;  /* of the last one that has ended */
	char reason[256];              /* why it failed; "" */
	char before[64];               /* the version that the last one replaced */
	char *path;                    /* of the program */
	bool again;                    /* another was asked for meanwhile */
	uint64_t device, inode, changed_ns; /* of the file that was asked */
	char verdict[256];             /* TRIAL has been lost so; "" */
	bool won;                      /* TRIAL has been won */
	struct rehearsal rehearsal;
};

/* Finds out which program we are; once, at the start. */
void upgrade_init(struct master *m);
void upgrade_fini(struct master *m);

/* SIGUSR2 or the admin's `upgrade`: begins one, or notes that another is to follow the one
 * under way.  What comes of it is in m->upgrade. */
void upgrade_begin(struct master *m, const char *why);

/* End of a turn: what is due.  May not return: the exec. */
void upgrade_turn(struct master *m);

/* The new generation of a trial serves; or it, or another first step, has failed. */
void upgrade_on_serving(struct master *m);
void upgrade_on_failure(struct master *m, const char *why);

/* A trial goes on: reloads wait. */
static inline bool upgrade_on_trial(const struct upgrade *u)
{
	return u->phase == UPGRADE_TRIAL;
}

/* After an exec, with the state read: the new program (`failed` NULL) starts its generation;
 * the one before says why it is back. */
void upgrade_resume(struct master *m, const char *failed);

/* The answer of a program that has read the state and could take over. */
#define UPGRADE_ANSWER "takes over: drover "

#endif
