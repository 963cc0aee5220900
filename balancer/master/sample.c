/* Reading /proc; in the master, called by sampler.c and for diagnoses.
 *
 * Only files that the kernel answers from counters: none takes a lock that the process
 * itself may hold for long (as cmdline, maps and smaps do), so that a worker that is stuck
 * in the kernel never holds us up.  No library reads them: libproc2 is not in Debian 12,
 * and its predecessor reads all of them for each process. */
#include "balancer/master/sample.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/fd.h"

static size_t read_proc(pid_t pid, const char *name, char *buf, size_t size)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, name);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return 0;
	ssize_t n = read(fd, buf, size - 1);
	fd_close(&fd);
	n = n < 0 ? 0 : n;
	buf[n] = '\0';
	return (size_t)n;
}

/* The next word and its number; false at the end, or when it is none. */
static bool next_number(struct slice *rest, uint64_t *ret)
{
	while (rest->n && (rest->p[0] == ' ' || rest->p[0] == '\n'))
		rest->p++, rest->n--;
	size_t n = 0;
	while (n < rest->n && rest->p[n] != ' ' && rest->p[n] != '\n')
		n++;
	struct slice word = { rest->p, n };
	rest->p += n;
	rest->n -= n;
	if (word.n && word.p[0] == '-') { /* such as tpgid: nothing that is wanted here */
		*ret = 0;
		return true;
	}
	return slice_to_u64(word, UINT64_MAX, ret) == ERR_OK;
}

/* pid (name) state ppid pgrp session tty tpgid flags minflt cminflt majflt cmajflt utime
 * stime; the name may hold blanks and parentheses. */
bool sample_parse_stat(struct slice text, struct sample_stat *ret)
{
	enum { GROUP = 1, UTIME = 10, STIME = 11 };
	const char *end = text.n ? memrchr(text.p, ')', text.n) : NULL;
	struct sample_stat s = { .state = '?' };
	uint64_t value;

	if (!end || text.p + text.n - end < 4)
		return false;
	s.state = end[2];
	struct slice rest = { end + 3, (size_t)(text.p + text.n - end) - 3 };
	for (int i = 0; i <= STIME; i++) {
		if (!next_number(&rest, &value))
			return false;
		if (i == GROUP)
			s.group = (pid_t)value;
		else if (i == UTIME || i == STIME)
			s.cpu_ticks += value;
	}
	*ret = s;
	return true;
}

bool sample_stat(pid_t pid, struct sample_stat *ret)
{
	char buf[1024];
	size_t n = read_proc(pid, "stat", buf, sizeof(buf));

	return sample_parse_stat((struct slice){ buf, n }, ret);
}

/* Pages: resident, and of them those of files and shared segments. */
static bool read_statm(pid_t pid, uint64_t *ret_resident, uint64_t *ret_shared)
{
	char buf[256];
	struct slice rest = { buf, read_proc(pid, "statm", buf, sizeof(buf)) };
	uint64_t size;

	return next_number(&rest, &size) && next_number(&rest, ret_resident) &&
	       next_number(&rest, ret_shared);
}

/* Adds the children of `pid` to the list. */
static uint32_t add_children(pid_t pid, pid_t *pids, uint32_t n)
{
	char name[48], buf[1024];
	uint64_t child;

	snprintf(name, sizeof(name), "task/%d/children", (int)pid);
	struct slice rest = { buf, read_proc(pid, name, buf, sizeof(buf)) };
	while (n < SAMPLE_PROCESSES && rest.n && next_number(&rest, &child) && child)
		pids[n++] = (pid_t)child;
	return n;
}

uint64_t sample_memory(pid_t pid)
{
	pid_t pids[SAMPLE_PROCESSES] = { pid };
	uint64_t resident, shared, pages = 0;
	struct sample_stat s;

	for (uint32_t i = 0, n = 1; i < n; i++) {
		/* Others may have taken the number of one that ended meanwhile. */
		if (i > 0 && (!sample_stat(pids[i], &s) || s.group != pid))
			continue;
		if (read_statm(pids[i], &resident, &shared))
			pages += i == 0 ? resident : resident - MIN(resident, shared);
		n = add_children(pids[i], pids, n);
	}
	return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

const char *sample_wchan(pid_t pid, char buf[static SAMPLE_WCHAN_MAX])
{
	size_t n = read_proc(pid, "wchan", buf, SAMPLE_WCHAN_MAX);

	if (n == 0 || strcmp(buf, "0") == 0)
		buf[0] = '\0';
	return buf;
}

const char *sample_state_text(char state)
{
	switch (state) {
	case 'R': return "running";
	case 'S': return "sleeping";
	case 'D': return "uninterruptible sleep";
	case 'T': return "stopped";
	case 't': return "being traced";
	case 'Z': return "zombie";
	case 'I': return "idle";
	default: return "unknown";
	}
}
