/* The master's state as text that another version of drover can read: what crosses an
 * exec (upgrade.c).  state_out.c writes it, state_in.c reads it; what is in it is the business
 * of carry.c and its like.  Records of a kind, each with named fields:
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

#include <stddef.h>

#define STATE_FORMAT 1
#define STATE_MAGIC "drover state "
#define STATE_END "end"
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

#endif
