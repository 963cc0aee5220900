/* Memory and processor limits of an app as a whole, by control groups (version 2). */
#ifndef DROVER_MASTER_CGROUP_H
#define DROVER_MASTER_CGROUP_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/base.h"
#include "common/err.h"
#include "common/slice.h"

#define CGROUP_GROUPS 64

struct cgroup {
	const char *root;    /* "": the real one; tests have their own */
	char base[PATH_MAX]; /* the folder of our own group */
	bool tried, usable;
	char names[CGROUP_GROUPS][80]; /* groups made below it */
	uint32_t n_names;
};

void cgroup_init(struct cgroup *c, const char *root);

/* The cgroup.procs of the app's group, with its limits set (0: none), for the caller to
 * write to and close; above 2.  0: there are no limits, or there can be none: the first time
 * that is wanted in vain, a warning says why. */
int cgroup_procs(struct cgroup *c, const char *app, uint64_t memory_bytes, uint32_t cpu_percent);

/* A master that was killed has divided `base` and made `names`, and we are in its place: moves
 * us in beside those that it left.  Where that may not be, a warning says so. */
void cgroup_rejoin(struct cgroup *c);

/* Counts a group among those made below `base`; false: it is none, or there are too many. */
bool cgroup_note(struct cgroup *c, struct slice name);

/* Removes what was made; groups that still hold somebody stay. */
void cgroup_remove(struct cgroup *c);

/* Its first step, apart for tests: finds our group and makes it one that can be divided.
 * *ret_why: what stands in the way. */
MUST_CHECK enum err cgroup_divide(struct cgroup *c, const char **ret_why);

#endif
