/* Writing a state: its form is in state.h. */
#ifndef DROVER_MASTER_STATE_OUT_H
#define DROVER_MASTER_STATE_OUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "balancer/master/state.h"
#include "common/base.h"
#include "common/err.h"

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

#endif
