/* balancer/proxy/handover_take.c: what is taken goes on as it was; a connection that cannot be
 * taken stays its giver's.  What nobody sends who means well: test_handover_hostile.c. */
#include "test_handover.h"

#include <sys/resource.h>

/* ---- taking ------------------------------------------------------------- */

static void test_idle_is_taken(void **state)
{
	struct scene t;
	struct handover_record r = idle_record(1);

	(void)state;
	scene_start(&t);
	take(&t, &r, "");
	assert_int_equal(gauge(&t.s, COUNTER_connections_idle), 1);
	assert_int_equal(gauge(&t.s, COUNTER_connections_inherited), 1);
	expect_open(t.e.client);
	clock_freeze(T0 + 4900000);
	deadline_sweep(&t.s.proxy->inherited[INHERITED_IDLE], t.s.proxy);
	expect_open(t.e.client);
	clock_freeze(T0 + 5000000); /* what was left of its time, not all of it anew */
	deadline_sweep(&t.s.proxy->inherited[INHERITED_IDLE], t.s.proxy);
	expect(t.e.client, "");
	scene_stop(&t);
}

static void test_tunnel_is_taken(void **state)
{
	struct scene t;
	struct handover_record r = tunnel_record(1);

	(void)state;
	scene_start(&t);
	r.pieces[PIECE_TO_CLIENT] = 4;
	r.pieces[PIECE_TO_WORKER] = 7;
	r.pieces[PIECE_LINE] = 5;
	say(t.e.client, " and on");
	say(t.e.worker, " and away");
	take(&t, &r, "backfurtherGET /");
	assert_int_equal(tally_in_flight(tally, SLOT), 1);
	assert_int_equal(tally_tunnels(tally, SLOT), 1);
	turn(&t.s);
	expect(t.e.worker, "further and on");
	expect(t.e.client, "back and away");
	assert_int_equal(shutdown(t.e.client, SHUT_WR), 0);
	turn(&t.s);
	expect(t.e.worker, "");
	say(t.e.worker, "last");
	turn(&t.s);
	expect(t.e.client, "last");
	fd_close(&t.e.worker);
	turn(&t.s);
	expect(t.e.client, "");
	assert_int_equal(tally_in_flight(tally, SLOT), 0);
	scene_stop(&t);
}

/* More than one packet holds, as a client that does not read leaves it. */
static void test_many_bytes(void **state)
{
	struct scene t;
	struct handover_record r = tunnel_record(1);
	static char bytes[100001], back[100001];
	size_t n = 0;

	(void)state;
	for (size_t i = 0; i < sizeof(bytes) - 1; i++)
		bytes[i] = (char)('a' + i % 23);
	scene_start(&t);
	r.pieces[PIECE_TO_CLIENT] = sizeof(bytes) - 1;
	take(&t, &r, bytes);
	for (ssize_t got = 1; got > 0; turn(&t.s)) {
		got = read(t.e.client, back + n, sizeof(back) - n);
		n += (size_t)MAX(got, 0);
	}
	assert_int_equal(n, sizeof(bytes) - 1);
	assert_memory_equal(back, bytes, n);
	scene_stop(&t);
}

/* Its worker's tunnels were ended while it was on the way; what it had said is delivered. */
static void test_late_tunnel(void **state)
{
	struct scene t;
	struct handover_record r = tunnel_record(1);

	(void)state;
	scene_start(&t);
	set_worker(WORKER_STOPPING);
	assert_true(pick_follow_roster(t.s.proxy));
	r.pieces[PIECE_TO_CLIENT] = 3;
	take(&t, &r, "foo");
	expect(t.e.worker, "");
	expect(t.e.client, "foo");
	expect(t.e.client, "");
	scene_stop(&t);
}

/* The FIN that came while bytes before it could not go yet follows them from the next process. */
static void test_fin_behind_bytes(void **state)
{
	struct scene t;
	struct handover_record r = tunnel_record(1);

	(void)state;
	scene_start(&t);
	r.flags |= HANDOVER_EOF | HANDOVER_WORKER_ENDED;
	r.pieces[PIECE_TO_CLIENT] = r.pieces[PIECE_TO_WORKER] = 3;
	take(&t, &r, "foobar");
	expect(t.e.client, "foo");
	expect(t.e.client, "");
	expect(t.e.worker, "bar");
	expect(t.e.worker, "");
	assert_int_equal(t.s.proxy->n_clients, 0);
	scene_stop(&t);
}

/* A worker that takes no more, and has ended: what it had said is all that is left to do. */
static void test_deaf_worker(void **state)
{
	struct scene t;
	struct handover_record r = tunnel_record(1);

	(void)state;
	scene_start(&t);
	r.flags |= HANDOVER_WORKER_DEAF | HANDOVER_WORKER_ENDED;
	r.pieces[PIECE_TO_CLIENT] = 3;
	take(&t, &r, "foo");
	expect(t.e.client, "foo");
	expect(t.e.client, "");
	assert_int_equal(t.s.proxy->n_clients, 0);
	scene_stop(&t);
}

/* The last answer is on its way, and the connection ends behind it: at once, or, where bytes may
 * still be coming that nobody reads, when the client has had time to read the answer. */
static void test_last_answer(void **state)
{
	(void)state;
	for (int lingers = 0; lingers < 2; lingers++) {
		struct scene t;
		struct handover_record r = idle_record(1);
		scene_start(&t);
		r.state = CLIENT_CLOSING;
		r.flags |= lingers ? HANDOVER_LINGER : 0;
		r.pieces[PIECE_TO_CLIENT] = 3;
		take(&t, &r, "foo");
		expect(t.e.client, "foo");
		expect(t.e.client, "");
		assert_int_equal(t.s.proxy->n_clients, lingers);
		fd_close(&t.e.client);
		turn(&t.s);
		assert_int_equal(t.s.proxy->n_clients, 0);
		scene_stop(&t);
	}
}

/* What is left of a wait is as long as ours at the most, whatever the giver says. */
static void test_longest_wait(void **state)
{
	struct scene t;
	struct handover_record r = idle_record(1);

	(void)state;
	scene_start(&t);
	r.due_us = UINT64_MAX;
	take(&t, &r, "");
	clock_freeze(T0 + config.timeout_idle_ms * 1000);
	deadline_sweep(&t.s.proxy->inherited[INHERITED_IDLE], t.s.proxy);
	expect(t.e.client, "");
	scene_stop(&t);
}

/* Where we let them wait as long as they like, the giver sets no limit. */
static void test_no_wait_is_ours(void **state)
{
	struct scene t;
	struct handover_record r = idle_record(1);

	(void)state;
	scene_start(&t);
	t.s.proxy->idle_wait.length_us = 0;
	take(&t, &r, "");
	clock_freeze(T0 + 3600000000ull);
	deadline_sweep(&t.s.proxy->inherited[INHERITED_IDLE], t.s.proxy);
	expect_open(t.e.client);
	scene_stop(&t);
}

/* It came over an address that we do not have: one answer is left to it. */
static void test_unknown_address(void **state)
{
	struct scene t;
	struct handover_record r = idle_record(1);

	(void)state;
	scene_start(&t);
	r.listen = addr_ipv4_loopback(1);
	take(&t, &r, "");
	assert_int_equal(t.s.proxy->n_clients, 1);
	assert_true(list_entry(t.s.proxy->clients.next, struct client, link)->leftover);
	scene_stop(&t);
}

/* Our roster is older than the giver's: the slot is none yet. */
static void test_unknown_slot(void **state)
{
	struct scene t;
	struct handover_record r = tunnel_record(1);

	(void)state;
	scene_start(&t);
	r.slot = SLOT + 100;
	take(&t, &r, "");
	assert_true(t.s.proxy->n_workers > r.slot);
	assert_int_equal(tally_tunnels(tally, r.slot), 1);
	say(t.e.client, "hello");
	turn(&t.s);
	expect(t.e.worker, "hello");
	scene_stop(&t);
	assert_int_equal(tally_tunnels(tally, r.slot), 0);
}

/* ---- whose it is -------------------------------------------------------- */

/* The giver has died, its record is here: nobody else has the connection any more. */
static void test_giver_is_dead(void **state)
{
	struct scene t;
	struct handover_record r = tunnel_record(1);

	(void)state;
	scene_start(&t);
	send_record(t.channel, &r, &t.e, "");
	fd_close(&t.channel);
	turn(&t.s);
	say(t.e.client, "hello");
	turn(&t.s);
	expect(t.e.worker, "hello");
	scene_stop(&t);
}

/* A giver that does not read: a connection of whose verdict it does not learn stays its own, and is not touched. */
static void test_verdict_does_not_leave(void **state)
{
	enum { ENOUGH = 64 };
	struct side s;
	struct ends e[ENOUGH];
	enum handover_answer answer = HANDOVER_ANSWER_MAX;
	int pair[2];
	uint64_t n = 0, told = 0;

	(void)state;
	begin();
	side_start(&s);
	assert_int_equal(msg_pair(pair), ERR_OK);
	assert_int_equal(setsockopt(pair[1], SOL_SOCKET, SO_SNDBUF, &(int){ 1 }, sizeof(int)), 0);
	handover_take_over(s.proxy, pair[1]);
	while (n < ENOUGH && !list_empty(&s.proxy->takers)) {
		struct handover_record r = idle_record(n + 1);
		e[n] = make_ends();
		send_record(pair[0], &r, &e[n], "");
		turn(&s);
		n++;
	}
	assert_in_range(n, 2, ENOUGH - 1);
	while (verdict(pair[0], told + 1, &answer) == ERR_OK)
		told++;
	assert_int_equal(told, n - 1);
	assert_int_equal(s.proxy->n_clients, told);
	side_stop(&s);
	close(pair[0]);
	for (uint64_t i = 0; i < n; i++)
		close_ends(&e[i]);
}

static void test_no_room(void **state)
{
	struct scene t;
	struct handover_record r = tunnel_record(1);

	(void)state;
	scene_start(&t);
	t.s.heritage.sockets_max = 0;
	int kept = fcntl(t.e.client_fd, F_DUPFD_CLOEXEC, 3);
	send_record(t.channel, &r, &t.e, "");
	turn(&t.s);
	expect_answer(t.channel, 1, HANDOVER_REFUSED);
	expect_open(t.e.client);
	assert_int_equal(t.s.proxy->n_clients, 0);
	close(kept);
	scene_stop(&t);
}

/* One of its two descriptors has found no room here: the giver keeps the connection. */
static void test_no_room_for_a_descriptor(void **state)
{
	struct scene t;
	struct handover_record r = tunnel_record(1);
	struct rlimit before, less;

	(void)state;
	scene_start(&t);
	int kept = fcntl(t.e.client_fd, F_DUPFD_CLOEXEC, 3);
	send_record(t.channel, &r, &t.e, "");
	int open_now = count_fds(), lowest = fcntl(kept, F_DUPFD_CLOEXEC, 0);
	close(lowest);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	less = (struct rlimit){ (rlim_t)lowest + 1, before.rlim_max };
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &less), 0);
	turn(&t.s);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
	expect_answer(t.channel, 1, HANDOVER_REFUSED);
	assert_int_equal(t.s.proxy->n_clients, 0);
	assert_int_equal(count_fds(), open_now);
	expect_open(t.e.client);
	close(kept);
	scene_stop(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_idle_is_taken),
		cmocka_unit_test(test_tunnel_is_taken),
		cmocka_unit_test(test_many_bytes),
		cmocka_unit_test(test_late_tunnel),
		cmocka_unit_test(test_fin_behind_bytes),
		cmocka_unit_test(test_deaf_worker),
		cmocka_unit_test(test_last_answer),
		cmocka_unit_test(test_longest_wait),
		cmocka_unit_test(test_no_wait_is_ours),
		cmocka_unit_test(test_unknown_address),
		cmocka_unit_test(test_unknown_slot),
		cmocka_unit_test(test_giver_is_dead),
		cmocka_unit_test(test_verdict_does_not_leave),
		cmocka_unit_test(test_no_room),
		cmocka_unit_test(test_no_room_for_a_descriptor),
	};

	log_to_fd(-1);
	return cmocka_run_group_tests(tests, boot, NULL);
}
