/* Writing a state (state.h): records and fields into memory, and all of it into a sealed
 * memfd at the end.  In the master: for its successor (carry.c), and while it lives for
 * another one that may have to follow it (adopt_save.c).
 *
 * No library: protobuf, CBOR or JSON would be one more parser in the process that has
 * root, for records without nesting that only we write; and with lengths in front of the
 * values there is nothing to escape and little to parse. */
#include "balancer/master/state_out.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/addr.h"
#include "common/fd.h"
#include "common/mem.h"

void state_out_fini(struct state_out *o)
{
	mem_wipe(o->bytes); /* of configurations, among others */
	mem_free(o->fds);
	*o = (struct state_out){ .bytes = NULL };
}

/* A copy of `old`, `bytes` of it used, with room for `room`; NULL. */
static void *grow(void *old, size_t bytes, size_t room)
{
	void *grown = mem_alloc(room);

	if (!grown)
		return NULL;
	if (bytes)
		memcpy(grown, old, bytes);
	mem_wipe(old);
	return grown;
}

static void append(struct state_out *o, const void *p, size_t n)
{
	if (o->failed)
		return;
	if (o->room - o->n < n) {
		size_t room = MAX(o->room * 2, o->n + n + 4096);
		char *grown = grow(o->bytes, o->n, room);
		o->failed = !grown || room > STATE_BYTES_MAX;
		if (!grown)
			return;
		o->bytes = grown;
		o->room = room;
	}
	if (n)
		memcpy(o->bytes + o->n, p, n);
	o->n += n;
}

static void append_text(struct state_out *o, const char *text)
{
	append(o, text, strlen(text));
}

void state_record(struct state_out *o, const char *kind)
{
	char head[32];

	snprintf(head, sizeof(head), STATE_MAGIC "%d\n", STATE_FORMAT);
	append_text(o, o->n == 0 ? head : "\n");
	append_text(o, kind);
	append_text(o, "\n");
	o->records++;
}

#define DIGITS_MAX 20

/* Not snprintf(): with it a state costs a fifth more, and one is written many times a second. */
static size_t digits_of(uint64_t value, char ret[static DIGITS_MAX])
{
	char reversed[DIGITS_MAX];
	size_t n = 0;

	do
		reversed[n++] = (char)('0' + value % 10);
	while (value /= 10);
	for (size_t i = 0; i < n; i++)
		ret[i] = reversed[n - 1 - i];
	return n;
}

void state_put_bytes(struct state_out *o, const char *name, const void *p, size_t n)
{
	char digits[DIGITS_MAX];

	append_text(o, " ");
	append_text(o, name);
	append_text(o, "=");
	append(o, digits, digits_of(n, digits));
	append_text(o, ":");
	append(o, p, n);
	append_text(o, "\n");
}

void state_put_text(struct state_out *o, const char *name, const char *text)
{
	if (text)
		state_put_bytes(o, name, text, strlen(text));
}

void state_put_u64(struct state_out *o, const char *name, uint64_t value)
{
	char text[DIGITS_MAX];

	state_put_bytes(o, name, text, digits_of(value, text));
}

void state_put_fd(struct state_out *o, const char *name, int fd)
{
	if (fd < 0 || o->failed)
		return;
	if (o->n_fds == o->room_fds) {
		size_t room = o->room_fds * 2 + 16;
		int *grown = grow(o->fds, o->n_fds * sizeof(int), room * sizeof(int));
		o->failed = !grown;
		if (!grown)
			return;
		o->fds = grown;
		o->room_fds = room;
	}
	o->fds[o->n_fds++] = fd;
	state_put_u64(o, name, (uint64_t)fd);
}

void state_put(struct state_out *o, const struct state_field *fields, size_t n, const void *base)
{
	for (const struct state_field *f = fields; f < fields + n; f++) {
		const void *p = (const char *)base + f->offset;
		char text[32];

		switch (f->type) {
		case STATE_U32: state_put_u64(o, f->name, *(const uint32_t *)p); break;
		case STATE_U64: state_put_u64(o, f->name, *(const uint64_t *)p); break;
		case STATE_BOOL: state_put_u64(o, f->name, *(const bool *)p); break;
		case STATE_FD: state_put_fd(o, f->name, *(const int *)p); break;
		case STATE_TEXT: state_put_text(o, f->name, p); break;
		case STATE_ADDR: {
			const struct addr *a = p;
			state_put_bytes(o, f->name, &a->sa, a->len);
			break;
		}
		case STATE_I32:
			snprintf(text, sizeof(text), "%d", (int)*(const int32_t *)p);
			state_put_text(o, f->name, text);
			break;
		}
	}
}

static enum err write_all(int fd, const char *p, size_t n)
{
	while (n > 0) {
		ssize_t done = write(fd, p, n);
		if (done < 0 && errno == EINTR)
			continue;
		if (done <= 0)
			return ERR_SYS;
		p += done;
		n -= (size_t)done;
	}
	return ERR_OK;
}

/* Device and inode of each, in the same order. */
static void put_identities(struct state_out *o)
{
	enum { ROOM = 2 * 21 };
	char *list = mem_alloc(o->n_fds * ROOM + 1);
	struct stat st;
	size_t n = 0;

	o->failed |= !list;
	for (size_t i = 0; list && i < o->n_fds; i++) {
		if (fstat(o->fds[i], &st) != 0)
			memset(&st, 0, sizeof(st));
		n += (size_t)sprintf(list + n, "%s%" PRIu64 " %" PRIu64, i ? " " : "",
				     (uint64_t)st.st_dev, (uint64_t)st.st_ino);
	}
	if (list)
		state_put_bytes(o, "identities", list, n);
	mem_free(list);
}

/* The reader learns all descriptors at once: also of records that it does not know. */
static void put_end(struct state_out *o)
{
	uint32_t before = o->records;
	char *list = mem_alloc(o->n_fds * 12 + 1);
	size_t n = 0;

	o->failed |= !list;
	for (size_t i = 0; list && i < o->n_fds; i++)
		n += (size_t)sprintf(list + n, "%s%d", i ? " " : "", o->fds[i]);
	state_record(o, STATE_END);
	state_put_u64(o, "records", before);
	if (list)
		state_put_bytes(o, "descriptors", list, n);
	if (o->identify)
		put_identities(o);
	append_text(o, "\n");
	mem_free(list);
}

enum err state_finish(struct state_out *o, int *ret_fd)
{
	put_end(o);
	if (o->failed)
		return ERR_NOMEM;
	int fd = memfd_create("drover-state", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (fd < 0)
		return errno == EMFILE || errno == ENFILE ? ERR_FD_LIMIT : ERR_SYS;
	enum err e = write_all(fd, o->bytes, o->n);
	if (!e && fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) != 0)
		e = ERR_SYS;
	if (e) {
		fd_close(&fd);
		return e;
	}
	*ret_fd = fd;
	return ERR_OK;
}
