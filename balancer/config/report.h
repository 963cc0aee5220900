/* Collects what is wrong with a config, and shows it the way people read it:
 *
 *   drover.yaml:3:9: timeouts.head: "10" has no unit
 *     head: 10
 *           ^~
 *     write 500ms, 10s, 5m or 1h
 */
#ifndef DROVER_CONFIG_REPORT_H
#define DROVER_CONFIG_REPORT_H

#include <stddef.h>
#include <stdint.h>

#include "balancer/config/config.h"
#include "common/base.h"

#define REPORT_SHOWN 20 /* errors printed; the rest are counted */
#define REPORT_KEPT 256 /* errors looked at, so that the first of the file are among them */

enum place_kind {
	PLACE_DEFAULT = 0, /* nobody wrote it: the tables did */
	PLACE_FILE,
	PLACE_COMMAND_LINE,
	PLACE_MAX
};

/* Where a value was written. */
struct place {
	uint32_t kind;         /* enum place_kind */
	uint32_t line, column; /* 1-based, column in characters; 0: the file as a whole */
	uint32_t width;        /* characters of it on its first line */
};

struct report_item;

struct report {
	const char *file; /* borrowed; NULL without a file */
	const char *text; /* borrowed: the file's bytes, for excerpts; may be NULL */
	size_t n;
	struct report_item *items; /* the first REPORT_KEPT */
	size_t n_items, n_all;
};

/* One error.  The message is one line without a newline; whatever it quotes may
 * hold any byte: what a terminal should not see is escaped. */
void report_add(struct report *r, struct place at, const char *fmt, ...) PRINTF_LIKE(3, 4);

/* Further lines for the error just added: what to write instead.  May hold line
 * ends, and of the user's words only such as have been checked. */
void report_hint(struct report *r, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* Gives all errors, in the order of the file; ends the report. */
void report_finish(struct report *r, struct config_errors *ret_errors);

/* `text` for use inside a message: in quotes, cut when long.  Returns `buf`. */
#define REPORT_QUOTE_MAX 96
const char *report_quote(const char *text, char buf[static REPORT_QUOTE_MAX]);

#endif
