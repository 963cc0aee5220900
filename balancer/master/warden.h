/* The warden: a process that sleeps until the master ends.  When that was not
 * announced, it keeps everything as it is for a while, for another master to take over
 * (adoption.h); then it lets the balancers finish, stops the workers and removes the
 * files, so that nothing outlives drover for ever.
 *
 * It shares the master's descriptors, all of them, at any time: the kernel holds one table
 * for both (clone(2) with CLONE_FILES), which stays when the master goes.  So nothing that
 * the master opens has to be told or sent to it, and nothing that the master closes stays
 * open.  Its memory is its own: what a master that went mad has written there is not read. */
#ifndef DROVER_MASTER_WARDEN_H
#define DROVER_MASTER_WARDEN_H

#include <event2/event.h>
#include <event2/event_struct.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "balancer/board/tally.h"
#include "balancer/master/backoff.h"
#include "common/base.h"
#include "common/err.h"

struct config;
struct master;

#define WARDEN_NOTES 64

/* A file to be removed: by path, if it is still the one that was meant. */
struct warden_file {
	char path[256]; /* "": unused */
	uint64_t device, inode;
};

/* Shared between master and warden; the master writes, the warden reads when
 * the master is no more. */
struct warden_notes {
	uint64_t wait_ms;      /* for the balancers to end by themselves */
	uint64_t adopt_ms;     /* before that: for another master to take over; 0: none */
	_Atomic uint32_t heir; /* the number of the warden that is to act; 0: none, all is well */
	/* In the table that they share: what another master would need; -1: there is nothing to
	 * be taken over.  And the error log, or -1. */
	_Atomic int32_t state_fd, log_fd;
	char sockets[256];     /* directory of the workers' sockets, "" = none */
	struct warden_file files[WARDEN_NOTES];
	/* By row of the tally.  Not from the rows themselves: their balancers can write there,
	 * and these pids are killed with the master's rights. */
	_Atomic int32_t balancers[TALLY_ROWS];
	_Atomic uint64_t balancer_starts[TALLY_ROWS]; /* proc_start_ticks() of each */
};

struct warden {
	struct warden_notes *notes;
	int notes_fd;         /* of their segment */
	uint32_t number;      /* of this one, as in notes->heir */
	pid_t pid;            /* 0: none */
	int pidfd;
	int self;             /* pidfd of the master: the warden waits for its end */
	int life_read, life;  /* a pipe: a byte tells the warden to go */
	int balancers[2];     /* every balancer inherits [1]; the warden waits for the end of [0] */
	struct event ev_ended, ev_restart;
	struct backoff_history history;
};

/* Makes the notes and pipes and forks the warden.  ERR_*, logged. */
MUST_CHECK enum err warden_start(struct master *m);

/* After an exec: notes (notes_fd; -1: there are none that we can read), pipes and pid are
 * as they were.  ERR_*, logged. */
MUST_CHECK enum err warden_resume(struct master *m);

/* A fresh one, of this program, takes the place of the one that is there, which has closed
 * what it held when this returns. */
void warden_renew(struct master *m);

/* The same before an exec, which ends the sharing of descriptors: one that holds by itself
 * those that notes->state_fd names, and no others. */
void warden_for_exec(struct master *m);

/* A normal end: the warden goes without doing anything. */
void warden_stop(struct warden *w);

/* How long the balancers may take under this configuration. */
void warden_set_wait(struct warden *w, const struct config *cfg);
void warden_set_sockets(struct warden *w, const char *path);

/* Notes an existing file; returns the note, or -1 (no room, no such file). */
int warden_note(struct warden *w, const char *path);
/* The same for one that a master before us has noted, and that has been made anew. */
int warden_note_anew(struct warden *w, const char *path);
/* Removes the file of a note, if it is still the one, and the note. -1 is fine. */
void warden_remove_note(struct warden *w, int note);
/* The note goes, its file stays. -1 is fine. */
void warden_forget_note(struct warden *w, int note);

/* The balancer of a row of the tally, or 0: none.  Nothing before warden_start(). */
void warden_note_balancer(struct warden *w, uint32_t row, int32_t pid);

/* What every balancer keeps open. */
int warden_balancer_fd(const struct warden *w);

/* The warden's main function.  `shares`: the descriptors, with the master. */
NORETURN void warden_main(struct master *m, bool shares);
/* Fills in which file is at `path`; false, and nothing: there is none. */
bool warden_identify(const char *path, struct warden_file *ret_file);
/* Removes the file if it is the one that was noted. */
void warden_remove_file(const struct warden_file *file);

#endif
