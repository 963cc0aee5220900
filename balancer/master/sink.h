/* Our own stdout or stderr, as the place where the workers' output goes.
 * Nothing here ever waits: what the reader does not take is queued up to a
 * bound, what is beyond it is dropped and counted. */
#ifndef DROVER_MASTER_SINK_H
#define DROVER_MASTER_SINK_H

#include <event2/event.h>
#include <event2/event_struct.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base.h"
#include "common/err.h"

#define SINK_QUEUE (256 * 1024) /* bytes */

struct sink {
	int fd;             /* ours; -1: closed, everything is dropped silently */
	const char *name;   /* "stdout", for messages */
	bool is_socket, is_terminal;
	bool may_wait;      /* its flags are shared: look before each write */
	char *queue;
	size_t from, to;    /* queued bytes: [from, to) */
	uint64_t dropped;   /* lines since the last report */
	struct event ev;
};

/* Opens a private description of `fd`; a closed `fd` gives a closed sink.
 * Borrows `base` and `name`.  ERR_NOMEM, ERR_FD_LIMIT. */
MUST_CHECK enum err sink_init(struct sink *s, struct event_base *base, int fd, const char *name);

/* Writes what is queued, waiting at most `wait_ms` in all, and closes. */
void sink_fini(struct sink *s, int wait_ms);

/* Queues one line as `prefix`, `line`, newline; sink_flush() sends it. */
void sink_line(struct sink *s, const char *prefix, const char *line, size_t n);
void sink_flush(struct sink *s);

#endif
