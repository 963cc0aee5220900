/* Finding our own program; in the master, once at its start, while the working directory
 * and PATH are those that it was started with. */
#include "balancer/master/self.h"

#include <limits.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/mem.h"

#define SELF "/proc/self/exe"
#define DELETED " (deleted)" /* what the kernel adds to the path of a file that is gone */

static bool is_us(const char *path)
{
	struct stat us, there;

	return stat(SELF, &us) == 0 && stat(path, &there) == 0 && us.st_dev == there.st_dev &&
	       us.st_ino == there.st_ino;
}

/* `path`, which may be relative, made absolute and freed. */
static char *absolute(char *path)
{
	char *cwd = path[0] == '/' ? NULL : getcwd(NULL, 0);

	if (!cwd)
		return path;
	const char *rest = strncmp(path, "./", 2) == 0 ? path + 2 : path;
	char *out = mem_must_printf("%s/%s", strcmp(cwd, "/") == 0 ? "" : cwd, rest);
	free(cwd);
	mem_free(path);
	return out;
}

/* As a shell looks for a word without a slash. */
static char *search(const char *name)
{
	const char *dir = getenv("PATH");

	for (; dir && *dir; dir += *dir == ':') {
		size_t n = strcspn(dir, ":");
		char *path = mem_must_printf("%.*s%s%s", (int)n, dir, n ? "/" : "", name);
		if (is_us(path))
			return path;
		mem_free(path);
		dir += n;
	}
	return NULL;
}

static char *from_kernel(void)
{
	char path[PATH_MAX];
	ssize_t n = readlink(SELF, path, sizeof(path) - 1);
	size_t suffix = strlen(DELETED);

	if (n <= 0)
		return NULL;
	path[n] = '\0';
	if ((size_t)n > suffix && strcmp(path + n - suffix, DELETED) == 0 && access(path, F_OK) != 0)
		path[(size_t)n - suffix] = '\0';
	return mem_must_dup(path);
}

char *self_path(const char *argv0)
{
	char *path = strchr(argv0, '/') ? mem_must_dup(argv0) : search(argv0);

	if (path && is_us(path))
		return absolute(path);
	mem_free(path);
	return from_kernel();
}
