/* common/cores.c: quotas as the kernel writes them, and trees of them. */
#include "lib/check.h"

#include <sched.h>
#include <unistd.h>

#include "common/proc.h"
#include "lib/process.h"

static char dir[128];

static void test_quota_texts(void **state)
{
	static const struct {
		const char *text;
		uint32_t want;
	} v2[] = {
		{ "max 100000\n", 0 },
		{ "100000 100000\n", 1 },
		{ "150000 100000\n", 2 },
		{ "200000 100000\n", 2 },
		{ "200001 100000\n", 3 },
		{ "1000 100000\n", 1 },
		{ "50000 25000", 2 },
		{ "", 0 },
		{ "\n", 0 },
		{ "100000\n", 0 },
		{ "100000 0\n", 0 },
		{ "0 100000\n", 0 },
		{ "100000 max\n", 0 },
		{ "-1 100000\n", 0 },
		{ "x y\n", 0 },
		{ "99999999999999999999 100000\n", 0 },
		{ "9223372036854775807 1\n", 0 },
	};
	static const struct {
		const char *quota, *period;
		uint32_t want;
	} v1[] = {
		{ "-1\n", "100000\n", 0 },
		{ "100000\n", "100000\n", 1 },
		{ "250000\n", "100000\n", 3 },
		{ "250000\n", "", 0 },
		{ "", "100000\n", 0 },
		{ "1\n", "100000\n", 1 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(v2); i++)
		check_row_int(v2[i].text, proc_quota_v2(slice_of(v2[i].text)), v2[i].want);
	for (size_t i = 0; i < ARRAY_LEN(v1); i++) {
		struct slice quota = slice_of(v1[i].quota), period = slice_of(v1[i].period);
		check_row_int(v1[i].quota, proc_quota_v1(quota, period), v1[i].want);
	}
}

/* Writes a file below the scratch folder, with the folders above it. */
static void plant(const char *name, const char *text)
{
	char path[512];
	char *slash = path + snprintf(path, sizeof(path), "%s", dir);

	snprintf(slash, sizeof(path) - strlen(dir), "%s", name);
	while ((slash = strchr(slash + 1, '/'))) {
		*slash = '\0';
		mkdir(path, 0755);
		*slash = '/';
	}
	assert_int_equal(scratch_file(path, text, 0644), 0);
}

static void test_cgroup_trees(void **state)
{
	static const struct {
		const char *row, *cgroup;
		const char *files[6][2]; /* below /sys/fs/cgroup, and the text */
		uint32_t want;
	} rows[] = {
		{ "nothing", "", { { NULL } }, 0 },
		{ "no limit", "0::/\n", { { "/cpu.max", "max 100000\n" } }, 0 },
		{ "container", "0::/\n", { { "/cpu.max", "150000 100000\n" } }, 2 },
		{ "ours", "0::/a/b\n", { { "/a/b/cpu.max", "300000 100000\n" } }, 3 },
		{ "a parent's is less", "0::/a/b\n", { { "/a/b/cpu.max", "300000 100000\n" },
		  { "/a/cpu.max", "100000 100000\n" } }, 1 },
		{ "a parent's is more", "0::/a/b\n", { { "/a/b/cpu.max", "300000 100000\n" },
		  { "/a/cpu.max", "800000 100000\n" }, { "/cpu.max", "max 100000\n" } }, 3 },
		{ "host's path", "0::/docker/0123\n", { { "/cpu.max", "400000 100000\n" } }, 4 },
		{ "colon in path", "0::/a:b\n", { { "/a:b/cpu.max", "400000 100000\n" } }, 4 },
		{ "v1", "4:memory:/x\n3:cpu,cpuacct:/a\n0::/\n",
		  { { "/cpu/a/cpu.cfs_quota_us", "250000\n" },
		    { "/cpu/a/cpu.cfs_period_us", "100000\n" } }, 3 },
		{ "v1, host's path", "3:cpuacct,cpu:/docker/0123\n",
		  { { "/cpu/cpu.cfs_quota_us", "200000\n" },
		    { "/cpu/cpu.cfs_period_us", "100000\n" } }, 2 },
		{ "v1, not cpuset", "3:cpuset:/a\n", { { "/cpu/a/cpu.cfs_quota_us", "250000\n" },
		    { "/cpu/a/cpu.cfs_period_us", "100000\n" } }, 0 },
		{ "v1, no limit", "3:cpu:/a\n", { { "/cpu/a/cpu.cfs_quota_us", "-1\n" },
		    { "/cpu/a/cpu.cfs_period_us", "100000\n" } }, 0 },
		{ "junk", "::::\n\nx\n:\n00::/\n1:cpuset\n",
		  { { "/cpu.max", "100000 100000\n" } }, 0 },
	};

	(void)state;
	assert_non_null(scratch_new(dir));
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		plant("/proc/self/cgroup", rows[i].cgroup);
		for (size_t k = 0; k < 6 && rows[i].files[k][0]; k++) {
			char name[128];
			snprintf(name, sizeof(name), "/sys/fs/cgroup%s", rows[i].files[k][0]);
			plant(name, rows[i].files[k][1]);
		}
		check_row_int(rows[i].row, proc_cgroup_cores(dir), rows[i].want);
		scratch_remove(dir);
		assert_int_equal(mkdir(dir, 0755), 0);
	}
	scratch_remove(dir);
	assert_int_equal(proc_cgroup_cores(dir), 0);
}

static int cores_on_one_cpu(void *arg)
{
	cpu_set_t set, one;

	(void)arg;
	sched_getaffinity(0, sizeof(set), &set);
	CPU_ZERO(&one);
	for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
		if (CPU_ISSET(cpu, &set)) {
			CPU_SET(cpu, &one);
			break;
		}
	}
	sched_setaffinity(0, sizeof(one), &one);
	return (int)proc_usable_cores();
}

static void test_usable_cores(void **state)
{
	(void)state;
	assert_in_range(proc_usable_cores(), 1, sysconf(_SC_NPROCESSORS_CONF));
	assert_int_equal(in_child(cores_on_one_cpu, NULL), 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_quota_texts),
		cmocka_unit_test(test_cgroup_trees),
		cmocka_unit_test(test_usable_cores),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
