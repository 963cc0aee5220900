/* Channels between balancers, over which client connections go from a generation that drains
 * to the one that serves; in the master.  What goes over them it never sees.
 *
 *   balancer that drains ◄─ HAND_OVER ── master ── TAKE_OVER ─► balancer that serves
 *             └──────────────── connections ──────────────────────────▲
 *
 * Only an offer: where a channel cannot be made, or its taker dies, connections end where they
 * are, as they did before there were channels.  So nothing here is tried twice, and
 * nothing of it has to cross an upgrade.
 */
#include "balancer/master/handover.h"

#include <string.h>

#include "balancer/heritage.h"
#include "balancer/master/balancer_proc.h"
#include "balancer/master/core.h"
#include "balancer/master/generation.h"
#include "common/fd.h"
#include "common/log.h"

static bool takes(const struct balancer *b)
{
	return b->pid && b->channel >= 0 && b->ready && b->handover == HANDOVER_FORM;
}

static struct balancer *nth_taker(const struct generation *g, uint32_t n)
{
	list_each (it, &g->balancers) {
		struct balancer *b = list_entry(it, struct balancer, link);
		if (takes(b) && n-- == 0)
			return b;
	}
	return NULL;
}

static uint32_t count_takers(const struct generation *g)
{
	uint32_t n = 0;

	list_each (it, &g->balancers)
		n += takes(list_entry(it, struct balancer, link));
	return n;
}

/* One that cannot give gets no channel; what is sent is all or nothing but for a dying taker. */
static void connect_pair(const struct balancer *giver, const struct balancer *taker)
{
	const struct msg give = { .type = MSG_HAND_OVER }, take = { .type = MSG_TAKE_OVER };
	int pair[2];
	enum err e;

	if (!giver->pid || giver->channel < 0 || giver->handover != HANDOVER_FORM)
		return;
	e = msg_pair(pair);
	if (e) {
		log_warn("connections of balancer %u (pid %d) end with it: %s", giver->index,
			 (int)giver->pid, err_text(e));
		return;
	}
	if (msg_send(taker->channel, &take, pair[1]) == ERR_OK)
		(void)!msg_send(giver->channel, &give, pair[0]);
	fd_close(&pair[0]);
	fd_close(&pair[1]);
}

static bool gives(const struct generation *g, const struct generation *to)
{
	return g != to && g->state <= GENERATION_DRAINING && g->drain <= DRAIN_RELOAD;
}

void handover_from(const struct generation *from, const struct generation *to)
{
	uint32_t n = to ? count_takers(to) : 0, i = 0;

	if (n == 0 || !gives(from, to))
		return;
	/* Others that drain as well do not all begin with the same one. */
	list_each (it, &from->balancers)
		connect_pair(list_entry(it, struct balancer, link),
			     nth_taker(to, (from->number + i++) % n));
}

void handover_to(struct master *m, const struct generation *to)
{
	list_each (it, &m->generations)
		handover_from(list_entry(it, struct generation, link), to);
}

void handover_to_successor(struct master *m, const struct balancer *b)
{
	uint32_t n = b->generation->config->cfg->balancers;

	list_each (it, &m->generations) {
		const struct generation *g = list_entry(it, struct generation, link);
		uint32_t i = 0;
		if (g->state != GENERATION_DRAINING || !gives(g, b->generation))
			continue;
		list_each (at, &g->balancers) {
			if (n && (g->number + i++) % n == b->index)
				connect_pair(list_entry(at, struct balancer, link), b);
		}
	}
}
