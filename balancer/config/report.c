/* Errors with their place, line and caret.  Runs in the master and in `drover
 * check`; called by every other file of config/.  Decides nothing, exits never. */
#include "balancer/config/report.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "balancer/config/utf8.h"
#include "common/log.h"
#include "common/mem.h"

#define EXCERPT_WIDTH 100 /* columns of the line that are shown */
#define EXCERPT_LEAD 60   /* of them before the caret, when the line is long */
#define TAB_WIDTH 4

struct report_item {
	struct place at;
	size_t order; /* keeps errors of one place in the order they were found */
	char *message, *hint;
};

/* A character as it is shown: how many bytes it takes from the text, what is
 * printed for it, how wide that is. */
struct cell {
	size_t bytes, width;
	char shown[8];
};

static struct cell cell_of(const char *p, size_t n, size_t column)
{
	struct cell c = { .bytes = 1 };
	uint32_t code;
	size_t len = utf8_decode(p, n, &code);
	if (*p == '\t') {
		c.width = TAB_WIDTH - column % TAB_WIDTH;
		memset(c.shown, ' ', c.width);
	} else if (len == 0 || (code < 0x80 && !utf8_printable(code))) {
		c.width = (size_t)snprintf(c.shown, sizeof(c.shown), "\\x%02x", (unsigned char)*p);
	} else if (!utf8_printable(code)) {
		c.bytes = len;
		c.width = (size_t)snprintf(c.shown, sizeof(c.shown), "\\u%04x", code & 0xffff);
	} else {
		c.bytes = len;
		c.width = utf8_width(code);
		memcpy(c.shown, p, len);
	}
	return c;
}

/* Message and hint: nothing that a terminal would act on.  Line ends only in
 * hints, which are our own words. */
static char *clean(const char *text, bool lines)
{
	size_t n = strlen(text), used = 0;
	char *out = mem_must_alloc(n * sizeof(((struct cell *)0)->shown) + 1);
	for (size_t i = 0; i < n;) {
		struct cell c = cell_of(text + i, n - i, 0);
		if (text[i] == '\t')
			snprintf(c.shown, sizeof(c.shown), "\\t");
		if (text[i] == '\n')
			snprintf(c.shown, sizeof(c.shown), lines ? "\n  " : "\\n");
		size_t shown = strlen(c.shown);
		memcpy(out + used, c.shown, shown);
		used += shown;
		i += c.bytes;
	}
	out[used] = '\0';
	return out;
}

static char *clean_format(const char *fmt, va_list args, bool lines) PRINTF_LIKE(1, 0);
static char *clean_format(const char *fmt, va_list args, bool lines)
{
	char *raw;
	if (vasprintf(&raw, fmt, args) < 0)
		die(1, "out of memory");
	char *out = clean(raw, lines);
	free(raw);
	return out;
}

void report_add(struct report *r, struct place at, const char *fmt, ...)
{
	r->n_all++;
	if (r->n_items == REPORT_KEPT)
		return;
	if (!r->items)
		r->items = mem_must_alloc(REPORT_KEPT * sizeof(*r->items));
	va_list args;
	va_start(args, fmt);
	r->items[r->n_items] = (struct report_item){ .at = at,
						     .order = r->n_items,
						     .message = clean_format(fmt, args, false) };
	va_end(args);
	r->n_items++;
}

void report_hint(struct report *r, const char *fmt, ...)
{
	if (r->n_items == 0 || r->n_all > REPORT_KEPT)
		return;
	struct report_item *item = &r->items[r->n_items - 1];
	va_list args;
	va_start(args, fmt);
	mem_free(item->hint);
	item->hint = clean_format(fmt, args, true);
	va_end(args);
}

/* The breaks that libyaml counts as line ends, so that its numbers and ours
 * agree: LF, CR, CRLF, NEL, LS, PS.  Returns the length in bytes, or 0. */
static size_t break_len(const char *p, const char *end)
{
	size_t left = (size_t)(end - p);
	if (*p == '\r')
		return left > 1 && p[1] == '\n' ? 2 : 1;
	if (*p == '\n')
		return 1;
	if (left >= 2 && memcmp(p, "\xc2\x85", 2) == 0)
		return 2;
	if (left >= 3 && (memcmp(p, "\xe2\x80\xa8", 3) == 0 || memcmp(p, "\xe2\x80\xa9", 3) == 0))
		return 3;
	return 0;
}

static const char *find_line(const struct report *r, uint32_t line, size_t *ret_n)
{
	const char *p = r->text, *end = r->text + r->n;
	for (uint32_t at = 1; at < line && p < end;) {
		size_t len = break_len(p, end);
		at += len > 0;
		p += len ? len : 1;
	}
	const char *stop = p;
	while (stop < end && !break_len(stop, end))
		stop++;
	*ret_n = (size_t)(stop - p);
	return p;
}

static void repeat(FILE *out, char c, size_t n)
{
	while (n-- > 0)
		fputc(c, out);
}

/* The line and, below, `^~~~` under the value.  Of a long line only the part
 * around the value. */
static void print_excerpt(const struct report *r, struct place at, FILE *out)
{
	size_t n;
	const char *p = find_line(r, at.line, &n);
	size_t column = 0, caret = 0, caret_end = 0, chars = 1;
	for (size_t i = 0; i < n; chars++) {
		struct cell c = cell_of(p + i, n - i, column);
		if (chars == at.column)
			caret = column;
		if (chars >= at.column && chars < at.column + at.width)
			caret_end = column + c.width;
		column += c.width;
		i += c.bytes;
	}
	if (chars <= at.column) /* behind the last character: "something is missing here" */
		caret = column;
	size_t from = column > EXCERPT_WIDTH && caret > EXCERPT_LEAD ? caret - EXCERPT_LEAD : 0;
	size_t to = from + EXCERPT_WIDTH;

	fputs(from ? "  ..." : "  ", out);
	size_t first = to; /* where the shown part really begins: a cell may straddle */
	column = 0;
	for (size_t i = 0; i < n && column < to;) {
		struct cell c = cell_of(p + i, n - i, column);
		if (column >= from && column + c.width <= to) {
			first = MIN(first, column);
			fputs(c.shown, out);
		}
		column += c.width;
		i += c.bytes;
	}
	fputs(column >= to ? "...\n  " : "\n  ", out);
	first = MIN(first, caret);
	repeat(out, ' ', (from ? 3 : 0) + caret - first);
	fputc('^', out);
	caret_end = MIN(caret_end, to);
	repeat(out, '~', caret_end > caret + 1 ? caret_end - caret - 1 : 0);
	fputc('\n', out);
}

static void print_item(const struct report *r, const struct report_item *item, FILE *out)
{
	struct place at = item->at;
	if (at.kind == PLACE_COMMAND_LINE || !r->file)
		fprintf(out, "command line: %s\n", item->message);
	else if (at.kind == PLACE_DEFAULT || at.line == 0)
		fprintf(out, "%s: %s\n", r->file, item->message);
	else
		fprintf(out, "%s:%u:%u: %s\n", r->file, at.line, at.column, item->message);
	if (at.kind == PLACE_FILE && at.line && r->text)
		print_excerpt(r, at, out);
	if (item->hint)
		fprintf(out, "  %s\n", item->hint);
}

static int by_place(const void *a, const void *b)
{
	const struct report_item *x = a, *y = b;
	if (x->at.line != y->at.line)
		return x->at.line < y->at.line ? -1 : 1;
	if (x->at.column != y->at.column)
		return x->at.column < y->at.column ? -1 : 1;
	return x->order < y->order ? -1 : x->order > y->order;
}

void report_finish(struct report *r, struct config_errors *ret_errors)
{
	*ret_errors = (struct config_errors){ .count = r->n_all };
	if (r->n_items == 0)
		return;
	qsort(r->items, r->n_items, sizeof(*r->items), by_place);
	char *text;
	size_t n;
	FILE *out = open_memstream(&text, &n);
	if (!out)
		die(1, "out of memory");
	for (size_t i = 0; i < r->n_items && i < REPORT_SHOWN; i++)
		print_item(r, &r->items[i], out);
	if (r->n_all > REPORT_SHOWN)
		fprintf(out, "and %zu more %s\n", r->n_all - REPORT_SHOWN,
			r->n_all - REPORT_SHOWN == 1 ? "error" : "errors");
	if (fclose(out) != 0)
		die(1, "out of memory");
	ret_errors->text = mem_must_dup(text);
	free(text);
	for (size_t i = 0; i < r->n_items; i++) {
		mem_free(r->items[i].message);
		mem_free(r->items[i].hint);
	}
	mem_free(r->items);
	r->items = NULL;
	r->n_items = 0;
}

void config_errors_fini(struct config_errors *errors)
{
	mem_free(errors->text);
	*errors = (struct config_errors){ 0 };
}

const char *report_quote(const char *text, char buf[static REPORT_QUOTE_MAX])
{
	size_t n = strlen(text), room = REPORT_QUOTE_MAX - 6;
	if (n <= room) {
		snprintf(buf, REPORT_QUOTE_MAX, "\"%s\"", text);
		return buf;
	}
	while (room > 0 && ((unsigned char)text[room] & 0xc0) == 0x80)
		room--; /* never through the middle of a character */
	snprintf(buf, REPORT_QUOTE_MAX, "\"%.*s...\"", (int)room, text);
	return buf;
}
