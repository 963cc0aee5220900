/* Listening sockets that the service manager keeps for the next start (the file descriptor
 * store of systemd): who connects while drover is down, or between two starts, waits in the
 * queue instead of being refused.
 *
 * A socket is stored under a name with STORED in front, and comes back like those of a
 * .socket unit (LISTEN_FDS, LISTEN_FDNAMES), but as one of ours (activation.c). */
#ifndef DROVER_MASTER_FDSTORE_H
#define DROVER_MASTER_FDSTORE_H

#include <stdbool.h>
#include <stddef.h>

#include "common/addr.h"

struct master;
struct listener;

#define FDSTORE_STORED "drover-listen-"
#define FDSTORE_NAME_MAX 192 /* of a name; the store takes 255 */

/* Whether there is a store for us is in $FDSTORE (systemd 254 and later: how many it takes):
 * read once, and taken out of the environment. */
void fdstore_start(struct master *m);

bool fdstore_is_there(const struct master *m);

/* The sockets of `l` from the `from`-th on are in force: stored, as many as are taken. */
void fdstore_keep(struct master *m, const struct listener *l, size_t from);

/* All that is stored for this address, or under this name, goes. */
void fdstore_forget(struct master *m, const struct addr *a);
void fdstore_forget_name(struct master *m, const char *name);

/* "drover-listen-127.0.0.1_8080": no colons, which separate names; returns `buf`.  Of a Unix
 * socket also which file there is now: a socket whose file was removed, or replaced by
 * somebody's, cannot be reached, and that the name is another shows it. */
const char *fdstore_name(const struct addr *a, char buf[static FDSTORE_NAME_MAX]);

#endif
