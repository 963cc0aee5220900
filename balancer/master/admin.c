/* Opening, changing and closing the admin sockets; in the master.  See admin.h.
 *
 * As with all that a reload brings, the new ones are opened before anything changes
 * (admin_prepare), and the old ones are closed when the new configuration is in force
 * (admin_commit). */
#include "balancer/master/admin.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "balancer/master/core.h"
#include "common/fd.h"
#include "common/log.h"
#include "common/mem.h"

#define BACKLOG 64
#define SOCKET_MODE 0600 /* who may connect may stop drover */

static void clear(struct admin_sockets *s)
{
	*s = (struct admin_sockets){ .fd = -1, .tcp_fd = -1, .warden_note = -1 };
}

void admin_init(struct admin *a)
{
	clear(&a->now);
	clear(&a->next);
}

static bool same_text(const char *a, const char *b)
{
	return a && b ? strcmp(a, b) == 0 : a == b;
}

static bool same_tcp(const struct addr *a, const struct addr *b)
{
	return a->len == b->len && (a->len == 0 || addr_equal(a, b));
}

/* Whether the socket in force can go on as the one at `path`: it may have been removed
 * meanwhile, by somebody who cleans up under /tmp. */
static bool still_there(const struct admin_sockets *now, const char *path)
{
	struct stat st;

	return now->fd >= 0 && same_text(now->path, path) && lstat(path, &st) == 0 &&
	       S_ISSOCK(st.st_mode);
}

/* ---- opening ------------------------------------------------------------ */

static const char *why_not(enum err e)
{
	if (e == ERR_RANGE)
		return "the path is too long for a Unix socket (at most 107 bytes)";
	if (e != ERR_SYS)
		return err_text(e);
	if (errno == ENOTSOCK)
		return "another kind of file is there";
	return errno == EADDRINUSE ? "another program listens there" : strerror(errno);
}

static enum err open_unix(struct master *m, struct admin_sockets *s, bool by_default)
{
	struct addr a;
	enum err e = addr_unix(s->path, &a);

	if (!e)
		e = fd_listen(&a, false, BACKLOG, SOCKET_MODE, &s->fd);
	if (!e) {
		s->warden_note = warden_note(&m->warden, s->path);
		return ERR_OK;
	}
	if (!by_default) {
		logs_complain(&m->logs, "admin.socket: cannot listen on %s: %s", s->path, why_not(e));
		return e;
	}
	log_warn("commands such as drover status will not find this instance: cannot listen on "
		 "%s: %s; name another place with admin.socket", s->path, why_not(e));
	mem_free(s->path);
	s->path = NULL;
	return ERR_OK;
}

static enum err open_tcp(struct master *m, struct admin_sockets *s)
{
	char text[ADDR_TEXT_MAX];
	enum err e = fd_listen(&s->tcp, false, BACKLOG, 0, &s->tcp_fd);

	if (e)
		logs_complain(&m->logs, "admin.listen: cannot listen on %s: %s",
			      addr_format(&s->tcp, text), why_not(e));
	return e;
}

enum err admin_prepare(struct master *m, const struct config *cfg)
{
	struct admin *a = &m->admin;
	struct admin_sockets *next = &a->next;
	bool by_default = cfg->admin_socket && strcmp(cfg->admin_socket, "auto") == 0;
	enum err e = ERR_OK;

	admin_rollback(m);
	if (by_default)
		next->path = mem_must_printf("%s/%s.sock", m->rundir.path, m->rundir.name);
	else
		next->path = mem_must_dup(cfg->admin_socket);
	if (cfg->admin_listen.text)
		next->tcp = cfg->admin_listen.address;
	if (next->path && !still_there(&a->now, next->path))
		e = open_unix(m, next, by_default);
	if (!e && next->tcp.len && !same_tcp(&a->now.tcp, &next->tcp))
		e = open_tcp(m, next);
	if (e)
		admin_rollback(m);
	return e;
}

/* ---- changing ----------------------------------------------------------- */

/* The file goes with it, if it is still the one that was made for it. */
static void close_unix(struct master *m, struct admin_sockets *s)
{
	warden_remove_note(&m->warden, s->warden_note);
	fd_close(&s->fd);
	mem_free(s->path);
	s->path = NULL;
	s->warden_note = -1;
}

bool admin_commit(struct master *m)
{
	struct admin_sockets *now = &m->admin.now, *next = &m->admin.next;
	bool changed = next->fd >= 0 || !same_text(now->path, next->path);
	bool changed_tcp = next->tcp_fd >= 0 || !same_tcp(&now->tcp, &next->tcp);

	if (changed) {
		close_unix(m, now);
		now->path = next->path;
		now->fd = next->fd;
		now->warden_note = next->warden_note;
		next->path = NULL;
		if (rundir_write_lock(&m->rundir, &m->logs, now->path))
			log_warn("commands will not find this instance");
	}
	if (changed_tcp) {
		fd_close(&now->tcp_fd);
		now->tcp = next->tcp;
		now->tcp_fd = next->tcp_fd;
	}
	mem_free(next->path);
	clear(next);
	return changed || changed_tcp;
}

void admin_rollback(struct master *m)
{
	struct admin_sockets *next = &m->admin.next;

	if (next->fd >= 0)
		close_unix(m, next);
	fd_close(&next->tcp_fd);
	mem_free(next->path);
	clear(next);
}

void admin_fini(struct master *m)
{
	admin_rollback(m);
	if (m->admin.now.path)
		close_unix(m, &m->admin.now);
	fd_close(&m->admin.now.tcp_fd);
	clear(&m->admin.now);
}
