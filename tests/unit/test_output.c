/* balancer/master/lines.h, output.h, sink.h: from a worker's pipe to our stdout. */
#include "lib/check.h"
#include "lib/process.h"

#include <fcntl.h>
#include <stdbool.h>

#include "balancer/master/lines.h"
#include "balancer/master/output.h"
#include "balancer/master/sink.h"
#include "common/base.h"
#include "common/fd.h"
#include "common/log.h"
#include "common/mem.h"

/* ---- cutting into lines -------------------------------------------------- */

/* Lines as "a|bc|": each ended by a bar. */
struct taken {
	char text[64 * 1024];
	size_t n, lines, longest;
};

static struct taken taken;

static void take(void *arg, const char *line, size_t n)
{
	struct taken *t = arg;

	t->lines++;
	t->longest = MAX(t->longest, n);
	assert_true(n <= LINES_MAX);
	if (t->n + n + 1 >= sizeof(t->text))
		return;
	memcpy(t->text + t->n, line, n);
	t->n += n;
	t->text[t->n++] = '|';
	t->text[t->n] = '\0';
}

static const struct {
	const char *row;
	const char *pieces[5];
	const char *want;
} cuts[] = {
	{ "one line", { "abc\n" }, "abc|" },
	{ "two in one piece", { "abc\nde\n" }, "abc|de|" },
	{ "one in two pieces", { "ab", "c\n" }, "abc|" },
	{ "newline alone", { "abc", "\n" }, "abc|" },
	{ "empty lines", { "\n\n", "\n" }, "|||" },
	{ "without an end", { "abc\nde" }, "abc|de|" },
	{ "pieces of one byte", { "a", "b", "\n", "c", "\n" }, "ab|c|" },
	{ "end in mid-piece", { "ab", "c\nd", "e\nf", "g" }, "abc|de|fg|" },
	{ "carriage returns stay", { "a\r\nb\r", "c\n" }, "a\r|b\rc|" },
	{ "nothing", { "" }, "" },
};

static void test_cuts(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cuts); i++) {
		struct lines l = { .partial = NULL };
		taken = (struct taken){ .n = 0 };
		for (size_t p = 0; p < 5 && cuts[i].pieces[p]; p++)
			lines_feed(&l, cuts[i].pieces[p], strlen(cuts[i].pieces[p]), take, &taken);
		lines_end(&l, take, &taken);
		check_row_text(cuts[i].row, taken.text, cuts[i].want);
	}
}

static const struct {
	const char *row;
	size_t bytes, piece; /* a line of `bytes`, fed `piece` at a time */
	size_t want_lines;
} long_lines[] = {
	{ "one below the limit", LINES_MAX - 1, LINES_MAX * 3, 1 },
	{ "the limit", LINES_MAX, LINES_MAX * 3, 1 },
	{ "the limit, in halves", LINES_MAX, LINES_MAX / 2, 1 },
	{ "the limit, the newline on its own", LINES_MAX, LINES_MAX, 1 },
	{ "one above the limit", LINES_MAX + 1, LINES_MAX * 3, 2 },
	{ "one above, in odd pieces", LINES_MAX + 1, 1000, 2 },
	{ "twice the limit", LINES_MAX * 2, 777, 2 },
	{ "huge", LINES_MAX * 40 + 5, 65536, 41 },
};

static void test_long_lines_come_in_pieces(void **state)
{
	static char text[LINES_MAX * 41];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(long_lines); i++) {
		struct lines l = { .partial = NULL };
		size_t n = long_lines[i].bytes + 1;
		memset(text, 'x', n - 1);
		text[n - 1] = '\n';
		taken = (struct taken){ .n = 0 };
		for (size_t at = 0; at < n; at += long_lines[i].piece)
			lines_feed(&l, text + at, MIN(long_lines[i].piece, n - at), take, &taken);
		check_row_int(long_lines[i].row, taken.lines, long_lines[i].want_lines);
		lines_feed(&l, "next\n\n", 6, take, &taken);
		check_row_int(long_lines[i].row, taken.lines, long_lines[i].want_lines + 2);
		lines_end(&l, take, &taken);
		check_row_int(long_lines[i].row, taken.lines, long_lines[i].want_lines + 2);
	}
}

/* Whatever the bytes and however they come: none is lost, none is added. */
static void test_binary_junk(void **state)
{
	static char junk[100000];
	struct lines l = { .partial = NULL };
	size_t newlines = 0;
	uint32_t x = 12345;

	(void)state;
	for (size_t i = 0; i < sizeof(junk); i++) {
		x = x * 1664525u + 1013904223u;
		junk[i] = (char)(x >> 24);
		newlines += junk[i] == '\n';
	}
	taken = (struct taken){ .n = 0 };
	for (size_t at = 0; at < sizeof(junk);) {
		size_t n = MIN(1 + at % 5000, sizeof(junk) - at);
		lines_feed(&l, junk + at, n, take, &taken);
		at += n;
	}
	lines_end(&l, take, &taken);
	assert_in_range(taken.lines, newlines, newlines + 1);
	const char *newline = memchr(junk, '\n', sizeof(junk));
	assert_memory_equal(taken.text, junk, (size_t)(newline - junk));
}

static void test_without_memory_a_partial_line_is_a_line(void **state)
{
	struct lines l = { .partial = NULL };

	(void)state;
	taken = (struct taken){ .n = 0 };
	mem_fault_at(1);
	lines_feed(&l, "abc", 3, take, &taken);
	mem_fault_at(0);
	lines_feed(&l, "de\n", 3, take, &taken);
	lines_end(&l, take, &taken);
	assert_string_equal(taken.text, "abc|de|");
}

/* ---- showing ------------------------------------------------------------- */

static const struct {
	const char *line, *plain, *coloured;
} shows[] = {
	{ "hello", "hello", "hello" },
	{ "", "", "" },
	{ "tab\there", "tab\there", "tab\there" },
	{ "end\r", "end", "end" },
	{ "over\rwrite", "over\\x0dwrite", "over\\x0dwrite" },
	{ "bell\a", "bell\\x07", "bell\\x07" },
	{ "del\177", "del\\x7f", "del\\x7f" },
	{ "\033[31mred\033[0m", "\\x1b[31mred\\x1b[0m", "\033[31mred\033[0m" },
	{ "\033[m", "\\x1b[m", "\033[m" },
	{ "\033[2J", "\\x1b[2J", "\\x1b[2J" },
	{ "\033[1;2", "\\x1b[1;2", "\\x1b[1;2" },
	{ "\033]0;title\a", "\\x1b]0;title\\x07", "\\x1b]0;title\\x07" },
	{ "na\xc3\xafve \xe2\x82\xac", "na\xc3\xafve \xe2\x82\xac", "na\xc3\xafve \xe2\x82\xac" },
	{ "c1 \xc2\x9b" "2J", "c1 \\xc2\x9b" "2J", "c1 \\xc2\x9b" "2J" },
	{ "\xc2\xa0", "\xc2\xa0", "\xc2\xa0" },
	{ "\xff\xfe", "\xff\xfe", "\xff\xfe" },
};

static void test_shows(void **state)
{
	char out[256];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(shows); i++) {
		size_t n = strlen(shows[i].line);
		out[lines_show(out, shows[i].line, n, false)] = '\0';
		check_row_text(shows[i].plain, out, shows[i].plain);
		out[lines_show(out, shows[i].line, n, true)] = '\0';
		check_row_text(shows[i].plain, out, shows[i].coloured);
	}
	assert_int_equal(lines_show(out, "\0x", 2, false), 5);
	assert_memory_equal(out, "\\x00x", 5);
}

/* ---- through pipes ------------------------------------------------------- */

struct stage {
	struct event_base *base;
	int out[2];             /* what the sinks write to, and where it can be read */
	struct sink sinks[2];
	struct output output;
	struct recents recents;
	uint64_t seq;
	int worker[2];          /* the worker's stdout and stderr */
};

static void stage_init(struct stage *s)
{
	s->base = event_base_new();
	assert_int_equal(pipe(s->out), 0);
	assert_int_equal(fd_set_nonblock(s->out[0], true), ERR_OK);
	assert_int_equal(sink_init(&s->sinks[0], s->base, s->out[1], "stdout"), ERR_OK);
	assert_int_equal(sink_init(&s->sinks[1], s->base, s->out[1], "stderr"), ERR_OK);
	assert_int_equal(output_open(&s->output, s->worker), ERR_OK);
	s->seq = 0;
	recents_init(&s->recents, &s->seq);
	output_start(&s->output, s->base, s->sinks, recents_open(&s->recents, 4711, 2, 1), "web", 2,
		     4711);
}

static void stage_fini(struct stage *s)
{
	output_close(&s->output);
	recents_fini(&s->recents);
	sink_fini(&s->sinks[0], 0);
	sink_fini(&s->sinks[1], 0);
	event_base_free(s->base);
	for (int i = 0; i < 2; i++) {
		fd_close(&s->worker[i]);
		fd_close(&s->out[i]);
	}
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
	output_drain(&s.output);
	read_all(&s, got, sizeof(got));
	assert_string_equal(got, "web.2[4711]: Error: last words\nweb.2[4711]: no newline\n");
	stage_fini(&s);
}

/* Nobody reads our stdout: the worker is read on all the same, the queue is
 * bounded, and what is lost is counted and told. */
static void test_flood_without_a_reader(void **state)
{
	struct stage s;
	char line[1001], got[4096], told[4096];
	int log[2];

	(void)state;
	stage_init(&s);
	assert_int_equal(pipe(log), 0);
	assert_int_equal(fd_set_nonblock(log[0], true), ERR_OK);
	memset(line, 'z', sizeof(line) - 1);
	line[999] = '\n';
	line[1000] = '\0';
	assert_int_equal(fd_set_nonblock(s.worker[0], true), ERR_OK);
	for (int i = 0; i < 1500;) {
		i += write(s.worker[0], line, 1000) == 1000;
		turn(&s); /* for ever, if the worker were not read on */
	}
	assert_in_range(s.sinks[0].dropped, 500, 1500);
	assert_true(s.sinks[0].to <= SINK_QUEUE);
	log_to_fd(log[1]);
	while (read_all(&s, got, sizeof(got)) > 0)
		turn(&s);
	bool said = false, heard = false;
	for (int i = 0; i < 500 && !heard; i++) {
		said = said || write(s.worker[0], "after\n", 6) == 6;
		usleep(2000);
		turn(&s);
		heard = read_all(&s, got, sizeof(got)) && strstr(got, "web.2[4711]: after\n");
	}
	log_to_fd(STDERR_FILENO);
	assert_true(heard);
	ssize_t n = read(log[0], told, sizeof(told) - 1);
	assert_true(n > 0);
	told[n] = '\0';
	assert_non_null(strstr(told, "lines of the workers' output"));
	assert_int_equal(s.sinks[0].dropped, 0);
	close(log[0]);
	close(log[1]);
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
	for (char c[4096]; read(s.output.streams[0].fd, c, sizeof(c)) == sizeof(c);)
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
	assert_int_equal(s.sinks[0].fd, -1);
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
	sink_fini(&s.sinks[0], 0);
	assert_int_equal(sink_init(&s.sinks[0], s.base, full, "stdout"), ERR_OK);
	log_to_fd(-1);
	for (int i = 0; i < 10; i++) {
		say(s.worker[0], "lost\n");
		turn(&s);
		assert_true(s.sinks[0].fd >= 0);
		assert_int_equal(s.sinks[0].to - s.sinks[0].from, 0);
	}
	assert_true(s.sinks[0].dropped > 0);
	log_to_fd(STDERR_FILENO);
	close(full);
	stage_fini(&s);
}

static void test_stdout_that_is_closed(void **state)
{
	struct event_base *base = event_base_new();
	struct sink sink;

	(void)state;
	assert_int_equal(sink_init(&sink, base, 999, "stdout"), ERR_OK);
	assert_int_equal(sink.fd, -1);
	sink_line(&sink, "web.0[1]: ", "text", 4);
	sink_flush(&sink);
	sink_fini(&sink, 10);
	event_base_free(base);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_cuts),
		cmocka_unit_test(test_long_lines_come_in_pieces),
		cmocka_unit_test(test_binary_junk),
		cmocka_unit_test(test_without_memory_a_partial_line_is_a_line),
		cmocka_unit_test(test_shows),
		cmocka_unit_test(test_lines_carry_the_name),
		cmocka_unit_test(test_drain_reads_what_is_there),
		cmocka_unit_test(test_flood_without_a_reader),
		cmocka_unit_test(test_one_turn_is_bounded),
		cmocka_unit_test(test_reader_that_goes_away),
		cmocka_unit_test(test_full_disk),
		cmocka_unit_test(test_stdout_that_is_closed),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
