/* The master's side of the warden: forking it, and the notes it acts on. */
#include "balancer/master/warden.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <poll.h>
#include <sched.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "balancer/master/core.h"
#include "common/clock.h"
#include "common/fd.h"
#include "common/log.h"
#include "common/proc.h"

#define MARGIN_MS 5000 /* beyond shutdown.hard */
#define RESTART_MS 1000
#define FAREWELL_MS 200 /* for one that was told to go */
#define BYE "Q"

static enum err fork_warden(struct master *m, bool shares);
static void watch(struct master *m);

/* What there is for one warden. */
static void close_own(struct warden *w)
{
	fd_close(&w->pidfd);
	fd_close(&w->self);
	fd_close(&w->life_read);
	fd_close(&w->life);
}

static void start_again(struct master *m)
{
	if (fork_warden(m, true) == ERR_OK)
		return;
	log_error("cannot start the warden: %s; should drover be killed now, its workers will stay",
		  strerror(errno));
	master_timer(&m->warden.ev_restart, RESTART_MS);
}

static void on_restart(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	start_again(arg);
}

static void on_ended(evutil_socket_t fd, short what, void *arg)
{
	struct master *m = arg;
	struct warden *w = &m->warden;

	(void)fd;
	(void)what;
	if (waitpid(w->pid, NULL, WNOHANG) != w->pid)
		return;
	event_del(&w->ev_ended);
	close_own(w);
	w->pid = 0;
	uint64_t now = master_now_us();
	uint32_t ends = backoff_note_end(&w->history, &backoff_own_processes, now, true);
	uint64_t wait = backoff_own_delay_ms(ends, true, (uint32_t)random());
	if (wait) {
		log_warn("the warden keeps ending: starting another in %.1f s", (double)wait / 1e3);
		master_timer(&w->ev_restart, wait);
	} else {
		log_warn("the warden has ended: starting another");
		start_again(m);
	}
}

/* fork(), with one table of descriptors for both.  What libc does in fork() is for processes
 * with threads, which we are not. */
static pid_t fork_sharing(void)
{
	return (pid_t)syscall(SYS_clone, CLONE_FILES | SIGCHLD, NULL, NULL, NULL, NULL);
}

/* On failure all is as it was before. */
static enum err fork_warden(struct master *m, bool shares)
{
	struct warden *w = &m->warden, before = *w;
	int life[2];

	w->pidfd = w->self = -1;
	if (pipe2(life, O_CLOEXEC) != 0)
		return ERR_SYS;
	w->life_read = life[0];
	w->life = life[1];
	w->number = atomic_load(&w->notes->heir) + 1;
	enum err e = fd_of_pid(getpid(), &w->self);
	pid_t pid = e ? -1 : shares ? fork_sharing() : fork();
	if (pid == 0)
		warden_main(m, shares);
	if (pid > 0 && (e = fd_of_pid(pid, &w->pidfd))) {
		int error = errno;
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
		errno = error;
	}
	if (pid < 0 || e) {
		int error = errno;
		close_own(w);
		*w = before;
		errno = error;
		return ERR_SYS;
	}
	w->pid = pid;
	atomic_store(&w->notes->state_fd, m->adoption.state_fd);
	atomic_store(&w->notes->heir, w->number); /* from here on it is the one that acts */
	watch(m);
	return ERR_OK;
}

/* Watches the one that runs. */
static void watch(struct master *m)
{
	struct warden *w = &m->warden;

	master_event(m, &w->ev_ended, w->pidfd, EV_READ | EV_PERSIST, on_ended, m);
	event_add(&w->ev_ended, NULL);
}

static enum err make_notes(struct warden *w)
{
	void *map;
	enum err e = fd_shared_segment("drover-warden", sizeof(*w->notes), &w->notes_fd, &map);

	if (e)
		return e;
	w->notes = map;
	atomic_store(&w->notes->state_fd, -1);
	atomic_store(&w->notes->log_fd, log_fd());
	return ERR_OK;
}

enum err warden_start(struct master *m)
{
	struct warden *w = &m->warden;

	master_event(m, &w->ev_restart, -1, EV_TIMEOUT, on_restart, m);
	if (make_notes(w) || pipe2(w->balancers, O_CLOEXEC) != 0 || fork_warden(m, true)) {
		logs_complain(&m->logs, "cannot start the warden: %s", strerror(errno));
		return ERR_SYS;
	}
	return ERR_OK;
}

/* What only the master knows of what it would leave behind. */
static void note_again(struct master *m)
{
	struct warden *w = &m->warden;

	warden_set_wait(w, m->config->cfg);
	if (m->rundir.sockets)
		warden_set_sockets(w, m->rundir.sockets);
	if (m->rundir.pid_file)
		warden_note(w, m->rundir.pid_file);
}

static enum err map_notes(struct master *m)
{
	struct warden *w = &m->warden;
	enum err e = ERR_OK;

	if (w->notes_fd < 0) {
		e = make_notes(w);
		if (!e)
			note_again(m);
		return e;
	}
	void *map = mmap(NULL, sizeof(*w->notes), PROT_READ | PROT_WRITE, MAP_SHARED, w->notes_fd, 0);
	if (map == MAP_FAILED)
		return ERR_SYS;
	w->notes = map;
	return ERR_OK;
}

enum err warden_resume(struct master *m)
{
	struct warden *w = &m->warden;
	enum err e = map_notes(m);

	if (e) {
		log_error("cannot note anything for the warden: %s", strerror(errno));
		return e;
	}
	master_event(m, &w->ev_restart, -1, EV_TIMEOUT, on_restart, m);
	if (w->pid && fd_of_pid(w->pid, &w->pidfd) == ERR_OK) {
		watch(m);
		return ERR_OK;
	}
	w->pid = 0;
	close_own(w);
	master_timer(&w->ev_restart, 0);
	return ERR_OK;
}

/* Tells one that has a successor to go, and waits a moment until it has: from then on
 * nothing is held but by us.  It is reaped like any child that is not ours to know. */
static void dismiss(struct warden *w)
{
	struct pollfd p = { .fd = w->pidfd, .events = POLLIN };

	if (w->life >= 0 && write(w->life, BYE, 1) != 1)
		(void)!fd_signal_pid(w->pidfd, SIGKILL);
	if (w->pidfd >= 0 && poll(&p, 1, FAREWELL_MS) == 0)
		(void)!fd_signal_pid(w->pidfd, SIGKILL);
	close_own(w);
}

static void replace(struct master *m, bool shares)
{
	struct warden *w = &m->warden;
	struct warden before = *w;

	event_del(&w->ev_restart);
	if (w->pid)
		event_del(&w->ev_ended);
	w->pid = 0;
	w->pidfd = w->self = w->life_read = w->life = -1;
	if (shares)
		start_again(m);
	else if (fork_warden(m, false))
		log_error("cannot start a warden for the upgrade: %s", strerror(errno));
	dismiss(&before);
}

void warden_renew(struct master *m)
{
	replace(m, true);
}

void warden_for_exec(struct master *m)
{
	replace(m, false);
}

void warden_stop(struct warden *w)
{
	if (w->notes)
		event_del(&w->ev_restart);
	if (w->pid) {
		event_del(&w->ev_ended);
		/* Either tells this end from an unexpected one. */
		atomic_store(&w->notes->heir, 0);
		if (write(w->life, BYE, 1) != 1)
			(void)!fd_signal_pid(w->pidfd, SIGKILL);
		while (waitpid(w->pid, NULL, 0) < 0 && errno == EINTR)
			;
		w->pid = 0;
	}
	close_own(w);
	fd_close(&w->balancers[0]);
	fd_close(&w->balancers[1]);
	fd_close(&w->notes_fd);
	if (w->notes)
		munmap(w->notes, sizeof(*w->notes));
	w->notes = NULL;
	backoff_history_fini(&w->history);
}

void warden_set_wait(struct warden *w, const struct config *cfg)
{
	w->notes->wait_ms = cfg->shutdown_hard_ms + MARGIN_MS;
}

void warden_set_sockets(struct warden *w, const char *path)
{
	if (strlen(path) < sizeof(w->notes->sockets))
		strcpy(w->notes->sockets, path);
}

bool warden_identify(const char *path, struct warden_file *ret_file)
{
	struct stat st;

	if (strlen(path) >= sizeof(ret_file->path) || lstat(path, &st) != 0)
		return false;
	ret_file->device = st.st_dev;
	ret_file->inode = st.st_ino;
	strcpy(ret_file->path, path);
	return true;
}

int warden_note(struct warden *w, const char *path)
{
	for (int i = 0; i < WARDEN_NOTES; i++)
		if (w->notes->files[i].path[0] == '\0')
			return warden_identify(path, &w->notes->files[i]) ? i : -1;
	return -1;
}

int warden_note_anew(struct warden *w, const char *path)
{
	for (int i = 0; i < WARDEN_NOTES; i++)
		if (strcmp(w->notes->files[i].path, path) == 0)
			w->notes->files[i] = (struct warden_file){ .path = "" };
	return warden_note(w, path);
}

void warden_remove_file(const struct warden_file *file)
{
	struct stat st;

	if (file->path[0] && lstat(file->path, &st) == 0 && st.st_dev == file->device &&
	    st.st_ino == file->inode)
		unlink(file->path);
}

void warden_remove_note(struct warden *w, int note)
{
	if (note < 0 || note >= WARDEN_NOTES)
		return;
	warden_remove_file(&w->notes->files[note]);
	w->notes->files[note] = (struct warden_file){ .path = "" };
}

void warden_forget_note(struct warden *w, int note)
{
	if (note >= 0 && note < WARDEN_NOTES)
		w->notes->files[note] = (struct warden_file){ .path = "" };
}

void warden_note_balancer(struct warden *w, uint32_t row, int32_t pid)
{
	if (!w->notes || row >= TALLY_ROWS)
		return;
	atomic_store(&w->notes->balancers[row], 0);
	atomic_store(&w->notes->balancer_starts[row], pid ? proc_start_ticks(pid) : 0);
	atomic_store(&w->notes->balancers[row], pid);
}

int warden_balancer_fd(const struct warden *w)
{
	return w->balancers[1];
}
