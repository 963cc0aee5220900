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

enum err rights_drop(void)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = { { 0 } };

	(void)prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0); /* before Linux 4.3: none */
	return syscall(SYS_capset, &head, none) == 0 ? ERR_OK : ERR_SYS;
}

enum err rights_limit(enum sandbox_role role)
{
	static const struct {
		int resource;
		unsigned roles; /* bit per enum sandbox_role */
	} zero[] = {
		/* Requests and secrets of many clients. */
		{ RLIMIT_CORE, 1u << SANDBOX_BALANCER | 1u << SANDBOX_PROBE },
#if !FILTER_WIDE
		/* Not a balancer's: the kernel's own threads for io_uring count too. */
		{ RLIMIT_NPROC, 1u << SANDBOX_PROBE },
#endif
		{ RLIMIT_MSGQUEUE, 1u << SANDBOX_BALANCER | 1u << SANDBOX_PROBE },
	};
	static const struct rlimit none = { 0, 0 };

	for (size_t i = 0; i < ARRAY_LEN(zero); i++)
		if ((zero[i].roles & 1u << role) && setrlimit(zero[i].resource, &none) != 0)
			return ERR_SYS;
	/* Workers may run as the same user: they cannot look into it, nor stop it by ptrace(2). */
	return prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) == 0 ? ERR_OK : ERR_SYS;
}
