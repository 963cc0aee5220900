/* common/fd.c: flags; listening and connecting, above all where something is
 * already there.  What is shared and inherited is test_fd_share.c. */
#include "lib/check.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/resource.h>
#include <unistd.h>

#include "common/fd.h"
#include "lib/own_folder.h"
#include "lib/process.h"

static int option_of(int fd, int level, int option)
{
	int value = -1;
	socklen_t n = sizeof(value);

	return getsockopt(fd, level, option, &value, &n) == 0 ? value : -1;
}

static struct addr name_of(int fd)
{
	struct addr a = { .len = sizeof(a.un) };

	assert_int_equal(getsockname(fd, &a.sa, &a.len), 0);
	return a;
}

static struct addr unix_in_dir(const char *name)
{
	struct addr a;
	char path[256];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	assert_int_equal(addr_unix(path, &a), ERR_OK);
	return a;
}

static void assert_fresh(int fd)
{
	assert_true(fcntl(fd, F_GETFL) & O_NONBLOCK);
	assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
}

static void test_close(void **state)
{
	int fd = open("/dev/null", O_RDONLY), was = fd;

	(void)state;
	fd_close(&fd);
	assert_int_equal(fd, -1);
	assert_int_equal(fcntl(was, F_GETFD), -1);
	errno = ENOTTY;
	fd_close(&fd);
	fd = was; /* closing fails with EBADF */
	fd_close(&fd);
	assert_int_equal(errno, ENOTTY);
}

static void test_flags(void **state)
{
	int fd = open("/dev/null", O_WRONLY | O_APPEND);

	(void)state;
	for (int on = 1; on >= 0; on--) {
		for (int again = 0; again < 2; again++) {
			assert_int_equal(fd_set_nonblock(fd, on), ERR_OK);
			assert_int_equal(fd_set_cloexec(fd, on), ERR_OK);
			assert_int_equal((fcntl(fd, F_GETFL) & O_NONBLOCK) != 0, on);
			assert_int_equal((fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0, on);
			assert_true(fcntl(fd, F_GETFL) & O_APPEND); /* others stay */
		}
	}
	fd_close(&fd);
	assert_int_equal(fd_set_nonblock(-1, true), ERR_SYS);
	assert_int_equal(errno, EBADF);
	assert_int_equal(fd_set_cloexec(-1, true), ERR_SYS);
	assert_int_equal(errno, EBADF);
}

/* ---- TCP --------------------------------------------------------------- */

static void test_listen_tcp(void **state)
{
	struct addr any = addr_ipv4_loopback(0);
	bool done;
	int fd, up;

	(void)state;
	assert_int_equal(fd_listen(&any, false, 16, 0, &fd), ERR_OK);
	struct addr a = name_of(fd);
	assert_fresh(fd);
	assert_int_equal(option_of(fd, SOL_SOCKET, SO_ACCEPTCONN), 1);
	assert_int_equal(option_of(fd, SOL_SOCKET, SO_REUSEADDR), 1);
	assert_int_equal(option_of(fd, SOL_SOCKET, SO_REUSEPORT), 0);

	assert_int_equal(fd_connect(&a, &up, &done), ERR_OK);
	struct pollfd p = { .fd = up, .events = POLLOUT };
	assert_int_equal(poll(&p, 1, 10000), 1);
	assert_int_equal(option_of(up, SOL_SOCKET, SO_ERROR), 0);
	assert_int_equal(option_of(up, IPPROTO_TCP, TCP_NODELAY), 1);
	assert_fresh(up);
	int down = accept(fd, NULL, NULL);
	assert_true(down >= 0);
	fd_close(&up);
	fd_close(&down);
	fd_close(&fd);
}

static void test_port_taken(void **state)
{
	struct addr any = addr_ipv4_loopback(0);

	(void)state;
	for (int shared = 0; shared < 2; shared++) {
		int fd, second = 4711;
		assert_int_equal(fd_listen(&any, shared, 16, 0, &fd), ERR_OK);
		struct addr a = name_of(fd);

		/* A plain bind finds out, whether or not the other would share. */
		assert_int_equal(fd_probe_bind(&a), ERR_SYS);
		assert_int_equal(errno, EADDRINUSE);
		assert_int_equal(fd_listen(&a, false, 16, 0, &second), ERR_SYS);
		assert_int_equal(errno, EADDRINUSE);
		assert_int_equal(second, 4711);
		/* Sharing takes two. */
		enum err e = fd_listen(&a, true, 16, 0, &second);
		assert_int_equal(e, shared ? ERR_OK : ERR_SYS);
		if (shared)
			fd_close(&second);
		fd_close(&fd);
		assert_int_equal(fd_probe_bind(&a), ERR_OK);
		assert_int_equal(fd_listen(&a, false, 16, 0, &fd), ERR_OK);
		fd_close(&fd);
	}
}

static void test_listen_ipv6(void **state)
{
	struct addr any;
	int fd;

	(void)state;
	assert_int_equal(addr_parse(SLICE("[::]:0"), true, &any), ERR_OK);
	if (fd_listen(&any, true, 16, 0, &fd)) {
		print_message("no IPv6 here\n");
		skip();
	}
	assert_int_equal(option_of(fd, IPPROTO_IPV6, IPV6_V6ONLY), 1);
	assert_int_equal(option_of(fd, SOL_SOCKET, SO_REUSEPORT), 1);
	fd_close(&fd);
	assert_int_equal(fd_probe_bind(&any), ERR_OK);
}

static void test_address_not_ours(void **state)
{
	struct addr a;
	int fd;

	(void)state;
	/* RFC 5737: documentation, nobody's address. */
	assert_int_equal(addr_parse(SLICE("192.0.2.1:0"), true, &a), ERR_OK);
	assert_int_equal(fd_probe_bind(&a), ERR_SYS);
	assert_int_equal(errno, EADDRNOTAVAIL);
	assert_int_equal(fd_listen(&a, false, 16, 0, &fd), ERR_SYS);
	assert_int_equal(errno, EADDRNOTAVAIL);
}

static void test_connect_refused(void **state)
{
	struct addr any = addr_ipv4_loopback(0);
	bool done = false;
	int fd, up;

	(void)state;
	assert_int_equal(fd_listen(&any, false, 16, 0, &fd), ERR_OK);
	struct addr a = name_of(fd);
	fd_close(&fd);
	enum err e = fd_connect(&a, &up, &done);
	if (e == ERR_OK) { /* the refusal may come at once or later */
		struct pollfd p = { .fd = up, .events = POLLOUT };
		assert_false(done);
		assert_int_equal(poll(&p, 1, 10000), 1);
		assert_int_equal(option_of(up, SOL_SOCKET, SO_ERROR), ECONNREFUSED);
		fd_close(&up);
	} else {
		assert_int_equal(e, ERR_SYS);
		assert_int_equal(errno, ECONNREFUSED);
	}
}

static void test_descriptor_limit(void **state)
{
	struct addr any = addr_ipv4_loopback(0);
	struct rlimit old, tight;
	int fd = 4711, lowest = open("/dev/null", O_RDONLY | O_CLOEXEC);
	bool done;

	(void)state;
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
	tight = old;
	tight.rlim_cur = (rlim_t)lowest + 1; /* all below are open */
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &tight), 0);
	enum err all[] = { fd_listen(&any, false, 16, 0, &fd), fd_connect(&any, &fd, &done),
			   fd_probe_bind(&any), fd_private_nonblock(1, &fd) };
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
	for (size_t i = 0; i < ARRAY_LEN(all); i++)
		assert_int_equal(all[i], ERR_FD_LIMIT);
	assert_int_equal(fd, 4711);
	fd_close(&lowest);
}

/* ---- Unix sockets ------------------------------------------------------ */

static void test_listen_unix(void **state)
{
	static const mode_t modes[] = { 0600, 0660, 0666, 0777 };
	struct addr a = unix_in_dir("s");
	struct stat st;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(modes); i++) {
		/* Each finds the file of the one before, which nobody listens on. */
		int fd, up;
		bool done = false;
		mode_t mask = umask(0027);
		assert_int_equal(fd_listen(&a, true, 16, modes[i], &fd), ERR_OK);
		assert_int_equal(umask(mask), 0027);
		assert_fresh(fd);
		assert_int_equal(stat(a.un.sun_path, &st), 0);
		assert_int_equal(st.st_mode & 07777, modes[i]);
		assert_int_equal(fd_connect(&a, &up, &done), ERR_OK);
		assert_true(done);
		fd_set_nodelay(up); /* harmless */
		fd_close(&up);
		fd_close(&fd);
	}
}

/* What a row of the next table keeps open while it is looked at. */
static int held[16];
static size_t n_held;

static void hold(int fd)
{
	assert_true(fd >= 0 && n_held < ARRAY_LEN(held));
	held[n_held++] = fd;
}

static void make_live(const char *path)
{
	struct addr a;
	int fd;

	assert_int_equal(addr_unix(path, &a), ERR_OK);
	assert_int_equal(fd_listen(&a, false, 16, 0600, &fd), ERR_OK);
	hold(fd);
}

static void make_live_and_full(const char *path)
{
	struct addr a;
	int fd;
	bool done;

	assert_int_equal(addr_unix(path, &a), ERR_OK);
	assert_int_equal(fd_listen(&a, false, 0, 0600, &fd), ERR_OK);
	hold(fd);
	while (fd_connect(&a, &fd, &done) == ERR_OK) {
		assert_true(done);
		hold(fd);
	}
	/* Nothing to wait for: said at once, not as "in progress". */
	assert_int_equal(errno, EAGAIN);
}

static void make_datagram(const char *path)
{
	struct addr a;

	assert_int_equal(addr_unix(path, &a), ERR_OK);
	hold(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
	assert_int_equal(bind(held[0], &a.sa, a.len), 0);
}

static void make_stale(const char *path)
{
	struct addr a;
	int fd;

	assert_int_equal(addr_unix(path, &a), ERR_OK);
	assert_int_equal(fd_listen(&a, false, 16, 0600, &fd), ERR_OK);
	fd_close(&fd);
}

static void make_nothing(const char *path)
{
	assert_int_not_equal(access(path, F_OK), 0);
}

static void make_file(const char *path)
{
	assert_int_equal(scratch_file(path, "precious", 0644), 0);
}

static void make_folder(const char *path)
{
	assert_int_equal(mkdir(path, 0755), 0);
}

static void make_link(const char *path)
{
	assert_int_equal(symlink("/nowhere", path), 0);
}

static void make_fifo(const char *path)
{
	assert_int_equal(mkfifo(path, 0644), 0);
}

static void test_unix_path_taken(void **state)
{
	static const struct {
		const char *name;
		void (*make)(const char *path);
		int error; /* 0: replaced */
	} rows[] = {
		{ "nothing", make_nothing, 0 },
		{ "stale", make_stale, 0 },
		{ "live", make_live, EADDRINUSE },
		{ "full", make_live_and_full, EADDRINUSE },
		{ "datagram", make_datagram, EADDRINUSE },
		{ "file", make_file, ENOTSOCK },
		{ "folder", make_folder, ENOTSOCK },
		{ "link", make_link, ENOTSOCK },
		{ "fifo", make_fifo, ENOTSOCK },
		{ "no/such/folder", make_nothing, ENOENT },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct addr a = unix_in_dir(rows[i].name);
		struct stat before = { .st_ino = 0 }, after = { .st_ino = 0 };
		int fd = -1;

		rows[i].make(a.un.sun_path);
		lstat(a.un.sun_path, &before);
		enum err probe = fd_probe_bind(&a);
		bool probe_finds = rows[i].error == EADDRINUSE || rows[i].error == ENOTSOCK;
		check_row_int(rows[i].name, probe, probe_finds ? ERR_SYS : ERR_OK);
		if (probe_finds)
			check_row_int(rows[i].name, errno, rows[i].error);
		enum err e = fd_listen(&a, false, 16, 0600, &fd);
		check_row_int(rows[i].name, e, rows[i].error ? ERR_SYS : ERR_OK);
		if (e) {
			check_row_int(rows[i].name, errno, rows[i].error);
			lstat(a.un.sun_path, &after); /* what was there, is there */
			check_row(rows[i].name, before.st_ino == after.st_ino);
		}
		fd_close(&fd);
		while (n_held)
			fd_close(&held[--n_held]);
	}
}

static void test_connect_unix_missing(void **state)
{
	struct addr a = unix_in_dir("missing");
	int fd = 4711;
	bool done;

	(void)state;
	assert_int_equal(fd_connect(&a, &fd, &done), ERR_SYS);
	assert_int_equal(errno, ENOENT);
	assert_int_equal(fd, 4711);
}

#define case_of(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

/* Nobody listens on a port of the ephemeral range: now and then the kernel picks
 * that very port for our end, and a naive connect would succeed. */
static void test_connect_never_meets_itself(void **state)
{
	struct addr a = addr_ipv4_loopback(0), bound = { .len = sizeof(bound.un) };
	int holder, met = 0;

	(void)state;
	assert_int_equal(fd_listen(&a, false, 1, 0, &holder), ERR_OK);
	assert_int_equal(getsockname(holder, &bound.sa, &bound.len), 0);
	fd_close(&holder);
	for (uint16_t parity = 0; parity < 2; parity++) { /* the kernel prefers one for connects */
		struct addr to = addr_ipv4_loopback((uint16_t)(addr_port(&bound) ^ parity));
		for (int i = 0; i < 60000; i++) {
			struct addr peer = { .len = sizeof(peer.un) };
			bool done;
			int fd = -1;
			if (fd_connect(&to, &fd, &done) == ERR_OK)
				met += getpeername(fd, &peer.sa, &peer.len) == 0;
			fd_close(&fd);
		}
	}
	assert_int_equal(met, 0);
}

/* ---- what the peer can have read ---- */

static void join(int *ret_client, int *ret_server)
{
	struct addr a = addr_ipv4_loopback(0);
	int listener = -1;
	bool done;

	assert_int_equal(fd_listen(&a, false, 8, 0, &listener), ERR_OK);
	a.len = sizeof(a.in);
	assert_int_equal(getsockname(listener, &a.sa, &a.len), 0);
	assert_int_equal(fd_connect(&a, ret_client, &done), ERR_OK);
	struct pollfd p = { .fd = listener, .events = POLLIN };
	assert_int_equal(poll(&p, 1, 2000), 1);
	*ret_server = accept(listener, NULL, NULL);
	assert_true(*ret_server >= 0);
	assert_int_equal(fd_set_nonblock(*ret_client, false), ERR_OK);
	fd_close(&listener);
}

/* One request and its answer, so that the counters do not begin at nothing. */
static void exchange(int client, int server)
{
	char bytes[16];

	assert_int_equal(send(client, "before", 6, 0), 6);
	assert_int_equal(recv(server, bytes, 6, MSG_WAITALL), 6);
	assert_int_equal(send(server, "answer", 6, 0), 6);
	assert_int_equal(recv(client, bytes, 6, MSG_WAITALL), 6);
}

static void test_unheard(void **state)
{
	char bytes[16];
	int client, server;

	(void)state;
	/* Closed before it came: the FIN is read, the request never was. */
	join(&client, &server);
	exchange(client, server);
	fd_close(&server);
	assert_int_equal(send(client, "request", 7, MSG_NOSIGNAL), 7);
	assert_int_equal(recv(client, bytes, sizeof(bytes), 0), 0);
	assert_true(fd_tcp_unheard(client, 7));
	assert_false(fd_tcp_unheard(client, 8));
	assert_false(fd_tcp_unheard(client, 0));
	fd_close(&client);
	/* Read, and then closed: a crash in mid-request. */
	join(&client, &server);
	exchange(client, server);
	assert_int_equal(send(client, "request", 7, MSG_NOSIGNAL), 7);
	assert_int_equal(recv(server, bytes, 7, MSG_WAITALL), 7);
	fd_close(&server);
	assert_int_equal(recv(client, bytes, sizeof(bytes), 0), 0);
	assert_false(fd_tcp_unheard(client, 7));
	fd_close(&client);
	/* Read in part: a reset, which proves nothing. */
	join(&client, &server);
	exchange(client, server);
	assert_int_equal(send(client, "request", 7, MSG_NOSIGNAL), 7);
	assert_int_equal(recv(server, bytes, 3, MSG_WAITALL), 3);
	fd_close(&server);
	assert_int_equal(recv(client, bytes, sizeof(bytes), 0), -1);
	fd_close(&client);
	/* Half of it read, the rest sent after the end. */
	join(&client, &server);
	exchange(client, server);
	assert_int_equal(send(client, "req", 3, MSG_NOSIGNAL), 3);
	assert_int_equal(recv(server, bytes, 3, MSG_WAITALL), 3);
	fd_close(&server);
	assert_int_equal(send(client, "uest", 4, MSG_NOSIGNAL), 4);
	assert_int_equal(recv(client, bytes, sizeof(bytes), 0), 0);
	assert_false(fd_tcp_unheard(client, 7));
	fd_close(&client);
	int pair[2];
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	assert_false(fd_tcp_unheard(pair[0], 1));
	fd_close(&pair[0]);
	fd_close(&pair[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		case_of(test_close),
		case_of(test_flags),
		case_of(test_listen_tcp),
		case_of(test_port_taken),
		case_of(test_listen_ipv6),
		case_of(test_address_not_ours),
		case_of(test_connect_refused),
		case_of(test_connect_never_meets_itself),
		case_of(test_descriptor_limit),
		case_of(test_listen_unix),
		case_of(test_unix_path_taken),
		case_of(test_connect_unix_missing),
		case_of(test_unheard),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
