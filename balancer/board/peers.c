/* Connections by address.  Runs in balancers, and clears in the master; see peers.h. */
#include "balancer/board/peers.h"

#include <string.h>
#include <sys/mman.h>

static uint64_t get(const _Atomic uint64_t *p)
{
	return atomic_load_explicit(p, memory_order_relaxed);
}

static void put(_Atomic uint64_t *p, uint64_t v)
{
	atomic_store_explicit(p, v, memory_order_relaxed);
}

static uint64_t big_endian(const uint8_t *p, unsigned n)
{
	uint64_t v = 0;

	for (unsigned i = 0; i < n; i++)
		v = v << 8 | p[i];
	return v;
}

uint64_t peers_key(const struct addr *a, uint64_t seed)
{
	uint64_t z;

	if (a->sa.sa_family == AF_INET)
		/* As a /64 this is of 0000::/8, where nobody lives (RFC 4291 2.4). */
		z = 0xffffull << 32 | big_endian((const uint8_t *)&a->in.sin_addr, 4);
	else if (a->sa.sa_family != AF_INET6)
		return 0;
	else if (IN6_IS_ADDR_V4MAPPED(&a->in6.sin6_addr))
		z = 0xffffull << 32 | big_endian(a->in6.sin6_addr.s6_addr + 12, 4);
	else
		z = big_endian(a->in6.sin6_addr.s6_addr, 8);
	/* Each step can be undone, so different addresses stay different (splitmix64). */
	z = (z ^ seed) * 0x9e3779b97f4a7c15u + seed;
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	z ^= z >> 31;
	return z ? z : 1;
}

/* Where `key` stands in its bucket; PEERS_WAYS: nowhere. */
static unsigned find(const struct peers_slot *bucket, uint64_t key)
{
	unsigned i = 0;

	while (i < PEERS_WAYS && get(&bucket[i].key) != key)
		i++;
	return i;
}

bool peers_enter(struct peers *t, uint64_t key)
{
	struct peers_slot *bucket = t->buckets[key % PEERS_BUCKETS];
	unsigned i = find(bucket, key);

	if (i == PEERS_WAYS) {
		for (i = 0; i < PEERS_WAYS && get(&bucket[i].n); i++)
			;
		if (i == PEERS_WAYS)
			return false;
		put(&bucket[i].key, key);
	}
	put(&bucket[i].n, get(&bucket[i].n) + 1);
	return true;
}

void peers_leave(struct peers *t, uint64_t key)
{
	struct peers_slot *bucket = t->buckets[key % PEERS_BUCKETS];
	unsigned i = find(bucket, key);

	if (i < PEERS_WAYS && get(&bucket[i].n))
		put(&bucket[i].n, get(&bucket[i].n) - 1);
}

uint64_t peers_count(const struct peers *t, uint64_t key)
{
	const struct peers_slot *bucket = t->buckets[key % PEERS_BUCKETS];
	unsigned i = find(bucket, key);

	return i < PEERS_WAYS ? get(&bucket[i].n) : 0;
}

void peers_clear(struct peers *t)
{
	if (madvise(t, sizeof(*t), MADV_REMOVE) != 0)
		memset(t, 0, sizeof(*t));
}
