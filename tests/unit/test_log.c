/* common/log.c: the shape of a line, what may not forge one, and what happens
 * when it cannot be written. */
#include "lib/check.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <regex.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "common/fd.h"
#include "common/log.h"
#include "lib/process.h"

#define TIME "[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\\.[0-9]{3}Z"

static int pipe_fds[2];
static char text[3 * PIPE_BUF];

static int set_up(void **state)
{
	(void)state;
	unsetenv("JOURNAL_STREAM");
	log_set_level(LOG_INFO);
	log_ident("master");
	if (pipe2(pipe_fds, O_CLOEXEC | O_NONBLOCK) != 0)
		return -1;
	log_to_fd(pipe_fds[1]);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	log_to_fd(STDERR_FILENO);
	fd_close(&pipe_fds[0]);
	fd_close(&pipe_fds[1]);
	return 0;
}

/* All that was logged since the last call. */
static const char *logged_to(int fd)
{
	ssize_t n = read(fd, text, sizeof(text) - 1);

	text[MAX(n, 0)] = '\0';
	return text;
}

static const char *logged(void)
{
	return logged_to(pipe_fds[0]);
}

static void assert_matches(const char *got, const char *pattern)
{
	regex_t re;

	assert_int_equal(regcomp(&re, pattern, REG_EXTENDED | REG_NOSUB), 0);
	int miss = regexec(&re, got, 0, NULL, 0);
	regfree(&re);
	if (miss)
		fail_msg("\"%s\" does not match %s", got, pattern);
}

static void test_line(void **state)
{
	char want[128];

	(void)state;
	log_error("cannot listen on %s: %d", "0.0.0.0:80", 98);
	snprintf(want, sizeof(want),
		 "^" TIME " error master\\[%d\\]: cannot listen on 0\\.0\\.0\\.0:80: 98\n$",
		 (int)getpid());
	assert_matches(logged(), want);
}

static void test_time_is_utc_now(void **state)
{
	struct tm tm = { .tm_isdst = 0 };
	char *end;

	(void)state;
	setenv("TZ", "Asia/Kathmandu", 1);
	tzset();
	time_t before = time(NULL);
	log_error("x");
	time_t after = time(NULL);
	end = strptime(logged(), "%Y-%m-%dT%H:%M:%S", &tm);
	unsetenv("TZ");
	tzset();
	assert_non_null(end);
	assert_int_equal(*end, '.');
	assert_in_range(timegm(&tm), before, after);
}

static void test_levels(void **state)
{
	(void)state;
	for (int limit = LOG_ERROR; limit < LOG_LEVEL_MAX; limit++) {
		log_set_level((enum log_level)limit);
		for (int level = LOG_ERROR; level < LOG_LEVEL_MAX; level++) {
			char want[32];
			snprintf(want, sizeof(want), "Z %s master[", log_level_names[level]);
			log_at((enum log_level)level, "x");
			const char *got = logged();
			check_row_int(want, strstr(got, want) != NULL, level <= limit);
			check_row_int(want, got[0] != '\0', level <= limit);
		}
	}
}

static void test_macros_have_their_levels(void **state)
{
	(void)state;
	log_set_level(LOG_DEBUG);
	log_error("x");
	log_warn("x");
	log_notice("x");
	log_info("x");
	log_debug("x");
	assert_matches(logged(), "^[^ ]* error [^\n]*\n[^ ]* warn [^\n]*\n[^ ]* notice [^\n]*\n"
				 "[^ ]* info [^\n]*\n[^ ]* debug [^\n]*\n$");
}

static void test_control_bytes(void **state)
{
	static const struct {
		const char *text, *want;
	} rows[] = {
		{ "plain", "plain" },
		{ "", "" },
		{ "a\nb", "a\\x0ab" },
		{ "2026 error master[1]: forged\n", "2026 error master[1]: forged\\x0a" },
		{ "\r\t\v", "\\x0d\\x09\\x0b" },
		{ "\x1b[31mred", "\\x1b[31mred" },
		{ "\x7f\x01\x1f", "\\x7f\\x01\\x1f" },
		{ "gr\xc3\xbc\xc3\x9f", "gr\xc3\xbc\xc3\x9f" },
		{ "%s%n", "%s%n" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		log_error("%s", rows[i].text);
		char *line = strstr(logged(), "]: ");
		check_row(rows[i].text, line);
		char *newline = strchr(line, '\n');
		check_row(rows[i].text, newline && newline[1] == '\0');
		*newline = '\0';
		check_row_text(rows[i].text, line + 3, rows[i].want);
	}
}

/* Whatever comes, it is one line of at most PIPE_BUF bytes that says it was cut. */
static void test_long(void **state)
{
	static char huge[10000];

	(void)state;
	for (size_t n = 900; n < sizeof(huge); n += 7) {
		memset(huge, n % 2 ? '\x1b' : 'x', n);
		huge[n] = '\0';
		log_error("%s", huge);
		const char *got = logged();
		size_t length = strlen(got);
		assert_true(length <= PIPE_BUF);
		assert_ptr_equal(strchr(got, '\n'), got + length - 1);
		if (n >= 2048)
			assert_string_equal(got + length - 4, "...\n");
	}
}

static void test_ident(void **state)
{
	char name[] = "balancer 2";

	(void)state;
	log_ident(name);
	name[0] = 'X'; /* was copied */
	log_error("x");
	assert_matches(logged(), " error balancer 2\\[");
	log_ident("0123456789012345678901234567890123456789");
	log_error("x");
	assert_matches(logged(), " error 0123456789012345678901234567890\\[");
}

static void test_off(void **state)
{
	(void)state;
	uint64_t before = log_dropped();

	log_to_fd(-1);
	assert_int_equal(log_fd(), -1);
	log_error("x");
	assert_string_equal(logged(), "");
	assert_int_equal(log_dropped(), before); /* nobody wanted it */
	log_to_fd(pipe_fds[1]);
	assert_int_equal(log_fd(), pipe_fds[1]);
	log_error("x");
	assert_matches(logged(), "x\n$");
}

static void test_full_pipe(void **state)
{
	(void)state;
	uint64_t before = log_dropped();
	char block[4096] = { 0 };

	while (write(pipe_fds[1], block, sizeof(block)) > 0)
		;
	errno = ENOTTY;
	log_error("one");
	log_error("two");
	assert_int_equal(errno, ENOTTY);
	assert_int_equal(log_dropped(), before + 2);
	while (read(pipe_fds[0], block, sizeof(block)) > 0)
		;
	log_error("three");
	assert_matches(logged(), "^" TIME "[^\n]*three\n$");
	assert_int_equal(log_dropped(), before + 2);
}

static void test_full_disk(void **state)
{
	(void)state;
	uint64_t before = log_dropped();
	int full = open("/dev/full", O_WRONLY | O_CLOEXEC);

	if (full < 0)
		skip();
	log_to_fd(full);
	log_error("x");
	assert_int_equal(log_dropped(), before + 1);
	log_to_fd(pipe_fds[1]);
	close(full);
}

/* A file that takes only half of the second line; then there is room again. */
static int log_three_lines(void *arg)
{
	struct rlimit limit;
	uint64_t before = log_dropped();
	int fd = *(const int *)arg;

	signal(SIGXFSZ, SIG_IGN);
	log_to_fd(fd);
	log_error("first");
	getrlimit(RLIMIT_FSIZE, &limit);
	limit.rlim_cur = (rlim_t)lseek(fd, 0, SEEK_CUR) + 20;
	setrlimit(RLIMIT_FSIZE, &limit);
	log_error("second");
	log_error("lost");
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_FSIZE, &limit);
	log_error("third");
	log_error("fourth");
	return (int)(log_dropped() - before);
}

static void test_torn_line_is_ended(void **state)
{
	FILE *f = tmpfile();
	int fd = fileno(f);

	(void)state;
	assert_int_equal(in_child(log_three_lines, &fd), 2);
	rewind(f);
	text[fread(text, 1, sizeof(text) - 1, f)] = '\0';
	fclose(f);
	assert_matches(text, "^" TIME "[^\n]*: first\n[-:.T0-9]{20}\n" TIME "[^\n]*: third\n" TIME
			     "[^\n]*: fourth\n$");
}

/* JOURNAL_STREAM with the true device and inode of `fd`, each plus something. */
static void name_journal(int fd, unsigned device_plus, unsigned inode_plus, const char *after)
{
	struct stat st;
	char value[64];

	assert_int_equal(fstat(fd, &st), 0);
	snprintf(value, sizeof(value), "%ju:%ju%s", (uintmax_t)st.st_dev + device_plus,
		 (uintmax_t)st.st_ino + inode_plus, after);
	setenv("JOURNAL_STREAM", value, 1);
}

static void test_journal(void **state)
{
	static const char *const want[LOG_LEVEL_MAX] = { "<3>", "<4>", "<5>", "<6>", "<7>" };
	int ends[2];

	(void)state;
	log_set_level(LOG_DEBUG);
	/* What systemd gives: a stream socket, blocking. */
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
	name_journal(ends[1], 0, 0, "");
	log_to_fd(ends[1]);
	for (int level = 0; level < LOG_LEVEL_MAX; level++) {
		char line[64];
		snprintf(line, sizeof(line), "%smaster[%d]: x\n", want[level], (int)getpid());
		log_at((enum log_level)level, "x");
		assert_string_equal(logged_to(ends[0]), line);
	}
	/* The descriptor that the caller made private still is the same socket. */
	int own;
	assert_int_equal(fd_private_nonblock(ends[1], &own), ERR_OK);
	log_to_fd(own);
	log_error("x");
	assert_memory_equal(logged_to(ends[0]), "<3>", 3);
	/* Elsewhere: with time, although JOURNAL_STREAM is set. */
	log_to_fd(pipe_fds[1]);
	log_error("x");
	assert_matches(logged(), "^" TIME);
	close(own);
	close(ends[0]);
	close(ends[1]);
}

static void test_not_the_journal(void **state)
{
	static const struct {
		const char *row;
		unsigned device_plus, inode_plus;
		const char *after;
	} rows[] = {
		{ "another device", 1, 0, "" },
		{ "another inode", 0, 1, "" },
		{ "junk after", 0, 0, "x" },
	};
	static const char *const values[] = { "", ":", "1", "1:", ":1", "a:b", "1:2:3", "-1:-1" };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows) + ARRAY_LEN(values); i++) {
		if (i < ARRAY_LEN(rows))
			name_journal(pipe_fds[1], rows[i].device_plus, rows[i].inode_plus,
				     rows[i].after);
		else
			setenv("JOURNAL_STREAM", values[i - ARRAY_LEN(rows)], 1);
		log_to_fd(pipe_fds[1]);
		log_error("x");
		assert_matches(logged(), "^" TIME " error ");
	}
	name_journal(pipe_fds[1], 0, 0, "");
	log_to_fd(pipe_fds[1]);
	log_error("x");
	assert_matches(logged(), "^<3>"); /* the rows above differ in nothing else */
}

static void test_full_socket_does_not_wait(void **state)
{
	(void)state;
	uint64_t before = log_dropped();
	int ends[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
	log_to_fd(ends[1]);
	alarm(20); /* ends the test should it wait */
	for (int i = 0; i < 1000000 && log_dropped() == before; i++)
		log_error("x");
	alarm(0);
	assert_int_equal(log_dropped(), before + 1);
	close(ends[0]);
	log_error("x"); /* nobody there: no SIGPIPE */
	assert_int_equal(log_dropped(), before + 2);
	close(ends[1]);
}

static void test_errno_is_kept_and_usable(void **state)
{
	(void)state;
	errno = ENOENT;
	log_error("%m");
	assert_int_equal(errno, ENOENT);
	assert_matches(logged(), ": No such file or directory\n$");
}

static int die_of_it(void *arg)
{
	log_set_level(LOG_ERROR);
	die(*(int *)arg, "out of %s", "luck");
}

static void test_die(void **state)
{
	int status = 78;

	(void)state;
	assert_int_equal(in_child(die_of_it, &status), 78);
	assert_matches(logged(), " error master\\[[0-9]+\\]: out of luck\n$");
}

static void test_err_texts(void **state)
{
	(void)state;
	for (int e = 0; e < ERR_MAX; e++)
		assert_true(strlen(err_text((enum err)e)) > 0);
	assert_string_equal(err_text(ERR_NOMEM), "out of memory");
	assert_string_equal(err_text(ERR_FULL), "no room left");
	assert_string_equal(err_text(ERR_MAX), "unknown error");
	assert_string_equal(err_text((enum err)-1), "unknown error");
}

#define case_of(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		case_of(test_line),
		case_of(test_time_is_utc_now),
		case_of(test_levels),
		case_of(test_macros_have_their_levels),
		case_of(test_control_bytes),
		case_of(test_long),
		case_of(test_ident),
		case_of(test_off),
		case_of(test_full_pipe),
		case_of(test_full_disk),
		case_of(test_torn_line_is_ended),
		case_of(test_journal),
		case_of(test_not_the_journal),
		case_of(test_full_socket_does_not_wait),
		case_of(test_errno_is_kept_and_usable),
		case_of(test_die),
		case_of(test_err_texts),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
