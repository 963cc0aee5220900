/* balancer/master/owner.c: whose listening socket it is. */
#include "lib/check.h"

#include <arpa/inet.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "balancer/master/owner.h"
#include "common/addr.h"

static int listen_on(int family, uint32_t ipv4, struct addr *ret_loopback)
{
	struct sockaddr_in in = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(ipv4) };
	struct sockaddr_in6 in6 = { .sin6_family = AF_INET6 };
	socklen_t len = family == AF_INET ? sizeof(in) : sizeof(in6);
	struct sockaddr *sa = family == AF_INET ? (struct sockaddr *)&in : (struct sockaddr *)&in6;
	int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	assert_int_equal(bind(fd, sa, len), 0);
	assert_int_equal(listen(fd, 8), 0);
	assert_int_equal(getsockname(fd, sa, &len), 0);
	*ret_loopback = addr_ipv4_loopback(ntohs(family == AF_INET ? in.sin_port : in6.sin6_port));
	return fd;
}

/* A child that holds what we hold now, until end_child(). */
static pid_t start_child(void)
{
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (;;)
			pause();
	}
	return pid;
}

static void end_child(pid_t pid)
{
	kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
}

static const struct {
	const char *what;
	int family;
	uint32_t ipv4;
	enum owner mine, other;
} cases[] = {
	{ "on 127.0.0.1", AF_INET, INADDR_LOOPBACK, OWNER_WORKER, OWNER_OTHER },
	{ "on all of IPv4", AF_INET, INADDR_ANY, OWNER_WORKER, OWNER_OTHER },
	{ "on all of IPv6 and IPv4", AF_INET6, 0, OWNER_WORKER, OWNER_OTHER },
	{ "on another address", AF_INET, INADDR_LOOPBACK + 1, OWNER_UNKNOWN, OWNER_UNKNOWN },
};

static void test_owner(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct addr a;
		pid_t stranger = start_child(); /* before there was a socket */
		int fd = listen_on(cases[i].family, cases[i].ipv4, &a);
		enum owner mine = owner_of_listener(&a, getpid());
		enum owner other = owner_of_listener(&a, stranger);
		if (mine != cases[i].mine || other != cases[i].other)
			fail_msg("%s: the owner gets %d, a stranger %d", cases[i].what, mine, other);
		close(fd);
		end_child(stranger);
		assert_int_equal(owner_of_listener(&a, getpid()), OWNER_UNKNOWN);
	}
}

static void test_child_of_the_worker(void **state)
{
	struct addr a;
	int fd = listen_on(AF_INET, INADDR_LOOPBACK, &a);
	pid_t child = start_child();

	(void)state;
	close(fd); /* now it is the child's alone */
	assert_int_equal(owner_of_listener(&a, child), OWNER_WORKER);
	assert_int_equal(owner_of_listener(&a, getpid()), OWNER_WORKER);
	end_child(child);
}

static void test_what_has_no_port(void **state)
{
	struct addr a;

	(void)state;
	assert_int_equal(addr_unix("/run/x", &a), ERR_OK);
	assert_int_equal(owner_of_listener(&a, getpid()), OWNER_UNKNOWN);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_owner),
		cmocka_unit_test(test_child_of_the_worker),
		cmocka_unit_test(test_what_has_no_port),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
