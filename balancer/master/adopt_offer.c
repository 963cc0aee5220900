/* The time between two masters; in the warden, when the first has died.
 *
 *   balancers   notice nothing: their channels stay open, and their roster readable
 *   workers     neither: their pipes and sockets are emptied here before they are full
 *   clients     neither: listening sockets stay, and balancers accept
 *   a worker that ends      is DOWN in the roster, and the balancers are told; requests wait
 *                           for its successor, which the next master starts
 *   the next master         connects to RUNDIR/NAME.adopt and is given all of it
 *
 * Nothing is started here, and nobody stopped.  Whoever asks must be the same user as we:
 * what is given away is all that there is. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "balancer/master/adopt_wire.h"
#include "balancer/master/adoption.h"
#include "balancer/master/carry_parts.h"
#include "balancer/master/core.h"
#include "common/clock.h"
#include "common/fd.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/msg.h"
#include "common/proc.h"

#define LOOK_MS 50           /* at pipes: a worker that fills one waits no longer than that */
#define PIPE_BYTES (1 << 20) /* what a pipe may hold until somebody reads it again */
#define GIVING_MS 10000      /* for one that takes over to say so */
#define BACKLOG 8
#define STATUS_LOOK_MS 2 /* until the parent of one that has ended has taken its status */
#define STATUS_LOOKS 25

struct orphan {
	pid_t pid;
	int pidfd; /* -1: it has ended */
	uint32_t slot;
	int notify, out[2]; /* -1: closed */
	bool enlarged[2];
};

struct offer {
	const struct master *m;
	int state_fd;
	struct state_in state;
	struct state_fd *fds; /* all that is given away */
	size_t n_fds;
	struct orphan *orphans;
	size_t n_orphans;
	int *channels; /* of balancers */
	size_t n_channels;
	struct pollfd *polls;
	int listener, conn;      /* conn: of one that takes over; -1 */
	struct warden_file file; /* NAME.adopt */
	uint64_t until_us;       /* for another to come */
	uint64_t given_us;       /* since when `conn` has all */
	uint64_t dropped;        /* bytes of output */
};

static volatile sig_atomic_t told_to_end;

static uint64_t now_us(void)
{
	clock_update();
	return clock_now_us();
}

/* ---- what there is ------------------------------------------------------ */

/* What the state names, and is open under that number here.  Before anything is opened: it
 * could get the number of what was closed in the master's last moment. */
static void list_descriptors(struct offer *o)
{
	const struct state_in *in = &o->state;

	o->fds = mem_must_alloc((in->n_fds + 1) * sizeof(*o->fds));
	for (size_t i = 0; i < in->n_fds; i++) {
		int fd = in->fds[i].number;
		if (fcntl(fd, F_GETFD) >= 0)
			o->fds[o->n_fds++] = (struct state_fd){ fd, fd };
	}
}

/* A descriptor that a record names; -1: it names none, or that is closed. */
static int open_fd(const struct offer *o, const struct state_record *r, const char *name)
{
	uint64_t fd = state_get_u64(r, name, UINT64_MAX);

	for (size_t i = 0; i < o->n_fds; i++)
		if ((uint64_t)o->fds[i].number == fd)
			return o->fds[i].fd;
	return -1;
}

static void keep_only(const struct master *m, const struct state_in *in, int state_fd)
{
	const struct warden *w = &m->warden;
	int own[] = { state_fd,        w->life_read,      w->self,
		      w->balancers[0], m->rundir.lock_fd, atomic_load(&w->notes->log_fd) };
	int *keep = mem_must_alloc((in->n_fds + ARRAY_LEN(own)) * sizeof(*keep));

	for (size_t i = 0; i < in->n_fds; i++)
		keep[i] = in->fds[i].number;
	memcpy(keep + in->n_fds, own, sizeof(own));
	fd_close_all_but(keep, in->n_fds + ARRAY_LEN(own));
	mem_free(keep);
}

void adoption_keep_only(const struct master *m)
{
	int fd = atomic_load(&m->warden.notes->state_fd);
	struct state_in in = { .bytes = NULL };

	if (fd >= 0)
		(void)!state_in_init(&in, fd, false); /* else nothing of it is kept */
	keep_only(m, &in, fd);
	mem_free(in.fds);
	mem_wipe(in.bytes);
}

static size_t count(struct offer *o, const char *kind)
{
	struct state_record r;
	size_t n = 0, at = 0;

	while (state_next(&o->state, &at, kind, &r))
		n++;
	return n;
}

static void find_channels(struct offer *o)
{
	struct state_record r;

	o->channels = mem_must_alloc((count(o, "balancer") + 1) * sizeof(*o->channels));
	for (size_t at = 0; state_next(&o->state, &at, "balancer", &r);) {
		int fd = open_fd(o, &r, "channel");
		if (fd >= 0)
			o->channels[o->n_channels++] = fd;
	}
}

/* ---- for those that live ------------------------------------------------ */

/* What a worker writes is kept for the next master as far as a pipe can hold it.  Beyond
 * that the oldest goes: a worker that waits for its log answers nobody. */
static void relieve_pipe(struct offer *o, int fd, bool *enlarged)
{
	static char chunk[16384];
	int size, used;

	if (fd < 0 || ioctl(fd, FIONREAD, &used) != 0 || (size = fcntl(fd, F_GETPIPE_SZ)) <= 0 ||
	    used < size / 2)
		return;
	if (!*enlarged) {
		*enlarged = true;
		if (fcntl(fd, F_SETPIPE_SZ, PIPE_BYTES) > size)
			return;
	}
	while (used > size / 4) {
		ssize_t n = read(fd, chunk, sizeof(chunk));
		if (n <= 0)
			return;
		o->dropped += (uint64_t)n;
		used -= (int)n;
	}
}

/* Few datagrams fit into a socket's queue, and who sends one more waits.  Those of a worker
 * that is UP (WATCHDOG=1, STATUS=) are of the moment; what one says that is starting stays. */
static void relieve_notify(const struct offer *o, const struct orphan *w)
{
	char bytes[4096];

	if (w->notify < 0 || o->m->slots.shared->slots[w->slot].state == WORKER_STARTING)
		return;
	while (recv(w->notify, bytes, sizeof(bytes), MSG_DONTWAIT | MSG_TRUNC) >= 0)
		;
}

static void relieve(struct offer *o)
{
	for (size_t i = 0; i < o->n_orphans; i++) {
		struct orphan *w = &o->orphans[i];
		for (int k = 0; k < 2; k++)
			relieve_pipe(o, w->out[k], &w->enlarged[k]);
		relieve_notify(o, w);
	}
}

/* ---- for one that ends -------------------------------------------------- */

static void tell_balancers(const struct offer *o)
{
	uint64_t version = atomic_load(&o->m->slots.shared->version);
	struct msg message = { .type = MSG_ROSTER, .roster = { .version = version } };

	for (size_t i = 0; i < o->n_channels; i++)
		(void)!msg_send(o->channels[i], &message, -1);
}

static void note_end(const struct offer *o, const struct orphan *w, const siginfo_t *how)
{
	char text[64];
	struct roster *r = o->m->slots.shared;
	struct roster_slot *s = &r->slots[w->slot];

	if (s->pid != w->pid || s->state == WORKER_DOWN || s->state == WORKER_EMPTY)
		return;
	roster_begin(r);
	s->state = WORKER_DOWN;
	for (uint32_t i = 0; i < MIN(r->n_apps, ROSTER_APPS); i++)
		if (r->apps[i].id == s->app_id && r->apps[i].coming == 0)
			r->apps[i].coming = 1;
	roster_end(r);
	tell_balancers(o); /* first: whoever reads the line may count on it */
	log_warn("worker (pid %d) has ended, and there is no master to replace it: %s", (int)w->pid,
		 proc_exit_text(how->si_code, how->si_status, text));
}

static void find_orphans(struct offer *o)
{
	struct state_record r;

	o->orphans = mem_must_alloc((count(o, "worker") + 1) * sizeof(*o->orphans));
	for (size_t at = 0; state_next(&o->state, &at, "worker", &r);) {
		struct orphan *w = &o->orphans[o->n_orphans];
		*w = (struct orphan){ .pid = (pid_t)state_get_u64(&r, "pid", 0),
				      .slot = (uint32_t)state_get_u64(&r, "slot", ROSTER_SLOTS),
				      .notify = open_fd(o, &r, "notify"),
				      .out = { open_fd(o, &r, "stdout"), open_fd(o, &r, "stderr") } };
		if (w->slot >= ROSTER_SLOTS || w->pid == 0)
			continue;
		if (carry_find(w->pid, state_get_u64(&r, "start_ticks", 0), &w->pidfd))
			o->n_orphans++;
		else
			note_end(o, w, &(siginfo_t){ .si_code = PROC_STATUS_UNKNOWN });
	}
}

static void look_at_orphans(struct offer *o)
{
	for (size_t i = 0; i < o->n_orphans; i++) {
		struct orphan *w = &o->orphans[i];
		siginfo_t how;
		if (w->pidfd < 0 || !proc_reap(w->pid, w->pidfd, &how))
			continue;
		for (int k = 0; k < STATUS_LOOKS && how.si_code == PROC_STATUS_PENDING; k++) {
			poll(NULL, 0, STATUS_LOOK_MS);
			(void)proc_reap(w->pid, w->pidfd, &how);
		}
		fd_close(&w->pidfd);
		note_end(o, w, &how);
	}
}

/* ---- giving it away ----------------------------------------------------- */

static enum err start_listening(struct offer *o)
{
	struct addr a;
	char *path = rundir_adopt_path(&o->m->rundir);
	enum err e = addr_unix(path, &a);

	o->listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (!e) {
		unlink(path); /* we hold the name: it is nobody else's */
		mode_t before = umask(0177);
		if (o->listener < 0 || bind(o->listener, &a.sa, a.len) != 0 ||
		    listen(o->listener, BACKLOG) != 0)
			e = ERR_SYS;
		int error = errno;
		umask(before);
		errno = error;
	}
	if (e)
		log_error("nobody can take over from the master: cannot listen on %s: %s", path,
			  e == ERR_SYS ? strerror(errno) : err_text(e));
	else
		(void)warden_identify(path, &o->file);
	mem_free(path);
	return e;
}

/* One at a time: the next waits in the queue until this one has taken everything, or ended. */
static void welcome(struct offer *o)
{
	struct ucred who;
	int conn = accept4(o->listener, NULL, NULL, SOCK_CLOEXEC);

	if (conn < 0)
		return;
	if (getsockopt(conn, SOL_SOCKET, SO_PEERCRED, &who, &(socklen_t){ sizeof(who) }) != 0) {
		fd_close(&conn);
		return;
	}
	if (who.uid != geteuid()) {
		log_error("pid %d wants to take over from the master, but is of user %u, not %u: "
			  "refused",
			  (int)who.pid, (unsigned)who.uid, (unsigned)geteuid());
		fd_close(&conn);
		return;
	}
	enum err e = adopt_send(conn, o->state_fd, o->fds, o->n_fds);
	if (e) {
		log_error("pid %d cannot be given what the master left: %s", (int)who.pid,
			  e == ERR_SYS ? strerror(errno) : err_text(e));
		fd_close(&conn);
		return;
	}
	o->conn = conn;
	o->given_us = now_us();
}

/* True: everything is in its hands.  Should it have died meanwhile, all stays here. */
static bool has_taken(struct offer *o)
{
	char word[sizeof(ADOPT_TAKEN)];
	ssize_t n = recv(o->conn, word, sizeof(word), MSG_DONTWAIT);

	if (atomic_load(&o->m->warden.notes->heir) != o->m->warden.number ||
	    (n == 1 && word[0] == ADOPT_TAKEN[0]))
		return true;
	if (n < 0 && (errno == EAGAIN || errno == EINTR) && now_us() - o->given_us < GIVING_MS * 1000)
		return false;
	log_warn("one that was taking over from the master has ended, or does not go on");
	fd_close(&o->conn);
	return false;
}

/* ---- the wait ----------------------------------------------------------- */

static void on_told(int signo)
{
	(void)signo;
	told_to_end = 1;
}

/* Until something happens, or it is time to look. */
static void wait_a_moment(struct offer *o)
{
	size_t n = 0;

	o->polls[n++] =
		(struct pollfd){ .fd = o->conn >= 0 ? o->conn : o->listener, .events = POLLIN };
	for (size_t i = 0; i < o->n_orphans; i++)
		if (o->orphans[i].pidfd >= 0)
			o->polls[n++] =
				(struct pollfd){ .fd = o->orphans[i].pidfd, .events = POLLIN };
	poll(o->polls, n, LOOK_MS);
}

static bool wait_for_heir(struct offer *o)
{
	while (!told_to_end && (o->conn >= 0 || now_us() < o->until_us)) {
		wait_a_moment(o);
		look_at_orphans(o);
		relieve(o);
		if (o->conn >= 0 ? has_taken(o) : (welcome(o), false))
			return true;
	}
	return false;
}

static void begin(struct offer *o, uint64_t ms)
{
	struct roster *r = o->m->slots.shared;

	/* It may have died while it was writing. */
	if (atomic_load(&r->version) & 1)
		roster_end(r);
	find_orphans(o);
	find_channels(o);
	/* From here on the memfd alone holds the secrets that are in it. */
	mem_wipe(o->state.bytes);
	o->state.bytes = NULL;
	tell_balancers(o);
	o->polls = mem_must_alloc((o->n_orphans + 1) * sizeof(*o->polls));
	o->until_us = now_us() + ms * 1000;
	signal(SIGTERM, on_told);
	log_error("the master has ended unexpectedly: balancers and %zu workers go on for %.1f s; "
		  "drover run, started as before, takes them over",
		  o->n_orphans, (double)ms / 1e3);
}

bool adoption_offer(struct master *m)
{
	struct warden_notes *notes = m->warden.notes;
	struct offer o = { .m = m, .listener = -1, .conn = -1 };
	uint64_t ms = notes->adopt_ms;

	o.state_fd = atomic_load(&notes->state_fd);
	if (ms == 0 || o.state_fd < 0 || state_in_init(&o.state, o.state_fd, false))
		return false;
	keep_only(m, &o.state, o.state_fd);
	list_descriptors(&o);
	bool taken = false;
	if (start_listening(&o) == ERR_OK) {
		begin(&o, ms);
		taken = wait_for_heir(&o);
	}
	if (o.dropped)
		log_warn("%llu bytes of the workers' output were dropped while there was no master",
			 (unsigned long long)o.dropped);
	warden_remove_file(&o.file);
	return taken;
}
