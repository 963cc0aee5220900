/* Capabilities and limits, in the child that enters its sandbox; see rights.h.
 *
 * By system call: libcap would be a library in the privileged master for two calls. */
#include "balancer/sandbox/rights.h"

#include <linux/capability.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#define CAPABILITIES_MAX 64 /* what capset(2) can hold */

void rights_bound(void)
{
	/* Without CAP_SETPCAP it fails, and does not matter: no new privileges. */
	for (unsigned long c = 0; c < CAPABILITIES_MAX && prctl(PR_CAPBSET_READ, c, 0, 0, 0) >= 0; c++)
		(void)prctl(PR_CAPBSET_DROP, c, 0, 0, 0);
}

/* What the master does with root's rights.  The bounding set stays: a worker that runs as root,
 * or a setuid program that it starts, is as it would be without drover; and so does the right
 * to new privileges, for the same reason. */
static const int kept[] = {
	CAP_NET_BIND_SERVICE, /* listens on ports below 1024 */
	CAP_SETUID,           /* starts children as other users */
	CAP_SETGID,
	CAP_SETPCAP,      /* empties the bounding set of those that it shuts in */
	CAP_KILL,         /* stops them */
	CAP_CHOWN,        /* gives them their sockets and output */
	CAP_FOWNER,
	CAP_DAC_OVERRIDE, /* configuration, logs and sockets of other users */
	CAP_SYS_RESOURCE, /* their limits and priorities */
	CAP_SYS_NICE,
	CAP_SYS_PTRACE,   /* whose a listening socket is (owner.c): /proc/PID/fd of other users */
};

enum err rights_keep(void)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct have[_LINUX_CAPABILITY_U32S_3] = { { 0 } };
	uint32_t keep[_LINUX_CAPABILITY_U32S_3] = { 0 };

	if (syscall(SYS_capget, &head, have) != 0)
		return ERR_SYS;
	for (size_t i = 0; i < ARRAY_LEN(kept); i++)
		keep[kept[i] / 32] |= UINT32_C(1) << kept[i] % 32;
	for (size_t i = 0; i < ARRAY_LEN(have); i++) {
		have[i].permitted &= keep[i];
		have[i].effective &= keep[i];
	}
	return syscall(SYS_capset, &head, have) == 0 ? ERR_OK : ERR_SYS;
}

enum err rights_drop(void)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = { { 0 } };

	(void)prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0); /* before Linux 4.3: none */
	return syscall(SYS_capset, &head, none) == 0 ? ERR_OK : ERR_SYS;
}

enum err rights_limit(enum sandbox_role role)
{
	enum { ALL = (1u << SANDBOX_ROLE_MAX) - 1 };
	static const struct {
		int resource;
		unsigned roles; /* bit per enum sandbox_role */
	} zero[] = {
		/* Requests and secrets of many clients. */
		{ RLIMIT_CORE, ALL },
#if !FILTER_WIDE
		{ RLIMIT_NPROC, ALL },
#endif
		{ RLIMIT_MSGQUEUE, ALL },
	};
	static const struct rlimit none = { 0, 0 };

	for (size_t i = 0; i < ARRAY_LEN(zero); i++)
		if ((zero[i].roles & 1u << role) && setrlimit(zero[i].resource, &none) != 0)
			return ERR_SYS;
	/* Workers may run as the same user: they cannot look into it, nor stop it by ptrace(2). */
	return prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) == 0 ? ERR_OK : ERR_SYS;
}
