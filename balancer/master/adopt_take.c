/* Fetching what a master left that was killed; in a master that starts.  It serves nobody
 * yet, and may wait: a moment for the warden to notice, and then for its packets. */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "balancer/master/adopt_wire.h"
#include "balancer/master/adoption.h"
#include "balancer/master/core.h"
#include "common/fd.h"
#include "common/log.h"
#include "common/mem.h"

#define OFFER_MS 2000 /* for the warden to see that the master has died */
#define LOOK_MS 10

/* Only from one of our own user: what comes is believed. */
static bool is_of_our_user(int conn)
{
	struct ucred who;

	return getsockopt(conn, SOL_SOCKET, SO_PEERCRED, &who, &(socklen_t){ sizeof(who) }) == 0 &&
	       who.uid == geteuid();
}

/* -1: nobody listens (yet). */
static int connect_to(const struct rundir *r)
{
	char *path = rundir_adopt_path(r);
	struct addr a;
	enum err e = addr_unix(path, &a);
	int conn = e ? -1 : socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	if (conn >= 0 && connect(conn, &a.sa, a.len) != 0)
		fd_close(&conn);
	mem_free(path);
	return conn;
}

/* ERR_MISSING: the lock is free, and now ours. */
static enum err await_offer(struct master *m, int *ret_conn)
{
	uint64_t until = master_now_us() + OFFER_MS * 1000;

	for (;;) {
		*ret_conn = connect_to(&m->rundir);
		if (*ret_conn >= 0)
			return ERR_OK;
		enum err e = rundir_try_again(&m->rundir, &m->logs, master_now_us() > until);
		if (e != ERR_CLOSED)
			return e ? e : ERR_MISSING;
		poll(NULL, 0, LOOK_MS);
	}
}

enum err adoption_fetch(struct master *m, struct estate *ret_estate)
{
	struct estate got = { .state_fd = -1, .pid = rundir_owner(&m->rundir) };
	enum err e = await_offer(m, &got.conn);

	if (e)
		return e;
	if (!is_of_our_user(got.conn)) {
		logs_complain(&m->logs,
			      "cannot take over from pid %d: whoever offers it is another "
			      "user",
			      (int)got.pid);
		fd_close(&got.conn);
		return ERR_PROTOCOL;
	}
	e = adopt_recv(got.conn, &got.state_fd, &got.fds, &got.n_fds);
	if (e == ERR_CLOSED) { /* another one was quicker, or the wait is over */
		fd_close(&got.conn);
		e = rundir_try_again(&m->rundir, &m->logs, true);
		return e ? e : ERR_MISSING;
	}
	if (e) {
		logs_complain(&m->logs, "cannot take over from pid %d: %s", (int)got.pid,
			      e == ERR_SYS ? strerror(errno) : err_text(e));
		fd_close(&got.conn);
		return e;
	}
	*ret_estate = got;
	return ERR_OK;
}

void adoption_taken(struct estate *e)
{
	struct pollfd p = { .fd = e->conn, .events = POLLIN };

	/* What it holds besides us it has closed when it has gone. */
	if (send(e->conn, ADOPT_TAKEN, 1, MSG_NOSIGNAL) == 1)
		poll(&p, 1, ADOPT_WAIT_MS);
	fd_close(&e->conn);
	fd_close(&e->state_fd);
}
