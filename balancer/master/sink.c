/* Writing the workers' lines without ever waiting; in the master.
 *
 *   sink_reserve(), sink_add() -> queue -> sink_flush() -> write(2)
 *                                              |  EAGAIN: goes on when writable
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

#include "balancer/master/writer.h"
#include "common/clock.h"
#include "common/fd.h"
#include "common/log.h"
#include "common/mem.h"

#define REPORT_MAX_S 60 /* between two reports while lines are lost all the time */
#define WRITER_AGAIN_US 1000000

/* ---- opening and closing ------------------------------------------------ */

static void on_writable(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	sink_flush(arg);
}

static void report_dropped(struct sink *s)
{
	if (s->dropped == 0)
		return;
	log_warn("dropped %llu lines of the workers' output: %s did not take them fast enough",
		 (unsigned long long)s->dropped, s->name);
	s->dropped = 0;
}

static void wait_for_report(struct sink *s)
{
	event_add(&s->ev_report, &(struct timeval){ .tv_sec = s->report_s });
}

static void on_report(evutil_socket_t fd, short what, void *arg)
{
	struct sink *s = arg;

	(void)fd;
	(void)what;
	sink_flush(s);
	if (s->dropped == 0) {
		s->report_s = 1;
		return;
	}
	report_dropped(s);
	s->report_s = MIN(s->report_s * 2, REPORT_MAX_S);
	wait_for_report(s);
}

static void count_dropped(struct sink *s, uint64_t lines)
{
	s->dropped += lines;
	s->gap += lines;
	if (!event_pending(&s->ev_report, EV_TIMEOUT, NULL))
		wait_for_report(s);
}

/* Puts `fd` (taken) in use: a file through a writer, anything else as it is. */
static enum err use(struct sink *s, int fd)
{
	struct stat st;
	int file = -1, writer = -1;

	if (fstat(fd, &st) != 0)
		st.st_mode = 0;
	if (S_ISREG(st.st_mode) || S_ISBLK(st.st_mode)) {
		enum err e = writer_start(fd, s->name, s->sandbox, &file, &writer);
		if (e) {
			fd_close(&fd);
			return e;
		}
		int pipe_end = file;
		file = fd;
		fd = pipe_end;
	}
	if (s->fd >= 0)
		event_del(&s->ev);
	fd_close(&s->fd);
	fd_close(&s->file);
	fd_close(&s->writer); /* its pipe is closed: it ends when all is written */
	s->fd = fd;
	s->file = file;
	s->writer = writer;
	s->writer_us = clock_now_us();
	s->is_socket = S_ISSOCK(st.st_mode);
	s->is_terminal = isatty(fd);
	s->may_wait =
		(S_ISFIFO(st.st_mode) || S_ISCHR(st.st_mode)) && !(fcntl(fd, F_GETFL) & O_NONBLOCK);
	event_assign(&s->ev, s->base, fd, EV_WRITE, on_writable, s);
	return ERR_OK;
}

void sink_none(struct sink *s, struct event_base *base, const char *name, const struct sandbox *sandbox)
{
	*s = (struct sink){ .fd = -1,
			    .file = -1,
			    .writer = -1,
			    .name = name,
			    .base = base,
			    .sandbox = sandbox,
			    .report_s = 1 };
	event_assign(&s->ev_report, base, -1, EV_TIMEOUT, on_report, s);
}

enum err sink_open(struct sink *s, struct event_base *base, int fd, const char *name,
		   const struct sandbox *sandbox)
{
	sink_none(s, base, name, sandbox);
	s->queue = mem_alloc(SINK_QUEUE);
	enum err e = s->queue ? use(s, fd) : ERR_NOMEM;
	if (!s->queue)
		fd_close(&fd);
	if (e) {
		mem_free(s->queue);
		s->queue = NULL;
	}
	return e;
}

enum err sink_init(struct sink *s, struct event_base *base, int fd, const char *name,
		   const struct sandbox *sandbox)
{
	int own;

	sink_none(s, base, name, sandbox);
	if (fcntl(fd, F_GETFD) < 0)
		return ERR_OK;
	enum err e = fd_private_nonblock(fd, &own);
	return e ? e : sink_open(s, base, own, name, sandbox);
}

static void close_sink(struct sink *s)
{
	if (s->fd >= 0)
		event_del(&s->ev);
	fd_close(&s->fd);
	fd_close(&s->file);
	fd_close(&s->writer);
	mem_free(s->queue);
	s->queue = NULL;
	s->from = s->to = 0;
}

/* ---- writing ------------------------------------------------------------ */

static uint64_t lines_left(const struct sink *s)
{
	uint64_t n = 0;

	for (size_t i = s->from; i < s->to; i++)
		n += s->queue[i] == '\n';
	return n;
}

/* The rest of a line whose beginning went elsewhere is no line. */
static void drop_torn(struct sink *s)
{
	if (!s->mid_line || s->from == s->to)
		return;
	const char *newline = memchr(s->queue + s->from, '\n', s->to - s->from);
	s->from = newline ? (size_t)(newline - s->queue) + 1 : s->to;
	s->mid_line = false;
	count_dropped(s, 1);
}

static bool ready_now(const struct sink *s, int wait_ms)
{
	struct pollfd p = { .fd = s->fd, .events = POLLOUT };

	return poll(&p, 1, wait_ms) > 0;
}

/* One write that cannot wait; bytes taken, or -1. */
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

/* The writer was killed; what was in its pipe is lost.  True: another one runs. */
static bool restart_writer(struct sink *s)
{
	int file;

	if (clock_now_us() < s->writer_us + WRITER_AGAIN_US) {
		wait_for_report(s); /* and look again then */
		return false;
	}
	log_warn("the writer of %s has ended: starting another; lines that it had taken are lost",
		 s->name);
	s->writer_us = clock_now_us();
	file = fcntl(s->file, F_DUPFD_CLOEXEC, 3);
	if (file < 0 || use(s, file)) {
		log_error("cannot start a writer of %s: %s", s->name, strerror(errno));
		return false;
	}
	drop_torn(s);
	return true;
}

/* False: nothing more can be written now. */
static bool on_write_error(struct sink *s, int error)
{
	if (error == EINTR)
		return true;
	if (error == EAGAIN) {
		event_add(&s->ev, NULL);
		return false;
	}
	if (s->file >= 0)
		return restart_writer(s);
	if (error == ENOSPC || error == EDQUOT || error == EFBIG) {
		count_dropped(s, lines_left(s));
		s->from = s->to;
		return true;
	}
	log_warn("%s is gone (%s): the workers' output is dropped from here on", s->name,
		 strerror(error));
	close_sink(s);
	return false;
}

void sink_flush(struct sink *s)
{
	while (s->fd >= 0 && s->from < s->to) {
		ssize_t n = write_some(s);
		if (n < 0 && !on_write_error(s, errno))
			return;
		if (n <= 0)
			continue;
		s->from += (size_t)n;
		s->mid_line = s->queue[s->from - 1] != '\n';
	}
	s->from = s->to = 0;
}

/* ---- queueing ----------------------------------------------------------- */

/* What was refused counts too; after a while all of it counts less. */
static bool is_loud(struct sink_share *share, uint64_t now)
{
	for (; now - share->since_us > SINK_LOUD_US && share->bytes; share->bytes /= 4)
		share->since_us += SINK_LOUD_US;
	if (share->bytes == 0)
		share->since_us = now;
	return share->bytes > SINK_LOUD_BYTES;
}

char *sink_reserve(struct sink *s, struct sink_share *share, size_t most)
{
	if (s->fd < 0)
		return NULL;
	size_t limit = is_loud(share, clock_now_us()) ? SINK_QUEUE / 2 : SINK_QUEUE;
	if (s->to - s->from + most > limit) {
		count_dropped(s, 1);
		share->bytes += most;
		return NULL;
	}
	if (SINK_QUEUE - s->to < most) {
		memmove(s->queue, s->queue + s->from, s->to - s->from);
		s->to -= s->from;
		s->from = 0;
	}
	return s->queue + s->to;
}

void sink_add(struct sink *s, struct sink_share *share, size_t n)
{
	s->to += n;
	share->bytes += n;
}

bool sink_is_idle(const struct sink *s)
{
	return s->from == s->to;
}

/* ---- moving and ending -------------------------------------------------- */

static bool same_file(int a, int b)
{
	struct stat sa, sb;

	return a >= 0 && fstat(a, &sa) == 0 && fstat(b, &sb) == 0 && sa.st_dev == sb.st_dev &&
	       sa.st_ino == sb.st_ino;
}

enum err sink_move(struct sink *s, int fd)
{
	if (!s->queue)
		s->queue = mem_alloc(SINK_QUEUE);
	if (!s->queue) {
		fd_close(&fd);
		return ERR_NOMEM;
	}
	sink_flush(s);
	if (same_file(s->file, fd)) {
		fd_close(&fd); /* two writers could swap lines */
		return ERR_OK;
	}
	enum err e = use(s, fd);
	if (e)
		return e;
	drop_torn(s);
	sink_flush(s);
	return ERR_OK;
}

enum err sink_resume(struct sink *s, const char *bytes, size_t n)
{
	if (s->fd < 0)
		return ERR_OK;
	s->queue = mem_alloc(SINK_QUEUE);
	if (!s->queue)
		return ERR_NOMEM;
	event_assign(&s->ev, s->base, s->fd, EV_WRITE, on_writable, s);
	s->to = MIN(n, SINK_QUEUE);
	if (s->to) {
		memcpy(s->queue, bytes, s->to);
		event_add(&s->ev, NULL);
	}
	if (s->dropped)
		wait_for_report(s);
	return ERR_OK;
}

void sink_fini(struct sink *s, uint64_t deadline_us)
{
	clock_update();
	sink_flush(s);
	while (s->fd >= 0 && s->from < s->to && clock_now_us() < deadline_us) {
		ready_now(s, 20);
		sink_flush(s);
		clock_update();
	}
	s->dropped += lines_left(s);
	report_dropped(s);
	if (s->fd >= 0)
		event_del(&s->ev);
	fd_close(&s->fd);
	if (s->writer >= 0 && deadline_us && !writer_end(&s->writer, deadline_us))
		log_warn("the last lines of the workers' output are not in %s: it did not take "
			 "them in time",
			 s->name);
	close_sink(s);
	if (s->base)
		event_del(&s->ev_report);
}
