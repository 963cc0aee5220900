/* balancer/master/probe.h: what counts as an answer, against a server that sends raw bytes. */
#include "lib/check.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "balancer/master/probe.h"
#include "common/fd.h"

#define SILENCE_MS 150 /* the try's time: for rows that end by it */

static char large[10000]; /* a head past the limit */

static const struct {
	const char *row, *reply; /* NULL: none, and the connection stays open */
	bool stays;              /* open after the reply */
	enum probe_verdict verdict;
	uint16_t status;
} rows[] = {
	{ "200", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", true, PROBE_READY, 200 },
	{ "its body may never come", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", true, PROBE_READY,
	  200 },
	{ "HTTP/1.0", "HTTP/1.0 200 OK\r\n\r\n", false, PROBE_READY, 200 },
	{ "399", "HTTP/1.1 399 x\r\n\r\n", false, PROBE_READY, 399 },
	{ "302", "HTTP/1.1 302 Found\r\nLocation: http://elsewhere/\r\n\r\n", false, PROBE_READY, 302 },
	{ "400", "HTTP/1.1 400 x\r\n\r\n", false, PROBE_STATUS, 400 },
	{ "404", "HTTP/1.1 404 x\r\n\r\n", false, PROBE_STATUS, 404 },
	{ "503", "HTTP/1.1 503 x\r\n\r\n", false, PROBE_STATUS, 503 },
	{ "interim answers first",
	  "HTTP/1.1 103 x\r\nA: b\r\n\r\nHTTP/1.1 102 x\r\n\r\nHTTP/1.1 204 x\r\n\r\n",
	  false, PROBE_READY, 204 },
	{ "interim answers only", "HTTP/1.1 103 x\r\n\r\n", true, PROBE_SILENT, 0 },
	{ "closed at once", "", false, PROBE_CLOSED, 0 },
	{ "closed in the head", "HTTP/1.1 200 OK\r\nA: ", false, PROBE_CLOSED, 0 },
	{ "stuck in the head", "HTTP/1.1 200 OK\r\nA: ", true, PROBE_SILENT, 0 },
	{ "silent", NULL, true, PROBE_SILENT, 0 },
	{ "another protocol", "220 mail.example.com ESMTP\r\n", true, PROBE_NOT_HTTP, 0 },
	{ "HTTP/2 of old", "HTTP/2.0 200 OK\r\n\r\n", true, PROBE_NOT_HTTP, 0 },
	{ "a status of two digits", "HTTP/1.1 20 OK\r\n\r\n", true, PROBE_NOT_HTTP, 0 },
	{ "two lengths", "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", true,
	  PROBE_NOT_HTTP, 0 },
	{ "too large a head", large, true, PROBE_NOT_HTTP, 0 },
};

/* Answers one connection; its status says whether the request was the right one. */
static int serve(int listener, const char *reply, bool stays)
{
	static const char want[] = "GET /up?x=1 HTTP/1.1\r\nHost: localhost\r\nUser-Agent: drover-probe/";
	char bytes[2048] = "";
	struct pollfd p = { .fd = listener, .events = POLLIN };

	poll(&p, 1, 5000);
	int fd = accept(listener, NULL, NULL);
	if (fd < 0 || read(fd, bytes, sizeof(bytes) - 1) <= 0)
		return 2;
	if (reply && write(fd, reply, strlen(reply)) < 0)
		return 3;
	if (stays || !reply) /* until the probe goes */
		(void)!read(fd, (char[1]){ 0 }, 1);
	close(fd);
	return memcmp(bytes, want, sizeof(want) - 1) != 0 || !strstr(bytes, "\r\n\r\n");
}

static void test_answers(void **state)
{
	struct addr address = addr_ipv4_loopback(0);
	int listener, status;

	(void)state;
	memset(large, 'x', sizeof(large) - 1);
	memcpy(large, "HTTP/1.1 200 OK\r\nA: ", 20);
	assert_int_equal(fd_listen(&address, false, 8, 0600, &listener), ERR_OK);
	assert_int_equal(getsockname(listener, &address.sa, &(socklen_t){ sizeof(address.in) }), 0);
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		const char *row = rows[i].row;
		bool waits = rows[i].verdict == PROBE_SILENT;
		pid_t pid = fork();
		if (pid == 0)
			_exit(serve(listener, rows[i].reply, rows[i].stays));
		struct probe_report r = probe_once(&address, "/up?x=1", waits ? SILENCE_MS : 5000);
		check_row_int(row, r.verdict, rows[i].verdict);
		check_row_int(row, r.status, rows[i].status);
		check_row_int(row, waitpid(pid, &status, 0), pid);
		check_row_int(row, status, 0);
	}
	close(listener);
	check_row_int("nobody listens", probe_once(&address, "/", 1000).verdict, PROBE_REFUSED);
}

/* Reports come until the verdict is good or somebody ends it; nothing is left then. */
static void test_process(void **state)
{
	struct addr address = addr_ipv4_loopback(1);
	const struct proc_user ourselves = { .set = false };
	const struct probe_plan plan = { .path = "/", .timeout_ms = 5000, .first_pause_ms = 100,
					 .rise = 1 };
	const struct sandbox sandbox = { .role = SANDBOX_PROBE, .user = &ourselves };
	struct probe_report report;
	int pidfd, fd;

	(void)state;
	assert_int_equal(probe_start(&address, &plan, &sandbox, &pidfd, &fd), ERR_OK);
	for (int i = 0; i < 2; i++) {
		struct pollfd p = { .fd = fd, .events = POLLIN };
		assert_int_equal(poll(&p, 1, 5000), 1);
		assert_int_equal(read(fd, &report, sizeof(report)), sizeof(report));
		assert_int_equal(report.verdict, PROBE_REFUSED);
	}
	probe_end(&pidfd, &fd);
	assert_int_equal(pidfd, -1);
	assert_int_equal(fd, -1);
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
	assert_int_equal(errno, ECHILD);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_answers),
		cmocka_unit_test(test_process),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
