/* What one worker writes to its stdout and stderr: passed on line by line with
 * the worker's name in front, and the last lines kept (recent.h). */
#ifndef DROVER_MASTER_OUTPUT_H
#define DROVER_MASTER_OUTPUT_H

#include <event2/event.h>
#include <event2/event_struct.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "balancer/master/lines.h"
#include "balancer/master/recent.h"
#include "balancer/master/outlet.h"
#include "common/base.h"
#include "common/err.h"
#include "common/slice.h"

struct output;

struct output_stream {
	struct output *owner;
	int fd; /* read end; -1: closed */
	struct sink *sink; /* NULL: not started */
	struct lines lines;
	struct sink_share share;
	bool refused; /* of late, a line was */
	struct event ev, rest;
};

struct output {
	char prefix[112];                /* "web.0[123]: " */
	char fields[192];                /* of a JSON line: "app", "instance", "pid", "release" */
	uint32_t format;                 /* enum cfg_output_format */
	struct outlet *outlet;           /* held */
	struct output_stream streams[2]; /* stdout, stderr */
	struct recent_worker *recent;    /* or NULL: out of memory */
};

/* Makes both pipes; the caller takes the two write ends for the worker, and
 * closes them after the spawn.  ERR_FD_LIMIT, ERR_SYS. */
MUST_CHECK enum err output_open(struct output *o, int ret_child_fds[2]);

/* After an exec: stream `i` (0 stdout, 1 stderr) with the pipe that it had (taken; -1: it was
 * closed) and the beginning of a line.  Before output_start().  ERR_NOMEM. */
MUST_CHECK enum err output_resume(struct output *o, int i, int fd, struct slice partial,
				  bool continues);

/* Whose lines they are, and what is done with them. */
struct output_of {
	const char *app;
	uint32_t instance, release;
	pid_t pid;
	uint32_t format;              /* enum cfg_output_format */
	struct outlet *outlet;        /* taken */
	struct recent_worker *recent; /* lent until output_close(); may be NULL */
};

/* Begins to pass on lines.  Borrows `base` until output_close(). */
void output_start(struct output *o, struct event_base *base, const struct output_of *of);

/* Reads what is there now, without waiting: the worker has ended. */
void output_drain(struct output *o);

/* Hands out partial lines, closes, and gives the recent lines to their app.
 * Accepts one that was never started. */
void output_close(struct output *o);

#endif
