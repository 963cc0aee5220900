/* Micro-benchmarks: what one piece of the data path costs, without sockets. */
#ifndef DROVER_TESTS_MICRO_H
#define DROVER_TESTS_MICRO_H

#include <stdbool.h>
#include <stddef.h>

/* One line of the table.  `run` does the thing once; what it works on is prepared
 * before.  False: the result was wrong, and a time would mean nothing. */
struct micro_case {
	const char *what, *sample;
	size_t bytes; /* that one run looks at or writes */
	bool (*run)(const void *arg);
	const void *arg;
};

#define MICRO_CASES_MAX 64

/* Fills `cases`; how many.  Called once. */
size_t micro_cases(struct micro_case cases[static MICRO_CASES_MAX]);

#endif
