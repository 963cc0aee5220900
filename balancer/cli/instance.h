/* Running instances, as a command finds them. */
#ifndef DROVER_CLI_INSTANCE_H
#define DROVER_CLI_INSTANCE_H

#include <sys/types.h>

#include "balancer/cli/args.h"

struct instance {
	char name[64];
	char *socket;  /* of its admin channel; never empty */
	char *lock;    /* its lock file */
	pid_t pid;     /* of its master */
};

/* The only one that runs, or the one that --name or -c names.  Returns -1 and the instance,
 * which the caller ends with instance_fini(), or the exit status; then it has been said why. */
int instance_find(const struct args *a, struct instance *ret_instance);
void instance_fini(struct instance *i);

#endif
