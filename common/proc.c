/* Processes: identity, limits, names, ends.  Spawning is spawn.c, counting
 * cores is cores.c. */
#include "common/proc.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/fd.h"
#include "common/mem.h"
#include "common/slice.h"

/* ---- identity ---------------------------------------------------------- */

/* One look into the user database with `room` bytes of scratch: 0 with *ret_user
 * filled, ENOENT when there is no such user, or an errno. */
static int look_up(const char *name, const uid_t *uid, char *scratch, size_t room,
		   struct proc_user *ret_user)
{
	struct passwd pw, *found = NULL;
	int error = uid ? getpwuid_r(*uid, &pw, scratch, room, &found)
			: getpwnam_r(name, &pw, scratch, room, &found);

	if (!found) {
		bool absent = error == 0 || error == ESRCH || error == EBADF || error == EPERM;
		return absent ? ENOENT : error;
	}
	if (strlen(pw.pw_name) >= sizeof(ret_user->name))
		return ENAMETOOLONG;
	*ret_user = (struct proc_user){ .uid = pw.pw_uid, .gid = pw.pw_gid, .set = true };
	strcpy(ret_user->name, pw.pw_name);
	return 0;
}

static enum err look_up_growing(const char *name, const uid_t *uid, struct proc_user *ret_user)
{
	int error = ERANGE;

	/* An entry's size has no limit (think of LDAP), our patience has. */
	for (size_t room = 4096; error == ERANGE && room <= 1024 * 1024; room *= 4) {
		char *scratch = mem_alloc(room);
		if (!scratch)
			return ERR_NOMEM;
		error = look_up(name, uid, scratch, room, ret_user);
		mem_free(scratch);
	}
	if (error == ENOENT)
		return ERR_MISSING;
	errno = error;
	return error ? ERR_SYS : ERR_OK;
}

enum err proc_find_user(const char *name, struct proc_user *ret_user)
{
	uint64_t number;

	/* A name first: POSIX allows names that are all digits. */
	enum err e = look_up_growing(name, NULL, ret_user);
	/* (uid_t)-1 means "no change" to the calls that take it. */
	if (e == ERR_MISSING && slice_to_u64(slice_of(name), UINT32_MAX - 1, &number) == ERR_OK)
		e = look_up_growing(NULL, &(uid_t){ (uid_t)number }, ret_user);
	return e;
}

/* Whether all three user ids are `uid` and, unless that is root's, root's cannot
 * be taken back. */
static bool is_only_uid(uid_t uid)
{
	uid_t r, e, s;

	if (getresuid(&r, &e, &s) != 0 || r != uid || e != uid || s != uid)
		return false;
	return uid == 0 || (setuid(0) != 0 && seteuid(0) != 0);
}

static bool is_only_gid(gid_t gid)
{
	gid_t r, e, s;

	return getresgid(&r, &e, &s) == 0 && r == gid && e == gid && s == gid;
}

enum err proc_become(const struct proc_user *user)
{
	if (!user->set)
		return ERR_OK;
	/* Already that user and not root: nothing to do, and no right to do it.
	 * The groups stay as whoever started us chose them. */
	if (user->uid != 0 && geteuid() == user->uid && is_only_uid(user->uid))
		return ERR_OK;
	if (initgroups(user->name, user->gid) != 0 ||
	    setresgid(user->gid, user->gid, user->gid) != 0 ||
	    setresuid(user->uid, user->uid, user->uid) != 0)
		return ERR_SYS;
	if (!is_only_gid(user->gid) || !is_only_uid(user->uid)) {
		errno = EPERM;
		return ERR_SYS;
	}
	return ERR_OK;
}

/* ---- title ------------------------------------------------------------- */

/* The kernel lays argv and the environment side by side; ps reads that place.
 * Both are moved to the heap and the place is ours for the title. */
static struct {
	char *start;
	size_t bytes;
	char **env;  /* our copy, for as long as the process lives */
	char *texts; /* its texts; in one piece, which stays known after an unsetenv() */
} title;

extern char **environ;

static void extend_over(char *const *texts)
{
	for (; *texts; texts++) {
		if (*texts == title.start + title.bytes)
			title.bytes += strlen(*texts) + 1;
	}
}

void proc_title_init(int argc, char **argv)
{
	size_t n = 0, bytes = 1;

	if (argc < 1)
		return;
	title.start = argv[0];
	extend_over(argv);
	extend_over(environ);
	for (; environ[n]; n++)
		bytes += strlen(environ[n]) + 1;
	title.env = mem_must_alloc((n + 1) * sizeof(char *));
	char *text = title.texts = mem_must_alloc(bytes);
	for (size_t i = 0; i < n; i++) {
		title.env[i] = strcpy(text, environ[i]);
		text += strlen(text) + 1;
	}
	environ = title.env;
	for (int i = 0; i < argc; i++)
		argv[i] = mem_must_dup(argv[i]);
	/* libc took these from the old argv[0]. */
	program_invocation_name = argv[0];
	char *slash = strrchr(argv[0], '/');
	program_invocation_short_name = slash ? slash + 1 : argv[0];
}

void proc_title(const char *fmt, ...)
{
	va_list ap;

	if (title.bytes < 2)
		return;
	memset(title.start, 0, title.bytes);
	va_start(ap, fmt);
	vsnprintf(title.start, title.bytes, fmt, ap);
	va_end(ap);
}

/* ---- limits and facts -------------------------------------------------- */

uint64_t proc_raise_nofile(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
		return 0;
	if (limit.rlim_cur < limit.rlim_max) {
		limit.rlim_cur = limit.rlim_max;
		if (setrlimit(RLIMIT_NOFILE, &limit) != 0 && getrlimit(RLIMIT_NOFILE, &limit) != 0)
			return 0;
	}
	return limit.rlim_cur;
}

enum err proc_parse_cpus(const char *text, cpu_set_t *ret_cpus)
{
	cpu_set_t cpus;

	CPU_ZERO(&cpus);
	for (;;) {
		size_t n = strspn(text, "0123456789");
		uint64_t from, to;
		if (slice_to_u64((struct slice){ text, n }, UINT64_MAX, &from))
			return ERR_SYNTAX;
		to = from;
		text += n;
		if (*text == '-') {
			n = strspn(++text, "0123456789");
			if (slice_to_u64((struct slice){ text, n }, UINT64_MAX, &to) || to < from)
				return ERR_SYNTAX;
			text += n;
		}
		if (to >= CPU_SETSIZE)
			return ERR_RANGE;
		for (uint64_t i = from; i <= to; i++)
			CPU_SET(i, &cpus);
		if (*text == '\0')
			break;
		if (*text++ != ',')
			return ERR_SYNTAX;
		text += *text == ' ';
	}
	*ret_cpus = cpus;
	return ERR_OK;
}

uint64_t proc_start_ticks(pid_t pid)
{
	enum { FIELD = 22, FIRST_AFTER_NAME = 3 };
	char path[64], text[1024];
	uint64_t ticks = 0;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return 0;
	ssize_t n = read(fd, text, sizeof(text));
	fd_close(&fd);
	/* From the last ')': the name in field 2 may hold anything. */
	const char *p = n > 0 ? memrchr(text, ')', (size_t)n) : NULL;
	if (!p || p + 2 >= text + n)
		return 0;
	struct slice rest = { p + 2, (size_t)(text + n - (p + 2)) };
	for (int field = FIRST_AFTER_NAME; rest.n; field++) {
		const char *space = memchr(rest.p, ' ', rest.n);
		size_t length = space ? (size_t)(space - rest.p) : rest.n;
		if (field == FIELD) {
			struct slice number = { rest.p, length };
			return slice_to_u64(number, UINT64_MAX, &ticks) == ERR_OK ? ticks : 0;
		}
		length += space ? 1 : 0;
		rest.p += length;
		rest.n -= length;
	}
	return 0;
}

/* ---- ends -------------------------------------------------------------- */

static const char *const signal_names[] = {
#define ROW(name) [name] = #name
	ROW(SIGHUP), ROW(SIGINT), ROW(SIGQUIT), ROW(SIGILL), ROW(SIGTRAP), ROW(SIGABRT),
	ROW(SIGBUS), ROW(SIGFPE), ROW(SIGKILL), ROW(SIGUSR1), ROW(SIGSEGV), ROW(SIGUSR2),
	ROW(SIGPIPE), ROW(SIGALRM), ROW(SIGTERM), ROW(SIGCHLD), ROW(SIGCONT), ROW(SIGSTOP),
	ROW(SIGTSTP), ROW(SIGTTIN), ROW(SIGTTOU), ROW(SIGURG), ROW(SIGXCPU), ROW(SIGXFSZ),
	ROW(SIGVTALRM), ROW(SIGPROF), ROW(SIGWINCH), ROW(SIGIO), ROW(SIGPWR), ROW(SIGSYS),
#undef ROW
};

/* As in linux/pidfd.h of Linux 6.15; Debian 12's headers are of 6.1.  Kernels before 6.13 do
 * not know the call, those before 6.15 not this part of the answer. */
struct pidfd_info_v0 {
	uint64_t mask, cgroup;
	uint32_t ids[11];
	int32_t exit_code; /* as wait(2) has it */
};
#define PIDFD_GET_INFO_V0 _IOWR(0xff, 11, struct pidfd_info_v0)
#define PIDFD_INFO_PID_BIT (UINT64_C(1) << 0)
#define PIDFD_INFO_EXIT_BIT (UINT64_C(1) << 3)

/* The status of somebody else's child: the kernel shows it when the parent has taken it. */
static void ask_kernel(int pidfd, siginfo_t *info)
{
	struct pidfd_info_v0 i = { .mask = PIDFD_INFO_PID_BIT | PIDFD_INFO_EXIT_BIT };

	if (ioctl(pidfd, PIDFD_GET_INFO_V0, &i) != 0)
		return;
	if (!(i.mask & PIDFD_INFO_EXIT_BIT)) {
		info->si_code = PROC_STATUS_PENDING;
		return;
	}
	if (WIFEXITED(i.exit_code)) {
		info->si_code = CLD_EXITED;
		info->si_status = WEXITSTATUS(i.exit_code);
	} else {
		info->si_code = WCOREDUMP(i.exit_code) ? CLD_DUMPED : CLD_KILLED;
		info->si_status = WTERMSIG(i.exit_code);
	}
}

bool proc_reap(pid_t pid, int pidfd, siginfo_t *ret_info)
{
	struct pollfd p = { .fd = pidfd, .events = POLLIN };
	siginfo_t info = { .si_pid = 0 };

	if (waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG) != 0) {
		if (errno != ECHILD || poll(&p, 1, 0) <= 0)
			return false;
		info = (siginfo_t){ .si_pid = pid, .si_code = PROC_STATUS_UNKNOWN };
		ask_kernel(pidfd, &info);
	}
	*ret_info = info;
	return info.si_pid != 0;
}

const char *proc_exit_text(int code, int status, char buf[static 64])
{
	if (code == PROC_STATUS_UNKNOWN || code == PROC_STATUS_PENDING) {
		snprintf(buf, 64, "with a status that only its parent was told");
		return buf;
	}
	const char *core = code == CLD_DUMPED ? ", core dumped" : "";
	const char *name = NULL;

	if (code != CLD_KILLED && code != CLD_DUMPED) {
		snprintf(buf, 64, "exit status %d", status);
		return buf;
	}
	if (status > 0 && (size_t)status < ARRAY_LEN(signal_names))
		name = signal_names[status];
	if (name)
		snprintf(buf, 64, "signal %d (%s)%s", status, name, core);
	else
		snprintf(buf, 64, "signal %d%s", status, core);
	return buf;
}
