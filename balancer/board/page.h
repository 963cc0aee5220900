/* A page of the workers' lines, as the master gives it to the monitor (ADMIN_LOGS) in a
 * sealed memfd:
 *
 *   struct page | struct page_line, text, to the next 8 bytes | struct page_line, ...
 *
 * A reader that follows asks with the place where the page before ended, and loses nothing
 * while the lines are kept; of those that went before it came, it learns how many. */
#ifndef DROVER_BOARD_PAGE_H
#define DROVER_BOARD_PAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base.h"
#include "common/err.h"
#include "common/slice.h"

#define PAGE_STAMP 0x64726f766c01u /* "drovl" and the layout's number */

struct page {
	uint64_t stamp;
	uint64_t next;    /* the place behind it: `since` of the next question.  Of one app: how
			   * many lines it had written till then; of all: the last one's number */
	uint64_t missing; /* lines behind `since` that were not kept */
	uint32_t n_lines;
	uint32_t more; /* 1: the next page has lines already */
};

struct page_line {
	uint64_t seq;     /* its number, over all apps */
	uint64_t wall_us; /* since 1970 */
	int32_t pid;
	uint32_t app_id, instance, release;
	uint16_t n;     /* bytes of text */
	uint8_t stream; /* 1 stdout, 2 stderr */
	uint8_t cut;    /* more of it followed, or was not kept */
	uint32_t zero;
};

/* What a line of `n` bytes takes in a page. */
static inline size_t page_line_bytes(size_t n)
{
	return (sizeof(struct page_line) + n + 7) & ~(size_t)7;
}

/* Whether the `bytes` bytes at `data` (aligned to 8) are a page, whole.  ERR_PROTOCOL. */
MUST_CHECK enum err page_view(const void *data, size_t bytes, const struct page **ret_page);

/* The line at `*offset` (0: the first), which moves on to the next, and its text: any bytes,
 * in the page.  NULL: there is none.  Only of what page_view() has found good. */
const struct page_line *page_next(const struct page *p, size_t bytes, size_t *offset,
				  struct slice *ret_text);

#endif
