/* balancer/proxy/handover_give.c: what is given goes on with its taker, or here, whatever the
 * taker says or does. */
#include "test_handover.h"

/* ---- giving ------------------------------------------------------------- */

/* A balancer with a tunnel, or an idle connection, that came over a channel as well. */
static void giver_start(struct side *s, const struct handover_record *r, struct ends *e)
{
	enum handover_answer answer = HANDOVER_ANSWER_MAX;
	int channel = taker_start(s);

	send_record(channel, r, e, "");
	turn(s);
	assert_int_equal(verdict(channel, 1, &answer), ERR_OK);
	assert_int_equal(answer, HANDOVER_TAKEN);
	close(channel);
	turn(s);
}

/* Drains it; returns the taker's end of the channel. */
static int give(struct side *s)
{
	int pair[2];

	assert_int_equal(msg_pair(pair), ERR_OK);
	handover_give_over(s->proxy, pair[0]);
	drain_to(s->proxy, DRAIN_RELOAD, false);
	return pair[1];
}

static void test_given_and_taken(void **state)
{
	struct side from, to;
	struct ends e = make_ends();

	(void)state;
	begin();
	struct handover_record r = tunnel_record(1);
	giver_start(&from, &r, &e);
	side_start(&to);
	say(e.client, "before");
	int end = give(&from);
	assert_int_equal(from.proxy->n_clients, 1); /* until it is told */
	handover_take_over(to.proxy, end);
	turn(&to);
	assert_int_equal(tally_in_flight(tally, SLOT), 2);     /* never seen without it */
	assert_true(!proxy_turn(from.proxy, EVLOOP_NONBLOCK)); /* it has ended */
	assert_int_equal(tally_in_flight(tally, SLOT), 1);
	turn(&to);
	expect(e.worker, "before");
	say(e.worker, "after");
	turn(&to);
	expect(e.client, "after");
	side_stop(&from);
	side_stop(&to);
	close_ends(&e);
}

/* Half-closed, by either side, with bytes still to go before the FIN. */
static void test_half_closed(void **state)
{
	(void)state;
	for (int by_client = 0; by_client < 2; by_client++) {
		struct side from, to;
		struct ends e = make_ends();
		struct handover_record r = tunnel_record(1);
		int *first = by_client ? &e.client : &e.worker,
		    *other = by_client ? &e.worker : &e.client;
		begin();
		giver_start(&from, &r, &e);
		say(*first, "the last");
		assert_int_equal(shutdown(*first, SHUT_WR), 0);
		turn(&from);
		expect(*other, "the last");
		side_start(&to);
		handover_take_over(to.proxy, give(&from));
		turn(&to);
		turn(&from);
		assert_int_equal(from.proxy->n_clients, 0);
		expect(*other, ""); /* its FIN, from before */
		say(*other, "one more");
		turn(&to);
		expect(*first, "one more");
		expect_open(*first);
		fd_close(other);
		turn(&to);
		expect(*first, "");
		assert_int_equal(to.proxy->n_clients, 0);
		side_stop(&from);
		side_stop(&to);
		close_ends(&e);
	}
}

/* The taker dies with the record unread, or without a verdict: nothing has happened. */
static void test_taker_dies(void **state)
{
	(void)state;
	for (int read_first = 0; read_first < 2; read_first++) {
		struct side from;
		struct ends e = make_ends();
		struct handover_record r = tunnel_record(1);
		begin();
		giver_start(&from, &r, &e);
		int end = give(&from);
		say(e.client, "hello");
		turn(&from);
		expect_open(e.worker); /* nobody serves it at this moment */
		if (read_first) {
			char buf[HANDOVER_PACKET_BYTES];
			int fds[HANDOVER_FDS_MAX];
			unsigned n_fds;
			size_t n;
			assert_int_equal(handover_receive(end, &r, fds, &n_fds, buf, &n), ERR_OK);
			assert_int_equal(n_fds, 2);
			close(fds[0]);
			close(fds[1]);
		}
		close(end);
		turn(&from);
		expect(e.worker, "hello");
		say(e.worker, "there");
		turn(&from);
		expect(e.client, "there");
		assert_int_equal(tally_in_flight(tally, SLOT), 1);
		side_stop(&from);
		close_ends(&e);
	}
}

/* It dies behind its verdict, with other packets unread: the verdict counts. */
static void test_last_words(void **state)
{
	struct side from;
	struct ends e = make_ends(), other = make_ends();
	struct handover_verdict v = { .number = 1, .answer = HANDOVER_TAKEN };

	(void)state;
	begin();
	int channel = taker_start(&from);
	struct handover_record r = idle_record(1), r2 = idle_record(2);
	fd_close(&e.worker_fd);
	fd_close(&other.worker_fd);
	send_record(channel, &r, &e, "");
	send_record(channel, &r2, &other, "");
	turn(&from);
	close(channel);
	int end = give(&from);
	assert_int_equal(handover_send_verdict(end, &v), ERR_OK);
	close(end); /* two records are unread: the giver's next call fails with ECONNRESET */
	turn(&from);
	assert_int_equal(from.proxy->n_clients, 1);
	expect(e.client, ""); /* its taker had it, and is dead */
	expect_open(other.client);
	side_stop(&from);
	close_ends(&e);
	close_ends(&other);
}

static void test_verdicts_without_sense(void **state)
{
	static const struct handover_verdict rows[] = {
		{ .number = 2, .answer = HANDOVER_TAKEN },
		{ .number = 0, .answer = HANDOVER_TAKEN },
		{ .number = 1, .answer = HANDOVER_ANSWER_MAX },
		{ .number = 1, .answer = HANDOVER_TAKEN, .zero = 1 },
	};
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct side from;
		struct ends e = make_ends();
		struct handover_record r = tunnel_record(1);
		begin();
		giver_start(&from, &r, &e);
		int end = give(&from);
		assert_int_equal(handover_send_verdict(end, &rows[i]), ERR_OK);
		turn(&from);
		assert_int_equal(from.proxy->n_clients, 1);
		assert_null(from.proxy->giver);
		side_stop(&from);
		close(end);
		close_ends(&e);
	}
}

static void test_verdict_of_another_size(void **state)
{
	static const size_t rows[] = { 1, 8, sizeof(struct handover_verdict) - 1,
				       sizeof(struct handover_verdict) + 1 };
	struct handover_verdict v[2] = { { .number = 1, .answer = HANDOVER_TAKEN } };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct side from;
		struct ends e = make_ends();
		struct handover_record r = tunnel_record(1);
		begin();
		giver_start(&from, &r, &e);
		int end = give(&from);
		assert_int_equal(send(end, v, rows[i], 0), rows[i]);
		turn(&from);
		assert_int_equal(from.proxy->n_clients, 1);
		assert_null(from.proxy->giver);
		side_stop(&from);
		close(end);
		close_ends(&e);
	}
}

/* A verdict more than there were records, and there is nobody left whom it could be about. */
static void test_verdict_too_many(void **state)
{
	struct side from;
	struct ends e = make_ends();

	(void)state;
	begin();
	struct handover_record r = tunnel_record(1);
	giver_start(&from, &r, &e);
	int end = give(&from);
	for (uint64_t n = 1; n <= 2; n++) {
		struct handover_verdict v = { .number = n, .answer = HANDOVER_TAKEN };
		assert_int_equal(handover_send_verdict(end, &v), ERR_OK);
	}
	turn(&from);
	assert_int_equal(from.proxy->n_clients, 0);
	assert_null(from.proxy->giver);
	side_stop(&from);
	close(end);
	close_ends(&e);
}

/* Nobody can have taken what has not left yet. */
static void test_verdict_before_the_rest(void **state)
{
	static char bytes[60001];
	enum handover_answer answer = HANDOVER_ANSWER_MAX;
	struct side from;
	struct ends e = make_ends();
	struct handover_verdict v = { .number = 1, .answer = HANDOVER_TAKEN };
	int pair[2], least = 1, one_packet = 16600; /* which the kernel doubles */

	(void)state;
	begin();
	memset(bytes, 'x', sizeof(bytes) - 1);
	int channel = taker_start(&from);
	struct handover_record r = tunnel_record(1);
	r.pieces[PIECE_TO_CLIENT] = sizeof(bytes) - 1;
	assert_int_equal(setsockopt(e.client_fd, SOL_SOCKET, SO_SNDBUF, &least, sizeof(least)), 0);
	send_record(channel, &r, &e, bytes);
	turn(&from);
	assert_int_equal(verdict(channel, 1, &answer), ERR_OK);
	close(channel);
	turn(&from);
	assert_int_equal(msg_pair(pair), ERR_OK);
	assert_int_equal(setsockopt(pair[0], SOL_SOCKET, SO_SNDBUF, &one_packet, sizeof(one_packet)),
			 0);
	handover_give_over(from.proxy, pair[0]);
	drain_to(from.proxy, DRAIN_RELOAD, false);
	assert_int_equal(handover_send_verdict(pair[1], &v), ERR_OK);
	turn(&from);
	assert_int_equal(from.proxy->n_clients, 1);
	assert_null(from.proxy->giver);
	side_stop(&from);
	close(pair[1]);
	close_ends(&e);
}

static void test_refused_is_kept(void **state)
{
	struct side from;
	struct ends e = make_ends();
	struct handover_verdict v = { .number = 1, .answer = HANDOVER_REFUSED };
	struct handover_record r = tunnel_record(1);

	(void)state;
	begin();
	giver_start(&from, &r, &e);
	int end = give(&from);
	assert_int_equal(handover_send_verdict(end, &v), ERR_OK);
	turn(&from);
	say(e.client, "hello");
	turn(&from);
	expect(e.worker, "hello");
	assert_int_equal(from.proxy->n_clients, 1);
	side_stop(&from);
	close(end);
	close_ends(&e);
}

/* The roster that ends its tunnels is not acknowledged while one may arrive elsewhere. */
static void test_ack_waits(void **state)
{
	struct side from;
	struct ends e = make_ends();
	struct handover_verdict v = { .number = 1, .answer = HANDOVER_TAKEN };
	struct handover_record r = tunnel_record(1);
	struct msg m = { .type = MSG_ROSTER }, said;
	int fd;

	(void)state;
	begin();
	giver_start(&from, &r, &e);
	while (msg_recv(from.master, MSG_UP, &said, &fd) == ERR_OK)
		;
	int end = give(&from);
	while (msg_recv(from.master, MSG_UP, &said, &fd) == ERR_OK)
		; /* STOPPED is not said without listeners */
	set_worker(WORKER_STOPPING);
	assert_int_equal(msg_send(from.master, &m, -1), ERR_OK);
	turn(&from);
	assert_int_equal(msg_recv(from.master, MSG_UP, &said, &fd), ERR_AGAIN);
	assert_int_equal(handover_send_verdict(end, &v), ERR_OK);
	turn(&from);
	assert_int_equal(msg_recv(from.master, MSG_UP, &said, &fd), ERR_OK);
	assert_int_equal(said.type, MSG_ACK);
	side_stop(&from);
	close(end);
	close_ends(&e);
}

/* Nor for longer than the master would wait: a taker that says nothing keeps no worker. */
static void test_ack_does_not_wait_long(void **state)
{
	struct side from;
	struct ends e = make_ends();
	struct handover_record r = tunnel_record(1);
	struct msg m = { .type = MSG_ROSTER }, said;
	int fd;

	(void)state;
	begin();
	giver_start(&from, &r, &e);
	int end = give(&from);
	while (msg_recv(from.master, MSG_UP, &said, &fd) == ERR_OK)
		;
	set_worker(WORKER_STOPPING);
	assert_int_equal(msg_send(from.master, &m, -1), ERR_OK);
	turn(&from);
	assert_int_equal(msg_recv(from.master, MSG_UP, &said, &fd), ERR_AGAIN);
	clock_freeze(T0 + 1000000);
	turn(&from);
	assert_int_equal(msg_recv(from.master, MSG_UP, &said, &fd), ERR_OK);
	assert_int_equal(said.type, MSG_ACK);
	side_stop(&from);
	close(end);
	close_ends(&e);
}

static int count_records(int end)
{
	static char buf[HANDOVER_PACKET_BYTES];
	struct handover_record r;
	int fds[HANDOVER_FDS_MAX], n = 0;
	unsigned n_fds;
	size_t bytes;

	while (handover_receive(end, &r, fds, &n_fds, buf, &bytes) == ERR_OK) {
		for (unsigned i = 0; i < n_fds; i++)
			close(fds[i]);
		n++;
	}
	return n;
}

/* A taker that reads and does not answer: few wait for it, the others are served here. */
static void test_few_are_under_way(void **state)
{
	enum { ALL = 80, MOST = 64 };
	struct side from;
	struct ends e[ALL];
	enum handover_answer answer = HANDOVER_ANSWER_MAX;

	(void)state;
	begin();
	int channel = taker_start(&from);
	for (uint64_t i = 0; i < ALL; i++) {
		struct handover_record r = idle_record(i + 1);
		e[i] = make_ends();
		fd_close(&e[i].worker_fd);
		send_record(channel, &r, &e[i], "");
		turn(&from);
		assert_int_equal(verdict(channel, i + 1, &answer), ERR_OK);
	}
	close(channel);
	turn(&from);
	int end = give(&from), n = count_records(end);
	for (int i = 0; i < 4; i++) {
		turn(&from);
		n += count_records(end);
	}
	assert_int_equal(n, MOST);
	struct handover_verdict v = { .number = 1, .answer = HANDOVER_TAKEN };
	assert_int_equal(handover_send_verdict(end, &v), ERR_OK);
	turn(&from);
	assert_int_equal(count_records(end), 1); /* in its place */
	side_stop(&from);
	close(end);
	for (int i = 0; i < ALL; i++)
		close_ends(&e[i]);
}

/* A channel that takes little: the others go when there is room again. */
static void test_full_channel(void **state)
{
	enum { ALL = 30 };
	struct side from;
	struct ends e[ALL];
	enum handover_answer answer = HANDOVER_ANSWER_MAX;
	int pair[2], n = 0;

	(void)state;
	begin();
	int channel = taker_start(&from);
	for (uint64_t i = 0; i < ALL; i++) {
		struct handover_record r = idle_record(i + 1);
		e[i] = make_ends();
		fd_close(&e[i].worker_fd);
		send_record(channel, &r, &e[i], "");
		turn(&from);
		assert_int_equal(verdict(channel, i + 1, &answer), ERR_OK);
	}
	close(channel);
	turn(&from);
	assert_int_equal(msg_pair(pair), ERR_OK);
	assert_int_equal(setsockopt(pair[0], SOL_SOCKET, SO_SNDBUF, &(int){ 1 }, sizeof(int)), 0);
	handover_give_over(from.proxy, pair[0]);
	drain_to(from.proxy, DRAIN_RELOAD, false);
	turn(&from);
	n = count_records(pair[1]);
	assert_in_range(n, 1, ALL - 1);
	for (int i = 0; i < ALL; i++) {
		turn(&from);
		n += count_records(pair[1]);
	}
	assert_int_equal(n, ALL);
	side_stop(&from);
	close(pair[1]);
	for (int i = 0; i < ALL; i++)
		close_ends(&e[i]);
}

/* A tunnel with more bytes on their way than the channel holds: part of its record is still here. */
static int give_half(struct side *from, struct ends *e)
{
	static char bytes[100001];
	enum handover_answer answer = HANDOVER_ANSWER_MAX;
	struct handover_record r = tunnel_record(1);
	int pair[2], small = 20000; /* twice that, and one packet more, is what it holds */

	begin();
	memset(bytes, 'x', sizeof(bytes) - 1);
	assert_int_equal(setsockopt(e->client_fd, SOL_SOCKET, SO_SNDBUF, &(int){ 1 }, sizeof(int)),
			 0);
	int channel = taker_start(from);
	r.pieces[PIECE_TO_CLIENT] = sizeof(bytes) - 1;
	send_record(channel, &r, e, bytes);
	turn(from);
	assert_int_equal(verdict(channel, 1, &answer), ERR_OK);
	assert_int_equal(answer, HANDOVER_TAKEN);
	close(channel);
	turn(from);
	assert_int_equal(msg_pair(pair), ERR_OK);
	assert_int_equal(setsockopt(pair[0], SOL_SOCKET, SO_SNDBUF, &small, sizeof(small)), 0);
	handover_give_over(from->proxy, pair[0]);
	drain_to(from->proxy, DRAIN_RELOAD, false);
	return pair[1];
}

/* The verdict on half a record: whoever gives it has not read what it speaks of. */
static void test_verdict_too_early(void **state)
{
	struct side from;
	struct ends e = make_ends();
	struct handover_verdict v = { .number = 1, .answer = HANDOVER_TAKEN };

	(void)state;
	int end = give_half(&from, &e);
	assert_int_equal(handover_send_verdict(end, &v), ERR_OK);
	turn(&from);
	assert_null(from.proxy->giver);
	assert_int_equal(from.proxy->n_clients, 1); /* it goes on here */
	say(e.client, "hello");
	turn(&from);
	expect(e.worker, "hello");
	side_stop(&from);
	close(end);
	close_ends(&e);
}

/* Another taker comes meanwhile: the first gets all of what it has begun to read, and then the end. */
static void test_the_rest_for_the_taker_of_before(void **state)
{
	static char buf[HANDOVER_PACKET_BYTES];
	struct side from;
	struct ends e = make_ends();
	struct handover_record r;
	int fds[HANDOVER_FDS_MAX], pair[2];
	unsigned n_fds;
	size_t n, all = 0;
	enum err got = ERR_OK;

	(void)state;
	int end = give_half(&from, &e);
	assert_int_equal(msg_pair(pair), ERR_OK);
	handover_give_over(from.proxy, pair[0]);
	assert_int_equal(handover_receive(end, &r, fds, &n_fds, buf, &n), ERR_OK);
	close(fds[0]);
	close(fds[1]);
	for (int i = 0; i < 20 && (got == ERR_OK || got == ERR_AGAIN); i++) {
		all += got == ERR_OK ? n : 0;
		got = handover_receive(end, NULL, fds, &n_fds, buf, &n);
		turn(&from);
	}
	assert_int_equal(got, ERR_CLOSED);
	assert_int_equal(all, handover_n_bytes(&r));
	side_stop(&from);
	close(end);
	close(pair[1]);
	close_ends(&e);
}

static void expect_end(int end)
{
	struct handover_record r;
	static char buf[HANDOVER_PACKET_BYTES];
	int fds[HANDOVER_FDS_MAX];
	unsigned n_fds;
	size_t bytes;

	assert_int_equal(handover_receive(end, &r, fds, &n_fds, buf, &bytes), ERR_CLOSED);
}

/* Another taker comes: the one of before is told that nothing more will, and can end. */
static void test_the_newest_taker(void **state)
{
	struct side from;
	struct ends e = make_ends();
	struct handover_record r = tunnel_record(1);
	struct handover_verdict v = { .number = 1, .answer = HANDOVER_REFUSED };
	int pair[2];

	(void)state;
	begin();
	giver_start(&from, &r, &e);
	int first = give(&from);
	assert_int_equal(count_records(first), 1);
	assert_int_equal(msg_pair(pair), ERR_OK);
	handover_give_over(from.proxy, pair[0]);
	expect_end(first);
	assert_int_equal(handover_send_verdict(first, &v), ERR_OK); /* and is still heard */
	turn(&from);
	clock_freeze(T0 + 1000000);
	turn(&from);
	assert_int_equal(count_records(pair[1]), 1);
	handover_stop(from.proxy);
	expect_end(pair[1]);
	side_stop(&from);
	close(first);
	close(pair[1]);
	close_ends(&e);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_given_and_taken),
		cmocka_unit_test(test_half_closed),
		cmocka_unit_test(test_taker_dies),
		cmocka_unit_test(test_last_words),
		cmocka_unit_test(test_verdicts_without_sense),
		cmocka_unit_test(test_verdict_of_another_size),
		cmocka_unit_test(test_verdict_too_many),
		cmocka_unit_test(test_verdict_before_the_rest),
		cmocka_unit_test(test_refused_is_kept),
		cmocka_unit_test(test_ack_waits),
		cmocka_unit_test(test_ack_does_not_wait_long),
		cmocka_unit_test(test_few_are_under_way),
		cmocka_unit_test(test_full_channel),
		cmocka_unit_test(test_verdict_too_early),
		cmocka_unit_test(test_the_rest_for_the_taker_of_before),
		cmocka_unit_test(test_the_newest_taker),
	};

	log_to_fd(-1);
	return cmocka_run_group_tests(tests, boot, NULL);
}
