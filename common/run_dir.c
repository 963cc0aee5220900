/* See run_dir.h.  In the master and in the commands. */
#include "common/run_dir.h"

#include <stdlib.h>

#include "common/mem.h"

char *run_dir_place(uid_t uid, unsigned i)
{
	const char *xdg = getenv("XDG_RUNTIME_DIR");

	if (uid == 0 && i-- == 0)
		return mem_must_dup("/run/drover");
	if (uid != 0 && xdg && xdg[0] == '/' && i-- == 0)
		return mem_must_printf("%s/drover", xdg);
	return i == 0 ? mem_must_printf("/tmp/drover-%u", (unsigned)uid) : NULL;
}
