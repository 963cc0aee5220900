/* A byte stream cut into lines of bounded length. */
#ifndef DROVER_MASTER_LINES_H
#define DROVER_MASTER_LINES_H

#include <stdbool.h>
#include <stddef.h>

#define LINES_MAX 8192 /* bytes of one line; longer ones come in pieces */

/* One line without its newline: any bytes, 0 to LINES_MAX of them, borrowed. */
typedef void line_f(void *arg, const char *line, size_t n);

struct lines {
	char *partial; /* the beginning of a line whose end has not come; NULL: none kept */
	size_t n;
	bool cut;      /* the last piece ended at the limit: a newline now only ends that line */
};

/* Calls `f` for each line that `bytes` completes; keeps the rest.  Without
 * memory for the rest it is handed out as a line of its own. */
void lines_feed(struct lines *l, const char *bytes, size_t n, line_f *f, void *arg);

#define LINES_SHOWN_MAX (4 * LINES_MAX)

/* The line as it may be shown: control bytes become \xNN, so that a worker can
 * neither forge lines nor steer the terminal; tabs stay, a CR at the end goes.
 * `colours`: SGR sequences stay too.  `out` has room for 4 * n bytes; returns
 * how many it got. */
size_t lines_show(char *out, const char *line, size_t n, bool colours);

/* The stream has ended: hands out what was kept, and frees it. */
void lines_end(struct lines *l, line_f *f, void *arg);

#endif
