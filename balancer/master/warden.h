/* The warden: a process that sleeps until the master ends.  When that was not
 * announced, it lets the balancers finish, stops the workers and removes the
 * files, so that nothing outlives drover for ever. */
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
	int32_t group;         /* the balancers' process group: the master's */
	char sockets[256];     /* directory of the workers' sockets, "" = none */
	struct warden_file files[WARDEN_NOTES];
	/* By row of the tally.  Not from the rows themselves: their balancers can write there,
	 * and these pids are killed with the master's rights. */
	_Atomic int32_t balancers[TALLY_ROWS];
};

struct warden {
	struct warden_notes *notes;
	int notes_fd;         /* of their segment */
	pid_t pid;            /* 0: none */
	int pidfd;
	int life;             /* write end: closes when the master ends */
	int balancers[2];     /* every balancer inherits [1]; the warden waits for the end of [0] */
	struct event ev_ended, ev_restart;
	struct backoff_history history;
};

/* Makes the notes and pipes and forks the warden.  ERR_*, logged. */
MUST_CHECK enum err warden_start(struct master *m);

/* After an exec: notes (notes_fd; -1: there are none that we can read), pipes and pid are
 * as they were.  ERR_*, logged. */
MUST_CHECK enum err warden_resume(struct master *m);

/* A fresh one, of this program, takes the place of the one that is there. */
void warden_renew(struct master *m);

/* A normal end: the warden goes without doing anything. */
void warden_stop(struct warden *w);

/* How long the balancers may take under this configuration. */
void warden_set_wait(struct warden *w, const struct config *cfg);
void warden_set_sockets(struct warden *w, const char *path);

/* Notes an existing file; returns the note, or -1 (no room, no such file). */
int warden_note(struct warden *w, const char *path);
/* Removes the file of a note, if it is still the one, and the note. -1 is fine. */
void warden_remove_note(struct warden *w, int note);

/* The balancer of a row of the tally, or 0: none.  Nothing before warden_start(). */
void warden_note_balancer(struct warden *w, uint32_t row, int32_t pid);

/* What every balancer keeps open. */
int warden_balancer_fd(const struct warden *w);

/* The warden's main function. */
NORETURN void warden_main(struct master *m, int life_fd);
/* Removes the file if it is the one that was noted. */
void warden_remove_file(const struct warden_file *file);

#endif
