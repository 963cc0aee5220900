/* The order in which rights go, and the filter of system calls; in the child.  See sandbox.h.
 *
 *   bounding set ─ user ─ capabilities ─ no new privileges ─ limits ─ Landlock ... filter
 *        (each needs a right that a later step takes)
 *
 * A call that is not allowed raises SIGSYS in the process that made it, synchronously: the
 * handler writes one line that names the call, and the process dies of the same signal.
 */
#include "balancer/sandbox/sandbox.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "balancer/sandbox/landlock.h"
#include "balancer/sandbox/rights.h"
#include "common/log.h"

#ifdef HAVE_FILTERS
#include "balancer/sandbox/filters.inc"

static const struct {
	const struct sock_filter *ops;
	unsigned short n;
} filters[SANDBOX_ROLE_MAX] = {
	[SANDBOX_BALANCER] = { balancer_filter, ARRAY_LEN(balancer_filter) },
	[SANDBOX_PROBE] = { probe_filter, ARRAY_LEN(probe_filter) },
	[SANDBOX_MONITOR] = { monitor_filter, ARRAY_LEN(monitor_filter) },
	[SANDBOX_WRITER] = { writer_filter, ARRAY_LEN(writer_filter) },
};
_Static_assert(ARRAY_LEN(balancer_filter) < BPF_MAXINSNS, "a filter may not be longer");
#endif

/* ---- rights ------------------------------------------------------------- */

enum err sandbox_enter(const struct sandbox *s, const char **ret_stage)
{
	rights_bound();
	*ret_stage = "become the user";
	if (proc_become(s->user))
		return ERR_SYS;
	*ret_stage = "drop capabilities";
	if (rights_drop())
		return ERR_SYS;
	*ret_stage = "refuse new privileges";
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
		return ERR_SYS;
	if (s->off)
		return ERR_OK;
	*ret_stage = "limit resources";
	if (rights_limit(s->role))
		return ERR_SYS;
	tzset(); /* the last file that libc reads by itself */
	*ret_stage = "shut files out (Landlock)";
	enum err e = landlock_close(s->connect_port);
	if (e == ERR_MISSING && s->required && errno != EPERM)
		errno = ENOSYS;
	return e == ERR_MISSING && !s->required ? ERR_OK : e ? ERR_SYS : ERR_OK;
}

/* ---- the filter --------------------------------------------------------- */

#ifdef HAVE_FILTERS
#ifndef SYS_SECCOMP
#define SYS_SECCOMP 1 /* asm-generic/siginfo.h; glibc 2.36 has no name for it */
#endif

static const char *role_text;

static const char *number_text(int number, char text[static 12])
{
	char *p = text + 11;

	*p = '\0';
	for (unsigned n = number < 0 ? 0u : (unsigned)number; n || p == text + 11; n /= 10)
		*--p = (char)('0' + n % 10);
	return p;
}

/* The disposition is the default one by now (SA_RESETHAND). */
static void on_violation(int signo, siginfo_t *info, void *context)
{
	char text[12];
	int number = info->si_syscall;
	bool known = number >= 0 && (size_t)number < ARRAY_LEN(call_names) && call_names[number];

	(void)context;
	if (info->si_code == SYS_SECCOMP)
		log_in_handler(LOG_ERROR,
			       (const char *const[]){
				       "stopped by its sandbox: it called ",
				       known ? call_names[number] : "?", " (system call ",
				       number_text(number, text), "), or with arguments, that ",
				       role_text,
				       " has no need of; should that be drover's own doing, please "
				       "report it, and set \"sandbox: off\" until it is mended",
				       NULL });
	/* Deadly in any case: as the signal, or as one more call that is not allowed. */
	raise(signo);
	_exit(128 + signo);
}

static enum err watch_violations(enum sandbox_role role)
{
	static const char *const texts[SANDBOX_ROLE_MAX] = {
		[SANDBOX_BALANCER] = "a balancer",
		[SANDBOX_PROBE] = "a probe",
		[SANDBOX_MONITOR] = "the monitor",
		[SANDBOX_WRITER] = "a writer",
	};
	struct sigaction act = { .sa_sigaction = on_violation,
				 .sa_flags = SA_SIGINFO | SA_RESETHAND | SA_NODEFER };

	role_text = texts[role];
	return sigaction(SIGSYS, &act, NULL) == 0 ? ERR_OK : ERR_SYS;
}

static enum err set_filter(enum sandbox_role role)
{
	struct sock_fprog program = { .len = filters[role].n,
				      .filter = (struct sock_filter *)(uintptr_t)filters[role].ops };

	if (watch_violations(role))
		return ERR_SYS;
	/* Nothing here runs code of others in this process, which the slower default before
	 * Linux 5.16 (no speculative stores) is for.  The older call is there where the newer one
	 * is not: in old kernels, and under filters of somebody else (systemd's @system-service). */
	if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_SPEC_ALLOW,
		    &program) == 0 ||
	    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0)
		return ERR_OK;
	return ERR_SYS;
}
#else
static enum err set_filter(enum sandbox_role role)
{
	(void)role;
	errno = ENOSYS;
	return ERR_SYS;
}
#endif

enum err sandbox_seal(const struct sandbox *s)
{
	if (s->off)
		return ERR_OK;
	if (set_filter(s->role) == ERR_OK)
		return ERR_OK;
	/* No seccomp in this kernel or in this build, or we are kept from it. */
	bool missing = errno == ENOSYS || errno == EINVAL || errno == EPERM;
	return missing && !s->required ? ERR_OK : ERR_SYS;
}

/* ---- what there is ------------------------------------------------------ */

void sandbox_look(struct sandbox_kernel *ret_kernel)
{
	size_t n = 0;

	*ret_kernel = (struct sandbox_kernel){ .landlock = landlock_version() };
	int error = errno;
#ifdef HAVE_FILTERS
	uint32_t action = SECCOMP_RET_TRAP;
	ret_kernel->filter = syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &action) == 0 ||
			     prctl(PR_GET_SECCOMP, 0, 0, 0, 0) >= 0;
	if (!ret_kernel->filter)
		ret_kernel->why[n++] = "no filter of system calls: this kernel has no seccomp";
#else
	ret_kernel->why[n++] = "no filter of system calls: drover was built without";
#endif
	if (!ret_kernel->landlock)
		ret_kernel->why[n++] = error == EPERM ?
			"no Landlock: whatever started drover keeps it from that (SystemCallFilter=, "
			"a container's filter)" :
			"no Landlock: this kernel has none, or it is switched off (lsm= of its "
			"command line)";
}

void sandbox_describe(FILE *out)
{
#ifdef HAVE_FILTERS
	fprintf(out, "system call filters for %s%s, Landlock, limits", FILTER_MACHINE,
		FILTER_WIDE ? " (wide: what sanitizers and coverage need is allowed too)" : "");
#else
	fputs("no system call filters (built without), Landlock, limits", out);
#endif
}
