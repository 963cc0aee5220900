/* What a balancer that drains sends to one that serves: packets of any bytes with sockets, or
 * other descriptors, to a real proxy.
 *
 * It may take connections that make sense, and ends the channel at the first packet that does
 * not; whatever came, nothing is left of it when the balancer has ended. */
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "balancer/proxy/handover.h"
#include "balancer/proxy/handover_record.h"
#include "balancer/proxy/loop.h"
#include "common/log.h"
#include "fuzz/packets.h"
#include "lib/proxy_config.h"
#include "lib/send_raw.h"

#define RECORDS_MAX 20

/* The first byte of each packet. */
enum setting {
	HAS_FORM = 1 << 0,     /* its form and number are what the taker waits for */
	IS_RECORD = 1 << 1,    /* it begins with a record; else it is bytes alone */
	NO_SOCKET = 1 << 2,    /* its first descriptor is none */
	ONE_MORE = 1 << 3,     /* there is a descriptor too many */
	FULL = 1 << 4,         /* as many bytes follow as one packet holds */
	OTHER_NUMBER = 1 << 5, /* with HAS_FORM: its number is the next but one */
};

static struct roster *roster;
static struct tally *tally;
static struct cfg_listen listen_on;
static struct config config = {
	PROXY_CONFIG,
	.listens = &listen_on,
	.n_listens = 1,
	.limit_per_client = 5,
};

static void boot(void)
{
	int fd;

	if (roster)
		return;
	if (roster_create(&fd, &roster) || tally_create(&fd, &tally))
		abort();
	roster_begin(roster);
	roster->slots[1] = (struct roster_slot){ .epoch = 1, .state = WORKER_UP };
	roster->slots[2] = (struct roster_slot){ .epoch = 2, .state = WORKER_STOPPING };
	roster->n_slots = 3;
	roster_end(roster);
}

static int a_socket(int family)
{
	int pair[2];

	if (family != AF_UNIX)
		return socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair))
		abort();
	close(pair[0]);
	return pair[1];
}

/* What has been sent. */
struct sent {
	uint64_t in_turn; /* records before the first that nobody may take */
	bool spoilt;      /* there was such a one */
};

static void note(struct sent *s, const struct handover_record *r, unsigned how)
{
	s->spoilt |= r->form != HANDOVER_FORM || r->number != s->in_turn + 1 ||
		     (how & (NO_SOCKET | ONE_MORE));
	s->in_turn += !s->spoilt;
}

/* Of an input of which `n` bytes are left; false at its end. */
static bool send_next(int channel, struct sent *s, const uint8_t **p, size_t *n)
{
	static char packet[sizeof(struct handover_record) + HANDOVER_PACKET_BYTES];
	struct handover_record r = { .listen = { .len = sizeof(listen_on.address.in) } };
	int fds[3], n_fds = 0;

	if (*n < 2)
		return false;
	unsigned how = (*p)[0];
	size_t given = MIN((size_t)(*p)[1], *n - 2), taken = MIN(given, sizeof(r)), length = 0;
	if (how & IS_RECORD) {
		memcpy(&r, *p + 2, taken);
		if (how & HAS_FORM) {
			r.form = HANDOVER_FORM;
			r.number = s->in_turn + (how & OTHER_NUMBER ? 2 : 1);
		}
		note(s, &r, how);
		memcpy(packet, &r, sizeof(r));
		length = sizeof(r);
		fds[n_fds++] = how & NO_SOCKET ? open("/dev/null", O_WRONLY | O_CLOEXEC) :
						 a_socket(r.peer.sa.sa_family == AF_INET ? AF_INET : AF_UNIX);
		if (r.kind == HANDOVER_TUNNEL)
			fds[n_fds++] = a_socket(AF_UNIX);
		if (how & ONE_MORE)
			fds[n_fds++] = a_socket(AF_UNIX);
	}
	memcpy(packet + length, *p + 2 + taken, given - taken);
	length += how & FULL ? HANDOVER_PACKET_BYTES : given - taken;
	*p += 2 + given;
	*n -= 2 + given;
	ssize_t sent = send_raw(channel, packet, length, fds, (size_t)n_fds);
	for (int i = 0; i < n_fds; i++)
		close(fds[i]);
	return sent >= 0;
}

/* As many as it has taken are there, or have ended; none that it refused. */
static void check_said(int channel, const struct proxy *p, const struct sent *s)
{
	struct handover_verdict v;
	uint64_t heard = 0, taken = 0;

	while (handover_receive_verdict(channel, &v) == ERR_OK) {
		FUZZ_CHECK(v.number == ++heard, "verdict %llu", (unsigned long long)v.number);
		taken += v.answer == HANDOVER_TAKEN;
	}
	FUZZ_CHECK(heard <= s->in_turn, "%llu verdicts on %llu records", (unsigned long long)heard,
		   (unsigned long long)s->in_turn);
	FUZZ_CHECK(p->n_clients <= taken, "%u clients of %llu", p->n_clients, (unsigned long long)taken);
	FUZZ_CHECK(atomic_load(&p->row->counters[COUNTER_connections_inherited]) == taken,
		   "%llu were taken", (unsigned long long)taken);
}

static void check_empty(const struct proxy *p)
{
	static const enum counter gauges[] = { COUNTER_connections_open, COUNTER_connections_idle,
					       COUNTER_requests_in_flight, COUNTER_tunnels_open };

	FUZZ_CHECK(p->n_clients == 0 && p->n_upstreams == 0, "%u clients, %u upstreams", p->n_clients,
		   p->n_upstreams);
	for (size_t i = 0; i < ARRAY_LEN(gauges); i++)
		FUZZ_CHECK(atomic_load(&p->row->counters[gauges[i]]) == 0, "%s is not 0",
			   counter_table[gauges[i]].name);
	for (size_t i = 0; i < ROSTER_SLOTS; i++)
		FUZZ_CHECK(atomic_load(&p->row->workers[i].in_flight) == 0, "slot %zu is busy", i);
	FUZZ_CHECK(p->blocks.bytes_lent == 0, "blocks are lent");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	int channel[2], pair[2];
	uint32_t row;
	struct sent sent = { .in_turn = 0 };

	boot();
	uint64_t before = open_fds();
	log_to_fd(-1);
	if (msg_pair(channel) || msg_pair(pair) || tally_claim(tally, &row))
		abort();
	struct proxy_heritage heritage = { .config = &config,
					   .roster = roster,
					   .tally = tally,
					   .row = &tally->rows[row],
					   .channel = channel[1],
					   .sockets_max = 8,
					   .access_log_fd = open("/dev/null", O_WRONLY) };
	struct proxy *p = proxy_new(&heritage);
	proxy_start(p);
	handover_take_over(p, pair[1]);
	for (int i = 0; i < RECORDS_MAX && send_next(pair[0], &sent, &data, &n); i++)
		if (n % 3 == 0)
			(void)proxy_turn(p, EVLOOP_NONBLOCK);
	for (int i = 0; i < 3; i++)
		(void)proxy_turn(p, EVLOOP_NONBLOCK);
	check_said(pair[0], p, &sent);
	drain_to(p, DRAIN_HARD, false);
	for (int i = 0; i < 3; i++)
		(void)proxy_turn(p, EVLOOP_NONBLOCK);
	check_empty(p);
	close(pair[0]);
	close(channel[0]);
	proxy_stop(p);
	tally_retire(tally, row);
	FUZZ_CHECK(open_fds() == before, "a descriptor is left open");
	return 0;
}
