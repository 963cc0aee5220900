/* proxy/ring.c and proxy/batch.c: many receives and sends at once, with a ring and without. */
#include "lib/check.h"

#include <dlfcn.h>
#include <errno.h>
#include <event2/event.h>
#include <liburing.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "balancer/proxy/batch.h"
#include "balancer/proxy/ring.h"
#include "common/fd.h"
#include "common/log.h"
#include "common/mem.h"

#define SCRATCH 4096

static struct event_base *base;
static struct block_pool pool;
static char own[SCRATCH], *scratch = own;

/* A conn, the peer's end, and what its owner was told. */
struct party {
	struct conn conn;
	int peer;
	unsigned events;
	enum err read;
	char got[64];
	size_t n;
	struct party *ends; /* by what it is told */
};

static void on_event(evutil_socket_t fd, short what, void *arg)
{
	struct party *p = arg;

	(void)fd, (void)what;
	if (batch_defer(&p->conn, CONN_EVENT_READ))
		return;
	p->events++;
	p->read = conn_read(&p->conn, scratch, SCRATCH, &p->n);
	if (p->read == ERR_OK)
		memcpy(p->got, scratch, MIN(p->n, sizeof(p->got)));
	if (p->ends)
		conn_close(&p->ends->conn, &pool, false);
}

static void make(struct party *p)
{
	int fds[2];

	memset(p, 0, sizeof(*p));
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
	p->peer = fds[1];
	conn_init(&p->conn, base, fds[0], on_event, p);
	assert_int_equal(conn_read_on(&p->conn), ERR_OK);
}

static void end(struct party *p)
{
	conn_close(&p->conn, &pool, false);
	fd_close(&p->peer);
}

static void turn(void)
{
	assert_true(event_base_loop(base, EVLOOP_NONBLOCK) >= 0);
	batch_read(&scratch, &pool);
	batch_flush(&pool);
	assert_ptr_equal(scratch, own);
}

static void say(struct party *p, const char *text)
{
	assert_int_equal(write(p->peer, text, strlen(text)), strlen(text));
}

static void write_soon(struct party *p, const char *text)
{
	struct iovec iov[2] = { { (void *)(uintptr_t)text, 1 },
				{ (void *)(uintptr_t)(text + 1), strlen(text + 1) } };
	size_t sent = 0;

	assert_int_equal(conn_write_soon(&p->conn, &pool, iov, 2, &sent, NULL), ERR_OK);
	assert_int_equal(sent, strlen(text));
}

/* What has come at the peer's end, all of it; NULL: nothing. */
static const char *heard(struct party *p)
{
	static char text[4096];
	ssize_t n = recv(p->peer, text, sizeof(text) - 1, MSG_DONTWAIT);

	text[MAX(n, 0)] = '\0';
	return n < 0 ? NULL : text;
}

static int boot(void **state)
{
	(void)state;
	signal(SIGPIPE, SIG_IGN);
	log_to_fd(-1);
	base = event_base_new();
	block_pool_init(&pool);
	batch_start(SCRATCH);
	return base ? 0 : -1;
}

static int halt(void **state)
{
	(void)state;
	batch_stop();
	block_pool_fini(&pool);
	event_base_free(base);
	return 0;
}

/* ---- a kernel at its worst ---- */

static struct kernel {
	int says[3];         /* by call: 0 or more: what it does; less: that, and does nothing */
	unsigned takes;      /* at most so many operations by the first call; 0: all */
	bool backwards;      /* results come in another order */
	int starves;         /* a result of -EAGAIN becomes -ENOMEM, and by the next try 4 bytes are
			      * there: the other end of that socket; -1: no */
	unsigned n_calls;
} kernel = { .starves = -1 };

static void turn_round(struct io_uring *ring)
{
	unsigned n = io_uring_cq_ready(ring), mask = *ring->cq.kring_mask, head = *ring->cq.khead;

	for (unsigned i = 0; i < n / 2; i++) {
		struct io_uring_cqe *a = &ring->cq.cqes[(head + i) & mask],
				    *b = &ring->cq.cqes[(head + n - 1 - i) & mask], between = *a;
		*a = *b;
		*b = between;
	}
}

static void starve(struct io_uring *ring)
{
	struct io_uring_cqe *cqe;
	unsigned head;

	io_uring_for_each_cqe(ring, head, cqe)
		if (cqe->res == -EAGAIN)
			cqe->res = -ENOMEM;
	assert_int_equal(write(kernel.starves, "late", 4), 4);
	kernel.starves = -1;
}

/* In front of the library's. */
int io_uring_submit_and_wait(struct io_uring *ring, unsigned wait_nr)
{
	static int (*enter)(struct io_uring *, unsigned);
	unsigned call = kernel.n_calls++, tail = ring->sq.sqe_tail;
	int says = call < ARRAY_LEN(kernel.says) ? kernel.says[call] : 0, n;

	if (!enter)
		*(void **)&enter = dlsym(RTLD_NEXT, "io_uring_submit_and_wait");
	if (says < 0)
		return says;
	if (kernel.takes && call == 0) {
		ring->sq.sqe_tail = ring->sq.sqe_head + kernel.takes;
		n = enter(ring, kernel.takes);
		ring->sq.sqe_tail = tail;
		return n;
	}
	n = enter(ring, wait_nr);
	if (kernel.backwards)
		turn_round(ring);
	if (kernel.starves >= 0)
		starve(ring);
	return n;
}

/* ---- the ring ---- */

static void check_results(void)
{
	int a[2], gone[2], full[2];
	char in[3][16] = { "" }, big[65536] = "";

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, a), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, gone), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, full), 0);
	fd_close(&gone[1]);
	while (send(full[0], big, sizeof(big), MSG_DONTWAIT) > 0)
		;
	assert_int_equal(write(a[1], "hello", 5), 5);
	struct ring_op ops[] = {
		{ .fd = a[0], .bytes = in[0], .n = 16 },
		{ .fd = a[1], .bytes = in[1], .n = 16 }, /* blocking, and nothing is there: it must not wait */
		{ .fd = gone[0], .bytes = in[2], .n = 16 },
		{ .fd = gone[0], .send = true, .bytes = big, .n = 5 },
		{ .fd = full[0], .send = true, .bytes = big, .n = 5 },
		{ .fd = full[1], .send = true, .bytes = big, .n = 5 },
		{ .fd = 999999, .send = true, .bytes = big, .n = 5 },
	};
	static const int32_t want[] = { 5, -EAGAIN, 0, -EPIPE, -EAGAIN, 5, -EBADF };
	ring_run(ops, ARRAY_LEN(ops));
	for (size_t i = 0; i < ARRAY_LEN(ops); i++)
		assert_int_equal(ops[i].result, want[i]);
	assert_memory_equal(in[0], "hello", 5);
	for (int i = 0; i < 2; i++) {
		close(a[i]);
		close(full[i]);
	}
	close(gone[0]);
}

static void test_results_with_a_ring(void **state)
{
	(void)state;
	if (!ring_on()) {
		print_message("this kernel gives no ring\n");
		skip();
	}
	for (int i = 0; i < 3; i++)
		check_results();
}

static void test_results_in_another_order(void **state)
{
	(void)state;
	if (!ring_on())
		skip();
	kernel = (struct kernel){ .backwards = true, .starves = -1 };
	check_results();
	assert_int_equal(kernel.n_calls, 1);
	kernel = (struct kernel){ .starves = -1 };
}

/* It refuses, at once or having taken a part: no operation is carried out twice, and none left out. */
static void test_ring_fails(void **state)
{
	static const struct kernel cases[] = {
		{ .says = { -EAGAIN }, .starves = -1 },
		{ .says = { -EBADFD }, .starves = -1 },
		{ .says = { 0, -EAGAIN }, .takes = 1, .starves = -1 },
		{ .says = { 0, -EINTR, -EAGAIN }, .takes = 6, .starves = -1 },
	};
	static const unsigned n_calls[] = { 1, 1, 2, 3 };

	(void)state;
	if (!ring_on())
		skip();
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		kernel = cases[i];
		check_results();
		assert_int_equal(kernel.n_calls, n_calls[i]);
		assert_false(ring_on());
		check_results(); /* it is left alone */
		assert_int_equal(kernel.n_calls, n_calls[i]);
		batch_stop();
		batch_start(SCRATCH);
		assert_true(ring_on());
	}
	/* A signal, and a part: that is no failure. */
	kernel = (struct kernel){ .says = { 0, -EINTR }, .takes = 3, .starves = -1 };
	check_results();
	assert_int_equal(kernel.n_calls, 3);
	assert_true(ring_on());
	kernel = (struct kernel){ .starves = -1 };
}

/* What it has no memory for has not been done. */
static void test_no_memory_for_one(void **state)
{
	int fds[2];
	char in[2][16] = { "" };
	struct ring_op ops[2];

	(void)state;
	if (!ring_on())
		skip();
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	ops[0] = (struct ring_op){ .fd = fds[0], .send = true, .bytes = in[0], .n = 5 };
	ops[1] = (struct ring_op){ .fd = fds[0], .bytes = in[1], .n = 16 };
	kernel = (struct kernel){ .starves = fds[1] };
	ring_run(ops, 2);
	kernel = (struct kernel){ .starves = -1 };
	assert_int_equal(ops[0].result, 5);
	assert_int_equal(ops[1].result, 4);
	assert_memory_equal(in[1], "late", 4);
	assert_true(ring_on());
	close(fds[0]);
	close(fds[1]);
}

static void test_results_without(void **state)
{
	(void)state;
	batch_stop();
	assert_false(ring_on());
	check_results();
	batch_start(SCRATCH);
}

static void test_as_many_as_fit(void **state)
{
	struct ring_op ops[RING_OPS];
	char bytes[RING_OPS] = { 0 };
	int fds[2];

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	for (int round = 0; round < 5; round++) {
		for (unsigned i = 0; i < RING_OPS; i++)
			ops[i] = (struct ring_op){
				.fd = fds[i & 1], .send = true, .bytes = bytes + i, .n = 1
			};
		ring_run(ops, RING_OPS);
		for (unsigned i = 0; i < RING_OPS; i++)
			assert_int_equal(ops[i].result, 1);
	}
	close(fds[0]);
	close(fds[1]);
}

/* What else it could be used for is refused. */
static void test_it_is_restricted(void **state)
{
	char path[32], what[32];
	int found = -1;

	(void)state;
	for (int fd = 3; fd < 256 && found < 0; fd++) {
		snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
		ssize_t n = readlink(path, what, sizeof(what) - 1);
		what[MAX(n, 0)] = '\0';
		if (strcmp(what, "anon_inode:[io_uring]") == 0)
			found = fd;
	}
	assert_int_equal(found >= 0, ring_on());
	if (!ring_on())
		skip();
	assert_int_equal(syscall(SYS_io_uring_register, found, IORING_REGISTER_FILES, &found, 1), -1);
	assert_int_equal(errno, EACCES);
	assert_int_equal(syscall(SYS_io_uring_register, found, IORING_UNREGISTER_PERSONALITY, NULL, 0), -1);
	assert_int_equal(errno, EACCES);
}

/* ---- reading ---- */

static void test_reads_together(void **state)
{
	struct party p[3];

	(void)state;
	for (int i = 0; i < 3; i++)
		make(&p[i]);
	say(&p[0], "one");
	say(&p[2], "three");
	fd_close(&p[1].peer);
	turn();
	assert_int_equal(p[0].read, ERR_OK);
	assert_memory_equal(p[0].got, "one", 3);
	assert_int_equal(p[1].read, ERR_CLOSED);
	assert_int_equal(p[2].n, 5);
	assert_memory_equal(p[2].got, "three", 5);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(p[i].events, 1);
		end(&p[i]);
	}
}

/* One of those that were read for is ended by another's owner. */
static void test_one_ends_another(void **state)
{
	struct party p[3];

	(void)state;
	for (int i = 0; i < 3; i++)
		make(&p[i]);
	for (int i = 0; i < 3; i++)
		p[i].ends = &p[(i + 1) % 3];
	for (int i = 0; i < 3; i++)
		say(&p[i], "x");
	turn();
	/* Whichever is told first, its successor is not. */
	assert_int_equal(p[0].events + p[1].events + p[2].events, 2);
	for (int i = 0; i < 3; i++)
		end(&p[i]);
	turn();
}

/* ---- sending ---- */

static void test_order_is_kept(void **state)
{
	struct party p[2];
	struct iovec more = { (void *)(uintptr_t) "-now", 4 };

	(void)state;
	make(&p[0]);
	make(&p[1]);
	write_soon(&p[0], "first");
	write_soon(&p[1], "other");
	if (ring_on())
		assert_null(heard(&p[0]));
	write_soon(&p[0], "-second");
	assert_int_equal(conn_write(&p[0].conn, &pool, &more, 1, NULL), ERR_OK);
	assert_string_equal(heard(&p[0]), "first-second-now");
	assert_string_equal(heard(&p[1]), "other");
	end(&p[0]);
	end(&p[1]);
}

static void test_sent_before_the_end(void **state)
{
	struct party p[3];

	(void)state;
	for (int i = 0; i < 3; i++) {
		make(&p[i]);
		write_soon(&p[i], "last words");
	}
	conn_close(&p[0].conn, &pool, false);
	assert_string_equal(heard(&p[0]), "last words");
	assert_string_equal(heard(&p[0]), "");
	write_soon(&p[1], "!");
	conn_end_writing(&p[1].conn, &pool);
	assert_string_equal(heard(&p[1]), "last words!");
	assert_string_equal(heard(&p[1]), "");
	write_soon(&p[2], "!");
	conn_detach(&p[2].conn, &pool);
	assert_string_equal(heard(&p[2]), "last words!");
	for (int i = 0; i < 3; i++)
		end(&p[i]);
}

/* What is to leave with the FIN does not wait for the end of the turn. */
static void test_last_is_sent_at_once(void **state)
{
	struct party p;

	(void)state;
	make(&p);
	p.conn.last = true;
	write_soon(&p, "bye");
	assert_string_equal(heard(&p), "bye");
	end(&p);
}

/* Each byte is counted when it leaves, or by whoever sends what was kept. */
static void test_bytes_are_counted(void **state)
{
	_Atomic uint64_t n = 0;
	struct party p[2];
	char big[16384] = "";
	struct iovec iov = { big, 5 };

	(void)state;
	for (int i = 0; i < 2; i++) {
		make(&p[i]);
		assert_int_equal(conn_write_soon(&p[i].conn, &pool, &iov, 1, NULL, &n), ERR_OK);
	}
	assert_int_equal(n, ring_on() ? 0 : 10);
	batch_flush(&pool);
	assert_int_equal(n, 10);
	while (send(p[0].conn.fd, big, sizeof(big), MSG_DONTWAIT) > 0)
		;
	for (int i = 0; i < 2; i++)
		assert_int_equal(conn_write_soon(&p[i].conn, &pool, &iov, 1, NULL, &n), ERR_OK);
	batch_flush(&pool);
	assert_int_equal(n, 15);
	assert_int_equal(conn_write_soon(&p[0].conn, &pool, &iov, 1, NULL, &n), ERR_OK);
	assert_int_equal(n, 15);
	assert_int_equal(chain_bytes(&p[0].conn.out), 10);
	end(&p[0]);
	end(&p[1]);
}

static void test_more_than_fit(void **state)
{
	struct party p[RING_OPS + 3];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(p); i++) {
		make(&p[i]);
		write_soon(&p[i], "hello");
		say(&p[i], "you");
	}
	turn();
	for (size_t i = 0; i < ARRAY_LEN(p); i++) {
		assert_string_equal(heard(&p[i]), "hello");
		assert_int_equal(p[i].events, 1);
		assert_memory_equal(p[i].got, "you", 3);
		end(&p[i]);
	}
}

static void test_peer_is_gone(void **state)
{
	struct party p[2];
	size_t sent;

	(void)state;
	make(&p[0]);
	make(&p[1]);
	if (!ring_on())
		skip();
	write_soon(&p[0], "hello");
	write_soon(&p[1], "hello");
	fd_close(&p[0].peer);
	batch_flush(&pool);
	assert_string_equal(heard(&p[1]), "hello");
	assert_true(p[0].conn.unsent && p[0].conn.armed_write);
	assert_int_equal(chain_bytes(&p[0].conn.out), 5);
	assert_int_equal(conn_flush(&p[0].conn, &pool, &sent), ERR_CLOSED);
	assert_int_equal(sent, 0);
	end(&p[0]);
	end(&p[1]);
	assert_int_equal(pool.bytes_lent, 0);
}

/* The kernel takes none of it now. */
static void test_no_room(void **state)
{
	struct party p[2];
	char big[16384];
	struct iovec more = { (void *)(uintptr_t)"!", 1 };
	size_t sent;

	(void)state;
	make(&p[0]);
	make(&p[1]);
	if (!ring_on())
		skip();
	memset(big, '.', sizeof(big));
	while (send(p[0].conn.fd, big, sizeof(big), MSG_DONTWAIT) > 0)
		;
	write_soon(&p[0], "hello");
	write_soon(&p[1], "hello");
	/* That shows with the next one, which must not overtake it. */
	assert_int_equal(conn_write_soon(&p[0].conn, &pool, &more, 1, &sent, NULL), ERR_OK);
	assert_int_equal(sent, 0);
	assert_string_equal(heard(&p[1]), "hello");
	assert_true(p[0].conn.unsent && p[0].conn.armed_write);
	while (recv(p[0].peer, big, sizeof(big), MSG_DONTWAIT) > 0)
		;
	assert_int_equal(conn_flush(&p[0].conn, &pool, &sent), ERR_OK);
	assert_int_equal(sent, 6);
	assert_string_equal(heard(&p[0]), "hello!");
	end(&p[0]);
	end(&p[1]);
}

/* Nor can it be kept; the event that tells of it does not outlive the connection. */
static void test_no_memory(void **state)
{
	struct block_pool none;
	struct party p;
	char big[16384] = "";
	struct iovec iov = { big, 5 };

	(void)state;
	if (!ring_on())
		skip();
	for (int told = 0; told < 2; told++) {
		block_pool_init(&none);
		make(&p);
		conn_read_off(&p.conn);
		while (send(p.conn.fd, big, sizeof(big), MSG_DONTWAIT) > 0)
			;
		assert_int_equal(conn_write_soon(&p.conn, &none, &iov, 1, NULL, NULL), ERR_OK);
		mem_fault_at(1);
		batch_flush(&none);
		mem_fault_at(0);
		assert_true(p.conn.starved && p.conn.broken);
		assert_int_equal(conn_flush(&p.conn, &none, NULL), ERR_NOMEM);
		if (!told)
			conn_close(&p.conn, &none, false);
		assert_true(event_base_loop(base, EVLOOP_NONBLOCK) >= 0);
		assert_int_equal(p.conn.reader > 0, told); /* the owner was called */
		batch_read(&scratch, &none);
		assert_int_equal(p.events, 0); /* and it does not read what it does not watch */
		end(&p);
		block_pool_fini(&none);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_results_with_a_ring), cmocka_unit_test(test_results_without),
		cmocka_unit_test(test_results_in_another_order), cmocka_unit_test(test_ring_fails),
		cmocka_unit_test(test_no_memory_for_one),
		cmocka_unit_test(test_as_many_as_fit),      cmocka_unit_test(test_it_is_restricted),
		cmocka_unit_test(test_reads_together),
		cmocka_unit_test(test_one_ends_another),    cmocka_unit_test(test_order_is_kept),
		cmocka_unit_test(test_sent_before_the_end),
		cmocka_unit_test(test_last_is_sent_at_once), cmocka_unit_test(test_bytes_are_counted),
		cmocka_unit_test(test_more_than_fit),
		cmocka_unit_test(test_peer_is_gone),        cmocka_unit_test(test_no_room),
		cmocka_unit_test(test_no_memory),
	};

	return cmocka_run_group_tests(tests, boot, halt);
}
