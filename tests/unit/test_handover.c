/* balancer/proxy/handover_*: two balancers in this process with a channel between them.  What
 * is given and taken stays as it was, whatever the channel's other end says or does. */
#include "lib/check.h"
#include "lib/process.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "balancer/proxy/handover.h"
#include "balancer/proxy/handover_record.h"
#include "balancer/proxy/pick.h"
#include "balancer/proxy/request.h"
#include "common/clock.h"
#include "common/fd.h"
#include "common/log.h"

#define T0 1000000000u
#define SLOT 3
#define EPOCH 7

static struct roster *roster;
static struct tally *tally;
static struct cfg_listen listen_on;
static struct config config = {
	.listens = &listen_on,
	.n_listens = 1,
	.balancers = 1,
	.timeout_head_ms = 10000,
	.timeout_body_ms = 30000,
	.timeout_idle_ms = 75000,
	.timeout_tunnel_ms = 3600000,
	.limit_head_bytes = 16384,
	.limit_uri_bytes = 8192,
	.limit_headers = 100,
};

/* One balancer, with what the master has of it. */
struct side {
	struct proxy_heritage heritage;
	struct proxy *proxy;
	uint32_t row;
	int master;
};

/* A connection as its ends see it. */
struct ends {
	int client, worker;       /* ours: the other ends */
	int client_fd, worker_fd; /* the balancer's, until they are sent */
};

static int boot(void **state)
{
	int fd;

	(void)state;
	listen_on.address = addr_ipv4_loopback(8080);
	return roster_create(&fd, &roster) || tally_create(&fd, &tally) ? -1 : 0;
}

static void set_worker(enum worker_state state)
{
	roster_begin(roster);
	roster->slots[SLOT] = (struct roster_slot){ .epoch = EPOCH, .state = state, .app_id = 1 };
	roster->n_slots = SLOT + 1;
	roster_end(roster);
}

static void side_start(struct side *s)
{
	int channel[2];

	assert_int_equal(msg_pair(channel), ERR_OK);
	assert_int_equal(tally_claim(tally, &s->row), ERR_OK);
	s->master = channel[0];
	s->heritage = (struct proxy_heritage){ .config = &config,
					       .roster = roster,
					       .tally = tally,
					       .row = &tally->rows[s->row],
					       .channel = channel[1],
					       .access_log_fd = -1,
					       .sockets_max = 100 };
	s->proxy = proxy_new(&s->heritage);
	proxy_start(s->proxy);
}

/* Time passes too: the sweep is not waited for. */
static void turn(struct side *s)
{
	for (int i = 0; i < 6; i++)
		(void)proxy_turn(s->proxy, EVLOOP_NONBLOCK);
	handover_walk(s->proxy);
	channel_owed_ack(s->proxy);
}

static uint64_t gauge(const struct side *s, enum counter c)
{
	return atomic_load(&s->heritage.row->counters[c]);
}

static void side_stop(struct side *s)
{
	drain_to(s->proxy, DRAIN_HARD, false);
	turn(s);
	assert_int_equal(s->proxy->n_clients, 0);
	assert_int_equal(gauge(s, COUNTER_connections_open), 0);
	assert_int_equal(gauge(s, COUNTER_connections_idle), 0);
	assert_int_equal(gauge(s, COUNTER_requests_in_flight), 0);
	assert_int_equal(gauge(s, COUNTER_tunnels_open), 0);
	assert_int_equal(atomic_load(&s->heritage.row->workers[SLOT].in_flight), 0);
	assert_int_equal(atomic_load(&s->heritage.row->workers[SLOT].tunnels), 0);
	assert_int_equal(s->proxy->blocks.bytes_lent, 0);
	proxy_stop(s->proxy);
	close(s->master);
	tally_retire(tally, s->row);
}

static struct ends make_ends(void)
{
	int a[2], b[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, a), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, b), 0);
	return (struct ends){ a[0], b[0], a[1], b[1] };
}

static void close_ends(struct ends *e)
{
	fd_close(&e->client);
	fd_close(&e->worker);
	fd_close(&e->client_fd);
	fd_close(&e->worker_fd);
}

static struct handover_record idle_record(uint64_t number)
{
	return (struct handover_record){
		.form = HANDOVER_FORM,
		.kind = HANDOVER_CLIENT,
		.number = number,
		.due_us = T0 + 5000000,
		.state = CLIENT_IDLE,
		.flags = HANDOVER_SERVED,
		.peer.sa.sa_family = AF_UNIX,
		.listen = listen_on.address,
	};
}

static struct handover_record tunnel_record(uint64_t number)
{
	struct handover_record r = idle_record(number);

	r.kind = HANDOVER_TUNNEL;
	r.state = CLIENT_REQUEST;
	r.slot = SLOT;
	r.epoch = EPOCH;
	r.started_us = T0 - 1000;
	r.minor = 1;
	return r;
}

static void send_record(int channel, const struct handover_record *r, struct ends *e,
			const char *bytes)
{
	int fds[2] = { e->client_fd, e->worker_fd };
	size_t n = strlen(bytes), first = MIN(n, (size_t)HANDOVER_PACKET_BYTES);

	assert_int_equal(handover_send(channel, r, fds, bytes, first), ERR_OK);
	for (; first < n; first += HANDOVER_PACKET_BYTES)
		assert_int_equal(handover_send(channel, NULL, NULL, bytes + first,
					       MIN(n - first, (size_t)HANDOVER_PACKET_BYTES)),
				 ERR_OK);
	fd_close(&e->client_fd);
	fd_close(&e->worker_fd);
}

/* ERR_CLOSED: the taker has ended the channel. */
static enum err verdict(int channel, uint64_t number, enum handover_answer *ret_answer)
{
	struct handover_verdict v = { .number = 0 };
	enum err e = handover_receive_verdict(channel, &v);

	if (e == ERR_OK) {
		assert_int_equal(v.number, number);
		*ret_answer = (enum handover_answer)v.answer;
	}
	return e;
}

static void expect(int fd, const char *text)
{
	char buf[256];
	ssize_t n = read(fd, buf, sizeof(buf) - 1);

	assert_true(n >= 0); /* "" is the end, not nothing yet */
	buf[n] = '\0';
	assert_string_equal(buf, text);
}

static void expect_open(int fd)
{
	char byte;

	assert_int_equal(read(fd, &byte, 1), -1);
	assert_int_equal(errno, EAGAIN);
}

static void say(int fd, const char *text)
{
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
}

/* A taker with a channel of which we have the giver's end. */
static int taker_start(struct side *s)
{
	int pair[2];

	side_start(s);
	assert_int_equal(msg_pair(pair), ERR_OK);
	handover_take_over(s->proxy, pair[1]);
	return pair[0];
}

static void begin(void)
{
	clock_freeze(T0);
	set_worker(WORKER_UP);
}

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

/* Its worker's tunnels were ended while it was on the way. */
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
	send_record(channel, &r, &e, "");
	turn(&s);
	assert_int_equal(verdict(channel, 1, &answer), ERR_OK);
	assert_int_equal(answer, HANDOVER_TAKEN);
	expect(e.worker, "");
	expect(e.client, "");
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

/* Sends `n` packets' worth with any descriptors, past what handover_send() lets through. */
static void send_raw(int channel, const void *bytes, size_t n, const int *fds, size_t n_fds)
{
	char control[CMSG_SPACE(4 * sizeof(int))] = { 0 };
	struct iovec iov = { (void *)(uintptr_t)bytes, n };
	struct msghdr h = { .msg_iov = &iov, .msg_iovlen = 1 };

	if (n_fds) {
		h.msg_control = control;
		h.msg_controllen = CMSG_SPACE(n_fds * sizeof(int));
		struct cmsghdr *c = CMSG_FIRSTHDR(&h);
		if (!c)
			abort();
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(n_fds * sizeof(int));
		memcpy(CMSG_DATA(c), fds, n_fds * sizeof(int));
	}
	assert_int_equal(sendmsg(channel, &h, MSG_NOSIGNAL), n);
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

static void test_hostile_records(void **state)
{
	struct side s;

	(void)state;
	begin();
	for (size_t i = 0; i < ARRAY_LEN(hostile); i++) {
		const struct hostile *h = &hostile[i];
		int before = count_fds();
		struct ends e = make_ends();
		int channel = taker_start(&s), fds[2] = { e.client_fd, e.worker_fd };
		char packet[sizeof(struct handover_record) + 16];
		struct handover_record r = tunnel_record(1);
		h->spoil(&r);
		memcpy(packet, &r, sizeof(r));
		memcpy(packet + sizeof(r), h->bytes, strlen(h->bytes));
		send_raw(channel, packet, sizeof(r) + strlen(h->bytes), fds, 2);
		close_ends(&e);
		check_refused(&s, channel, h->name, before);
	}
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
		r.pieces[rows[i]] = (1u << 20) + 1;
		memcpy(packet, &r, sizeof(r));
		send_raw(channel, packet, sizeof(packet), fds, 2);
		close_ends(&e);
		check_refused(&s, channel, "size", before);
	}
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
		send_raw(channel, &r, sizeof(r), fds, rows[i].n);
		check_refused(&s, channel, rows[i].name, before);
	}
	for (size_t n = 0; n < sizeof(struct handover_record); n += 40) { /* cut short */
		int before = count_fds(), fds[2] = { e.client_fd, e.worker_fd };
		int channel = taker_start(&s);
		struct handover_record r = tunnel_record(1);
		send_raw(channel, &r, n, fds, 2);
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_idle_is_taken),
		cmocka_unit_test(test_tunnel_is_taken),
		cmocka_unit_test(test_many_bytes),
		cmocka_unit_test(test_no_room),
		cmocka_unit_test(test_late_tunnel),
		cmocka_unit_test(test_hostile_records),
		cmocka_unit_test(test_hostile_sizes),
		cmocka_unit_test(test_hostile_descriptors),
		cmocka_unit_test(test_given_and_taken),
		cmocka_unit_test(test_half_closed),
		cmocka_unit_test(test_fin_behind_bytes),
		cmocka_unit_test(test_taker_dies),
		cmocka_unit_test(test_last_words),
		cmocka_unit_test(test_verdicts_without_sense),
		cmocka_unit_test(test_refused_is_kept),
		cmocka_unit_test(test_ack_waits),
	};

	log_to_fd(-1);
	return cmocka_run_group_tests(tests, boot, NULL);
}
