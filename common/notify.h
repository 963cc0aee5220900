/* sd_notify(3): what a service tells whoever started it. */
#ifndef DROVER_COMMON_NOTIFY_H
#define DROVER_COMMON_NOTIFY_H

#include "common/base.h"
#include "common/err.h"

/* Sends `text` ("READY=1") to $NOTIFY_SOCKET, without waiting.  ERR_OK also when there is
 * no such variable; ERR_RANGE: it holds no address of a Unix socket; ERR_SYS with errno. */
MUST_CHECK enum err notify_send(const char *text);

#endif
