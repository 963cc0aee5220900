/* Socket activation; in the master, at its start.
 *
 *   descriptors 3 .. 2+LISTEN_FDS ─► checked ─► taken by address (listener.c) ─► kept to the end
 *                                       └ wrong kind: no start    └ not asked for: closed
 *
 * There is one socket per address where our own are one per balancer: the balancers
 * share its queue, as they do with Unix sockets.  All that are idle wake for a
 * connection, one gets it.  (EPOLLEXCLUSIVE would wake one, but can be had neither
 * through libevent nor from an epoll set inside its own; more sockets with
 * SO_REUSEPORT beside this one would lose their queues when drover ends, while this one
 * keeps its own.)  Several for one address, from units with ReusePort=, are shared out.
 *
 * The price: a burst of connections goes to whoever wakes first.  Measured on two cores,
 * 64 clients that connect at once: all of them at one of two balancers, where sockets of
 * our own give 35 and 29.  Taking one connection per turn did not change that: the other
 * balancer gets a processor only when the burst is over.
 */
#include "balancer/master/activation.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "balancer/master/core.h"
#include "balancer/master/fdstore.h"
#include "balancer/master/listener.h"
#include "balancer/master/state_in.h"
#include "balancer/master/state_out.h"
#include "common/fd.h"
#include "common/log.h"
#include "common/mem.h"

#define FIRST_FD 3
#define SOCKETS_MAX 1024

struct activated {
	int fd;
	bool used;
	bool both_families;  /* [::]:port that takes IPv4 too */
	struct addr bound;
	char name[FDSTORE_NAME_MAX]; /* FileDescriptorName=, the unit's name by default */
};

static int int_option(int fd, int level, int option)
{
	int value = 0;
	socklen_t len = sizeof(value);

	return getsockopt(fd, level, option, &value, &len) == 0 ? value : -1;
}

/* What keeps us from using it, and the remedy; NULL: nothing. */
static const char *fault(const struct activated *s)
{
	struct stat st;

	if (fstat(s->fd, &st) != 0)
		return "is not open; start drover through a .socket unit, or without LISTEN_FDS";
	if (!S_ISSOCK(st.st_mode))
		return "is not a socket; drover needs ListenStream= in the .socket unit";
	if (int_option(s->fd, SOL_SOCKET, SO_TYPE) != SOCK_STREAM)
		return "is not a stream socket; drover needs ListenStream= in the .socket unit";
	if (int_option(s->fd, SOL_SOCKET, SO_ACCEPTCONN) != 1)
		return "is not listening; drover needs Accept=no in the .socket unit";
	if (s->bound.sa.sa_family != AF_INET && s->bound.sa.sa_family != AF_INET6 &&
	    s->bound.sa.sa_family != AF_UNIX)
		return "is neither a TCP nor a Unix socket; drover needs ListenStream= with an "
		       "address, a port or a path in the .socket unit";
	return NULL;
}

static enum err adopt(struct master *m, struct activated *s)
{
	s->bound.len = sizeof(s->bound.un);
	if (getsockname(s->fd, &s->bound.sa, &s->bound.len) != 0)
		s->bound.sa.sa_family = AF_UNSPEC;
	const char *why = fault(s);
	if (why) {
		logs_complain(&m->logs, "cannot start: socket \"%s\" (descriptor %d) from the service "
			      "manager %s", s->name, s->fd, why);
		fd_close(&s->fd); /* one that was not open must not close what opens there next */
		return ERR_SYNTAX;
	}
	enum err e = fd_set_cloexec(s->fd, true);
	if (!e)
		e = fd_set_nonblock(s->fd, true);
	if (e) {
		logs_complain(&m->logs, "cannot start: socket \"%s\" from the service manager: %s",
			      s->name, strerror(errno));
		return e;
	}
	if (!addr_is_unix(&s->bound))
		fd_set_nodelay(s->fd);
	s->both_families = s->bound.sa.sa_family == AF_INET6 &&
			   IN6_IS_ADDR_UNSPECIFIED(&s->bound.in6.sin6_addr) &&
			   int_option(s->fd, IPPROTO_IPV6, IPV6_V6ONLY) == 0;
	return ERR_OK;
}

/* The next of the names that are separated by colons. */
static void next_name(const char **names, char *out, size_t size)
{
	size_t n = strcspn(*names, ":");

	snprintf(out, size, "%.*s", (int)MIN(n, size - 1), n ? *names : "unknown");
	*names += n + ((*names)[n] == ':');
}

static enum err take_all(struct master *m, size_t n)
{
	struct activation *a = &m->activation;
	const char *names = getenv("LISTEN_FDNAMES");
	enum err e = ERR_OK;

	names = names ? names : "";
	a->sockets = mem_alloc_zero(n * sizeof(*a->sockets));
	if (!a->sockets)
		return ERR_NOMEM;
	/* All of them are ours from here on, whatever the first fault is. */
	for (a->n = 0; a->n < n; a->n++) {
		struct activated *s = &a->sockets[a->n];
		s->fd = FIRST_FD + (int)a->n;
		next_name(&names, s->name, sizeof(s->name));
		enum err fault = adopt(m, s);
		e = e ? e : fault;
	}
	return e;
}

static bool meant_for_us(void)
{
	const char *pid = getenv("LISTEN_PID");
	uint64_t whose;

	return pid && !slice_to_u64(slice_of(pid), INT32_MAX, &whose) && (pid_t)whose == getpid();
}

enum err activation_start(struct master *m)
{
	const char *text = getenv("LISTEN_FDS");
	uint64_t n = 0;
	enum err e = ERR_OK;

	if (text && meant_for_us()) {
		e = slice_to_u64(slice_of(text), SOCKETS_MAX, &n);
		if (e)
			logs_complain(&m->logs, "cannot start: LISTEN_FDS=%s is not a number of "
				      "sockets up to %d", text, SOCKETS_MAX);
	}
	if (!e && n)
		e = take_all(m, n);
	m->activation.from_manager = n > 0;
	unsetenv("LISTEN_FDS");
	unsetenv("LISTEN_PID");
	unsetenv("LISTEN_FDNAMES");
	return e;
}

/* ListenStream=8080 opens [::]:8080 for both families: that answers at 0.0.0.0:8080. */
static bool answers_at(const struct activated *s, const struct addr *wanted)
{
	return addr_equal(&s->bound, wanted) ||
	       (s->both_families && wanted->sa.sa_family == AF_INET &&
		wanted->in.sin_addr.s_addr == htonl(INADDR_ANY) &&
		addr_port(wanted) == addr_port(&s->bound));
}

static bool is_stored(const struct activated *s)
{
	return strncmp(s->name, FDSTORE_STORED, strlen(FDSTORE_STORED)) == 0;
}

/* A Unix socket came back from the store, and where it is bound there is another file, or none. */
static bool is_stranded(const struct activated *s)
{
	char name[FDSTORE_NAME_MAX];

	return is_stored(s) && addr_is_unix(&s->bound) &&
	       strcmp(s->name, fdstore_name(&s->bound, name)) != 0;
}

enum err activation_take(struct activation *a, const struct addr *wanted, size_t nth,
			 struct addr *ret_bound, bool *ret_stored, int *ret_fd)
{
	for (size_t i = 0; i < a->n; i++) {
		struct activated *s = &a->sockets[i];
		if (s->fd < 0 || !answers_at(s, wanted) || is_stranded(s) || nth-- > 0)
			continue;
		int fd = fcntl(s->fd, F_DUPFD_CLOEXEC, FIRST_FD);
		if (fd < 0)
			return errno == EMFILE || errno == ENFILE ? ERR_FD_LIMIT : ERR_SYS;
		s->used = true;
		*ret_bound = s->bound;
		*ret_stored = is_stored(s);
		*ret_fd = fd;
		return ERR_OK;
	}
	return ERR_MISSING;
}

void activation_mark_used(struct master *m)
{
	for (size_t i = 0; i < m->activation.n; i++) {
		struct activated *s = &m->activation.sockets[i];
		list_each(it, &m->listeners) {
			const struct listener *l = list_entry(it, struct listener, link);
			s->used |= l->n_fds > 0 && (addr_equal(&s->bound, &l->actual) ||
						    answers_at(s, &l->wanted));
		}
	}
}

void activation_close_unused(struct master *m)
{
	struct activation *a = &m->activation;
	char text[ADDR_TEXT_MAX];

	for (size_t i = 0; i < a->n; i++) {
		struct activated *s = &a->sockets[i];
		if (s->fd >= 0 && is_stored(s)) {
			/* The listener has its own copy; or its address has left the configuration;
			 * or what its clients would connect to is another's by now. */
			if (!s->used)
				fdstore_forget_name(m, s->name);
			fd_close(&s->fd);
			continue;
		}
		if (s->used || s->fd < 0)
			continue;
		log_warn("socket \"%s\" from the service manager, %s, is no address of listen: "
			 "closed; name the address there, or take it out of the .socket unit",
			 s->name, addr_format(&s->bound, text));
		fd_close(&s->fd);
	}
}

/* ---- across an exec ----------------------------------------------------- */

static const struct state_field activated_fields[] = {
	STATE_FIELD(struct activated, FD, fd),
	STATE_FIELD(struct activated, BOOL, used),
	STATE_FIELD(struct activated, BOOL, both_families),
	STATE_FIELD(struct activated, ADDR, bound),
	STATE_FIELD(struct activated, TEXT, name),
};

void activation_save(const struct activation *a, struct state_out *o)
{
	for (size_t i = 0; i < a->n; i++) {
		if (a->sockets[i].fd < 0)
			continue;
		state_record(o, "activated");
		state_put(o, activated_fields, ARRAY_LEN(activated_fields), &a->sockets[i]);
	}
}

enum err activation_load(struct activation *a, const struct state_record *r)
{
	struct activated *grown;

	if (a->from_manager) /* which has given them anew, to the heir of a master that was killed */
		return ERR_OK;
	grown = mem_alloc_zero((a->n + 1) * sizeof(*grown));
	if (!grown)
		return ERR_NOMEM;
	if (a->n)
		memcpy(grown, a->sockets, a->n * sizeof(*grown));
	mem_free(a->sockets);
	a->sockets = grown;
	state_get(r, activated_fields, ARRAY_LEN(activated_fields), &grown[a->n++]);
	return ERR_OK;
}

void activation_fini(struct activation *a)
{
	for (size_t i = 0; i < a->n; i++)
		fd_close(&a->sockets[i].fd);
	mem_free(a->sockets);
	*a = (struct activation){ .sockets = NULL };
}
