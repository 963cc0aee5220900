/* Which balancer's connections go to which, when a generation drains. */
#ifndef DROVER_MASTER_HANDOVER_H
#define DROVER_MASTER_HANDOVER_H

struct master;
struct generation;
struct balancer;

/* Makes a channel from each balancer that drains, or is about to, to one of those that are
 * ready in `to`, spread evenly. */
void handover_to(struct master *m, const struct generation *to);

/* The same for the balancers of `from` alone. */
void handover_from(const struct generation *from, const struct generation *to);

/* `b`, which serves, has taken another's place: those whose channel led there get a new one. */
void handover_to_successor(struct master *m, const struct balancer *b);

#endif
