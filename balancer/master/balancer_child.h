/* From fork to the balancer's main function. */
#ifndef DROVER_MASTER_BALANCER_CHILD_H
#define DROVER_MASTER_BALANCER_CHILD_H

#include <stdint.h>

#include "common/base.h"

struct master;
struct generation;

/* In the child: sheds everything of the master's but the heritage, becomes the
 * balancers' user, runs the balancer and exits with its status. */
NORETURN void balancer_child(struct master *m, struct generation *g, uint32_t index,
			     uint32_t row, int channel);

#endif
