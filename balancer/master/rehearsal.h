/* A program that is asked something before it is trusted: a child of the master with a
 * deadline, whose answer is its exit status and what it writes. */
#ifndef DROVER_MASTER_REHEARSAL_H
#define DROVER_MASTER_REHEARSAL_H

#include <event2/event.h>
#include <event2/event_struct.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/base.h"
#include "common/err.h"

#define REHEARSAL_OUTPUT 8192 /* bytes that are kept */

struct rehearsal;

/* It has ended, or was ended: `failure` is NULL when its status was 0, else says why not.
 * Both borrow. */
typedef void rehearsal_f(void *arg, const char *output, const char *failure);

struct rehearsal {
	pid_t pid;             /* 0: none runs */
	int pidfd, fd;         /* -1 */
	char output[REHEARSAL_OUTPUT + 1];
	size_t n;
	bool late;
	uint64_t ms;
	struct event ev_ended, ev_output, ev_deadline;
	rehearsal_f *on_done;
	void *arg;
};

/* Runs `argv` with our environment, `stdin_fd` (-1: /dev/null) and its output caught, for at
 * most `ms`; on_done(arg) is called once, from the loop.  When it cannot be started:
 * ERR_SYS with errno. */
MUST_CHECK enum err rehearsal_start(struct rehearsal *r, struct event_base *base, char *const *argv,
				    int stdin_fd, uint64_t ms, rehearsal_f *on_done, void *arg);

/* Ends it, and on_done() is not called.  Harmless when none runs. */
void rehearsal_cancel(struct rehearsal *r);

#endif
