/* drover with a balancer that an attacker owns.  All is the real program, but for the first
 * process that is started as balancer 0: beside the data path, which goes on serving, runs a
 * second task with everything that a balancer inherits (channel, listening sockets, tally row),
 * and outside of the filter of system calls.  When there is a file
 * $HOSTILE_GO, it does what $HOSTILE names, once. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "balancer/cli/cli.h"
#include "balancer/heritage.h"
#include "balancer/master/master.h"
#include "balancer/monitor/monitor.h"
#include "balancer/proxy/client.h"
#include "balancer/proxy/handover_record.h"
#include "balancer/proxy/proxy.h"
#include "common/msg.h"
#include "common/proc.h"
#include "lib/send_raw.h"

static _Atomic int *begun; /* shared by all processes: the first one only */

static void say(const struct proxy_heritage *h, const void *bytes, size_t n, int n_fds)
{
	int fds[SEND_RAW_FDS_MAX];

	for (int i = 0; i < n_fds; i++)
		fds[i] = h->listeners[0];
	(void)!send_raw(h->channel, bytes, n, fds, (size_t)n_fds);
}

static void say_message(const struct proxy_heritage *h, uint32_t type, uint32_t zero, uint64_t raw)
{
	struct msg m = { .type = type, .zero = zero, .raw = raw };

	say(h, &m, sizeof(m), 0);
}

static uint64_t version(const struct proxy_heritage *h)
{
	return atomic_load(&h->roster->version) & ~UINT64_C(1);
}

static void short_one(const struct proxy_heritage *h)
{
	say(h, "x", 1, 0);
}
static void long_one(const struct proxy_heritage *h)
{
	static const char bytes[60000];

	say(h, bytes, sizeof(bytes), 0);
}
static void empty_one(const struct proxy_heritage *h)
{
	say(h, "", 0, 0);
}
static void unknown_type(const struct proxy_heritage *h)
{
	say_message(h, 4711, 0, 0);
}
static void type_none(const struct proxy_heritage *h)
{
	say_message(h, 0, 0, 0);
}
static void masters_type(const struct proxy_heritage *h)
{
	say_message(h, MSG_DRAIN, 0, DRAIN_HARD);
}
static void reserved(const struct proxy_heritage *h)
{
	say_message(h, MSG_ACK, 1, version(h));
}
static void ready_again(const struct proxy_heritage *h)
{
	say_message(h, MSG_READY, 0, 0);
}
static void stopped_early(const struct proxy_heritage *h)
{
	say_message(h, MSG_STOPPED, 0, 0);
}
static void ack_future(const struct proxy_heritage *h)
{
	say_message(h, MSG_ACK, 0, version(h) + 2);
}
static void ack_odd(const struct proxy_heritage *h)
{
	say_message(h, MSG_ACK, 0, version(h) - 1);
}
static void ack_old(const struct proxy_heritage *h)
{
	say_message(h, MSG_ACK, 0, 0);
}

static void descriptors(const struct proxy_heritage *h)
{
	struct msg m = { .type = MSG_ACK, .raw = version(h) };

	for (int n = 1; n <= 200; n += 199)
		say(h, &m, sizeof(m), n);
}

static void flood(const struct proxy_heritage *h)
{
	for (;;)
		say_message(h, MSG_ACK, 0, version(h));
}

static void hang_up(const struct proxy_heritage *h)
{
	shutdown(h->channel, SHUT_RDWR);
}

static void deafen(const struct proxy_heritage *h)
{
	for (size_t i = 0; i < h->n_listeners; i++)
		shutdown(h->listeners[i], SHUT_RDWR);
	kill(getppid(), SIGKILL);
}

static void disconnect(const struct proxy_heritage *h)
{
	for (size_t i = 0; i < h->n_listeners; i++)
		(void)!connect(h->listeners[i], &(struct sockaddr){ .sa_family = AF_UNSPEC },
			       sizeof(struct sockaddr));
	kill(getppid(), SIGKILL);
}

/* Its row of the tally, which the master and others read.  $BYSTANDER: a pid. */
static void own_row(const struct proxy_heritage *h)
{
	const char *bystander = getenv("BYSTANDER");

	for (uint32_t i = 0; i < ROSTER_SLOTS; i++)
		atomic_store(&h->row->workers[i].in_flight, UINT32_MAX);
	for (int c = 0; c < COUNTER_MAX; c++)
		atomic_store(&h->row->counters[c], UINT64_MAX / 3);
	atomic_store(&h->row->pid, bystander ? atoi(bystander) : 1);
	atomic_store(&h->row->used, 0);
	atomic_store(&h->row->used, 1);
}

/* The pipe by which the warden learns that all balancers have ended. */
static void warden_pipe(const struct proxy_heritage *h)
{
	struct stat st;

	(void)h;
	for (int fd = 3; fd < 256; fd++)
		if (fstat(fd, &st) == 0 && S_ISFIFO(st.st_mode) &&
		    (fcntl(fd, F_GETFL) & O_ACCMODE) == O_WRONLY)
			(void)!write(fd, "x", 1);
}

/* ---- as the giver of connections, to balancers of the next generation ---- */

static struct handover_record record(const struct proxy_heritage *h, uint64_t number)
{
	return (struct handover_record){ .form = HANDOVER_FORM,
					 .number = number,
					 .state = CLIENT_IDLE,
					 .peer = { .sa = { .sa_family = AF_UNIX } },
					 .listen = h->config->listens[0].address };
}

static void noise(int channel, const int *fds)
{
	static unsigned char bytes[sizeof(struct handover_record) + HANDOVER_PACKET_BYTES];

	srandom(4711);
	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (unsigned char)random();
	(void)!send_raw(channel, bytes, sizeof(bytes), fds, 2);
}

/* A tunnel to a worker that is another's, and has ended connections at both ends. */
static void tunnel_to(const struct proxy_heritage *h, int channel, uint32_t slot, const int *fds)
{
	struct handover_record r = record(h, 1);

	r.kind = HANDOVER_TUNNEL;
	r.state = CLIENT_REQUEST;
	r.slot = slot;
	r.epoch = h->roster->slots[slot % ROSTER_SLOTS].epoch;
	r.pieces[PIECE_TO_CLIENT] = 100000; /* of which only this much comes */
	(void)!send_raw(channel, &r, sizeof(r), fds, 2);
	(void)!send_raw(channel, &r, sizeof(r), fds, 2);
}

/* More idle connections than it may keep, all of which nobody will ever use. */
static void crowd(const struct proxy_heritage *h, int channel)
{
	for (uint64_t i = 1; i <= 4000; i++) {
		struct handover_record r = record(h, i);
		int pair[2];
		if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair))
			return;
		(void)!send_raw(channel, &r, sizeof(r), pair, 1);
		close(pair[0]);
		if (i % 4)
			close(pair[1]);
	}
}

/* The n-th channel of connections that it has been given. */
static void give_forged(const struct proxy_heritage *h, int channel, unsigned n)
{
	struct handover_record r = record(h, 1);
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair))
		return;
	switch (n % 6) {
	case 0: (void)!send_raw(channel, "", 0, NULL, 0); break;
	case 1: noise(channel, pair); break;
	case 2: (void)!send_raw(channel, &r, sizeof(r), &h->listeners[0], 1); break;
	case 3: tunnel_to(h, channel, 0, pair); break;
	case 4: tunnel_to(h, channel, UINT32_MAX, pair); break;
	case 5: crowd(h, channel); break;
	}
	close(pair[0]);
	close(pair[1]);
	fprintf(stderr, "hostile: channel %u is used\n", n);
}

/* It keeps its balancer from hearing the master, and does so itself. */
static void forge(const struct proxy_heritage *h)
{
	unsigned n = 0;
	struct msg m;
	int fd;

	kill(getppid(), SIGSTOP);
	fprintf(stderr, "hostile: it speaks for its balancer\n");
	for (;;) {
		struct pollfd p = { .fd = h->channel, .events = POLLIN };
		(void)!poll(&p, 1, -1);
		enum err e = msg_recv(h->channel, MSG_DOWN, &m, &fd);
		if (e == ERR_CLOSED)
			return;
		if (e == ERR_OK && m.type == MSG_ROSTER)
			say_message(h, MSG_ACK, 0, m.roster.version);
		if (e == ERR_OK && m.type == MSG_HAND_OVER)
			give_forged(h, fd, n++); /* and keeps the channel */
	}
}

static const struct {
	const char *name;
	void (*act)(const struct proxy_heritage *h);
} acts[] = {
	{ "short", short_one },
	{ "long", long_one },
	{ "empty", empty_one },
	{ "unknown-type", unknown_type },
	{ "type-none", type_none },
	{ "masters-type", masters_type },
	{ "reserved", reserved },
	{ "ready-again", ready_again },
	{ "stopped-early", stopped_early },
	{ "ack-future", ack_future },
	{ "ack-odd", ack_odd },
	{ "ack-old", ack_old },
	{ "descriptors", descriptors },
	{ "flood", flood },
	{ "hang-up", hang_up },
	{ "deafen", deafen },
	{ "disconnect", disconnect },
	{ "own-row", own_row },
	{ "warden-pipe", warden_pipe },
	{ "forge", forge },
};

static void be_hostile(const struct proxy_heritage *h, pid_t balancer)
{
	const char *name = getenv("HOSTILE"), *go = getenv("HOSTILE_GO");

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != balancer)
		_exit(1);
	while (!go || access(go, F_OK) != 0)
		usleep(1000);
	for (size_t i = 0; name && i < ARRAY_LEN(acts); i++)
		if (strcmp(acts[i].name, name) == 0)
			acts[i].act(h);
	fprintf(stderr, "hostile: %s is done\n", name);
	for (;;)
		pause();
}

static int run(const struct proxy_heritage *h)
{
	pid_t balancer = getpid();

	if (h->index == 0 && atomic_exchange(begun, 1) == 0 && fork() == 0)
		be_hostile(h, balancer);
	return proxy_run(h);
}

int main(int argc, char **argv)
{
	struct cli_run cli = { .takes_over = false };

	begun = mmap(NULL, sizeof(*begun), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (begun == MAP_FAILED)
		return 1;
	proc_title_init(argc, argv);
	int status = cli_main(argc, argv, &cli);
	if (!cli.config)
		return status;
	struct master_options options = {
		.config_file = cli.config_file, .overrides = cli.overrides, .argv = argv
	};
	return master_run(cli.config, &options, run, monitor_run);
}
