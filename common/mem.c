/* The allocation seam, in every process.  mem_must_*() is for boot and
 * configuration, where there is nothing better to do than to stop; mem_alloc*()
 * is for everything that happens while traffic flows. */
#include "common/mem.h"

#include <malloc.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/contract.h"
#include "common/log.h"

static uint64_t fault_in; /* allocations until the injected failure; 0: off */
static bool fault_hit;

static void *or_die(void *ptr)
{
	if (!ptr)
		die(EXIT_FAILED, "out of memory");
	return ptr;
}

void *mem_must_alloc(size_t bytes)
{
	return or_die(calloc(1, bytes ? bytes : 1));
}

void *mem_must_grow(void *ptr, size_t bytes)
{
	return or_die(realloc(ptr, bytes ? bytes : 1));
}

char *mem_must_dup(const char *text)
{
	return text ? mem_must_dupn(text, strlen(text)) : NULL;
}

char *mem_must_dupn(const char *text, size_t n)
{
	char *copy = mem_must_alloc(n + 1);

	if (n)
		memcpy(copy, text, n);
	return copy;
}

char *mem_must_printf(const char *fmt, ...)
{
	char *text = NULL;
	va_list ap;

	va_start(ap, fmt);
	int n = vasprintf(&text, fmt, ap);
	va_end(ap);
	return or_die(n < 0 ? NULL : text);
}

/* Whether this very allocation is the one a test wants to fail. */
static bool fault_now(void)
{
	if (!fault_in || --fault_in)
		return false;
	fault_hit = true;
	return true;
}

void *mem_alloc(size_t bytes)
{
	if (UNLIKELY(fault_now()))
		return NULL;
	return malloc(bytes ? bytes : 1); /* NULL always means failure */
}

void *mem_alloc_zero(size_t bytes)
{
	if (UNLIKELY(fault_now()))
		return NULL;
	return calloc(1, bytes ? bytes : 1);
}

void mem_free(void *ptr)
{
	free(ptr);
}

void mem_wipe(void *ptr)
{
	if (ptr)
		explicit_bzero(ptr, malloc_usable_size(ptr));
	free(ptr);
}

__attribute__((noinline)) void mem_wipe_stack(void)
{
	char below[MEM_STACK_BYTES];

	explicit_bzero(below, sizeof(below));
}

void mem_fault_at(uint64_t n)
{
	fault_in = n;
	fault_hit = false;
}

int mem_fault_hit(void)
{
	return fault_hit;
}
