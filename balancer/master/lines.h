/* A byte stream cut into lines of bounded length. */
#ifndef DROVER_MASTER_LINES_H
#define DROVER_MASTER_LINES_H

#include <stdbool.h>
#include <stddef.h>

#include "common/base.h"
#include "common/err.h"

#define LINES_MAX (16 * 1024) /* bytes of one line; longer ones come in pieces */

enum lines_piece {
	LINES_WHOLE = 0,
	LINES_GOES_ON = 1u << 0,   /* its rest comes with the next call */
	LINES_CONTINUES = 1u << 1, /* what came with the call before */
};

/* One line without its newline: any bytes, 0 to LINES_MAX of them, borrowed; `piece`
 * says what of a longer one it is. */
typedef void line_f(void *arg, const char *line, size_t n, unsigned piece);

struct lines {
	char *partial; /* the beginning of a line whose end has not come; NULL: none kept */
	size_t n;      /* of LINES_MAX */
	bool continues; /* a piece of this line has been handed out already */
};

/* Calls `f` for each line that `bytes` completes; keeps the rest.  Without
 * memory for the rest it is handed out as a line of its own. */
void lines_feed(struct lines *l, const char *bytes, size_t n, line_f *f, void *arg);

/* After an exec: `l` goes on with the beginning of a line that another one had kept. ERR_NOMEM. */
MUST_CHECK enum err lines_resume(struct lines *l, const char *partial, size_t n, bool continues);

/* The stream has ended: hands out what was kept, and frees it. */
void lines_end(struct lines *l, line_f *f, void *arg);

#endif
