/* Where running instances keep their lock and admin socket: one rule for the master, which
 * makes the directory, and for the commands, which look there. */
#ifndef DROVER_COMMON_RUN_DIR_H
#define DROVER_COMMON_RUN_DIR_H

#include <sys/types.h>

#include "common/base.h"

/* The i-th place for the instances of `uid`, best first: /run/drover for root,
 * $XDG_RUNTIME_DIR/drover for others, and /tmp/drover-UID for both.  The caller frees it;
 * NULL: there is no further one. */
MUST_CHECK char *run_dir_place(uid_t uid, unsigned i);

#endif
