/* balancer/master/output.h, outlet.h, recent.h: from a worker's pipe to our stdout.  Into files:
 * test_sink.c. */
#include "lib/check.h"
#include "lib/process.h"
#include "lib/told.h"

#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "balancer/master/outlet.h"
#include "balancer/master/output.h"
#include "balancer/master/recent.h"
#include "balancer/master/sink.h"
#include "balancer/sandbox/sandbox.h"
#include "common/base.h"
#include "common/fd.h"
#include "common/log.h"

static const struct proc_user nobody_else = { .set = false };
static const struct sandbox as_we_are = { .user = &nobody_else, .off = true };

struct worker {
	struct output output;
	int fds[2];             /* its stdout and stderr */
};

struct stage {
	struct event_base *base;
	int out[2];             /* what the sinks write to, and where it can be read */
	struct outlet outlet;
	struct recents recents;
	uint64_t seq;
	struct worker first;
	int *worker;            /* its fds */
};

static void worker_init(struct stage *s, struct worker *w, uint32_t instance, uint32_t format)
{
	assert_int_equal(output_open(&w->output, w->fds), ERR_OK);
	output_start(&w->output, s->base, &(struct output_of){
		.app = "web", .instance = instance, .release = 5, .pid = 4711, .format = format,
		.outlet = &s->outlet, .recent = recents_open(&s->recents, 4711, instance, 5) });
	s->outlet.holders++;
}

static void worker_fini(struct worker *w)
{
	output_close(&w->output);
	for (int i = 0; i < 2; i++)
		fd_close(&w->fds[i]);
}

static void stage_init(struct stage *s)
{
	s->base = event_base_new();
	assert_int_equal(pipe(s->out), 0);
	assert_int_equal(fd_set_nonblock(s->out[0], true), ERR_OK);
	s->outlet = (struct outlet){ .path = (char *)"-" };
	for (int i = 0; i < 2; i++)
		assert_int_equal(sink_init(&s->outlet.sinks[i], s->base, s->out[1], "our stdout",
					   &as_we_are), ERR_OK);
	s->seq = 0;
	recents_init(&s->recents, &s->seq);
	worker_init(s, &s->first, 2, OUTPUT_PREFIXED);
	s->worker = s->first.fds;
}

static void stage_fini(struct stage *s)
{
	worker_fini(&s->first);
	assert_int_equal(s->outlet.holders, 0);
	recents_fini(&s->recents);
	sink_fini(&s->outlet.sinks[0], 0);
	sink_fini(&s->outlet.sinks[1], 0);
	event_base_free(s->base);
	fd_close(&s->out[0]);
	fd_close(&s->out[1]);
}

static void turn(struct stage *s)
{
	event_base_loop(s->base, EVLOOP_ONCE | EVLOOP_NONBLOCK);
}

static size_t read_all(struct stage *s, char *buf, size_t room)
{
	size_t n = 0;
	ssize_t more;

	while (n < room - 1 && (more = read(s->out[0], buf + n, room - 1 - n)) > 0)
		n += (size_t)more;
	buf[n] = '\0';
	return n;
}

static void say(int fd, const char *text)
{
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
}

static bool copy_line(void *arg, const struct recent_line *line)
{
	snprintf(arg, RECENT_LINE_BYTES, "%.*s", (int)line->n, line->text);
	return true;
}

static const char *last_line(const struct stage *s)
{
	static char text[RECENT_LINE_BYTES];

	text[0] = '\0';
	recent_each(&s->recents.all, 0, copy_line, text);
	return text;
}

static void test_lines_carry_the_name(void **state)
{
	int before = count_fds();
	struct stage s;
	char got[1024];

	(void)state;
	stage_init(&s);
	say(s.worker[0], "hello\nhalf");
	turn(&s);
	read_all(&s, got, sizeof(got));
	assert_string_equal(got, "web.2[4711]: hello\n");
	say(s.worker[0], " a line\n");
	say(s.worker[1], "trouble\nunfinished");
	turn(&s);
	fd_close(&s.worker[1]);
	turn(&s);
	read_all(&s, got, sizeof(got));
	assert_string_equal(got, "web.2[4711]: half a line\nweb.2[4711]: trouble\n"
				 "web.2[4711]: unfinished\n");
	assert_string_equal(last_line(&s), "unfinished");
	assert_int_equal(s.seq, 4);
	stage_fini(&s);
	assert_int_equal(count_fds(), before);
}

/* The end of a process is seen before its pipe is read: nothing may be missed. */
static void test_drain_reads_what_is_there(void **state)
{
	struct stage s;
	char got[1024];

	(void)state;
	stage_init(&s);
	say(s.worker[1], "Error: last words\nno newline");
	fd_close(&s.worker[1]);
	output_drain(&s.first.output);
	read_all(&s, got, sizeof(got));
	assert_string_equal(got, "web.2[4711]: Error: last words\nweb.2[4711]: no newline\n");
	stage_fini(&s);
}

/* Nobody reads our stdout: the worker is read on all the same, the queue is
 * bounded, and what is lost is counted and told, here and in the log. */
static void test_flood_without_a_reader(void **state)
{
	static char got[4 << 20];
	struct stage s;
	struct told told;
	char line[1001];
	size_t n = 0, had;

	(void)state;
	stage_init(&s);
	memset(line, 'z', sizeof(line) - 1);
	line[999] = '\n';
	line[1000] = '\0';
	assert_int_equal(fd_set_nonblock(s.worker[0], true), ERR_OK);
	told_start(&told);
	for (int i = 0; i < 1500;) {
		i += write(s.worker[0], line, 1000) == 1000;
		turn(&s); /* for ever, if the worker were not read on */
	}
	assert_in_range(s.outlet.sinks[0].gap, 500, 1500);
	assert_true(s.outlet.sinks[0].to <= SINK_QUEUE);
	for (int i = 0; i < 2000 && !strstr(got, ": after\n"); i++) {
		had = read_all(&s, got + n, sizeof(got) - n);
		n += had;
		if (i % 100 == 50)
			say(s.worker[0], "after\n");
		if (!had)
			usleep(1000);
		turn(&s);
	}
	for (int i = 0; i < 2000 && s.outlet.sinks[0].dropped; i++) {
		usleep(1000);
		turn(&s);
	}
	const char *words = told_end(&told);
	assert_non_null(strstr(words, "lines of the workers' output: our stdout did not take them"));
	/* Every line is there, or counted. */
	assert_int_equal(count_text(got, "zzz\n") + sum_before(got, " lines were dropped here"), 1500);
	assert_int_equal(s.outlet.sinks[0].gap, 0);
	assert_int_equal(sum_before(words, " lines of the workers'"),
			 sum_before(got, " lines were dropped here"));
	stage_fini(&s);
}

/* Of two workers on a place that takes nothing, the one that floods does not take the
 * room that the other one's few lines need. */
static void test_loud_and_quiet(void **state)
{
	static char got[4 << 20];
	struct stage s;
	struct worker quiet;
	char line[1001];
	size_t n = 0;

	(void)state;
	stage_init(&s);
	worker_init(&s, &quiet, 3, OUTPUT_PREFIXED);
	log_to_fd(-1);
	memset(line, 'z', sizeof(line) - 1);
	line[999] = '\n';
	assert_int_equal(fd_set_nonblock(s.worker[0], true), ERR_OK);
	for (int i = 0; i < 3000; turn(&s))
		i += write(s.worker[0], line, 1000) == 1000;
	assert_true(s.outlet.sinks[0].to - s.outlet.sinks[0].from <= SINK_QUEUE / 2);
	for (int i = 0; i < 1000; i++) {
		say(quiet.fds[0], "a quiet word\n");
		(void)!write(s.worker[0], line, 1000);
		turn(&s);
		usleep(1000);
	}
	for (int i = 0; i < 2000 && !sink_is_idle(&s.outlet.sinks[0]); i++) {
		n += read_all(&s, got + n, sizeof(got) - n);
		turn(&s);
	}
	read_all(&s, got + n, sizeof(got) - n);
	assert_int_equal(count_text(got, "a quiet word\n"), 1000);
	assert_true(sum_before(got, " lines were dropped here") > 1000);
	log_to_fd(STDERR_FILENO);
	worker_fini(&quiet);
	stage_fini(&s);
}

static void test_json_lines(void **state)
{
	static char long_line[LINES_MAX + 2], got[64 * 1024];
	struct stage s;
	struct worker w;
	int year;

	(void)state;
	stage_init(&s);
	worker_init(&s, &w, 3, OUTPUT_JSON);
	say(w.fds[0], "say \"hi\"\n");
	turn(&s);
	read_all(&s, got, sizeof(got));
	const char *rest = strstr(got, "\",\"app\"");
	assert_non_null(rest);
	assert_string_equal(rest, "\",\"app\":\"web\",\"instance\":3,\"pid\":4711,\"release\":5,"
				  "\"stream\":\"stdout\",\"line\":\"say \\\"hi\\\"\"}\n");
	assert_int_equal(sscanf(got, "{\"time\":\"%4d-", &year), 1);
	assert_in_range(year, 2020, 2100);
	memset(long_line, 'y', LINES_MAX + 1);
	long_line[LINES_MAX + 1] = '\n';
	assert_int_equal(write(w.fds[1], long_line, sizeof(long_line)), sizeof(long_line));
	for (int i = 0; i < 5; i++)
		turn(&s);
	size_t n = read_all(&s, got, sizeof(got));
	assert_non_null(strstr(got, "y\",\"goes_on\":true}\n"));
	const char *end = "\"stderr\",\"line\":\"y\",\"continues\":true}\n";
	assert_string_equal(got + n - strlen(end), end);
	worker_fini(&w);
	stage_fini(&s);
}

/* One turn takes a bounded bite, however much there is. */
static void test_one_turn_is_bounded(void **state)
{
	static char much[512 * 1024];
	struct stage s;

	(void)state;
	stage_init(&s);
	if (fcntl(s.worker[0], F_SETPIPE_SZ, sizeof(much)) < 0) {
		stage_fini(&s);
		skip();
	}
	memset(much, '\n', sizeof(much));
	assert_int_equal(write(s.worker[0], much, sizeof(much)), sizeof(much));
	turn(&s);
	int left = 0;
	for (char c[4096]; read(s.first.output.streams[0].fd, c, sizeof(c)) == sizeof(c);)
		left += 4096;
	assert_in_range(left, 256 * 1024, sizeof(much) - 4096);
	stage_fini(&s);
}

static void test_reader_that_goes_away(void **state)
{
	struct stage s;

	(void)state;
	signal(SIGPIPE, SIG_IGN);
	stage_init(&s);
	log_to_fd(-1);
	fd_close(&s.out[0]);
	say(s.worker[0], "one\n");
	turn(&s);
	assert_int_equal(s.outlet.sinks[0].fd, -1);
	say(s.worker[0], "two\n");
	turn(&s);
	assert_string_equal(last_line(&s), "two");
	log_to_fd(STDERR_FILENO);
	stage_fini(&s);
}

static void test_full_disk(void **state)
{
	int full = open("/dev/full", O_WRONLY);
	struct stage s;

	(void)state;
	stage_init(&s);
	sink_fini(&s.outlet.sinks[0], 0);
	assert_int_equal(sink_init(&s.outlet.sinks[0], s.base, full, "our stdout", &as_we_are),
			 ERR_OK);
	log_to_fd(-1);
	for (int i = 0; i < 10; i++) {
		say(s.worker[0], "lost\n");
		turn(&s);
		assert_true(s.outlet.sinks[0].fd >= 0);
		assert_int_equal(s.outlet.sinks[0].to - s.outlet.sinks[0].from, 0);
	}
	assert_true(s.outlet.sinks[0].dropped > 0);
	log_to_fd(STDERR_FILENO);
	close(full);
	stage_fini(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_lines_carry_the_name),
		cmocka_unit_test(test_drain_reads_what_is_there),
		cmocka_unit_test(test_flood_without_a_reader),
		cmocka_unit_test(test_loud_and_quiet),
		cmocka_unit_test(test_json_lines),
		cmocka_unit_test(test_one_turn_is_bounded),
		cmocka_unit_test(test_reader_that_goes_away),
		cmocka_unit_test(test_full_disk),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
