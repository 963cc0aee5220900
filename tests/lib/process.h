/* What tests ask about processes: run this in a child, which descriptors are
 * open, a folder of one's own. */
#ifndef DROVER_TESTS_PROCESS_H
#define DROVER_TESTS_PROCESS_H

#include <dirent.h>
#include <errno.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* Runs `body` in a child and returns its exit status, or 1000 + the signal that
 * ended it.  The body must not use cmocka's assertions: they would jump into the
 * parent's test. */
static inline int in_child(int (*body)(void *), void *arg)
{
	int status;
	pid_t pid = fork();

	if (pid == 0)
		_exit(body(arg));
	while (waitpid(pid, &status, 0) < 0) {
		if (errno != EINTR)
			return -1;
	}
	return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

/* Open descriptors of this process. */
static inline int count_fds(void)
{
	DIR *d = opendir("/proc/self/fd");
	int n = 0;

	while (d && readdir(d))
		n++;
	if (d)
		closedir(d);
	return n - 3; /* ".", ".." and the folder's own */
}

/* A new folder under $TMPDIR; scratch_remove() it with all that is in it. */
static inline char *scratch_new(char path[static 128])
{
	const char *base = getenv("TMPDIR");

	snprintf(path, 128, "%s/drover-test-XXXXXX", base && strlen(base) < 64 ? base : "/tmp");
	return mkdtemp(path);
}

static inline int scratch_remove_one(const char *path, const struct stat *st, int kind,
				     struct FTW *ftw)
{
	(void)st, (void)kind, (void)ftw;
	return remove(path);
}

static inline void scratch_remove(const char *path)
{
	nftw(path, scratch_remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* Writes a file of `mode`; -1 when that fails. */
static inline int scratch_file(const char *path, const char *text, mode_t mode)
{
	FILE *f = fopen(path, "w");

	if (!f)
		return -1;
	int failed = fputs(text, f) < 0;
	failed |= fclose(f) != 0;
	return failed || chmod(path, mode) != 0 ? -1 : 0;
}

#endif
