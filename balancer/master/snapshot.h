/* Everything that the master knows, as flat rows for the monitor. */
#ifndef DROVER_MASTER_SNAPSHOT_H
#define DROVER_MASTER_SNAPSHOT_H

#include "common/base.h"
#include "common/err.h"

struct master;

/* A sealed memfd of the layout in balancer/board/admin.h, which the caller takes.
 * ERR_NOMEM, ERR_FD_LIMIT, ERR_SYS. */
MUST_CHECK enum err snapshot_make(struct master *m, int *ret_fd);

#endif
