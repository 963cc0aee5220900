/* cmocka with what it needs included first, and checks for tables of cases: a
 * failure names the row and shows both values. */
#ifndef DROVER_TESTS_CHECK_H
#define DROVER_TESTS_CHECK_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

/* `row` is text that tells the case from the others. */
#define check_row(row, condition)                                              \
	do {                                                                   \
		if (!(condition)) {                                            \
			print_error("row \"%s\": not %s\n", (row), #condition); \
			_fail(__FILE__, __LINE__);                             \
		}                                                              \
	} while (0)

#define check_row_int(row, got, want) \
	check_int_at((row), #got, (long long)(got), (long long)(want), __FILE__, __LINE__)

#define check_row_text(row, got, want) \
	check_text_at((row), #got, (got), (want), __FILE__, __LINE__)

static inline void check_int_at(const char *row, const char *what, long long got, long long want,
				const char *file, int line)
{
	if (got == want)
		return;
	print_error("row \"%s\": %s is %lld, not %lld\n", row, what, got, want);
	_fail(file, line);
}

static inline void check_text_at(const char *row, const char *what, const char *got,
				 const char *want, const char *file, int line)
{
	if (got && want && strcmp(got, want) == 0)
		return;
	print_error("row \"%s\": %s is \"%s\", not \"%s\"\n", row, what, got ? got : "(NULL)",
		    want ? want : "(NULL)");
	_fail(file, line);
}

#endif
