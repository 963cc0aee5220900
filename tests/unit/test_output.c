/* balancer/master/lines.h, output.h, sink.h: from a worker's pipe to our stdout. */
#include "lib/check.h"
#include "lib/process.h"

#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "balancer/master/lines.h"
#include "balancer/master/outlet.h"
#include "balancer/master/output.h"
#include "balancer/master/recent.h"
#include "balancer/master/sink.h"
#include "balancer/sandbox/sandbox.h"
#include "common/base.h"
#include "common/clock.h"
#include "common/fd.h"
#include "common/line_text.h"
#include "common/log.h"
#include "common/mem.h"

/* ---- cutting into lines -------------------------------------------------- */

/* Lines as "a|bc|": each ended by a bar. */
struct taken {
	char text[64 * 1024];
	size_t n, lines, longest;
	char marks[64]; /* of each line: w whole, ( goes on, ) continues, = both */
};

static struct taken taken;

static void take(void *arg, const char *line, size_t n, unsigned piece)
{
	struct taken *t = arg;

	t->marks[MIN(t->lines, sizeof(t->marks) - 2)] =
		piece == LINES_WHOLE ? 'w' : piece == LINES_GOES_ON ? '(' :
		piece == LINES_CONTINUES ? ')' : '=';
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
	const char *want_marks;
} long_lines[] = {
	{ "one below the limit", LINES_MAX - 1, LINES_MAX * 3, 1, "w" },
	{ "the limit", LINES_MAX, LINES_MAX * 3, 1, "w" },
	{ "the limit, in halves", LINES_MAX, LINES_MAX / 2, 1, "w" },
	{ "the limit, the newline on its own", LINES_MAX, LINES_MAX, 1, "w" },
	{ "one above the limit", LINES_MAX + 1, LINES_MAX * 3, 2, "()" },
	{ "one above, in odd pieces", LINES_MAX + 1, 1000, 2, "()" },
	{ "twice the limit", LINES_MAX * 2, 777, 2, "()" },
	{ "huge", LINES_MAX * 40 + 5, 65536, 41, "(=======================================)" },
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
		check_row_text(long_lines[i].row, taken.marks, long_lines[i].want_marks);
		lines_feed(&l, "next\n\n", 6, take, &taken);
		check_row_int(long_lines[i].row, taken.lines, long_lines[i].want_lines + 2);
		lines_end(&l, take, &taken);
		check_row_int(long_lines[i].row, taken.lines, long_lines[i].want_lines + 2);
	}
}

static void test_no_sequence_is_torn(void **state)
{
	static char text[LINES_MAX + 8];

	(void)state;
	for (size_t shift = 0; shift < 4; shift++) {
		struct lines l = { .partial = NULL };
		memset(text, 'x', LINES_MAX - shift);
		memcpy(text + LINES_MAX - shift, "\xf0\x9f\x98\x80y\n", 6);
		taken = (struct taken){ .n = 0 };
		lines_feed(&l, text, LINES_MAX - shift + 6, take, &taken);
		assert_string_equal(taken.marks, "()");
		assert_int_equal(taken.text[LINES_MAX - shift], '|');
		assert_string_equal(taken.text + LINES_MAX - shift + 1, "\xf0\x9f\x98\x80y|");
		lines_end(&l, take, &taken);
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
	assert_string_equal(taken.marks, "()");
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
		out[line_text_show(out, shows[i].line, n, false)] = '\0';
		check_row_text(shows[i].plain, out, shows[i].plain);
		out[line_text_show(out, shows[i].line, n, true)] = '\0';
		check_row_text(shows[i].plain, out, shows[i].coloured);
	}
	assert_int_equal(line_text_show(out, "\0x", 2, false), 5);
	assert_memory_equal(out, "\\x00x", 5);
}

static const struct {
	const char *line, *json;
} jsons[] = {
	{ "hello", "hello" },
	{ "", "" },
	{ "end\r", "end" },
	{ "a\rb", "a\\u000db" },
	{ "say \"hi\\\"", "say \\\"hi\\\\\\\"" },
	{ "tab\t\x1b[31m\177", "tab\\u0009\\u001b[31m\\u007f" },
	{ "na\xc3\xafve \xe2\x82\xac \xf0\x9f\x98\x80", "na\xc3\xafve \xe2\x82\xac \xf0\x9f\x98\x80" },
	{ "\xff\xfe", "\xef\xbf\xbd\xef\xbf\xbd" },
	{ "overlong \xc0\x80.", "overlong \xef\xbf\xbd\xef\xbf\xbd." },
	{ "surrogate \xed\xa0\x80.", "surrogate \xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd." },
	{ "too high \xf4\x90\x80\x80.", "too high \xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd." },
	{ "torn \xe2\x82", "torn \xef\xbf\xbd\xef\xbf\xbd" },
	{ "torn \xe2\x82z", "torn \xef\xbf\xbd\xef\xbf\xbdz" },
};

static void test_json(void **state)
{
	char out[256];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(jsons); i++) {
		size_t n = strlen(jsons[i].line), to = line_text_json(out, jsons[i].line, n);
		out[to] = '\0';
		assert_true(to <= LINE_TEXT_JSON * n);
		check_row_text(jsons[i].json, out, jsons[i].json);
	}
	assert_int_equal(line_text_json(out, "\0", 1), 6);
}

static void test_utf8(void **state)
{
	static const struct {
		const char *line, *utf8;
	} rows[] = {
		{ "hello\r", "hello" },
		{ "a\rb\t\x1b[m", "a\rb\t\x1b[m" },
		{ "na\xc3\xafve \xff\xf0\x9f\x98\x80\xe2\x82", "na\xc3\xafve \xef\xbf\xbd\xf0\x9f\x98\x80\xef\xbf\xbd\xef\xbf\xbd" },
	};
	char out[256];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		size_t n = strlen(rows[i].line), to = line_text_utf8(out, rows[i].line, n);
		out[to] = '\0';
		assert_true(to <= LINE_TEXT_UTF8 * n);
		check_row_text(rows[i].utf8, out, rows[i].utf8);
	}
}

/* ---- through pipes ------------------------------------------------------- */

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

/* What the log says while `run` lasts. */
struct told {
	int log[2];
	char text[8192];
};

static void told_start(struct told *t)
{
	assert_int_equal(pipe(t->log), 0);
	assert_int_equal(fd_set_nonblock(t->log[0], true), ERR_OK);
	log_to_fd(t->log[1]);
}

static const char *told_end(struct told *t)
{
	ssize_t n = read(t->log[0], t->text, sizeof(t->text) - 1);

	log_to_fd(STDERR_FILENO);
	t->text[MAX(n, 0)] = '\0';
	close(t->log[0]);
	close(t->log[1]);
	return t->text;
}

/* The sum of the numbers before `words` in `text`, of which there may be many. */
static uint64_t sum_before(const char *text, const char *words)
{
	uint64_t sum = 0;

	for (const char *p = text; (p = strstr(p, words)); p++) {
		const char *from = p;
		while (from > text && from[-1] >= '0' && from[-1] <= '9')
			from--;
		sum += strtoull(from, NULL, 10);
	}
	return sum;
}

static size_t count_text(const char *text, const char *words)
{
	size_t n = 0;

	for (const char *p = text; (p = strstr(p, words)); p++)
		n++;
	return n;
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

/* ---- into files ---------------------------------------------------------- */

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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_cuts),
		cmocka_unit_test(test_long_lines_come_in_pieces),
		cmocka_unit_test(test_no_sequence_is_torn),
		cmocka_unit_test(test_binary_junk),
		cmocka_unit_test(test_without_memory_a_partial_line_is_a_line),
		cmocka_unit_test(test_shows),
		cmocka_unit_test(test_json),
		cmocka_unit_test(test_utf8),
		cmocka_unit_test(test_lines_carry_the_name),
		cmocka_unit_test(test_drain_reads_what_is_there),
		cmocka_unit_test(test_flood_without_a_reader),
		cmocka_unit_test(test_loud_and_quiet),
		cmocka_unit_test(test_json_lines),
		cmocka_unit_test(test_one_turn_is_bounded),
		cmocka_unit_test(test_reader_that_goes_away),
		cmocka_unit_test(test_full_disk),
		cmocka_unit_test(test_stdout_that_is_closed),
		cmocka_unit_test(test_file_gets_all),
		cmocka_unit_test(test_move_loses_nothing),
		cmocka_unit_test(test_stuck_file),
		cmocka_unit_test(test_stuck_at_the_end),
		cmocka_unit_test(test_killed_writer),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
