/* Tests that each have a folder of their own, `dir`, and end with the descriptors they began with. */
#ifndef DROVER_TESTS_OWN_FOLDER_H
#define DROVER_TESTS_OWN_FOLDER_H

#include "lib/check.h"
#include "lib/process.h"

static char dir[128];
static int fds_before;

static inline int set_up(void **state)
{
	(void)state;
	fds_before = count_fds();
	return scratch_new(dir) ? 0 : -1;
}

static inline int tear_down(void **state)
{
	(void)state;
	scratch_remove(dir);
	if (count_fds() == fds_before)
		return 0;
	print_error("%d descriptors before, %d after\n", fds_before, count_fds());
	return -1;
}

#endif
