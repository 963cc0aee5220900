/* Reading a worker's datagrams; in the master, called by notify.c.
 *
 * The bytes come from a child and may be anything, but not from a network: the master reads
 * them itself.  There is nothing in them to get lost in: no nesting, no lengths, no numbers
 * that index something. */
#include "balancer/master/notify_message.h"

#include <string.h>

static bool cut(struct slice *rest, char at, struct slice *ret_before)
{
	const char *end = memchr(rest->p, at, rest->n);
	size_t n = end ? (size_t)(end - rest->p) : rest->n;

	*ret_before = (struct slice){ rest->p, n };
	rest->p += n + (end != NULL);
	rest->n -= n + (end != NULL);
	return end != NULL;
}

static void set_flag(bool *flag, struct slice value)
{
	if (slice_eq(value, SLICE("1")))
		*flag = true;
}

static void set_us(uint64_t *us, struct slice value)
{
	uint64_t got;

	if (slice_to_u64(value, NOTIFY_USEC_MAX, &got) == ERR_OK)
		*us = got;
}

static void take_line(struct notify_message *m, struct slice line)
{
	struct slice key;

	if (!cut(&line, '=', &key))
		return;
	if (slice_eq(key, SLICE("READY"))) {
		set_flag(&m->ready, line);
	} else if (slice_eq(key, SLICE("STOPPING"))) {
		set_flag(&m->stopping, line);
	} else if (slice_eq(key, SLICE("WATCHDOG"))) {
		set_flag(&m->alive, line);
		m->gives_up |= slice_eq(line, SLICE("trigger"));
	} else if (slice_eq(key, SLICE("EXTEND_TIMEOUT_USEC"))) {
		set_us(&m->extend_us, line);
	} else if (slice_eq(key, SLICE("WATCHDOG_USEC"))) {
		set_us(&m->watchdog_us, line);
	} else if (slice_eq(key, SLICE("STATUS"))) {
		m->has_status = true;
		m->status = line;
	}
}

enum err notify_message_parse(struct notify_message *ret, const char *p, size_t n)
{
	struct notify_message m = { .ready = false };
	struct slice line;

	if (n > NOTIFY_BYTES_MAX)
		return ERR_RANGE;
	/* Some clients send the NUL of their string along. */
	if (n && p[n - 1] == '\0')
		n--;
	if (n == 0 || memchr(p, '\0', n))
		return ERR_SYNTAX;
	for (struct slice rest = { p, n }; rest.n;) {
		cut(&rest, '\n', &line);
		take_line(&m, line);
	}
	*ret = m;
	return ERR_OK;
}
