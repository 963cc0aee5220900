/* Rights that come with a user: capabilities, limits.  Part of sandbox.c's work. */
#ifndef DROVER_SANDBOX_RIGHTS_H
#define DROVER_SANDBOX_RIGHTS_H

#include "balancer/sandbox/sandbox.h"

/* As root: no program that is executed from here on can have a capability. */
void rights_bound(void);
/* The master: only what it works with, of what it has.  ERR_SYS with errno. */
MUST_CHECK enum err rights_keep(void);
/* No capability is left, or comes back with exec.  ERR_SYS with errno. */
MUST_CHECK enum err rights_drop(void);
/* Not traceable by others of its user, no core files, and so on.  ERR_SYS with errno. */
MUST_CHECK enum err rights_limit(enum sandbox_role role);

#endif
