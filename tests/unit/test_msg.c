/* common/msg.c: what passes, and that what does not leaves nothing behind. */
#include "lib/check.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/fd.h"
#include "common/msg.h"
#include "lib/process.h"
#include "lib/send_raw.h"

static int ends[2]; /* [0] the master's, [1] the balancer's */
static int fds_before;

static int set_up(void **state)
{
	(void)state;
	fds_before = count_fds();
	return msg_pair(ends) ? -1 : 0;
}

/* Every test ends with the descriptors it began with. */
static int tear_down(void **state)
{
	(void)state;
	fd_close(&ends[0]);
	fd_close(&ends[1]);
	if (count_fds() == fds_before)
		return 0;
	print_error("%d descriptors before, %d after\n", fds_before, count_fds());
	return -1;
}

/* Any bytes with any number of copies of one descriptor, past all checks. */
static void send_any(int channel, const void *bytes, size_t n, int n_fds)
{
	int fds[SEND_RAW_FDS_MAX], null = open("/dev/null", O_RDONLY | O_CLOEXEC);

	for (int i = 0; i < n_fds; i++)
		fds[i] = null;
	assert_int_equal(send_raw(channel, bytes, n, fds, (size_t)n_fds), (ssize_t)n);
	close(null);
}

static void test_pair(void **state)
{
	(void)state;
	for (int i = 0; i < 2; i++) {
		assert_true(fcntl(ends[i], F_GETFL) & O_NONBLOCK);
		assert_true(fcntl(ends[i], F_GETFD) & FD_CLOEXEC);
	}
}

static void test_names(void **state)
{
	(void)state;
	assert_string_equal(msg_name(MSG_READY), "READY");
	assert_string_equal(msg_name(MSG_REOPEN), "REOPEN");
	assert_string_equal(msg_name(MSG_NONE), "?");
	assert_string_equal(msg_name(MSG_MAX), "?");
	assert_string_equal(msg_name(UINT32_MAX), "?");
}

/* Each type once, in its direction, with its descriptor. */
static void test_all_types_pass(void **state)
{
	static const struct {
		enum msg_type type;
		enum msg_direction direction;
		int fds;
	} rows[] = {
#define MSG(name, dir, fds) { MSG_##name, MSG_##dir, fds },
#include "common/msg.def"
#undef MSG
	};

	(void)state;
	assert_int_equal(ARRAY_LEN(rows), MSG_MAX - 1);
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		const char *name = msg_name(rows[i].type);
		int from = rows[i].direction == MSG_DOWN ? 0 : 1;
		struct msg in = { .type = 0 };
		struct msg out = { .type = rows[i].type, .raw = 0x0123456789abcdef };
		int fd = 4711;
		check_row_int(name, msg_send(ends[from], &out, rows[i].fds ? 0 : -1), ERR_OK);
		check_row_int(name, msg_recv(ends[1 - from], rows[i].direction, &in, &fd), ERR_OK);
		check_row_int(name, in.type, rows[i].type);
		check_row(name, in.raw == out.raw);
		check_row_int(name, fd >= 0, rows[i].fds);
		if (fd >= 0)
			check_row(name, fcntl(fd, F_GETFD) & FD_CLOEXEC);
		fd_close(&fd);
	}
}

static void test_descriptor_is_the_one_sent(void **state)
{
	struct msg m = { .type = MSG_REOPEN, .reopen.which = LOG_KIND_ACCESS };
	int pipe_fds[2], fd;
	char byte = 0;

	(void)state;
	assert_int_equal(pipe2(pipe_fds, O_CLOEXEC), 0);
	assert_int_equal(msg_send(ends[0], &m, pipe_fds[1]), ERR_OK);
	fd_close(&pipe_fds[1]); /* was only borrowed; the one on the way stays open */
	assert_int_equal(msg_recv(ends[1], MSG_DOWN, &m, &fd), ERR_OK);
	assert_int_equal(m.reopen.which, LOG_KIND_ACCESS);
	assert_int_equal(write(fd, "x", 1), 1);
	assert_int_equal(read(pipe_fds[0], &byte, 1), 1);
	assert_int_equal(byte, 'x');
	fd_close(&fd);
	fd_close(&pipe_fds[0]);
}

static void test_refused(void **state)
{
	static const struct {
		const char *row;
		uint32_t type, zero;
		size_t bytes;
		int fds;
		enum err want;
	} rows[] = {
		{ "no type", MSG_NONE, 0, sizeof(struct msg), 0, ERR_PROTOCOL },
		{ "type past the table", MSG_MAX, 0, sizeof(struct msg), 0, ERR_PROTOCOL },
		{ "huge type", UINT32_MAX, 0, sizeof(struct msg), 0, ERR_PROTOCOL },
		{ "wrong direction", MSG_DRAIN, 0, sizeof(struct msg), 0, ERR_PROTOCOL },
		{ "wrong direction, its fd", MSG_REOPEN, 0, sizeof(struct msg), 1, ERR_PROTOCOL },
		{ "reserved bits", MSG_READY, 1, sizeof(struct msg), 0, ERR_PROTOCOL },
		{ "one byte", MSG_READY, 0, 1, 0, ERR_PROTOCOL },
		{ "one byte short", MSG_READY, 0, sizeof(struct msg) - 1, 0, ERR_PROTOCOL },
		{ "one byte long", MSG_READY, 0, sizeof(struct msg) + 1, 0, ERR_PROTOCOL },
		{ "much too long", MSG_READY, 0, 4096, 0, ERR_PROTOCOL },
		{ "one fd not asked for", MSG_READY, 0, sizeof(struct msg), 1, ERR_PROTOCOL },
		{ "eight", MSG_READY, 0, sizeof(struct msg), 8, ERR_PROTOCOL },
		{ "nine", MSG_READY, 0, sizeof(struct msg), 9, ERR_PROTOCOL },
		{ "sixty-four", MSG_READY, 0, sizeof(struct msg), 64, ERR_PROTOCOL },
		{ "too long with fds", MSG_READY, 0, 100, 3, ERR_PROTOCOL },
		{ "nothing but an fd", MSG_READY, 0, 0, 1, ERR_PROTOCOL },
		{ "nothing but nine", MSG_READY, 0, 0, 9, ERR_PROTOCOL },
		{ "nothing at all", MSG_READY, 0, 0, 0, ERR_CLOSED },
	};
	union {
		struct msg m;
		char bytes[4096];
	} packet;
	int open_fds = count_fds();

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct msg in = { .type = 99 };
		int fd = 4711;
		memset(&packet, 0, sizeof(packet));
		packet.m.type = rows[i].type;
		packet.m.zero = rows[i].zero;
		send_any(ends[1], &packet, rows[i].bytes, rows[i].fds);
		check_row_int(rows[i].row, msg_recv(ends[0], MSG_UP, &in, &fd), rows[i].want);
		check_row_int(rows[i].row, in.type, 99);
		check_row_int(rows[i].row, fd, 4711);
		check_row_int(rows[i].row, count_fds(), open_fds);
	}
	/* Each was one packet: nothing of them is left in the channel. */
	struct msg m = { .type = MSG_ACK, .ack.version = 7 };
	int fd;
	assert_int_equal(msg_send(ends[1], &m, -1), ERR_OK);
	assert_int_equal(msg_recv(ends[0], MSG_UP, &m, &fd), ERR_OK);
	assert_int_equal(m.ack.version, 7);
}

static void test_wrong_descriptor_counts_for_a_type_with_one(void **state)
{
	struct msg m = { .type = MSG_REOPEN };
	int open_fds = count_fds();

	(void)state;
	for (int n = 0; n <= 9; n++) {
		struct msg in;
		int fd = -1;
		send_any(ends[0], &m, sizeof(m), n);
		enum err e = msg_recv(ends[1], MSG_DOWN, &in, &fd);
		assert_int_equal(e, n == 1 ? ERR_OK : ERR_PROTOCOL);
		fd_close(&fd);
		assert_int_equal(count_fds(), open_fds);
	}
}

/* The descriptor limit is ours, not the sender's fault. */
static void test_no_room_for_the_descriptor(void **state)
{
	struct msg m = { .type = MSG_REOPEN };
	struct rlimit old, tight;
	int fd = 4711;

	(void)state;
	assert_int_equal(msg_send(ends[0], &m, 0), ERR_OK);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
	tight = old;
	tight.rlim_cur = 3; /* those above stay open, but no new one fits */
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &tight), 0);
	enum err e = msg_recv(ends[1], MSG_DOWN, &m, &fd);
	int pair[2];
	enum err pair_err = msg_pair(pair);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
	assert_int_equal(e, ERR_FD_LIMIT);
	assert_int_equal(fd, 4711);
	assert_int_equal(pair_err, ERR_FD_LIMIT);
}

/* Nor may a message pass whose surplus descriptor only found no room. */
static void test_surplus_that_found_no_room(void **state)
{
	struct msg m = { .type = MSG_READY };
	struct rlimit old, tight;
	int fd = 4711;

	(void)state;
	send_any(ends[1], &m, sizeof(m), 1);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
	tight = old;
	tight.rlim_cur = 3;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &tight), 0);
	enum err e = msg_recv(ends[0], MSG_UP, &m, &fd);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
	assert_int_equal(e, ERR_PROTOCOL);
	assert_int_equal(fd, 4711);
}

static void test_nothing_there(void **state)
{
	struct msg m;
	int fd;

	(void)state;
	assert_int_equal(msg_recv(ends[0], MSG_UP, &m, &fd), ERR_AGAIN);
	/* Never waits, whatever the socket's flags. */
	assert_int_equal(fd_set_nonblock(ends[0], false), ERR_OK);
	assert_int_equal(msg_recv(ends[0], MSG_UP, &m, &fd), ERR_AGAIN);
}

static void test_full(void **state)
{
	struct msg m = { .type = MSG_ROSTER };
	uint64_t sent = 0, received = 0;
	enum err e;
	int fd;

	(void)state;
	assert_int_equal(fd_set_nonblock(ends[0], false), ERR_OK);
	do
		m.roster.version = sent++;
	while ((e = msg_send(ends[0], &m, -1)) == ERR_OK && sent < 1000000);
	assert_int_equal(e, ERR_AGAIN);
	sent--; /* the last was not */
	while (msg_recv(ends[1], MSG_DOWN, &m, &fd) == ERR_OK)
		assert_int_equal(m.roster.version, received++);
	assert_int_equal(received, sent);
}

static void test_other_side_gone(void **state)
{
	struct msg m = { .type = MSG_READY };
	int fd;

	(void)state;
	/* What was sent before the end still arrives. */
	assert_int_equal(msg_send(ends[1], &m, -1), ERR_OK);
	fd_close(&ends[1]);
	assert_int_equal(msg_recv(ends[0], MSG_UP, &m, &fd), ERR_OK);
	assert_int_equal(msg_recv(ends[0], MSG_UP, &m, &fd), ERR_CLOSED);
	m.type = MSG_DRAIN;
	assert_int_equal(msg_send(ends[0], &m, -1), ERR_CLOSED); /* and no SIGPIPE */
}

static void test_other_side_gone_without_reading(void **state)
{
	struct msg m = { .type = MSG_DRAIN };
	int fd;

	(void)state;
	assert_int_equal(msg_send(ends[0], &m, -1), ERR_OK);
	fd_close(&ends[1]);
	assert_int_equal(msg_recv(ends[0], MSG_UP, &m, &fd), ERR_CLOSED);
}

static void test_not_a_channel(void **state)
{
	struct msg m = { .type = MSG_DRAIN };
	int fd;

	(void)state;
	errno = 0;
	assert_int_equal(msg_recv(-1, MSG_UP, &m, &fd), ERR_SYS);
	assert_int_equal(errno, EBADF);
	assert_int_equal(msg_send(-1, &m, -1), ERR_SYS);
	assert_int_equal(errno, EBADF);
}

#define case_of(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		case_of(test_pair),
		case_of(test_names),
		case_of(test_all_types_pass),
		case_of(test_descriptor_is_the_one_sent),
		case_of(test_refused),
		case_of(test_wrong_descriptor_counts_for_a_type_with_one),
		case_of(test_no_room_for_the_descriptor),
		case_of(test_surplus_that_found_no_room),
		case_of(test_nothing_there),
		case_of(test_full),
		case_of(test_other_side_gone),
		case_of(test_other_side_gone_without_reading),
		case_of(test_not_a_channel),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
