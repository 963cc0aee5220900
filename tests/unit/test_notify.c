/* balancer/master/notify_message.h and notify.h: what workers say, and who may. */
#include "lib/check.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "balancer/master/notify.h"
#include "common/notify.h"

#define TEXT(literal) .text = (literal), .n = sizeof(literal) - 1

static const struct {
	const char *text;
	size_t n;
	enum err err;
	bool ready, stopping, alive, gives_up;
	const char *status; /* NULL: not said */
	uint64_t extend_us, watchdog_us;
} messages[] = {
	{ TEXT("READY=1"), .ready = true },
	{ TEXT("READY=1\n"), .ready = true },
	{ TEXT("READY=1\0"), .ready = true },
	{ TEXT("STATUS=up\nREADY=1\nMAINPID=1\n"), .ready = true, .status = "up" },
	{ TEXT("\n\nREADY=1\n\n"), .ready = true },
	{ TEXT("READY=0") },
	{ TEXT("READY=") },
	{ TEXT("READY") },
	{ TEXT("READY=11") },
	{ TEXT("READY=1 ") },
	{ TEXT(" READY=1") },
	{ TEXT("ready=1") },
	{ TEXT("READY=1\r\n") },
	{ TEXT("XREADY=1") },
	{ TEXT("=") },
	{ TEXT("=1") },
	{ TEXT("\n") },
	{ TEXT(""), .err = ERR_SYNTAX },
	{ TEXT("\0"), .err = ERR_SYNTAX },
	{ TEXT("READY=1\0\0"), .err = ERR_SYNTAX },
	{ TEXT("READY=1\0\nREADY=1"), .err = ERR_SYNTAX },
	{ TEXT("STOPPING=1"), .stopping = true },
	{ TEXT("WATCHDOG=1"), .alive = true },
	{ TEXT("WATCHDOG=trigger"), .gives_up = true },
	{ TEXT("STATUS="), .status = "" },
	{ TEXT("STATUS=a=b"), .status = "a=b" },
	{ TEXT("STATUS=a\nSTATUS=b"), .status = "b" },
	{ TEXT("STATUS=\xff\x1b[2J"), .status = "\xff\x1b[2J" },
	{ TEXT("EXTEND_TIMEOUT_USEC=5000000"), .extend_us = 5000000 },
	{ TEXT("EXTEND_TIMEOUT_USEC=86400000000"), .extend_us = 86400000000 },
	{ TEXT("EXTEND_TIMEOUT_USEC=86400000001") },
	{ TEXT("EXTEND_TIMEOUT_USEC=99999999999999999999999") },
	{ TEXT("EXTEND_TIMEOUT_USEC=-1") },
	{ TEXT("EXTEND_TIMEOUT_USEC=") },
	{ TEXT("EXTEND_TIMEOUT_USEC=0x10") },
	{ TEXT("EXTEND_TIMEOUT_USEC=7\nEXTEND_TIMEOUT_USEC=x"), .extend_us = 7 },
	{ TEXT("WATCHDOG_USEC=20000000"), .watchdog_us = 20000000 },
};

static void test_messages(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(messages); i++) {
		const char *row = messages[i].text;
		struct notify_message m = { .ready = false };
		check_row_int(row, notify_message_parse(&m, row, messages[i].n), messages[i].err);
		check_row_int(row, m.ready, messages[i].ready);
		check_row_int(row, m.stopping, messages[i].stopping);
		check_row_int(row, m.alive, messages[i].alive);
		check_row_int(row, m.gives_up, messages[i].gives_up);
		check_row_int(row, m.extend_us, messages[i].extend_us);
		check_row_int(row, m.watchdog_us, messages[i].watchdog_us);
		check_row_int(row, m.has_status, messages[i].status != NULL);
		if (messages[i].status)
			check_row(row, slice_eq(m.status, slice_of(messages[i].status)));
	}
}

static void test_longest(void **state)
{
	static char text[NOTIFY_BYTES_MAX + 1];
	struct notify_message m;

	(void)state;
	memset(text, 'x', sizeof(text));
	memcpy(text, "READY=1\n", 8);
	assert_int_equal(notify_message_parse(&m, text, NOTIFY_BYTES_MAX), ERR_OK);
	assert_true(m.ready);
	assert_int_equal(notify_message_parse(&m, text, NOTIFY_BYTES_MAX + 1), ERR_RANGE);
}

/* ---- the socket --------------------------------------------------------- */

struct heard {
	struct event_base *base;
	struct notify notify;
	char folder[32];
	unsigned messages, ready;
};

static void on_message(void *arg, const struct notify_message *m)
{
	struct heard *h = arg;

	h->messages++;
	h->ready += m->ready;
}

static int begin(void **state)
{
	static struct heard h;
	char path[64];
	const struct proc_user nobody = { .set = false };

	h = (struct heard){ .base = event_base_new() };
	strcpy(h.folder, "/tmp/notify-XXXXXX");
	assert_non_null(mkdtemp(h.folder));
	snprintf(path, sizeof(path), "%s/n", h.folder);
	assert_int_equal(notify_open(&h.notify, path, &nobody), ERR_OK);
	setenv("NOTIFY_SOCKET", path, 1);
	*state = &h;
	return 0;
}

static int end(void **state)
{
	struct heard *h = *state;

	notify_close(&h->notify);
	notify_close(&h->notify);
	event_base_free(h->base);
	/* Fails when the socket's file is left. */
	return rmdir(h->folder);
}

/* As long as there is something to read. */
static void turn(struct heard *h)
{
	event_base_loop(h->base, EVLOOP_NONBLOCK);
}

static void test_what_came_before_the_start_counts(void **state)
{
	struct heard *h = *state;

	assert_int_equal(notify_send("READY=1"), ERR_OK);
	notify_start(&h->notify, h->base, getpgrp(), on_message, h);
	turn(h);
	assert_int_equal(h->ready, 1);
}

static void test_status_is_kept_and_made_printable(void **state)
{
	struct heard *h = *state;
	char text[NOTIFY_BYTES_MAX];

	notify_start(&h->notify, h->base, getpgrp(), on_message, h);
	assert_int_equal(notify_send("STATUS=a\033b"), ERR_OK);
	turn(h);
	assert_string_equal(h->notify.status, "a\\x1bb");
	memset(text, '\033', sizeof(text));
	memcpy(text, "STATUS=", 7);
	text[sizeof(text) - 1] = '\0';
	assert_int_equal(notify_send(text), ERR_OK);
	turn(h);
	assert_int_equal(strlen(h->notify.status), 4 * NOTIFY_STATUS_MAX);
	assert_int_equal(notify_send("STATUS="), ERR_OK);
	turn(h);
	assert_string_equal(h->notify.status, "");
}

static void test_too_long_is_dropped_whole(void **state)
{
	struct heard *h = *state;
	static char text[20000];

	notify_start(&h->notify, h->base, getpgrp(), on_message, h);
	memset(text, 'x', sizeof(text) - 1);
	memcpy(text, "READY=1\n", 8);
	assert_int_equal(notify_send(text), ERR_OK);
	turn(h);
	assert_int_equal(h->messages, 0);
}

static void test_other_groups_are_dropped(void **state)
{
	struct heard *h = *state;
	int status;

	notify_start(&h->notify, h->base, getpgrp(), on_message, h);
	pid_t pid = fork();
	if (pid == 0) {
		setpgid(0, 0);
		_exit(notify_send("READY=1") != ERR_OK);
	}
	siginfo_t si;
	assert_int_equal(waitid(P_PID, (id_t)pid, &si, WEXITED | WNOWAIT), 0);
	turn(h);
	assert_int_equal(h->messages, 0);
	assert_int_equal(h->notify.strangers, 1);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	assert_int_equal(notify_send("READY=1"), ERR_OK);
	turn(h);
	assert_int_equal(h->ready, 1);
}

static int next_descriptor(void)
{
	int fd = open("/dev/null", O_RDONLY);

	close(fd);
	return fd;
}

static void test_descriptors_are_not_taken(void **state)
{
	struct heard *h = *state;
	int ends[2], fds[100];
	_Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(fds))];
	struct iovec iov = { (char *)"READY=1", 7 };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control,
			      .msg_controllen = sizeof(control) };
	struct addr to;

	notify_start(&h->notify, h->base, getpgrp(), on_message, h);
	assert_int_equal(pipe2(ends, O_NONBLOCK), 0);
	for (size_t i = 0; i < ARRAY_LEN(fds); i++)
		fds[i] = ends[1];
	struct cmsghdr *c = (struct cmsghdr *)(void *)control;
	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(fds));
	memcpy(CMSG_DATA(c), fds, sizeof(fds));
	assert_int_equal(addr_unix(h->notify.path, &to), ERR_OK);
	msg.msg_name = &to.sa;
	msg.msg_namelen = to.len;
	int fd = socket(AF_UNIX, SOCK_DGRAM, 0);
	assert_int_equal(sendmsg(fd, &msg, 0), 7);
	close(fd);
	close(ends[1]);
	int before = next_descriptor();
	turn(h);
	assert_int_equal(h->ready, 1);
	assert_int_equal(next_descriptor(), before);
	/* Its last writer is gone: the kernel has closed them all. */
	assert_int_equal(read(ends[0], control, 1), 0);
	close(ends[0]);
}

static void test_nowhere_to_send(void **state)
{
	(void)state;
	assert_int_equal(unsetenv("NOTIFY_SOCKET"), 0);
	assert_int_equal(notify_send("READY=1"), ERR_OK);
	setenv("NOTIFY_SOCKET", "relative", 1);
	assert_int_equal(notify_send("READY=1"), ERR_RANGE);
	setenv("NOTIFY_SOCKET", "/tmp/there/is/nobody", 1);
	assert_int_equal(notify_send("READY=1"), ERR_SYS);
	assert_int_equal(errno, ENOENT);
	setenv("NOTIFY_SOCKET", "@there-is-nobody-either", 1);
	assert_int_equal(notify_send("READY=1"), ERR_SYS);
	assert_int_equal(errno, ECONNREFUSED);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_messages),
		cmocka_unit_test(test_longest),
		cmocka_unit_test_setup_teardown(test_what_came_before_the_start_counts, begin, end),
		cmocka_unit_test_setup_teardown(test_status_is_kept_and_made_printable, begin, end),
		cmocka_unit_test_setup_teardown(test_too_long_is_dropped_whole, begin, end),
		cmocka_unit_test_setup_teardown(test_other_groups_are_dropped, begin, end),
		cmocka_unit_test_setup_teardown(test_descriptors_are_not_taken, begin, end),
		cmocka_unit_test(test_nowhere_to_send),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
