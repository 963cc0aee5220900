/* A place where the workers' lines go: our own stdout or stderr, or a file.  Nothing
 * here ever waits: what is not taken is queued up to a bound, what is beyond it is
 * dropped and counted, and both the log and the place itself say so.
 *
 * A pipe, terminal or socket is written by the master; a file by a process of its own
 * (writer.h), since a write to a file waits for the disk whatever its flags. */
#ifndef DROVER_MASTER_SINK_H
#define DROVER_MASTER_SINK_H

#include <event2/event.h>
#include <event2/event_struct.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base.h"
#include "common/err.h"
#include "common/proc.h"

#define SINK_QUEUE (512 * 1024)     /* bytes */
#define SINK_LOUD_BYTES (64 * 1024) /* of one worker within SINK_LOUD_US make it loud */
#define SINK_LOUD_US 500000

struct sink {
	int fd;                       /* ours; -1: closed, everything is dropped silently */
	int file;                     /* what the writer writes to; -1: there is none */
	int writer;                   /* its pidfd; -1 */
	uint64_t writer_us;           /* since when it runs */
	const char *name;             /* "stdout", or the path: for messages, borrowed */
	const struct sandbox *sandbox; /* the writer's, borrowed; its role does not matter */
	bool is_socket, is_terminal;
	bool may_wait; /* its flags are shared: look before each write */
	char *queue;
	size_t from, to;   /* queued bytes: [from, to), whole lines but perhaps the first */
	bool mid_line;     /* the first has been written in part */
	uint64_t dropped;  /* lines not yet told of in the log */
	uint64_t gap;      /* lines not yet told of in the place itself */
	unsigned report_s; /* until the next report */
	struct event_base *base;
	struct event ev, ev_report;
};

/* How much one worker has put into a sink of late.  A loud one may fill half of the
 * queue, so that the others' lines still find room. */
struct sink_share {
	uint64_t since_us;
	size_t bytes;
};

/* A closed one; `name` and `sandbox` are borrowed, as below. */
void sink_none(struct sink *s, struct event_base *base, const char *name,
	       const struct sandbox *sandbox);

/* For stdout and stderr: opens a private description of `fd`, which stays open; a
 * closed `fd` gives a closed sink.  ERR_NOMEM, ERR_FD_LIMIT, ERR_SYS. */
MUST_CHECK enum err sink_init(struct sink *s, struct event_base *base, int fd, const char *name,
			      const struct sandbox *sandbox);

/* For a file: takes `fd`, also on failure. */
MUST_CHECK enum err sink_open(struct sink *s, struct event_base *base, int fd, const char *name,
			      const struct sandbox *sandbox);

/* After an exec: what sink_none() made has been given the descriptors and numbers that
 * another one had, and goes on with what that one had queued.  ERR_NOMEM. */
MUST_CHECK enum err sink_resume(struct sink *s, const char *bytes, size_t n);

/* From here on into `fd` (taken), the same path opened anew; what the old one has taken
 * stays there.  On failure the old one stays in use. */
MUST_CHECK enum err sink_move(struct sink *s, int fd);

/* Writes what is queued and closes, waiting until `deadline_us` at the most.  0: waits
 * for nothing, and a writer goes on with what it has. */
void sink_fini(struct sink *s, uint64_t deadline_us);

/* A place for one line of at most `most` bytes, its newline among them; NULL: there is
 * no room, and the line counts as dropped.  Then sink_add() says how long it became. */
char *sink_reserve(struct sink *s, struct sink_share *share, size_t most);
void sink_add(struct sink *s, struct sink_share *share, size_t n);

/* Sends what there is, as far as it is taken. */
void sink_flush(struct sink *s);

/* Whether everything has been taken. */
bool sink_is_idle(const struct sink *s);

#endif
