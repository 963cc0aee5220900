/* balancer/proxy/handover_give.c: what is given goes on with its taker, or here, whatever the
 * taker says or does. */
#include "test_handover.h"

/* ---- giving ------------------------------------------------------------- */

/* A balancer with a connection, which came over a channel as well. */
static void giver_start(struct scene *t, const struct handover_record *r, const char *bytes)
{
	take(t, r, bytes);
	fd_close(&t->channel);
	turn(&t->s);
}

static void tunnel_start(struct scene *t)
{
	struct handover_record r = tunnel_record(1);

	scene_start(t);
	giver_start(t, &r, "");
}

/* With so many idle ones. */
static void crowd_start(struct side *s, struct ends *e, size_t n)
{
	begin();
	int channel = taker_start(s);
	for (size_t i = 0; i < n; i++) {
		struct handover_record r = idle_record(i + 1);
		e[i] = make_ends();
		send_record(channel, &r, &e[i], "");
		turn(s);
		expect_answer(channel, i + 1, HANDOVER_TAKEN);
	}
	close(channel);
	turn(s);
}

/* It drains, and is to give what it has; returns the taker's end of the channel, which holds so
 * many bytes (the kernel doubles them; 0: as many as it likes). */
static int give_through(struct side *s, int bytes)
{
	int pair[2];

	assert_int_equal(msg_pair(pair), ERR_OK);
	if (bytes)
		assert_int_equal(setsockopt(pair[0], SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes)),
				 0);
	handover_give_over(s->proxy, pair[0]);
	drain_to(s->proxy, DRAIN_RELOAD, false);
	return pair[1];
}

static void give(struct scene *t)
{
	t->channel = give_through(&t->s, 0);
}

/* Another taker comes; returns its end. */
static int give_anew(struct scene *t)
{
	int pair[2];

	assert_int_equal(msg_pair(pair), ERR_OK);
	handover_give_over(t->s.proxy, pair[0]);
	return pair[1];
}

static void answer(int end, uint64_t number, enum handover_answer which)
{
	struct handover_verdict v = { .number = number, .answer = which };

	assert_int_equal(handover_send_verdict(end, &v), ERR_OK);
}

/* One packet; its descriptors are closed. */
static enum err receive(int end, struct handover_record *ret, size_t *ret_n)
{
	static char buf[HANDOVER_PACKET_BYTES];
	int fds[HANDOVER_FDS_MAX];
	unsigned n_fds = 0;
	enum err e = handover_receive(end, ret, fds, &n_fds, buf, ret_n);

	for (unsigned i = 0; e == ERR_OK && i < n_fds; i++)
		close(fds[i]);
	return e;
}

static int count_records(int end)
{
	struct handover_record r;
	size_t bytes;
	int n = 0;

	while (receive(end, &r, &bytes) == ERR_OK)
		n++;
	return n;
}

static void expect_end(int end)
{
	struct handover_record r;
	size_t bytes;

	assert_int_equal(receive(end, &r, &bytes), ERR_CLOSED);
}

/* Nothing has happened: the tunnel goes on where it was. */
static void expect_kept(struct scene *t)
{
	turn(&t->s);
	assert_int_equal(t->s.proxy->n_clients, 1);
	say(t->e.client, "hello");
	turn(&t->s);
	expect(t->e.worker, "hello");
}

/* Nor is anything given to that taker any more. */
static void expect_kept_for_good(struct scene *t)
{
	expect_kept(t);
	assert_null(t->s.proxy->giver);
}

/* ---- to a taker --------------------------------------------------------- */

static void test_given_and_taken(void **state)
{
	struct scene from;
	struct side to;

	(void)state;
	tunnel_start(&from);
	side_start(&to);
	say(from.e.client, "before");
	int end = give_through(&from.s, 0);
	assert_int_equal(from.s.proxy->n_clients, 1); /* until it is told */
	handover_take_over(to.proxy, end);
	turn(&to);
	assert_int_equal(tally_in_flight(tally, SLOT), 2);       /* never seen without it */
	assert_true(!proxy_turn(from.s.proxy, EVLOOP_NONBLOCK)); /* it has ended */
	assert_int_equal(tally_in_flight(tally, SLOT), 1);
	turn(&to);
	expect(from.e.worker, "before");
	say(from.e.worker, "after");
	turn(&to);
	expect(from.e.client, "after");
	side_stop(&to);
	scene_stop(&from);
}

/* Half-closed, by either side, with bytes still to go before the FIN. */
static void test_half_closed(void **state)
{
	(void)state;
	for (int by_client = 0; by_client < 2; by_client++) {
		struct scene from;
		struct side to;
		int *first = by_client ? &from.e.client : &from.e.worker,
		    *other = by_client ? &from.e.worker : &from.e.client;
		tunnel_start(&from);
		say(*first, "the last");
		assert_int_equal(shutdown(*first, SHUT_WR), 0);
		turn(&from.s);
		expect(*other, "the last");
		side_start(&to);
		handover_take_over(to.proxy, give_through(&from.s, 0));
		turn(&to);
		turn(&from.s);
		assert_int_equal(from.s.proxy->n_clients, 0);
		expect(*other, ""); /* its FIN, from before */
		say(*other, "one more");
		turn(&to);
		expect(*first, "one more");
		expect_open(*first);
		fd_close(other);
		turn(&to);
		expect(*first, "");
		assert_int_equal(to.proxy->n_clients, 0);
		side_stop(&to);
		scene_stop(&from);
	}
}

/* The taker dies with the record unread, or without a verdict: nothing has happened. */
static void test_taker_dies(void **state)
{
	(void)state;
	for (int read_first = 0; read_first < 2; read_first++) {
		struct scene t;
		tunnel_start(&t);
		give(&t);
		say(t.e.client, "hello");
		turn(&t.s);
		expect_open(t.e.worker); /* nobody serves it at this moment */
		if (read_first)
			assert_int_equal(count_records(t.channel), 1);
		fd_close(&t.channel);
		turn(&t.s);
		expect(t.e.worker, "hello");
		say(t.e.worker, "there");
		turn(&t.s);
		expect(t.e.client, "there");
		assert_int_equal(tally_in_flight(tally, SLOT), 1);
		scene_stop(&t);
	}
}

/* It dies behind its verdict, with other packets unread: the verdict counts. */
static void test_last_words(void **state)
{
	struct side from;
	struct ends e[2];

	(void)state;
	crowd_start(&from, e, 2);
	int end = give_through(&from, 0);
	answer(end, 1, HANDOVER_TAKEN);
	close(end); /* two records are unread: the giver's next call fails with ECONNRESET */
	turn(&from);
	assert_int_equal(from.proxy->n_clients, 1);
	expect(e[0].client, ""); /* its taker had it, and is dead */
	expect_open(e[1].client);
	side_stop(&from);
	close_ends(&e[0]);
	close_ends(&e[1]);
}

static void test_refused_is_kept(void **state)
{
	struct scene t;

	(void)state;
	tunnel_start(&t);
	give(&t);
	answer(t.channel, 1, HANDOVER_REFUSED);
	expect_kept(&t);
	scene_stop(&t);
}

/* ---- verdicts without sense --------------------------------------------- */

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
		struct scene t;
		tunnel_start(&t);
		give(&t);
		assert_int_equal(handover_send_verdict(t.channel, &rows[i]), ERR_OK);
		expect_kept_for_good(&t);
		scene_stop(&t);
	}
}

static void test_verdict_of_another_size(void **state)
{
	static const size_t rows[] = { 1, 8, sizeof(struct handover_verdict) - 1,
				       sizeof(struct handover_verdict) + 1 };
	struct handover_verdict v[2] = { { .number = 1, .answer = HANDOVER_TAKEN } };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct scene t;
		tunnel_start(&t);
		give(&t);
		assert_int_equal(send(t.channel, v, rows[i], 0), rows[i]);
		expect_kept_for_good(&t);
		scene_stop(&t);
	}
}

/* A verdict more than there were records, and there is nobody left whom it could be about. */
static void test_verdict_too_many(void **state)
{
	struct scene t;

	(void)state;
	tunnel_start(&t);
	give(&t);
	answer(t.channel, 1, HANDOVER_TAKEN);
	answer(t.channel, 2, HANDOVER_TAKEN);
	turn(&t.s);
	assert_int_equal(t.s.proxy->n_clients, 0);
	assert_null(t.s.proxy->giver);
	scene_stop(&t);
}

/* A tunnel with more bytes on their way than the channel holds: part of its record is still here.
 * Its client takes hardly any. */
static void give_part(struct scene *t, char *bytes, size_t n, int channel_bytes)
{
	struct handover_record r = tunnel_record(1);

	memset(bytes, 'x', n);
	bytes[n] = '\0';
	r.pieces[PIECE_TO_CLIENT] = (uint32_t)n;
	scene_start(t);
	assert_int_equal(setsockopt(t->e.client_fd, SOL_SOCKET, SO_SNDBUF, &(int){ 1 }, sizeof(int)),
			 0);
	giver_start(t, &r, bytes);
	t->channel = give_through(&t->s, channel_bytes);
}

/* Twice this, and one packet more, is what the channel holds. */
static void give_half(struct scene *t)
{
	static char bytes[100001];

	give_part(t, bytes, sizeof(bytes) - 1, 20000);
}

/* Nobody can have taken what has not left yet: but for its first packet. */
static void test_verdict_before_the_rest(void **state)
{
	static char bytes[60001];
	struct scene t;

	(void)state;
	give_part(&t, bytes, sizeof(bytes) - 1, 16600);
	answer(t.channel, 1, HANDOVER_TAKEN);
	expect_kept_for_good(&t);
	scene_stop(&t);
}

/* Nor half of it. */
static void test_verdict_too_early(void **state)
{
	struct scene t;

	(void)state;
	give_half(&t);
	answer(t.channel, 1, HANDOVER_TAKEN);
	expect_kept_for_good(&t);
	scene_stop(&t);
}

/* ---- what the master waits for ------------------------------------------- */

static enum err master_hears(const struct scene *t, enum msg_type *ret_type)
{
	struct msg said;
	int fd;
	enum err e = msg_recv(t->s.master, MSG_UP, &said, &fd);

	if (e == ERR_OK)
		*ret_type = said.type;
	return e;
}

/* The worker of the tunnel, which has been offered, is to stop: that is not acknowledged. */
static void stop_worker(struct scene *t)
{
	struct msg m = { .type = MSG_ROSTER };
	enum msg_type type;

	while (master_hears(t, &type) == ERR_OK)
		; /* STOPPED is not said without listeners */
	set_worker(WORKER_STOPPING);
	assert_int_equal(msg_send(t->s.master, &m, -1), ERR_OK);
	turn(&t->s);
	assert_int_equal(master_hears(t, &type), ERR_AGAIN);
}

static void expect_ack(struct scene *t)
{
	enum msg_type type = MSG_MAX;

	turn(&t->s);
	assert_int_equal(master_hears(t, &type), ERR_OK);
	assert_int_equal(type, MSG_ACK);
}

/* The roster that ends its tunnels is not acknowledged while one may arrive elsewhere. */
static void test_ack_waits(void **state)
{
	struct scene t;

	(void)state;
	tunnel_start(&t);
	give(&t);
	stop_worker(&t);
	answer(t.channel, 1, HANDOVER_TAKEN);
	expect_ack(&t);
	scene_stop(&t);
}

/* Nor for longer than the master would wait: a taker that says nothing keeps no worker. */
static void test_ack_does_not_wait_long(void **state)
{
	struct scene t;

	(void)state;
	tunnel_start(&t);
	give(&t);
	stop_worker(&t);
	clock_freeze(T0 + 1000000);
	expect_ack(&t);
	scene_stop(&t);
}

/* ---- many, and more than one taker --------------------------------------- */

/* A taker that reads and does not answer: few wait for it, the others are served here. */
static void test_few_are_under_way(void **state)
{
	enum { ALL = 80, MOST = 64 };
	struct side from;
	struct ends e[ALL];

	(void)state;
	crowd_start(&from, e, ALL);
	int end = give_through(&from, 0), n = count_records(end);
	for (int i = 0; i < 4; i++) {
		turn(&from);
		n += count_records(end);
	}
	assert_int_equal(n, MOST);
	answer(end, 1, HANDOVER_TAKEN);
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

	(void)state;
	crowd_start(&from, e, ALL);
	int end = give_through(&from, 1);
	turn(&from);
	int n = count_records(end);
	assert_in_range(n, 1, ALL - 1);
	for (int i = 0; i < ALL; i++) {
		turn(&from);
		n += count_records(end);
	}
	assert_int_equal(n, ALL);
	side_stop(&from);
	close(end);
	for (int i = 0; i < ALL; i++)
		close_ends(&e[i]);
}

/* Another taker comes meanwhile: the first gets all of what it has begun to read, and then the end. */
static void test_the_rest_for_the_taker_of_before(void **state)
{
	struct scene t;
	struct handover_record r;
	size_t n, all = 0;
	enum err got = ERR_OK;

	(void)state;
	give_half(&t);
	int second = give_anew(&t);
	assert_int_equal(receive(t.channel, &r, &n), ERR_OK);
	for (int i = 0; i < 20 && (got == ERR_OK || got == ERR_AGAIN); i++) {
		all += got == ERR_OK ? n : 0;
		got = receive(t.channel, NULL, &n);
		turn(&t.s);
	}
	assert_int_equal(got, ERR_CLOSED);
	assert_int_equal(all, handover_n_bytes(&r));
	close(second);
	scene_stop(&t);
}

/* Another taker comes: the one of before is told that nothing more will, and can end. */
static void test_the_newest_taker(void **state)
{
	struct scene t;

	(void)state;
	tunnel_start(&t);
	give(&t);
	assert_int_equal(count_records(t.channel), 1);
	int second = give_anew(&t);
	expect_end(t.channel);
	answer(t.channel, 1, HANDOVER_REFUSED); /* and is still heard */
	turn(&t.s);
	clock_freeze(T0 + 1000000);
	turn(&t.s);
	assert_int_equal(count_records(second), 1);
	handover_stop(t.s.proxy);
	expect_end(second);
	close(second);
	scene_stop(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_given_and_taken),
		cmocka_unit_test(test_half_closed),
		cmocka_unit_test(test_taker_dies),
		cmocka_unit_test(test_last_words),
		cmocka_unit_test(test_refused_is_kept),
		cmocka_unit_test(test_verdicts_without_sense),
		cmocka_unit_test(test_verdict_of_another_size),
		cmocka_unit_test(test_verdict_too_many),
		cmocka_unit_test(test_verdict_before_the_rest),
		cmocka_unit_test(test_verdict_too_early),
		cmocka_unit_test(test_ack_waits),
		cmocka_unit_test(test_ack_does_not_wait_long),
		cmocka_unit_test(test_few_are_under_way),
		cmocka_unit_test(test_full_channel),
		cmocka_unit_test(test_the_rest_for_the_taker_of_before),
		cmocka_unit_test(test_the_newest_taker),
	};

	log_to_fd(-1);
	return cmocka_run_group_tests(tests, boot, NULL);
}
