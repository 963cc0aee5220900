/* UTF-8 as the config reader meets it: bytes from a file that may be anything. */
#ifndef DROVER_CONFIG_UTF8_H
#define DROVER_CONFIG_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Decodes the character at `p` (`n` >= 1 bytes).  Returns its length in bytes,
 * or 0 when it is not valid UTF-8 (RFC 3629: no surrogates, no overlong form,
 * nothing past U+10FFFF). */
size_t utf8_decode(const char *p, size_t n, uint32_t *ret_code);

/* Whether a terminal may be shown the character: no control, no bidirectional
 * override that would reorder the line around it. */
bool utf8_printable(uint32_t code);

/* Columns that a terminal gives the character: 0, 1 or 2. */
unsigned utf8_width(uint32_t code);

#endif
