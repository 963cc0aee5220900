/* The other side of an upgrade: the process after the exec, until it has shown that it can
 * do what the program before could.  Until then any failure of it (a crash, an exit, a
 * standstill) executes the program before once more, in the same process, with the
 * newest state. */
#ifndef DROVER_MASTER_TAKEOVER_H
#define DROVER_MASTER_TAKEOVER_H

#include <stdbool.h>
#include <stddef.h>

struct takeover {
	int state_fd;       /* -1: an ordinary start */
	const char *failed; /* we are the program before, and take over from one that has failed
	                     * in this way; NULL: we are the new one */
};

/* First in main(): whether this process was executed by a master that hands over to it.
 * From here on, a new program that fails executes the one before.  Takes the variable out
 * of the environment; borrows argv, which must be that of the exec. */
struct takeover takeover_begin(char **argv);

/* How a master names what it hands over, for the environment of an exec: the state, and the
 * program to go back to (-1: none). */
void takeover_offer(int state_fd, int exe_fd);
void takeover_withdraw(void);

/* What going back would hand over from now on: takes both the descriptor of the state and
 * the list of those in it.  Nothing after takeover_proven(). */
void takeover_guard(int state_fd, int *fds, size_t n_fds);

/* Whether a failure would still go back. */
bool takeover_on_trial(void);

/* Goes back now.  Returns only when that fails, with errno. */
void takeover_go_back(const char *why);

/* The new program goes on, come what may. */
void takeover_proven(void);

/* Lets the descriptors through an exec, or not (any more). */
void takeover_open_for_exec(const int *fds, size_t n, bool open);

#endif
