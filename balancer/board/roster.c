/* The roster segment: creating, mapping, and the sequence lock around it.
 *
 * roster_begin/end run in the master alone; roster_map/read in anyone who
 * inherited the descriptor or the mapping.  Invariants: the version is even
 * between two changes and never 0; n_slots and n_apps never exceed the arrays,
 * and a reader clamps them all the same, because it may look in mid-write.
 */
#include "balancer/board/roster.h"

#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>

#include "common/fd.h"

#define SPINS_BEFORE_SLEEP 1000
#define SLEEP_NS 50000
#define GIVE_UP_NS 100000000

const char *worker_state_text(uint32_t state)
{
	static const char *const texts[WORKER_STATE_MAX] = {
#define WSTATE(name, text) [WORKER_##name] = text,
#include "balancer/board/worker_states.def"
#undef WSTATE
	};

	return state < WORKER_STATE_MAX ? texts[state] : "?";
}

enum err roster_create(int *ret_fd, struct roster **ret_roster)
{
	void *map;
	enum err e = fd_shared_segment("drover-roster", sizeof(struct roster), ret_fd, &map);

	if (e)
		return e;
	struct roster *r = map;
	r->stamp = ROSTER_STAMP;
	atomic_store_explicit(&r->version, 2, memory_order_release);
	*ret_roster = r;
	return ERR_OK;
}

static enum err map_segment(int fd, int protection, struct roster **ret_roster)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return ERR_SYS;
	if (st.st_size != (off_t)sizeof(struct roster))
		return ERR_PROTOCOL;
	struct roster *r = mmap(NULL, sizeof(*r), protection, MAP_SHARED, fd, 0);
	if (r == MAP_FAILED)
		return ERR_SYS;
	if (r->stamp != ROSTER_STAMP) {
		munmap(r, sizeof(*r));
		return ERR_PROTOCOL;
	}
	*ret_roster = r;
	return ERR_OK;
}

enum err roster_map(int fd, const struct roster **ret_roster)
{
	struct roster *r;
	int readonly = -1;

	/* Without /proc what is mapped could be made writable again, by who may call mprotect(2). */
	enum err e = fd_reopen_readonly(fd, &readonly);
	e = map_segment(e ? fd : readonly, PROT_READ, &r);
	fd_close(&readonly);
	if (!e)
		*ret_roster = r;
	return e;
}

enum err roster_map_writable(int fd, struct roster **ret_roster)
{
	enum err e = map_segment(fd, PROT_READ | PROT_WRITE, ret_roster);

	if (!e && (atomic_load_explicit(&(*ret_roster)->version, memory_order_relaxed) & 1))
		roster_end(*ret_roster);
	return e;
}

void roster_begin(struct roster *r)
{
	uint64_t v = atomic_load_explicit(&r->version, memory_order_relaxed);

	atomic_store_explicit(&r->version, v + 1, memory_order_relaxed);
	/* No write of the change may be seen before the odd version. */
	atomic_thread_fence(memory_order_release);
}

uint64_t roster_end(struct roster *r)
{
	uint64_t v = atomic_load_explicit(&r->version, memory_order_relaxed) + 1;

	atomic_store_explicit(&r->version, v, memory_order_release);
	return v;
}

static uint64_t monotonic_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* Copies the used rows; what it copied may be torn, the caller finds out. */
static void copy_used(const struct roster *r, struct roster *copy)
{
	copy->stamp = r->stamp;
	copy->n_slots = MIN(r->n_slots, ROSTER_SLOTS);
	copy->n_apps = MIN(r->n_apps, ROSTER_APPS);
	memcpy(copy->apps, r->apps, copy->n_apps * sizeof(copy->apps[0]));
	memcpy(copy->slots, r->slots, copy->n_slots * sizeof(copy->slots[0]));
}

uint64_t roster_read(const struct roster *r, struct roster *copy)
{
	uint64_t started_ns = 0;

	for (unsigned spins = 1;; spins++) {
		uint64_t before = atomic_load_explicit(&r->version, memory_order_acquire);
		if (!(before & 1)) {
			copy_used(r, copy);
			atomic_thread_fence(memory_order_acquire);
			if (atomic_load_explicit(&r->version, memory_order_relaxed) == before) {
				atomic_store_explicit(&copy->version, before, memory_order_relaxed);
				return before;
			}
		}
		if (spins % SPINS_BEFORE_SLEEP != 0)
			continue;
		/* The writer has lost its processor, or its life. */
		if (started_ns == 0)
			started_ns = monotonic_ns();
		else if (monotonic_ns() - started_ns > GIVE_UP_NS)
			return 0;
		nanosleep(&(struct timespec){ .tv_nsec = SLEEP_NS }, NULL);
	}
}

const struct roster_app *roster_find_app(const struct roster *r, uint32_t id)
{
	if (id == 0)
		return NULL;
	for (uint32_t i = 0; i < MIN(r->n_apps, ROSTER_APPS); i++)
		if (r->apps[i].id == id)
			return &r->apps[i];
	return NULL;
}
