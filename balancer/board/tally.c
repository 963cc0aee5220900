/* The tally segment: rows for balancers, folding them, summing over them.
 *
 * claim and retire run in the master alone; the sums in anyone.  Invariant: a
 * row is written by the process it was claimed for, and by the master only while
 * that process does not live.
 */
#include "balancer/board/tally.h"

#include <errno.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>

#include "common/fd.h"

const struct counter_info counter_table[COUNTER_MAX] = {
#define COUNTER(n, k, u, h) \
	[COUNTER_##n] = { .name = #n, .unit = u, .help = h, .kind = COUNTER_KIND_##k },
#include "balancer/board/counters.def"
#undef COUNTER
};

static uint64_t get64(const _Atomic uint64_t *p)
{
	return atomic_load_explicit(p, memory_order_relaxed);
}

static void put64(_Atomic uint64_t *p, uint64_t v)
{
	atomic_store_explicit(p, v, memory_order_relaxed);
}

static uint32_t rows_ever_used(const struct tally *t)
{
	uint32_t n = atomic_load_explicit(&t->n_rows, memory_order_acquire);

	return MIN(n, TALLY_ROWS);
}

static bool row_used(const struct tally_row *row)
{
	return atomic_load_explicit(&row->used, memory_order_acquire) != 0;
}

enum err tally_create(int *ret_fd, struct tally **ret_tally)
{
	void *map;
	enum err e = fd_shared_segment("drover-tally", sizeof(struct tally), ret_fd, &map);

	if (e)
		return e;
	*ret_tally = map;
	(*ret_tally)->stamp = TALLY_STAMP;
	if (getrandom(&(*ret_tally)->seed, sizeof((*ret_tally)->seed), 0) !=
	    (ssize_t)sizeof((*ret_tally)->seed))
		goto no_seed;
	return ERR_OK;
no_seed:
	munmap(map, sizeof(struct tally));
	fd_close(ret_fd);
	return ERR_SYS;
}

enum err tally_map(int fd, struct tally **ret_tally)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return ERR_SYS;
	if (st.st_size != (off_t)sizeof(struct tally))
		return ERR_PROTOCOL;
	struct tally *t = mmap(NULL, sizeof(*t), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (t == MAP_FAILED)
		return ERR_SYS;
	if (t->stamp != TALLY_STAMP) {
		munmap(t, sizeof(*t));
		return ERR_PROTOCOL;
	}
	*ret_tally = t;
	return ERR_OK;
}

/* In the place of what is mapped there, which pointers into it then name. */
static enum err map_over(void *at, size_t bytes, int protection, int fd, size_t offset)
{
	void *map = mmap(at, bytes, protection, MAP_SHARED | MAP_FIXED, fd, (off_t)offset);

	return map == MAP_FAILED ? ERR_SYS : ERR_OK;
}

enum err tally_shed(struct tally *t, int fd, uint32_t own)
{
	struct tally_row *row = own < TALLY_ROWS ? &t->rows[own] : NULL;
	int readonly;

	if (fd_reopen_readonly(fd, &readonly)) {
		if (mprotect(t, sizeof(*t), PROT_READ) ||
		    (row && mprotect(row, sizeof(*row), PROT_READ | PROT_WRITE)))
			return ERR_SYS;
		return ERR_OK;
	}
	enum err e = map_over(t, sizeof(*t), PROT_READ, readonly, 0);
	fd_close(&readonly);
	if (!e && row)
		e = map_over(row, sizeof(*row), PROT_READ | PROT_WRITE, fd,
			     (size_t)((char *)row - (char *)t));
	if (e && errno == EINVAL) /* pages larger than a row's alignment */
		e = map_over(t, sizeof(*t), PROT_READ | PROT_WRITE, fd, 0);
	return e;
}

static void zero_row(struct tally_row *row)
{
	peers_clear(&row->peers);
	atomic_store_explicit(&row->pid, 0, memory_order_relaxed);
	for (size_t c = 0; c < COUNTER_MAX; c++)
		put64(&row->counters[c], 0);
	for (size_t side = 0; side < TALLY_SIDE_MAX; side++)
		for (size_t rule = 0; rule < HTTP_RULE_MAX; rule++)
			put64(&row->refusals[side][rule], 0);
	for (size_t s = 0; s < ROSTER_SLOTS; s++) {
		atomic_store_explicit(&row->workers[s].in_flight, 0, memory_order_relaxed);
		atomic_store_explicit(&row->workers[s].tunnels, 0, memory_order_relaxed);
		atomic_store_explicit(&row->workers[s].timeouts, 0, memory_order_relaxed);
		put64(&row->workers[s].requests, 0);
		put64(&row->workers[s].replies, 0);
	}
}

enum err tally_claim(struct tally *t, uint32_t *ret_row)
{
	uint32_t n = rows_ever_used(t);

	for (uint32_t i = 0; i < TALLY_ROWS; i++) {
		if (i < n && atomic_load_explicit(&t->claimed[i], memory_order_relaxed))
			continue;
		atomic_store_explicit(&t->claimed[i], 1, memory_order_relaxed);
		zero_row(&t->rows[i]);
		atomic_store_explicit(&t->rows[i].used, 1, memory_order_release);
		if (i >= n)
			atomic_store_explicit(&t->n_rows, i + 1, memory_order_release);
		*ret_row = i;
		return ERR_OK;
	}
	return ERR_FULL;
}

void tally_retire(struct tally *t, uint32_t row)
{
	if (row >= TALLY_ROWS || !atomic_load_explicit(&t->claimed[row], memory_order_relaxed))
		return;
	atomic_store_explicit(&t->claimed[row], 0, memory_order_relaxed);
	struct tally_row *from = &t->rows[row], *to = &t->retired;

	/* First out of the sums, then into them: a reader may miss for a moment
	 * what this row had counted, but never sees it twice. */
	atomic_store_explicit(&from->used, 0, memory_order_release);
	for (size_t c = 0; c < COUNTER_MAX; c++)
		if (counter_table[c].kind == COUNTER_KIND_SUM)
			put64(&to->counters[c], get64(&to->counters[c]) + get64(&from->counters[c]));
	for (size_t side = 0; side < TALLY_SIDE_MAX; side++)
		for (size_t rule = 0; rule < HTTP_RULE_MAX; rule++)
			put64(&to->refusals[side][rule],
			      get64(&to->refusals[side][rule]) + get64(&from->refusals[side][rule]));
	for (size_t s = 0; s < ROSTER_SLOTS; s++) {
		uint64_t n = get64(&from->workers[s].requests);
		if (n)
			put64(&to->workers[s].requests, get64(&to->workers[s].requests) + n);
	}
}

uint64_t tally_total(const struct tally *t, enum counter c)
{
	if ((unsigned)c >= COUNTER_MAX)
		return 0;
	uint64_t sum = get64(&t->retired.counters[c]); /* of gauges always 0 */
	uint32_t n = rows_ever_used(t);

	for (uint32_t i = 0; i < n; i++)
		if (row_used(&t->rows[i]))
			sum += get64(&t->rows[i].counters[c]);
	return sum;
}

uint64_t tally_refusals(const struct tally *t, enum tally_side side, enum http_rule rule)
{
	if ((unsigned)side >= TALLY_SIDE_MAX || (unsigned)rule >= HTTP_RULE_MAX)
		return 0;
	uint64_t sum = get64(&t->retired.refusals[side][rule]);
	uint32_t n = rows_ever_used(t);

	for (uint32_t i = 0; i < n; i++)
		if (row_used(&t->rows[i]))
			sum += get64(&t->rows[i].refusals[side][rule]);
	return sum;
}

uint64_t tally_requests(const struct tally *t, uint32_t slot)
{
	uint32_t n = rows_ever_used(t);

	if (slot >= ROSTER_SLOTS)
		return 0;
	uint64_t sum = get64(&t->retired.workers[slot].requests);
	for (uint32_t i = 0; i < n; i++)
		if (row_used(&t->rows[i]))
			sum += get64(&t->rows[i].workers[slot].requests);
	return sum;
}

uint64_t tally_replies(const struct tally *t, uint32_t slot)
{
	uint64_t sum = 0;
	uint32_t n = slot < ROSTER_SLOTS ? rows_ever_used(t) : 0;

	for (uint32_t i = 0; i < n; i++)
		if (row_used(&t->rows[i]))
			sum += get64(&t->rows[i].workers[slot].replies);
	return sum;
}

uint64_t tally_timeouts(const struct tally *t, uint32_t slot)
{
	uint64_t sum = 0;
	uint32_t n = slot < ROSTER_SLOTS ? rows_ever_used(t) : 0;

	for (uint32_t i = 0; i < n; i++)
		if (row_used(&t->rows[i]))
			sum += atomic_load_explicit(&t->rows[i].workers[slot].timeouts,
						    memory_order_relaxed);
	return sum;
}

uint64_t tally_peers(const struct tally *t, uint64_t key)
{
	uint64_t sum = 0;
	uint32_t n = rows_ever_used(t);

	for (uint32_t i = 0; i < n; i++)
		if (row_used(&t->rows[i]))
			sum += peers_count(&t->rows[i].peers, key);
	return sum;
}

/* A tunnel that goes from one balancer to another is counted there before it is counted out
 * here, but the rows are not read at one moment: a sum of none is believed when the rows
 * say so in the opposite order too. */
uint32_t tally_in_flight(const struct tally *t, uint32_t slot)
{
	uint32_t n = rows_ever_used(t);
	uint64_t sum = 0; /* of at most TALLY_ROWS numbers, of which none can hide another */

	if (slot >= ROSTER_SLOTS)
		return 0;
	for (uint32_t i = 0; i < n; i++)
		if (row_used(&t->rows[i]))
			sum += atomic_load_explicit(&t->rows[i].workers[slot].in_flight,
						    memory_order_acquire);
	for (uint32_t i = n; sum == 0 && i-- > 0;)
		if (row_used(&t->rows[i]))
			sum += atomic_load_explicit(&t->rows[i].workers[slot].in_flight,
						    memory_order_acquire);
	return (uint32_t)MIN(sum, (uint64_t)UINT32_MAX);
}

uint32_t tally_tunnels(const struct tally *t, uint32_t slot)
{
	uint32_t n = slot < ROSTER_SLOTS ? rows_ever_used(t) : 0;
	uint64_t sum = 0;

	for (uint32_t i = 0; i < n; i++)
		if (row_used(&t->rows[i]))
			sum += atomic_load_explicit(&t->rows[i].workers[slot].tunnels,
						    memory_order_relaxed);
	return (uint32_t)MIN(sum, (uint64_t)UINT32_MAX);
}
