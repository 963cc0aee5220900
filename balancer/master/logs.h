/* The log files: opening, reopening, handing on. */
#ifndef DROVER_MASTER_LOGS_H
#define DROVER_MASTER_LOGS_H

#include <stdbool.h>

#include "balancer/config/config.h"
#include "common/base.h"
#include "common/err.h"

struct master;

struct logs {
	int error_fd, access_fd;   /* private and non-blocking; -1: off */
	char *error_path, *access_path; /* as in the configuration: "-", a path, or NULL */
	bool booting;
};

/* New descriptors, not yet in force; -1: off. */
struct logs_files {
	int error_fd, access_fd;
};

/* Opens the logs of `cfg`.  On failure nothing is open and the reason has been
 * logged.  The caller commits or closes them. */
MUST_CHECK enum err logs_open(struct logs *l, const struct config *cfg,
			      struct logs_files *ret_files);
void logs_close_files(struct logs_files *files);

/* Puts them in force in this process: takes the files, sets the level. */
void logs_commit(struct logs *l, const struct config *cfg, struct logs_files *files);
void logs_fini(struct logs *l);

/* SIGUSR1: opens the same paths anew and sends them to every balancer.  A log
 * that cannot be opened keeps its old file, and that is logged. */
void logs_reopen(struct master *m);

/* Opens one file for appending, `key` being what names it in the configuration.  ERR_SYS,
 * ERR_FD_LIMIT: the reason has been logged. */
MUST_CHECK enum err logs_open_file(const struct logs *l, const char *path, const char *key,
				   int *ret_fd);

/* Logs an error; while drover starts, also shows it on stderr when the log is
 * elsewhere: whoever started it looks there. */
void logs_complain(const struct logs *l, const char *fmt, ...) PRINTF_LIKE(2, 3);

#endif
