/* The master's story: start, loop, stop.
 *
 *   master_run
 *     start   signals wait, logs, the instance's name, the board, the warden,
 *             listeners, workers, the first generation     (reload_boot)
 *     loop    one turn: wait for events, act on them, then `end_turn`: what the
 *             events ask for is reconciled, shown in the roster, told
 *     stop    everything is closed and removed, in reverse
 *
 *   adopt              everything is there: left by a master that was killed (adoption.h)
 *   master_take_over   the same after an exec (upgrade.c): all is there, and taken
 *   master_rehearse    as far as that can be tried beside a master that goes on
 *
 * One thread, one event base.  Nothing here waits for anybody, with two short
 * exceptions: a spawn until its exec, and the last bytes of output at the end.
 */
#include "balancer/master/master.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "balancer/master/app.h"
#include "balancer/master/balancer_proc.h"
#include "balancer/master/carry.h"
#include "balancer/master/core.h"
#include "balancer/master/fdstore.h"
#include "balancer/master/generation.h"
#include "balancer/master/listener.h"
#include "balancer/master/outlet.h"
#include "balancer/master/reload.h"
#include "balancer/master/state_in.h"
#include "balancer/sandbox/rights.h"
#include "common/contract.h"
#include "common/fd.h"
#include "common/log.h"
#include "common/mem.h"

#define LAST_OUTPUT_MS 2000
#define WANTED_FILES 1024 /* fewer descriptors than this deserve a warning */

/* ---- start -------------------------------------------------------------- */

static enum err make_base(struct master *m)
{
	m->base = event_base_new();
	if (!m->base || event_base_priority_init(m->base, 2) != 0) {
		logs_complain(&m->logs, "cannot create the event loop: %s", strerror(errno));
		return ERR_SYS;
	}
	shutdown_init(m);
	sampler_start(m);
	cgroup_init(&m->cgroup, "");
	adoption_init(m);
	return ERR_OK;
}

static enum err make_board(struct master *m)
{
	enum err e = slots_init(&m->slots);

	return e ? e : tally_create(&m->tally_fd, &m->tally);
}

static enum err cannot_start(const struct master *m, enum err e)
{
	if (e)
		logs_complain(&m->logs, "cannot start: %s",
			      e == ERR_SYS ? strerror(errno) : err_text(e));
	return e;
}

static enum err open_logs(struct master *m)
{
	struct logs_files files;
	enum err e = logs_open(&m->logs, m->config->cfg, &files);

	if (!e)
		logs_commit(&m->logs, m->config->cfg, &files);
	return e;
}

static void raise_limits(struct master *m)
{
	m->files = proc_raise_nofile();
	if (m->files < WANTED_FILES)
		log_warn("only %llu open files are allowed (ulimit -n, LimitNOFILE=): that is few "
			 "for a server", (unsigned long long)m->files);
}

/* Said once, here, not by each child that enters its sandbox. */
static void look_at_kernel(const struct config *cfg)
{
	struct sandbox_kernel kernel;

	if (rights_keep())
		log_warn("cannot give up capabilities: %s", strerror(errno));
	if (cfg->sandbox == CFG_SANDBOX_OFF)
		return;
	sandbox_look(&kernel);
	for (size_t i = 0; i < ARRAY_LEN(kernel.why) && kernel.why[i]; i++)
		log_warn("sandbox: %s", kernel.why[i]);
}

/* Started without one of 0, 1 and 2, what we open next would take its place,
 * and be written to as if it were our stdout. */
static void fill_stdio(void)
{
	for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
		if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", O_RDWR) != fd)
			die(EXIT_FAILED, "cannot open /dev/null: %s", strerror(errno));
}

static enum err adopt(struct master *m);

static enum err start(struct master *m)
{
	struct config *cfg = m->config->cfg;
	/* First: none of the descriptors that we open may pass for one that was handed over. */
	enum err e = activation_start(m);

	if (!e)
		e = make_base(m);
	if (!e) {
		supervisor_start(m);
		fdstore_start(m);
		upgrade_init(m);
		e = open_logs(m);
	}
	if (!e)
		e = rundir_open(&m->rundir, &m->logs, cfg->name);
	if (e == ERR_CLOSED) {
		e = adopt(m);
		if (e != ERR_MISSING)
			return e;
		e = ERR_OK; /* all of it has ended by now */
	}
	if (e)
		return e;
	m->name = m->rundir.name;
	proc_title(MASTER_TITLE "%s", m->name);
	raise_limits(m);
	look_at_kernel(cfg);
	e = make_board(m);
	if (!e)
		e = signals_start(m);
	if (cannot_start(m, e))
		return e;
	e = warden_start(m);
	if (!e)
		e = rundir_write_pid_file(&m->rundir, &m->logs, cfg->pid_file);
	if (e)
		return e;
	warden_note(&m->warden, m->rundir.pid_file ? m->rundir.pid_file : "");
	e = admin_prepare(m, cfg);
	if (e)
		return e;
	admin_commit(m);
	log_notice("drover %s, instance %s, configuration %s", DROVER_VERSION, m->name,
		   cfg->file ? cfg->file : "from the command line");
	e = reload_boot(m, cfg);
	if (!e)
		monitor_start(m);
	return e;
}

/* ---- start of a new program ---------------------------------------------- */

/* As start(), but everything is there: the process before us, which is this one, made it. */
static enum err take_over(struct master *m, struct state_in *in)
{
	enum err e = make_base(m);

	if (!e)
		e = carry_load(m, in);
	if (e)
		return e;
	m->booting = false;
	raise_limits(m);
	look_at_kernel(m->config->cfg);
	return ERR_OK;
}

static enum err read_state(struct state_in *in, int fd, bool dry)
{
	enum err e = state_in_init(in, fd, dry);

	if (e == ERR_SYNTAX || e == ERR_RANGE)
		log_error("the state that was handed over %s", e == ERR_RANGE ?
			  "is of a format that this drover does not know: it is too old" :
			  "is none");
	else if (e)
		log_error("cannot read the state that was handed over: %s",
			  e == ERR_SYS ? strerror(errno) : err_text(e));
	return e;
}

/* What is carried now goes along should we go back: all of it, before anything is closed. */
static void guard_descriptors(const struct takeover *t, const struct state_in *in)
{
	int fd = fcntl(t->state_fd, F_DUPFD_CLOEXEC, 3);
	int *fds = mem_must_alloc((in->n_fds + 1) * sizeof(*fds));

	for (size_t i = 0; i < in->n_fds; i++)
		fds[i] = in->fds[i].number;
	takeover_guard(fd, fds, in->n_fds);
}

static enum err resume(struct master *m, const struct takeover *t)
{
	struct state_in in;
	enum err e = read_state(&in, t->state_fd, false);

	if (e)
		return e;
	guard_descriptors(t, &in);
	e = take_over(m, &in);
	state_in_fini(&in);
	if (!e)
		e = cannot_start(m, signals_start(m));
	if (e)
		return e;
	proc_title(MASTER_TITLE "%s", m->name);
	monitor_start(m); /* the one of before ends with its channel */
	upgrade_resume(m, t->failed);
	return ERR_OK;
}

/* ---- start in the place of one that was killed --------------------------- */

/* What is ours: our own logs, limits and name; the rest is as the one before left it. */
static enum err settle_in(struct master *m, const struct estate *from)
{
	enum err e = cannot_start(m, signals_start(m));

	if (e)
		return e;
	/* Without these it goes on all the same: what is wrong has been logged. */
	(void)!open_logs(m);
	(void)!rundir_write_lock(&m->rundir, &m->logs, m->admin.now.path);
	if (m->rundir.pid_file &&
	    rundir_write_pid_file(&m->rundir, &m->logs, m->rundir.pid_file) == ERR_OK)
		warden_note_anew(&m->warden, m->rundir.pid_file);
	activation_mark_used(m);
	activation_close_unused(m);
	cgroup_rejoin(&m->cgroup);
	m->adoption.taken++;
	m->adoption.from_pid = (int32_t)from->pid;
	m->adoption.taken_us = master_now_us();
	return ERR_OK;
}

static enum err read_estate(struct master *m, struct estate *from, struct state_in *in)
{
	enum err e = state_in_init_given(in, from->state_fd, from->fds, from->n_fds);

	from->fds = NULL;
	if (e) {
		log_error("the state that the master before us left cannot be used: %s",
			  e == ERR_RANGE ? "it is of a later version of drover" :
			  e == ERR_SYS ? strerror(errno) : err_text(e));
		return e;
	}
	m->config = config_ref_drop(m->config); /* ours follows, as a reload */
	rundir_forget(&m->rundir);
	return carry_load_as_heir(m, in);
}

/* Until the warden is told, everything is still its own: should we fail, it stays there for
 * the next one. */
static enum err adopt(struct master *m)
{
	struct estate from;
	struct state_in in;

	raise_limits(m);
	enum err e = adoption_fetch(m, &from);
	if (e)
		return e;
	e = read_estate(m, &from, &in);
	if (!e) {
		state_in_fini(&in);
		e = settle_in(m, &from);
	}
	if (e)
		_exit(EXIT_FAILED); /* what has been logged says more; nothing here is ours to end */
	m->booting = m->logs.booting = false;
	look_at_kernel(m->config->cfg);
	proc_title(MASTER_TITLE "%s", m->name);
	/* In this order: whenever we should be killed, some warden has all of it to give. */
	adoption_save(m);
	warden_renew(m);
	adoption_taken(&from);
	log_notice("drover %s, instance %s: taken over from pid %d, which was killed: %u workers, %u "
		   "balancers", DROVER_VERSION, m->name, (int)from.pid, apps_workers(m),
		   generations_balancers(m));
	reload_give_up_loading(m);
	monitor_start(m);
	balancers_reopen(m, LOG_KIND_ERROR);
	balancers_reopen(m, LOG_KIND_ACCESS);
	if (reload_of_new_master(m, "the master before us was killed"))
		log_error("no balancers of our own can be started: those of before serve on");
	return ERR_OK;
}

/* ---- loop --------------------------------------------------------------- */

static void free_buried(struct master *m)
{
	list_each_safe(it, &m->buried) {
		list_remove(it);
		mem_free(it); /* the link is the first member of all that is buried */
	}
}

static void end_turn(struct master *m)
{
	generations_sweep(m);
	apps_retire_unknown(m);
	if (m->reload_wanted && !m->booting && !upgrade_on_trial(&m->upgrade))
		reload_now(m, "SIGHUP");
	apps_turn(m);
	rollout_turn(m);
	shutdown_turn(m);
	master_publish(m);
	balancers_tell_roster(m);
	supervisor_turn(m);
	balancers_kill_hung(m);
	outlets_sweep(m);
	free_buried(m);
	upgrade_turn(m);
	adoption_turn(m);
}

static void loop(struct master *m)
{
	for (end_turn(m); !m->finished; end_turn(m)) {
		if (event_base_loop(m->base, EVLOOP_ONCE) < 0) {
			log_error("the event loop failed: %s", strerror(errno));
			if (m->stop.at_once)
				return;
			shutdown_abort(m);
		}
	}
}

/* ---- stop --------------------------------------------------------------- */

static void free_generations(struct master *m)
{
	list_each(it, &m->generations)
		generation_drain(list_entry(it, struct generation, link), DRAIN_HARD);
	generations_sweep(m);
}

static void stop(struct master *m)
{
	monitor_leave(m);
	free_generations(m);
	if (m->slots.draft) {
		apps_free(m);
		listeners_leave(m, NULL);
		listeners_rollback(m);
		slots_fini(&m->slots);
	}
	free_buried(m);
	activation_fini(&m->activation);
	admin_fini(m);
	upgrade_fini(m);
	warden_stop(&m->warden);
	adoption_fini(m);
	cgroup_remove(&m->cgroup);
	rundir_close(&m->rundir);
	outlets_fini(m, LAST_OUTPUT_MS);
	monitor_stop(m);
	signals_stop(&m->signals);
	fd_close(&m->tally_fd);
	if (m->base) {
		shutdown_fini(&m->stop);
		supervisor_fini(&m->supervisor);
		sampler_stop(&m->sampler);
		event_base_free(m->base);
	}
	logs_fini(&m->logs);
	rollouts_fini(&m->reloads);
	m->config = config_ref_drop(m->config);
}

static struct master *new_master(struct config *cfg, const struct master_options *opt,
				 balancer_main_f *balancer_main, monitor_main_f *monitor_main)
{
	struct master *m = mem_must_alloc(sizeof(*m));

	m->opt = opt;
	m->balancer_main = balancer_main;
	m->monitor_main = monitor_main;
	m->started_us = master_now_us();
	if (cfg && !(m->config = config_ref_new(cfg)))
		die(EXIT_FAILED, "out of memory");
	m->booting = m->logs.booting = true;
	m->exit_status = EXIT_FAILED;
	m->supervisor.fd = m->slots.fd = m->tally_fd = m->rundir.lock_fd = -1;
	m->logs.error_fd = m->logs.access_fd = -1;
	m->pending_logs = (struct logs_files){ -1, -1 };
	m->warden.pidfd = m->warden.self = m->warden.notes_fd = -1;
	m->warden.life = m->warden.life_read = -1;
	m->adoption.state_fd = -1;
	m->warden.balancers[0] = m->warden.balancers[1] = -1;
	admin_init(&m->admin);
	monitor_init(m);
	list_init(&m->listeners);
	list_init(&m->generations);
	list_init(&m->apps);
	list_init(&m->buried);
	list_init(&m->outlets);
	return m;
}

static struct master *begin(struct config *cfg, const struct master_options *opt,
			    balancer_main_f *balancer_main, monitor_main_f *monitor_main)
{
	struct master *m = new_master(cfg, opt, balancer_main, monitor_main);

	master_keep(m);
	fill_stdio();
	signals_block(&m->signals);
	log_ident("master");
	srandom((unsigned)getpid() ^ (unsigned)master_now_us());
	return m;
}

static int end(struct master *m)
{
	stop(m);
	int status = m->exit_status;
	master_keep(NULL);
	mem_free(m);
	return status;
}

int master_run(struct config *cfg, const struct master_options *opt, balancer_main_f *balancer_main,
	       monitor_main_f *monitor_main)
{
	struct master *m = begin(cfg, opt, balancer_main, monitor_main);

	if (start(m) == ERR_OK) {
		loop(m);
	} else if (m->slots.shared) {
		shutdown_abort(m);
		loop(m);
	}
	return end(m);
}

int master_take_over(const struct takeover *t, const struct master_options *opt,
		     balancer_main_f *balancer_main, monitor_main_f *monitor_main)
{
	struct master *m = begin(NULL, opt, balancer_main, monitor_main);

	if (resume(m, t)) {
		/* What has been logged says more.  Should there be no way back, the warden
		 * cleans up. */
		takeover_go_back("it cannot use the state that was handed over");
		_exit(EXIT_FAILED);
	}
	loop(m);
	return end(m);
}

void master_rehearse(const struct master_options *opt, balancer_main_f *balancer_main,
		     monitor_main_f *monitor_main)
{
	struct master *m = begin(NULL, opt, balancer_main, monitor_main);
	struct state_in in;

	if (read_state(&in, STDIN_FILENO, true) || take_over(m, &in))
		_exit(EXIT_FAILED);
	printf(UPGRADE_ANSWER "%s, %u balancers, generation %u\n", DROVER_VERSION,
	       generations_balancers(m), m->serving->number);
	/* Nothing here is ours to end: it is all somebody else's. */
	_exit(fflush(stdout) == 0 ? EXIT_DRAINED : EXIT_FAILED);
}
