/* Conditional and range requests.  Pure functions of a head and a file's state;
 * called by files.c. */
#include "worker/preconditions.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "common/clock.h"

/* The n-th field of that name; NULL when there are fewer. */
static const struct http_field *field(const struct http_head *h, struct slice name, uint32_t n)
{
	for (uint32_t i = 0; i < h->n_fields; i++)
		if (slice_ieq(h->fields[i].name, name) && n-- == 0)
			return &h->fields[i];
	return NULL;
}

/* Whether a field of entity tags names `etag`, or says "*".  Several lines of
 * the field are one list (RFC 9110 5.3). */
static bool names_etag(const struct http_head *h, struct slice name, struct slice etag, bool weakly)
{
	const struct http_field *f;

	for (uint32_t i = 0; (f = field(h, name, i)) != NULL; i++) {
		struct slice rest = f->value, item;

		while (slice_next_item(&rest, &item)) {
			if (weakly && slice_starts(item, SLICE("W/")))
				item = (struct slice){ item.p + 2, item.n - 2 };
			if (slice_eq(item, etag) || slice_eq(item, SLICE("*")))
				return true;
		}
	}
	return false;
}

/* RFC 9110 5.6.7: the one form to write, and the two obsolete ones to read. */
static bool parse_date(struct slice text, time_t *ret_time)
{
	static const char *const forms[] = { "%a, %d %b %Y %H:%M:%S GMT",
					     "%A, %d-%b-%y %H:%M:%S GMT", "%a %b %d %H:%M:%S %Y" };
	char buf[64];

	if (text.n >= sizeof(buf))
		return false;
	memcpy(buf, text.p, text.n);
	buf[text.n] = '\0';
	for (size_t i = 0; i < ARRAY_LEN(forms); i++) {
		struct tm tm = { 0 };
		const char *end = strptime(buf, forms[i], &tm);

		if (end && *end == '\0') {
			*ret_time = timegm(&tm);
			return true;
		}
	}
	return false;
}

struct slice http_date_of(time_t t, char buf[static HTTP_DATE_BYTES])
{
	struct tm tm;

	gmtime_r(&t, &tm);
	return (struct slice){ buf, strftime(buf, HTTP_DATE_BYTES, "%a, %d %b %Y %H:%M:%S GMT", &tm) };
}

uint16_t preconditions_check(const struct http_head *h, const struct representation *r)
{
	const struct http_field *f;
	time_t date;

	if (field(h, SLICE("if-match"), 0)) {
		if (!names_etag(h, SLICE("if-match"), r->etag, false))
			return 412;
	} else if ((f = field(h, SLICE("if-unmodified-since"), 0)) != NULL) {
		if (parse_date(f->value, &date) && r->modified > date)
			return 412;
	}
	if (field(h, SLICE("if-none-match"), 0))
		return names_etag(h, SLICE("if-none-match"), r->etag, true) ? 304 : 0;
	f = field(h, SLICE("if-modified-since"), 0);
	return f && parse_date(f->value, &date) && r->modified <= date ? 304 : 0;
}

/* RFC 9110 13.1.5: the same tag, strongly; or the very date of a file that has
 * stood still for longer than a date can tell (8.8.2.2). */
static bool if_range_holds(const struct http_head *h, const struct representation *r)
{
	const struct http_field *f = field(h, SLICE("if-range"), 0);
	time_t date;

	if (!f)
		return true;
	if (parse_date(f->value, &date))
		return date == r->modified && clock_wall().tv_sec > r->modified + 1;
	return slice_eq(f->value, r->etag);
}

/* "10-19", "10-", "-5" */
static enum range_kind one_range(struct slice spec, uint64_t bytes, uint64_t *ret_first,
				 uint64_t *ret_bytes)
{
	const char *dash = memchr(spec.p, '-', spec.n);
	uint64_t first = UINT64_MAX, last = UINT64_MAX;

	if (!dash)
		return RANGE_WHOLE;
	struct slice left = { spec.p, (size_t)(dash - spec.p) };
	struct slice right = { dash + 1, spec.n - left.n - 1 };

	/* A number past 64 bits is past every file: it stays at the maximum. */
	if (left.n > 0 && slice_to_u64(left, UINT64_MAX, &first) == ERR_SYNTAX)
		return RANGE_WHOLE;
	if (right.n > 0 && slice_to_u64(right, UINT64_MAX, &last) == ERR_SYNTAX)
		return RANGE_WHOLE;
	if (left.n == 0) {
		if (right.n == 0 || bytes == 0)
			return RANGE_WHOLE;
		if (last == 0)
			return RANGE_OUTSIDE;
		first = last < bytes ? bytes - last : 0;
		last = bytes - 1;
	} else if (first > last) {
		return RANGE_WHOLE;
	}
	if (first >= bytes)
		return RANGE_OUTSIDE;
	*ret_first = first;
	*ret_bytes = MIN(last, bytes - 1) - first + 1;
	return RANGE_PART;
}

enum range_kind preconditions_range(const struct http_head *h, const struct representation *r,
				    uint64_t *ret_first, uint64_t *ret_bytes)
{
	const struct http_field *f = field(h, SLICE("range"), 0);
	struct slice spec, another;

	if (!f || h->method_id != HTTP_M_GET || field(h, SLICE("range"), 1) ||
	    !slice_istarts(f->value, SLICE("bytes=")) || !if_range_holds(h, r))
		return RANGE_WHOLE;
	struct slice rest = { f->value.p + 6, f->value.n - 6 };

	if (!slice_next_item(&rest, &spec) || slice_next_item(&rest, &another))
		return RANGE_WHOLE;
	return one_range(spec, r->bytes, ret_first, ret_bytes);
}
