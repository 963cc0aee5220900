/* Opening and keeping listening sockets; in the master.
 *
 *   prepare -> commit -> (inherited by generation after generation) -> leave -> freed
 *         \--> rollback
 *
 * An address may leave and come back while an old generation still drains it;
 * it is then opened a second time, and is not mistaken for somebody else's.
 */
#include "balancer/master/listener.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "balancer/master/core.h"
#include "balancer/master/fdstore.h"
#include "common/fd.h"
#include "common/log.h"
#include "common/mem.h"

#define BACKLOG 4096     /* cut by net.core.somaxconn */
#define UNIX_MODE 0666   /* as other servers do: who may connect is the directory's affair */

/* With sockets open; one whose address is leaving does not count. */
static struct listener *find_open(struct master *m, const struct addr *wanted)
{
	list_each(it, &m->listeners) {
		struct listener *l = list_entry(it, struct listener, link);
		if (l->n_fds > 0 && addr_equal(&l->wanted, wanted))
			return l;
	}
	return NULL;
}

static bool is_leaving(struct master *m, const struct addr *actual)
{
	list_each(it, &m->listeners) {
		struct listener *l = list_entry(it, struct listener, link);
		if (l->n_fds == 0 && l->users > 0 && addr_equal(&l->actual, actual))
			return true;
	}
	return false;
}

static void complain(struct master *m, const struct addr *a, int error)
{
	char text[ADDR_TEXT_MAX];
	const char *remedy = "";

	switch (error) {
	case EADDRINUSE:
		remedy = "; another program has it: stop that one, or choose another address with "
			 "--listen or in the configuration";
		break;
	case EACCES:
		remedy = addr_is_unix(a) ? "; check the directory's owner and mode"
					 : "; ports below 1024 need root or CAP_NET_BIND_SERVICE";
		break;
	case EADDRNOTAVAIL:
		remedy = "; no interface of this machine has that address";
		break;
	case ENOENT:
		remedy = "; create its directory first";
		break;
	case EMFILE:
	case ENFILE:
		remedy = "; raise the limit of open files (ulimit -n, LimitNOFILE=)";
		break;
	default:
		break;
	}
	logs_complain(&m->logs, "cannot listen on %s: %s%s", addr_format(a, text), strerror(error),
		      remedy);
}

static enum err make_room(struct master *m, struct listener *l)
{
	int *grown = mem_alloc((l->n_fds + 1) * sizeof(*grown));

	if (!grown) {
		complain(m, &l->actual, ENOMEM);
		return ERR_NOMEM;
	}
	if (l->n_fds)
		memcpy(grown, l->fds, l->n_fds * sizeof(*grown));
	mem_free(l->fds);
	l->fds = grown;
	return ERR_OK;
}

static enum err add_socket(struct master *m, struct listener *l)
{
	int fd;
	enum err e = make_room(m, l);

	if (e)
		return e;
	e = fd_listen(&l->actual, !addr_is_unix(&l->actual), BACKLOG, UNIX_MODE, &fd);
	if (e) {
		complain(m, &l->actual, errno);
		return e;
	}
	l->fds[l->n_fds++] = fd;
	return ERR_OK;
}

/* All that were inherited for this address.  ERR_OK also when there are none. */
static enum err add_inherited(struct master *m, struct listener *l)
{
	struct addr bound;
	bool stored;
	int fd;

	for (;;) {
		enum err e = make_room(m, l);
		if (e)
			return e;
		e = activation_take(&m->activation, &l->wanted, l->n_fds, &bound, &stored, &fd);
		if (e == ERR_MISSING)
			return ERR_OK;
		if (e) {
			complain(m, &l->wanted, errno);
			return e;
		}
		l->fds[l->n_fds++] = fd;
		l->actual = bound;
		if (stored)
			l->n_stored = l->n_fds;
		else
			l->inherited = true;
	}
}

static void free_listener(struct listener *l)
{
	list_remove(&l->link);
	mem_free(l->fds);
	mem_free(l);
}

/* A stored Unix socket is of use with its file alone. */
static void keep_file(struct master *m, struct listener *l)
{
	struct stat st = { .st_ino = 0 };

	(void)!lstat(l->actual.un.sun_path, &st);
	l->file_device = st.st_dev;
	l->file_inode = st.st_ino;
	l->file_stays = true;
	warden_forget_note(&m->warden, l->warden_note);
	l->warden_note = -1;
}

/* Its address has left the configuration: the file goes, if it is still the one. */
static void remove_file(const struct listener *l)
{
	struct stat st;

	if (l->file_stays && lstat(l->actual.un.sun_path, &st) == 0 &&
	    st.st_dev == l->file_device && st.st_ino == l->file_inode)
		unlink(l->actual.un.sun_path);
}

/* The first socket of a new listener: proves that nobody else has the address. */
static enum err open_first(struct master *m, struct listener *l)
{
	bool tcp = !addr_is_unix(&l->wanted);
	enum err e = add_inherited(m, l);

	if (e || l->inherited)
		return e;
	if (l->n_stored) {
		if (!tcp)
			keep_file(m, l);
		return ERR_OK;
	}
	if (tcp && addr_port(&l->wanted) != 0 && !is_leaving(m, &l->wanted) &&
	    fd_probe_bind(&l->wanted)) {
		complain(m, &l->wanted, errno);
		return ERR_SYS;
	}
	e = add_socket(m, l);
	if (e)
		return e;
	if (tcp) {
		struct addr bound = { .len = sizeof(bound.un) };
		if (getsockname(l->fds[0], &bound.sa, &bound.len) == 0)
			l->actual = bound;
	} else {
		l->warden_note = warden_note(&m->warden, l->actual.un.sun_path);
	}
	return ERR_OK;
}

enum err listener_prepare(struct master *m, const struct cfg_listen *wanted, uint32_t balancers,
			  struct listener **ret_listener)
{
	struct listener *l = find_open(m, &wanted->address);

	if (!l) {
		l = mem_alloc(sizeof(*l));
		if (!l) {
			complain(m, &wanted->address, ENOMEM);
			return ERR_NOMEM;
		}
		*l = (struct listener){ .wanted = wanted->address, .actual = wanted->address,
					.warden_note = -1 };
		list_push_back(&m->listeners, &l->link);
		enum err e = open_first(m, l);
		if (e)
			return e;
	}
	while (!addr_is_unix(&l->actual) && !l->inherited && l->n_fds < balancers) {
		enum err e = add_socket(m, l);
		if (e)
			return e;
	}
	*ret_listener = l;
	return ERR_OK;
}

void listeners_commit(struct master *m)
{
	list_each(it, &m->listeners) {
		struct listener *l = list_entry(it, struct listener, link);
		char text[ADDR_TEXT_MAX];
		if (l->n_committed == 0 && l->n_fds > 0)
			log_notice("listening on %s%s", addr_format(&l->actual, text),
				   l->inherited ? ", from the service manager" : "");
		for (size_t i = l->n_committed; i < l->n_fds; i++)
			fd_defer_accept(l->fds[i], true);
		if (fdstore_is_there(m) && addr_is_unix(&l->actual) && !l->inherited && !l->file_stays)
			keep_file(m, l);
		fdstore_keep(m, l, MAX(l->n_committed, l->n_stored));
		l->n_committed = l->n_fds;
	}
}

/* Closes our copies from the `from`-th on; with the first one a Unix socket's
 * file goes too: who connects now must not wait for a queue nobody empties. */
static void close_sockets(struct master *m, struct listener *l, size_t from)
{
	if (from == 0 && l->warden_note >= 0) {
		warden_remove_note(&m->warden, l->warden_note);
		l->warden_note = -1;
	}
	while (l->n_fds > from)
		fd_close(&l->fds[--l->n_fds]);
	l->n_committed = MIN(l->n_committed, l->n_fds);
}

static void free_if_unused(struct listener *l)
{
	if (l->n_fds == 0 && l->users == 0)
		free_listener(l);
}

void listeners_rollback(struct master *m)
{
	list_each_safe(it, &m->listeners) {
		struct listener *l = list_entry(it, struct listener, link);
		close_sockets(m, l, l->n_committed);
		free_if_unused(l);
	}
}

static bool named_by(const struct config *cfg, const struct listener *l)
{
	for (size_t i = 0; cfg && i < cfg->n_listens; i++)
		if (addr_equal(&cfg->listens[i].address, &l->wanted))
			return true;
	return false;
}

bool listeners_leave(struct master *m, const struct config *cfg)
{
	bool some = false;

	list_each_safe(it, &m->listeners) {
		struct listener *l = list_entry(it, struct listener, link);
		char text[ADDR_TEXT_MAX];
		if (l->n_fds == 0 || named_by(cfg, l))
			continue;
		if (cfg) { /* at its end drover may be about to be started anew */
			fdstore_forget(m, &l->actual);
			remove_file(l);
		}
		if (l->n_committed)
			log_notice("no longer listening on %s", addr_format(&l->actual, text));
		for (size_t i = 0; i < l->n_fds; i++)
			fd_defer_accept(l->fds[i], false);
		some |= l->n_committed > 0;
		close_sockets(m, l, 0);
		free_if_unused(l);
	}
	return some;
}

void listeners_mend(struct master *m)
{
	list_each(it, &m->listeners) {
		const struct listener *l = list_entry(it, struct listener, link);
		char text[ADDR_TEXT_MAX];
		for (size_t i = 0; i < l->n_fds; i++) {
			int listening = 1;
			if (getsockopt(l->fds[i], SOL_SOCKET, SO_ACCEPTCONN, &listening,
				       &(socklen_t){ sizeof(listening) }) != 0 || listening)
				continue;
			if (listen(l->fds[i], BACKLOG) == 0)
				log_error("a socket of %s did not listen any more; it does again",
					  addr_format(&l->actual, text));
			else
				log_error("a socket of %s does not listen any more: %s; restart drover",
					  addr_format(&l->actual, text), strerror(errno));
		}
	}
}

void listener_drop(struct master *m, struct listener *l)
{
	(void)m;
	l->users--;
	free_if_unused(l);
}
