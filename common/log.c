/* The error log, in every process.
 *
 * A line is built in one buffer and leaves with one write(2), so lines of
 * several processes on one pipe or file never mix (PIPE_BUF).  Logging never
 * blocks, never fails, never changes errno: a line that cannot be written is
 * counted.  Sockets (the journal) are asked not to wait per call, because their
 * flags are shared with whoever gave them to us.
 */
#include "common/log.h"

#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "common/slice.h"

#define LINE_BYTES PIPE_BUF /* longest atomic write to a pipe */
#define TEXT_BYTES 2048     /* longest message before escaping */

const char *const log_level_names[LOG_LEVEL_MAX] = {
	[LOG_ERROR] = "error",
	[LOG_WARN] = "warn",
	[LOG_NOTICE] = "notice",
	[LOG_INFO] = "info",
	[LOG_DEBUG] = "debug",
};

/* sd-daemon(3): what the journal reads at the start of a line. */
static const char journal_priority[LOG_LEVEL_MAX] = {
	[LOG_ERROR] = '3',
	[LOG_WARN] = '4',
	[LOG_NOTICE] = '5',
	[LOG_INFO] = '6',
	[LOG_DEBUG] = '7',
};

static struct {
	int fd;
	bool is_socket, is_journal;
	bool torn; /* the last line was cut in the middle: start on a fresh one */
	enum log_level level;
	char ident[32];
	uint64_t dropped;
} lg = { .fd = STDERR_FILENO, .level = LOG_INFO, .ident = "drover" };

/* Whether `st` is what JOURNAL_STREAM ("device:inode") names: systemd sets it
 * for stdout and stderr, but either may since lead elsewhere. */
static bool names_journal(const struct stat *st)
{
	struct slice text = slice_of(getenv("JOURNAL_STREAM"));
	const char *colon = text.n ? memchr(text.p, ':', text.n) : NULL;
	uint64_t device, inode;

	if (!colon)
		return false;
	struct slice dev = { text.p, (size_t)(colon - text.p) };
	struct slice ino = { colon + 1, text.n - dev.n - 1 };
	return slice_to_u64(dev, UINT64_MAX, &device) == ERR_OK &&
	       slice_to_u64(ino, UINT64_MAX, &inode) == ERR_OK &&
	       device == st->st_dev && inode == st->st_ino;
}

void log_to_fd(int fd)
{
	struct stat st;

	lg.fd = fd;
	lg.torn = false;
	lg.is_socket = lg.is_journal = false;
	if (fd >= 0 && fstat(fd, &st) == 0) {
		lg.is_socket = S_ISSOCK(st.st_mode);
		lg.is_journal = names_journal(&st);
	}
}

int log_fd(void)
{
	return lg.fd;
}

void log_set_level(enum log_level level)
{
	lg.level = level;
}

void log_ident(const char *name)
{
	snprintf(lg.ident, sizeof(lg.ident), "%s", name);
}

uint64_t log_dropped(void)
{
	return lg.dropped;
}

static size_t put_text(char *line, size_t n, const char *text)
{
	size_t bytes = strlen(text);

	memcpy(line + n, text, bytes);
	return n + bytes;
}

/* In decimal, at least `digits` of them. */
static size_t put_number(char *line, size_t n, unsigned value, int digits)
{
	char text[12];
	int at = sizeof(text);

	for (; value || digits > 0; value /= 10, digits--)
		text[--at] = (char)('0' + value % 10);
	memcpy(line + n, text + at, sizeof(text) - (size_t)at);
	return n + sizeof(text) - (size_t)at;
}

/* "2026-11-23T00:49:39.123Z ".  Without gmtime_r(), which takes a lock: a signal handler
 * may have interrupted its holder.  The calendar repeats every 400 years, and is simplest
 * when a year begins in March: then the leap day is its last. */
static size_t put_time(char *line, size_t n)
{
	enum { DAYS_TO_1970 = 719468 /* from 1 March of the year 0 */, DAYS_PER_ERA = 146097 };
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	unsigned days = (unsigned)(now.tv_sec / 86400) + DAYS_TO_1970;
	unsigned seconds = (unsigned)(now.tv_sec % 86400);
	unsigned day = days % DAYS_PER_ERA;
	unsigned year = (day - day / 1460 + day / 36524 - day / 146096) / 365;
	day -= 365 * year + year / 4 - year / 100;
	unsigned month = (5 * day + 2) / 153; /* 0: March; five months have 153 days */
	day -= (153 * month + 2) / 5;
	year += days / DAYS_PER_ERA * 400 + (month >= 10);
	n = put_number(line, n, year, 4);
	line[n++] = '-';
	n = put_number(line, n, month < 10 ? month + 3 : month - 9, 2);
	line[n++] = '-';
	n = put_number(line, n, day + 1, 2);
	line[n++] = 'T';
	n = put_number(line, n, seconds / 3600, 2);
	line[n++] = ':';
	n = put_number(line, n, seconds / 60 % 60, 2);
	line[n++] = ':';
	n = put_number(line, n, seconds % 60, 2);
	line[n++] = '.';
	n = put_number(line, n, (unsigned)(now.tv_nsec / 1000000), 3);
	return put_text(line, n, "Z ");
}

/* "2026-11-23T00:49:39.123Z error master[4711]: ", or "<3>master[4711]: " for
 * the journal, which keeps time and level itself.  The clock is read here, not
 * taken from the loop turn: boot and the warden log without a loop. */
static size_t write_prefix(char *line, size_t n, enum log_level level)
{
	if (lg.is_journal) {
		n = put_text(line, n, (const char[]){ '<', journal_priority[level], '>', '\0' });
	} else {
		n = put_time(line, n);
		n = put_text(line, n, log_level_names[level]);
		line[n++] = ' ';
	}
	n = put_text(line, n, lg.ident);
	line[n++] = '[';
	n = put_number(line, n, (unsigned)getpid(), 1);
	return put_text(line, n, "]: ");
}

/* Appends `text`, control bytes as \xNN; what does not fit ends in "...". */
static size_t write_escaped(char *line, size_t n, size_t room, const char *text)
{
	static const char hex[] = "0123456789abcdef";

	for (; *text; text++) {
		unsigned char c = (unsigned char)*text;
		bool control = c < 0x20 || c == 0x7f;

		if (n + (control ? 4 : 1) > room - 3) {
			memcpy(line + n, "...", 3);
			return n + 3;
		}
		if (control) {
			memcpy(line + n, (char[]){ '\\', 'x', hex[c >> 4], hex[c & 15] }, 4);
			n += 4;
		} else {
			line[n++] = (char)c;
		}
	}
	return n;
}

static void send_line(const char *line, size_t n)
{
	ssize_t done;

	do {
		done = lg.is_socket ? send(lg.fd, line, n, MSG_DONTWAIT | MSG_NOSIGNAL)
				    : write(lg.fd, line, n);
	} while (done < 0 && errno == EINTR);
	if (done == (ssize_t)n) {
		lg.torn = false;
		return;
	}
	lg.dropped++;
	if (done > 0)
		lg.torn = true;
}

/* Where the text of a line begins. */
static size_t begin_line(char *line, enum log_level level)
{
	size_t n = 0;

	if (lg.torn)
		line[n++] = '\n';
	return write_prefix(line, n, level);
}

PRINTF_LIKE(2, 0)
static void log_va(enum log_level level, const char *fmt, va_list ap)
{
	char text[TEXT_BYTES], line[LINE_BYTES];
	int saved = errno;

	if (lg.fd < 0)
		return;
	int length = vsnprintf(text, sizeof(text), fmt, ap);
	if (length < 0)
		snprintf(text, sizeof(text), "unprintable message \"%s\"", fmt);
	else if ((size_t)length >= sizeof(text))
		memcpy(text + sizeof(text) - 4, "...", 4);
	size_t n = write_escaped(line, begin_line(line, level), sizeof(line) - 1, text);
	line[n++] = '\n';
	send_line(line, n);
	errno = saved;
}

void log_in_handler(enum log_level level, const char *const *words)
{
	char line[LINE_BYTES];
	int saved = errno;

	if (lg.fd < 0)
		return;
	size_t n = begin_line(line, level);
	/* What does not fit any more is three dots per word. */
	for (; *words && n + 4 < sizeof(line); words++)
		n = write_escaped(line, n, sizeof(line) - 1, *words);
	line[n++] = '\n';
	send_line(line, n);
	errno = saved;
}

void log_at(enum log_level level, const char *fmt, ...)
{
	va_list ap;

	if (level > lg.level)
		return;
	va_start(ap, fmt);
	log_va(level, fmt, ap);
	va_end(ap);
}

void die(int status, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	log_va(LOG_ERROR, fmt, ap);
	va_end(ap);
	exit(status);
}
