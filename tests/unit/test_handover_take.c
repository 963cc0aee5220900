/* balancer/proxy/handover_take.c: what is taken goes on as it was, and whatever else comes, nothing
 * of it is left. */
#include "test_handover.h"

#include "lib/send_raw.h"

#include <sys/resource.h>

/* ---- taking ------------------------------------------------------------- */

static void test_idle_is_taken(void **state)
{
	struct side s;
	struct ends e = make_ends();
	enum handover_answer answer = HANDOVER_ANSWER_MAX;

	(void)state;
	begin();
	int channel = taker_start(&s);
	struct handover_record r = idle_record(1);
	send_record(channel, &r, &e, "");
	turn(&s);
	assert_int_equal(verdict(channel, 1, &answer), ERR_OK);
	assert_int_equal(answer, HANDOVER_TAKEN);
	assert_int_equal(gauge(&s, COUNTER_connections_idle), 1);
	assert_int_equal(gauge(&s, COUNTER_connections_inherited), 1);
	expect_open(e.client);
	clock_freeze(T0 + 4900000);
	deadline_sweep(&s.proxy->inherited[INHERITED_IDLE], s.proxy);
	expect_open(e.client);
	clock_freeze(T0 + 5000000); /* what was left of its time, not all of it anew */
	deadline_sweep(&s.proxy->inherited[INHERITED_IDLE], s.proxy);
	expect(e.client, "");
	side_stop(&s);
	close(channel);
	close_ends(&e);
}

static void test_tunnel_is_taken(void **state)
{
	struct side s;
	struct ends e = make_ends();
	enum handover_answer answer = HANDOVER_ANSWER_MAX;

	(void)state;
	begin();
	int channel = taker_start(&s);
	struct handover_record r = tunnel_record(1);
	r.pieces[PIECE_TO_CLIENT] = 4;
	r.pieces[PIECE_TO_WORKER] = 6;
	r.pieces[PIECE_LINE] = 5;
	send_record(channel, &r, &e, "backfurtherGET /"); /* 4, then 6 and one too many */
	turn(&s);
	assert_int_equal(verdict(channel, 1, &answer), ERR_CLOSED);
	close(channel);
	close_ends(&e);
	side_stop(&s);

	e = make_ends();
	channel = taker_start(&s);
	r.pieces[PIECE_TO_WORKER] = 7;
	say(e.client, " and on");
	say(e.worker, " and away");
	send_record(channel, &r, &e, "backfurtherGET /");
	turn(&s);
	assert_int_equal(verdict(channel, 1, &answer), ERR_OK);
	assert_int_equal(answer, HANDOVER_TAKEN);
	assert_int_equal(tally_in_flight(tally, SLOT), 1);
	assert_int_equal(tally_tunnels(tally, SLOT), 1);
	turn(&s);
	expect(e.worker, "further and on");
	expect(e.client, "back and away");
	assert_int_equal(shutdown(e.client, SHUT_WR), 0);
	turn(&s);
	expect(e.worker, "");
	say(e.worker, "last");
	turn(&s);
	expect(e.client, "last");
	fd_close(&e.worker);
	turn(&s);
	expect(e.client, "");
	assert_int_equal(tally_in_flight(tally, SLOT), 0);
	side_stop(&s);
	close(channel);
	close_ends(&e);
}

/* More than one packet holds, as a client that does not read leaves it. */
static void test_many_bytes(void **state)
{
	struct side s;
	struct ends e = make_ends();
	enum handover_answer answer = HANDOVER_ANSWER_MAX;
	static char bytes[100001], back[100001];
	size_t n = 0;

	(void)state;
	for (size_t i = 0; i < sizeof(bytes) - 1; i++)
		bytes[i] = (char)('a' + i % 23);
	begin();
	int channel = taker_start(&s);
	struct handover_record r = tunnel_record(1);
	r.pieces[PIECE_TO_CLIENT] = sizeof(bytes) - 1;
	send_record(channel, &r, &e, bytes);
	turn(&s);
	assert_int_equal(verdict(channel, 1, &answer), ERR_OK);
	assert_int_equal(answer, HANDOVER_TAKEN);
	for (ssize_t got = 1; got > 0; turn(&s)) {
		got = read(e.client, back + n, sizeof(back) - n);
		n += (size_t)MAX(got, 0);
	}
	assert_int_equal(n, sizeof(bytes) - 1);
	assert_memory_equal(back, bytes, n);
	side_stop(&s);
	close(channel);
	close_ends(&e);
}

static void test_no_room(void **state)
{
	struct side s;
	struct ends e = make_ends();
	enum handover_answer answer = HANDOVER_ANSWER_MAX;

	(void)state;
	begin();
	int channel = taker_start(&s);
	s.heritage.sockets_max = 0;
	struct handover_record r = tunnel_record(1);
	int kept = fcntl(e.client_fd, F_DUPFD_CLOEXEC, 3);
	send_record(channel, &r, &e, "");
	turn(&s);
	assert_int_equal(verdict(channel, 1, &answer), ERR_OK);
	assert_int_equal(answer, HANDOVER_REFUSED);
	expect_open(e.client);
	assert_int_equal(s.proxy->n_clients, 0);
	close(kept);
	side_stop(&s);
	close(channel);
	close_ends(&e);
}

/* Its worker's tunnels were ended while it was on the way; what it had said is delivered. */
static void test_late_tunnel(void **state)
{
	struct side s;
	struct ends e = make_ends();
	enum handover_answer answer = HANDOVER_ANSWER_MAX;

	(void)state;
	begin();
	int channel = taker_start(&s);
	set_worker(WORKER_STOPPING);
	assert_true(pick_follow_roster(s.proxy));
	struct handover_record r = tunnel_record(1);
	r.pieces[PIECE_TO_CLIENT] = 3;
	send_record(channel, &r, &e, "foo");
	turn(&s);
	assert_int_equal(verdict(channel, 1, &answer), ERR_OK);
	assert_int_equal(answer, HANDOVER_TAKEN);
	expect(e.worker, "");
	expect(e.client, "foo");
	expect(e.client, "");
	side_stop(&s);
	close(channel);
	close_ends(&e);
}

/* The FIN that came while bytes before it could not go yet follows them from the next process. */
static void test_fin_behind_bytes(void **state)
{
	struct side s;
	struct ends e = make_ends();
	enum handover_answer answer = HANDOVER_ANSWER_MAX;
	struct handover_record r = tunnel_record(1);

	(void)state;
	begin();
	int channel = taker_start(&s);
	r.flags |= HANDOVER_EOF | HANDOVER_WORKER_ENDED;
	r.pieces[PIECE_TO_CLIENT] = r.pieces[PIECE_TO_WORKER] = 3;
	send_record(channel, &r, &e, "foobar");
	turn(&s);
	assert_int_equal(verdict(channel, 1, &answer), ERR_OK);
	assert_int_equal(answer, HANDOVER_TAKEN);
	expect(e.client, "foo");
	expect(e.client, "");
	expect(e.worker, "bar");
	expect(e.worker, "");
	assert_int_equal(s.proxy->n_clients, 0);
	side_stop(&s);
	close(channel);
	close_ends(&e);
}

/* A worker that takes no more, and has ended: what it had said is all that is left to do. */
static void test_deaf_worker(void **state)
{
	struct side s;
	struct ends e = make_ends();
	enum handover_answer answer = HANDOVER_ANSWER_MAX;
	struct handover_record r = tunnel_record(1);

	(void)state;
	begin();
	int channel = taker_start(&s);
	r.flags |= HANDOVER_WORKER_DEAF | HANDOVER_WORKER_ENDED;
	r.pieces[PIECE_TO_CLIENT] = 3;
	send_record(channel, &r, &e, "foo");
	turn(&s);
	assert_int_equal(verdict(channel, 1, &answer), ERR_OK);
	assert_int_equal(answer, HANDOVER_TAKEN);
	expect(e.client, "foo");
	expect(e.client, "");
	assert_int_equal(s.proxy->n_clients, 0);
	side_stop(&s);
	close(channel);
	close_ends(&e);
}

/* The last answer is on its way, and the connection ends behind it: at once, or, where bytes may
 * still be coming that nobody reads, when the client has had time to read the answer. */
static void test_last_answer(void **state)
{
	(void)state;
	for (int lingers = 0; lingers < 2; lingers++) {
		struct side s;
		struct ends e = make_ends();
		enum handover_answer answer = HANDOVER_ANSWER_MAX;
		struct handover_record r = idle_record(1);
		begin();
		int channel = taker_start(&s);
		fd_close(&e.worker_fd);
		r.state = CLIENT_CLOSING;
		r.flags |= lingers ? HANDOVER_LINGER : 0;
		r.pieces[PIECE_TO_CLIENT] = 3;
		send_record(channel, &r, &e, "foo");
		turn(&s);
		assert_int_equal(verdict(channel, 1, &answer), ERR_OK);
		assert_int_equal(answer, HANDOVER_TAKEN);
		expect(e.client, "foo");
		expect(e.client, "");
		assert_int_equal(s.proxy->n_clients, lingers);
		fd_close(&e.client);
		turn(&s);
		assert_int_equal(s.proxy->n_clients, 0);
		side_stop(&s);
		close(channel);
		close_ends(&e);
	}
}

/* What is left of a wait is as long as ours at the most, whatever the giver says. */
static void test_longest_wait(void **state)
{
	struct side s;
	struct ends e = make_ends();
	enum handover_answer answer = HANDOVER_ANSWER_MAX;
	struct handover_record r = idle_record(1);

	(void)state;
	begin();
	int channel = taker_start(&s);
	fd_close(&e.worker_fd);
	r.due_us = UINT64_MAX;
	send_record(channel, &r, &e, "");
	turn(&s);
	assert_int_equal(verdict(channel, 1, &answer), ERR_OK);
	clock_freeze(T0 + config.timeout_idle_ms * 1000);
	deadline_sweep(&s.proxy->inherited[INHERITED_IDLE], s.proxy);
	expect(e.client, "");
	side_stop(&s);
	close(channel);
	close_ends(&e);
}

/* Where we let them wait as long as they like, the giver sets no limit. */
static void test_no_wait_is_ours(void **state)
{
	struct side s;
	struct ends e = make_ends();
	enum handover_answer answer = HANDOVER_ANSWER_MAX;
	struct handover_record r = idle_record(1);

	(void)state;
	begin();
	int channel = taker_start(&s);
	s.proxy->idle_wait.length_us = 0;
	fd_close(&e.worker_fd);
	send_record(channel, &r, &e, "");
	turn(&s);
	assert_int_equal(verdict(channel, 1, &answer), ERR_OK);
	assert_int_equal(answer, HANDOVER_TAKEN);
	clock_freeze(T0 + 3600000000ull);
	deadline_sweep(&s.proxy->inherited[INHERITED_IDLE], s.proxy);
	expect_open(e.client);
	side_stop(&s);
	close(channel);
	close_ends(&e);
}

/* It came over an address that we do not have: one answer is left to it. */
static void test_unknown_address(void **state)
{
	struct side s;
	struct ends e = make_ends();
	enum handover_answer answer = HANDOVER_ANSWER_MAX;
	struct handover_record r = idle_record(1);

	(void)state;
	begin();
	int channel = taker_start(&s);
	fd_close(&e.worker_fd);
	r.listen = addr_ipv4_loopback(1);
	send_record(channel, &r, &e, "");
	turn(&s);
	assert_int_equal(verdict(channel, 1, &answer), ERR_OK);
	assert_int_equal(answer, HANDOVER_TAKEN);
	assert_int_equal(s.proxy->n_clients, 1);
	assert_true(list_entry(s.proxy->clients.next, struct client, link)->leftover);
	side_stop(&s);
	close(channel);
	close_ends(&e);
}

/* Our roster is older than the giver's: the slot is none yet. */
static void test_unknown_slot(void **state)
{
	struct side s;
	struct ends e = make_ends();
	enum handover_answer answer = HANDOVER_ANSWER_MAX;
	struct handover_record r = tunnel_record(1);

	(void)state;
	begin();
	int channel = taker_start(&s);
	r.slot = SLOT + 100;
	send_record(channel, &r, &e, "");
	turn(&s);
	assert_int_equal(verdict(channel, 1, &answer), ERR_OK);
	assert_int_equal(answer, HANDOVER_TAKEN);
	assert_true(s.proxy->n_workers > r.slot);
	assert_int_equal(tally_tunnels(tally, r.slot), 1);
	say(e.client, "hello");
	turn(&s);
	expect(e.worker, "hello");
	side_stop(&s);
	assert_int_equal(tally_tunnels(tally, r.slot), 0);
	close(channel);
	close_ends(&e);
}

/* ---- whose it is -------------------------------------------------------- */

/* The giver has died, its record is here: nobody else has the connection any more. */
static void test_giver_is_dead(void **state)
{
	struct side s;
	struct ends e = make_ends();
	struct handover_record r = tunnel_record(1);

	(void)state;
	begin();
	int channel = taker_start(&s);
	send_record(channel, &r, &e, "");
	close(channel);
	turn(&s);
	say(e.client, "hello");
	turn(&s);
	expect(e.worker, "hello");
	side_stop(&s);
	close_ends(&e);
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
		fd_close(&e[n].worker_fd);
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

/* One of its two descriptors has found no room here: the giver keeps the connection. */
static void test_no_room_for_a_descriptor(void **state)
{
	struct side s;
	struct ends e = make_ends();
	enum handover_answer answer = HANDOVER_ANSWER_MAX;
	struct handover_record r = tunnel_record(1);
	struct rlimit before, less;

	(void)state;
	begin();
	int channel = taker_start(&s), kept = fcntl(e.client_fd, F_DUPFD_CLOEXEC, 3);
	send_record(channel, &r, &e, "");
	int open_now = count_fds(), lowest = fcntl(kept, F_DUPFD_CLOEXEC, 0);
	close(lowest);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	less = (struct rlimit){ (rlim_t)lowest + 1, before.rlim_max };
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &less), 0);
	turn(&s);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
	assert_int_equal(verdict(channel, 1, &answer), ERR_OK);
	assert_int_equal(answer, HANDOVER_REFUSED);
	assert_int_equal(s.proxy->n_clients, 0);
	assert_int_equal(count_fds(), open_now);
	expect_open(e.client);
	close(kept);
	side_stop(&s);
	close(channel);
	close_ends(&e);
}

/* ---- what nobody sends who means well ----------------------------------- */

struct hostile {
	const char *name;
	void (*spoil)(struct handover_record *r);
	const char *bytes;
};

#define SPOIL(name, ...)                                    \
	static void spoil_##name(struct handover_record *r) \
	{                                                   \
		__VA_ARGS__;                                \
	}
SPOIL(form, r->form++)
SPOIL(kind, r->kind = HANDOVER_KIND_MAX)
SPOIL(number, r->number = 9)
SPOIL(state, r->state = CLIENT_DEAD)
SPOIL(linger, r->state = CLIENT_LINGER)
SPOIL(flags, r->flags = HANDOVER_FLAG_MAX)
SPOIL(family, r->peer.sa.sa_family = AF_NETLINK)
SPOIL(no_family, r->peer.sa.sa_family = AF_UNSPEC)
SPOIL(other_family, r->peer.sa.sa_family = AF_INET)
SPOIL(listen, r->listen.len = sizeof(r->listen) + 1)
SPOIL(no_listen, r->listen.len = 0)
SPOIL(slot, r->slot = ROSTER_SLOTS)
SPOIL(big_slot, r->slot = UINT32_MAX)
SPOIL(epoch, r->epoch = 0)
SPOIL(future, r->started_us = UINT64_MAX / 2)
SPOIL(minor, r->minor = 2)
SPOIL(too_many, r->pieces[PIECE_TO_CLIENT] = UINT32_MAX)
SPOIL(overflow, r->pieces[PIECE_TO_CLIENT] = r->pieces[PIECE_TO_WORKER] = 1u << 31)
SPOIL(line, r->pieces[PIECE_LINE] = 4097)
SPOIL(fewer, r->pieces[PIECE_LINE] = 2)
SPOIL(more, r->pieces[PIECE_LINE] = 40000)
SPOIL(input, r->pieces[PIECE_INPUT] = 3)
SPOIL(idle_tunnel, r->state = CLIENT_IDLE)
SPOIL(client_with_worker, r->kind = HANDOVER_CLIENT)
SPOIL(deaf, r->flags = HANDOVER_WORKER_DEAF; r->pieces[PIECE_TO_WORKER] = 3)

static const struct hostile hostile[] = {
	{ "form", spoil_form, "" },
	{ "kind", spoil_kind, "" },
	{ "number", spoil_number, "" },
	{ "state", spoil_state, "" },
	{ "linger", spoil_linger, "" },
	{ "flags", spoil_flags, "" },
	{ "family", spoil_family, "" },
	{ "no family", spoil_no_family, "" },
	{ "another's family", spoil_other_family, "" },
	{ "listen", spoil_listen, "" },
	{ "no listen", spoil_no_listen, "" },
	{ "slot", spoil_slot, "" },
	{ "big slot", spoil_big_slot, "" },
	{ "epoch", spoil_epoch, "" },
	{ "future", spoil_future, "" },
	{ "minor", spoil_minor, "" },
	{ "too many bytes", spoil_too_many, "abc" },
	{ "overflow", spoil_overflow, "" },
	{ "long line", spoil_line, "abc" },
	{ "more than said", spoil_fewer, "abc" },
	{ "less than said", spoil_more, "abc" },
	{ "input of a tunnel", spoil_input, "abc" },
	{ "idle tunnel", spoil_idle_tunnel, "" },
	{ "one descriptor too many", spoil_client_with_worker, "" },
	{ "bytes for the deaf", spoil_deaf, "abc" },
};

/* The same of a connection that is no tunnel, and idle but for this. */
SPOIL(client_kind, r->kind = HANDOVER_KIND_MAX)
SPOIL(client_for_worker, r->pieces[PIECE_TO_WORKER] = 3)
SPOIL(client_line, r->pieces[PIECE_LINE] = 3)
SPOIL(client_slot, r->slot = SLOT)
SPOIL(client_epoch, r->epoch = EPOCH)
SPOIL(client_started, r->started_us = T0 - 1000)
SPOIL(client_sent, r->bytes_out = 1)
SPOIL(client_minor, r->minor = 1)
SPOIL(client_worker_ended, r->flags = HANDOVER_WORKER_ENDED)
SPOIL(client_deaf, r->flags = HANDOVER_WORKER_DEAF)
SPOIL(idle_input, r->pieces[PIECE_INPUT] = 3)
SPOIL(idle_output, r->pieces[PIECE_TO_CLIENT] = 3)
SPOIL(idle_eof, r->flags = HANDOVER_EOF)
SPOIL(head_empty, r->state = CLIENT_HEAD)
SPOIL(head_output, r->state = CLIENT_HEAD; r->pieces[PIECE_INPUT] = 2; r->pieces[PIECE_TO_CLIENT] = 1)
SPOIL(head_eof, r->state = CLIENT_HEAD; r->pieces[PIECE_INPUT] = 3; r->flags = HANDOVER_EOF)
SPOIL(last_empty, r->state = CLIENT_REQUEST)
SPOIL(last_input, r->state = CLIENT_REQUEST; r->pieces[PIECE_INPUT] = 2;
      r->pieces[PIECE_TO_CLIENT] = 1)
SPOIL(closing_empty, r->state = CLIENT_CLOSING)
SPOIL(client_linger, r->state = CLIENT_LINGER)
SPOIL(client_dead, r->state = CLIENT_DEAD)
SPOIL(client_state, r->state = UINT32_MAX)

static const struct hostile hostile_clients[] = {
	{ "of no kind", spoil_client_kind, "" },
	{ "bytes for a worker", spoil_client_for_worker, "abc" },
	{ "a line", spoil_client_line, "abc" },
	{ "a slot", spoil_client_slot, "" },
	{ "an epoch", spoil_client_epoch, "" },
	{ "a start", spoil_client_started, "" },
	{ "bytes sent", spoil_client_sent, "" },
	{ "a minor version", spoil_client_minor, "" },
	{ "a worker's end", spoil_client_worker_ended, "" },
	{ "a deaf worker", spoil_client_deaf, "" },
	{ "idle with input", spoil_idle_input, "abc" },
	{ "idle with output", spoil_idle_output, "abc" },
	{ "idle at its end", spoil_idle_eof, "" },
	{ "a head of nothing", spoil_head_empty, "" },
	{ "a head with output", spoil_head_output, "abc" },
	{ "a head at its end", spoil_head_eof, "abc" },
	{ "nothing to be sent", spoil_last_empty, "" },
	{ "a last answer and a head", spoil_last_input, "abc" },
	{ "closing, all sent", spoil_closing_empty, "" },
	{ "lingering", spoil_client_linger, "" },
	{ "dead", spoil_client_dead, "" },
	{ "of no state", spoil_client_state, "" },
};

/* Past what handover_send() lets through. */
static void send_any(int channel, const void *bytes, size_t n, const int *fds, size_t n_fds)
{
	assert_int_equal(send_raw(channel, bytes, n, fds, n_fds), n);
}

/* Afterwards: the channel has ended, and nothing of it is left. */
static void check_refused(struct side *s, int channel, const char *name, int fds_before)
{
	enum handover_answer answer;

	turn(s);
	check_row_int(name, verdict(channel, 1, &answer), ERR_CLOSED);
	close(channel);
	check_row_int(name, s->proxy->n_clients, 0);
	side_stop(s);
	check_row_int(name, count_fds(), fds_before);
}

static void check_hostile(const struct hostile *h, struct handover_record r)
{
	struct side s;
	int before = count_fds();
	struct ends e = make_ends();
	int channel = taker_start(&s), fds[2] = { e.client_fd, e.worker_fd };
	char packet[sizeof(r) + 16];
	size_t n = strlen(h->bytes), n_fds = handover_n_fds(&r);

	h->spoil(&r);
	memcpy(packet, &r, sizeof(r));
	memcpy(packet + sizeof(r), h->bytes, n);
	send_any(channel, packet, sizeof(r) + n, fds, n_fds);
	close_ends(&e);
	check_refused(&s, channel, h->name, before);
}

static void test_hostile_records(void **state)
{
	(void)state;
	begin();
	for (size_t i = 0; i < ARRAY_LEN(hostile); i++)
		check_hostile(&hostile[i], tunnel_record(1));
	for (size_t i = 0; i < ARRAY_LEN(hostile_clients); i++)
		check_hostile(&hostile_clients[i], idle_record(1));
}

/* More than a connection can hold back, of which the first packet is good: nobody waits for the rest. */
static void test_hostile_sizes(void **state)
{
	static char packet[sizeof(struct handover_record) + HANDOVER_PACKET_BYTES];
	static const enum handover_piece rows[] = { PIECE_TO_CLIENT,  PIECE_TO_WORKER,
						    PIECE_LINE,       PIECE_REFERER,
						    PIECE_USER_AGENT, PIECE_REQUEST_ID };
	struct side s;

	(void)state;
	begin();
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		int before = count_fds();
		struct ends e = make_ends();
		int channel = taker_start(&s), fds[2] = { e.client_fd, e.worker_fd };
		struct handover_record r = tunnel_record(1);
		r.pieces[rows[i]] = BLOCK_LARGE_BYTES + 1;
		memcpy(packet, &r, sizeof(r));
		send_any(channel, packet, sizeof(packet), fds, 2);
		close_ends(&e);
		check_refused(&s, channel, "size", before);
	}
}

/* The rest of a record that is longer, or shorter, than the record has said. */
static void test_hostile_rest(void **state)
{
	static const int rows[] = { -1, 1, HANDOVER_PACKET_BYTES - 10 };
	static char packet[sizeof(struct handover_record) + HANDOVER_PACKET_BYTES];
	struct side s;

	(void)state;
	begin();
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		int before = count_fds();
		struct ends e = make_ends();
		int channel = taker_start(&s), fds[2] = { e.client_fd, e.worker_fd };
		struct handover_record r = tunnel_record(1);
		r.pieces[PIECE_TO_CLIENT] = HANDOVER_PACKET_BYTES + 10;
		memcpy(packet, &r, sizeof(r));
		send_any(channel, packet, sizeof(packet), fds, 2);
		send_any(channel, packet, (size_t)(10 + rows[i]), NULL, 0);
		close_ends(&e);
		check_refused(&s, channel, "rest", before);
	}
}

/* More than any packet holds, of which the kernel gives as much as there should be. */
static void test_hostile_surplus(void **state)
{
	static char packet[sizeof(struct handover_record) + HANDOVER_PACKET_BYTES + 1];
	struct side s;
	int before = count_fds();
	struct ends e = make_ends();
	struct handover_record r = tunnel_record(1);

	(void)state;
	begin();
	int channel = taker_start(&s), fds[2] = { e.client_fd, e.worker_fd };
	r.pieces[PIECE_TO_CLIENT] = HANDOVER_PACKET_BYTES;
	memcpy(packet, &r, sizeof(r));
	send_any(channel, packet, sizeof(packet), fds, 2);
	close_ends(&e);
	check_refused(&s, channel, "surplus", before);
}

/* Less than a record, where one has to begin, is none: what would be missing of it is not made up. */
static void test_hostile_cut(void **state)
{
	static const size_t rows[] = { 1, 8, sizeof(struct handover_record) - 1 };
	static char bytes[HANDOVER_PACKET_BYTES];
	struct handover_record r = idle_record(1), got;
	int pair[2], fds[HANDOVER_FDS_MAX];
	unsigned n_fds;
	size_t n;

	(void)state;
	assert_int_equal(msg_pair(pair), ERR_OK);
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		send_any(pair[0], &r, rows[i], NULL, 0);
		assert_int_equal(handover_receive(pair[1], &got, fds, &n_fds, bytes, &n),
				 ERR_PROTOCOL);
	}
	close(pair[0]);
	close(pair[1]);
}

static void test_hostile_descriptors(void **state)
{
	struct side s;
	int blocking[2], packets[2];
	struct addr any = addr_ipv4_loopback(0);
	struct ends e = make_ends();
	int null = open("/dev/null", O_RDWR | O_CLOEXEC | O_NONBLOCK), listening = -1;

	(void)state;
	begin();
	assert_int_equal(fd_listen(&any, false, 1, 0, &listening), ERR_OK);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, blocking), 0);
	assert_int_equal(msg_pair(packets), ERR_OK);
	const struct {
		const char *name;
		int client, worker;
		size_t n;
	} rows[] = {
		{ "a file", null, e.worker_fd, 2 },
		{ "a file to the worker", e.client_fd, null, 2 },
		{ "one that blocks", blocking[0], e.worker_fd, 2 },
		{ "a worker's that blocks", e.client_fd, blocking[0], 2 },
		{ "one that listens", e.client_fd, listening, 2 },
		{ "one of packets", packets[0], e.worker_fd, 2 },
		{ "one too few", e.client_fd, -1, 1 },
		{ "none", -1, -1, 0 },
	};
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		int before = count_fds();
		int channel = taker_start(&s), fds[2] = { rows[i].client, rows[i].worker };
		struct handover_record r = tunnel_record(1);
		send_any(channel, &r, sizeof(r), fds, rows[i].n);
		check_refused(&s, channel, rows[i].name, before);
	}
	for (size_t n = 0; n < sizeof(struct handover_record); n += 40) { /* cut short */
		int before = count_fds(), fds[2] = { e.client_fd, e.worker_fd };
		int channel = taker_start(&s);
		struct handover_record r = tunnel_record(1);
		send_any(channel, &r, n, fds, 2);
		check_refused(&s, channel, "cut", before);
	}
	close_ends(&e);
	close(null);
	close(listening);
	close(blocking[0]);
	close(blocking[1]);
	close(packets[0]);
	close(packets[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_idle_is_taken),
		cmocka_unit_test(test_tunnel_is_taken),
		cmocka_unit_test(test_many_bytes),
		cmocka_unit_test(test_no_room),
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
		cmocka_unit_test(test_no_room_for_a_descriptor),
		cmocka_unit_test(test_hostile_records),
		cmocka_unit_test(test_hostile_sizes),
		cmocka_unit_test(test_hostile_rest),
		cmocka_unit_test(test_hostile_surplus),
		cmocka_unit_test(test_hostile_cut),
		cmocka_unit_test(test_hostile_descriptors),
	};

	log_to_fd(-1);
	return cmocka_run_group_tests(tests, boot, NULL);
}
