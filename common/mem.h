/* The allocation seam.  Boot calls die on failure; run-time calls can fail and
 * the caller handles it.  Tests make the n-th run-time allocation fail. */
#ifndef DROVER_COMMON_MEM_H
#define DROVER_COMMON_MEM_H

#include <stddef.h>
#include <stdint.h>

#include "common/base.h"

/* Boot and configuration: never NULL; exits 1 with "out of memory". */
MUST_CHECK void *mem_must_alloc(size_t bytes);          /* zeroed */
MUST_CHECK void *mem_must_grow(void *ptr, size_t bytes); /* realloc; new bytes unset */
MUST_CHECK char *mem_must_dup(const char *text);         /* NULL gives NULL */
MUST_CHECK char *mem_must_dupn(const char *text, size_t n); /* adds a NUL */
MUST_CHECK char *mem_must_printf(const char *fmt, ...) PRINTF_LIKE(1, 2);

/* Run time: NULL when out of memory, or when a test says so. */
MUST_CHECK void *mem_alloc(size_t bytes);     /* unset */
MUST_CHECK void *mem_alloc_zero(size_t bytes);
void mem_free(void *ptr);                     /* accepts NULL; for all of the above */
void mem_wipe(void *ptr);                     /* the same, of what may hold a secret: overwritten first */

/* Overwrites MEM_STACK_BYTES of the stack below the caller: what calls that have returned
 * left there, and the registers that the kernel stored there for a signal, which hold up to
 * 64 bytes of whatever was copied last. */
void mem_wipe_stack(void);
#define MEM_STACK_BYTES 65536

/* Tests only: the `n`-th run-time allocation from now on fails (1 = the next),
 * once; 0 switches injection off.  mem_fault_hit() says whether it happened. */
void mem_fault_at(uint64_t n);
int mem_fault_hit(void);

#endif
