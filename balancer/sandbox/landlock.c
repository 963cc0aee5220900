/* Landlock by its three system calls; see landlock.h.
 *
 * Beside the filter of system calls, not instead of it: Landlock sits where the kernel does the
 * work, and sees the paths and ports that a filter cannot.  There is no library in Debian 12,
 * and its linux/landlock.h knows versions 1 to 3: what is newer is spelled out here. */
#include "balancer/sandbox/landlock.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common/fd.h"

/* include/uapi/linux/landlock.h of Linux 6.12. */
struct attributes {
	uint64_t files;  /* handled_access_fs */
	uint64_t net;    /* handled_access_net, from 4 */
	uint64_t scoped; /* from 6 */
};
struct port {
	uint64_t access, number;
};

#define RULE_NET_PORT 2
#define NET_BIND_TCP (1u << 0)
#define NET_CONNECT_TCP (1u << 1)
#define SCOPE_ABSTRACT_UNIX (1u << 0)
#define SCOPE_SIGNAL (1u << 1)

/* Bits below this one are rights to files that version knows. */
static uint64_t file_rights(int version)
{
	static const uint8_t bits[] = { [1] = 13, [2] = 14, [3] = 15, [4] = 15, [5] = 16 };

	return (UINT64_C(1) << bits[MIN((size_t)version, ARRAY_LEN(bits) - 1)]) - 1;
}

int landlock_version(void)
{
	long version = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);

	return version > 0 ? (int)version : 0;
}

/* Sanitizers read /proc and symbols, and run the symbolizer, when they have to report. */
static bool add_files_of_sanitizers(int rules)
{
#if FILTER_WIDE
	struct landlock_path_beneath_attr all = {
		.allowed_access = LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_READ_FILE |
				  LANDLOCK_ACCESS_FS_READ_DIR | LANDLOCK_ACCESS_FS_WRITE_FILE,
		.parent_fd = open("/", O_PATH | O_CLOEXEC),
	};
	int fd = all.parent_fd;
	bool added = syscall(SYS_landlock_add_rule, rules, LANDLOCK_RULE_PATH_BENEATH, &all, 0) == 0;

	fd_close(&fd);
	return added;
#else
	(void)rules;
	return true;
#endif
}

static bool add_port(int rules, uint16_t number)
{
	struct port port = { .access = NET_CONNECT_TCP, .number = number };

	return syscall(SYS_landlock_add_rule, rules, RULE_NET_PORT, &port, 0) == 0;
}

enum err landlock_close(uint16_t connect_port)
{
	int version = landlock_version();
	enum err e = ERR_SYS;

	if (version == 0)
		return ERR_MISSING;
	bool net = version >= 4;
	struct attributes a = {
		.files = file_rights(version),
		.net = !net           ? 0
		       : connect_port ? NET_BIND_TCP | NET_CONNECT_TCP
				      : NET_BIND_TCP,
		.scoped = version >= 6 ? SCOPE_ABSTRACT_UNIX | SCOPE_SIGNAL : 0,
	};
	int rules = (int)syscall(SYS_landlock_create_ruleset, &a, sizeof(a), 0);
	if (rules < 0)
		return ERR_SYS;
	if (add_files_of_sanitizers(rules) &&
	    (!net || !connect_port || add_port(rules, connect_port)) &&
	    syscall(SYS_landlock_restrict_self, rules, 0) == 0)
		e = ERR_OK;
	fd_close(&rules);
	return e;
}
