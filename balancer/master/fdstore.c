/* Speaking to the descriptor store; in the master, called by listener.c.  One datagram per
 * socket: it is sent once, at its opening, and a manager that has no room says nothing. */
#include "balancer/master/fdstore.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "balancer/master/core.h"
#include "balancer/master/listener.h"
#include "common/log.h"
#include "common/slice.h"

void fdstore_start(struct master *m)
{
	const char *text = getenv("FDSTORE");
	uint64_t room = 0;

	if (text && slice_to_u64(slice_of(text), UINT32_MAX, &room) == ERR_OK &&
	    m->supervisor.fd >= 0)
		m->supervisor.store = (uint32_t)room;
	unsetenv("FDSTORE");
}

bool fdstore_is_there(const struct master *m)
{
	return m->supervisor.store > 0;
}

const char *fdstore_name(const struct addr *a, char buf[static FDSTORE_NAME_MAX])
{
	char text[ADDR_TEXT_MAX], file[48] = "";
	struct stat st;

	if (addr_is_unix(a) && lstat(a->un.sun_path, &st) == 0)
		snprintf(file, sizeof(file), "_%llx_%llx", (unsigned long long)st.st_dev,
			 (unsigned long long)st.st_ino);
	snprintf(buf, FDSTORE_NAME_MAX, FDSTORE_STORED "%s%s", addr_format(a, text), file);
	for (char *c = buf; *c; c++)
		if (*c == ':' || *c <= ' ' || *c > '~')
			*c = '_';
	return buf;
}

void fdstore_keep(struct master *m, const struct listener *l, size_t from)
{
	char name[FDSTORE_NAME_MAX], text[FDSTORE_NAME_MAX + 32];

	/* Those of a .socket unit are the manager's already. */
	if (!m->supervisor.store || l->inherited)
		return;
	snprintf(text, sizeof(text), "FDSTORE=1\nFDNAME=%s\n", fdstore_name(&l->actual, name));
	for (size_t i = from; i < l->n_fds; i++)
		supervisor_tell(m, text, l->fds[i]);
}

void fdstore_forget(struct master *m, const struct addr *a)
{
	char name[FDSTORE_NAME_MAX];

	fdstore_forget_name(m, fdstore_name(a, name));
}

void fdstore_forget_name(struct master *m, const char *name)
{
	char text[FDSTORE_NAME_MAX + 32];

	if (!m->supervisor.store)
		return;
	snprintf(text, sizeof(text), "FDSTOREREMOVE=1\nFDNAME=%s\n", name);
	supervisor_tell(m, text, -1);
}
