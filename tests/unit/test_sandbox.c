/* balancer/sandbox/sandbox.h: what a process inside can and cannot do, call by call; what is
 * said of a call that is not allowed; kernels that lack one half or the other. */
#include "lib/check.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "balancer/sandbox/landlock.h"
#include "balancer/sandbox/sandbox.h"
#include "common/fd.h"
#include "common/log.h"
#include "lib/process.h"

#define SKIPPED 77
#define REFUSED (1000 + SIGSYS)
#define ABORTED (1000 + SIGABRT)

static bool wide; /* a build with sanitizers */
static int log_pipe[2];

/* Errors of a call are the caller's affair: it was made, that is all. */
static void call(long number, long a, long b, long c)
{
	(void)!syscall(number, a, b, c, 0, 0, 0);
}

/* ---- what the roles may do ---------------------------------------------- */

static void do_memory(void)
{
	char *volatile p = malloc(1 << 20);

	p = realloc(p, 8 << 20);
	p[0] = 1;
	free(p);
}

static void do_connect(void)
{
	struct addr a = addr_ipv4_loopback(1);
	bool done;
	int fd;

	if (fd_connect(&a, &fd, &done) == ERR_OK)
		fd_reset(&fd);
}

static void do_time(void)
{
	struct tm tm;
	time_t now = time(NULL);

	localtime_r(&now, &tm);
	nanosleep(&(struct timespec){ .tv_nsec = 1 }, NULL);
}

static void do_reopen(void)
{
	log_to_fd(log_fd());
	log_error("x");
}

static void do_half_close(void)
{
	call(SYS_shutdown, log_pipe[1], SHUT_WR, 0);
}
static void do_abort(void)
{
	abort();
}

static void do_open(void)
{
	(void)!open("/etc/passwd", O_RDONLY);
}
static void do_create(void)
{
	call(SYS_mknod, (long)"/tmp/x", S_IFREG, 0);
}
static void do_unlink(void)
{
	call(SYS_unlinkat, AT_FDCWD, (long)"/nowhere/x", 0);
}
static void do_fork(void)
{
	if (fork() == 0)
		_exit(0);
}
static void do_exec(void)
{
	execl("/nowhere", "x", (char *)NULL);
}
static void do_kill(void)
{
	kill(getppid(), 0);
}
static void do_abort_other(void)
{
	call(SYS_tgkill, getpid(), (long)syscall(SYS_gettid), SIGTERM);
}
static void do_trace(void)
{
	call(SYS_ptrace, 0, 0, 0);
}
static void do_setuid(void)
{
	call(SYS_setresuid, 0, 0, 0);
}
static void do_bind(void)
{
	call(SYS_bind, 0, 0, 0);
}
static void do_listen(void)
{
	call(SYS_listen, 0, 0, 0);
}
static void do_close_both(void)
{
	call(SYS_shutdown, log_pipe[1], SHUT_RDWR, 0);
}
static void do_datagrams(void)
{
	call(SYS_socket, AF_INET, SOCK_DGRAM, 0);
}
static void do_netlink(void)
{
	call(SYS_socket, AF_NETLINK, SOCK_STREAM, 0);
}
static void do_filter_port(void)
{
	(void)setsockopt(0, SOL_SOCKET, SO_REUSEPORT, &(int){ 1 }, 4);
}
static void do_new_ring(void)
{
	call(SYS_io_uring_setup, 1, 0, 0);
}
static void do_flags(void)
{
	(void)fcntl(0, F_SETFL, 0);
}
static void do_write_again(void)
{
	call(SYS_mprotect, 0, 4096, PROT_READ | PROT_WRITE);
}
static void do_code(void)
{
	(void)!mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}
static void do_unfilter(void)
{
	call(SYS_prctl, PR_SET_DUMPABLE, 1, 0);
}
static void do_handler(void)
{
	signal(SIGSYS, SIG_IGN);
}

enum {
	SERVERS = 1 << SANDBOX_BALANCER | 1 << SANDBOX_MONITOR,
	NET = SERVERS | 1 << SANDBOX_PROBE,
	ALL = NET | 1 << SANDBOX_WRITER
};

static const struct {
	const char *row;
	void (*act)(void);
	int allowed;      /* roles */
	int wide;         /* roles, in a build with sanitizers */
	int end;          /* of those that are allowed */
	const char *name; /* in the log */
} rows[] = {
	{ "memory", do_memory, ALL, ALL, 0, NULL },
	{ "connections", do_connect, NET, NET, 0, "socket" },
	{ "time", do_time, SERVERS, ALL, 0, NULL },
	{ "a new log", do_reopen, SERVERS, ALL, 0, NULL },
	{ "half close", do_half_close, SERVERS, SERVERS, 0, "shutdown" },
	{ "abort", do_abort, ALL, ALL, ABORTED, NULL },
	{ "open", do_open, 0, ALL, 0, "openat" },
	{ "create", do_create, 0, 0, 0, "mknod" },
	{ "unlink", do_unlink, 0, 0, 0, "unlinkat" },
	{ "fork", do_fork, 0, ALL, 0, "clone" },
	{ "exec", do_exec, 0, ALL, 0, "execve" },
	{ "signals", do_kill, 0, ALL, 0, NULL },
	{ "signals but SIGABRT", do_abort_other, 0, ALL, 1000 + SIGTERM, "tgkill" },
	{ "trace", do_trace, 0, ALL, 0, "ptrace" },
	{ "another user", do_setuid, 0, 0, 0, "setresuid" },
	{ "bind", do_bind, 0, 0, 0, "bind" },
	{ "listen", do_listen, 0, 0, 0, "listen" },
	{ "close for all", do_close_both, 0, 0, 0, "shutdown" },
	{ "datagrams", do_datagrams, 0, 0, 0, "socket" },
	{ "netlink", do_netlink, 0, 0, 0, "socket" },
	{ "options of listening sockets", do_filter_port, 0, 0, 0, "setsockopt" },
	{ "a ring", do_new_ring, 0, 0, 0, "io_uring_setup" },
	{ "flags of shared descriptors", do_flags, 0, ALL, 0, "fcntl" },
	{ "write to what is read-only", do_write_again, 0, ALL, 0, "mprotect" },
	{ "code", do_code, 0, ALL, 0, "mmap" },
	{ "dumpable again", do_unfilter, 0, ALL, 0, "prctl" },
	{ "a handler for it", do_handler, 0, ALL, 0, "rt_sigaction" },
};

struct job {
	struct sandbox sandbox;
	void (*before)(void);
	void (*act)(void);
};

static int run_job(void *arg)
{
	const struct job *job = arg;
	struct proc_user nobody = { .set = false };
	struct sandbox s = job->sandbox;
	const char *stage;

	s.user = &nobody;
	signal(SIGABRT, SIG_DFL);
	if (job->before)
		job->before();
	if (sandbox_enter(&s, &stage)) {
		log_error("cannot %s", stage);
		return SKIPPED;
	}
	if (sandbox_seal(&s)) {
		log_error("cannot seal");
		return SKIPPED + 1;
	}
	if (job->act)
		job->act();
	return 0;
}

static char logged[4096];

static int run(struct job *job)
{
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, log_pipe) != 0)
		return -1;
	log_to_fd(log_pipe[1]);
	int end = in_child(run_job, job);
	log_to_fd(STDERR_FILENO);
	ssize_t n = read(log_pipe[0], logged, sizeof(logged) - 1);
	logged[MAX(n, 0)] = '\0';
	fd_close(&log_pipe[0]);
	fd_close(&log_pipe[1]);
	return end;
}

static void test_calls(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		for (int role = 0; role < SANDBOX_ROLE_MAX; role++) {
			struct job job = { .sandbox = { .role = (enum sandbox_role)role },
					   .act = rows[i].act };
			int allowed = (wide ? rows[i].wide : rows[i].allowed) & 1 << role;
			check_row_int(rows[i].row, run(&job), allowed ? rows[i].end : REFUSED);
			if (allowed)
				continue;
			check_row(rows[i].row,
				  strstr(logged, " error ") &&
					  strstr(logged, ": stopped by its sandbox: it called "));
			if (rows[i].name && !strstr(logged, rows[i].name))
				fail_msg("%s: not named: %s", rows[i].row, logged);
		}
	}
}

static void test_off(void **state)
{
	struct job job = { .sandbox = { .off = true }, .act = do_listen };

	(void)state;
	assert_int_equal(run(&job), 0);
	job.act = do_open;
	assert_int_equal(run(&job), 0);
}

/* ---- what remains of rights --------------------------------------------- */

static void exit_if(bool bad, int status)
{
	if (bad)
		_exit(status);
}

static void check_rights(void)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct caps[2];
	struct rlimit limit;

	exit_if(syscall(SYS_capget, &head, caps) != 0, 10);
	for (int i = 0; i < 2; i++)
		exit_if(caps[i].effective || caps[i].permitted || caps[i].inheritable, 11);
	exit_if(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1, 12);
	exit_if(prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) != 0, 13);
	exit_if(getrlimit(RLIMIT_CORE, &limit) != 0 || limit.rlim_max != 0, 14);
	exit_if(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, CAP_NET_BIND_SERVICE, 0, 0) != 0, 15);
}

/* As Landlock alone has it, without the filter: what a call that the filter leaves would meet. */
static void check_files(void)
{
	struct sockaddr_in any = { .sin_family = AF_INET };
	int fd = open("/tmp/drover-test-landlock", O_CREAT | O_WRONLY, 0600);

	exit_if(fd >= 0 || errno != EACCES, 20);
	exit_if(!wide && (open("/etc/passwd", O_RDONLY) >= 0 || errno != EACCES), 21);
	if (landlock_version() < 4)
		return;
	fd = socket(AF_INET, SOCK_STREAM, 0);
	exit_if(bind(fd, (void *)&any, sizeof(any)) == 0 || errno != EACCES, 22);
}

static int enter_only(void *arg)
{
	const struct job *job = arg;
	struct proc_user nobody = { .set = false };
	struct sandbox s = job->sandbox;
	const char *stage;

	s.user = &nobody;
	if (sandbox_enter(&s, &stage))
		return 1;
	job->act();
	return 0;
}

static void test_rights(void **state)
{
	struct job job = { .act = check_rights };

	(void)state;
	assert_int_equal(in_child(enter_only, &job), 0);
}

static void test_files(void **state)
{
	struct job job = { .act = check_files };

	(void)state;
	if (!landlock_version())
		skip();
	assert_int_equal(in_child(enter_only, &job), 0);
}

static int listen_somewhere(uint16_t *ret_port)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
	socklen_t n = sizeof(a);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_int_equal(bind(fd, (void *)&a, n), 0);
	assert_int_equal(listen(fd, 4), 0);
	assert_int_equal(getsockname(fd, (void *)&a, &n), 0);
	*ret_port = ntohs(a.sin_port);
	return fd;
}

static uint16_t ports[2];

static void check_port(void)
{
	for (int i = 0; i < 2; i++) {
		struct addr a = addr_ipv4_loopback(ports[i]);
		int fd = socket(AF_INET, SOCK_STREAM, 0);
		bool met = connect(fd, &a.sa, a.len) == 0;
		exit_if(met != (i == 0), 30 + i);
	}
}

static void test_only_port(void **state)
{
	struct job job = { .sandbox = { .role = SANDBOX_PROBE }, .act = check_port };

	(void)state;
	if (landlock_version() < 4)
		skip();
	int fds[2] = { listen_somewhere(&ports[0]), listen_somewhere(&ports[1]) };
	job.sandbox.connect_port = ports[0];
	int end = in_child(enter_only, &job);
	fd_close(&fds[0]);
	fd_close(&fds[1]);
	assert_int_equal(end, 0);
}

/* ---- kernels that lack something ---------------------------------------- */

static unsigned lack_error = ENOSYS;

/* From here on `number` fails with lack_error; unless `any`, only when its first argument is
 * `first`. */
static void lack(unsigned number, unsigned first, bool any)
{
	const struct sock_filter ops[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number, 0, 3),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[0])),
		BPF_JUMP(BPF_JMP | (any ? BPF_JGE : BPF_JEQ) | BPF_K, any ? 0 : first, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | lack_error),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { .len = ARRAY_LEN(ops),
				      .filter = (struct sock_filter *)(uintptr_t)ops };

	exit_if(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
			prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0,
		40);
}

static void lack_landlock(void)
{
	lack(SYS_landlock_create_ruleset, 0, true);
}
static void lack_new_seccomp(void)
{
	lack(SYS_seccomp, 0, true);
}
static void keep_from_both(void) /* as systemd's @system-service does */
{
	lack_error = EPERM;
	lack(SYS_seccomp, 0, true);
	lack(SYS_landlock_create_ruleset, 0, true);
}
static void lack_seccomp(void)
{
	lack(SYS_seccomp, 0, true);
	lack_error = EINVAL;
	lack(SYS_prctl, PR_SET_SECCOMP, false);
}

static void test_lacks(void **state)
{
	static const struct {
		const char *row;
		void (*before)(void);
		bool required;
		int end;
	} kernels[] = {
		{ "no Landlock", lack_landlock, false, REFUSED },
		{ "no Landlock, required", lack_landlock, true, SKIPPED },
		{ "no seccomp(2), but prctl(2)", lack_new_seccomp, true, REFUSED },
		{ "kept from seccomp(2) and Landlock", keep_from_both, false, REFUSED },
		{ "kept from seccomp(2) and Landlock, required", keep_from_both, true, SKIPPED },
		{ "no seccomp", lack_seccomp, false, 0 },
		{ "no seccomp, required", lack_seccomp, true, SKIPPED + 1 },
	};

	(void)state;
	if (!landlock_version())
		skip();
	for (size_t i = 0; i < ARRAY_LEN(kernels); i++) {
		struct job job = { .sandbox = { .required = kernels[i].required },
				   .before = kernels[i].before,
				   .act = do_listen };
		check_row_int(kernels[i].row, run(&job), kernels[i].end);
	}
}

static int look_without(void *arg)
{
	struct sandbox_kernel kernel;

	(void)arg;
	lack_landlock();
	sandbox_look(&kernel);
	return kernel.filter && !kernel.landlock && kernel.why[0] && !kernel.why[1] ? 0 : 1;
}

static void test_look(void **state)
{
	struct sandbox_kernel kernel;

	(void)state;
	sandbox_look(&kernel);
	assert_true(kernel.filter);
	assert_null(kernel.why[1]);
	assert_int_equal(in_child(look_without, NULL), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_calls),     cmocka_unit_test(test_off),
		cmocka_unit_test(test_rights),    cmocka_unit_test(test_files),
		cmocka_unit_test(test_only_port), cmocka_unit_test(test_lacks),
		cmocka_unit_test(test_look),
	};
	char *text = NULL;
	size_t n;
	FILE *out = open_memstream(&text, &n);

	sandbox_describe(out);
	fclose(out);
	wide = strstr(text, "wide") != NULL;
	bool without = strstr(text, "without") != NULL;
	free(text);
	if (without)
		return SKIPPED;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
