/* What a process of drover's gives up before it reads the first byte from a network.
 *
 *   sandbox_enter()   in the forked child, still as root where the master is: another user, no
 *                     capabilities, no new privileges, limits, no files (Landlock)
 *   sandbox_seal()    when all that lives as long as the process stands: the filter of system
 *                     calls closes
 *
 * Who is kept from what, and why: docs/security.md.
 */
#ifndef DROVER_SANDBOX_H
#define DROVER_SANDBOX_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "common/base.h"
#include "common/err.h"
#include "common/proc.h"

enum sandbox_role { SANDBOX_BALANCER = 0, SANDBOX_PROBE, SANDBOX_MONITOR, SANDBOX_WRITER, SANDBOX_ROLE_MAX };

struct sandbox {
	enum sandbox_role role;
	const struct proc_user *user; /* borrowed until sandbox_enter() has returned */
	bool off;                     /* only the user and its rights */
	bool required;                /* what the kernel lacks is an error, not a lack */
	uint16_t connect_port;        /* the only TCP port to connect to; 0: any */
};

/* Gives up rights for good.  ERR_SYS with errno, and *ret_stage completes "cannot ...": the
 * process is then half changed and must end. */
MUST_CHECK enum err sandbox_enter(const struct sandbox *s, const char **ret_stage);

/* From here on a system call that the role has no row for (filters_gen.c) ends the process with
 * SIGSYS, after a line in the error log that names it.  ERR_SYS with errno: it must end. */
MUST_CHECK enum err sandbox_seal(const struct sandbox *s);

/* What this kernel offers. */
struct sandbox_kernel {
	bool filter;        /* seccomp with SECCOMP_RET_TRAP */
	int landlock;       /* its ABI version; 0: none */
	const char *why[2]; /* what is missing, as a clause; NULL: nothing (more) */
};
void sandbox_look(struct sandbox_kernel *ret_kernel);

/* What this build offers, on one line without its end: for `drover --version`. */
void sandbox_describe(FILE *out);

#endif
