/* A process that appends to one file what comes through a pipe: a disk that does not
 * answer holds it up, and not the master.  Started by sink.c.
 *
 *   master ── pipe, never waits ──► writer ── write(2), waits ──► the file
 *
 * Its life needs no orders: it ends when the pipe's last writing end is closed and all
 * is written, also when the master was killed.  Whole lines only are written at a time,
 * so that two writers of one file (a reload, an upgrade) do not tear each other's. */
#ifndef DROVER_MASTER_WRITER_H
#define DROVER_MASTER_WRITER_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base.h"
#include "common/err.h"

#define WRITER_PIPE_BYTES (256 * 1024)

struct sandbox;

/* Forks a writer to `file` (borrowed), which it calls `name` in ps.  It enters `sandbox`
 * (borrowed for the call; its role is the writer's) before it reads a line.
 * Gives the pipe's writing end, non-blocking, and the pidfd.  ERR_FD_LIMIT, ERR_SYS
 * with errno.  Only for processes without threads. */
MUST_CHECK enum err writer_start(int file, const char *name, const struct sandbox *sandbox,
				 int *ret_fd, int *ret_pidfd);

/* Its pipe has been closed: waits until it has written all, until `deadline_us` of
 * CLOCK_MONOTONIC at the most; then it is killed.  False: what it still had is lost.
 * Closes the pidfd. */
bool writer_end(int *pidfd, uint64_t deadline_us);

#endif
