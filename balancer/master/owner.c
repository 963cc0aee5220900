/* Finding the process behind a listening port; in the master, called by ready.c when a
 * starting worker's port accepts for the first time.
 *
 *   sock_diag: port ──► inodes of the sockets that listen there
 *   /proc:     worker ──► its descendants ──► their descriptors "socket:[INODE]"
 *
 * Only the worker's own family is looked at, so the cost does not grow with what else runs
 * on the machine.  In doubt the answer is UNKNOWN, and nothing is refused for it.
 */
#include "balancer/master/owner.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base.h"
#include "common/fd.h"

#define SOCKETS_MAX 64    /* that listen on one port: SO_REUSEPORT */
#define FAMILY_MAX 128    /* processes */
#define LOOKS_MAX 8192    /* descriptors of all of them */
#define LISTENING (1u << 10) /* TCP_LISTEN of the kernel's enum, which no header shows */

struct sockets {
	uint32_t inodes[SOCKETS_MAX];
	unsigned n;
};

/* ---- who listens -------------------------------------------------------- */

/* Whether a socket bound like that is reached by connections to the IPv4 address `a`. */
static bool serves(const struct inet_diag_msg *msg, const struct addr *a)
{
	const uint32_t *at = msg->id.idiag_src;
	uint32_t wanted = a->in.sin_addr.s_addr;

	if (msg->idiag_family == AF_INET)
		return at[0] == 0 || at[0] == wanted;
	if (at[0] || at[1])
		return false;
	return (at[2] == 0 && at[3] == 0) || (at[2] == htonl(0xffff) && at[3] == wanted);
}

/* False: there is more of them than fit, or the answer is an error. */
static bool take(struct sockets *s, const char *buf, size_t n, const struct addr *a, bool *ret_done)
{
	for (const struct nlmsghdr *h = (const void *)buf; NLMSG_OK(h, n); h = NLMSG_NEXT(h, n)) {
		if (h->nlmsg_type == NLMSG_DONE) {
			*ret_done = true;
			return true;
		}
		if (h->nlmsg_type != SOCK_DIAG_BY_FAMILY ||
		    h->nlmsg_len < NLMSG_LENGTH(sizeof(struct inet_diag_msg)))
			return false;
		const struct inet_diag_msg *msg = NLMSG_DATA(h);
		if (msg->id.idiag_sport != a->in.sin_port || !serves(msg, a))
			continue;
		if (s->n == SOCKETS_MAX)
			return false;
		s->inodes[s->n++] = msg->idiag_inode;
	}
	return true;
}

/* The answer lies ready when the question has been sent: the kernel does not sleep on it. */
static bool ask(int fd, uint8_t family, const struct addr *a, struct sockets *s)
{
	struct {
		struct nlmsghdr head;
		struct inet_diag_req_v2 req;
	} question = {
		.head = { .nlmsg_len = sizeof(question), .nlmsg_type = SOCK_DIAG_BY_FAMILY,
			  .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP },
		.req = { .sdiag_family = family, .sdiag_protocol = IPPROTO_TCP,
			 .idiag_states = LISTENING, .id = { .idiag_sport = a->in.sin_port } },
	};
	char buf[16384] __attribute__((aligned(NLMSG_ALIGNTO)));
	bool done = false;

	if (send(fd, &question, sizeof(question), 0) != (ssize_t)sizeof(question))
		return false;
	while (!done) {
		ssize_t n = recv(fd, buf, sizeof(buf), 0);
		if (n <= 0 || !take(s, buf, (size_t)n, a, &done))
			return false;
	}
	return true;
}

static bool find_listeners(const struct addr *a, struct sockets *s)
{
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_SOCK_DIAG);
	bool known = fd >= 0 && ask(fd, AF_INET, a, s);

	/* A kernel without IPv6 has no such sockets. */
	if (known && access("/proc/net/tcp6", F_OK) == 0)
		known = ask(fd, AF_INET6, a, s);
	fd_close(&fd);
	return known;
}

/* ---- the worker's family ------------------------------------------------ */

struct family {
	pid_t pids[FAMILY_MAX];
	unsigned n;
	unsigned looks;  /* descriptors looked at */
	bool incomplete; /* there is more of it than was looked at */
};

static void add_children(struct family *f, const char *path)
{
	char text[4096];
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);

	fd_close(&fd);
	if (n < 0) { /* the thread has ended, or the kernel was built without these lists */
		f->incomplete = true;
		return;
	}
	text[n] = '\0';
	for (char *p = text, *end; *p; p = end) {
		long pid = strtol(p, &end, 10);
		if (end == p)
			break;
		if (f->n < FAMILY_MAX)
			f->pids[f->n++] = (pid_t)pid;
		else
			f->incomplete = true;
	}
	f->incomplete |= n == (ssize_t)sizeof(text) - 1;
}

/* Each thread has its own list. */
static void add_children_of(struct family *f, pid_t pid)
{
	char path[64 + NAME_MAX];
	snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
	DIR *tasks = opendir(path);
	const struct dirent *task;

	while (tasks && (task = readdir(tasks))) {
		if (task->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "/proc/%d/task/%s/children", (int)pid, task->d_name);
		add_children(f, path);
	}
	if (tasks)
		closedir(tasks);
}

static bool is_one_of(const struct sockets *s, const char *link)
{
	unsigned inode;

	if (sscanf(link, "socket:[%u]", &inode) != 1)
		return false;
	for (unsigned i = 0; i < s->n; i++)
		if (s->inodes[i] == inode)
			return true;
	return false;
}

static bool holds(struct family *f, pid_t pid, const struct sockets *s)
{
	char path[64], link[64];
	bool found = false;
	snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
	DIR *files = opendir(path);
	const struct dirent *file;

	if (!files) {
		f->incomplete |= errno != ENOENT;
		return false;
	}
	while (!found && (file = readdir(files))) {
		if (++f->looks > LOOKS_MAX) {
			f->incomplete = true;
			break;
		}
		ssize_t n = readlinkat(dirfd(files), file->d_name, link, sizeof(link) - 1);
		if (n < 0) {
			f->incomplete |= errno == EACCES;
			continue;
		}
		link[n] = '\0';
		found = is_one_of(s, link);
	}
	closedir(files);
	return found;
}

enum owner owner_of_listener(const struct addr *a, pid_t worker)
{
	struct sockets s = { .n = 0 };
	struct family f = { .pids = { worker }, .n = 1 };

	if (a->sa.sa_family != AF_INET || !find_listeners(a, &s) || s.n == 0)
		return OWNER_UNKNOWN;
	for (unsigned i = 0; i < f.n; i++) {
		if (holds(&f, f.pids[i], &s))
			return OWNER_WORKER;
		add_children_of(&f, f.pids[i]);
	}
	return f.incomplete ? OWNER_UNKNOWN : OWNER_OTHER;
}
