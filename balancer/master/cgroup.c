/* Control groups; in the master, called by worker_spawn.c.
 *
 *   ours            before: drover and whoever it started; then: nobody
 *   ├── drover      drover and its balancers
 *   └── app-NAME    the workers of an app with limits: memory.max, cpu.max
 *
 * The kernel lets a group with processes of its own pass no controllers on, so we move into
 * a child of it first.  That is done only when somebody asks for a limit, and only where
 * everybody in the group is ours: in a session's or a container runtime's own group we are
 * a guest.  No library: libcgroup in Debian 12 brings a parser for its own configuration
 * and a daemon's interface for what is a handful of small files. */
#include "balancer/master/cgroup.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/fd.h"
#include "common/log.h"
#include "common/slice.h"

#define CPU_PERIOD_US 100000
#define OWN_GROUP "drover"
#define MOVES_MAX 8 /* rounds of moving: who forks meanwhile is met in the next one */

void cgroup_init(struct cgroup *c, const char *root)
{
	*c = (struct cgroup){ .root = root };
}

/* ---- small files -------------------------------------------------------- */

/* Returns false when the path would be too long. */
static bool join(char out[static PATH_MAX], const char *a, const char *b, const char *name)
{
	int n = snprintf(out, PATH_MAX, "%s%s%s", a, b, name);

	return n > 0 && n < PATH_MAX;
}

static bool read_file(const char *path, char *buf, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	ssize_t n = read(fd, buf, size - 1);
	int error = errno;
	fd_close(&fd);
	buf[n > 0 ? n : 0] = '\0';
	errno = error;
	return n >= 0;
}

/* A file of a control group stands already; O_CREAT is for the folders of tests. */
static int open_file(const char *folder, const char *group, const char *name)
{
	char path[PATH_MAX];

	if (!join(path, folder, group, name))
		return -1;
	return open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
}

static bool write_file(const char *folder, const char *group, const char *name, const char *text)
{
	int fd = open_file(folder, group, name);
	if (fd < 0)
		return false;
	ssize_t n = write(fd, text, strlen(text));
	int error = errno;
	fd_close(&fd);
	errno = error;
	return n == (ssize_t)strlen(text);
}

static bool has_word(const char *text, const char *word)
{
	size_t n = strlen(word);

	for (const char *p = text; (p = strstr(p, word)); p += n)
		if ((p == text || p[-1] == ' ') && (p[n] == '\0' || p[n] == ' ' || p[n] == '\n'))
			return true;
	return false;
}

/* ---- our own group ------------------------------------------------------ */

/* Where drover was divided before (by a program that did not carry that, or by systemd's
 * DelegateSubgroup=) we are in the child already: what is to be divided is above it. */
static void leave_own_group(struct cgroup *c)
{
	char path[PATH_MAX], text[1024], *slash = strrchr(c->base, '/');

	if (!slash || strcmp(slash + 1, OWN_GROUP) != 0)
		return;
	*slash = '\0';
	if (!join(path, c->base, "/cgroup.subtree_control", "") ||
	    !read_file(path, text, sizeof(text)) || !strstr(text, "memory"))
		*slash = '/';
}

/* The line "0::/path" of /proc/self/cgroup, below where version 2 is mounted. */
static bool find_base(struct cgroup *c)
{
	static const char *const mounts[] = { "/sys/fs/cgroup", "/sys/fs/cgroup/unified" };
	char path[PATH_MAX], text[PATH_MAX];

	if (!join(path, c->root, "/proc/self/cgroup", "") || !read_file(path, text, sizeof(text)))
		return false;
	char *own = strncmp(text, "0::/", 4) == 0 ? text : strstr(text, "\n0::/");
	if (!own)
		return false;
	own = strchr(own, '/');
	own[strcspn(own, "\n")] = '\0';
	for (size_t i = 0; i < ARRAY_LEN(mounts); i++) {
		char top[PATH_MAX];
		if (!join(top, c->root, mounts[i], strcmp(own, "/") == 0 ? "" : own) ||
		    !join(path, top, "/cgroup.controllers", "") || access(path, F_OK) != 0)
			continue;
		if (!join(c->base, top, "", ""))
			return false;
		leave_own_group(c);
		return true;
	}
	return false;
}

/* Ourselves, or one that we started. */
static bool is_ours(const struct cgroup *c, pid_t pid)
{
	char path[PATH_MAX], text[1024], name[64];

	if (pid == getpid())
		return true;
	snprintf(name, sizeof(name), "/proc/%d/stat", (int)pid);
	if (!join(path, c->root, name, "") || !read_file(path, text, sizeof(text)))
		return true; /* it has ended */
	const char *end = strrchr(text, ')');
	return end && strlen(end) > 4 && atoi(end + 4) == getpid();
}

/* One round over cgroup.procs.  False: somebody is a stranger. */
static bool each_process(struct cgroup *c, bool move, uint32_t *ret_n)
{
	char path[PATH_MAX], text[16384], pid_text[16];

	*ret_n = 0;
	if (!join(path, c->base, "/cgroup.procs", "") || !read_file(path, text, sizeof(text)))
		return false;
	for (char *at = text, *end; *at; at = end + (*end == '\n')) {
		long pid = strtol(at, &end, 10);
		if (end == at)
			break;
		(*ret_n)++;
		if (!move && !is_ours(c, (pid_t)pid))
			return false;
		snprintf(pid_text, sizeof(pid_text), "%ld", pid);
		if (move)
			(void)write_file(c->base, "/" OWN_GROUP, "/cgroup.procs", pid_text);
	}
	return true;
}

bool cgroup_note(struct cgroup *c, struct slice name)
{
	for (uint32_t i = 0; i < c->n_names; i++)
		if (slice_eq(slice_of(c->names[i]), name))
			return true;
	if (c->n_names == CGROUP_GROUPS || name.n == 0 || name.n >= sizeof(c->names[0]) ||
	    memchr(name.p, '/', name.n))
		return false;
	memcpy(c->names[c->n_names], name.p, name.n);
	c->names[c->n_names++][name.n] = '\0';
	return true;
}

static bool make_group(struct cgroup *c, const char *name)
{
	char path[PATH_MAX];

	return join(path, c->base, "/", name) && (mkdir(path, 0755) == 0 || errno == EEXIST) &&
	       cgroup_note(c, slice_of(name));
}

static enum err refuse(const char **ret_why, const char *why)
{
	*ret_why = why;
	return ERR_SYS;
}

enum err cgroup_divide(struct cgroup *c, const char **ret_why)
{
	char path[PATH_MAX], text[1024];
	uint32_t n;

	if (!find_base(c))
		return refuse(ret_why, "there is no control group of version 2 here");
	if (!join(path, c->base, "/cgroup.controllers", "") || !read_file(path, text, sizeof(text)))
		return refuse(ret_why, "drover's control group cannot be read");
	if (!has_word(text, "memory") || !has_word(text, "cpu"))
		return refuse(ret_why, "the controllers memory and cpu are not passed on to drover's "
			      "control group (Delegate=yes in a service)");
	if (!each_process(c, false, &n))
		return refuse(ret_why, "others are in drover's control group: it can only divide one "
			      "of its own, as a service has");
	if (!make_group(c, OWN_GROUP))
		return refuse(ret_why, "drover's control group may not be divided (Delegate=yes in a "
			      "service)");
	for (int i = 0; i < MOVES_MAX && each_process(c, true, &n) && n > 0; i++)
		;
	if (!write_file(c->base, "", "/cgroup.subtree_control", "+memory +cpu"))
		return refuse(ret_why, "drover's control group does not pass its controllers on");
	return ERR_OK;
}

/* ---- an app's ----------------------------------------------------------- */

static bool set_limits(struct cgroup *c, const char *group, uint64_t memory, uint32_t percent)
{
	char text[64] = "max";

	if (memory)
		snprintf(text, sizeof(text), "%llu", (unsigned long long)memory);
	if (!write_file(c->base, group, "/memory.max", text))
		return false;
	if (percent)
		snprintf(text, sizeof(text), "%llu %d",
			 (unsigned long long)percent * (CPU_PERIOD_US / 100), CPU_PERIOD_US);
	else
		snprintf(text, sizeof(text), "max %d", CPU_PERIOD_US);
	return write_file(c->base, group, "/cpu.max", text);
}

int cgroup_procs(struct cgroup *c, const char *app, uint64_t memory_bytes, uint32_t cpu_percent)
{
	const char *why = "";
	char group[80];

	if (!memory_bytes && !cpu_percent)
		return 0;
	if (!c->tried) {
		c->tried = true;
		c->usable = cgroup_divide(c, &why) == ERR_OK;
		if (!c->usable)
			log_warn("limits.memory and limits.cpu of apps have no effect: %s", why);
	}
	if (!c->usable)
		return 0;
	snprintf(group, sizeof(group), "/app-%.63s", app);
	int fd = -1;
	if (make_group(c, group + 1) && set_limits(c, group, memory_bytes, cpu_percent))
		fd = open_file(c->base, group, "/cgroup.procs");
	if (fd < 0)
		log_warn("app %s: its limits.memory and limits.cpu have no effect: %s", app,
			 strerror(errno));
	return MAX(fd, 0);
}

void cgroup_rejoin(struct cgroup *c)
{
	char pid[16];

	if (!c->usable)
		return;
	snprintf(pid, sizeof(pid), "%d", (int)getpid());
	if (write_file(c->base, "/" OWN_GROUP, "/cgroup.procs", pid))
		return;
	c->usable = false;
	log_warn("limits.memory and limits.cpu of apps have no effect on new workers: cannot move into "
		 "the control group of the master before us, %s/" OWN_GROUP ": %s", c->base,
		 strerror(errno));
}

void cgroup_remove(struct cgroup *c)
{
	char path[PATH_MAX];

	for (uint32_t i = 0; i < c->n_names; i++)
		if (join(path, c->base, "/", c->names[i]))
			rmdir(path);
	c->n_names = 0;
}
