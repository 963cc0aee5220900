/* From one program to the next, in the same process; in the master.
 *
 *   ask ─► CHECKING ─► REHEARSING ─► DUE ─► exec ─► TRIAL ─► the generation serves: done
 *              │            │         │                │
 *              └────────────┴─────────┴ failed,        └ failed: the program before is
 *                                       the running      executed again (takeover.c)
 *                                       one goes on
 *
 * CHECKING: `NEW check` with our command line says whether it accepts the configuration.
 * REHEARSING: `NEW takeover` reads a copy of the state, builds everything up as it would
 * after the exec, and says so.  Both are children with a deadline: we go on meanwhile.
 * So nearly all that can be wrong with a program is found while the old one still runs.
 *
 * Workers, balancers, sockets and the roster do not notice the exec: they belong to this
 * process, which stays.  The new program then forks a generation of its own, and the old
 * one is drained as by a reload. */
#include "balancer/master/upgrade.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "balancer/master/app.h"
#include "balancer/master/carry.h"
#include "balancer/master/core.h"
#include "balancer/master/generation.h"
#include "balancer/master/reload.h"
#include "balancer/master/self.h"
#include "balancer/master/takeover.h"
#include "common/fd.h"
#include "common/log.h"
#include "common/mem.h"

#define CHECK_MS 10000
#define REHEARSAL_MS 10000

extern char **environ;

/* ---- its end ------------------------------------------------------------ */

static void fail(struct master *m, const char *fmt, ...) PRINTF_LIKE(2, 3);
static void fail(struct master *m, const char *fmt, ...)
{
	struct upgrade *u = &m->upgrade;
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(u->reason, sizeof(u->reason), fmt, ap);
	va_end(ap);
	u->phase = UPGRADE_NONE;
	u->outcome = UPGRADE_FAILED;
	log_error("upgrade: %s; drover %s goes on", u->reason, DROVER_VERSION);
}

/* What it wrote, as lines of our log. */
static void log_output(const char *output)
{
	char line[512];

	while (*output) {
		size_t n = strcspn(output, "\n");
		size_t shown = MIN(n, sizeof(line) - 1);
		for (size_t i = 0; i < shown; i++)
			line[i] = (unsigned char)output[i] < ' ' ? ' ' : output[i];
		line[shown] = '\0';
		if (shown)
			log_error("  %s", line);
		output += n + (output[n] == '\n');
	}
}

/* ---- asking the new one ------------------------------------------------- */

/* Which file this is, so that one that is replaced after it was asked is asked anew. */
static bool same_file(struct upgrade *u, bool note)
{
	struct stat st;

	if (stat(u->path, &st) != 0)
		return note; /* the exec says it better */
	uint64_t changed = (uint64_t)st.st_ctim.tv_sec * 1000000000u + (uint64_t)st.st_ctim.tv_nsec;
	bool same = u->device == st.st_dev && u->inode == st.st_ino && u->changed_ns == changed;
	u->device = st.st_dev;
	u->inode = st.st_ino;
	u->changed_ns = changed;
	return same || note;
}

/* Our own command line with another command. */
static enum err ask(struct master *m, const char *command, int stdin_fd, uint64_t ms,
		    rehearsal_f *on_done)
{
	char *const *own = m->opt->argv;
	size_t n = 0;

	while (own[n])
		n++;
	char **argv = mem_alloc((n + 1) * sizeof(char *));
	if (!argv) {
		errno = ENOMEM;
		return ERR_NOMEM;
	}
	memcpy(argv, own, (n + 1) * sizeof(char *));
	argv[0] = m->upgrade.path;
	argv[1] = (char *)(uintptr_t)command;
	enum err e = rehearsal_start(&m->upgrade.rehearsal, m->base, argv, stdin_fd, ms, on_done, m);
	mem_free(argv);
	return e;
}

static void on_rehearsed(void *arg, const char *output, const char *failure)
{
	struct master *m = arg;
	struct upgrade *u = &m->upgrade;

	if (!failure && !strstr(output, UPGRADE_ANSWER))
		failure = "it is no drover that can";
	if (failure) {
		fail(m, "%s cannot take over: %s", u->path, failure);
		log_output(output);
		return;
	}
	u->phase = UPGRADE_DUE;
}

static void rehearse(struct master *m)
{
	struct state_out out = { .bytes = NULL };
	int fd = -1;

	carry_save(m, &out);
	enum err e = state_finish(&out, &fd);
	state_out_fini(&out);
	if (e) {
		fail(m, "cannot write the state: %s", e == ERR_SYS ? strerror(errno) : err_text(e));
		return;
	}
	e = ask(m, "takeover", fd, REHEARSAL_MS, on_rehearsed);
	int error = errno;
	fd_close(&fd);
	if (e)
		fail(m, "cannot execute %s: %s", m->upgrade.path, strerror(error));
	else
		m->upgrade.phase = UPGRADE_REHEARSING;
}

static void on_checked(void *arg, const char *output, const char *failure)
{
	struct master *m = arg;

	if (failure) {
		fail(m, "%s does not accept the configuration: %s", m->upgrade.path, failure);
		log_output(output);
		return;
	}
	rehearse(m);
}

static void check(struct master *m)
{
	struct upgrade *u = &m->upgrade;

	(void)same_file(u, true);
	if (ask(m, "check", -1, CHECK_MS, on_checked))
		fail(m, "cannot execute %s: %s", u->path, strerror(errno));
	else
		u->phase = UPGRADE_CHECKING;
}

void upgrade_begin(struct master *m, const char *why)
{
	struct upgrade *u = &m->upgrade;

	if (shutdown_begun(&m->stop)) {
		log_notice("%s: no upgrade now, drover is stopping", why);
		return;
	}
	if (u->phase != UPGRADE_NONE || m->booting) {
		log_notice("%s: the upgrade follows when %s", why,
			   m->booting ? "drover has started" : "the one under way has ended");
		u->again = true;
		return;
	}
	u->asked++;
	if (!u->path) {
		fail(m, "it is not known which program this is: /proc is not there");
		return;
	}
	log_notice("%s: upgrade to %s", why, u->path);
	check(m);
}

/* ---- the exec ----------------------------------------------------------- */

/* Returns only when it fails. */
static void execute(struct master *m)
{
	struct upgrade *u = &m->upgrade;
	struct state_out out = { .bytes = NULL };
	int fds[2] = { -1, open("/proc/self/exe", O_PATH | O_CLOEXEC) };

	adoption_save(m);
	warden_for_exec(m);
	carry_save(m, &out);
	enum err e = state_finish(&out, &fds[0]);
	if (e) {
		fail(m, "cannot write the state: %s", e == ERR_SYS ? strerror(errno) : err_text(e));
	} else {
		takeover_open_for_exec(out.fds, out.n_fds, true);
		takeover_open_for_exec(fds, ARRAY_LEN(fds), true);
		takeover_offer(fds[0], fds[1]);
		execve(u->path, m->opt->argv, environ);
		int error = errno;
		takeover_withdraw();
		takeover_open_for_exec(out.fds, out.n_fds, false);
		fail(m, "cannot execute %s: %s", u->path, strerror(error));
	}
	state_out_fini(&out);
	fd_close(&fds[0]);
	fd_close(&fds[1]);
	warden_renew(m);
}

/* ---- the trial ---------------------------------------------------------- */

void upgrade_on_serving(struct master *m)
{
	if (!upgrade_on_trial(&m->upgrade))
		return;
	m->upgrade.won = true;
	/* The one of before holds by itself what it was left: a listening socket whose address goes
	 * now would stay open there, after the last balancer has emptied its queue. */
	warden_renew(m);
}

void upgrade_on_failure(struct master *m, const char *why)
{
	struct upgrade *u = &m->upgrade;

	if (upgrade_on_trial(u))
		snprintf(u->verdict, sizeof(u->verdict), "%s", why);
}

/* The state of this moment is what going back would hand over. */
static void guard(struct master *m)
{
	struct state_out out = { .bytes = NULL };
	int fd;

	carry_save(m, &out);
	if (state_finish(&out, &fd) == ERR_OK) {
		takeover_guard(fd, out.fds, out.n_fds);
		out.fds = NULL;
	}
	state_out_fini(&out);
}

static void win(struct master *m)
{
	struct upgrade *u = &m->upgrade;

	takeover_proven();
	u->phase = UPGRADE_NONE;
	u->outcome = UPGRADE_DONE;
	u->won = false;
	u->reason[0] = '\0';
	log_notice("upgrade: drover %s has taken over from drover %s", DROVER_VERSION, u->before);
}

static void lose(struct master *m)
{
	struct upgrade *u = &m->upgrade;

	log_error("upgrade: %s: going back to drover %s", u->verdict, u->before);
	guard(m);
	takeover_go_back(u->verdict);
	/* Nothing is lost by going on: the balancers of before serve. */
	takeover_proven();
	fail(m, "%s, and cannot go back: %s", u->verdict, strerror(errno));
	u->verdict[0] = '\0';
}

void upgrade_turn(struct master *m)
{
	struct upgrade *u = &m->upgrade;

	if (shutdown_begun(&m->stop)) {
		u->again = false;
		rehearsal_cancel(&u->rehearsal);
		if (upgrade_on_trial(u))
			takeover_proven(); /* it can stop, at least */
		u->phase = UPGRADE_NONE;
		return;
	}
	if (upgrade_on_trial(u)) {
		if (u->verdict[0])
			lose(m);
		else if (u->won)
			win(m);
		else
			guard(m);
	}
	if (u->phase == UPGRADE_DUE && !m->loading && !m->reload_wanted) {
		if (same_file(u, false))
			execute(m);
		else
			check(m); /* it is another program by now */
	}
	if (u->phase == UPGRADE_NONE && u->again && !m->booting) {
		u->again = false;
		upgrade_begin(m, "once more");
	}
}

/* ---- after the exec ----------------------------------------------------- */

static void start_generation(struct master *m)
{
	if (reload_of_new_master(m, "upgrade"))
		upgrade_on_failure(m, "its balancers cannot be started");
}

void upgrade_resume(struct master *m, const char *failed)
{
	struct upgrade *u = &m->upgrade;

	if (failed) {
		u->verdict[0] = '\0';
		fail(m, "%s has failed: %s", u->path ? u->path : "the new program", failed);
		reload_give_up_loading(m);
		warden_renew(m);
		return;
	}
	u->phase = UPGRADE_TRIAL;
	start_generation(m);
}

void upgrade_init(struct master *m)
{
	m->upgrade.path = self_path(m->opt->argv[0]);
}

void upgrade_fini(struct master *m)
{
	rehearsal_cancel(&m->upgrade.rehearsal);
	mem_free(m->upgrade.path);
	m->upgrade.path = NULL;
}
