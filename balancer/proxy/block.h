/* Pooled memory for bytes that could not be forwarded at once.
 *
 * A block is one run of bytes; a chain is a queue of blocks.  Blocks come in a
 * few sizes and return to a free list per size, so that steady traffic does not
 * allocate.  An idle connection owns none.
 */
#ifndef DROVER_PROXY_BLOCK_H
#define DROVER_PROXY_BLOCK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "common/base.h"
#include "common/err.h"
#include "common/slice.h"

enum block_class { BLOCK_SMALL = 0, BLOCK_MEDIUM, BLOCK_LARGE, BLOCK_CLASS_MAX };

#define BLOCK_LARGE_BYTES (160u * 1024) /* the largest single run that a block can hold */

struct block {
	struct block *next;
	uint32_t capacity;
	uint32_t class;      /* enum block_class */
	uint32_t start, end; /* bytes[start..end) are in use */
	char bytes[];
};

struct block_pool {
	struct block *spare[BLOCK_CLASS_MAX];
	uint32_t n_spare[BLOCK_CLASS_MAX];
	uint64_t bytes_lent; /* for tests and gauges: capacity handed out now */
};

void block_pool_init(struct block_pool *pool);
void block_pool_fini(struct block_pool *pool);

/* An empty block that holds at least `bytes`; NULL when out of memory or past
 * BLOCK_LARGE_BYTES.  The caller ends it with block_give_back(). */
MUST_CHECK struct block *block_take(struct block_pool *pool, size_t bytes);
void block_give_back(struct block_pool *pool, struct block *b); /* accepts NULL */

static inline size_t block_room(const struct block *b) { return b->capacity - b->end; }
static inline size_t block_used(const struct block *b) { return b->end - b->start; }
static inline struct slice block_slice(const struct block *b)
{
	return (struct slice){ b->bytes + b->start, block_used(b) };
}

/* Appends `s` to *b, taking or growing the block as needed; *b may be NULL. ERR_NOMEM, ERR_FULL. */
MUST_CHECK enum err block_append(struct block_pool *pool, struct block **b, struct slice s);

/* One pointer, since every connection has one and it is nearly always empty: the blocks are a
 * ring, behind the last one comes the first. */
struct chain {
	struct block *last; /* NULL: empty */
};

static inline void chain_init(struct chain *c)
{
	c->last = NULL;
}
static inline bool chain_empty(const struct chain *c) { return !c->last; }
size_t chain_bytes(const struct chain *c); /* goes through the blocks */

/* Copies `s` to the end.  ERR_NOMEM: nothing was added. */
MUST_CHECK enum err chain_append(struct chain *c, struct block_pool *pool, struct slice s);

/* Drops `n` bytes (<= chain_bytes()) from the front. */
void chain_consume(struct chain *c, struct block_pool *pool, size_t n);
void chain_clear(struct chain *c, struct block_pool *pool);

/* Describes up to `max` blocks from the front; returns how many. */
int chain_iov(const struct chain *c, struct iovec *iov, int max);

/* Copies all of it; returns where the copy ends. */
char *chain_copy(const struct chain *c, char *to);

#endif
