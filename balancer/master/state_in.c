/* Reading a state (state.h), in the order of this file: its form is checked from end to end,
 * its descriptors are noted, or compared with what the state says of them; then records and
 * fields are found in it by name.  In the master, and in the child that rehearses an upgrade.
 *
 * Whoever wrote it was a master, but perhaps another version's, or one that was killed:
 * nothing in here relies on more than what has been checked. */
#include "balancer/master/state_in.h"

#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/addr.h"
#include "common/fd.h"
#include "common/mem.h"

/* ---- the form ----------------------------------------------------------- */

/* Takes one line, less its newline, from the front of *rest. */
static bool take_line(struct slice *rest, struct slice *ret)
{
	const char *newline = rest->n ? memchr(rest->p, '\n', rest->n) : NULL;

	if (!newline)
		return false;
	*ret = (struct slice){ rest->p, (size_t)(newline - rest->p) };
	rest->n -= ret->n + 1;
	rest->p = newline + 1;
	return true;
}

/* Takes one field from the front of *rest; false, with *rest as it was: there is none. */
static bool take_field(struct slice *rest, struct slice *ret_name, struct slice *ret_value)
{
	const char *p = rest->p, *end = p + rest->n, *equals, *colon;
	uint64_t n;

	if (rest->n == 0 || *p != ' ')
		return false;
	equals = memchr(p, '=', rest->n);
	colon = equals ? memchr(equals, ':', (size_t)(end - equals)) : NULL;
	if (!colon || slice_to_u64((struct slice){ equals + 1, (size_t)(colon - equals - 1) },
				   STATE_BYTES_MAX, &n))
		return false;
	const char *value = colon + 1;
	if ((uint64_t)(end - value) <= n || value[n] != '\n')
		return false;
	*ret_name = (struct slice){ p + 1, (size_t)(equals - p - 1) };
	*ret_value = (struct slice){ value, (size_t)n };
	rest->p = value + n + 1;
	rest->n = (size_t)(end - rest->p);
	return true;
}

/* Takes one whole record. */
static bool take_record(struct slice *rest, struct state_record *ret)
{
	struct slice line, name, value;

	if (!take_line(rest, &line) || line.n == 0 || line.p[0] == ' ')
		return false;
	ret->kind = line;
	ret->fields.p = rest->p;
	while (take_field(rest, &name, &value))
		;
	ret->fields.n = (size_t)(rest->p - ret->fields.p);
	return take_line(rest, &line) && line.n == 0;
}

static struct slice behind_head(const struct state_in *in)
{
	struct slice rest = { in->bytes, in->n }, line;

	return take_line(&rest, &line) ? rest : (struct slice){ in->bytes, 0 };
}

static enum err check_head(const struct state_in *in)
{
	struct slice rest = { in->bytes, in->n }, line, number;
	size_t n = strlen(STATE_MAGIC);
	uint64_t format;

	if (!take_line(&rest, &line) || !slice_starts(line, SLICE(STATE_MAGIC)))
		return ERR_SYNTAX;
	number = (struct slice){ line.p + n, line.n - n };
	if (slice_to_u64(number, UINT32_MAX, &format) || format == 0)
		return ERR_SYNTAX;
	return format > STATE_FORMAT ? ERR_RANGE : ERR_OK;
}

static bool is_end(struct slice kind)
{
	return slice_eq(kind, SLICE(STATE_END));
}

static enum err check_form(struct state_in *in, struct state_record *ret_end)
{
	struct slice rest = behind_head(in);
	uint64_t records = 0;
	enum err e = check_head(in);

	if (e)
		return e;
	*ret_end = (struct state_record){ .in = in };
	for (; rest.n > 0; records++) {
		if (!take_record(&rest, ret_end))
			return ERR_SYNTAX;
		if (is_end(ret_end->kind))
			return rest.n == 0 && state_get_u64(ret_end, "records", 0) == records
				       ? ERR_OK : ERR_SYNTAX;
	}
	return ERR_SYNTAX;
}

/* ---- all of it, with its descriptors ------------------------------------ */

/* pread(): whoever wrote it may have to read it once more. */
static enum err read_all(struct state_in *in, int fd)
{
	struct stat st;

	if (fstat(fd, &st) != 0)
		return ERR_SYS;
	if (st.st_size <= 0 || (uint64_t)st.st_size > STATE_BYTES_MAX)
		return ERR_SYNTAX;
	in->bytes = mem_alloc((size_t)st.st_size + 1);
	if (!in->bytes)
		return ERR_NOMEM;
	while (in->n < (size_t)st.st_size) {
		ssize_t n = pread(fd, in->bytes + in->n, (size_t)st.st_size - in->n, (off_t)in->n);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return ERR_SYS;
		in->n += (size_t)n;
	}
	in->bytes[in->n] = '\0';
	return ERR_OK;
}

/* Takes one number from the front of a list of them; false: it is none, or above `max`. */
static bool take_number(struct slice *list, uint64_t max, uint64_t *ret)
{
	const char *blank = list->n ? memchr(list->p, ' ', list->n) : NULL;
	size_t n = blank ? (size_t)(blank - list->p) : list->n;

	if (slice_to_u64((struct slice){ list->p, n }, max, ret))
		return false;
	n += blank != NULL;
	list->p += n;
	list->n -= n;
	return true;
}

static enum err note_descriptors(struct state_in *in, const struct state_record *end)
{
	struct slice list;
	size_t room = 1;

	if (!state_get_bytes(end, "descriptors", &list) || in->dry)
		return ERR_OK;
	for (size_t i = 0; i < list.n; i++)
		room += list.p[i] == ' ';
	in->fds = mem_alloc(room * sizeof(*in->fds));
	if (!in->fds)
		return ERR_NOMEM;
	while (list.n > 0) {
		uint64_t fd;
		if (!take_number(&list, INT32_MAX, &fd) || fd <= 2)
			return ERR_SYNTAX;
		(void)!fd_set_cloexec((int)fd, true);
		in->fds[in->n_fds++] = (struct state_fd){ (int)fd, (int)fd };
	}
	return ERR_OK;
}

/* Which file stood behind a number when the state was written. */
struct identity {
	uint64_t number, device, inode;
};

/* The caller frees *ret. */
static enum err read_identities(const struct state_record *end, struct identity **ret, size_t *ret_n)
{
	struct slice list, files;
	size_t room = 1, n = 0;

	if (!state_get_bytes(end, "descriptors", &list) ||
	    !state_get_bytes(end, "identities", &files))
		return ERR_SYNTAX;
	for (size_t i = 0; i < list.n; i++)
		room += list.p[i] == ' ';
	struct identity *all = mem_alloc(room * sizeof(*all));
	if (!all)
		return ERR_NOMEM;
	for (; list.n > 0; n++) {
		if (!take_number(&list, INT32_MAX, &all[n].number) ||
		    !take_number(&files, UINT64_MAX, &all[n].device) ||
		    !take_number(&files, UINT64_MAX, &all[n].inode)) {
			mem_free(all);
			return ERR_SYNTAX;
		}
	}
	*ret = all;
	*ret_n = n;
	return ERR_OK;
}

static bool is_as_written(const struct state_fd *f, const struct identity *all, size_t n)
{
	struct stat st;

	for (size_t i = 0; i < n; i++)
		if ((int)all[i].number == f->number)
			return fstat(f->fd, &st) == 0 && st.st_dev == all[i].device &&
			       st.st_ino == all[i].inode;
	return false;
}

/* Closes what is not the file that its number stood for when the state was written. */
static enum err check_given(struct state_in *in, const struct state_record *end)
{
	struct identity *all;
	size_t n;
	enum err e = read_identities(end, &all, &n);

	if (e)
		return e;
	for (size_t i = 0; i < in->n_fds; i++)
		if (!is_as_written(&in->fds[i], all, n))
			fd_close(&in->fds[i].fd);
	mem_free(all);
	return ERR_OK;
}

enum err state_in_init(struct state_in *in, int fd, bool dry)
{
	struct state_record end;

	*in = (struct state_in){ .dry = dry };
	enum err e = read_all(in, fd);
	if (!e)
		e = check_form(in, &end);
	if (!e)
		e = note_descriptors(in, &end);
	if (e) {
		int error = errno;
		in->n_fds = 0; /* a state that makes no sense closes nothing */
		state_in_fini(in);
		errno = error;
	}
	return e;
}

enum err state_in_init_given(struct state_in *in, int fd, struct state_fd *given, size_t n_given)
{
	struct state_record end;

	*in = (struct state_in){ .fds = given, .n_fds = n_given };
	enum err e = read_all(in, fd);
	if (!e)
		e = check_form(in, &end);
	if (!e)
		e = check_given(in, &end);
	if (e) {
		int error = errno;
		state_in_fini(in);
		errno = error;
	}
	return e;
}

void state_in_fini(struct state_in *in)
{
	for (size_t i = 0; i < in->n_fds; i++)
		fd_close(&in->fds[i].fd);
	mem_free(in->fds);
	mem_wipe(in->bytes);
	*in = (struct state_in){ .bytes = NULL };
}

/* ---- records and fields ------------------------------------------------- */

bool state_next(struct state_in *in, size_t *at, const char *kind, struct state_record *ret)
{
	struct slice rest = behind_head(in);

	if (*at) {
		rest.p = in->bytes + *at;
		rest.n = in->n - *at;
	}
	while (rest.n > 0) {
		struct state_record r = { .in = in };
		if (!take_record(&rest, &r) || is_end(r.kind))
			return false;
		*at = (size_t)(rest.p - in->bytes);
		if (!kind || slice_eq(r.kind, slice_of(kind))) {
			*ret = r;
			return true;
		}
	}
	return false;
}

bool state_get_bytes(const struct state_record *r, const char *name, struct slice *ret)
{
	struct slice rest = r->fields, found, value;

	while (take_field(&rest, &found, &value)) {
		if (slice_eq(found, slice_of(name))) {
			*ret = value;
			return true;
		}
	}
	return false;
}

static bool get_number(const struct state_record *r, const char *name, uint64_t max, uint64_t *ret)
{
	struct slice text;

	return state_get_bytes(r, name, &text) && slice_to_u64(text, max, ret) == ERR_OK;
}

uint64_t state_get_u64(const struct state_record *r, const char *name, uint64_t otherwise)
{
	uint64_t value;

	return get_number(r, name, UINT64_MAX, &value) ? value : otherwise;
}

char *state_get_dup(const struct state_record *r, const char *name)
{
	struct slice text;

	return state_get_bytes(r, name, &text) ? mem_must_dupn(text.n ? text.p : "", text.n) : NULL;
}

int state_get_fd(const struct state_record *r, const char *name)
{
	struct state_in *in = r->in;
	uint64_t fd;

	if (!get_number(r, name, INT32_MAX, &fd))
		return -1;
	if (in->dry)
		return eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK); /* can be waited for, as they can */
	for (size_t i = 0; i < in->n_fds; i++) {
		if (in->fds[i].number != (int)fd)
			continue;
		int own = in->fds[i].fd;
		in->fds[i].fd = -1;
		return own;
	}
	return -1;
}

static void get_i32(const struct state_record *r, const char *name, int32_t *ret)
{
	struct slice text;
	uint64_t value;

	if (!state_get_bytes(r, name, &text))
		return;
	bool minus = text.n > 0 && text.p[0] == '-';
	text.p += minus;
	text.n -= minus;
	if (slice_to_u64(text, INT32_MAX, &value) == ERR_OK)
		*ret = minus ? -(int32_t)value : (int32_t)value;
}

static void get_addr(const struct state_record *r, const char *name, struct addr *ret)
{
	struct slice bytes;

	if (!state_get_bytes(r, name, &bytes) || bytes.n < sizeof(sa_family_t) ||
	    bytes.n > sizeof(ret->un))
		return;
	memset(ret, 0, sizeof(*ret));
	memcpy(&ret->sa, bytes.p, bytes.n);
	ret->len = (socklen_t)bytes.n;
}

static void get_text(const struct state_record *r, const struct state_field *f, char *ret)
{
	struct slice text;

	if (!state_get_bytes(r, f->name, &text))
		return;
	size_t n = MIN(text.n, f->size - 1);
	if (n)
		memcpy(ret, text.p, n);
	ret[n] = '\0';
}

void state_get(const struct state_record *r, const struct state_field *fields, size_t n, void *base)
{
	for (const struct state_field *f = fields; f < fields + n; f++) {
		void *p = (char *)base + f->offset;
		uint64_t value;

		switch (f->type) {
		case STATE_U32:
			if (get_number(r, f->name, UINT32_MAX, &value))
				*(uint32_t *)p = (uint32_t)value;
			break;
		case STATE_U64:
			if (get_number(r, f->name, UINT64_MAX, &value))
				*(uint64_t *)p = value;
			break;
		case STATE_BOOL:
			if (get_number(r, f->name, 1, &value))
				*(bool *)p = value;
			break;
		case STATE_FD: *(int *)p = state_get_fd(r, f->name); break;
		case STATE_I32: get_i32(r, f->name, p); break;
		case STATE_TEXT: get_text(r, f, p); break;
		case STATE_ADDR: get_addr(r, f->name, p); break;
		}
	}
}
