/* What the tests of balancer/proxy/handover_* share: balancers in this process, and connections
 * of which we have both other ends. */
#ifndef DROVER_TESTS_UNIT_TEST_HANDOVER_H
#define DROVER_TESTS_UNIT_TEST_HANDOVER_H

#include "lib/check.h"
#include "lib/process.h"
#include "lib/proxy_config.h"

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
static struct config config = { PROXY_CONFIG, .listens = &listen_on, .n_listens = 1 };

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

static inline int boot(void **state)
{
	int fd;

	(void)state;
	listen_on.address = addr_ipv4_loopback(8080);
	return roster_create(&fd, &roster) || tally_create(&fd, &tally) ? -1 : 0;
}

static inline void set_worker(enum worker_state state)
{
	roster_begin(roster);
	roster->slots[SLOT] = (struct roster_slot){ .epoch = EPOCH, .state = state, .app_id = 1 };
	roster->n_slots = SLOT + 1;
	roster_end(roster);
}

static inline void side_start(struct side *s)
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
static inline void turn(struct side *s)
{
	for (int i = 0; i < 6; i++)
		(void)proxy_turn(s->proxy, EVLOOP_NONBLOCK);
	handover_walk(s->proxy);
	channel_owed_ack(s->proxy);
}

static inline uint64_t gauge(const struct side *s, enum counter c)
{
	return atomic_load(&s->heritage.row->counters[c]);
}

static inline void side_stop(struct side *s)
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

static inline struct ends make_ends(void)
{
	int a[2], b[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, a), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, b), 0);
	return (struct ends){ a[0], b[0], a[1], b[1] };
}

static inline void close_ends(struct ends *e)
{
	fd_close(&e->client);
	fd_close(&e->worker);
	fd_close(&e->client_fd);
	fd_close(&e->worker_fd);
}

static inline struct handover_record idle_record(uint64_t number)
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

static inline struct handover_record tunnel_record(uint64_t number)
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

static inline void send_record(int channel, const struct handover_record *r, struct ends *e,
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
static inline enum err verdict(int channel, uint64_t number, enum handover_answer *ret_answer)
{
	struct handover_verdict v = { .number = 0 };
	enum err e = handover_receive_verdict(channel, &v);

	if (e == ERR_OK) {
		assert_int_equal(v.number, number);
		*ret_answer = (enum handover_answer)v.answer;
	}
	return e;
}

static inline void expect(int fd, const char *text)
{
	char buf[256];
	ssize_t n = read(fd, buf, sizeof(buf) - 1);

	assert_true(n >= 0); /* "" is the end, not nothing yet */
	buf[n] = '\0';
	assert_string_equal(buf, text);
}

static inline void expect_open(int fd)
{
	char byte;

	assert_int_equal(read(fd, &byte, 1), -1);
	assert_int_equal(errno, EAGAIN);
}

static inline void say(int fd, const char *text)
{
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
}

/* A taker with a channel of which we have the giver's end. */
static inline int taker_start(struct side *s)
{
	int pair[2];

	side_start(s);
	assert_int_equal(msg_pair(pair), ERR_OK);
	handover_take_over(s->proxy, pair[1]);
	return pair[0];
}

static inline void begin(void)
{
	clock_freeze(T0);
	set_worker(WORKER_UP);
}

/* The giver's end of a channel: what came of the record of this number. */
static inline void expect_answer(int channel, uint64_t number, enum handover_answer expected)
{
	enum handover_answer answer = HANDOVER_ANSWER_MAX;

	assert_int_equal(verdict(channel, number, &answer), ERR_OK);
	assert_int_equal(answer, expected);
}

/* What most of these tests begin with: one balancer, one connection, and our end of the
 * channel between it and another balancer: of the giver, later of the taker; -1: none. */
struct scene {
	struct side s;
	struct ends e;
	int channel;
};

static inline void scene_start(struct scene *t)
{
	begin();
	t->e = make_ends();
	t->channel = taker_start(&t->s);
}

static inline void scene_stop(struct scene *t)
{
	side_stop(&t->s);
	fd_close(&t->channel);
	close_ends(&t->e);
}

/* The connection comes over the channel, and the balancer has it now. */
static inline void take(struct scene *t, const struct handover_record *r, const char *bytes)
{
	send_record(t->channel, r, &t->e, bytes);
	turn(&t->s);
	expect_answer(t->channel, r->number, HANDOVER_TAKEN);
}

#endif
