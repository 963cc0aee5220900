/* Processes: spawn, credentials, limits, titles, what the machine grants us. */
#ifndef DROVER_COMMON_PROC_H
#define DROVER_COMMON_PROC_H

#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/base.h"
#include "common/err.h"
#include "common/slice.h"

struct proc_user {
	uid_t uid;
	gid_t gid;
	char name[64];
	bool set; /* false: keep the caller's identity */
};

/* Looks a user up by name, then by decimal uid; both must be in the user
 * database, which also names the group.  ERR_MISSING, ERR_NOMEM, ERR_SYS with errno. */
MUST_CHECK enum err proc_find_user(const char *name, struct proc_user *ret_user);

/* Supplementary groups, gid, uid, in that order, and proves that there is no
 * way back.  Nothing happens when `user` is not set, or is already us and not
 * root.  ERR_SYS with errno; the process is then half changed and must end. */
MUST_CHECK enum err proc_become(const struct proc_user *user);

struct proc_limit {
	int resource;   /* RLIMIT_NOFILE ... */
	uint64_t value; /* soft and hard; UINT64_MAX: none */
};

struct proc_spec {
	char *const *argv;         /* NULL-terminated; argv[0] is searched in PATH of `env` */
	char *const *env;          /* NULL-terminated "NAME=value", the whole environment */
	const char *directory;     /* or NULL */
	struct proc_user user;
	int stdin_fd, stdout_fd, stderr_fd; /* -1: /dev/null */
	const struct proc_limit *limits;    /* those that differ from the caller's */
	size_t n_limits;
	int nice;                           /* 0: the caller's */
	const cpu_set_t *cpus;              /* NULL: the caller's */
	int cgroup_fd;                      /* of a cgroup.procs, above 2; 0: the caller's group */
	/* NULL, or called when the process is there and before it executes anything: it is written
	 * down somewhere.  Should the caller die meanwhile, it executes nothing, and ends. */
	void (*on_forked)(void *arg, pid_t pid);
	void *arg;
};

/* What failed before exec, for the message "cannot <stage>: strerror(error)". */
struct proc_failure {
	const char *stage; /* "fork", "become user", "change to directory", "execute" ... */
	int error;         /* errno */
};

/* Starts a program in its own process group, with default signal dispositions,
 * an empty signal mask, no ambient capabilities, umask of the caller, its limits but
 * those named, and no inherited descriptor but 0, 1 and 2.  The directory is entered as
 * the user.  A name with a slash is relative to it; a file of unknown format is an error,
 * never handed to a shell.  Returns once exec has happened or failed (then nothing is
 * left to reap).  The caller takes pid and pidfd.  ERR_SYS fills *ret_failure.
 * Only for processes without threads. */
MUST_CHECK enum err proc_spawn(const struct proc_spec *spec, pid_t *ret_pid, int *ret_pidfd,
			       struct proc_failure *ret_failure);

/* Numbers and ranges of processors, "0-3,8", below CPU_SETSIZE. ERR_SYNTAX, ERR_RANGE. */
MUST_CHECK enum err proc_parse_cpus(const char *text, cpu_set_t *ret_cpus);

/* Call once at the start of main(), before anything reads argv by pointer.
 * proc_title() then names the process in ps: "drover: balancer 1". */
void proc_title_init(int argc, char **argv);
void proc_title(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* Cores this process may use: affinity mask, cut by the cgroup v2 (or v1) CPU
 * quota, rounded up; at least 1. */
uint32_t proc_usable_cores(void);

/* Its parts, for tests.  Cores a quota grants, rounded up; 0: no limit, or not
 * understood.  From the text of cpu.max (v2), of cpu.cfs_quota_us and
 * cpu.cfs_period_us (v1), and the least of all levels of our cgroup as found
 * under <root>/proc/self/cgroup and <root>/sys/fs/cgroup ("" is the real root). */
uint32_t proc_quota_v2(struct slice cpu_max);
uint32_t proc_quota_v1(struct slice quota_file, struct slice period_file);
uint32_t proc_cgroup_cores(const char *root);

/* Raises RLIMIT_NOFILE to its hard limit; returns the limit in force. */
uint64_t proc_raise_nofile(void);

/* Start time of `pid` in clock ticks since boot (/proc/PID/stat field 22), which
 * with the pid names a process for ever.  0 when there is none. */
uint64_t proc_start_ticks(pid_t pid);

/* Whether a process has ended, taking its status if it is a child of ours.  That of another
 * (started by a master before us) is its parent's to take.  Since Linux 6.15 the kernel shows
 * it to us as well, once that has been done: until then si_code is PROC_STATUS_PENDING.  With
 * older kernels it stays PROC_STATUS_UNKNOWN.  `pidfd` is older than the end. */
bool proc_reap(pid_t pid, int pidfd, siginfo_t *ret_info);
/* No CLD_ codes: */
#define PROC_STATUS_UNKNOWN 0
#define PROC_STATUS_PENDING (-1)

/* "exit status 3", "signal 9 (SIGKILL)", from waitid's si_code and si_status. */
const char *proc_exit_text(int code, int status, char buf[static 64]);

#endif
