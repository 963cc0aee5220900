/* What a drover is given that takes over from a master that was killed: packets of any size
 * and content with descriptors, and a state that names them.
 *
 * A model of a few lines says how it ends, which descriptors have come under which numbers,
 * and which of them are the files that the state means.  Nothing else stays open. */
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "balancer/master/adopt_wire.h"
#include "common/fd.h"
#include "fuzz/fuzz.h"
#include "fuzz/packets.h"
#include "lib/send_raw.h"

#define FILES 4
#define GIVEN_MAX (PACKETS_MAX * PACKET_FDS_MAX)

/* The flags of a packet. */
enum setting {
	OTHER_MAGIC = 1 << 0,
	OTHER_SIZE = 1 << 1, /* a byte more, or (with OTHER_MAGIC) less */
	ONE_MORE = 1 << 2,   /* it says that one more descriptor is in it */
	SAYS_ANY = 1 << 3,   /* its counts are bytes of the input */
};

/* The first byte of the input. */
enum form {
	RAW_STATE = 1 << 0, /* the state is what the input says; else one is made of it */
};

/* Which file came under which number. */
struct given {
	int number;
	unsigned file;
};

struct model {
	enum err verdict;
	struct given given[GIVEN_MAX];
	size_t n;
};

static int files[FILES];
static struct stat files_st[FILES];

static void boot(void)
{
	if (files[0])
		return;
	for (int i = 0; i < FILES; i++) {
		files[i] = memfd_create("fuzz", MFD_CLOEXEC);
		if (files[i] < 0 || fstat(files[i], &files_st[i]))
			abort();
	}
}

static uint8_t take(const uint8_t **p, size_t *n)
{
	uint8_t byte = *n ? **p : 0;

	*p += *n > 0;
	*n -= *n > 0;
	return byte;
}

/* ---- the packets -------------------------------------------------------- */

/* Sends it, and says what it is: its real descriptors, and whether its form is right. */
static bool send_packet(int sock, const struct packet *in, int state, struct adopt_packet *p,
			unsigned which[static PACKET_FDS_MAX])
{
	union {
		struct adopt_packet p;
		char bytes[sizeof(struct adopt_packet) + 1];
	} u = { .p = { .magic = ADOPT_MAGIC, .total = 0, .n = in->n_fds } };
	int fds[PACKET_FDS_MAX];
	const uint8_t *bytes = in->bytes;
	size_t n = in->n, size = sizeof(u.p);

	u.p.total = take(&bytes, &n);
	if (in->flags & SAYS_ANY) {
		u.p.total |= (uint32_t)take(&bytes, &n) << 24 | (uint32_t)take(&bytes, &n) << 16;
		u.p.n = take(&bytes, &n);
	}
	u.p.n += (in->flags & ONE_MORE) != 0;
	u.p.magic += (in->flags & OTHER_MAGIC) != 0;
	if (in->flags & OTHER_SIZE)
		size = in->flags & OTHER_MAGIC ? size - 1 : size + 1;
	for (unsigned i = 0; i < in->n_fds; i++) {
		u.p.numbers[i] = take(&bytes, &n);
		which[i] = take(&bytes, &n) % FILES;
		fds[i] = state >= 0 ? state : files[which[i]];
	}
	*p = u.p;
	FUZZ_CHECK(send_raw(sock, &u, size, fds, in->n_fds) == (ssize_t)size, "sending");
	return size == sizeof(u.p) && p->magic == ADOPT_MAGIC;
}

/* One more of those that follow the first; false: nothing more is read. */
static bool model_hear(struct model *m, uint32_t total, bool form, const struct adopt_packet *p,
		       unsigned n_fds, const unsigned which[static PACKET_FDS_MAX])
{
	if (m->verdict != ERR_CLOSED)
		return false;
	if (!form || p->n == 0 || p->n != n_fds || p->n > total - m->n) {
		m->verdict = ERR_PROTOCOL;
		return false;
	}
	for (unsigned i = 0; i < n_fds; i++)
		m->given[m->n++] = (struct given){ p->numbers[i], which[i] };
	if (m->n == total)
		m->verdict = ERR_OK;
	return true;
}

static void send_all(int sock, int state, const uint8_t **p, size_t *n, struct model *m)
{
	struct packet in;
	struct adopt_packet packet;
	unsigned which[PACKET_FDS_MAX];
	uint32_t total = 0;

	m->verdict = ERR_CLOSED;
	for (int i = 0; i < PACKETS_MAX && packet_next(p, n, &in); i++) {
		bool form = send_packet(sock, &in, i ? -1 : state, &packet, which);
		if (i) {
			model_hear(m, total, form, &packet, in.n_fds, which);
			continue;
		}
		total = packet.total;
		if (!form || packet.n != 1 || in.n_fds != 1 || total > ADOPT_FDS_MAX)
			m->verdict = ERR_PROTOCOL;
		else if (total == 0)
			m->verdict = ERR_OK;
	}
}

/* ---- the state ---------------------------------------------------------- */

/* What the made one says: a number and its file. */
struct named {
	struct given all[16];
	size_t n;
};

static int make_state(const uint8_t **p, size_t *n, struct named *named)
{
	char numbers[256] = "", identities[1024] = "", text[2048];
	size_t a = 0, b = 0;

	named->n = take(p, n) % ARRAY_LEN(named->all);
	for (size_t i = 0; i < named->n; i++) {
		struct given *g = &named->all[i];
		*g = (struct given){ take(p, n), take(p, n) % FILES };
		a += (size_t)sprintf(numbers + a, "%s%d", i ? " " : "", g->number);
		b += (size_t)sprintf(identities + b, "%s%llu %llu", i ? " " : "",
				     (unsigned long long)files_st[g->file].st_dev,
				     (unsigned long long)files_st[g->file].st_ino);
	}
	int length = snprintf(
		text, sizeof(text),
		"drover state 1\nend\n records=1:0\n descriptors=%zu:%s\n identities=%zu:%s\n\n", a,
		numbers, b, identities);
	int fd = memfd_create("state", MFD_CLOEXEC);
	if (fd < 0 || write(fd, text, (size_t)length) != length)
		abort();
	return fd;
}

static int raw_state(const uint8_t **p, size_t *n)
{
	size_t said = (size_t)take(p, n) * 4, length = MIN(said, *n);
	int fd = memfd_create("state", MFD_CLOEXEC);

	if (fd < 0 || write(fd, *p, length) != (ssize_t)length)
		abort();
	*p += length;
	*n -= length;
	return fd;
}

/* The file that the state means by this number; -1: it does not name it. */
static int meant(const struct named *named, int number)
{
	for (size_t i = 0; i < named->n; i++)
		if (named->all[i].number == number)
			return (int)named->all[i].file;
	return -1;
}

static bool is_file(int fd, unsigned file)
{
	struct stat st;

	return fstat(fd, &st) == 0 && st.st_dev == files_st[file].st_dev &&
	       st.st_ino == files_st[file].st_ino;
}

static void check_came(const struct model *m, const struct state_fd *fds, size_t n)
{
	FUZZ_CHECK(n == m->n, "%zu descriptors, not %zu", n, m->n);
	for (size_t i = 0; i < n; i++)
		FUZZ_CHECK(fds[i].number == m->given[i].number && is_file(fds[i].fd, m->given[i].file),
			   "descriptor %zu is another", i);
}

/* NULL: whatever it says. */
static void check_state(const struct model *m, const struct named *named, struct state_in *in,
			enum err e)
{
	struct state_record r;
	size_t at = 0;

	if (!named) {
		while (!e && state_next(in, &at, NULL, &r))
			fd_close(&(int){ state_get_fd(&r, "fd") });
		return;
	}
	FUZZ_CHECK(!e, "the state: %s", err_text(e));
	FUZZ_CHECK(in->n_fds == m->n, "%zu descriptors, not %zu", in->n_fds, m->n);
	for (size_t i = 0; i < m->n; i++) {
		bool same = meant(named, m->given[i].number) == (int)m->given[i].file;
		FUZZ_CHECK(same == (in->fds[i].fd >= 0), "descriptor %d (number %d) is %s", (int)i,
			   m->given[i].number, same ? "not taken" : "taken");
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct model m = { .n = 0 };
	struct named named = { .n = 0 };
	int ends[2], state, got = -1;
	struct state_fd *fds = NULL;
	size_t n_fds = 0;

	boot();
	uint64_t before = open_fds();
	bool raw = take(&data, &n) & RAW_STATE;
	state = raw ? raw_state(&data, &n) : make_state(&data, &n, &named);
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends))
		abort();
	send_all(ends[0], state, &data, &n, &m);
	close(ends[0]);
	enum err e = adopt_recv(ends[1], &got, &fds, &n_fds);
	FUZZ_CHECK(e == m.verdict, "%s, not: %s", err_text(e), err_text(m.verdict));
	if (!e) {
		struct state_in in;
		check_came(&m, fds, n_fds);
		e = state_in_init_given(&in, got, fds, n_fds);
		check_state(&m, raw ? NULL : &named, &in, e);
		if (!e)
			state_in_fini(&in);
	}
	fd_close(&got);
	close(state);
	close(ends[1]);
	FUZZ_CHECK(open_fds() == before, "a descriptor is left open");
	return 0;
}
