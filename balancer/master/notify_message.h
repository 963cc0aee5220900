/* One datagram of the sd_notify(3) protocol, as a worker sends it. */
#ifndef DROVER_MASTER_NOTIFY_MESSAGE_H
#define DROVER_MASTER_NOTIFY_MESSAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base.h"
#include "common/err.h"
#include "common/slice.h"

#define NOTIFY_BYTES_MAX 4096          /* of one datagram, as in systemd */
#define NOTIFY_USEC_MAX 86400000000ull /* a day: longer times are none */

struct notify_message {
	bool ready;            /* READY=1 */
	bool stopping;         /* STOPPING=1 */
	bool alive;            /* WATCHDOG=1 */
	bool gives_up;         /* WATCHDOG=trigger: as if it had missed one */
	bool has_status;       /* STATUS=: what it is doing; "" takes it back */
	struct slice status;   /* borrows the datagram; any bytes but NUL and newline */
	uint64_t extend_us;    /* EXTEND_TIMEOUT_USEC=: wait so long from now on; 0: not said */
	uint64_t watchdog_us;  /* WATCHDOG_USEC=: the longest silence that is well; 0: not said */
};

/* Lines of KEY=value; the last of a key counts.  Keys that are not known (MAINPID, ERRNO,
 * BARRIER ...) and values that make no sense are passed over, as sd_notify(3) asks.
 * ERR_RANGE: longer than NOTIFY_BYTES_MAX.  ERR_SYNTAX: a NUL before the end, no text. */
MUST_CHECK enum err notify_message_parse(struct notify_message *ret, const char *p, size_t n);

#endif
