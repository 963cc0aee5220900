/* What the fuzz targets share: a failure that says what is wrong, and inputs whose
 * ends a sanitizer watches. */
#ifndef DROVER_TESTS_FUZZ_H
#define DROVER_TESTS_FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base.h"
#include "common/slice.h"

/* libFuzzer calls this with every input. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

/* Ends the run; libFuzzer keeps the input and prints where it was. */
#define FUZZ_FAIL(...)                        \
	do {                                  \
		fprintf(stderr, "FOUND: ");   \
		fprintf(stderr, __VA_ARGS__); \
		fputc('\n', stderr);          \
		abort();                      \
	} while (0)

#define FUZZ_CHECK(holds, ...)                  \
	do {                                    \
		if (!(holds))                   \
			FUZZ_FAIL(__VA_ARGS__); \
	} while (0)

/* Prints as %.*s */
#define S(slice) (int)(slice).n, (slice).n ? (slice).p : ""

/* A copy of exactly `n` bytes: reading one behind it, or writing to what a caller
 * only lent, is seen.  free() ends it. */
static inline char *fuzz_copy(const void *p, size_t n)
{
	char *copy = malloc(n ? n : 1);

	if (!copy)
		abort();
	if (n)
		memcpy(copy, p, n);
	return copy;
}

/* Bytes that grow; ended with free(b.p). */
struct fuzz_bytes {
	char *p;
	size_t n, room;
};

static inline void fuzz_append(struct fuzz_bytes *b, const char *p, size_t n)
{
	if (b->room - b->n < n) {
		b->room = 2 * b->room + n + 256;
		b->p = realloc(b->p, b->room);
		if (!b->p)
			abort();
	}
	if (n)
		memcpy(b->p + b->n, p, n);
	b->n += n;
}

static inline bool fuzz_begins(const struct fuzz_bytes *b, const struct fuzz_bytes *with)
{
	return with->n <= b->n && (!with->n || memcmp(b->p, with->p, with->n) == 0);
}

/* Where to cut an input of `n` bytes into pieces: the same input, the same cuts.
 * Gives lengths that grow up to n.  The way of cutting is one of four: byte by byte,
 * in two anywhere or not at all, in pieces of up to 8 or of up to 200 bytes. */
struct fuzz_cuts {
	uint64_t state;
	size_t at, n;
	unsigned way;
};

static inline uint64_t fuzz_next(uint64_t *state)
{
	uint64_t z = (*state += 0x9e3779b97f4a7c15u);

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	return z ^ (z >> 29);
}

static inline struct fuzz_cuts fuzz_cuts(const char *p, size_t n, unsigned way)
{
	struct fuzz_cuts c = { .state = n, .n = n, .way = way & 3 };

	for (size_t i = 0; i < n; i++)
		c.state = (c.state ^ (uint8_t)p[i]) * 0x100000001b3u;
	return c;
}

/* False: the last gave all. */
static inline bool fuzz_cut(struct fuzz_cuts *c, size_t *ret_end)
{
	size_t left = c->n - c->at, step = 1;

	if (left == 0)
		return false;
	if (c->way == 1)
		step = c->at || c->state & 1 ? left : 1 + fuzz_next(&c->state) % left;
	else if (c->way > 1)
		step = 1 + fuzz_next(&c->state) % (c->way == 2 ? 8 : 200);
	c->at += MIN(step, left);
	*ret_end = c->at;
	return true;
}

#endif
