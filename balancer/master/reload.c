/* From one configuration to the next; in the master.
 *
 *   load and check ─► open logs ─► name apps ─► open listeners ─► fork generation   prepared
 *        │ any failure: undone, logged, nothing has changed            │
 *        ▼                                                  all READY  ▼
 *   (the configuration in force stays)      logs, listeners, generation, releases   committed
 *
 * At most one generation is loading; a newer SIGHUP gives it up (the newest
 * wins).  Old ones drain for as long as their clients stay.
 */
#include "balancer/master/reload.h"

#include <stdio.h>
#include <string.h>

#include "balancer/master/app.h"
#include "balancer/master/core.h"
#include "balancer/master/generation.h"
#include "balancer/master/handover.h"
#include "balancer/master/listener.h"
#include "balancer/master/outlet.h"
#include "common/log.h"
#include "common/mem.h"

/* ---- the first one ------------------------------------------------------ */

/* All addresses before the first worker: a port in use is the commonest mistake. */
static enum err open_all(struct master *m, const struct config *cfg)
{
	struct listener *l;

	for (size_t i = 0; i < cfg->n_listens; i++) {
		enum err e = listener_prepare(m, &cfg->listens[i], cfg->balancers, &l);
		if (e)
			return e;
	}
	return ERR_OK;
}

void reload_set_prober(struct master *m, const struct config *cfg)
{
	m->prober = (struct sandbox){
		.role = SANDBOX_PROBE,
		.user = &m->balancer_user,
		.off = cfg->sandbox == CFG_SANDBOX_OFF,
		.required = cfg->sandbox == CFG_SANDBOX_REQUIRED,
	};
}

enum err reload_boot(struct master *m, struct config *cfg)
{
	enum err e = apps_identify(m, cfg);

	warden_set_wait(&m->warden, cfg);
	if (!e)
		e = generation_find_user(m, cfg, &m->balancer_user);
	reload_set_prober(m, cfg);
	if (!e)
		e = outlets_open(m, cfg);
	if (!e)
		e = open_all(m, cfg);
	if (e)
		return e;
	activation_close_unused(m);
	apps_release(m, m->config);
	e = apps_boot(m);
	return e ? e : generation_start(m, m->config, NULL, &m->loading);
}

/* ---- the next ones ------------------------------------------------------ */

/* The verdict on the reload that was asked for last; `lines` is taken. */
static void refuse(struct master *m, const char *reason, char *lines)
{
	rollouts_fail(&m->reloads, m->reload_asked, master_now_us(), 0, reason, lines);
}

static void log_errors(struct master *m, const struct config_errors *errors, const char *why)
{
	const char *line = errors->text ? errors->text : "";
	size_t bytes = strlen(line) + 1;
	char *lines = mem_alloc(bytes), reason[64];

	if (lines)
		memcpy(lines, line, bytes);
	snprintf(reason, sizeof(reason), "the configuration has %zu %s", errors->count,
		 errors->count == 1 ? "error" : "errors");
	refuse(m, reason, lines);
	log_error("%s: the configuration has %zu %s; nothing has changed:", why, errors->count,
		  errors->count == 1 ? "error" : "errors");
	while (*line) {
		size_t n = strcspn(line, "\n");
		log_error("%.*s", (int)n, line);
		line += n + (line[n] == '\n');
	}
}

static bool differs(const char *a, const char *b)
{
	return (a && b) ? strcmp(a, b) != 0 : a != b;
}

static void warn_of_fixed(const struct master *m, const struct config *cfg)
{
	if (differs(m->name, cfg->name))
		log_warn("name: cannot change while drover runs; it stays \"%s\"", m->name);
	if (differs(m->config->cfg->pid_file, cfg->pid_file))
		log_warn("pid_file: cannot change while drover runs");
}

static void drop_pending(struct master *m)
{
	m->loading = NULL;
	m->pending_config = config_ref_drop(m->pending_config);
	logs_close_files(&m->pending_logs);
	admin_rollback(m);
}

static enum err prepare(struct master *m)
{
	struct config *cfg = m->pending_config->cfg;
	enum err e = logs_open(&m->logs, cfg, &m->pending_logs);

	if (!e)
		e = outlets_open(m, cfg);
	if (!e)
		e = admin_prepare(m, cfg);
	if (!e)
		e = apps_identify(m, cfg);
	if (!e)
		e = generation_start(m, m->pending_config, &m->pending_logs, &m->loading);
	return e;
}

/* The configuration as it is now; NULL: what is wrong with it has been logged. */
static struct config *load(struct master *m, const char *why)
{
	struct config_errors errors = { .text = NULL };
	struct config *cfg = config_load(m->opt->config_file, &m->opt->overrides, &errors);

	if (!cfg)
		log_errors(m, &errors, why);
	config_errors_fini(&errors);
	return cfg;
}

/* Takes `cfg`, whose generation begins to start. */
static enum err begin(struct master *m, struct config *cfg, const char *why)
{
	warn_of_fixed(m, cfg);
	m->pending_config = config_ref_new(cfg);
	if (!m->pending_config) {
		log_error("%s: out of memory; nothing has changed", why);
		refuse(m, "out of memory", NULL);
		return ERR_NOMEM;
	}
	enum err e = prepare(m);
	if (e) {
		log_error("%s: nothing has changed", why);
		refuse(m, "its addresses, logs or processes could not be prepared: see the log",
		       NULL);
		drop_pending(m);
		return e;
	}
	m->reload_loading = m->reload_asked;
	log_notice("%s: configuration checked, generation %u starts", why, m->loading->number);
	return ERR_OK;
}

uint32_t reload_ask(struct master *m, const char *why)
{
	if (shutdown_begun(&m->stop)) {
		log_notice("%s: not now, drover is stopping", why);
		return 0;
	}
	supervisor_on_reload(m);
	/* Two that wait are one: the file is read when they are due. */
	if (m->reload_wanted)
		rollouts_supersede(&m->reloads, m->reload_asked, master_now_us());
	rollouts_begin(&m->reloads, ++m->reload_asked, 0, master_now_us());
	if (m->booting || upgrade_on_trial(&m->upgrade))
		m->reload_wanted = true;
	else
		reload_now(m, why);
	return m->reload_asked;
}

void reload_now(struct master *m, const char *why)
{
	m->reload_wanted = false;
	/* A file with errors changes nothing: what is loading goes on. */
	struct config *cfg = load(m, why);
	if (!cfg)
		return;
	/* The newest wins: one that has not come into force yet never will. */
	if (m->loading) {
		log_notice("%s: giving up generation %u, which is not ready yet", why,
			   m->loading->number);
		rollouts_supersede(&m->reloads, m->reload_loading, master_now_us());
		reload_cancel(m);
	}
	(void)!begin(m, cfg, why);
}

/* ---- of a new program --------------------------------------------------- */

enum err reload_of_new_master(struct master *m, const char *why)
{
	char text[128];

	struct config_errors errors = { .text = NULL };
	struct config *cfg = config_load(m->opt->config_file, &m->opt->overrides, &errors);
	if (!cfg)
		log_warn("%s: the configuration has errors since it was checked; the one in force "
			 "stays", why);
	config_errors_fini(&errors);
	bool edited = cfg && !config_same_sources(cfg, m->config->cfg);

	if (edited)
		rollouts_begin(&m->reloads, ++m->reload_asked, 0, master_now_us());
	snprintf(text, sizeof(text), "%s: the configuration has been edited", why);
	if (edited && begin(m, cfg, text) == ERR_OK)
		return ERR_OK;
	if (!edited)
		config_free(cfg);
	enum err e = generation_start(m, m->config, NULL, &m->loading);
	if (!e)
		m->loading->keeps_workers = true;
	return e;
}

void reload_give_up_loading(struct master *m)
{
	list_each_safe(it, &m->generations) {
		struct generation *g = list_entry(it, struct generation, link);
		if (g->state <= GENERATION_READY)
			generation_abandon(g);
	}
}

/* ---- what becomes of them ----------------------------------------------- */

void reload_commit(struct generation *g)
{
	struct master *m = g->m;
	struct generation *before = m->serving;

	upgrade_on_serving(m);
	m->loading = NULL;
	m->serving = g;
	if (m->pending_config) {
		logs_commit(&m->logs, m->pending_config->cfg, &m->pending_logs);
		config_ref_drop(m->config);
		m->config = m->pending_config;
		m->pending_config = NULL;
		if (admin_commit(m))
			monitor_renew(m);
		monitor_reopen(m);
	}
	m->balancer_user = g->user;
	reload_set_prober(m, m->config->cfg);
	generation_serve(g);
	warden_set_wait(&m->warden, m->config->cfg);
	listeners_commit(m);
	if (!m->booting && !g->keeps_workers) {
		rollouts_supersede(&m->reloads, m->reload_in_force, master_now_us());
		m->reload_in_force = m->reload_loading;
		apps_release(m, m->config);
	}
	/* Here the reload has come into force; what follows cannot be taken back. */
	adoption_save(m);
	bool leaves = listeners_leave(m, m->config->cfg);
	handover_to(m, g);
	if (before)
		generation_retire(before, leaves);
	if (m->booting) {
		m->booting = m->logs.booting = false;
		return;
	}
	log_notice("generation %u serves, generation %u finishes its connections", g->number,
		   before ? before->number : 0);
}

void reload_failed(struct generation *g, const char *why)
{
	struct master *m = g->m;

	if (m->booting) {
		logs_complain(&m->logs, "cannot start: %s", why);
		generation_abandon(g);
		m->loading = NULL;
		shutdown_abort(m);
		return;
	}
	log_error("generation %u failed: %s; nothing has changed", g->number, why);
	if (!g->keeps_workers)
		rollouts_fail(&m->reloads, m->reload_loading, master_now_us(), 0, why, NULL);
	generation_abandon(g);
	drop_pending(m);
	upgrade_on_failure(m, why);
}

void reload_cancel(struct master *m)
{
	struct generation *g = m->loading;

	if (!g)
		return;
	if (shutdown_begun(&m->stop) && !g->keeps_workers)
		rollouts_fail(&m->reloads, m->reload_loading, master_now_us(), 0, "drover is stopping",
			      NULL);
	generation_abandon(g);
	drop_pending(m);
}
