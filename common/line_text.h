/* How a line of text is shown that somebody else wrote and that may hold any bytes. */
#ifndef DROVER_COMMON_LINE_TEXT_H
#define DROVER_COMMON_LINE_TEXT_H

#include <stdbool.h>
#include <stddef.h>

/* The line as it may be shown: control bytes become \xNN, so that a worker can
 * neither forge lines nor steer the terminal; tabs stay, a CR at the end goes.
 * `colours`: SGR sequences stay too.  `out` has room for LINE_TEXT_SHOWN * n bytes;
 * returns how many it got. */
#define LINE_TEXT_SHOWN 4
size_t line_text_show(char *out, const char *line, size_t n, bool colours);

/* The line as UTF-8; each byte that belongs to none becomes U+FFFD; a CR at the
 * end goes.  `out` has room for LINE_TEXT_UTF8 * n bytes. */
#define LINE_TEXT_UTF8 3
size_t line_text_utf8(char *out, const char *line, size_t n);

/* The same as the inside of a JSON string (RFC 8259 section 7), for the workers' output: with
 * jansson each line would be allocated, as a tree, in the master.  Where jansson writes,
 * line_text_utf8() is what it needs, and it escapes.  `out` has room for LINE_TEXT_JSON * n bytes. */
#define LINE_TEXT_JSON 6
size_t line_text_json(char *out, const char *line, size_t n);

#endif
