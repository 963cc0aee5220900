/* common/fd.c, second half: processes and memory held by descriptors, what is
 * inherited, what stays private.  Sockets are test_fd.c. */
#include "lib/check.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common/fd.h"
#include "lib/own_folder.h"
#include "lib/process.h"

static void assert_fresh(int fd)
{
	assert_true(fcntl(fd, F_GETFL) & O_NONBLOCK);
	assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
}

/* ---- processes and memory ---------------------------------------------- */

static void test_pidfd(void **state)
{
	siginfo_t info;
	int fd, gone;

	(void)state;
	pid_t pid = fork();
	if (pid == 0) {
		for (;;)
			pause();
	}
	assert_int_equal(fd_of_pid(pid, &fd), ERR_OK);
	assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	assert_int_equal(fd_signal_pid(fd, 0), ERR_OK);
	assert_int_equal(fd_signal_pid(fd, SIGTERM), ERR_OK);
	assert_int_equal(waitid(P_PIDFD, (id_t)fd, &info, WEXITED), 0);
	assert_int_equal(info.si_pid, pid);
	assert_int_equal(info.si_status, SIGTERM);
	assert_int_equal(fd_signal_pid(fd, SIGTERM), ERR_SYS);
	assert_int_equal(errno, ESRCH);
	assert_int_equal(fd_of_pid(pid, &gone), ERR_SYS);
	assert_int_equal(errno, ESRCH);
	fd_close(&fd);
}

static int write_mark(void *map)
{
	((volatile char *)map)[8191] = 'x';
	return 0;
}

static void test_shared_segment(void **state)
{
	void *map;
	int fd;

	(void)state;
	assert_int_equal(fd_shared_segment("drover-test", 8192, &fd, &map), ERR_OK);
	assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	for (int i = 0; i < 8192; i++)
		assert_int_equal(((char *)map)[i], 0);
	assert_int_equal(in_child(write_mark, map), 0);
	assert_int_equal(((char *)map)[8191], 'x');
	assert_int_equal(ftruncate(fd, 4096), -1);
	assert_int_equal(errno, EPERM);
	assert_int_equal(ftruncate(fd, 16384), -1);
	assert_int_equal(errno, EPERM);
	munmap(map, 8192);
	fd_close(&fd);

	fd = 4711;
	assert_int_equal(fd_shared_segment("drover-test", 0, &fd, &map), ERR_SYS);
	assert_int_equal(errno, EINVAL);
	assert_int_equal(fd, 4711);
}

/* ---- inheritance ------------------------------------------------------- */

struct keep {
	int fds[8];
	size_t n;
};

enum { N_OPEN = 200, NO_LIMIT = 254, NO_SECCOMP = 255 };

/* Exit status: the lowest descriptor under N_OPEN that is open and should not
 * be, or the other way round (N_OPEN for 0); 0 when all is well. */
static int close_and_look(void *arg)
{
	const struct keep *keep = arg;

	for (int fd = 3; fd < N_OPEN; fd++)
		dup2(0, fd);
	fd_close_all_but(keep->fds, keep->n);
	for (int fd = 0; fd < N_OPEN; fd++) {
		bool want = fd < 3;
		for (size_t i = 0; i < keep->n; i++)
			want |= keep->fds[i] == fd;
		if ((fcntl(fd, F_GETFD) >= 0) != want)
			return fd ? fd : N_OPEN;
	}
	return 0;
}

/* A kernel or sandbox without close_range(2). */
static int close_and_look_the_slow_way(void *arg)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_close_range, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { .len = ARRAY_LEN(code), .filter = code };
	struct rlimit limit;

	getrlimit(RLIMIT_NOFILE, &limit);
	limit.rlim_cur = N_OPEN;
	if (setrlimit(RLIMIT_NOFILE, &limit) != 0)
		return NO_LIMIT;
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
	    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0)
		return NO_SECCOMP;
	return close_and_look(arg);
}

static void test_close_all_but(void **state)
{
	static const struct keep rows[] = {
		{ { 0 }, 0 },
		{ { 3 }, 1 },
		{ { N_OPEN - 1 }, 1 },
		{ { 180, 7, 3, 100, 7 }, 5 },
		{ { 5, 4, 3 }, 3 },
		{ { -1, 1, 2, 0, 10 }, 5 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct keep keep = rows[i];
		assert_int_equal(in_child(close_and_look, &keep), 0);
		int status = in_child(close_and_look_the_slow_way, &keep);
		if (status == NO_SECCOMP)
			skip(); /* no seccomp here */
		assert_int_equal(status, 0);
	}
}

/* ---- private descriptions ---------------------------------------------- */

static void test_private_pipe(void **state)
{
	int pipe_fds[2], own;
	char byte = 0;

	(void)state;
	assert_int_equal(pipe2(pipe_fds, O_CLOEXEC), 0);
	assert_int_equal(fd_private_nonblock(pipe_fds[1], &own), ERR_OK);
	assert_fresh(own);
	assert_false(fcntl(pipe_fds[1], F_GETFL) & O_NONBLOCK);
	assert_int_equal(fcntl(own, F_GETFL) & O_ACCMODE, O_WRONLY);
	assert_int_equal(write(own, "x", 1), 1);
	assert_int_equal(read(pipe_fds[0], &byte, 1), 1);
	assert_int_equal(byte, 'x');
	fd_close(&own);

	/* A pipe that nobody reads cannot be opened for writing. */
	fd_close(&pipe_fds[0]);
	assert_int_equal(fd_private_nonblock(pipe_fds[1], &own), ERR_OK);
	assert_true(fcntl(own, F_GETFD) & FD_CLOEXEC);
	assert_false(fcntl(pipe_fds[1], F_GETFL) & O_NONBLOCK);
	fd_close(&own);
	fd_close(&pipe_fds[1]);
}

static void test_private_device(void **state)
{
	int fd = open("/dev/null", O_RDWR | O_APPEND | O_CLOEXEC), own;

	(void)state;
	assert_int_equal(fd_private_nonblock(fd, &own), ERR_OK);
	assert_fresh(own);
	assert_false(fcntl(fd, F_GETFL) & O_NONBLOCK);
	assert_int_equal(fcntl(own, F_GETFL) & O_ACCMODE, O_RDWR);
	assert_true(fcntl(own, F_GETFL) & O_APPEND);
	fd_close(&own);
	fd_close(&fd);
}

/* `(echo a; drover; echo c) > log`: all of them write where the last one ended. */
static void test_private_file_shares_its_offset(void **state)
{
	char path[256], text[8] = "";
	int own;

	(void)state;
	snprintf(path, sizeof(path), "%s/log", dir);
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
	assert_int_equal(write(fd, "a", 1), 1);
	assert_int_equal(fd_private_nonblock(fd, &own), ERR_OK);
	assert_int_equal(write(own, "b", 1), 1);
	assert_int_equal(write(fd, "c", 1), 1);
	assert_int_equal(pread(fd, text, 7, 0), 3);
	assert_string_equal(text, "abc");
	fd_close(&own);
	fd_close(&fd);
}

static void test_private_socket_keeps_shared_flags(void **state)
{
	int ends[2], own;

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
	assert_int_equal(fd_private_nonblock(ends[0], &own), ERR_OK);
	assert_true(fcntl(own, F_GETFD) & FD_CLOEXEC);
	assert_false(fcntl(ends[0], F_GETFL) & O_NONBLOCK);
	fd_close(&own);
	fd_close(&ends[0]);
	fd_close(&ends[1]);
	assert_int_equal(fd_private_nonblock(-1, &own), ERR_SYS);
	assert_int_equal(errno, EBADF);
}

#define case_of(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		case_of(test_pidfd),
		case_of(test_shared_segment),
		case_of(test_close_all_but),
		case_of(test_private_pipe),
		case_of(test_private_device),
		case_of(test_private_file_shares_its_offset),
		case_of(test_private_socket_keeps_shared_flags),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
