/* One datagram; called by drover-worker.
 *
 * libsystemd has the same as sd_notify().  It is not used here: it would be linked, with the
 * libraries it pulls in, into every worker for the one sendto() below. */
#include "common/notify.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "common/contract.h"
#include "common/fd.h"

/* "/path" or "@name", which is one in the abstract namespace (unix(7)). */
static bool to_address(const char *path, struct sockaddr_un *ret, socklen_t *ret_bytes)
{
	size_t n = strlen(path);

	if ((path[0] != '/' && path[0] != '@') || n < 2 || n >= sizeof(ret->sun_path))
		return false;
	*ret = (struct sockaddr_un){ .sun_family = AF_UNIX };
	memcpy(ret->sun_path, path, n);
	if (path[0] == '@')
		ret->sun_path[0] = '\0';
	*ret_bytes = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n);
	return true;
}

enum err notify_send(const char *text)
{
	const char *path = getenv(CONTRACT_NOTIFY);
	struct sockaddr_un address;
	socklen_t bytes;

	if (!path || !path[0])
		return ERR_OK;
	if (!to_address(path, &address, &bytes))
		return ERR_RANGE;
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return ERR_SYS;
	ssize_t n = sendto(fd, text, strlen(text), MSG_NOSIGNAL, (struct sockaddr *)&address,
			   bytes);
	fd_close(&fd); /* keeps errno */
	return n < 0 ? ERR_SYS : ERR_OK;
}
