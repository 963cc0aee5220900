/* How many cores this process may use: proc_usable_cores(), for "auto" in the
 * configuration.  Read by the master at each load.
 *
 * A container's CPU limit is a cgroup quota, which the affinity mask does not
 * show: without it, 64 balancers would fight over two cores' worth of time.
 * Every level from our cgroup up to the root may carry one; the least counts.
 */
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/fd.h"
#include "common/proc.h"

#define MAX_CPUS 8192 /* the kernel's own limit (CONFIG_NR_CPUS) */
#define CGROUP_MOUNT "/sys/fs/cgroup"

/* A whole small file into `text`; empty when it cannot be read. */
static struct slice read_file(const char *path, char *text, size_t room)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	size_t have = 0;
	ssize_t n = 0;

	if (fd < 0)
		return (struct slice){ text, 0 };
	while (have < room && (n = read(fd, text + have, room - have)) > 0)
		have += (size_t)n;
	fd_close(&fd);
	return (struct slice){ text, n < 0 ? 0 : have };
}

/* The text up to `end` or the end; *rest continues after it. */
static struct slice cut(struct slice *rest, char end)
{
	const char *at = rest->n ? memchr(rest->p, end, rest->n) : NULL;
	struct slice head = { rest->p, at ? (size_t)(at - rest->p) : rest->n };
	size_t skip = head.n + (at ? 1 : 0);

	rest->p += skip;
	rest->n -= skip;
	return head;
}

static uint32_t quota_cores(struct slice quota, struct slice period)
{
	uint64_t quota_us, period_us;

	/* "max" (v2) and -1 (v1), no limit, are not numbers here. */
	if (slice_to_u64(quota, INT64_MAX, &quota_us) ||
	    slice_to_u64(period, INT64_MAX, &period_us))
		return 0;
	if (quota_us == 0 || period_us == 0)
		return 0;
	uint64_t cores = (quota_us - 1) / period_us + 1;
	return cores > UINT32_MAX ? 0 : (uint32_t)cores;
}

uint32_t proc_quota_v2(struct slice cpu_max)
{
	struct slice line = cut(&cpu_max, '\n');
	struct slice quota = cut(&line, ' ');

	return quota_cores(quota, line);
}

uint32_t proc_quota_v1(struct slice quota_file, struct slice period_file)
{
	return quota_cores(cut(&quota_file, '\n'), cut(&period_file, '\n'));
}

/* One level of the tree, "<root>/sys/fs/cgroup<controller><level>"; 0: no limit. */
static uint32_t level_cores(const char *root, const char *controller, struct slice level)
{
	char path[PATH_MAX], text[128], more[128];
	int n = snprintf(path, sizeof(path), "%s" CGROUP_MOUNT "%s%.*s/", root, controller,
			 (int)level.n, level.p);
	size_t room = sizeof(path) - (size_t)n;

	if (n < 0 || (size_t)n + sizeof("cpu.cfs_period_us") > sizeof(path))
		return 0;
	if (controller[0] == '\0') {
		snprintf(path + n, room, "cpu.max");
		return proc_quota_v2(read_file(path, text, sizeof(text)));
	}
	snprintf(path + n, room, "cpu.cfs_quota_us");
	struct slice quota = read_file(path, text, sizeof(text));
	snprintf(path + n, room, "cpu.cfs_period_us");
	return proc_quota_v1(quota, read_file(path, more, sizeof(more)));
}

/* The least limit from `group` up to the root.  A path that does not exist here
 * (a container sees the host's) costs only failed opens on the way up. */
static uint32_t least_cores(const char *root, const char *controller, struct slice group)
{
	uint32_t least = 0;

	for (;;) {
		while (group.n && group.p[group.n - 1] == '/')
			group.n--;
		uint32_t cores = level_cores(root, controller, group);
		if (cores && (!least || cores < least))
			least = cores;
		if (group.n == 0)
			return least;
		while (group.n && group.p[group.n - 1] != '/')
			group.n--;
	}
}

uint32_t proc_cgroup_cores(const char *root)
{
	char path[PATH_MAX], text[8192];
	uint32_t least = 0;

	snprintf(path, sizeof(path), "%s/proc/self/cgroup", root);
	struct slice rest = read_file(path, text, sizeof(text));
	/* cgroups(7): "hierarchy:controllers:path"; v2 is hierarchy 0. */
	while (rest.n) {
		struct slice line = cut(&rest, '\n');
		struct slice number = cut(&line, ':');
		struct slice controllers = cut(&line, ':'), controller;
		uint32_t cores = 0;

		if (slice_eq(number, SLICE("0")))
			cores = least_cores(root, "", line);
		while (slice_next_item(&controllers, &controller)) {
			if (slice_eq(controller, SLICE("cpu")))
				cores = least_cores(root, "/cpu", line);
		}
		if (cores && (!least || cores < least))
			least = cores;
	}
	return least;
}

uint32_t proc_usable_cores(void)
{
	cpu_set_t set[MAX_CPUS / CPU_SETSIZE];
	uint32_t cores = 1;

	if (sched_getaffinity(0, sizeof(set), set) == 0)
		cores = (uint32_t)CPU_COUNT_S(sizeof(set), set);
	uint32_t quota = proc_cgroup_cores("");
	if (quota && quota < cores)
		cores = quota;
	return MAX(cores, 1u);
}
