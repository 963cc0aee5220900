/* A balancer's first steps, in the forked child: what it must not have is shed
 * before the first byte from a network is read.
 *
 * The master's memory is ours too now (copied on write) and is never used
 * again, except the configuration; the master's event base least of all: its
 * epoll descriptor is shared with the parent.
 */
#include "balancer/master/balancer_child.h"

#include <fcntl.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "balancer/heritage.h"
#include "balancer/master/child.h"
#include "balancer/master/core.h"
#include "balancer/master/generation.h"
#include "balancer/master/listener.h"
#include "common/contract.h"
#include "common/fd.h"
#include "common/log.h"
#include "common/mem.h"

struct sockets {
	int *fds;
	uint32_t *of; /* index into config->listens */
	size_t n;
};

/* Whether socket `k` of `n` is balancer `index`'s of `balancers`.  More sockets than
 * balancers (the number was lowered): the surplus is shared out.  Fewer (a Unix socket,
 * or inherited ones): each socket has several balancers. */
static bool is_share(size_t k, size_t n, uint32_t index, uint32_t balancers)
{
	return n < balancers ? index % n == k : k % balancers == index;
}

/* Its share of the sockets of each address. */
static struct sockets take_listeners(const struct generation *g, uint32_t index)
{
	const struct config *cfg = g->config->cfg;
	struct sockets s = { .n = 0 };
	size_t most = 0;

	for (size_t i = 0; i < cfg->n_listens; i++)
		most += g->listeners[i]->n_fds;
	s.fds = mem_must_alloc(most * sizeof(*s.fds));
	s.of = mem_must_alloc(most * sizeof(*s.of));
	for (size_t i = 0; i < cfg->n_listens; i++) {
		const struct listener *l = g->listeners[i];
		for (size_t k = 0; k < l->n_fds; k++) {
			if (!is_share(k, l->n_fds, index, cfg->balancers))
				continue;
			s.fds[s.n] = l->fds[k];
			s.of[s.n++] = (uint32_t)i;
		}
	}
	return s;
}

/* Returns the access log. */
static int take_logs(const struct master *m, const struct generation *g)
{
	if (!g->logs)
		return m->logs.access_fd;
	log_to_fd(g->logs->error_fd);
	log_set_level((enum log_level)g->config->cfg->log_level);
	return g->logs->access_fd;
}

static void keep_only(const struct master *m, const struct sockets *s, int channel, int access_fd)
{
	size_t n = 0;
	int *keep = mem_must_alloc((s->n + 4) * sizeof(*keep));

	for (size_t i = 0; i < s->n; i++)
		keep[n++] = s->fds[i];
	keep[n++] = channel;
	keep[n++] = access_fd;
	keep[n++] = log_fd();
	keep[n++] = warden_balancer_fd(&m->warden);
	fd_close_all_but(keep, n);
	mem_free(keep);
}

void balancer_child(struct master *m, struct generation *g, uint32_t index, uint32_t row,
		    int channel)
{
	char name[32];

	child_obeys_its_channel();
	snprintf(name, sizeof(name), "balancer %u", index);
	log_ident(name);
	proc_title("drover: %s of %s", name, m->name);
	struct sockets s = take_listeners(g, index);
	const struct roster *roster = child_take_board(m, row);
	int access_fd = take_logs(m, g);
	keep_only(m, &s, channel, access_fd);
	child_stdin_from_null();
	int schedstat_fd = open("/proc/self/schedstat", O_RDONLY | O_CLOEXEC);
	child_enter_sandbox(SANDBOX_BALANCER, &g->user, g->config->cfg);
	struct proxy_heritage h = {
		.config = g->config->cfg,
		.roster = roster,
		.tally = m->tally,
		.row = &m->tally->rows[row],
		.channel = channel,
		.listeners = s.fds,
		.listener_of = s.of,
		.n_listeners = s.n,
		.access_log_fd = access_fd,
		.schedstat_fd = schedstat_fd,
		.sockets_max = generation_sockets_max(g),
		.index = index,
		.seal = child_seal,
	};
	int status = m->balancer_main(&h);
	mem_free(s.fds);
	mem_free(s.of);
	child_leave(status);
}
