/* What crosses between a warden and the next master: all of it, in order, and nothing from
 * anybody who sends something else. */
#include "lib/check.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "balancer/master/adopt_wire.h"
#include "common/fd.h"
#include "common/mem.h"
#include "lib/process.h"
#include "lib/send_raw.h"

static int ends[2], files[3], fds_before;

static int open_all(void **state)
{
	(void)state;
	fds_before = count_fds();
	for (int i = 0; i < 3; i++)
		files[i] = memfd_create("test", MFD_CLOEXEC);
	return socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends);
}

/* Whatever came, nothing of it stays open. */
static int close_all(void **state)
{
	(void)state;
	for (int i = 0; i < 2; i++)
		fd_close(&ends[i]);
	for (int i = 0; i < 3; i++)
		fd_close(&files[i]);
	if (count_fds() == fds_before)
		return 0;
	print_error("%d descriptors before, %d after\n", fds_before, count_fds());
	return -1;
}

static uint64_t inode(int fd)
{
	struct stat st;

	assert_int_equal(fstat(fd, &st), 0);
	return st.st_ino;
}

/* ---- all of it ---------------------------------------------------------- */

static void check_arrives(size_t n)
{
	struct state_fd *sent = mem_must_alloc((n + 1) * sizeof(*sent)), *got;
	int state;
	size_t n_got;

	for (size_t i = 0; i < n; i++)
		sent[i] = (struct state_fd){ .number = 1000 + (int)i, .fd = files[i % 2] };
	assert_int_equal(adopt_send(ends[0], files[2], sent, n), ERR_OK);
	assert_int_equal(adopt_recv(ends[1], &state, &got, &n_got), ERR_OK);
	assert_true(inode(state) == inode(files[2]));
	assert_int_equal(fcntl(state, F_GETFD), FD_CLOEXEC);
	assert_int_equal(n_got, n);
	for (size_t i = 0; i < n; i++) {
		assert_int_equal(got[i].number, sent[i].number);
		assert_true(inode(got[i].fd) == inode(sent[i].fd));
		assert_int_equal(fcntl(got[i].fd, F_GETFD), FD_CLOEXEC);
		close(got[i].fd);
	}
	close(state);
	mem_free(got);
	mem_free(sent);
}

static void test_everything_arrives_in_order(void **state)
{
	static const size_t rows[] = { 0, 1, 2, ADOPT_BATCH - 1, ADOPT_BATCH, ADOPT_BATCH + 1, 450 };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		check_arrives(rows[i]);
}

/* More than its queue holds, and more than may be on their way at a time: the sender waits. */
static int send_many(void *arg)
{
	static struct state_fd many[5000];

	(void)arg;
	for (int i = 0; i < 5000; i++)
		many[i] = (struct state_fd){ .number = i, .fd = files[0] };
	return (int)adopt_send(ends[0], files[2], many, ARRAY_LEN(many));
}

static int receive_many(void *arg)
{
	int state;
	struct state_fd *got;
	size_t n;

	(void)arg;
	close(ends[0]);
	if (adopt_recv(ends[1], &state, &got, &n) || n != 5000)
		return 1;
	for (int i = 0; i < 5000; i++)
		if (got[i].number != i)
			return 2;
	return 0;
}

static void test_more_than_is_read_at_a_time(void **state)
{
	struct rlimit before, more;

	(void)state;
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	more = (struct rlimit){ MIN(before.rlim_max, (rlim_t)8192), before.rlim_max };
	if (more.rlim_cur < 5100)
		skip();
	pid_t sender = fork();
	if (sender == 0)
		_exit(send_many(NULL));
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &more), 0);
	int status = in_child(receive_many, NULL);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
	assert_int_equal(status, 0);
	assert_int_equal(waitpid(sender, &status, 0), sender);
	assert_int_equal(status, ERR_OK);
}

static void test_nobody_reads(void **state)
{
	struct state_fd one = { .number = 5, .fd = files[0] };

	(void)state;
	fd_close(&ends[1]);
	assert_int_equal(adopt_send(ends[0], files[2], &one, 1), ERR_CLOSED);
}

/* ---- anything else ------------------------------------------------------ */

struct sent {
	uint64_t magic;
	uint32_t total, n;
	size_t bytes, n_fds; /* that it really has */
};

#define PACKET sizeof(struct adopt_packet)
#define M ADOPT_MAGIC

static const struct {
	const char *name;
	struct sent packets[3]; /* up to the first without bytes and descriptors */
	enum err expect;
} rows[] = {
	{ "nothing", { { .bytes = 0 } }, ERR_CLOSED },
	{ "descriptors that are promised", { { M, 1, 1, PACKET, 1 } }, ERR_CLOSED },
	{ "half of them", { { M, 2, 1, PACKET, 1 }, { M, 2, 1, PACKET, 1 } }, ERR_CLOSED },
	{ "all of it", { { M, 1, 1, PACKET, 1 }, { M, 1, 1, PACKET, 1 } }, ERR_OK },
	{ "another program's", { { M + 1, 0, 1, PACKET, 1 } }, ERR_PROTOCOL },
	{ "another's behind it", { { M, 1, 1, PACKET, 1 }, { 0, 1, 1, PACKET, 1 } }, ERR_PROTOCOL },
	{ "one byte", { { M, 0, 1, 1, 1 } }, ERR_PROTOCOL },
	{ "a byte less", { { M, 0, 1, PACKET - 1, 1 } }, ERR_PROTOCOL },
	{ "a byte more", { { M, 0, 1, PACKET + 1, 1 } }, ERR_PROTOCOL },
	{ "no bytes", { { M, 0, 1, 0, 1 } }, ERR_PROTOCOL },
	{ "no state", { { M, 0, 0, PACKET, 0 } }, ERR_PROTOCOL },
	{ "none, but one is said", { { M, 0, 1, PACKET, 0 } }, ERR_PROTOCOL },
	{ "two states", { { M, 0, 2, PACKET, 2 } }, ERR_PROTOCOL },
	{ "more than is said", { { M, 0, 1, PACKET, 2 } }, ERR_PROTOCOL },
	{ "as many as fit", { { M, 0, 1, PACKET, SEND_RAW_FDS_MAX } }, ERR_PROTOCOL },
	{ "more than a batch", { { M, 0, ADOPT_BATCH + 1, PACKET, SEND_RAW_FDS_MAX } }, ERR_PROTOCOL },
	{ "as many as can be said", { { M, 0, UINT32_MAX, PACKET, 1 } }, ERR_PROTOCOL },
	{ "more than there can be", { { M, ADOPT_FDS_MAX + 1, 1, PACKET, 1 } }, ERR_PROTOCOL },
	{ "a number that overflows", { { M, UINT32_MAX, 1, PACKET, 1 } }, ERR_PROTOCOL },
	{ "an empty batch", { { M, 1, 1, PACKET, 1 }, { M, 1, 0, PACKET, 0 } }, ERR_PROTOCOL },
	{ "one too many", { { M, 1, 1, PACKET, 1 }, { M, 1, 2, PACKET, 2 } }, ERR_PROTOCOL },
	{ "fewer than is said", { { M, 2, 1, PACKET, 1 }, { M, 2, 2, PACKET, 1 } }, ERR_PROTOCOL },
	{ "a batch first", { { M, 3, 3, PACKET, 3 }, { M, 3, 1, PACKET, 1 } }, ERR_PROTOCOL },
};

static void send_one(const struct sent *s)
{
	union {
		struct adopt_packet p;
		char bytes[PACKET + 1];
	} u = { .p = { .magic = s->magic, .total = s->total, .n = s->n } };
	int fds[SEND_RAW_FDS_MAX];

	for (size_t i = 0; i < s->n_fds; i++)
		fds[i] = files[0];
	assert_int_equal(send_raw(ends[0], &u, s->bytes, fds, s->n_fds), s->bytes);
}

static void test_what_is_none(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		int before = count_fds(), got = -2;
		struct state_fd *fds = NULL;
		size_t n = 0;
		if (i)
			assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends),
					 0);
		for (size_t k = 0; k < 3 && (rows[i].packets[k].bytes || rows[i].packets[k].n_fds);
		     k++)
			send_one(&rows[i].packets[k]);
		fd_close(&ends[0]);
		check_row_int(rows[i].name, adopt_recv(ends[1], &got, &fds, &n), rows[i].expect);
		if (rows[i].expect == ERR_OK) {
			close(got);
			close(fds[0].fd);
			mem_free(fds);
		} else {
			check_row(rows[i].name, got == -2 && !fds && n == 0); /* untouched */
		}
		fd_close(&ends[1]);
		check_row_int(rows[i].name, count_fds(), i ? before : before - 2);
	}
}

/* What does not fit into this process is not half taken. */
static void test_no_room_for_them(void **state)
{
	struct rlimit before, less;
	struct state_fd many[40], *got;
	int state_fd;
	size_t n;

	(void)state;
	for (int i = 0; i < 40; i++)
		many[i] = (struct state_fd){ .number = i, .fd = files[0] };
	assert_int_equal(adopt_send(ends[0], files[2], many, 40), ERR_OK);
	int open_now = count_fds();
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	less = (struct rlimit){ (rlim_t)(ends[1] + 20), before.rlim_max };
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &less), 0);
	enum err e = adopt_recv(ends[1], &state_fd, &got, &n);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
	assert_int_equal(e, ERR_FD_LIMIT);
	assert_int_equal(count_fds(), open_now);
}

static void test_no_memory(void **state)
{
	struct state_fd one = { .number = 5, .fd = files[0] }, *got;
	int state_fd;
	size_t n;

	(void)state;
	assert_int_equal(adopt_send(ends[0], files[2], &one, 1), ERR_OK);
	mem_fault_at(1);
	enum err e = adopt_recv(ends[1], &state_fd, &got, &n);
	mem_fault_at(0);
	assert_int_equal(e, ERR_NOMEM);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_everything_arrives_in_order, open_all, close_all),
		cmocka_unit_test_setup_teardown(test_more_than_is_read_at_a_time, open_all, close_all),
		cmocka_unit_test_setup_teardown(test_nobody_reads, open_all, close_all),
		cmocka_unit_test_setup_teardown(test_what_is_none, open_all, close_all),
		cmocka_unit_test_setup_teardown(test_no_room_for_them, open_all, close_all),
		cmocka_unit_test_setup_teardown(test_no_memory, open_all, close_all),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
