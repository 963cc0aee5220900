/* common/proc.c: identity, titles, limits, facts.  The program also runs as its
 * own child: "title" renames itself and prints what is to be seen. */
#include "lib/check.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "common/fd.h"
#include "common/proc.h"
#include "lib/process.h"

static char self[256]; /* this program */

static int title(int argc, char **argv)
{
	char line[4096];

	proc_title_init(argc, argv);
	proc_title("%s", argv[2]);
	int fd = open("/proc/self/cmdline", O_RDONLY);
	ssize_t n = read(fd, line, sizeof(line) - 1);
	line[MAX(n, 0)] = '\0';
	printf("%s\n", line);
	printf("%s %s %s\n", argv[1], getenv("MARK"), program_invocation_short_name);
	return 0;
}

/* ---- identity ---------------------------------------------------------- */

static void test_find_user(void **state)
{
	static const struct {
		const char *name;
		enum err want;
		uid_t uid;
		const char *found;
	} rows[] = {
		{ "root", ERR_OK, 0, "root" },
		{ "0", ERR_OK, 0, "root" },
		{ "00", ERR_OK, 0, "root" },
		{ "no-such-user", ERR_MISSING, 0, NULL },
		{ "", ERR_MISSING, 0, NULL },
		{ "-1", ERR_MISSING, 0, NULL },
		{ "0x0", ERR_MISSING, 0, NULL },
		{ " 0", ERR_MISSING, 0, NULL },
		{ "4294967295", ERR_MISSING, 0, NULL }, /* (uid_t)-1 */
		{ "4294967296", ERR_MISSING, 0, NULL }, /* 0 modulo 2^32 */
		{ "ROOT", ERR_MISSING, 0, NULL },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct proc_user user = { .uid = 4711 };
		check_row_int(rows[i].name, proc_find_user(rows[i].name, &user), rows[i].want);
		check_row_int(rows[i].name, user.uid, rows[i].found ? rows[i].uid : 4711);
		check_row_int(rows[i].name, user.set, rows[i].found != NULL);
		if (rows[i].found)
			check_row_text(rows[i].name, user.name, rows[i].found);
	}
}

/* 0, or the number of the step that went wrong. */
static int become_for_good(void *arg)
{
	const struct proc_user *nobody = arg;
	struct proc_user root = { .uid = 0, .gid = 0, .name = "root", .set = true };
	struct proc_user unset = { .uid = 0, .set = false };
	gid_t groups[64] = { 0, 1 };

	if (setgroups(2, groups) != 0 || proc_become(nobody))
		return 1;
	if (getuid() != nobody->uid || geteuid() != nobody->uid || getgid() != nobody->gid)
		return 2;
	int n = getgroups(64, groups);
	for (int i = 0; i < n; i++) {
		if (groups[i] == 0 || groups[i] == 1)
			return 3;
	}
	if (setuid(0) == 0 || seteuid(0) == 0 || setgid(0) == 0)
		return 4;
	if (proc_become(nobody)) /* again is no error */
		return 5;
	if (proc_become(&unset))
		return 6;
	if (proc_become(&root) != ERR_SYS || errno != EPERM)
		return 7;
	return 0;
}

/* Half a way down: the saved uid still is root's. */
static int become_from_effective_only(void *arg)
{
	const struct proc_user *nobody = arg;
	uid_t r, e, s;

	if (seteuid(nobody->uid) != 0)
		return 1;
	if (proc_become(nobody) == ERR_OK &&
	    (getresuid(&r, &e, &s) != 0 || r == 0 || e == 0 || s == 0))
		return 2;
	return 0;
}

static void test_become(void **state)
{
	struct proc_user nobody;

	(void)state;
	if (getuid() != 0 || proc_find_user("nobody", &nobody))
		skip();
	assert_int_equal(in_child(become_for_good, &nobody), 0);
	assert_int_equal(in_child(become_from_effective_only, &nobody), 0);
	assert_int_equal(getuid(), 0);
}

/* ---- title, limits, facts ---------------------------------------------- */

/* Runs this program with "title", `name` and MARK in its environment; what it
 * prints goes to `text`. */
static void run_title(const char *name, char *text, size_t room)
{
	char *argv[] = { self, (char *)"title", (char *)(uintptr_t)name, NULL };
	char *env[] = { (char *)"MARK=still here", NULL };
	size_t have = 0;
	int pipe_fds[2];
	ssize_t n;

	assert_int_equal(pipe2(pipe_fds, O_CLOEXEC), 0);
	pid_t pid = fork();
	if (pid == 0) {
		dup2(pipe_fds[1], 1);
		execve(self, argv, env);
		_exit(127);
	}
	fd_close(&pipe_fds[1]);
	while ((n = read(pipe_fds[0], text + have, room - 1 - have)) > 0)
		have += (size_t)n;
	text[have] = '\0';
	fd_close(&pipe_fds[0]);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
}

static void test_title(void **state)
{
	static char huge[3000];
	char text[8192], last_line[256];

	(void)state;
	snprintf(last_line, sizeof(last_line), "title still here %s\n", strrchr(self, '/') + 1);
	run_title("drover: balancer 1", text, sizeof(text));
	assert_memory_equal(text, "drover: balancer 1\n", 19);
	assert_string_equal(text + 19, last_line);
	/* Longer than its own place in argv, it uses what is left of all. */
	memset(huge, 'x', sizeof(huge) - 1);
	run_title(huge, text, sizeof(text));
	assert_memory_equal(text, huge, sizeof(huge) - 1);
	assert_string_equal(text + sizeof(huge), last_line);
}

/* A title that finds no room is cut, and nothing beyond is touched. */
static int cut_title(void *arg)
{
	static char place[] = "drover\0-c\0X=1\0beyond";
	char *argv[] = { place, place + 7, NULL };
	char *env[] = { place + 10, NULL };
	extern char **environ;

	(void)arg;
	environ = env;
	proc_title_init(2, argv);
	proc_title("%s", "0123456789abcdef");
	if (strcmp(place, "0123456789abc") != 0 || strcmp(place + 14, "beyond") != 0)
		return 1;
	if (strcmp(argv[0], "drover") != 0 || strcmp(argv[1], "-c") != 0)
		return 2;
	if (strcmp(getenv("X"), "1") != 0)
		return 3;
	proc_title("%d", 7); /* shorter: nothing of the longer one is left */
	return memcmp(place, "7\0\0\0\0\0\0\0\0\0\0\0\0\0beyond", 20) == 0 ? 0 : 4;
}

static void test_title_is_cut(void **state)
{
	(void)state;
	assert_int_equal(in_child(cut_title, NULL), 0);
}

static int raise_nofile(void *arg)
{
	struct rlimit limit;

	(void)arg;
	getrlimit(RLIMIT_NOFILE, &limit);
	limit.rlim_cur = 32;
	setrlimit(RLIMIT_NOFILE, &limit);
	uint64_t raised = proc_raise_nofile();
	if (raised != limit.rlim_max)
		return 1;
	getrlimit(RLIMIT_NOFILE, &limit);
	return limit.rlim_cur == raised && proc_raise_nofile() == raised ? 0 : 2;
}

static void test_raise_nofile(void **state)
{
	(void)state;
	assert_int_equal(in_child(raise_nofile, NULL), 0);
}

static void test_start_ticks(void **state)
{
	struct timespec t;
	char name[16];

	(void)state;
	uint64_t ticks = proc_start_ticks(getpid());
	clock_gettime(CLOCK_BOOTTIME, &t);
	assert_in_range(ticks, 1, (uint64_t)(t.tv_sec + 1) * (uint64_t)sysconf(_SC_CLK_TCK));
	/* A name made to look like the fields after it. */
	prctl(PR_GET_NAME, name);
	prctl(PR_SET_NAME, "x) S 1 (2 3) 4");
	assert_int_equal(proc_start_ticks(getpid()), ticks);
	prctl(PR_SET_NAME, name);

	pid_t pid = fork();
	if (pid == 0)
		_exit(0);
	siginfo_t info;
	assert_int_equal(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT), 0);
	assert_true(proc_start_ticks(pid) >= ticks); /* a zombie still has one */
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	assert_int_equal(proc_start_ticks(pid), 0);
	assert_int_equal(proc_start_ticks(0), 0);
	assert_int_equal(proc_start_ticks(-1), 0);
}

/* ---- ends of others' children -------------------------------------------- */

static int exits(void)
{
	return 3;
}

static int is_killed(void)
{
	return raise(SIGKILL);
}

/* A child of a child of ours: it ends at a byte in the first socket, and its parent takes
 * the status at one in the second, and then ends too. */
static pid_t grandchild(int (*end)(void), int theirs[2], int ours[2], pid_t *ret_parent)
{
	int pairs[2][2];
	pid_t pid;
	char byte;

	for (int i = 0; i < 2; i++) {
		assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pairs[i]), 0);
		theirs[i] = pairs[i][0];
		ours[i] = pairs[i][1];
	}
	*ret_parent = fork();
	if (*ret_parent == 0) {
		pid = fork();
		if (pid == 0)
			_exit(read(theirs[0], &byte, 1) == 1 ? end() : 9);
		_exit(write(theirs[1], &pid, sizeof(pid)) != sizeof(pid) ||
		      read(theirs[1], &byte, 1) != 1 || waitpid(pid, NULL, 0) != pid);
	}
	assert_int_equal(read(ours[1], &pid, sizeof(pid)), sizeof(pid));
	return pid;
}

/* Linux 6.15 and later. */
static bool kernel_shows_it(void)
{
	struct utsname u;
	unsigned major, minor;

	return uname(&u) == 0 && sscanf(u.release, "%u.%u", &major, &minor) == 2 &&
	       (major > 6 || (major == 6 && minor >= 15));
}

static void check_grandchild(int (*end)(void), int code, int status)
{
	int theirs[2], ours[2], pidfd, parent_status;
	siginfo_t si;
	pid_t parent, pid = grandchild(end, theirs, ours, &parent);

	assert_int_equal(fd_of_pid(pid, &pidfd), ERR_OK);
	assert_false(proc_reap(pid, pidfd, &si));
	assert_int_equal(write(ours[0], "x", 1), 1);
	assert_int_equal(poll(&(struct pollfd){ .fd = pidfd, .events = POLLIN }, 1, 10000), 1);
	assert_true(proc_reap(pid, pidfd, &si));
	assert_true(si.si_code == PROC_STATUS_PENDING || si.si_code == PROC_STATUS_UNKNOWN);
	assert_int_equal(write(ours[1], "x", 1), 1);
	assert_int_equal(waitpid(parent, &parent_status, 0), parent);
	assert_int_equal(parent_status, 0);
	assert_true(proc_reap(pid, pidfd, &si));
	assert_int_equal(si.si_pid, pid);
	if (kernel_shows_it()) {
		assert_int_equal(si.si_code, code);
		assert_int_equal(si.si_status, status);
	}
	for (int i = 0; i < 2; i++)
		close(theirs[i]), close(ours[i]);
	close(pidfd);
}

static void test_status_of_others_children(void **state)
{
	(void)state;
	check_grandchild(exits, CLD_EXITED, 3);
	check_grandchild(is_killed, CLD_KILLED, SIGKILL);
}

static void test_exit_text(void **state)
{
	static const struct {
		int code, status;
		const char *want;
	} rows[] = {
		{ CLD_EXITED, 0, "exit status 0" },
		{ CLD_EXITED, 255, "exit status 255" },
		{ CLD_EXITED, 9, "exit status 9" },
		{ CLD_KILLED, SIGKILL, "signal 9 (SIGKILL)" },
		{ CLD_KILLED, SIGTERM, "signal 15 (SIGTERM)" },
		{ CLD_DUMPED, SIGSEGV, "signal 11 (SIGSEGV), core dumped" },
		{ CLD_KILLED, 40, "signal 40" },
		{ CLD_KILLED, 0, "signal 0" },
		{ CLD_KILLED, -7, "signal -7" },
		{ CLD_KILLED, 1000000, "signal 1000000" },
		{ PROC_STATUS_UNKNOWN, 0, "with a status that only its parent was told" },
	};
	char buf[64];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		check_row_text(rows[i].want, proc_exit_text(rows[i].code, rows[i].status, buf),
			       rows[i].want);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_find_user),
		cmocka_unit_test(test_become),
		cmocka_unit_test(test_title),
		cmocka_unit_test(test_title_is_cut),
		cmocka_unit_test(test_raise_nofile),
		cmocka_unit_test(test_start_ticks),
		cmocka_unit_test(test_status_of_others_children),
		cmocka_unit_test(test_exit_text),
	};

	if (argc > 1 && strcmp(argv[1], "title") == 0)
		return title(argc, argv);
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	self[MAX(n, 0)] = '\0';
	return cmocka_run_group_tests(tests, NULL, NULL);
}
