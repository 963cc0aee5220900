/* The form of a state: what is written is read back; what is unknown, missing or broken. */
#include "lib/check.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "balancer/master/state_in.h"
#include "balancer/master/state_out.h"
#include "common/fd.h"
#include "common/mem.h"
#include "lib/process.h"

struct thing {
	uint32_t u32;
	uint64_t u64;
	int32_t i32;
	bool flag;
	int fd;
	char text[8];
	struct addr where;
};

static const struct state_field fields[] = {
	STATE_FIELD(struct thing, U32, u32),    STATE_FIELD(struct thing, U64, u64),
	STATE_FIELD(struct thing, I32, i32),    STATE_FIELD(struct thing, BOOL, flag),
	STATE_FIELD(struct thing, FD, fd),      STATE_FIELD(struct thing, TEXT, text),
	STATE_FIELD(struct thing, ADDR, where),
};

static int memfd_of(const char *p, size_t n)
{
	int fd = memfd_create("test", MFD_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, p, n), n);
	return fd;
}

static enum err read_bytes(const char *p, size_t n, struct state_in *in)
{
	int fd = memfd_of(p, n);
	enum err e = state_in_init(in, fd, false);

	close(fd);
	return e;
}

static enum err read_text(const char *text)
{
	struct state_in in;
	enum err e = read_bytes(text, strlen(text), &in);

	state_in_fini(&in);
	return e;
}

static void test_round_trip(void **state)
{
	struct thing a = { 7, UINT64_MAX, -3, true, -1, "seven", addr_ipv4_loopback(80) }, b;
	struct state_out out = { .bytes = NULL };
	struct state_in in;
	struct state_record r;
	struct slice bytes;
	size_t at = 0;
	int fd;

	(void)state;
	a.fd = memfd_of("x", 1);
	state_record(&out, "other");
	state_record(&out, "thing");
	state_put(&out, fields, ARRAY_LEN(fields), &a);
	state_put_bytes(&out, "raw", "\n\0 a=1:b\n\n", 10);
	assert_int_equal(state_finish(&out, &fd), ERR_OK);
	state_out_fini(&out);
	fcntl(a.fd, F_SETFD, 0);

	assert_int_equal(state_in_init(&in, fd, false), ERR_OK);
	assert_true(state_next(&in, &at, "thing", &r));
	memset(&b, 0, sizeof(b));
	state_get(&r, fields, ARRAY_LEN(fields), &b);
	assert_int_equal(b.u32, 7);
	assert_true(b.u64 == UINT64_MAX);
	assert_int_equal(b.i32, -3);
	assert_true(b.flag);
	assert_string_equal(b.text, "seven");
	assert_true(addr_equal(&a.where, &b.where));
	assert_true(state_get_bytes(&r, "raw", &bytes));
	assert_int_equal(bytes.n, 10);
	assert_memory_equal(bytes.p, "\n\0 a=1:b\n\n", 10);
	assert_int_equal(b.fd, a.fd);
	assert_int_equal(fcntl(b.fd, F_GETFD), FD_CLOEXEC);
	assert_int_equal(state_get_fd(&r, "fd"), -1); /* taken */
	assert_false(state_next(&in, &at, "thing", &r));
	state_in_fini(&in);
	assert_true(fcntl(a.fd, F_GETFD) >= 0); /* whoever took it has it */
	close(a.fd);
	close(fd);
}

static void test_descriptors_that_nobody_takes_are_closed(void **state)
{
	struct state_out out = { .bytes = NULL };
	struct state_in in;
	int fd, passed = memfd_of("x", 1);

	(void)state;
	state_record(&out, "of a later version");
	state_put_fd(&out, "some", passed);
	assert_int_equal(state_finish(&out, &fd), ERR_OK);
	state_out_fini(&out);
	assert_int_equal(state_in_init(&in, fd, true), ERR_OK);
	state_in_fini(&in);
	assert_true(fcntl(passed, F_GETFD) >= 0); /* a rehearsal has none of them */
	assert_int_equal(state_in_init(&in, fd, false), ERR_OK);
	state_in_fini(&in);
	assert_int_equal(fcntl(passed, F_GETFD), -1);
	close(fd);
}

/* What is unknown is passed over; what is missing, or makes no sense, keeps its value. */
static void test_other_versions(void **state)
{
	static const char text[] = "drover state 1\n"
				   "thing\n u64=1:9\n later=3:a\nb\n u32=2:-1\n flag=1:2\n"
				   " text=20:longer than its room\n\n"
				   "later\n x=0:\n\n"
				   "end\n records=1:2\n more=1:x\n\n";
	struct thing t = { .u32 = 5, .flag = true, .i32 = -8 };
	struct state_in in;
	struct state_record r;
	size_t at = 0;

	(void)state;
	assert_int_equal(read_bytes(text, sizeof(text) - 1, &in), ERR_OK);
	assert_true(state_next(&in, &at, "thing", &r));
	state_get(&r, fields, ARRAY_LEN(fields), &t);
	assert_int_equal(t.u32, 5);
	assert_int_equal(t.u64, 9);
	assert_true(t.flag);
	assert_int_equal(t.i32, -8);
	assert_string_equal(t.text, "longer ");
	assert_int_equal(t.fd, -1);
	assert_true(state_next(&in, &at, NULL, &r));
	assert_true(slice_eq(r.kind, SLICE("later")));
	assert_false(state_next(&in, &at, NULL, &r)); /* the end is no record */
	state_in_fini(&in);
}

static void test_what_is_none(void **state)
{
	static const struct {
		const char *text;
		enum err expect;
	} rows[] = {
		{ "drover state 1\nend\n records=1:0\n\n", ERR_OK },
		{ "drover state 2\nend\n records=1:0\n\n", ERR_RANGE },
		{ "drover state 0\nend\n records=1:0\n\n", ERR_SYNTAX },
		{ "drover state x\nend\n records=1:0\n\n", ERR_SYNTAX },
		{ "drover stale 1\nend\n records=1:0\n\n", ERR_SYNTAX },
		{ "\n", ERR_SYNTAX },
		{ "drover state 1\n", ERR_SYNTAX },
		{ "drover state 1", ERR_SYNTAX },
		{ "drover state 1\na\n\n", ERR_SYNTAX },
		{ "drover state 1\na\n\nend\n records=1:0\n\n", ERR_SYNTAX },
		{ "drover state 1\nend\n records=1:0\n\nmore\n\n", ERR_SYNTAX },
		{ "drover state 1\nend\n records=1:0\n", ERR_SYNTAX },
		{ "drover state 1\na\n b=3:c\n\nend\n records=1:1\n\n", ERR_SYNTAX },
		{ "drover state 1\na\n b=99999999999999999999:c\n\nend\n records=1:1\n\n",
		  ERR_SYNTAX },
		{ "drover state 1\na\n b=-1:c\n\nend\n records=1:1\n\n", ERR_SYNTAX },
		{ "drover state 1\na\n b\n\nend\n records=1:1\n\n", ERR_SYNTAX },
		{ "drover state 1\n a=1:b\n\nend\n records=1:1\n\n", ERR_SYNTAX },
		{ "drover state 1\nend\n records=1:0\n descriptors=1:2\n\n", ERR_SYNTAX },
		{ "drover state 1\nend\n records=1:0\n descriptors=3:x 3\n\n", ERR_SYNTAX },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		check_row_int(rows[i].text, read_text(rows[i].text), rows[i].expect);
}

/* Cut anywhere it is none, and changed anywhere it does no harm. */
static void test_every_cut(void **state)
{
	static const char text[] = "drover state 1\nthing\n u32=1:7\n text=3:a=b\n where=2:\2\0\n\n"
				   "end\n records=1:1\n\n";
	size_t n = sizeof(text) - 1;
	struct state_in in;

	(void)state;
	for (size_t i = 1; i < n; i++)
		assert_int_equal(read_bytes(text, i, &in), ERR_SYNTAX);
	for (size_t i = 0; i < n; i++) {
		static const char put[] = "\n :=9\0";
		for (size_t k = 0; k < sizeof(put); k++) {
			struct thing t = { .u32 = 0 };
			struct state_record r;
			size_t at = 0;
			char copy[sizeof(text)];
			memcpy(copy, text, sizeof(text));
			copy[i] = put[k];
			if (read_bytes(copy, n, &in) != ERR_OK)
				continue;
			while (state_next(&in, &at, NULL, &r))
				state_get(&r, fields, ARRAY_LEN(fields), &t);
			state_in_fini(&in);
		}
	}
}

static void test_out_of_memory(void **state)
{
	(void)state;
	for (uint64_t n = 1;; n++) {
		struct state_out out = { .bytes = NULL };
		int fd = -1;
		mem_fault_at(n);
		state_record(&out, "a");
		state_put_u64(&out, "b", 1);
		state_put_fd(&out, "c", 0);
		enum err e = state_finish(&out, &fd);
		bool hit = mem_fault_hit();
		mem_fault_at(0);
		state_out_fini(&out);
		if (!hit) {
			assert_int_equal(e, ERR_OK);
			close(fd);
			return;
		}
		assert_int_equal(e, ERR_NOMEM);
	}
}

/* ---- of another process -------------------------------------------------- */

/* A state that names three files, under these numbers: */
#define A 901
#define B 902
#define C 903

static void write_three(struct state_out *out, const int files[3], int *ret_fd)
{
	static const char *const names[] = { "a", "b", "c" };
	int moved[3];

	for (int i = 0; i < 3; i++)
		moved[i] = dup2(files[i], A + i);
	state_record(out, "thing");
	for (int i = 0; i < 3; i++)
		state_put_fd(out, names[i], moved[i]);
	out->identify = true;
	assert_int_equal(state_finish(out, ret_fd), ERR_OK);
	for (int i = 0; i < 3; i++)
		close(moved[i]);
}

/* Given under which number, which of the files (3: one that was never named); and which of
 * them "a", "b", "c" are then (-1: none). */
static const struct {
	const char *name;
	struct {
		int number, file;
	} given[5]; /* up to a number of 0 */
	int expect[3];
} given_rows[] = {
	{ "all", { { A, 0 }, { B, 1 }, { C, 2 } }, { 0, 1, 2 } },
	{ "in another order", { { C, 2 }, { A, 0 }, { B, 1 } }, { 0, 1, 2 } },
	{ "none", { { 0, 0 } }, { -1, -1, -1 } },
	{ "some", { { B, 1 } }, { -1, 1, -1 } },
	{ "two exchanged", { { A, 1 }, { B, 0 }, { C, 2 } }, { -1, -1, 2 } },
	{ "another file", { { A, 0 }, { B, 3 }, { C, 2 } }, { 0, -1, 2 } },
	{ "numbers that it does not name", { { 904, 0 }, { -1, 1 }, { C, 2 } }, { -1, -1, 2 } },
	{ "a number twice", { { A, 0 }, { A, 0 }, { B, 1 } }, { 0, 1, -1 } },
	{ "twice, the first another file", { { A, 3 }, { A, 0 } }, { -1, -1, -1 } },
};

static ino_t inode(int fd)
{
	struct stat st;

	return fd >= 0 && fstat(fd, &st) == 0 ? st.st_ino : 0;
}

static size_t give(size_t row, const int files[4], struct state_fd **ret)
{
	size_t n = 0;

	*ret = mem_must_alloc(5 * sizeof(**ret));
	for (; given_rows[row].given[n].number; n++)
		(*ret)[n] = (struct state_fd){ given_rows[row].given[n].number,
					       dup(files[given_rows[row].given[n].file]) };
	return n;
}

static void check_given_row(size_t row, int state_fd, const int files[4])
{
	static const char *const names[] = { "a", "b", "c" };
	const char *name = given_rows[row].name;
	struct state_fd *given;
	struct state_in in;
	struct state_record r;
	size_t at = 0, n = give(row, files, &given);

	check_row_int(name, state_in_init_given(&in, state_fd, given, n), ERR_OK);
	check_row(name, state_next(&in, &at, "thing", &r));
	for (size_t i = 0; i < in.n_fds; i++) /* nobody can ask for it */
		if (in.fds[i].number < A || in.fds[i].number > C)
			check_row_int(name, in.fds[i].fd, -1);
	for (int i = 0; i < 3; i++) {
		int expect = given_rows[row].expect[i], fd = state_get_fd(&r, names[i]);
		check_row_int(name, inode(fd), expect < 0 ? 0 : inode(files[expect]));
		if (fd >= 0)
			close(fd);
	}
	state_in_fini(&in);
}

static void test_given_by_another_process(void **state)
{
	struct state_out out = { .bytes = NULL };
	int files[4], fd;

	(void)state;
	for (int i = 0; i < 4; i++)
		files[i] = memfd_of("x", 1);
	write_three(&out, files, &fd);
	int before = count_fds();
	for (size_t i = 0; i < ARRAY_LEN(given_rows); i++) {
		check_given_row(i, fd, files);
		check_row_int(given_rows[i].name, count_fds(), before);
	}
	state_out_fini(&out);
	close(fd);
	for (int i = 0; i < 4; i++)
		close(files[i]);
}

/* They are taken, and closed, whatever the state is like. */
static void test_given_with_a_state_that_is_none(void **state)
{
#define START "drover state 1\nend\n records=1:0\n"
	static const struct {
		const char *text;
		enum err expect;
	} texts[] = {
		{ "nonsense", ERR_SYNTAX },
		{ "drover state 2\nend\n records=1:0\n\n", ERR_RANGE },
		{ START "\n", ERR_SYNTAX },
		{ START " descriptors=1:7\n\n", ERR_SYNTAX },
		{ START " identities=3:1 2\n\n", ERR_SYNTAX },
		{ START " descriptors=1:7\n identities=0:\n\n", ERR_SYNTAX },
		{ START " descriptors=1:7\n identities=1:1\n\n", ERR_SYNTAX },
		{ START " descriptors=3:7 8\n identities=3:1 2\n\n", ERR_SYNTAX },
		{ START " descriptors=2:-7\n identities=3:1 2\n\n", ERR_SYNTAX },
		{ START " descriptors=1:7\n identities=22:1 18446744073709551616\n\n", ERR_SYNTAX },
		{ START " descriptors=10:2147483648\n identities=3:1 2\n\n", ERR_SYNTAX },
		{ START " descriptors=1:7\n identities=3:1 2\n\n", ERR_OK },
		{ START " descriptors=0:\n identities=0:\n\n", ERR_OK },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
		int before = count_fds(), fd = memfd_of(texts[i].text, strlen(texts[i].text));
		struct state_fd *given = mem_must_alloc(sizeof(*given));
		struct state_in in;
		*given = (struct state_fd){ .number = 7, .fd = dup(fd) };
		check_row_int(texts[i].text, state_in_init_given(&in, fd, given, 1), texts[i].expect);
		state_in_fini(&in);
		close(fd);
		check_row_int(texts[i].text, count_fds(), before);
	}
#undef START
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_round_trip),
		cmocka_unit_test(test_descriptors_that_nobody_takes_are_closed),
		cmocka_unit_test(test_other_versions),
		cmocka_unit_test(test_what_is_none),
		cmocka_unit_test(test_every_cut),
		cmocka_unit_test(test_out_of_memory),
		cmocka_unit_test(test_given_by_another_process),
		cmocka_unit_test(test_given_with_a_state_that_is_none),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
