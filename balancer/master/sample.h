/* Numbers of /proc about processes that we started: a bounded number of short reads, none
 * of which waits for anybody. */
#ifndef DROVER_MASTER_SAMPLE_H
#define DROVER_MASTER_SAMPLE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/base.h"
#include "common/slice.h"

#define SAMPLE_PROCESSES 32 /* of one worker's tree that are looked at */

struct sample_stat {
	char state; /* R, S, D, Z, T ...; '?': not known */
	pid_t group;
	uint64_t cpu_ticks; /* user and system, of sysconf(_SC_CLK_TCK) a second */
};

/* Of /proc/PID/stat; false when there is no such process. */
bool sample_stat(pid_t pid, struct sample_stat *ret);

/* The parser of that text, which may hold any name.  False: it is none. */
bool sample_parse_stat(struct slice text, struct sample_stat *ret);

/* Resident bytes of `pid` and its descendants in its process group, of which SAMPLE_PROCESSES
 * are looked at.  Of a descendant only what it does not share with files or others' segments.
 * 0 when there is no such process. */
uint64_t sample_memory(pid_t pid);

/* Where in the kernel it waits, "" when that is not known. */
#define SAMPLE_WCHAN_MAX 64
const char *sample_wchan(pid_t pid, char buf[static SAMPLE_WCHAN_MAX]);

/* "running", "uninterruptible sleep": what the letter of a state means. */
const char *sample_state_text(char state);

#endif
