/* The master's side of the warden: forking it, and the notes it acts on. */
#include "balancer/master/warden.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "balancer/master/core.h"
#include "common/clock.h"
#include "common/fd.h"
#include "common/log.h"

#define MARGIN_MS 5000 /* beyond shutdown.hard */
#define RESTART_MS 1000
#define BYE "Q"

static enum err fork_warden(struct master *m);
static void watch(struct master *m);

static void start_again(struct master *m)
{
	if (fork_warden(m) == ERR_OK)
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
	fd_close(&w->pidfd);
	fd_close(&w->life);
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

static enum err fork_warden(struct master *m)
{
	struct warden *w = &m->warden;
	int life[2];

	if (pipe2(life, O_CLOEXEC) != 0)
		return ERR_SYS;
	pid_t pid = fork();
	if (pid == 0) {
		fd_close(&life[1]);
		warden_main(m, life[0]);
	}
	int error = errno;
	fd_close(&life[0]);
	if (pid < 0) {
		fd_close(&life[1]);
		errno = error;
		return ERR_SYS;
	}
	if (fd_of_pid(pid, &w->pidfd)) {
		error = errno;
		kill(pid, SIGKILL); /* before it takes the closed pipe for our end */
		waitpid(pid, NULL, 0);
		fd_close(&life[1]);
		errno = error;
		return ERR_SYS;
	}
	w->pid = pid;
	w->life = life[1];
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
	w->notes->group = (int32_t)getpgrp();
	return ERR_OK;
}

enum err warden_start(struct master *m)
{
	struct warden *w = &m->warden;

	master_event(m, &w->ev_restart, -1, EV_TIMEOUT, on_restart, m);
	if (make_notes(w) || pipe2(w->balancers, O_CLOEXEC) != 0 || fork_warden(m)) {
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
	fd_close(&w->life);
	master_timer(&w->ev_restart, 0);
	return ERR_OK;
}

void warden_renew(struct master *m)
{
	struct warden *w = &m->warden;
	struct warden before = *w;

	if (w->pid)
		event_del(&w->ev_ended);
	event_del(&w->ev_restart);
	w->pid = 0;
	w->pidfd = w->life = -1;
	start_again(m);
	/* It goes by itself now, and is reaped like any child that is not ours to know. */
	if (before.life >= 0 && write(before.life, BYE, 1) != 1)
		(void)!fd_signal_pid(before.pidfd, SIGKILL);
	fd_close(&before.life);
	fd_close(&before.pidfd);
}

void warden_stop(struct warden *w)
{
	if (w->notes)
		event_del(&w->ev_restart);
	if (w->pid) {
		event_del(&w->ev_ended);
		/* The byte tells this end from an unexpected one. */
		if (write(w->life, BYE, 1) != 1)
			(void)!fd_signal_pid(w->pidfd, SIGKILL);
		while (waitpid(w->pid, NULL, 0) < 0 && errno == EINTR)
			;
		w->pid = 0;
	}
	fd_close(&w->pidfd);
	fd_close(&w->life);
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

int warden_note(struct warden *w, const char *path)
{
	struct stat st;

	if (strlen(path) >= sizeof(w->notes->files[0].path) || lstat(path, &st) != 0)
		return -1;
	for (int i = 0; i < WARDEN_NOTES; i++) {
		struct warden_file *f = &w->notes->files[i];
		if (f->path[0])
			continue;
		f->device = st.st_dev;
		f->inode = st.st_ino;
		strcpy(f->path, path);
		return i;
	}
	return -1;
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

void warden_note_balancer(struct warden *w, uint32_t row, int32_t pid)
{
	if (w->notes && row < TALLY_ROWS)
		atomic_store(&w->notes->balancers[row], pid);
}

int warden_balancer_fd(const struct warden *w)
{
	return w->balancers[1];
}
