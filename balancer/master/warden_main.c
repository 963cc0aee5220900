/* The warden's life, in its own process.
 *
 *   sleep until the life pipe speaks, or the master ends
 *     a byte           the master has ended as it should, or another warden is there: go
 *     the master ends  unannounced:
 *       keep everything as it is, for another master to take over     (adopt_offer.c)
 *       close our ends of all; wait for the balancers (they see their channel's end, and drain)
 *       SIGTERM to the workers, by pid and start time; after 10 s SIGKILL
 *       remove files and sockets
 *
 * It has its own session, so that what ends the master's process group leaves
 * it alive, and it holds the lock of the instance's name until it is done.
 *
 * Invariant: as long as the master lives, nothing is opened or closed here: the table of
 * descriptors is the master's too.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "balancer/master/adoption.h"
#include "balancer/master/core.h"
#include "balancer/master/warden.h"
#include "common/clock.h"
#include "common/contract.h"
#include "common/fd.h"
#include "common/log.h"
#include "common/mem.h"

#define STOP_MS 10000
#define LOOK_MS 50

struct prey {
	pid_t pid;
	int pidfd;
};

static void set_signals(void)
{
	static const int deaf_to[] = { SIGHUP,  SIGINT,  SIGTERM, SIGQUIT, SIGUSR1,
				       SIGUSR2, SIGPIPE, SIGTTIN, SIGTTOU, SIGTSTP };
	sigset_t none;

	for (size_t i = 0; i < ARRAY_LEN(deaf_to); i++)
		signal(deaf_to[i], SIG_IGN);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

/* Sleeps.  True: the master has ended, and it is for us to see to what it leaves. */
static bool master_has_died(const struct warden *w)
{
	struct pollfd p[] = { { .fd = w->life_read, .events = POLLIN },
			      { .fd = w->self, .events = POLLIN } };
	int n;

	do
		n = poll(p, ARRAY_LEN(p), -1);
	while (n < 0 && errno == EINTR);
	return n > 0 && !(p[0].revents & POLLIN) && atomic_load(&w->notes->heir) == w->number;
}

/* Whether no balancer holds the pipe any more.  None has reason to write into it, but
 * one that did must not pass for all of them having ended. */
static bool is_end(int fd)
{
	char bytes[512];
	ssize_t n;

	do
		n = read(fd, bytes, sizeof(bytes));
	while (n > 0 || (n < 0 && errno == EINTR));
	return n == 0;
}

/* True when the descriptor becomes readable (or ends) in time; counts *ms down. */
static bool wait_for(int fd, uint64_t *ms)
{
	uint64_t until;

	clock_update();
	until = clock_now_us() + *ms * 1000;
	for (;;) {
		struct pollfd p = { .fd = fd, .events = POLLIN };
		clock_update();
		uint64_t now = clock_now_us();
		uint64_t left = now < until ? (until - now) / 1000 + 1 : 0;
		int n = poll(&p, 1, (int)MIN(left, 3600000));
		*ms = left;
		if (n > 0)
			return true;
		if (left == 0)
			return false;
	}
}

static bool wait_for_end(int fd, uint64_t ms)
{
	if (fd_set_nonblock(fd, true))
		return false;
	while (wait_for(fd, &ms))
		if (is_end(fd))
			return true;
	return false;
}

/* Those that did not drain in time, if they still are who the notes say. */
static void kill_balancers(const struct warden_notes *notes)
{
	for (uint32_t i = 0; i < TALLY_ROWS; i++) {
		pid_t pid = atomic_load(&notes->balancers[i]);
		uint64_t start = atomic_load(&notes->balancer_starts[i]);
		if (pid > 0 && start && proc_start_ticks(pid) == start) {
			log_error("balancer (pid %d) has not drained in time: killing it", (int)pid);
			kill(pid, SIGKILL);
		}
	}
}

/* Workers that still are who the roster says. */
static size_t find_workers(const struct master *m, struct prey prey[static ROSTER_SLOTS])
{
	const struct roster *r = m->slots.shared;
	uint32_t n_slots = MIN(r->n_slots, ROSTER_SLOTS);
	size_t n = 0;

	/* No lock: the only writer is dead, and start times tell torn rows. */
	for (uint32_t i = 0; i < n_slots; i++) {
		const struct roster_slot *s = &r->slots[i];
		if (s->pid <= 1 || s->start_ticks == 0 || fd_of_pid(s->pid, &prey[n].pidfd))
			continue;
		if (proc_start_ticks(s->pid) != s->start_ticks) {
			fd_close(&prey[n].pidfd);
			continue;
		}
		prey[n++].pid = s->pid;
	}
	return n;
}

static bool all_gone(struct prey *prey, size_t n)
{
	size_t left = 0;

	for (size_t i = 0; i < n; i++) {
		if (prey[i].pidfd >= 0 && wait_for(prey[i].pidfd, &(uint64_t){ 0 })) {
			/* Its leader has ended: what it leaves behind goes with it. */
			kill(-prey[i].pid, SIGKILL);
			fd_close(&prey[i].pidfd);
		}
		left += prey[i].pidfd >= 0;
	}
	return left == 0;
}

static void stop_workers(const struct master *m)
{
	struct prey *prey = mem_must_alloc(ROSTER_SLOTS * sizeof(*prey));
	size_t n = find_workers(m, prey);

	if (n)
		log_notice("stopping %zu workers", n);
	for (size_t i = 0; i < n; i++)
		kill(-prey[i].pid, SIGTERM);
	for (int ms = 0; ms < STOP_MS && !all_gone(prey, n); ms += LOOK_MS)
		poll(NULL, 0, LOOK_MS);
	for (size_t i = 0; i < n; i++)
		if (prey[i].pidfd >= 0)
			kill(-prey[i].pid, SIGKILL);
	mem_free(prey);
}

static void remove_files(struct master *m)
{
	struct warden_notes *notes = m->warden.notes;

	for (int i = 0; i < WARDEN_NOTES; i++)
		warden_remove_file(&notes->files[i]);
	if (notes->sockets[0])
		rundir_remove_sockets(notes->sockets);
	unlink(m->rundir.lock_path);
}

/* For what follows nothing is needed but these; the balancers see that the rest is gone. */
static void let_go(const struct master *m)
{
	int keep[] = { m->warden.balancers[0], m->rundir.lock_fd, log_fd() };

	fd_close_all_but(keep, ARRAY_LEN(keep));
}

void warden_main(struct master *m, bool shares)
{
	struct warden *w = &m->warden;

	set_signals();
	setsid();
	log_ident("warden");
	proc_title("drover: warden of %s", m->name);
	master_forget_secrets();
	if (!shares)
		adoption_keep_only(m);
	if (!master_has_died(w))
		_exit(EXIT_DRAINED);
	log_to_fd(atomic_load(&w->notes->log_fd));
	if (adoption_offer(m))
		_exit(EXIT_DRAINED);
	log_error("the master has ended unexpectedly: waiting for the balancers to drain, then "
		  "stopping the workers");
	let_go(m);
	if (!wait_for_end(w->balancers[0], w->notes->wait_ms))
		kill_balancers(w->notes);
	stop_workers(m);
	remove_files(m);
	log_notice("all that the master left behind is stopped");
	_exit(EXIT_DRAINED);
}
