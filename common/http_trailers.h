/* Trailer sections (RFC 9110 6.5): which of their fields are passed on. */
#ifndef DROVER_COMMON_HTTP_TRAILERS_H
#define DROVER_COMMON_HTTP_TRAILERS_H

#include <stdbool.h>

#include "common/slice.h"

/* Whether a field of this name may stand in a trailer section that drover sends. "_"
 * counts as "-": servers that hand fields on as variables cannot tell them apart. */
bool http_trailer_allowed(struct slice name);

/* Drops the lines that are not allowed from p[0..n), which http_body_read() has given:
 * "name:value\r\n" each.  In place; returns the bytes that are left. */
size_t http_trailers_filter(char *p, size_t n);

#endif
