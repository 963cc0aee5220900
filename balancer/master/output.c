/* The workers' output; in the master, called by worker_proc.c.  One turn reads
 * a bounded amount of one pipe, at a lower priority than signals and ends of
 * processes, so that a worker that floods us slows nobody else down.  While its lines
 * are being dropped its pipe rests a moment between two turns: the worker never
 * stands still, and we do not burn a core to drop its lines. */
#include "balancer/master/output.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/fd.h"
#include "common/line_text.h"

#define READ_BYTES (64 * 1024)    /* in one turn */
#define REST_US 5000              /* so at most 13 MB/s are dropped */
#define DRAIN_BYTES (1024 * 1024) /* a pipe's largest size for an ordinary user */
#define MORE_BYTES 512            /* of a line, besides prefix and text */

/* ---- one line ----------------------------------------------------------- */

static size_t put(char *at, const char *text)
{
	size_t n = strlen(text);

	memcpy(at, text, n);
	return n;
}

/* "2026-11-30T03:50:12.123456Z". */
static size_t put_time(char *at)
{
	static char second[32];
	static time_t made = -1;
	struct timespec now;
	struct tm tm;

	clock_gettime(CLOCK_REALTIME_COARSE, &now);
	if (now.tv_sec != made) {
		gmtime_r(&now.tv_sec, &tm);
		strftime(second, sizeof(second), "%Y-%m-%dT%H:%M:%S", &tm);
		made = now.tv_sec;
	}
	return (size_t)sprintf(at, "%s.%06ldZ", second, now.tv_nsec / 1000);
}

static size_t json_head(char *at, const struct output_stream *s)
{
	size_t n = put(at, "{\"time\":\"");

	n += put_time(at + n);
	n += put(at + n, s->owner->fields);
	return n + put(at + n, s == &s->owner->streams[0] ? ",\"stream\":\"stdout\"" :
							    ",\"stream\":\"stderr\"");
}

static size_t put_json(char *at, const struct output_stream *s, const char *line, size_t n,
		       unsigned piece)
{
	size_t to = json_head(at, s);

	to += put(at + to, ",\"line\":\"");
	to += line_text_json(at + to, line, n);
	to += put(at + to, "\"");
	if (piece & LINES_CONTINUES)
		to += put(at + to, ",\"continues\":true");
	if (piece & LINES_GOES_ON)
		to += put(at + to, ",\"goes_on\":true");
	return to + put(at + to, "}\n");
}

/* Pieces of one line have dots where they were cut. */
static size_t put_prefixed(char *at, const struct output_stream *s, const char *line, size_t n,
			   unsigned piece)
{
	size_t to = put(at, s->owner->prefix);

	if (piece & LINES_CONTINUES)
		to += put(at + to, "...");
	to += line_text_show(at + to, line, n, s->sink->is_terminal);
	if (piece & LINES_GOES_ON)
		to += put(at + to, "...");
	return to + put(at + to, "\n");
}

/* Where lines are missing, the place says how many, of whichever worker. */
static size_t put_gap(char *at, const struct output_stream *s)
{
	unsigned long long lines = s->sink->gap;

	s->sink->gap = 0;
	if (lines == 0)
		return 0;
	if (s->owner->format == OUTPUT_PREFIXED)
		return (size_t)sprintf(at, "drover: %llu lines were dropped here\n", lines);
	size_t n = put(at, "{\"time\":\"");
	n += put_time(at + n);
	return n + (size_t)sprintf(at + n, "\",\"dropped\":%llu}\n", lines);
}

static void on_line(void *arg, const char *line, size_t n, unsigned piece)
{
	struct output_stream *s = arg;
	struct output *o = s->owner;
	bool json = o->format == OUTPUT_JSON;
	char *at = sink_reserve(s->sink, &s->share, MORE_BYTES + (json ? LINE_TEXT_JSON : LINE_TEXT_SHOWN) * n);

	s->refused = s->refused || !at;
	if (at) {
		size_t to = put_gap(at, s);
		to += json ? put_json(at + to, s, line, n, piece) :
			     put_prefixed(at + to, s, line, n, piece);
		sink_add(s->sink, &s->share, to);
	}
	if (o->recent)
		recents_add(o->recent, s == &o->streams[0] ? 1 : 2, line, n, piece & LINES_GOES_ON);
}

/* ---- the pipes ---------------------------------------------------------- */

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

	clock_update();
	while (s->fd >= 0 && s->sink && most > 0) {
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
	s->refused = false;
	read_stream(s, READ_BYTES);
	if (s->fd >= 0 && s->refused) {
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

enum err output_resume(struct output *o, int i, int fd, struct slice partial, bool continues)
{
	struct output_stream *s = &o->streams[i];

	*s = (struct output_stream){ .owner = o, .fd = fd };
	return lines_resume(&s->lines, partial.p, partial.n, continues);
}

void output_start(struct output *o, struct event_base *base, const struct output_of *of)
{
	o->recent = of->recent;
	o->outlet = of->outlet;
	o->format = of->format;
	snprintf(o->prefix, sizeof(o->prefix), "%s.%u[%d]: ", of->app, of->instance, (int)of->pid);
	snprintf(o->fields, sizeof(o->fields),
		 "\",\"app\":\"%s\",\"instance\":%u,\"pid\":%d,\"release\":%u", of->app,
		 of->instance, (int)of->pid, of->release);
	for (int i = 0; i < 2; i++) {
		struct output_stream *s = &o->streams[i];
		s->sink = outlet_sink(of->outlet, i);
		event_assign(&s->ev, base, s->fd, EV_READ | EV_PERSIST, on_readable, s);
		event_assign(&s->rest, base, -1, EV_TIMEOUT, on_rested, s);
		if (s->fd >= 0)
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
	output_drain(o); /* what others of its process group have said at last */
	for (int i = 0; i < 2; i++)
		close_stream(&o->streams[i]);
	o->recent = recents_close(o->recent);
	o->outlet = outlet_drop(o->outlet);
}
