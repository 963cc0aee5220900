/* The access log of one balancer: lines gathered in memory, written whole. */
#ifndef DROVER_PROXY_ACCESS_LOG_H
#define DROVER_PROXY_ACCESS_LOG_H

#include "balancer/proxy/loop.h"

struct request;
struct client;
struct own_reply;

/* Takes `fd` (-1: no log), which must not block; borrows `path`, "-" for stdout, to
 * name it in complaints. */
void access_log_start(struct access_log *log, int fd, const char *path, uint32_t format);
void access_log_stop(struct access_log *log, struct tally_row *row);

/* Takes `fd` in place of the old one (log rotation); what was gathered goes to the old one. */
void access_log_reopen(struct access_log *log, struct tally_row *row, int fd);

/* One line for a finished request; for a client whose head was refused, of which
 * `received` had come: its first line is shown, as far as it goes. */
void access_log_request(struct access_log *log, const struct request *r);
void access_log_refused(struct access_log *log, const struct client *c,
			const struct own_reply *sent, struct slice received);

/* Writes what was gathered; call from the sweep. */
void access_log_flush(struct access_log *log, struct tally_row *row);

#endif
