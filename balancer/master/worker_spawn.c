/* From "instance 2 of web is missing" to a running process; in the master.
 *
 *   slot (and its epoch) -> internal address -> pipes -> environment -> fork
 *   -> roster row with pid and start time, visible before the command is executed:
 *      should the master die in the next instant, the warden finds the worker there
 *   -> exec
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "balancer/master/app.h"
#include "balancer/master/core.h"
#include "balancer/master/ports.h"
#include "balancer/master/worker_env.h"
#include "balancer/master/worker_proc.h"
#include "common/fd.h"
#include "common/log.h"
#include "common/mem.h"

extern char **environ;

static enum err complain(const struct worker *w, enum err e, const char *what, const char *why)
{
	struct app *a = w->app;

	logs_complain(&a->m->logs, "app %s: cannot start worker %u: %s%s%s", a->name, w->instance,
		      what, why[0] ? ": " : "", why);
	snprintf(a->cannot_start, sizeof(a->cannot_start), "cannot start worker %u: %.120s%s%.80s",
		 w->instance, what, why[0] ? ": " : "", why);
	return e;
}

static enum err give_port(struct worker *w)
{
	const struct cfg_app *conf = w->release->conf;
	char what[96];
	uint16_t port;
	enum err e = ports_take(w->app->m, conf, &port);

	if (!e) {
		w->address = addr_ipv4_loopback(port);
		return ERR_OK;
	}
	if (e == ERR_FULL && conf->port_max) {
		snprintf(what, sizeof(what), "no free port in ports: %u-%u; widen the range",
			 conf->port_min, conf->port_max);
		return complain(w, e, what, "");
	}
	return complain(w, e, "cannot find a free port",
			e == ERR_SYS ? strerror(errno) : err_text(e));
}

static enum err give_socket(struct worker *w, const struct proc_user *user)
{
	struct master *m = w->app->m;
	uint64_t epoch = m->slots.draft->slots[w->slot].epoch;
	char path[sizeof(w->address.un.sun_path)];
	enum err e = rundir_socket_path(&m->rundir, w->app->id, epoch, user, &m->balancer_user,
					path, sizeof(path));

	if (!e)
		e = addr_unix(path, &w->address);
	if (e == ERR_RANGE)
		return complain(w, e, "the path of its socket is longer than a socket address "
				"takes; set XDG_RUNTIME_DIR to a shorter one", "");
	if (e)
		return complain(w, e, "cannot make a directory for its socket", strerror(errno));
	warden_set_sockets(&m->warden, m->rundir.sockets);
	return ERR_OK;
}

/* Without it only those workers cannot start that have to use it. */
static enum err give_notify(struct worker *w, const struct proc_user *user)
{
	struct master *m = w->app->m;
	uint64_t epoch = m->slots.draft->slots[w->slot].epoch;
	char path[sizeof(w->notify.path)];
	enum err e = rundir_notify_path(&m->rundir, epoch, path, sizeof(path));

	if (!e)
		e = notify_open(&w->notify, path, user);
	if (!e) {
		warden_set_sockets(&m->warden, m->rundir.sockets);
		return ERR_OK;
	}
	const char *why = e == ERR_SYS ? strerror(errno) :
			  e == ERR_RANGE ? "the path of the run directory is too long; set "
					   "XDG_RUNTIME_DIR to a shorter one" : err_text(e);
	if (w->release->conf->ready_type == READY_NOTIFY)
		return complain(w, e, "cannot make its NOTIFY_SOCKET", why);
	log_warn("app %s: worker %u gets no NOTIFY_SOCKET: %s", w->app->name, w->instance, why);
	return ERR_OK;
}

static const char *exec_remedy(int error)
{
	switch (error) {
	case ENOENT: return "; check the command, PATH, and the interpreter in its first line";
	case ENOEXEC: return "; it is no program, and no script that begins with #!";
	case EACCES: return "; is it executable for its user?";
	default: return "";
	}
}

static enum err complain_spawn(const struct worker *w, const struct proc_spec *spec,
			       const struct proc_failure *failure)
{
	const char *object = "", *remedy = "";
	char what[512];

	if (strcmp(failure->stage, "execute") == 0) {
		object = spec->argv[0];
		remedy = exec_remedy(failure->error);
	} else if (strcmp(failure->stage, "change to directory") == 0) {
		object = spec->directory;
		remedy = "; check the app's directory";
	} else if (strcmp(failure->stage, "set its limits") == 0) {
		remedy = "; only root may raise a limit above the one that drover was started with";
	} else if (strcmp(failure->stage, "set its nice value") == 0) {
		remedy = "; only root may go below drover's own";
	} else if (strcmp(failure->stage, "bind it to its cpus") == 0) {
		remedy = "; does the machine have any of them?";
	} else if (strcmp(failure->stage, "become user") == 0) {
		object = spec->user.name;
		remedy = "; only root may start workers as another user";
	}
	snprintf(what, sizeof(what), "cannot %s%s%s: %s%s", failure->stage, object[0] ? " " : "",
		 object, strerror(failure->error), remedy);
	return complain(w, ERR_SYS, what, "");
}

static const int resources[CFG_RLIMIT_MAX] = {
#define CFG_RLIMIT(key, resource, help) [CFG_RLIMIT_##resource] = RLIMIT_##resource,
#include "balancer/config/rlimits.def"
#undef CFG_RLIMIT
};

static size_t collect_limits(const struct cfg_app *conf, struct proc_limit *limits)
{
	size_t n = 0;

	for (size_t i = 0; i < CFG_RLIMIT_MAX; i++)
		if (conf->rlimits[i] != CFG_RLIMIT_INHERIT)
			limits[n++] = (struct proc_limit){ resources[i], conf->rlimits[i] };
	return n;
}

static void on_forked(void *arg, pid_t pid)
{
	struct worker *w = arg;

	w->pid = pid;
	worker_enter_roster(w);
}

static enum err spawn(struct worker *w, const struct proc_user *user)
{
	const struct cfg_app *conf = w->release->conf;
	struct proc_failure failure;
	struct worker_env env;
	int fds[2];
	const char *notify = w->notify.fd >= 0 ? w->notify.path : NULL;
	enum err e = worker_env_init(&env, conf, &w->address, w->instance, w->release->number,
				     notify, environ);

	if (e)
		return complain(w, e, err_text(e), "");
	e = output_open(&w->output, fds);
	if (e) {
		worker_env_fini(&env);
		return complain(w, e, "cannot make pipes for its output", strerror(errno));
	}
	/* So that it may open /dev/stdout and /dev/stderr again. */
	for (int i = 0; user->set && i < 2; i++)
		(void)!fchown(fds[i], user->uid, (gid_t)-1);
	struct proc_spec spec = {
		.argv = env.argv, .env = env.env, .user = *user,
		.directory = conf->directory ? conf->directory : w->release->config->cfg->directory,
		.stdin_fd = -1, .stdout_fd = fds[0], .stderr_fd = fds[1],
	};
	struct proc_limit limits[CFG_RLIMIT_MAX];
	cpu_set_t cpus;
	spec.limits = limits;
	spec.n_limits = collect_limits(conf, limits);
	spec.nice = conf->nice;
	if (conf->cpus && proc_parse_cpus(conf->cpus, &cpus) == ERR_OK)
		spec.cpus = &cpus;
	spec.cgroup_fd = cgroup_procs(&w->app->m->cgroup, conf->name, conf->cgroup_memory_bytes,
				      conf->cgroup_cpu_percent);
	spec.on_forked = on_forked;
	spec.arg = w;
	e = proc_spawn(&spec, &w->pid, &w->pidfd, &failure);
	if (spec.cgroup_fd > 0)
		fd_close(&spec.cgroup_fd);
	if (e)
		e = complain_spawn(w, &spec, &failure);
	fd_close(&fds[0]);
	fd_close(&fds[1]);
	worker_env_fini(&env);
	return e;
}

void worker_enter_roster(struct worker *w)
{
	struct slots *s = &w->app->m->slots;
	struct roster_slot *row = slots_edit(s, w->slot);

	row->pid = w->pid;
	row->start_ticks = w->pid ? proc_start_ticks(w->pid) : 0;
	row->app_id = w->app->id;
	row->release = w->release ? w->release->number : 0;
	row->instance = w->instance;
	row->state = worker_roster_state(w);
	row->up_since_us = w->up_us;
	row->address = w->address;
	w->version = slots_version(s);
	master_publish(w->app->m);
}

struct worker *worker_new(struct app *app, struct release *r, uint32_t instance)
{
	struct worker *w = mem_alloc_zero(sizeof(*w));

	if (!w)
		return NULL;
	w->app = app;
	w->release = r ? release_hold(r) : NULL;
	w->instance = instance;
	w->pidfd = w->notify.fd = -1;
	w->output.streams[0].fd = w->output.streams[1].fd = -1;
	w->started_us = master_now_us();
	list_init(&w->link);
	return w;
}

static void discard(struct worker *w)
{
	notify_close(&w->notify);
	output_close(&w->output);
	w->release = release_drop(w->release);
	mem_free(w);
}

static enum err take_slot(struct worker *w)
{
	struct master *m = w->app->m;
	enum err e = slots_take(&m->slots, m->tally, &w->slot);

	return e ? complain(w, e, "there are 1024 workers already", "") : ERR_OK;
}

static enum err prepare_and_spawn(struct worker *w)
{
	const struct cfg_app *conf = w->release->conf;
	struct proc_user user;
	enum err e = app_user(conf, &user);

	if (e)
		return complain(w, e, "there is no such user", conf->user);
	e = conf->bind == BIND_UNIX ? give_socket(w, &user) : give_port(w);
	if (!e)
		e = give_notify(w, &user);
	return e ? e : spawn(w, &user);
}

enum err worker_start(struct app *app, struct release *r, uint32_t instance)
{
	struct master *m = app->m;
	struct worker *w = worker_new(app, r, instance);

	if (!w)
		return ERR_NOMEM;
	enum err e = take_slot(w);
	if (e)
		goto discard;
	e = prepare_and_spawn(w);
	if (e)
		goto release_slot;
	list_push_back(&app->workers, &w->link);
	output_start(&w->output, m->base, &(struct output_of){
		.app = app->name, .instance = instance, .release = r->number, .pid = w->pid,
		.format = r->conf->log_output_format,
		.outlet = outlet_take(m, r->conf->log_output),
		.recent = recents_open(&app->recents, w->pid, instance, r->number) });
	worker_watch(w);
	snprintf(w->name, sizeof(w->name), "app %s: worker %u (pid %d)", app->name, instance,
		 (int)w->pid);
	log_debug("%s started, release %u", w->name, r->number);
	return ERR_OK;
release_slot:
	slots_release(&m->slots, w->slot);
discard:
	discard(w);
	return e;
}

enum err worker_add_server(struct app *app, const struct addr *address)
{
	struct worker *w = worker_new(app, NULL, 0);
	char text[ADDR_TEXT_MAX];

	if (!w)
		return ERR_NOMEM;
	w->address = *address;
	w->phase = WS_UP;
	enum err e = take_slot(w);
	if (e) {
		discard(w);
		return e;
	}
	worker_enter_roster(w);
	list_push_back(&app->workers, &w->link);
	worker_watch(w);
	snprintf(w->name, sizeof(w->name), "app %s: server %s", app->name,
		 addr_format(address, text));
	log_info("%s added", w->name);
	return ERR_OK;
}
