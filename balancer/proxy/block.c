/* Blocks and chains.  Runs in the balancer; see block.h. */
#include "balancer/proxy/block.h"

#include <assert.h>
#include <string.h>

#include "common/mem.h"

/* One row per class: a head with its additions, a large head, a whole read. */
static const struct {
	uint32_t capacity;
	uint32_t keep; /* spares kept; the rest goes back to the allocator */
} class_table[BLOCK_CLASS_MAX] = {
	[BLOCK_SMALL] = { 2048 - sizeof(struct block), 1024 },
	[BLOCK_MEDIUM] = { 24 * 1024, 64 },
	[BLOCK_LARGE] = { BLOCK_LARGE_BYTES, 8 },
};

void block_pool_init(struct block_pool *pool)
{
	memset(pool, 0, sizeof(*pool));
}

void block_pool_fini(struct block_pool *pool)
{
	assert(pool->bytes_lent == 0);
	for (int i = 0; i < BLOCK_CLASS_MAX; i++) {
		while (pool->spare[i]) {
			struct block *b = pool->spare[i];
			pool->spare[i] = b->next;
			mem_free(b);
		}
	}
}

struct block *block_take(struct block_pool *pool, size_t bytes)
{
	uint32_t class = BLOCK_SMALL;
	while (class < BLOCK_CLASS_MAX && class_table[class].capacity < bytes)
		class++;
	if (class == BLOCK_CLASS_MAX)
		return NULL;
	struct block *b = pool->spare[class];
	if (b) {
		pool->spare[class] = b->next;
		pool->n_spare[class]--;
	} else {
		b = mem_alloc(sizeof(*b) + class_table[class].capacity);
		if (!b)
			return NULL;
		b->capacity = class_table[class].capacity;
		b->class = class;
	}
	b->next = NULL;
	b->start = b->end = 0;
	pool->bytes_lent += b->capacity;
	return b;
}

void block_give_back(struct block_pool *pool, struct block *b)
{
	if (!b)
		return;
	pool->bytes_lent -= b->capacity;
	if (pool->n_spare[b->class] >= class_table[b->class].keep) {
		mem_free(b);
		return;
	}
	b->next = pool->spare[b->class];
	pool->spare[b->class] = b;
	pool->n_spare[b->class]++;
}

enum err block_append(struct block_pool *pool, struct block **b, struct slice s)
{
	struct block *old = *b;
	size_t used = old ? block_used(old) : 0;
	if (!old || block_room(old) < s.n) {
		if (used + s.n > BLOCK_LARGE_BYTES)
			return ERR_FULL;
		struct block *grown = block_take(pool, used + s.n);
		if (!grown)
			return ERR_NOMEM;
		if (used)
			memcpy(grown->bytes, old->bytes + old->start, used);
		grown->end = (uint32_t)used;
		block_give_back(pool, old);
		*b = grown;
	}
	memcpy((*b)->bytes + (*b)->end, s.p, s.n);
	(*b)->end += (uint32_t)s.n;
	return ERR_OK;
}

/* ---- chains ---- */

static struct block *first_of(const struct chain *c)
{
	return c->last ? c->last->next : NULL;
}

/* The block behind `b`; NULL: it is the last one. */
static struct block *next_of(const struct chain *c, const struct block *b)
{
	return b == c->last ? NULL : b->next;
}

enum err chain_append(struct chain *c, struct block_pool *pool, struct slice s)
{
	size_t fits = c->last ? MIN(block_room(c->last), s.n) : 0;
	struct block *tail = NULL;
	if (fits < s.n) {
		tail = block_take(pool, s.n - fits);
		if (!tail)
			return ERR_NOMEM;
	}
	if (fits) {
		memcpy(c->last->bytes + c->last->end, s.p, fits);
		c->last->end += (uint32_t)fits;
	}
	if (tail) {
		memcpy(tail->bytes, s.p + fits, s.n - fits);
		tail->end = (uint32_t)(s.n - fits);
		tail->next = c->last ? c->last->next : tail;
		if (c->last)
			c->last->next = tail;
		c->last = tail;
	}
	return ERR_OK;
}

void chain_consume(struct chain *c, struct block_pool *pool, size_t n)
{
	while (n) {
		struct block *b = first_of(c);
		assert(b);
		size_t piece = MIN(n, block_used(b));
		b->start += (uint32_t)piece;
		n -= piece;
		if (block_used(b))
			return;
		if (b == c->last)
			c->last = NULL;
		else
			c->last->next = b->next;
		block_give_back(pool, b);
	}
}

void chain_clear(struct chain *c, struct block_pool *pool)
{
	chain_consume(c, pool, chain_bytes(c));
}

size_t chain_bytes(const struct chain *c)
{
	size_t n = 0;
	for (struct block *b = first_of(c); b; b = next_of(c, b))
		n += block_used(b);
	return n;
}

int chain_iov(const struct chain *c, struct iovec *iov, int max)
{
	int n = 0;
	for (struct block *b = first_of(c); b && n < max; b = next_of(c, b)) {
		iov[n].iov_base = b->bytes + b->start;
		iov[n].iov_len = block_used(b);
		n++;
	}
	return n;
}

char *chain_copy(const struct chain *c, char *to)
{
	for (struct block *b = first_of(c); b; b = next_of(c, b)) {
		memcpy(to, b->bytes + b->start, block_used(b));
		to += block_used(b);
	}
	return to;
}
