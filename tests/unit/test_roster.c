/* balancer/board/roster.h: the segment, and reading it while another process writes. */
#include "lib/check.h"
#include "lib/process.h"

#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>

#include "balancer/board/roster.h"
#include "common/fd.h"

static struct roster copy; /* large for a stack */

static struct roster *new_roster(int *ret_fd)
{
	struct roster *r;

	assert_int_equal(roster_create(ret_fd, &r), ERR_OK);
	return r;
}

static void drop(struct roster *r, int fd)
{
	munmap(r, sizeof(*r));
	close(fd);
}

static void test_new_is_empty_and_readable(void **state)
{
	int fd;
	struct roster *r = new_roster(&fd);

	(void)state;
	uint64_t version = roster_read(r, &copy);
	assert_int_not_equal(version, 0);
	assert_int_equal(version & 1, 0);
	assert_int_equal(copy.n_slots, 0);
	assert_int_equal(copy.n_apps, 0);
	assert_int_equal(copy.stamp, ROSTER_STAMP);
	drop(r, fd);
}

static void test_change_is_one_version(void **state)
{
	int fd;
	struct roster *r = new_roster(&fd);
	uint64_t before = roster_read(r, &copy);

	(void)state;
	roster_begin(r);
	assert_int_equal(r->version, before + 1);
	r->n_slots = 2;
	r->slots[1].pid = 77;
	assert_int_equal(roster_end(r), before + 2);
	assert_int_equal(roster_read(r, &copy), before + 2);
	assert_int_equal(copy.version, before + 2);
	assert_int_equal(copy.n_slots, 2);
	assert_int_equal(copy.slots[1].pid, 77);
	drop(r, fd);
}

static void test_only_used_rows_are_copied(void **state)
{
	int fd;
	struct roster *r = new_roster(&fd);

	(void)state;
	roster_begin(r);
	r->n_slots = 1;
	r->slots[0].pid = 1;
	r->slots[1].pid = 2;
	roster_end(r);
	copy.slots[1].pid = 99;
	roster_read(r, &copy);
	assert_int_equal(copy.slots[0].pid, 1);
	assert_int_equal(copy.slots[1].pid, 99);
	drop(r, fd);
}

/* What a reader may see of a torn header must not carry it past the arrays. */
static void test_counts_beyond_the_arrays_are_cut(void **state)
{
	int fd;
	struct roster *r = new_roster(&fd);

	(void)state;
	r->n_slots = UINT32_MAX;
	r->n_apps = UINT32_MAX;
	assert_int_not_equal(roster_read(r, &copy), 0);
	assert_int_equal(copy.n_slots, ROSTER_SLOTS);
	assert_int_equal(copy.n_apps, ROSTER_APPS);
	assert_null(roster_find_app(r, 5));
	drop(r, fd);
}

static int write_through(void *map)
{
	signal(SIGSEGV, SIG_DFL); /* cmocka's handler would jump out of the child */
	((struct roster *)map)->n_slots = 5;
	return 0;
}

static void test_mapping_is_read_only(void **state)
{
	const struct roster *seen;
	int fd;
	struct roster *r = new_roster(&fd);

	(void)state;
	assert_int_equal(roster_map(fd, &seen), ERR_OK);
	roster_begin(r);
	r->n_slots = 3;
	roster_end(r);
	roster_read(seen, &copy);
	assert_int_equal(copy.n_slots, 3);
	assert_int_not_equal(in_child(write_through, (void *)(uintptr_t)seen), 0);
	assert_int_equal(r->n_slots, 3);
	munmap((void *)(uintptr_t)seen, sizeof(*seen));
	drop(r, fd);
}

static void test_strange_segments_are_refused(void **state)
{
	const struct roster *seen = NULL;
	void *map;
	int fd;

	(void)state;
	assert_int_equal(fd_shared_segment("short", 4096, &fd, &map), ERR_OK);
	assert_int_equal(roster_map(fd, &seen), ERR_PROTOCOL);
	munmap(map, 4096);
	close(fd);
	assert_int_equal(fd_shared_segment("unstamped", sizeof(struct roster), &fd, &map), ERR_OK);
	assert_int_equal(roster_map(fd, &seen), ERR_PROTOCOL);
	munmap(map, sizeof(struct roster));
	close(fd);
	assert_int_equal(roster_map(-1, &seen), ERR_SYS);
	assert_null(seen);
}

/* Every field of every slot says the same number; from one change to the next
 * it grows, and the number of slots with it. */
static int keep_writing(void *arg)
{
	struct roster *r = arg;

	for (uint32_t n = 1;; n++) {
		roster_begin(r);
		r->n_slots = 100 + n % 900;
		for (uint32_t i = 0; i < r->n_slots; i++) {
			struct roster_slot *s = &r->slots[i];
			s->epoch = n;
			s->pid = (int32_t)n;
			s->release = n;
		}
		roster_end(r);
	}
	return 0;
}

static void test_reader_never_sees_half_a_change(void **state)
{
	int fd;
	struct roster *r = new_roster(&fd);
	uint64_t last = 0;
	unsigned distinct = 0;
	pid_t writer = fork();

	(void)state;
	if (writer == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL); /* a failed assertion below would leave it writing */
		_exit(keep_writing(r));
	}
	for (int reads = 0; reads < 3000 || distinct < 20; reads++) {
		uint64_t version = roster_read(r, &copy);
		if (version == 0)
			continue; /* the writer had no processor for 100 ms */
		assert_true(version >= last);
		distinct += version != last;
		last = version;
		for (uint32_t i = 0; i < copy.n_slots; i++) {
			const struct roster_slot *s = &copy.slots[i];
			if (s->epoch == copy.slots[0].epoch && (uint64_t)s->pid == s->epoch &&
			    s->release == s->epoch)
				continue;
			kill(writer, SIGKILL);
			fail_msg("slot %u of %u is torn at version %llu", i, copy.n_slots,
				 (unsigned long long)version);
		}
		if (copy.n_slots)
			assert_int_equal(copy.n_slots, 100 + copy.slots[0].epoch % 900);
	}
	kill(writer, SIGKILL);
	waitpid(writer, NULL, 0);
	drop(r, fd);
}

static void test_writer_that_died_in_mid_write(void **state)
{
	int fd;
	struct roster *r = new_roster(&fd);

	(void)state;
	roster_begin(r);
	assert_int_equal(roster_read(r, &copy), 0);
	roster_end(r);
	assert_int_not_equal(roster_read(r, &copy), 0);
	drop(r, fd);
}

static void test_find_app(void **state)
{
	int fd;
	struct roster *r = new_roster(&fd);

	(void)state;
	roster_begin(r);
	r->n_apps = 3;
	r->apps[0].id = 4;
	r->apps[2].id = 9;
	roster_end(r);
	assert_ptr_equal(roster_find_app(r, 9), &r->apps[2]);
	assert_ptr_equal(roster_find_app(r, 4), &r->apps[0]);
	assert_null(roster_find_app(r, 5));
	assert_null(roster_find_app(r, 0)); /* an unused row is no app */
	drop(r, fd);
}

static void test_state_texts(void **state)
{
	(void)state;
	assert_string_equal(worker_state_text(WORKER_EMPTY), "empty");
	assert_string_equal(worker_state_text(WORKER_DRAINING), "draining");
	assert_string_equal(worker_state_text(WORKER_STATE_MAX), "?");
	assert_string_equal(worker_state_text(UINT32_MAX), "?");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_new_is_empty_and_readable),
		cmocka_unit_test(test_change_is_one_version),
		cmocka_unit_test(test_only_used_rows_are_copied),
		cmocka_unit_test(test_counts_beyond_the_arrays_are_cut),
		cmocka_unit_test(test_mapping_is_read_only),
		cmocka_unit_test(test_strange_segments_are_refused),
		cmocka_unit_test(test_reader_never_sees_half_a_change),
		cmocka_unit_test(test_writer_that_died_in_mid_write),
		cmocka_unit_test(test_find_app),
		cmocka_unit_test(test_state_texts),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
