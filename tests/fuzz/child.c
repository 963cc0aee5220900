/* See child.h. */
#include "fuzz/child.h"

#include <sys/eventfd.h>
#include <sys/types.h>
#include <unistd.h>

#include "common/fd.h"
#include "common/msg.h"
#include "fuzz/fuzz.h"

int child_peer = -1;
unsigned child_kills, child_forks;
static int child_pidfd = -1; /* of the last that was started */

pid_t __wrap_fork(void);
enum err __wrap_fd_of_pid(pid_t pid, int *ret_fd);
enum err __wrap_fd_signal_pid(int pidfd, int sig);
enum err __real_msg_pair(int ret_fds[2]);
enum err __wrap_msg_pair(int ret_fds[2]);

pid_t __wrap_fork(void)
{
	child_forks++;
	return CHILD_PID;
}

enum err __wrap_fd_of_pid(pid_t pid, int *ret_fd)
{
	(void)pid;
	child_pidfd = *ret_fd = eventfd(0, EFD_CLOEXEC);
	return *ret_fd < 0 ? ERR_SYS : ERR_OK;
}

enum err __wrap_fd_signal_pid(int pidfd, int sig)
{
	(void)sig;
	FUZZ_CHECK(pidfd == child_pidfd, "a signal goes to another process");
	child_kills++;
	return ERR_OK;
}

enum err __wrap_msg_pair(int ret_fds[2])
{
	enum err e = __real_msg_pair(ret_fds);

	if (e == ERR_OK)
		child_peer = dup(ret_fds[1]);
	return e;
}
