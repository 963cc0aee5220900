/* The workers' output; in the master, called by worker_proc.c.  One turn reads
 * a bounded amount of each pipe, at a lower priority than signals and ends of
 * processes, so that a worker that floods us slows nobody else down.  While our
 * own output is not taken either, its pipe rests a moment between two turns:
 * the worker never stands still, and we do not burn a core to drop its lines. */
#include "balancer/master/output.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/fd.h"

#define READ_BYTES (64 * 1024)    /* in one turn */
#define REST_US 10000             /* so at most 6.4 MB/s are dropped */
#define DRAIN_BYTES (1024 * 1024) /* a pipe's largest size for an ordinary user */

/* ---- the pipes ---------------------------------------------------------- */

static void on_line(void *arg, const char *line, size_t n)
{
	static char shown[LINES_SHOWN_MAX];
	struct output_stream *s = arg;

	size_t length = lines_show(shown, line, n, s->sink->is_terminal);

	sink_line(s->sink, s->owner->prefix, shown, length);
	if (s->owner->recent)
		recents_add(s->owner->recent, s == &s->owner->streams[0] ? 1 : 2, line, n, false);
}

static void close_stream(struct output_stream *s)
{
	if (s->fd < 0)
		return;
	if (s->sink) {
		event_del(&s->ev);
		event_del(&s->rest);
		lines_end(&s->lines, on_line, s);
		sink_flush(s->sink);
	}
	fd_close(&s->fd);
}

/* Reads up to `most` bytes; closes the stream at its end. */
static void read_stream(struct output_stream *s, size_t most)
{
	static char chunk[READ_BYTES];

	while (s->fd >= 0 && most > 0) {
		ssize_t n = read(s->fd, chunk, MIN(sizeof(chunk), most));
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			break;
		if (n <= 0) {
			close_stream(s);
			return;
		}
		lines_feed(&s->lines, chunk, (size_t)n, on_line, s);
		most -= (size_t)n;
	}
	if (s->sink)
		sink_flush(s->sink);
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
	struct output_stream *s = arg;

	(void)fd;
	(void)what;
	read_stream(s, READ_BYTES);
	if (s->fd >= 0 && s->sink->dropped) {
		event_del(&s->ev);
		event_add(&s->rest, &(struct timeval){ .tv_usec = REST_US });
	}
}

static void on_rested(evutil_socket_t fd, short what, void *arg)
{
	struct output_stream *s = arg;

	(void)fd;
	(void)what;
	event_add(&s->ev, NULL);
}

enum err output_open(struct output *o, int ret_child_fds[2])
{
	int fds[2][2];

	*o = (struct output){ .streams = { { .fd = -1 }, { .fd = -1 } } };
	for (int i = 0; i < 2; i++) {
		if (pipe2(fds[i], O_CLOEXEC) == 0)
			continue;
		enum err e = errno == EMFILE || errno == ENFILE ? ERR_FD_LIMIT : ERR_SYS;
		if (i == 1) {
			fd_close(&fds[0][0]);
			fd_close(&fds[0][1]);
		}
		return e;
	}
	for (int i = 0; i < 2; i++) {
		/* Ours alone; the worker's end waits, as programs expect. */
		fcntl(fds[i][0], F_SETFL, O_NONBLOCK);
		o->streams[i].fd = fds[i][0];
		o->streams[i].owner = o;
		ret_child_fds[i] = fds[i][1];
	}
	return ERR_OK;
}

void output_start(struct output *o, struct event_base *base, struct sink sinks[2],
		  struct recent_worker *recent, const char *app, uint32_t instance, pid_t pid)
{
	o->recent = recent;
	snprintf(o->prefix, sizeof(o->prefix), "%s.%u[%d]: ", app, instance, (int)pid);
	for (int i = 0; i < 2; i++) {
		struct output_stream *s = &o->streams[i];
		s->sink = &sinks[i];
		event_assign(&s->ev, base, s->fd, EV_READ | EV_PERSIST, on_readable, s);
		event_assign(&s->rest, base, -1, EV_TIMEOUT, on_rested, s);
		event_add(&s->ev, NULL);
	}
}

void output_drain(struct output *o)
{
	for (int i = 0; i < 2; i++)
		read_stream(&o->streams[i], DRAIN_BYTES);
}

void output_close(struct output *o)
{
	for (int i = 0; i < 2; i++)
		close_stream(&o->streams[i]);
	o->recent = recents_close(o->recent);
}
