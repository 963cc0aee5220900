/* How many connections each client address has open: a table per balancer, in its
 * tally row.  Its owner is the only writer; every balancer reads all of them, so that
 * a limit holds over all, however the kernel spreads connections.  What a process held
 * goes with its row.
 *
 *   key -> one bucket of PEERS_WAYS slots: no chains, nothing to clean up.
 *
 * Not uthash: its tables are pointers, which mean nothing to another process. */
#ifndef DROVER_BOARD_PEERS_H
#define DROVER_BOARD_PEERS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/addr.h"

#define PEERS_BUCKETS 4096
#define PEERS_WAYS 16 /* with 32,768 addresses a bucket overflows once in 4000 */

struct peers_slot {
	_Atomic uint64_t key; /* 0: never used */
	_Atomic uint64_t n;   /* 0: free for another key */
};

struct peers {
	struct peers_slot buckets[PEERS_BUCKETS][PEERS_WAYS];
};

/* The key of an address: of IPv4 all of it, of IPv6 its /64, which is what one client
 * gets; v4-mapped counts as IPv4.  No two have the same.  `seed` keeps outsiders from
 * choosing addresses that share a bucket.  0: a Unix socket, which has none. */
uint64_t peers_key(const struct addr *a, uint64_t seed);

/* Owner: one more, one less.  False: the bucket is full, and it is not counted. */
bool peers_enter(struct peers *t, uint64_t key);
void peers_leave(struct peers *t, uint64_t key);

uint64_t peers_count(const struct peers *t, uint64_t key);

/* All zero again; gives the memory back. */
void peers_clear(struct peers *t);

#endif
