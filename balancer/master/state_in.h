/* Reading a state: its form is in state.h. */
#ifndef DROVER_MASTER_STATE_IN_H
#define DROVER_MASTER_STATE_IN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "balancer/master/state.h"
#include "common/base.h"
#include "common/err.h"
#include "common/slice.h"

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
