/* The master's state as text that another version of drover can read: what crosses an
 * exec (upgrade.c).  Records of a kind, each with named fields:
 *
 *   drover state 1\n                     the format's number; the rest is found by name
 *   worker\n                             a record begins: its kind
 *    pid=4:1234\n                        a field: name, bytes of the value, the value
 *    exit_text=13:exit status 3\n
 *   \n                                   it ends
 *   end\n                                always the last one, so that half a state shows
 *    records=1:1\n
 *   \n
 *
 * Values are text; numbers are decimal.  What a reader does not know it passes over; a
 * field that is missing leaves the place that it was meant for as it is.  So both a newer
 * and an older drover can read it, and a new field needs no new number.
 *
 * A descriptor is written as its number, and noted: whoever execs lets the noted ones
 * through.  The reader takes those that it asks for; state_in_fini() closes the rest.
 * Where the reader is another process (adoption.h), it gets them under other numbers, and
 * perhaps after the writer has closed one and opened another under its number: then the
 * state says which files they were. */
#ifndef DROVER_MASTER_STATE_H
#define DROVER_MASTER_STATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/addr.h"
#include "common/base.h"
#include "common/err.h"
#include "common/slice.h"

#define STATE_FORMAT 1
#define STATE_BYTES_MAX (256u * 1024 * 1024)

enum state_type {
	STATE_U32 = 0,
	STATE_U64,
	STATE_I32,
	STATE_BOOL,
	STATE_FD,   /* int; -1: there is none */
	STATE_TEXT, /* char[size], NUL-terminated */
	STATE_ADDR, /* struct addr */
};

/* One field of a struct: written and read by the same row. */
struct state_field {
	const char *name;
	enum state_type type;
	size_t offset, size;
};

#define STATE_FIELD(type, kind, member) \
	{ #member, STATE_##kind, offsetof(type, member), sizeof(((type *)NULL)->member) }

/* ---- writing ---- */

struct state_out {
	char *bytes;
	size_t n, room;
	uint32_t records;
	int *fds;        /* the descriptors in it; borrowed */
	size_t n_fds, room_fds;
	bool identify;   /* also say which files they are; to be set before state_finish() */
	bool failed;     /* out of memory: nothing more is written */
};

void state_out_fini(struct state_out *o);

/* Begins a record, ending the one before. */
void state_record(struct state_out *o, const char *kind);
void state_put(struct state_out *o, const struct state_field *fields, size_t n, const void *base);
void state_put_u64(struct state_out *o, const char *name, uint64_t value);
void state_put_text(struct state_out *o, const char *name, const char *text); /* NULL: left out */
void state_put_bytes(struct state_out *o, const char *name, const void *p, size_t n);
void state_put_fd(struct state_out *o, const char *name, int fd); /* -1: left out */

/* Ends it, and gives it in a sealed memfd, close-on-exec.  ERR_NOMEM, ERR_SYS. */
MUST_CHECK enum err state_finish(struct state_out *o, int *ret_fd);

/* ---- reading ---- */

/* A descriptor that came along. */
struct state_fd {
	int number;      /* as the state names it */
	int fd;          /* here; -1: taken */
};

struct state_in {
	char *bytes;
	size_t n;
	bool dry;        /* descriptors are not here: others stand for them */
	struct state_fd *fds;
	size_t n_fds;
};

struct state_record {
	struct state_in *in;
	struct slice kind;
	struct slice fields;
};

/* Reads the state in `fd` (borrowed) and checks its form from end to end: what follows
 * cannot fail on it.  `dry`: the process that wrote it goes on, and its descriptors are not
 * here.  ERR_SYNTAX: it is none, or cut; ERR_RANGE: a format later than STATE_FORMAT;
 * ERR_NOMEM, ERR_SYS. */
MUST_CHECK enum err state_in_init(struct state_in *in, int fd, bool dry);

/* The same for a state of another process: `given` (taken, also on failure) are the
 * descriptors that it has sent.  Those that are not the files that the state means, or that it
 * does not name, are closed: they count as missing. */
MUST_CHECK enum err state_in_init_given(struct state_in *in, int fd, struct state_fd *given,
					size_t n_given);

/* Closes the descriptors that nobody took. */
void state_in_fini(struct state_in *in);

/* The first record from `*at` on (0: from the beginning) of this kind (NULL: of any); false:
 * there is none. */
bool state_next(struct state_in *in, size_t *at, const char *kind, struct state_record *ret);

/* Fields that are missing, or make no sense, are left alone.  Texts are cut to their room. */
void state_get(const struct state_record *r, const struct state_field *fields, size_t n,
	       void *base);
uint64_t state_get_u64(const struct state_record *r, const char *name, uint64_t otherwise);
/* False: it is missing.  The slice borrows the state. */
bool state_get_bytes(const struct state_record *r, const char *name, struct slice *ret);
char *state_get_dup(const struct state_record *r, const char *name); /* NULL: missing */
/* -1: missing, or taken.  The caller takes it; it is close-on-exec again. */
int state_get_fd(const struct state_record *r, const char *name);

#endif
