/* proc_spawn(): from "this command" to "it runs, here is its pid".  Called by
 * the master.
 *
 *   parent                            child
 *   block all signals
 *   fork ───────────────────────────► own process group
 *   pidfd, spec->on_forked            default dispositions
 *                                     control group, limits, nice, processors
 *   a byte on the go pipe             stdin, stdout, stderr; nothing else
 *   wait on the report pipe           user, directory; wait for the byte, and end without it
 *        │◄── end of file ─────────── exec            (the pipe is close-on-exec)
 *        │◄── stage and errno ─────── or what failed, then _exit
 *
 * The child allocates nothing and touches no stdio: it is a copy of a process
 * whose buffers are not its own.
 */
#include "common/proc.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/fd.h"

/* Where execvp() looks when the environment has no PATH. */
#define DEFAULT_PATH "/bin:/usr/bin"

enum stage {
	STAGE_FORK = 0,
	STAGE_STDIO,
	STAGE_CGROUP,
	STAGE_LIMITS,
	STAGE_NICE,
	STAGE_CPUS,
	STAGE_USER,
	STAGE_DIRECTORY,
	STAGE_EXEC,
	STAGE_MAX
};

static const char *const stage_names[STAGE_MAX] = {
	[STAGE_FORK] = "fork",
	[STAGE_STDIO] = "set up stdin, stdout and stderr",
	[STAGE_CGROUP] = "enter its control group",
	[STAGE_LIMITS] = "set its limits",
	[STAGE_NICE] = "set its nice value",
	[STAGE_CPUS] = "bind it to its cpus",
	[STAGE_USER] = "become user",
	[STAGE_DIRECTORY] = "change to directory",
	[STAGE_EXEC] = "execute",
};

struct report {
	uint32_t stage; /* enum stage */
	int32_t error;  /* errno */
};

/* ---- the child --------------------------------------------------------- */

NORETURN static void report_and_exit(int report_fd, enum stage stage)
{
	struct report r = { .stage = stage, .error = errno };
	ssize_t n;

	do
		n = write(report_fd, &r, sizeof(r));
	while (n < 0 && errno == EINTR);
	_exit(127);
}

/* Handlers die with exec anyway, but an ignored signal would stay ignored. */
static void reset_signals(void)
{
	struct sigaction dfl = { .sa_handler = SIG_DFL };
	sigset_t none;

	for (int signo = 1; signo < NSIG; signo++)
		sigaction(signo, &dfl, NULL); /* some refuse: KILL, STOP, libc's own */
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

/* `fd`, or a copy of it that is out of the way of 0, 1 and 2; -1 with errno. */
static int above_stdio(int fd)
{
	return fd < 0 || fd > 2 ? fd : fcntl(fd, F_DUPFD_CLOEXEC, 3);
}

/* Puts `sources` at 0, 1 and 2.  First all of them above 2, so that none is
 * overwritten before its turn. */
static bool place_stdio(const int sources[static 3])
{
	int safe[3];

	for (int i = 0; i < 3; i++) {
		bool given = sources[i] >= 0;
		safe[i] = above_stdio(given ? sources[i] : open("/dev/null", O_RDWR | O_CLOEXEC));
		if (safe[i] < 0)
			return false;
	}
	for (int i = 0; i < 3; i++) {
		if (dup2(safe[i], i) < 0)
			return false;
	}
	return true;
}

static const char *find_path(char *const *env)
{
	for (; *env; env++) {
		if (strncmp(*env, "PATH=", 5) == 0)
			return *env + 5;
	}
	return DEFAULT_PATH;
}

/* Whether an error of one candidate lets the search go on (as in execvp). */
static bool try_next(int error)
{
	return error == ENOENT || error == ENOTDIR || error == EACCES || error == ESTALE ||
	       error == ENODEV || error == ETIMEDOUT || error == ENAMETOOLONG;
}

/* execvpe(), but with the PATH of `env` instead of ours, and without handing a
 * file of unknown format to a shell.  Returns only on failure, with errno:
 * EACCES when something of that name was found that may not be executed. */
static void exec_search(char *const *argv, char *const *env)
{
	const char *name = argv[0], *dir = find_path(env);
	char path[PATH_MAX];
	bool denied = false;

	if (!name || !*name) {
		errno = ENOENT;
		return;
	}
	if (strchr(name, '/')) {
		execve(name, argv, env);
		return;
	}
	size_t name_bytes = strlen(name) + 1;
	errno = ENOENT;
	for (;;) {
		size_t n = strcspn(dir, ":");
		if (n + 1 + name_bytes > sizeof(path)) {
			errno = ENAMETOOLONG;
		} else {
			memcpy(path, dir, n);
			path[n] = '/';
			/* An empty element is the current directory. */
			memcpy(path + (n ? n + 1 : 0), name, name_bytes);
			execve(path, argv, env);
		}
		denied |= errno == EACCES;
		if (!try_next(errno))
			return;
		if (dir[n] == '\0')
			break;
		dir += n + 1;
	}
	if (denied)
		errno = EACCES;
}

/* While it still has the caller's rights. */
static void limit_ourselves(const struct proc_spec *spec, int cgroup_fd, int report_fd)
{
	if (spec->cgroup_fd > 0 && write(cgroup_fd, "0", 1) != 1)
		report_and_exit(report_fd, STAGE_CGROUP);
	for (size_t i = 0; i < spec->n_limits; i++) {
		uint64_t value = spec->limits[i].value;
		const struct rlimit limit = { .rlim_cur = value, .rlim_max = value };
		if (setrlimit((__rlimit_resource_t)spec->limits[i].resource, &limit) != 0)
			report_and_exit(report_fd, STAGE_LIMITS);
	}
	if (spec->nice && setpriority(PRIO_PROCESS, 0, spec->nice) != 0)
		report_and_exit(report_fd, STAGE_NICE);
	if (spec->cpus && sched_setaffinity(0, sizeof(*spec->cpus), spec->cpus) != 0)
		report_and_exit(report_fd, STAGE_CPUS);
}

/* The caller has written us down, or has died: then nobody would ever find us. */
static void await_go(int go_fd)
{
	char byte;
	ssize_t n;

	do
		n = read(go_fd, &byte, 1);
	while (n < 0 && errno == EINTR);
	if (n != 1)
		_exit(127);
}

NORETURN static void run_child(const struct proc_spec *spec, int report_fd, int go_fd)
{
	const int keep[6] = { spec->stdin_fd, spec->stdout_fd, spec->stderr_fd, report_fd,
			      spec->cgroup_fd > 0 ? spec->cgroup_fd : -1, go_fd };

	setpgid(0, 0);
	reset_signals();
	/* Twice: now to have room, even where the parent is at its limit, and then
	 * for what was only on the way to 0-2. */
	fd_close_all_but(keep, ARRAY_LEN(keep));
	int report_above = above_stdio(report_fd);
	if (report_above < 0)
		report_and_exit(report_fd, STAGE_STDIO);
	report_fd = report_above;
	go_fd = above_stdio(go_fd);
	if (!place_stdio(keep))
		report_and_exit(report_fd, STAGE_STDIO);
	int cgroup_fd = above_stdio(keep[4]);
	limit_ourselves(spec, cgroup_fd, report_fd);
	const int last[2] = { report_fd, go_fd };
	fd_close_all_but(last, ARRAY_LEN(last));
	if (proc_become(&spec->user))
		report_and_exit(report_fd, STAGE_USER);
	/* What a service manager gave us for low ports is not for the application. */
	(void)prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
	/* As the user: what root may enter and the user may not would only fail
	 * later, in the application. */
	if (spec->directory && chdir(spec->directory) != 0)
		report_and_exit(report_fd, STAGE_DIRECTORY);
	if (go_fd >= 0)
		await_go(go_fd);
	exec_search(spec->argv, spec->env);
	report_and_exit(report_fd, STAGE_EXEC);
}

/* ---- the parent -------------------------------------------------------- */

/* Forks with all signals blocked, so that no handler of ours runs in the child
 * before it has put them back. */
static pid_t fork_quietly(const struct proc_spec *spec, int report_fd, int go_fd)
{
	sigset_t all, old;

	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, &old);
	pid_t pid = fork();
	if (pid == 0)
		run_child(spec, report_fd, go_fd);
	int error = errno;
	sigprocmask(SIG_SETMASK, &old, NULL);
	errno = error;
	return pid;
}

static void reap(pid_t pid)
{
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
}

/* True when exec has happened; else *ret_report says what did not. */
static bool await_exec(int report_fd, struct report *ret_report)
{
	ssize_t n;

	do
		n = read(report_fd, ret_report, sizeof(*ret_report));
	while (n < 0 && errno == EINTR);
	return n != sizeof(*ret_report);
}

static enum err fail(struct proc_failure *ret_failure, enum stage stage, int error)
{
	*ret_failure = (struct proc_failure){ .stage = stage_names[stage], .error = error };
	errno = error;
	return ERR_SYS;
}

enum err proc_spawn(const struct proc_spec *spec, pid_t *ret_pid, int *ret_pidfd,
		    struct proc_failure *ret_failure)
{
	struct report report;
	int pipe_fds[2], go[2] = { -1, -1 }, pidfd;

	if (pipe2(pipe_fds, O_CLOEXEC) != 0)
		return fail(ret_failure, STAGE_FORK, errno);
	bool ready = !spec->on_forked || pipe2(go, O_CLOEXEC) == 0;
	pid_t pid = ready ? fork_quietly(spec, pipe_fds[1], go[0]) : -1;
	int fork_error = errno;
	fd_close(&pipe_fds[1]);
	fd_close(&go[0]);
	if (pid < 0) {
		fd_close(&pipe_fds[0]);
		fd_close(&go[1]);
		return fail(ret_failure, STAGE_FORK, fork_error);
	}
	setpgid(pid, pid); /* here too: the group must stand before we signal it */
	if (fd_of_pid(pid, &pidfd)) {
		int error = errno;
		fd_close(&pipe_fds[0]);
		fd_close(&go[1]);
		kill(pid, SIGKILL);
		reap(pid);
		return fail(ret_failure, STAGE_FORK, error);
	}
	if (spec->on_forked) {
		spec->on_forked(spec->arg, pid);
		(void)!write(go[1], "", 1); /* it has died, or reads it */
		fd_close(&go[1]);
	}
	bool running = await_exec(pipe_fds[0], &report);
	fd_close(&pipe_fds[0]);
	if (!running) {
		reap(pid);
		fd_close(&pidfd);
		return fail(ret_failure, report.stage, report.error);
	}
	*ret_pid = pid;
	*ret_pidfd = pidfd;
	return ERR_OK;
}
