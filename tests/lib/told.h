/* What the log said meanwhile, and counting in it. */
#ifndef DROVER_TESTS_TOLD_H
#define DROVER_TESTS_TOLD_H

#include "lib/check.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base.h"
#include "common/fd.h"
#include "common/log.h"

/* Between told_start() and told_end() the log is kept. */
struct told {
	int log[2];
	char text[8192];
};

static inline void told_start(struct told *t)
{
	assert_int_equal(pipe(t->log), 0);
	assert_int_equal(fd_set_nonblock(t->log[0], true), ERR_OK);
	log_to_fd(t->log[1]);
}

static inline const char *told_end(struct told *t)
{
	ssize_t n = read(t->log[0], t->text, sizeof(t->text) - 1);

	log_to_fd(STDERR_FILENO);
	t->text[MAX(n, 0)] = '\0';
	close(t->log[0]);
	close(t->log[1]);
	return t->text;
}

/* The sum of the numbers before `words` in `text`, of which there may be many. */
static inline uint64_t sum_before(const char *text, const char *words)
{
	uint64_t sum = 0;

	for (const char *p = text; (p = strstr(p, words)); p++) {
		const char *from = p;
		while (from > text && from[-1] >= '0' && from[-1] <= '9')
			from--;
		sum += strtoull(from, NULL, 10);
	}
	return sum;
}

static inline size_t count_text(const char *text, const char *words)
{
	size_t n = 0;

	for (const char *p = text; (p = strstr(p, words)); p++)
		n++;
	return n;
}

#endif
