/* The HTTP probe: whether a worker answers GET requests. */
#ifndef DROVER_MASTER_PROBE_H
#define DROVER_MASTER_PROBE_H

#include <stddef.h>
#include <stdint.h>

#include "balancer/sandbox/sandbox.h"
#include "common/addr.h"
#include "common/base.h"
#include "common/err.h"
#include "common/proc.h"

enum probe_verdict {
	PROBE_READY = 0, /* a status from 200 to 399 */
	PROBE_STATUS,    /* another one */
	PROBE_REFUSED,   /* no connection */
	PROBE_CLOSED,    /* it was closed before the answer was whole */
	PROBE_SILENT,    /* no whole answer in time */
	PROBE_NOT_HTTP,  /* or a head of more than 8 KiB */
	PROBE_MAX
};

struct probe_report {
	uint16_t verdict; /* enum probe_verdict */
	uint16_t status;  /* of READY and STATUS */
};

/* One GET of `path` from `address`, within `timeout_ms`.  Waits, and reads what came from a
 * network: never in the master. */
struct probe_report probe_once(const struct addr *address, const char *path, uint64_t timeout_ms);

struct probe_plan {
	const char *path;
	uint64_t timeout_ms;     /* of each try */
	uint64_t first_pause_ms; /* between two tries, until `rise` good ones in a row */
	uint64_t pause_ms;       /* after that; 0: then the child ends */
	uint32_t rise;
};

/* Forks a child that enters `sandbox` and probes as `plan` (borrowed until then) says.
 * *ret_fd gives a struct probe_report for each try; the caller takes both descriptors, and
 * ends the child with probe_end().  ERR_FD_LIMIT, ERR_SYS with errno. */
MUST_CHECK enum err probe_start(const struct addr *address, const struct probe_plan *plan,
				const struct sandbox *sandbox, int *ret_pidfd, int *ret_fd);

/* "GET /up on 127.0.0.1:4000 is answered 503"; cut where `size` ends. */
void probe_text(const struct addr *address, const char *path, const struct probe_report *report,
		char *buf, size_t size);

/* Kills and reaps it; closes both and sets them to -1. */
void probe_end(int *pidfd, int *fd);

#endif
