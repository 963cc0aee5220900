/* Processes: spawn, credentials, limits, titles, what the machine grants us. */
#ifndef DROVER_COMMON_PROC_H
#define DROVER_COMMON_PROC_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/base.h"
#include "common/err.h"

struct proc_user {
	uid_t uid;
	gid_t gid;
	char name[64];
	bool set; /* false: keep the caller's identity */
};

/* Looks a user up by name or decimal uid.  ERR_MISSING. */
MUST_CHECK enum err proc_find_user(const char *name, struct proc_user *ret_user);

/* Supplementary groups, gid, uid, in that order, and proves that there is no
 * way back.  ERR_SYS with errno. */
MUST_CHECK enum err proc_become(const struct proc_user *user);

struct proc_spec {
	char *const *argv;         /* NULL-terminated; argv[0] is searched in PATH of `env` */
	char *const *env;          /* NULL-terminated "NAME=value", the whole environment */
	const char *directory;     /* or NULL */
	struct proc_user user;
	int stdin_fd, stdout_fd, stderr_fd; /* -1: /dev/null */
};

/* What failed before exec, for the message "cannot <stage>: strerror(error)". */
struct proc_failure {
	const char *stage; /* "fork", "change to directory", "become user", "execute" */
	int error;         /* errno */
};

/* Starts a program in its own process group, with default signal dispositions,
 * an empty signal mask, umask and limits of the caller, and no inherited
 * descriptor but 0, 1 and 2.  Returns once exec has happened or failed.
 * The caller takes pid and pidfd.  ERR_SYS fills *ret_failure. */
MUST_CHECK enum err proc_spawn(const struct proc_spec *spec, pid_t *ret_pid, int *ret_pidfd,
			       struct proc_failure *ret_failure);

/* Call once at the start of main(), before anything reads argv by pointer.
 * proc_title() then names the process in ps: "drover: balancer 1". */
void proc_title_init(int argc, char **argv);
void proc_title(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* Cores this process may use: affinity mask, cut by the cgroup v2 (or v1) CPU
 * quota, rounded up; at least 1. */
uint32_t proc_usable_cores(void);

/* Raises RLIMIT_NOFILE to its hard limit; returns the limit in force. */
uint64_t proc_raise_nofile(void);

/* Start time of `pid` in clock ticks since boot (/proc/PID/stat field 22), which
 * with the pid names a process for ever.  0 when there is none. */
uint64_t proc_start_ticks(pid_t pid);

/* "exit status 3", "signal 9 (SIGKILL)", from waitid's si_code and si_status. */
const char *proc_exit_text(int si_code, int si_status, char buf[static 64]);

#endif
