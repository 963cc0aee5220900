/* Who may connect.  Runs in the balancer; see admit.h.
 *
 * Refused connections are reset at once: an answer would need their request first, and
 * waiting for that is what the limit is against. */
#include "balancer/proxy/admit.h"

#include "balancer/proxy/client.h"
#include "common/log.h"

bool admit(struct proxy *p, const struct addr *peer, bool *ret_counted)
{
	uint32_t most = p->config->limit_per_client;
	const struct tally *t = p->heritage->tally;
	char host[ADDR_TEXT_MAX];

	*ret_counted = false;
	if (LIKELY(!most) || client_trusts(p, peer))
		return true;
	uint64_t key = peers_key(peer, t->seed);
	if (!key)
		return true;
	uint64_t open = tally_peers(t, key);
	if (open < most) {
		*ret_counted = peers_enter(&p->row->peers, key);
		return true;
	}
	tally_inc(p->row, COUNTER_connections_refused);
	struct addr_host who = addr_host_of(peer);
	addr_format_host(&who, host);
	if (complaint_may_write(p, COMPLAINT_CONNECTION))
		log_warn("%s has %llu connections open; one more is refused (limits.per_client)", host,
			 (unsigned long long)open);
	return false;
}

bool admit_inherited(struct proxy *p, const struct addr *peer)
{
	if (LIKELY(!p->config->limit_per_client) || client_trusts(p, peer))
		return false;
	uint64_t key = peers_key(peer, p->heritage->tally->seed);
	return key && peers_enter(&p->row->peers, key);
}

void admit_leave(struct proxy *p, const struct addr *peer)
{
	peers_leave(&p->row->peers, peers_key(peer, p->heritage->tally->seed));
}
