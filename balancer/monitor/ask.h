/* Questions to the master, and what becomes of its answers. */
#ifndef DROVER_MONITOR_ASK_H
#define DROVER_MONITOR_ASK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "balancer/board/admin.h"
#include "common/base.h"
#include "common/err.h"

struct monitor;
struct conn;

struct reply_from_master {
	uint32_t code;     /* enum admin_code, checked */
	uint64_t number;
	const void *data;  /* what rode along, mapped for the time of the call; or NULL */
	size_t bytes;
};

/* Called once, unless the connection ends first. */
typedef void ask_f(struct conn *c, const struct reply_from_master *r);

/* Asks on behalf of `c` (borrowed; ask_forget() when it ends).  Never calls back before
 * returning.  ERR_NOMEM, ERR_AGAIN (the master is behind), ERR_CLOSED. */
MUST_CHECK enum err ask_master(struct monitor *m, enum admin_verb verb, uint32_t app_id,
			       uint32_t number, uint64_t since, struct conn *c, ask_f *on_answer);

/* Refuses what could not even be asked. */
void ask_sent(struct conn *c, enum err e);

/* Whether the master has refused; `c` is told so. */
MUST_CHECK bool ask_refused(struct conn *c, const struct reply_from_master *r);

/* `c` ends: its answers are dropped when they come. */
void ask_forget(struct monitor *m, struct conn *c);

/* The channel is readable.  False: the master has ended, or wants us to. */
MUST_CHECK bool ask_hear(struct monitor *m);

void ask_fini(struct monitor *m);

#endif
