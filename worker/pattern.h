/* Body bytes that a reader can check: byte i is i modulo 251.  (A prime, so that
 * no power of two hides a lost or repeated block.) */
#ifndef DROVER_WORKER_PATTERN_H
#define DROVER_WORKER_PATTERN_H

#include <stddef.h>
#include <stdint.h>

#include "common/slice.h"

struct connection;

#define PATTERN_PERIOD 251u

/* The next run of the pattern from byte `at`, at most `n` bytes long. */
struct slice pattern_run(uint64_t at, size_t n);

/* The rest of the reply's body is `bytes` bytes of pattern; its head has been
 * written.  Ends the reply. */
void pattern_start(struct connection *c, uint64_t bytes);

#endif
