/* Where the program lies that this process runs, and where its successor will. */
#ifndef DROVER_MASTER_SELF_H
#define DROVER_MASTER_SELF_H

#include "common/base.h"

/* The path under which a shell would find this program again, given the word that it was
 * started with: absolute, links not followed, so that what a package upgrade or a changed
 * link puts there is found.  When that word leads elsewhere (a program may be told any
 * argv[0]), the path that the kernel knows, also when that file has been replaced since.
 * The caller frees it; NULL: /proc is not there. */
MUST_CHECK char *self_path(const char *argv0);

#endif
