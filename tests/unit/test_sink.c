/* balancer/master/sink.h, writer.h: lines into a file, by a process that writes it: all of them, or
 * they are counted. */
#include "lib/check.h"
#include "lib/told.h"

#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "balancer/master/sink.h"
#include "balancer/sandbox/sandbox.h"
#include "common/base.h"
#include "common/clock.h"
#include "common/fd.h"
#include "lib/process.h"

static const struct proc_user nobody_else = { .set = false };
static const struct sandbox as_we_are = { .user = &nobody_else, .off = true };

struct file_stage {
	struct event_base *base;
	char path[64];
	struct sink sink;
	struct sink_share share;
};

static int open_log_file(const char *path)
{
	return open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
}

static void file_stage_init(struct file_stage *s)
{
	signal(SIGPIPE, SIG_IGN); /* as in the master: a writer may have ended */
	s->base = event_base_new();
	s->share = (struct sink_share){ .bytes = 0 };
	snprintf(s->path, sizeof(s->path), "/tmp/test-output-%d", (int)getpid());
	unlink(s->path);
	assert_int_equal(sink_open(&s->sink, s->base, open_log_file(s->path), s->path, &as_we_are),
			 ERR_OK);
}

static uint64_t in_ms(int ms)
{
	clock_update();
	return clock_now_us() + (uint64_t)ms * 1000;
}

static void file_stage_fini(struct file_stage *s)
{
	sink_fini(&s->sink, in_ms(5000));
	event_base_free(s->base);
	unlink(s->path);
}

static bool add_line(struct file_stage *s, const char *words, unsigned i)
{
	clock_update();
	char *at = sink_reserve(&s->sink, &s->share, 128);
	if (at)
		sink_add(&s->sink, &s->share, (size_t)snprintf(at, 128, "%s %u\n", words, i));
	sink_flush(&s->sink);
	event_base_loop(s->base, EVLOOP_ONCE | EVLOOP_NONBLOCK);
	return at != NULL;
}

static size_t read_path(const char *path, char *buf, size_t room)
{
	int fd = open(path, O_RDONLY);
	size_t n = 0;
	ssize_t more;

	while (fd >= 0 && (more = read(fd, buf + n, room - 1 - n)) > 0)
		n += (size_t)more;
	buf[n] = '\0';
	fd_close(&fd);
	return n;
}

static char contents[4 << 20], more_contents[4 << 20];

static void test_file_gets_all(void **state)
{
	int before = count_fds();
	struct file_stage s;

	(void)state;
	file_stage_init(&s);
	for (unsigned i = 0; i < 20000; i++)
		while (!add_line(&s, "line", i))
			;
	sink_fini(&s.sink, in_ms(5000));
	read_path(s.path, contents, sizeof(contents));
	assert_int_equal(count_text(contents, "\n"), 20000);
	assert_non_null(strstr(contents, "\nline 19999\n"));
	event_base_free(s.base);
	unlink(s.path);
	assert_int_equal(count_fds(), before);
}

/* Moved to another file while lines come, as logrotate does: each line is in one of
 * them, whole. */
static void test_move_loses_nothing(void **state)
{
	struct file_stage s;
	char old[80], want[64];
	const char *p;

	(void)state;
	file_stage_init(&s);
	snprintf(old, sizeof(old), "%s.1", s.path);
	for (unsigned i = 0; i < 10000; i++) {
		while (!add_line(&s, "line", i))
			;
		if (i == 5000) {
			assert_int_equal(rename(s.path, old), 0);
			assert_int_equal(sink_move(&s.sink, open_log_file(s.path)), ERR_OK);
		}
	}
	sink_fini(&s.sink, in_ms(5000));
	for (int i = 0; i < 5000; i++) { /* the old file's writer ends in its own time */
		size_t n = read_path(old, contents, sizeof(contents));
		if (n > 10 && strstr(contents + n - 10, "line 5000\n"))
			break;
		usleep(1000);
	}
	read_path(s.path, more_contents, sizeof(more_contents));
	strcat(contents, more_contents);
	p = contents;
	for (unsigned i = 0; i < 10000; i++) {
		int n = snprintf(want, sizeof(want), "line %u\n", i);
		assert_memory_equal(p, want, n);
		p += n;
	}
	assert_int_equal(*p, '\0');
	event_base_free(s.base);
	unlink(s.path);
	unlink(old);
}

static pid_t writer_of(const struct file_stage *s)
{
	char file[64], text[512];

	snprintf(file, sizeof(file), "/proc/self/fdinfo/%d", s->sink.writer);
	read_path(file, text, sizeof(text));
	const char *pid = strstr(text, "Pid:\t");
	return pid ? (pid_t)strtol(pid + 5, NULL, 10) : 0;
}

static void wait_gone(pid_t pid)
{
	waitpid(pid, NULL, 0);
}

/* A disk that does not answer, as far as we can tell one from a writer that stands
 * still: nothing waits for it, and each line is written or counted. */
static void test_stuck_file(void **state)
{
	struct file_stage s;
	struct told told;
	unsigned lost = 0;

	(void)state;
	file_stage_init(&s);
	pid_t writer = writer_of(&s);
	assert_true(writer > 0);
	assert_int_equal(kill(writer, SIGSTOP), 0);
	uint64_t start = in_ms(0);
	told_start(&told);
	for (unsigned i = 0; i < 100000; i++)
		lost += !add_line(&s, "this is line number", i);
	assert_true(in_ms(0) - start < 10 * 1000000);
	assert_true(lost > 1000);
	assert_int_equal(s.sink.gap, lost);
	assert_int_equal(kill(writer, SIGCONT), 0);
	sink_fini(&s.sink, in_ms(5000));
	assert_int_equal(sum_before(told_end(&told), " lines of the workers'"), lost);
	read_path(s.path, contents, sizeof(contents));
	assert_int_equal(count_text(contents, "\n"), 100000 - lost);
	event_base_free(s.base);
	unlink(s.path);
}

/* At the end one that stays stuck is not waited for long, and not left behind. */
static void test_stuck_at_the_end(void **state)
{
	struct file_stage s;
	struct told told;

	(void)state;
	file_stage_init(&s);
	pid_t writer = writer_of(&s);
	assert_true(writer > 0);
	assert_int_equal(kill(writer, SIGSTOP), 0);
	add_line(&s, "lost", 1);
	told_start(&told);
	uint64_t start = in_ms(0);
	sink_fini(&s.sink, in_ms(100));
	assert_in_range(in_ms(0) - start, 90000, 1000000);
	assert_non_null(strstr(told_end(&told), "the last lines of the workers' output are not in"));
	assert_int_equal(kill(writer, 0), -1);
	event_base_free(s.base);
	unlink(s.path);
}

static void test_killed_writer(void **state)
{
	struct file_stage s;
	struct told told;

	(void)state;
	file_stage_init(&s);
	pid_t writer = writer_of(&s);
	assert_true(writer > 0);
	told_start(&told);
	assert_int_equal(kill(writer, SIGKILL), 0);
	wait_gone(writer);
	bool heard = false;
	for (unsigned i = 0; i < 4000 && !heard; i++) {
		add_line(&s, "line", i);
		usleep(1000);
		heard = read_path(s.path, contents, sizeof(contents)) > 0;
	}
	assert_true(heard);
	assert_memory_equal(contents, "line 0\nline 1\n", 14);
	assert_non_null(strstr(told_end(&told), "has ended: starting another"));
	file_stage_fini(&s);
}

static void test_stdout_that_is_closed(void **state)
{
	struct event_base *base = event_base_new();
	struct sink sink;

	(void)state;
	struct sink_share share = { .bytes = 0 };

	assert_int_equal(sink_init(&sink, base, 999, "our stdout", &as_we_are), ERR_OK);
	assert_int_equal(sink.fd, -1);
	assert_null(sink_reserve(&sink, &share, 100));
	assert_int_equal(sink.dropped, 0);
	sink_flush(&sink);
	sink_fini(&sink, 0);
	event_base_free(base);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_file_gets_all),
		cmocka_unit_test(test_move_loses_nothing),
		cmocka_unit_test(test_stuck_file),
		cmocka_unit_test(test_stuck_at_the_end),
		cmocka_unit_test(test_killed_writer),
		cmocka_unit_test(test_stdout_that_is_closed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
