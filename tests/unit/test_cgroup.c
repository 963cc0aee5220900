/* balancer/master/cgroup.h, on folders that look like those of the kernel: which files are
 * written, and what is left alone when something stands in the way. */
#include "lib/check.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include "balancer/master/carry_parts.h"
#include "balancer/master/cgroup.h"

struct tree {
	char root[64];
};

static void put(const struct tree *t, const char *name, const char *text)
{
	char path[256];

	snprintf(path, sizeof(path), "%s%s", t->root, name);
	for (char *slash = path + strlen(t->root) + 1; (slash = strchr(slash, '/')); slash++) {
		*slash = '\0';
		mkdir(path, 0755);
		*slash = '/';
	}
	FILE *f = fopen(path, "w");
	assert_non_null(f);
	fputs(text, f);
	fclose(f);
}

static bool get(const struct tree *t, const char *name, char buf[static 256])
{
	char path[256];

	snprintf(path, sizeof(path), "%s%s", t->root, name);
	FILE *f = fopen(path, "r");
	if (!f)
		return false;
	size_t n = fread(buf, 1, 255, f);
	buf[n] = '\0';
	fclose(f);
	return true;
}

static void check_file(const struct tree *t, const char *name, const char *text)
{
	char buf[256];

	if (!get(t, name, buf))
		fail_msg("%s is not there", name);
	check_row_text(name, buf, text);
}

#define GROUP "/sys/fs/cgroup/system.slice/drover.service"

/* A service with Delegate=yes. */
static struct tree grow(void)
{
	struct tree t = { "/tmp/drover-cgroup-XXXXXX" };
	char pids[32];

	assert_non_null(mkdtemp(t.root));
	put(&t, "/proc/self/cgroup", "12:cpu:/x\n0::/system.slice/drover.service\n");
	put(&t, GROUP "/cgroup.controllers", "cpuset cpu io memory pids\n");
	snprintf(pids, sizeof(pids), "%d\n", (int)getpid());
	put(&t, GROUP "/cgroup.procs", pids);
	return t;
}

static void fell(const struct tree *t)
{
	char command[128];

	snprintf(command, sizeof(command), "rm -rf '%s'", t->root);
	assert_int_equal(system(command), 0);
}

static void test_limits_are_written(void **state)
{
	struct tree t = grow();
	struct cgroup c;
	char own[16];

	(void)state;
	cgroup_init(&c, t.root);
	int fd = cgroup_procs(&c, "web", 700ull << 20, 150);
	assert_true(fd > 2);
	assert_int_equal(write(fd, "0", 1), 1);
	close(fd);
	snprintf(own, sizeof(own), "%d", (int)getpid());
	check_file(&t, GROUP "/drover/cgroup.procs", own);
	check_file(&t, GROUP "/cgroup.subtree_control", "+memory +cpu");
	check_file(&t, GROUP "/app-web/memory.max", "734003200");
	check_file(&t, GROUP "/app-web/cpu.max", "150000 100000");
	check_file(&t, GROUP "/app-web/cgroup.procs", "0");
	/* One of the two. */
	fd = cgroup_procs(&c, "api", 0, 50);
	assert_true(fd > 2);
	close(fd);
	check_file(&t, GROUP "/app-api/memory.max", "max");
	check_file(&t, GROUP "/app-api/cpu.max", "50000 100000");
	assert_int_equal(c.n_names, 3);
	cgroup_remove(&c);
	fell(&t);
}

/* A binary upgrade: the same groups are found again from inside. */
static void test_divided_before(void **state)
{
	struct tree t = grow();
	struct cgroup c;

	(void)state;
	put(&t, "/proc/self/cgroup", "0::/system.slice/drover.service/drover\n");
	put(&t, GROUP "/cgroup.subtree_control", "cpu memory\n");
	put(&t, GROUP "/drover/cgroup.controllers", "cpu memory\n");
	cgroup_init(&c, t.root);
	int fd = cgroup_procs(&c, "web", 1 << 20, 0);
	assert_true(fd > 2);
	close(fd);
	check_file(&t, GROUP "/app-web/memory.max", "1048576");
	fell(&t);
}

/* Started elsewhere, in the place of a master that was killed: what that one had divided. */
static void test_in_the_place_of_another(void **state)
{
	struct tree t = grow();
	struct cgroup c;
	char path[256], own[16];

	(void)state;
	put(&t, "/proc/self/cgroup", "0::/session.scope\n");
	put(&t, GROUP "/drover/cgroup.procs", "");
	put(&t, GROUP "/app-web/memory.max", "1048576");
	cgroup_init(&c, t.root);
	cgroup_rejoin(&c); /* nothing was divided */
	assert_false(c.tried);
	check_file(&t, GROUP "/drover/cgroup.procs", "");

	snprintf(c.base, sizeof(c.base), "%s" GROUP, t.root);
	c.tried = c.usable = true;
	assert_true(cgroup_note(&c, SLICE("drover")));
	assert_true(cgroup_note(&c, SLICE("app-web")));
	assert_true(cgroup_note(&c, SLICE("app-empty"))); /* it was removed meanwhile */
	cgroup_rejoin(&c);
	snprintf(own, sizeof(own), "%d", (int)getpid());
	check_file(&t, GROUP "/drover/cgroup.procs", own);
	int fd = cgroup_procs(&c, "web", 2 << 20, 0);
	assert_true(fd > 2);
	close(fd);
	check_file(&t, GROUP "/app-web/memory.max", "2097152");
	fd = cgroup_procs(&c, "empty", 2 << 20, 0);
	assert_true(fd > 2);
	close(fd);
	assert_int_equal(c.n_names, 3);

	snprintf(path, sizeof(path), "rm -rf '%s" GROUP "/drover'", t.root);
	assert_int_equal(system(path), 0);
	cgroup_rejoin(&c); /* no way in */
	assert_int_equal(cgroup_procs(&c, "web", 2 << 20, 0), 0);
	fell(&t);
}

/* As it crosses to the next master, or over an exec; a rehearsal leaves what is there alone. */
static void test_carried(void **state)
{
	static struct master from, to;
	struct state_out out = { .bytes = NULL };
	struct carry_in c = { .m = &to };
	struct state_in in;
	struct state_record r;
	size_t at = 0;
	int fd;

	(void)state;
	cgroup_init(&from.cgroup, "");
	carry_save_cgroup(&from, &out);
	assert_int_equal(out.records, 0); /* nothing was divided */
	strcpy(from.cgroup.base, "/sys/fs/cgroup/some.slice/x.service");
	from.cgroup.tried = from.cgroup.usable = true;
	assert_true(cgroup_note(&from.cgroup, SLICE("drover")));
	assert_true(cgroup_note(&from.cgroup, SLICE("app-web")));
	carry_save_cgroup(&from, &out);
	assert_int_equal(state_finish(&out, &fd), ERR_OK);
	for (int dry = 1; dry >= 0; dry--) {
		assert_int_equal(state_in_init(&in, fd, dry), ERR_OK);
		c.in = &in;
		at = 0;
		cgroup_init(&to.cgroup, "");
		assert_true(state_next(&in, &at, "cgroup", &r));
		assert_int_equal(carry_load_cgroup(&c, &r), ERR_OK);
		assert_int_equal(to.cgroup.usable, !dry);
		assert_int_equal(to.cgroup.n_names, dry ? 0 : 2);
		state_in_fini(&in);
	}
	assert_true(to.cgroup.tried);
	assert_string_equal(to.cgroup.base, from.cgroup.base);
	assert_string_equal(to.cgroup.names[0], "drover");
	assert_string_equal(to.cgroup.names[1], "app-web");
	state_out_fini(&out);
	close(fd);
}

static void test_groups_that_are_none(void **state)
{
	static const char too_long[] = "0123456789012345678901234567890123456789"
				       "0123456789012345678901234567890123456789";
	static const char *const rows[] = { "", "a/b", "/", too_long };
	struct cgroup c;
	char name[16];

	(void)state;
	cgroup_init(&c, "");
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		check_row(rows[i], !cgroup_note(&c, slice_of(rows[i])));
	for (int i = 0; i <= CGROUP_GROUPS; i++) {
		snprintf(name, sizeof(name), "app-%d", i);
		check_row(name, cgroup_note(&c, slice_of(name)) == (i < CGROUP_GROUPS));
	}
	assert_true(cgroup_note(&c, SLICE("app-0"))); /* it is one of them */
	assert_int_equal(c.n_names, CGROUP_GROUPS);
}

static void test_nothing_is_touched_without_need(void **state)
{
	struct tree t = grow();
	struct cgroup c;
	char buf[256];

	(void)state;
	cgroup_init(&c, t.root);
	assert_int_equal(cgroup_procs(&c, "web", 0, 0), 0);
	assert_false(c.tried);
	assert_false(get(&t, GROUP "/cgroup.subtree_control", buf));
	fell(&t);
}

static void test_what_stands_in_the_way(void **state)
{
	static const struct {
		const char *file, *text, *why;
	} rows[] = {
		{ "/proc/self/cgroup", "12:cpu:/x\n", "no control group of version 2" },
		{ "/proc/self/cgroup", "0::/elsewhere\n", "no control group of version 2" },
		{ GROUP "/cgroup.controllers", "\n", "not passed on" },
		{ GROUP "/cgroup.controllers", "cpuset memory\n", "not passed on" },
		{ GROUP "/cgroup.procs", "1\n", "others are in" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct tree t = grow();
		struct cgroup c;
		const char *why = "";
		char buf[256];
		put(&t, "/proc/1/stat", "1 (init) S 0 1 1 0 -1");
		put(&t, rows[i].file, rows[i].text);
		cgroup_init(&c, t.root);
		enum err e = cgroup_divide(&c, &why);
		check_row_int(rows[i].why, e, ERR_SYS);
		check_row(rows[i].why, strstr(why, rows[i].why) != NULL);
		check_row(rows[i].why, !get(&t, GROUP "/cgroup.subtree_control", buf));
		assert_int_equal(cgroup_procs(&c, "web", 1, 0), 0);
		assert_int_equal(cgroup_procs(&c, "web", 1, 0), 0);
		fell(&t);
	}
}

/* ---- with the kernel ---------------------------------------------------- */

/* Where control groups of version 2 are that we may divide; false: nowhere. */
static bool find_real(char real[static 64])
{
	static const char *const mounts[] = { "/sys/fs/cgroup", "/sys/fs/cgroup/unified" };
	struct statfs fs;

	for (size_t i = 0; i < ARRAY_LEN(mounts); i++) {
		if (statfs(mounts[i], &fs) != 0 || fs.f_type != CGROUP2_SUPER_MAGIC)
			continue;
		snprintf(real, 64, "%s/drover-unit-%d", mounts[i], (int)getpid());
		return mkdir(real, 0755) == 0;
	}
	return false;
}

/* The path behind "0::" of a process. */
static const char *group_of(pid_t pid, char buf[static 256])
{
	const struct tree proc = { "/proc" };
	char name[32];

	snprintf(name, sizeof(name), "/%d/cgroup", (int)pid);
	assert_true(get(&proc, name, buf));
	char *own = strstr(buf, "0::");
	assert_non_null(own);
	own[strcspn(own, "\n")] = '\0';
	return own + 3;
}

static void enter(const char *group)
{
	const struct tree real = { "" };
	char name[512];

	snprintf(name, sizeof(name), "%s/cgroup.procs", group);
	put(&real, name, "0");
}

static void link_to(const struct tree *t, const char *name, const char *real, const char *what)
{
	char path[256], target[256];

	snprintf(path, sizeof(path), "%s%s", t->root, name);
	snprintf(target, sizeof(target), "%s%s", real, what);
	unlink(path);
	assert_int_equal(symlink(target, path), 0);
}

/* Its controllers may be elsewhere (version 1 has them on some machines): those files are ours,
 * but who is in which group is the kernel's word. */
static void test_everybody_moves(void **state)
{
	char real[64], before[256], at[256], name[160];
	const char *why = "";
	struct cgroup c;

	(void)state;
	if (!find_real(real)) {
		print_message("skipped: no control group of version 2 that may be written\n");
		skip();
	}
	struct tree t = grow();
	snprintf(name, sizeof(name), "%s/drover", real);
	assert_int_equal(mkdir(name, 0755), 0);
	const char *home = group_of(getpid(), before);
	enter(real);
	pid_t child = fork();
	if (child == 0) {
		pause();
		_exit(0);
	}
	snprintf(name, sizeof(name), "/proc/%d/stat", (int)child);
	snprintf(at, sizeof(at), "%d (child) S %d 1 1 0 -1", (int)child, (int)getpid());
	put(&t, name, at);
	link_to(&t, GROUP "/cgroup.procs", real, "/cgroup.procs");
	link_to(&t, GROUP "/drover", real, "/drover");
	cgroup_init(&c, t.root);
	assert_int_equal(cgroup_divide(&c, &why), ERR_OK);
	snprintf(name, sizeof(name), "%s/drover", strrchr(real, '/'));
	assert_non_null(strstr(group_of(getpid(), at), name));
	assert_non_null(strstr(group_of(child, at), name));
	assert_true(get(&t, GROUP "/cgroup.procs", at));
	assert_string_equal(at, ""); /* so that it may pass controllers on */
	kill(child, SIGKILL);
	assert_int_equal(waitpid(child, NULL, 0), child);
	snprintf(name, sizeof(name), "%.*s%s", (int)(strrchr(real, '/') - real), real,
		 strcmp(home, "/") == 0 ? "" : home);
	enter(name);
	snprintf(name, sizeof(name), "%s/drover", real);
	assert_int_equal(rmdir(name), 0);
	assert_int_equal(rmdir(real), 0);
	fell(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_limits_are_written),
		cmocka_unit_test(test_divided_before),
		cmocka_unit_test(test_in_the_place_of_another),
		cmocka_unit_test(test_carried),
		cmocka_unit_test(test_groups_that_are_none),
		cmocka_unit_test(test_nothing_is_touched_without_need),
		cmocka_unit_test(test_what_stands_in_the_way),
		cmocka_unit_test(test_everybody_moves),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
