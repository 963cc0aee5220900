/* What a balancer sends to the master: the master's real handlers on a real channel, at
 * whose other end stands whoever took the balancer over.  No process is started (child.h).
 *
 * The same packets go through a model of a few lines: what it believes of the balancer,
 * and whether it ends it, has to be what the master does; no signal goes to another process,
 * none is started, the roster says what it said, and no descriptor stays. */
#include <string.h>
#include <unistd.h>

#include "balancer/master/balancer_proc.h"
#include "balancer/master/core.h"
#include "balancer/master/generation.h"
#include "common/fd.h"
#include "common/log.h"
#include "common/mem.h"
#include "fuzz/child.h"
#include "fuzz/packets.h"

#define ACKS_OVER_MAX 16 /* as the master has it */

/* Flags of a packet. */
enum {
	FLAG_ROSTER = 1, /* the roster changes before it */
	FLAG_NEWEST = 2, /* its version counts back from the newest: 0 is a good ACK */
};

static struct master master;
static struct config config;
static struct config_ref config_ref = { .cfg = &config };
static struct roster *roster; /* as the master has published it last */

static void boot(void)
{
	if (master.base)
		return;
	log_to_fd(-1);
	master.base = event_base_new();
	if (!master.base || event_base_priority_init(master.base, 2) || slots_init(&master.slots) ||
	    tally_create(&master.tally_fd, &master.tally))
		abort();
	master.logs.error_fd = master.logs.access_fd = -1;
	list_init(&master.generations);
	list_init(&master.listeners);
	list_init(&master.apps);
	list_init(&master.buried);
	roster = mem_must_alloc(sizeof(*roster));
}

/* What the master is to believe. */
struct model {
	uint64_t newest, acked;
	int acks_over;
	bool foreign, draining, ready, stopped, killed, closed;
};

static void model_hear(struct model *m, const struct packet *p)
{
	struct msg msg;
	bool good = packet_is_message(p, MSG_UP, &msg);

	if (m->killed || m->closed)
		return;
	if (p->n == 0 && p->n_fds == 0) {
		m->closed = true; /* looks like the end */
		return;
	}
	if (good && msg.type == MSG_ACK && m->foreign) {
		good = ++m->acks_over <= ACKS_OVER_MAX;
	} else if (good && msg.type == MSG_ACK) {
		good = ++m->acks_over <= ACKS_OVER_MAX && !(msg.ack.version & 1) && msg.ack.version <= m->newest &&
		       msg.ack.version >= m->acked;
		if (good)
			m->acked = msg.ack.version;
	} else if (good && msg.type == MSG_READY) {
		good = !m->ready;
		m->ready = true;
	} else if (good && msg.type == MSG_STOPPED) {
		good = m->draining && !m->stopped;
		m->stopped |= good;
	} else {
		good = false; /* only the monitor asks */
	}
	m->killed = !good;
}

/* A version more, and all balancers are told. */
static void change_roster(struct model *model)
{
	uint32_t slot;

	if (slots_take(&master.slots, master.tally, &slot) == ERR_OK)
		slots_release(&master.slots, slot);
	master_publish(&master);
	balancers_tell_roster(&master);
	model->newest = slots_version(&master.slots);
	memcpy(roster, master.slots.shared, sizeof(*roster));
	model->acks_over -= !model->foreign;
}

static void put_newest(struct packet *p, const struct model *model, struct msg *ret_msg)
{
	if (p->n != sizeof(*ret_msg))
		return;
	memcpy(ret_msg, p->bytes, sizeof(*ret_msg));
	ret_msg->ack.version = model->newest - ret_msg->ack.version;
	p->bytes = (const uint8_t *)ret_msg;
}

/* Everything that the master sent makes sense to a balancer. */
static void check_told(void)
{
	struct msg msg;
	int fd;
	enum err e;

	while ((e = msg_recv(child_peer, MSG_DOWN, &msg, &fd)) == ERR_OK) {
		if (fd >= 0)
			fd_close(&fd);
		FUZZ_CHECK(msg.type != MSG_ROSTER ||
				   msg.roster.version <= slots_version(&master.slots),
			   "told of roster version %llu", (unsigned long long)msg.roster.version);
	}
	FUZZ_CHECK(e == ERR_AGAIN, "the master sent what a balancer refuses: %s", err_text(e));
}

static void turn(void)
{
	for (int i = 0; i < 3; i++)
		if (event_base_loop(master.base, EVLOOP_NONBLOCK) < 0)
			abort();
	check_told();
}

/* One that owes something, or has hung up, does not live for ever. */
static void check_patience(struct balancer *b, const struct model *model)
{
	bool owes = model->closed || (!model->foreign && model->acked < model->newest);

	FUZZ_CHECK(model->killed || (b->behind_since_us != 0) == owes, "it owes something: %d, not %d",
		   b->behind_since_us != 0, owes);
	balancers_kill_hung(&master);
	FUZZ_CHECK(child_kills == model->killed, "it is killed before its time");
	if (!owes)
		return;
	b->behind_since_us = 1; /* as long as the machine runs */
	balancers_kill_hung(&master);
	FUZZ_CHECK(child_kills == 1, "one that hangs is let live, or killed twice");
}

static void run(struct generation *g, bool foreign, const uint8_t *data, size_t n)
{
	struct balancer other = { .generation = g, .pid = 0, .channel = -1 };
	struct model model = { 0 };
	struct packet packet;
	struct msg newest;
	bool turning = n && data[n - 1] & 1;

	list_push_back(&g->balancers, &other.link); /* never ready, never stopped */
	if (balancer_start(g, 0, NULL))
		FUZZ_FAIL("the balancer cannot be started");
	struct balancer *b = list_entry(list_first(&g->balancers)->next, struct balancer, link);
	model.newest = model.acked = slots_version(&master.slots);
	memcpy(roster, master.slots.shared, sizeof(*roster));
	model.draining = g->drain != DRAIN_NONE;
	model.foreign = b->foreign = foreign;
	for (unsigned i = 0; i < PACKETS_MAX && packet_next(&data, &n, &packet); i++) {
		if (packet.flags & FLAG_ROSTER) {
			turn(); /* what was sent before is judged by the version before */
			change_roster(&model);
		}
		if (packet.flags & FLAG_NEWEST)
			put_newest(&packet, &model, &newest);
		if (!packet_send(child_peer, &packet))
			break;
		model_hear(&model, &packet);
		if (turning)
			turn();
	}
	turn();
	FUZZ_CHECK(b->acked == model.acked && b->ready == model.ready && b->stopped == model.stopped,
		   "acked %llu ready %d stopped %d, not %llu %d %d", (unsigned long long)b->acked,
		   b->ready, b->stopped, (unsigned long long)model.acked, model.ready, model.stopped);
	FUZZ_CHECK(child_kills == model.killed && b->killed == model.killed, "%u signals sent, not %d",
		   child_kills, model.killed);
	FUZZ_CHECK(child_forks == 1, "%u processes were started", child_forks - 1);
	FUZZ_CHECK(slots_version(&master.slots) == model.newest &&
			   memcmp(master.slots.shared, roster, sizeof(*roster)) == 0,
		   "the roster is not what the master made it");
	FUZZ_CHECK(balancers_follow(&master, model.newest) == (!foreign && model.acked >= model.newest),
		   "the master counts on an acknowledgement that did not come");
	check_patience(b, &model);
	b->foreign = false; /* its row is one of this board */
	balancer_free(b);
	list_remove(&b->link);
	mem_free(b);
	list_remove(&other.link);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	static const enum generation_state states[] = { GENERATION_LOADING, GENERATION_SERVING,
							GENERATION_DRAINING, GENERATION_READY };

	boot();
	if (n-- < 1)
		return 0;
	uint64_t before = open_fds();
	bool foreign = *data & 4;
	enum generation_state state = states[*data++ & 3];
	struct generation g = {
		.m = &master, .number = 1, .state = state, .config = &config_ref, .accepting = true,
		.drain = state == GENERATION_DRAINING ? DRAIN_RELOAD : DRAIN_NONE,
	};
	list_init(&g.balancers);
	list_push_back(&master.generations, &g.link);
	child_kills = child_forks = 0;
	run(&g, foreign, data, n);
	FUZZ_CHECK(g.state == state && g.accepting, "the generation went on");
	list_remove(&g.link);
	close(child_peer);
	FUZZ_CHECK(open_fds() == before, "a descriptor is left open");
	return 0;
}
