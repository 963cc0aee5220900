/* The error log: one line per event, `time level process[pid]: text`.
 *
 * Any process may log; lines are written whole with one write(2) and never
 * block on a non-blocking descriptor; a line that cannot be written is counted
 * and dropped (a full disk must not stop the service).  Functions in common/ report instead
 * of logging above debug; whoever decides logs once.
 */
#ifndef DROVER_COMMON_LOG_H
#define DROVER_COMMON_LOG_H

#include <stdint.h>

#include "common/base.h"
#include "common/err.h"

enum log_level {
	LOG_ERROR = 0,
	LOG_WARN,
	LOG_NOTICE,
	LOG_INFO,
	LOG_DEBUG,
	LOG_LEVEL_MAX
};

/* "error", "warn", "notice", "info", "debug"; index is enum log_level. */
extern const char *const log_level_names[LOG_LEVEL_MAX];

/* Sends the log to `fd` (borrowed; -1 switches it off); until then it goes to
 * stderr.  The caller makes it non-blocking and private (fd_private_nonblock) and
 * has SIGPIPE ignored.  With JOURNAL_STREAM naming that very descriptor, lines
 * carry `<N>` priorities and no time. */
void log_to_fd(int fd);
int log_fd(void);
void log_set_level(enum log_level level);

/* Names this process in its lines: "master", "balancer 2".  Copied, cut at 31
 * bytes. */
void log_ident(const char *name);

/* Lines dropped since start because the log could not be written. */
uint64_t log_dropped(void);

/* One line; no newline at the end of the format.  Control bytes in the result
 * are shown as \xNN, so that what came from outside cannot forge a line. */
void log_at(enum log_level level, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* The same from a handler of a synchronous signal: `words`, ended by NULL, one after the other,
 * without a format.  Async-signal-safe. */
void log_in_handler(enum log_level level, const char *const *words);

#define log_error(...) log_at(LOG_ERROR, __VA_ARGS__)
#define log_warn(...) log_at(LOG_WARN, __VA_ARGS__)
#define log_notice(...) log_at(LOG_NOTICE, __VA_ARGS__)
#define log_info(...) log_at(LOG_INFO, __VA_ARGS__)
#define log_debug(...) log_at(LOG_DEBUG, __VA_ARGS__)

/* Boot failures and broken invariants only: logs and exits with `status`. */
NORETURN void die(int status, const char *fmt, ...) PRINTF_LIKE(2, 3);

#endif
