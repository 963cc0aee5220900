/* An open-loop HTTP load generator: requests are due by the clock, whether or not
 * earlier ones have been answered, as with a public that does not know of each other.
 *
 *   openload [-c CONNECTIONS] [-r RATE] [-d SECONDS] [-w SECONDS] [-H 'Name: value'] ADDRESS [PATH]
 *
 * Request i is due at start + i / RATE.  It goes out on the connection that has been
 * idle longest; where none is, it waits for one, and its latency counts from when it
 * was due, not from when it was sent.  So a server that stands still for a second is
 * seen with all the requests that would have come in that second ("coordinated
 * omission").  -w: what is due in the first seconds is sent but not counted.
 *
 * Prints the rate reached, percentiles of the latency, and errors by kind; exit status
 * 1 when there was one.  "lag" is how late the generator itself was with requests for
 * which a connection was idle: where it comes near the latencies, the generator was the
 * bottleneck and the figures mean nothing.
 *
 * Why our own: of the open-loop generators (wrk2, vegeta, oha, k6) Debian 12 has none.
 * Its wrk, ab, siege and hey wait for replies; h2load has --rps, but counts from the
 * moment of sending and prints no percentiles. */
#include <errno.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "bench/latency.h"

#include "common/addr.h"
#include "common/fd.h"
#include "common/http_body.h"
#include "common/http_parse.h"
#include "common/list.h"

#define IN_BYTES 16384
#define LAST_ANSWERS_NS 5000000000u /* after the last request was due */

enum failure { FAIL_CONNECT = 0, FAIL_ENDED, FAIL_BROKEN, FAIL_STATUS, FAIL_UNANSWERED, FAIL_MAX };
static const char *const failure_text[FAIL_MAX] = { "connect", "ended", "broken", "status",
						    "unanswered" };

struct conn {
	struct event event;
	struct list idle;
	int fd;
	uint64_t due_ns; /* of the request in flight; 0: none */
	bool in_body;
	bool keep; /* the head said that the connection stays open */
	struct http_body body;
	size_t have; /* of `in`: part of a head */
	char in[IN_BYTES];
};

static const struct http_limits limits = { IN_BYTES, 8192, HTTP_FIELDS_MAX, 0 };

static struct {
	unsigned connections;
	double rate, seconds, warm_seconds;
	struct addr address;
	char request[8192];
	size_t n_request;
} opt = { .connections = 64, .rate = 1000, .seconds = 10, .warm_seconds = 1 };

static struct event_base *base;
static struct event *clock_event;
static struct list idle;
static uint64_t start_ns, n_total, n_due; /* n_due: requests of which the turn has come */
static uint64_t n_sent, n_answered, n_counted, last_answer_ns;
static uint64_t failures[FAIL_MAX];
static struct latency latency, lag;

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static uint64_t due_ns(uint64_t i)
{
	return start_ns + (uint64_t)((double)i * 1e9 / opt.rate);
}

static uint64_t counted_from_ns(void)
{
	return start_ns + (uint64_t)(opt.warm_seconds * 1e9);
}

static void on_readable(evutil_socket_t fd, short what, void *arg);

/* ---- connections ---- */

/* Blocks until connected: before the start, or in place of one that the server ended. */
static bool open_conn(struct conn *c)
{
	c->fd = socket(opt.address.sa.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (c->fd < 0 || connect(c->fd, &opt.address.sa, opt.address.len)) {
		fd_close(&c->fd);
		return false;
	}
	fd_set_nodelay(c->fd);
	c->due_ns = 0;
	c->have = 0;
	c->in_body = false;
	event_assign(&c->event, base, c->fd, EV_READ | EV_PERSIST, on_readable, c);
	if (event_add(&c->event, NULL))
		abort();
	list_push_back(&idle, &c->idle);
	return true;
}

static void reopen(struct conn *c)
{
	event_del(&c->event);
	list_remove(&c->idle);
	fd_close(&c->fd);
	if (!open_conn(c))
		failures[FAIL_CONNECT]++;
}

/* The request in flight has failed. */
static void fail(struct conn *c, enum failure why)
{
	failures[why]++;
	reopen(c);
}

/* ---- requests, when they are due ---- */

static void send_one(struct conn *c, uint64_t due)
{
	c->due_ns = due;
	list_remove(&c->idle);
	n_sent++;
	/* A head fits the socket's buffer, which is empty. */
	if (send(c->fd, opt.request, opt.n_request, MSG_NOSIGNAL | MSG_DONTWAIT) !=
	    (ssize_t)opt.n_request)
		fail(c, FAIL_ENDED);
}

static void send_due(void)
{
	uint64_t now = now_ns();

	/* Those that waited for a connection; the generator is not to blame for them. */
	while (n_sent < n_due && !list_empty(&idle))
		send_one(list_entry(list_first(&idle), struct conn, idle), due_ns(n_sent));
	for (; n_due < n_total && due_ns(n_due) <= now; n_due++) {
		if (n_sent < n_due || list_empty(&idle))
			continue;
		if (due_ns(n_due) >= counted_from_ns())
			latency_add(&lag, now - due_ns(n_due));
		send_one(list_entry(list_first(&idle), struct conn, idle), due_ns(n_due));
	}
}

/* Until the next request is due, or the last answers have had their time. */
static void on_clock(evutil_socket_t fd, short what, void *arg)
{
	(void)fd, (void)what, (void)arg;
	send_due();
	uint64_t now = now_ns();
	uint64_t next = n_due < n_total ? due_ns(n_due) : due_ns(n_total) + LAST_ANSWERS_NS;
	if (n_due == n_total && now >= next) {
		event_base_loopbreak(base);
		return;
	}
	uint64_t wait_us = next > now ? (next - now) / 1000 : 0;
	struct timeval wait = { (time_t)(wait_us / 1000000), (suseconds_t)(wait_us % 1000000) };
	if (event_add(clock_event, &wait))
		abort();
}

/* ---- answers ---- */

static void answered(struct conn *c)
{
	last_answer_ns = now_ns();
	n_answered++;
	if (c->due_ns >= counted_from_ns()) {
		latency_add(&latency, last_answer_ns - c->due_ns);
		n_counted++;
	}
	c->due_ns = 0;
	c->in_body = false;
	if (c->keep)
		list_push_back(&idle, &c->idle);
	else
		reopen(c);
}

/* Reads the head at the beginning of `in`.  False: it is not whole, or the request
 * has failed. */
static bool read_head(struct conn *c, size_t *ret_used)
{
	static struct http_head head;
	enum http_rule rule;
	enum http_verdict verdict =
		http_parse_reply(&head, c->in, c->have, 0, &limits, HTTP_M_GET, &rule);

	if (verdict == HTTP_PARTIAL)
		return false;
	if (verdict == HTTP_REFUSED || head.status < 200 || head.status > 299) {
		fail(c, verdict == HTTP_REFUSED ? FAIL_BROKEN : FAIL_STATUS);
		return false;
	}
	http_body_init(&c->body, head.framing, head.length, 0);
	c->in_body = true;
	*ret_used = head.head_bytes;
	c->keep = head.keep_alive;
	return true;
}

static void read_answer(struct conn *c)
{
	size_t at = 0;

	if (!c->in_body && !read_head(c, &at))
		return;
	enum http_body_step step = HTTP_BODY_MORE;
	while (!c->body.ended) {
		struct slice data;
		enum http_rule rule;
		size_t used;
		step = http_body_read(&c->body, c->in + at, c->have - at, &used, &data, &rule);
		at += used;
		if (step == HTTP_BODY_MORE || step == HTTP_BODY_BAD)
			break;
	}
	bool extra = c->body.ended && at < c->have;
	c->have = 0;
	if (step == HTTP_BODY_BAD || extra)
		fail(c, FAIL_BROKEN);
	else if (c->body.ended)
		answered(c);
}

/* Requests that are over, one way or the other. */
static uint64_t n_settled(void)
{
	return n_answered + failures[FAIL_ENDED] + failures[FAIL_BROKEN] + failures[FAIL_STATUS];
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
	struct conn *c = arg;
	ssize_t n = recv(fd, c->in + c->have, sizeof(c->in) - c->have, MSG_DONTWAIT);

	(void)what;
	if (n < 0 && errno == EAGAIN)
		return;
	if (n <= 0) {
		if (c->due_ns)
			fail(c, FAIL_ENDED);
		else
			reopen(c); /* between requests a server may do that */
	} else if (!c->due_ns) {
		fail(c, FAIL_BROKEN);
	} else {
		c->have += (size_t)n;
		read_answer(c);
	}
	send_due();
	if (n_settled() >= n_total)
		event_base_loopbreak(base);
}

/* ---- start, end ---- */

static void usage(void)
{
	fprintf(stderr, "usage: openload [-c CONNECTIONS] [-r RATE] [-d SECONDS] [-w SECONDS] "
			"[-H 'Name: value'] ADDRESS [PATH]\n");
	exit(2);
}

static void read_options(int argc, char **argv)
{
	char address[ADDR_TEXT_MAX], fields[4096] = "";
	size_t n = 0;
	int o;

	while ((o = getopt(argc, argv, "c:r:d:w:H:")) != -1) {
		switch (o) {
		case 'c': opt.connections = (unsigned)strtoul(optarg, NULL, 10); break;
		case 'r': opt.rate = strtod(optarg, NULL); break;
		case 'd': opt.seconds = strtod(optarg, NULL); break;
		case 'w': opt.warm_seconds = strtod(optarg, NULL); break;
		case 'H':
			if (strlen(optarg) + 3 > sizeof(fields) - n)
				usage();
			n += (size_t)sprintf(fields + n, "%s\r\n", optarg);
			break;
		default: usage();
		}
	}
	if (optind >= argc || addr_parse(slice_of(argv[optind]), false, &opt.address) ||
	    !opt.connections || opt.rate <= 0 || opt.seconds <= 0 || opt.warm_seconds < 0)
		usage();
	const char *path = optind + 1 < argc ? argv[optind + 1] : "/";
	int all = snprintf(
		opt.request, sizeof(opt.request), "GET %s HTTP/1.1\r\nHost: %s\r\n%s\r\n", path,
		addr_is_unix(&opt.address) ? "localhost" : addr_format(&opt.address, address),
		fields);
	if (all >= (int)sizeof(opt.request))
		usage();
	opt.n_request = (size_t)all;
}

static void start(void)
{
	struct event_config *config = event_config_new();
	struct rlimit files;

	/* libevent's timers have milliseconds otherwise, the kernel's 50 us of slack. */
	if (!config || event_config_set_flag(config, EVENT_BASE_FLAG_PRECISE_TIMER) ||
	    !(base = event_base_new_with_config(config)) ||
	    !(clock_event = event_new(base, -1, 0, on_clock, NULL)))
		abort();
	event_config_free(config);
	prctl(PR_SET_TIMERSLACK, 1);
	if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
		files.rlim_cur = files.rlim_max;
		setrlimit(RLIMIT_NOFILE, &files);
	}
	list_init(&idle);
	for (unsigned i = 0; i < opt.connections; i++) {
		struct conn *c = calloc(1, sizeof(*c));
		if (!c)
			abort();
		list_init(&c->idle);
		if (!open_conn(c)) {
			perror("openload: connect");
			exit(1);
		}
	}
	start_ns = now_ns();
	n_total = (uint64_t)(opt.rate * (opt.warm_seconds + opt.seconds));
}

static int print_result(void)
{
	static const double per_cent[] = { 50, 90, 99, 99.9, 100 };
	uint64_t errors = 0, end = MAX(last_answer_ns, due_ns(n_total));

	failures[FAIL_UNANSWERED] = n_total - n_settled();
	printf("requests  %llu\n", (unsigned long long)n_counted);
	printf("rate      %.1f of %.1f requests/s\n",
	       (double)n_counted * 1e9 / (double)(end - counted_from_ns()), opt.rate);
	for (size_t i = 0; i < ARRAY_LEN(per_cent); i++)
		printf("p%-8g %.3f ms\n", per_cent[i], latency_ms(&latency, per_cent[i]));
	printf("lag       %.3f ms p50, %.3f ms p99\n", latency_ms(&lag, 50), latency_ms(&lag, 99));
	for (int i = 0; i < FAIL_MAX; i++)
		errors += failures[i];
	printf("errors    %llu", (unsigned long long)errors);
	for (int i = 0; i < FAIL_MAX; i++)
		printf(" %s %llu", failure_text[i], (unsigned long long)failures[i]);
	printf("\n");
	return errors || !n_counted ? 1 : 0;
}

int main(int argc, char **argv)
{
	read_options(argc, argv);
	start();
	on_clock(-1, 0, NULL);
	event_base_dispatch(base);
	return print_result();
}
