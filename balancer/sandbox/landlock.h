/* Landlock: no files, whoever asks for them.  Part of sandbox.c's work. */
#ifndef DROVER_SANDBOX_LANDLOCK_H
#define DROVER_SANDBOX_LANDLOCK_H

#include <stdint.h>

#include "common/base.h"
#include "common/err.h"

/* The version of its interface that this kernel has; 0: none. */
int landlock_version(void);

/* Takes from this process for ever, as far as the version goes: to open, create, change or
 * execute files (1), to bind TCP sockets and, unless `connect_port` is 0, to connect to any
 * other port (4), abstract Unix sockets and signals of processes outside (6).  Needs no new
 * privileges.  ERR_MISSING: there is no Landlock; ERR_SYS with errno. */
MUST_CHECK enum err landlock_close(uint16_t connect_port);

#endif
