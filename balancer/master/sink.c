/* Writing to our own stdout and stderr without ever waiting; in the master.
 *
 *   sink_line() -> queue -> sink_flush() -> write(2)
 *                              |  EAGAIN: goes on when writable
 *
 * Invariant: the queue holds whole lines, except that the first may have been
 * written in part.
 */
#include "balancer/master/sink.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/fd.h"
#include "common/log.h"
#include "common/mem.h"

static void on_writable(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	sink_flush(arg);
}

enum err sink_init(struct sink *s, struct event_base *base, int fd, const char *name)
{
	struct stat st;

	*s = (struct sink){ .fd = -1, .name = name };
	if (fcntl(fd, F_GETFD) < 0)
		return ERR_OK;
	s->queue = mem_alloc(SINK_QUEUE);
	if (!s->queue)
		return ERR_NOMEM;
	enum err e = fd_private_nonblock(fd, &s->fd);
	if (e) {
		mem_free(s->queue);
		s->queue = NULL;
		return e;
	}
	if (fstat(s->fd, &st) == 0) {
		s->is_socket = S_ISSOCK(st.st_mode);
		s->may_wait = (S_ISFIFO(st.st_mode) || S_ISCHR(st.st_mode)) &&
			      !(fcntl(s->fd, F_GETFL) & O_NONBLOCK);
	}
	s->is_terminal = isatty(s->fd);
	event_assign(&s->ev, base, s->fd, EV_WRITE, on_writable, s);
	return ERR_OK;
}

static void close_sink(struct sink *s)
{
	if (s->fd < 0)
		return;
	event_del(&s->ev);
	fd_close(&s->fd);
	mem_free(s->queue);
	s->queue = NULL;
	s->from = s->to = 0;
}

static bool ready_now(const struct sink *s, int wait_ms)
{
	struct pollfd p = { .fd = s->fd, .events = POLLOUT };

	return poll(&p, 1, wait_ms) > 0;
}

/* One write that cannot wait; bytes taken, 0 when it would have waited, -1. */
static ssize_t write_some(const struct sink *s)
{
	const char *p = s->queue + s->from;
	size_t n = s->to - s->from;

	if (s->is_socket)
		return send(s->fd, p, n, MSG_DONTWAIT | MSG_NOSIGNAL);
	if (s->may_wait) {
		/* A pipe that is writable takes PIPE_BUF bytes at once (pipe(7)). */
		if (!ready_now(s, 0)) {
			errno = EAGAIN;
			return -1;
		}
		n = MIN(n, PIPE_BUF);
	}
	return write(s->fd, p, n);
}

static void report_dropped(struct sink *s)
{
	if (s->dropped == 0)
		return;
	log_warn("dropped %llu lines of the workers' output: nobody read our %s fast enough",
		 (unsigned long long)s->dropped, s->name);
	s->dropped = 0;
}

void sink_flush(struct sink *s)
{
	while (s->fd >= 0 && s->from < s->to) {
		ssize_t n = write_some(s);
		if (n >= 0) {
			s->from += (size_t)n;
			continue;
		}
		if (errno == EINTR)
			continue;
		if (errno == EAGAIN) {
			/* A file cannot be waited for, and never says EAGAIN. */
			event_add(&s->ev, NULL);
			return;
		}
		if (errno == ENOSPC || errno == EDQUOT || errno == EFBIG) {
			/* A full disk may have room later: this much is lost. */
			s->from = s->to;
			s->dropped++;
			return;
		}
		log_warn("our %s is gone (%s): the workers' output is dropped from here on",
			 s->name, strerror(errno));
		close_sink(s);
		return;
	}
	s->from = s->to = 0;
	if (s->fd >= 0)
		report_dropped(s);
}

void sink_line(struct sink *s, const char *prefix, const char *line, size_t n)
{
	size_t head = strlen(prefix);

	if (s->fd < 0)
		return;
	if (SINK_QUEUE - s->to < head + n + 1 && s->from > 0) {
		memmove(s->queue, s->queue + s->from, s->to - s->from);
		s->to -= s->from;
		s->from = 0;
	}
	if (SINK_QUEUE - s->to < head + n + 1) {
		s->dropped++;
		return;
	}
	memcpy(s->queue + s->to, prefix, head);
	if (n)
		memcpy(s->queue + s->to + head, line, n);
	s->queue[s->to + head + n] = '\n';
	s->to += head + n + 1;
}

void sink_fini(struct sink *s, int wait_ms)
{
	clock_update();
	uint64_t until = clock_now_us() + (uint64_t)wait_ms * 1000;

	sink_flush(s);
	while (s->fd >= 0 && s->from < s->to && clock_now_us() < until) {
		ready_now(s, MIN(wait_ms, 20));
		sink_flush(s);
		clock_update();
	}
	close_sink(s);
}
