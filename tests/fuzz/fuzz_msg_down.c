/* What the master sends to a balancer: a real proxy without listeners, turn by turn.  A
 * balancer trusts the master; it must not break by what an older or newer one says.
 *
 * A model of a few lines says how far it drains and how often it acknowledges. */
#include <fcntl.h>
#include <unistd.h>

#include "balancer/proxy/loop.h"
#include "common/fd.h"
#include "common/log.h"
#include "fuzz/packets.h"
#include "lib/proxy_config.h"

static struct roster *roster;
static struct tally *tally;
static struct cfg_listen listen_on;
static struct config config = {
	PROXY_CONFIG,
	.listens = &listen_on,
	.n_listens = 1,
	.shutdown_soft_ms = 5000,
	.shutdown_hard_ms = 10000,
};

static void boot(void)
{
	int fd;

	if (roster)
		return;
	if (roster_create(&fd, &roster) || tally_create(&fd, &tally))
		abort();
	roster_begin(roster);
	roster_end(roster);
}

/* What the balancer is to do. */
struct model {
	unsigned drain, acks;
	bool orphaned;
	bool accepts;   /* though it drains: an address leaves with it */
	bool error_log; /* there is one now */
};

static void model_drain(struct model *m, unsigned level, bool leaves)
{
	if (level <= m->drain)
		return;
	m->drain = level;
	m->accepts = leaves && level == DRAIN_RELOAD;
}

static void model_hear(struct model *m, const struct packet *p)
{
	struct msg msg;

	if (m->orphaned)
		return;
	if (!packet_is_message(p, MSG_DOWN, &msg)) {
		/* As good as gone. */
		m->orphaned = true;
		model_drain(m, DRAIN_SHUTDOWN, false);
	} else if (msg.type == MSG_ROSTER) {
		m->acks++;
	} else if (msg.type == MSG_DRAIN && msg.drain.level < DRAIN_MAX) {
		model_drain(m, msg.drain.level, msg.drain.leaves);
	} else if (msg.type == MSG_REOPEN) {
		m->error_log |= msg.reopen.which == LOG_KIND_ERROR;
	}
}

/* READY and one ACK at the start, then one for each roster; one STOPPED. */
static void check_said(int master, const struct model *model)
{
	unsigned said[MSG_MAX] = { 0 };
	struct msg msg;
	int fd;
	enum err e;

	while ((e = msg_recv(master, MSG_UP, &msg, &fd)) == ERR_OK) {
		said[msg.type]++;
		FUZZ_CHECK(msg.type != MSG_ACK || msg.ack.version == atomic_load(&roster->version),
			   "acknowledged version %llu", (unsigned long long)msg.ack.version);
	}
	FUZZ_CHECK(e == ERR_AGAIN || e == ERR_CLOSED, "the balancer sent what a master refuses: %s",
		   err_text(e));
	FUZZ_CHECK(said[MSG_READY] == 1 && said[MSG_ACK] == 1 + model->acks &&
			   said[MSG_STOPPED] == (model->drain != DRAIN_NONE && !model->accepts),
		   "READY %u, ACK %u, STOPPED %u; %u rosters, drain %u", said[MSG_READY],
		   said[MSG_ACK], said[MSG_STOPPED], model->acks, model->drain);
}

/* Whether it goes on. */
static bool run(struct proxy *p, int master, const uint8_t *data, size_t n)
{
	struct model model = { 0 };
	struct packet packet;
	bool turning = n && data[n - 1] & 1, going = true;

	for (unsigned i = 0; going && i < PACKETS_MAX && packet_next(&data, &n, &packet); i++) {
		if (!packet_send(master, &packet))
			break;
		model_hear(&model, &packet);
		if (turning)
			going = proxy_turn(p, EVLOOP_NONBLOCK);
	}
	if (going)
		going = proxy_turn(p, EVLOOP_NONBLOCK);
	FUZZ_CHECK(p->drain == model.drain && p->orphaned == model.orphaned,
		   "drain %u, orphaned %d; not %u, %d", p->drain, p->orphaned, model.drain,
		   model.orphaned);
	FUZZ_CHECK(going == (model.drain == DRAIN_NONE || model.accepts), "it %s",
		   going ? "goes on" : "ends");
	FUZZ_CHECK(p->access_log.fd >= 0 && (log_fd() >= 0) == model.error_log, "logs %d, %d",
		   p->access_log.fd, log_fd());
	check_said(master, &model);
	return going;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	int channel[2];
	uint32_t row;

	boot();
	uint64_t before = open_fds();
	log_to_fd(-1);
	if (msg_pair(channel) || tally_claim(tally, &row))
		abort();
	struct proxy_heritage heritage = { .config = &config,
					   .roster = roster,
					   .row = &tally->rows[row],
					   .channel = channel[1],
					   .access_log_fd = open("/dev/null", O_WRONLY) };
	struct proxy *p = proxy_new(&heritage);
	proxy_start(p);
	bool going = run(p, channel[0], data, n);
	/* Every balancer drains before it ends: at the latest without a master. */
	close(channel[0]);
	while (going)
		going = proxy_turn(p, 0);
	proxy_stop(p);
	int log = log_fd();
	log_to_fd(-1);
	if (log >= 0)
		close(log);
	tally_retire(tally, row);
	FUZZ_CHECK(open_fds() == before, "a descriptor is left open");
	return 0;
}
