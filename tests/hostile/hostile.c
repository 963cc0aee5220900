/* drover with a balancer that an attacker owns.  All is the real program, but for the first
 * process that is started as balancer 0: beside the data path, which goes on serving, runs a
 * second task with everything that a balancer inherits (channel, listening sockets, tally row),
 * and outside of the filter of system calls.  When there is a file
 * $HOSTILE_GO, it does what $HOSTILE names, once. */
#include <errno.h>
#include <fcntl.h>
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
