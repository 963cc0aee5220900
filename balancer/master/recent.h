/* The last lines that workers have written: kept per worker and per app, in
 * bounded memory, for `status`, `logs` and the message about a failed start.
 *
 *   struct recents          one per app
 *     all                   the app's last lines, of whichever worker
 *     workers               struct recent_worker: those that run, and of each
 *                           instance the last two that have ended
 *
 * One that floods pushes the others' lines out of `all`, never out of theirs.
 * Lines are numbered over the whole life of this drover, across apps, so that a
 * reader can ask for what came after the last one it has seen. */
#ifndef DROVER_MASTER_RECENT_H
#define DROVER_MASTER_RECENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/base.h"
#include "common/list.h"

#define RECENT_LINE_BYTES 2048          /* kept of one line */
#define RECENT_WORKER_BYTES (16 * 1024) /* of one worker, some 40 bytes per line among them */
#define RECENT_APP_BYTES (64 * 1024)
#define RECENT_ENDED_KEPT 2 /* per instance */

struct recent_line {
	uint64_t seq;     /* from 1 */
	uint64_t wall_us; /* since 1970, when it was read */
	pid_t pid;
	uint32_t instance, release;
	uint16_t n;       /* bytes of text */
	uint8_t stream;   /* 1 stdout, 2 stderr */
	bool cut;         /* more of it followed, or was not kept */
	const char *text; /* any bytes, NUL and control bytes too; not terminated */
};

/* ---- one ring ----------------------------------------------------------- */

struct recent {
	char *bytes; /* NULL until the first line */
	size_t size;
	size_t from, used; /* the oldest record; wraps around */
	uint32_t n;        /* lines in it */
	uint64_t evicted;  /* number of the last line that had to go; 0: none */
	uint64_t n_evicted; /* how many had to go: n_evicted + n have been written in all */
};

void recent_init(struct recent *r, size_t size); /* size > RECENT_LINE_BYTES + 64 */
void recent_fini(struct recent *r);

/* Copies the line; the oldest ones make room.  Without memory it is left out. */
void recent_add(struct recent *r, const struct recent_line *line);

/* Calls `f`, oldest first, for each line numbered above `after` (0: all), until
 * it returns false.  What it is given is borrowed for the call.  Lines that went
 * before they were asked for: r->evicted > after. */
typedef bool recent_f(void *arg, const struct recent_line *line);
void recent_each(const struct recent *r, uint64_t after, recent_f *f, void *arg);

/* The line at `*offset` (0: the oldest), which moves on to the next.  Its text is copied by
 * recent_text(), to `text` with room for line.n bytes, before the ring changes.  False: there
 * is none. */
MUST_CHECK bool recent_next(const struct recent *r, size_t *offset, struct recent_line *ret_line);
void recent_text(const struct recent *r, size_t offset, const struct recent_line *line, char *text);

/* The number after which the last `n` lines stand, for recent_each(). */
uint64_t recent_before_last(const struct recent *r, uint32_t n);

/* ---- an app's ----------------------------------------------------------- */

struct recents {
	struct recent all;
	struct list workers; /* struct recent_worker, oldest first */
	uint64_t *seq;       /* the number given last; the master's, for all apps */
};

struct recent_worker {
	struct list link;
	struct recents *of;
	pid_t pid;
	uint32_t instance, release;
	bool ended;
	struct recent lines;
};

/* Borrows `seq` until recents_fini(). */
void recents_init(struct recents *rs, uint64_t *seq);
void recents_fini(struct recents *rs);

/* A worker has been started.  Lent until recents_close(); NULL without memory. */
struct recent_worker *recents_open(struct recents *rs, pid_t pid, uint32_t instance,
				   uint32_t release);

/* Numbers the line, and keeps it for the worker and for its app.  `stream`: 1 or
 * 2; `text` any bytes, of which RECENT_LINE_BYTES are kept. */
void recents_add(struct recent_worker *w, int stream, const char *text, size_t n, bool cut);

/* Nothing more will come from it.  Its lines stay until two later ones of the same
 * instance have ended, or its instance is not wanted any more.  Accepts NULL;
 * returns NULL. */
struct recent_worker *recents_close(struct recent_worker *w);

/* The app has `wanted` instances now: forgets the ended workers of others. */
void recents_trim(struct recents *rs, uint32_t wanted);

/* The newest worker with that pid, and the newest of an instance; or NULL. */
const struct recent_worker *recents_of_pid(const struct recents *rs, pid_t pid);
const struct recent_worker *recents_of_instance(const struct recents *rs, uint32_t instance);

#endif
