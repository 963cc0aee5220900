/* balancer/proxy/access_log: whole lines, in order, whatever the reader does; what is
 * lost is counted. */
#include "lib/check.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include "balancer/proxy/access_log.h"
#include "balancer/proxy/client.h"
#include "balancer/proxy/reply.h"
#include "common/log.h"

static struct tally *tally;
static struct proxy proxy;
static struct client client;
static struct access_log *alog;
static int reader;
static char got[8 * 1024 * 1024];
static size_t n_got;

static int boot(void **state)
{
	int fd;

	(void)state;
	signal(SIGPIPE, SIG_IGN);
	log_to_fd(-1);
	return tally_create(&fd, &tally) ? -1 : 0;
}

static int new_pipe(void)
{
	int fds[2];

	if (pipe2(fds, O_NONBLOCK | O_CLOEXEC) || fcntl(fds[0], F_SETPIPE_SZ, 4096) < 0)
		abort();
	reader = fds[0];
	return fds[1];
}

static int start(void **state)
{
	(void)state;
	memset(&tally->rows[0], 0, sizeof(tally->rows[0]));
	proxy = (struct proxy){ .row = &tally->rows[0] };
	client = (struct client){ .proxy = &proxy, .peer.family = AF_UNIX };
	alog = &proxy.access_log;
	access_log_start(alog, new_pipe(), NULL, LOG_FORMAT_COMBINED);
	n_got = 0;
	return 0;
}

static int stop(void **state)
{
	(void)state;
	access_log_stop(alog, proxy.row);
	if (reader >= 0)
		close(reader);
	return 0;
}

/* Lines are told apart by their sizes: 1000000, 1000001 ... */
static void put_lines(uint32_t from, uint32_t n)
{
	for (uint32_t i = from; i < from + n; i++) {
		struct own_reply sent = { .status = 400, .body_bytes = 1000000 + i };
		access_log_refused(alog, &client, &sent, (struct slice){ "", 0 });
	}
}

/* Takes at most `most` bytes of what is in the pipe. */
static size_t take(size_t most)
{
	size_t taken = 0;

	while (taken < most) {
		ssize_t n = read(reader, got + n_got, MIN(most - taken, sizeof(got) - n_got));
		if (n <= 0)
			break;
		n_got += (size_t)n;
		taken += (size_t)n;
	}
	return taken;
}

static void take_all(void)
{
	do
		access_log_flush(alog, proxy.row);
	while (take(SIZE_MAX));
}

static uint64_t dropped(void)
{
	return atomic_load(&proxy.row->counters[COUNTER_log_dropped]);
}

/* Every byte that came belongs to a whole line, and the lines are in order; how many. */
static uint32_t check_lines(void)
{
	uint32_t n = 0;
	long before = -1;
	const char *end = got + n_got;

	for (const char *p = got; p < end;) {
		static const char begin[] = "unix - - [", middle[] = "] \"-\" 400 ";
		const char *newline = memchr(p, '\n', (size_t)(end - p));
		assert_non_null(newline);
		assert_memory_equal(p, begin, sizeof(begin) - 1);
		const char *status = memmem(p, (size_t)(newline - p), middle, sizeof(middle) - 1);
		assert_non_null(status);
		char *rest;
		long number = strtol(status + sizeof(middle) - 1, &rest, 10);
		assert_memory_equal(rest, " \"-\" \"-\"\n", 9);
		assert_ptr_equal(rest + 8, newline);
		assert_true(number > before);
		before = number;
		p = newline + 1;
		n++;
	}
	return n;
}

static void test_small_pipe(void **state)
{
	(void)state;
	put_lines(0, 1000);
	take_all();
	assert_int_equal(check_lines(), 1000);
	assert_int_equal(dropped(), 0);
}

/* The reader takes odd amounts, and less than there is. */
static void test_slow_reader(void **state)
{
	(void)state;
	for (uint32_t i = 0; i < 400; i++) {
		put_lines(i * 50, 50);
		access_log_flush(alog, proxy.row);
		take(i * 37 % 3001);
	}
	assert_true(dropped() > 0);
	take_all();
	assert_int_equal(check_lines() + dropped(), 400 * 50);
}

static void test_no_reader_for_a_while(void **state)
{
	(void)state;
	put_lines(0, 50000); /* several buffers full */
	assert_true(dropped() > 0);
	take_all();
	assert_int_equal(check_lines() + dropped(), 50000);
}

/* Nobody will ever read it: lines are counted, and a new file begins with a whole one. */
static void test_broken_then_reopened(void **state)
{
	(void)state;
	put_lines(0, 100);
	access_log_flush(alog, proxy.row); /* the pipe has 4096 bytes of them */
	close(reader);
	reader = -1;
	put_lines(100, 100);
	access_log_flush(alog, proxy.row);
	assert_true(alog->complained);
	assert_in_range(dropped(), 100, 199);
	put_lines(200, 10);
	access_log_reopen(alog, proxy.row, new_pipe());
	put_lines(300, 10);
	take_all();
	assert_int_equal(check_lines(), 10);
	assert_false(alog->complained);
	assert_in_range(dropped(), 110, 210);
}

static void test_switched_off(void **state)
{
	int fd = dup(0);

	(void)state;
	access_log_stop(alog, proxy.row);
	access_log_start(alog, -1, NULL, LOG_FORMAT_JSON);
	put_lines(0, 10);
	access_log_flush(alog, proxy.row);
	access_log_reopen(alog, proxy.row, fd); /* a reload switches it on, not a rotation */
	assert_int_equal(fcntl(fd, F_GETFD), -1);
	assert_int_equal(dropped(), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_small_pipe, start, stop),
		cmocka_unit_test_setup_teardown(test_slow_reader, start, stop),
		cmocka_unit_test_setup_teardown(test_no_reader_for_a_while, start, stop),
		cmocka_unit_test_setup_teardown(test_broken_then_reopened, start, stop),
		cmocka_unit_test_setup_teardown(test_switched_off, start, stop),
	};
	return cmocka_run_group_tests(tests, boot, NULL);
}
