/* What the monitor may ask of the master: one table of verbs. */
#ifndef DROVER_MASTER_COMMAND_H
#define DROVER_MASTER_COMMAND_H

#include <stdint.h>

#include "balancer/board/admin.h"
#include "common/base.h"
#include "common/msg.h"

struct master;

struct answer {
	enum admin_code code;
	uint64_t number;  /* of the reload, of instances ... */
	int fd;           /* a sealed memfd that rides along, or -1 */
};

/* Carries out what a message of type ASK asks for.  ERR_PROTOCOL: no monitor asks such a
 * thing.  The caller takes ret_answer->fd. */
MUST_CHECK enum err command_run(struct master *m, const struct msg *ask, struct answer *ret_answer);

#endif
