/* common/spawn.c: what a child gets and what it does not, and why one cannot be
 * started.  The program also runs as its own child: "facts" prints what it finds
 * around it. */
#include "lib/check.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "common/fd.h"
#include "common/proc.h"
#include "lib/own_folder.h"
#include "lib/process.h"

static char self[256]; /* this program */

/* And without children. */
static int tear_down_all(void **state)
{
	if (tear_down(state) != 0)
		return -1;
	if (waitpid(-1, NULL, WNOHANG) != -1 || errno != ECHILD) {
		print_error("a child was left behind\n");
		return -1;
	}
	return 0;
}

static const char *in_dir(const char *name, char path[static 256])
{
	snprintf(path, 256, "%s/%s", dir, name);
	return path;
}

/* ---- the child --------------------------------------------------------- */

/* The value of "name:" in /proc/self/status. */
static void print_status(const char *name)
{
	char line[256];
	FILE *f = fopen("/proc/self/status", "r");

	while (f && fgets(line, sizeof(line), f)) {
		if (strncmp(line, name, strlen(name)) == 0)
			printf("%s", line);
	}
	if (f)
		fclose(f);
}

static int facts(void)
{
	extern char **environ;
	char target[256];

	printf("fds");
	for (int fd = 0; fd < 1024; fd++) {
		if (fcntl(fd, F_GETFD) >= 0)
			printf(" %d", fd);
	}
	ssize_t n = readlink("/proc/self/fd/0", target, sizeof(target) - 1);
	target[MAX(n, 0)] = '\0';
	printf("\nstdin %s\n", target);
	printf("group %s\n", getpgrp() == getpid() ? "own" : "other");
	print_status("SigBlk");
	print_status("SigIgn");
	for (char **e = environ; *e; e++)
		printf("env %s\n", *e);
	printf("directory %s\n", getcwd(target, sizeof(target)));
	printf("umask %o\n", (unsigned)umask(0));
	return 0;
}

/* ---- spawning ---------------------------------------------------------- */

/* Spawns with stdout (and stderr) into a pipe and reads until its end; then the
 * exit status goes to *ret_status (1000 + signal). */
static enum err run(struct proc_spec *spec, char *text, size_t room, int *ret_status,
		    struct proc_failure *ret_failure)
{
	int pipe_fds[2], pidfd;
	siginfo_t info = { .si_pid = 0 };
	size_t have = 0;
	ssize_t n;
	pid_t pid;

	assert_int_equal(pipe2(pipe_fds, O_CLOEXEC), 0);
	spec->stdout_fd = spec->stderr_fd = pipe_fds[1];
	enum err e = proc_spawn(spec, &pid, &pidfd, ret_failure);
	fd_close(&pipe_fds[1]);
	while ((n = read(pipe_fds[0], text + have, room - 1 - have)) > 0)
		have += (size_t)n;
	text[have] = '\0';
	fd_close(&pipe_fds[0]);
	if (e)
		return e;
	assert_true(fcntl(pidfd, F_GETFD) & FD_CLOEXEC);
	assert_int_equal(waitid(P_PIDFD, (id_t)pidfd, &info, WEXITED), 0);
	assert_int_equal(info.si_pid, pid);
	*ret_status = info.si_code == CLD_EXITED ? info.si_status : 1000 + info.si_status;
	fd_close(&pidfd);
	return ERR_OK;
}

static void on_signal(int signo)
{
	(void)signo;
}

/* Runs "facts" in surroundings of which nothing must come through. */
static void run_facts(int stdin_fd, char *text, size_t room)
{
	char *const argv[] = { self, (char *)"facts", NULL };
	char *const env[] = { (char *)"PORT=8080", (char *)"EMPTY=", NULL };
	struct proc_spec spec = { .argv = argv, .env = env, .directory = "/",
				  .stdin_fd = stdin_fd };
	const int ignored[] = { SIGUSR1, SIGPIPE, SIGRTMIN + 3 };
	struct proc_failure failure;
	int status = -1, stray[3];
	sigset_t block, old, after;

	for (int i = 0; i < 3; i++) {
		stray[i] = fcntl(0, F_DUPFD, 50 * (i + 1));
		signal(ignored[i], SIG_IGN);
	}
	signal(SIGUSR2, on_signal);
	sigemptyset(&block);
	sigaddset(&block, SIGTERM);
	sigaddset(&block, SIGRTMIN);
	sigprocmask(SIG_BLOCK, &block, &old);
	mode_t mask = umask(0123);

	enum err e = run(&spec, text, room, &status, &failure);

	umask(mask);
	sigprocmask(SIG_SETMASK, &old, &after);
	signal(SIGUSR2, SIG_DFL);
	for (int i = 0; i < 3; i++) {
		signal(ignored[i], SIG_DFL);
		fd_close(&stray[i]);
	}
	assert_int_equal(e, ERR_OK);
	assert_int_equal(status, 0);
	assert_true(sigismember(&after, SIGTERM)); /* ours is as it was */
	assert_false(sigismember(&after, SIGINT));
}

#define FACTS(stdin)                                                                      \
	"fds 0 1 2\nstdin " stdin "\ngroup own\n"                                         \
	"SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n"                         \
	"env PORT=8080\nenv EMPTY=\ndirectory /\numask 123\n"

static void test_what_a_child_gets(void **state)
{
	char text[4096];

	(void)state;
	run_facts(-1, text, sizeof(text));
	assert_string_equal(text, FACTS("/dev/null"));
	/* Its source is not close-on-exec, and is still only there as 0. */
	int zero = open("/dev/zero", O_RDONLY);
	run_facts(zero, text, sizeof(text));
	assert_string_equal(text, FACTS("/dev/zero"));
	fd_close(&zero);
}

static void test_group_stands_on_return(void **state)
{
	char *const argv[] = { (char *)"/bin/sh", (char *)"-c", (char *)"kill -STOP $$", NULL };
	char *const env[] = { NULL };
	struct proc_spec spec = { .argv = argv, .env = env, .stdin_fd = -1, .stdout_fd = -1,
				  .stderr_fd = -1 };
	struct proc_failure failure;
	siginfo_t info;
	pid_t pid;
	int pidfd;

	(void)state;
	assert_int_equal(proc_spawn(&spec, &pid, &pidfd, &failure), ERR_OK);
	assert_int_equal(getpgid(pid), pid);
	assert_int_equal(kill(-pid, SIGKILL), 0);
	assert_int_equal(waitid(P_PIDFD, (id_t)pidfd, &info, WEXITED), 0);
	assert_int_equal(info.si_status, SIGKILL);
	fd_close(&pidfd);
}

/* stdin, stdout and stderr that lie across each other and across 0, 1 and 2. */
static void test_crossed_stdio(void **state)
{
	char *const argv[] = { (char *)"/bin/sh", (char *)"-c",
			       (char *)"read x; echo out $x; echo err $x >&2", NULL };
	char *const env[] = { NULL };
	int in[2], out[2], errs[2], saved = fcntl(0, F_DUPFD_CLOEXEC, 100), pidfd;
	struct proc_failure failure;
	char text[64] = "";
	pid_t pid;

	(void)state;
	assert_int_equal(pipe2(in, O_CLOEXEC) | pipe2(out, O_CLOEXEC) | pipe2(errs, O_CLOEXEC), 0);
	assert_int_equal(dup2(out[1], 0), 0); /* our 0 becomes the child's 1 */
	struct proc_spec spec = { .argv = argv, .env = env, .stdin_fd = in[0], .stdout_fd = 0,
				  .stderr_fd = errs[1] };
	assert_int_equal(write(in[1], "x\n", 2), 2);
	enum err e = proc_spawn(&spec, &pid, &pidfd, &failure);
	assert_int_equal(dup2(saved, 0), 0);
	assert_int_equal(e, ERR_OK);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	assert_int_equal(read(out[0], text, sizeof(text)), 6);
	assert_string_equal(text, "out x\n");
	assert_int_equal(read(errs[0], text, sizeof(text)), 6);
	assert_string_equal(text, "err x\n");
	int all[] = { in[0], in[1], out[0], out[1], errs[0], errs[1], saved, pidfd };
	for (size_t i = 0; i < ARRAY_LEN(all); i++)
		fd_close(&all[i]);
}

/* Files for the tables below: what may be found under a command's name. */
static void lay_out_commands(void)
{
	static const struct {
		const char *name, *text;
		mode_t mode;
	} files[] = {
		{ "a/tool", "#!/bin/sh\necho a\n", 0755 },
		{ "b/tool", "#!/bin/sh\necho b\n", 0755 },
		{ "locked/tool", "#!/bin/sh\necho locked\n", 0644 },
		{ "noformat/tool", "echo no format\n", 0755 },
		{ "noloader/tool", "#!/no/such/interpreter\n", 0755 },
		{ "file", "", 0644 },
	};
	static const char *const folders[] = { "a", "b", "locked", "noformat", "noloader", "folder",
					       "folder/tool", "empty" };
	char path[256];

	for (size_t i = 0; i < ARRAY_LEN(folders); i++)
		assert_int_equal(mkdir(in_dir(folders[i], path), 0755), 0);
	for (size_t i = 0; i < ARRAY_LEN(files); i++)
		assert_int_equal(scratch_file(in_dir(files[i].name, path), files[i].text,
					      files[i].mode), 0);
}

/* `text` with every '@' replaced by the scratch folder. */
static char *expand(const char *text, char *buf)
{
	char *p = buf;

	for (; *text; text++) {
		if (*text == '@')
			p += sprintf(p, "%s", dir);
		else
			*p++ = *text;
	}
	*p = '\0';
	return buf;
}

static const struct {
	const char *command, *path, *directory; /* path NULL: none in the environment */
	const char *says;                       /* NULL: fails */
	const char *stage;
	int error;
} searches[] = {
	{ "tool", "@/a:@/b", NULL, "a\n", NULL, 0 },
	{ "tool", "@/b:@/a", NULL, "b\n", NULL, 0 },
	{ "tool", "@/empty:/no/such:@/b", NULL, "b\n", NULL, 0 },
	{ "tool", "@/locked:@/b", NULL, "b\n", NULL, 0 },
	{ "tool", "@/folder:@/b", NULL, "b\n", NULL, 0 },
	{ "tool", "@/file:@/b", NULL, "b\n", NULL, 0 },
	{ "tool", "@/noloader:@/b", NULL, "b\n", NULL, 0 },
	{ "tool", "", "@/a", "a\n", NULL, 0 },
	{ "tool", ":@/b", "@/a", "a\n", NULL, 0 },
	{ "tool", "@/empty::@/b", "@/a", "a\n", NULL, 0 },
	{ "tool", "@/empty:", "@/a", "a\n", NULL, 0 },
	{ "tool", ".", "@/a", "a\n", NULL, 0 },
	{ "@/a/tool", "@/b", NULL, "a\n", NULL, 0 },
	{ "./tool", "@/b", "@/a", "a\n", NULL, 0 },
	{ "a/tool", "@/b", "@", "a\n", NULL, 0 },
	{ "true", NULL, NULL, "", NULL, 0 },

	{ "no-such-command", "@/a:@/b", NULL, NULL, "execute", ENOENT },
	{ "no-such-command", NULL, NULL, NULL, "execute", ENOENT },
	{ "tool", "@/empty", "@/a", NULL, "execute", ENOENT },
	{ "tool", "@/locked", NULL, NULL, "execute", EACCES },
	{ "tool", "@/locked:@/empty:@/file", NULL, NULL, "execute", EACCES },
	{ "tool", "@/folder", NULL, NULL, "execute", EACCES },
	{ "tool", "@/noformat:@/b", NULL, NULL, "execute", ENOEXEC },
	{ "tool", "@/noloader", NULL, NULL, "execute", ENOENT },
	{ "@/folder", "@/a", NULL, NULL, "execute", EACCES },
	{ "@/locked/tool", "@/a", NULL, NULL, "execute", EACCES },
	{ "@/noformat/tool", "@/a", NULL, NULL, "execute", ENOEXEC },
	{ "@/missing", "@/a", NULL, NULL, "execute", ENOENT },
	{ "@/file/tool", "@/a", NULL, NULL, "execute", ENOTDIR },
	{ "", "@/a", NULL, NULL, "execute", ENOENT },
	{ "tool", "@/a", "@/missing", NULL, "change to directory", ENOENT },
	{ "tool", "@/a", "@/file", NULL, "change to directory", ENOTDIR },
	{ "tool", "@/a", "", NULL, "change to directory", ENOENT },
};

static void test_search(void **state)
{
	/* Ours must not be used: there would be a tool in it. */
	char path[512], command[512], directory[512];

	(void)state;
	lay_out_commands();
	setenv("PATH", expand("@/a:/usr/bin:/bin", path), 1);
	for (size_t i = 0; i < ARRAY_LEN(searches); i++) {
		char *const argv[] = { expand(searches[i].command, command), NULL };
		char *env[] = { NULL, NULL };
		struct proc_spec spec = { .argv = argv, .env = env, .stdin_fd = -1 };
		struct proc_failure failure = { .stage = NULL };
		char text[256], row[256];
		int status = -1;

		snprintf(row, sizeof(row), "%s in %s", searches[i].command,
			 searches[i].path ? searches[i].path : "(none)");
		if (searches[i].path) {
			strcpy(path, "PATH=");
			expand(searches[i].path, path + 5);
			env[0] = path;
		}
		if (searches[i].directory)
			spec.directory = expand(searches[i].directory, directory);
		enum err e = run(&spec, text, sizeof(text), &status, &failure);
		check_row_int(row, e, searches[i].says ? ERR_OK : ERR_SYS);
		check_row_text(row, text, searches[i].says ? searches[i].says : "");
		if (e) {
			check_row_text(row, failure.stage, searches[i].stage);
			check_row_int(row, failure.error, searches[i].error);
			check_row(row, waitpid(-1, NULL, WNOHANG) == -1 && errno == ECHILD);
		} else {
			check_row_int(row, status, 0);
		}
	}
}

static void test_long_names(void **state)
{
	static char name[8192], path[20000];
	char *const argv[] = { name, NULL };
	char *const env[] = { path, NULL };
	struct proc_spec spec = { .argv = argv, .env = env, .stdin_fd = -1 };
	struct proc_failure failure;
	char text[64];
	int status;

	(void)state;
	lay_out_commands();
	/* An element too long for any path is passed over. */
	strcpy(path, "PATH=/");
	memset(path + 6, 'x', 9000);
	path[9006] = ':';
	expand("@/a", path + 9007);
	strcpy(name, "tool");
	assert_int_equal(run(&spec, text, sizeof(text), &status, &failure), ERR_OK);
	assert_string_equal(text, "a\n");
	memset(name, 'x', sizeof(name) - 1);
	assert_int_equal(run(&spec, text, sizeof(text), &status, &failure), ERR_SYS);
	assert_int_equal(failure.error, ENAMETOOLONG);
}

/* /bin/true without descriptors of ours: its exit status. */
static enum err run_true(int *ret_status, struct proc_failure *ret_failure)
{
	char *const argv[] = { (char *)"/bin/true", NULL };
	char *const env[] = { NULL };
	struct proc_spec spec = { .argv = argv, .env = env, .stdin_fd = -1, .stdout_fd = -1,
				  .stderr_fd = -1 };
	int pidfd, status;
	pid_t pid;
	enum err e = proc_spawn(&spec, &pid, &pidfd, ret_failure);

	if (e)
		return e;
	fd_close(&pidfd);
	if (waitpid(pid, &status, 0) == pid)
		*ret_status = WIFEXITED(status) ? WEXITSTATUS(status) : 1000;
	return ERR_OK;
}

/* The parent's descriptors are as good as used up: the pipe and the pidfd are all
 * it takes, and the child has room of its own. */
static void test_few_descriptors_left(void **state)
{
	static const enum err want[] = { ERR_SYS, ERR_SYS, ERR_OK };
	struct rlimit old, tight;
	int held[8]; /* all that are free, then two: room for none, one, two */

	(void)state;
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
	for (int i = 0; i < 8; i++)
		held[i] = open("/dev/null", O_RDONLY | O_CLOEXEC);
	close(held[6]);
	close(held[7]);
	for (size_t room = 0; room < ARRAY_LEN(want); room++) {
		struct proc_failure failure = { .stage = NULL };
		int status = -1;
		tight = old;
		tight.rlim_cur = (rlim_t)held[5 + room] + 1;
		assert_int_equal(setrlimit(RLIMIT_NOFILE, &tight), 0);
		enum err e = run_true(&status, &failure);
		assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
		assert_int_equal(e, want[room]);
		assert_int_equal(status, e ? -1 : 0);
		if (e) {
			assert_string_equal(failure.stage, "fork");
			assert_int_equal(failure.error, EMFILE);
		}
	}
	for (int i = 0; i < 6; i++)
		fd_close(&held[i]);
}

/* Started without 0, 1 and 2, our own pipe takes their place. */
static int run_without_stdio(void *arg)
{
	struct proc_failure failure;
	int status = -1;

	(void)arg;
	for (int fd = 0; fd < 3; fd++)
		close(fd);
	if (run_true(&status, &failure) || status != 0)
		return 1;
	for (int fd = 0; fd < 3; fd++) {
		if (fcntl(fd, F_GETFD) >= 0)
			return 2;
	}
	char *const argv[] = { (char *)"/no/such", NULL };
	char *const env[] = { NULL };
	struct proc_spec spec = { .argv = argv, .env = env, .stdin_fd = -1, .stdout_fd = -1,
				  .stderr_fd = -1 };
	pid_t pid;
	int pidfd;
	if (proc_spawn(&spec, &pid, &pidfd, &failure) != ERR_SYS)
		return 3;
	return failure.error == ENOENT ? 0 : 4;
}

static void test_without_stdio(void **state)
{
	(void)state;
	assert_int_equal(in_child(run_without_stdio, NULL), 0);
}

/* ---- as another user --------------------------------------------------- */

static void test_spawn_as_user(void **state)
{
	char *const argv[] = { (char *)"/bin/sh", (char *)"-c",
			       (char *)"id -u; id -g; id -G; exit 3", NULL };
	char *const env[] = { (char *)"PATH=/usr/bin:/bin", NULL };
	struct proc_spec spec = { .argv = argv, .env = env, .directory = "/", .stdin_fd = -1 };
	struct proc_failure failure;
	char text[128], want[128];
	int status;

	(void)state;
	if (getuid() != 0 || proc_find_user("nobody", &spec.user))
		skip();
	snprintf(want, sizeof(want), "%u\n%u\n%u\n", spec.user.uid, spec.user.gid, spec.user.gid);
	assert_int_equal(run(&spec, text, sizeof(text), &status, &failure), ERR_OK);
	assert_string_equal(text, want);
	assert_int_equal(status, 3);
	/* A folder that root may enter and the user may not. */
	assert_int_equal(chmod(dir, 0700), 0);
	spec.directory = dir;
	assert_int_equal(run(&spec, text, sizeof(text), &status, &failure), ERR_SYS);
	assert_string_equal(failure.stage, "change to directory");
	assert_int_equal(failure.error, EACCES);
}

static int spawn_as_root(void *arg)
{
	char *const argv[] = { (char *)"/bin/true", NULL };
	char *const env[] = { NULL };
	struct proc_spec spec = { .argv = argv, .env = env, .stdin_fd = -1, .stdout_fd = -1,
				  .stderr_fd = -1, .user = { .name = "root", .set = true } };
	struct proc_failure failure;
	pid_t pid;
	int pidfd;

	if (getuid() == 0 && proc_become(arg))
		return 1;
	if (proc_spawn(&spec, &pid, &pidfd, &failure) != ERR_SYS)
		return 2;
	return strcmp(failure.stage, "become user") == 0 && failure.error == EPERM ? 0 : 3;
}

static void test_spawn_as_somebody_we_may_not_be(void **state)
{
	struct proc_user nobody;

	(void)state;
	assert_int_equal(proc_find_user("nobody", &nobody), ERR_OK);
	assert_int_equal(in_child(spawn_as_root, &nobody), 0);
}

#define case_of(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down_all)

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		case_of(test_what_a_child_gets),
		case_of(test_group_stands_on_return),
		case_of(test_crossed_stdio),
		case_of(test_search),
		case_of(test_long_names),
		case_of(test_few_descriptors_left),
		case_of(test_without_stdio),
		case_of(test_spawn_as_user),
		case_of(test_spawn_as_somebody_we_may_not_be),
	};

	if (argc > 1 && strcmp(argv[1], "facts") == 0)
		return facts();
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	self[MAX(n, 0)] = '\0';
	return cmocka_run_group_tests(tests, NULL, NULL);
}
