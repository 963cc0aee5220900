/* The places where the workers' lines go; in the master.  Opened with the
 * configuration, so that a path that cannot be written is refused with it. */
#include "balancer/master/outlet.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "balancer/master/core.h"
#include "common/clock.h"
#include "common/fd.h"
#include "common/log.h"
#include "common/mem.h"

/* What is written to when there is no memory for anything else: nothing. */
static struct outlet nowhere = { .sinks = { { .fd = -1, .file = -1, .writer = -1 },
					    { .fd = -1, .file = -1, .writer = -1 } } };

static bool is_standard(const char *path)
{
	return path && strcmp(path, "-") == 0;
}

static bool is_at(const struct outlet *o, const char *path)
{
	return (path && o->path) ? strcmp(o->path, path) == 0 : path == o->path;
}

static struct outlet *find(struct master *m, const char *path)
{
	list_each (it, &m->outlets)
		if (is_at(list_entry(it, struct outlet, link), path))
			return list_entry(it, struct outlet, link);
	return NULL;
}

/* ---- opening ------------------------------------------------------------ */

static enum err open_standard(struct master *m, struct outlet *o)
{
	enum err e = sink_init(&o->sinks[0], m->base, STDOUT_FILENO, "our stdout", &m->prober);

	if (!e)
		e = sink_init(&o->sinks[1], m->base, STDERR_FILENO, "our stderr", &m->prober);
	if (e)
		logs_complain(&m->logs, "cannot use stdout and stderr for the workers' output: %s",
			      e == ERR_SYS ? strerror(errno) : err_text(e));
	return e;
}

static enum err open_file(struct master *m, struct outlet *o)
{
	int fd;
	enum err e = logs_open_file(&m->logs, o->path, "log.output", &fd);

	if (e)
		return e;
	e = sink_open(&o->sinks[0], m->base, fd, o->path, &m->prober);
	if (e)
		logs_complain(&m->logs, "cannot write to %s (log.output): %s", o->path,
			      e == ERR_SYS ? strerror(errno) : err_text(e));
	return e;
}

static void free_outlet(struct outlet *o, uint64_t deadline_us)
{
	list_remove(&o->link);
	for (int i = 0; i < 2; i++)
		sink_fini(&o->sinks[i], deadline_us);
	mem_free(o->path);
	mem_free(o);
}

/* An outlet that is not open yet, in the list. */
static struct outlet *new_outlet(struct master *m, const char *path)
{
	struct outlet *o = mem_alloc_zero(sizeof(*o));
	size_t n = path ? strlen(path) + 1 : 0;

	if (!o)
		return NULL;
	o->path = path ? mem_alloc(n) : NULL;
	if (path && !o->path) {
		mem_free(o);
		return NULL;
	}
	if (path)
		memcpy(o->path, path, n);
	for (int i = 0; i < 2; i++)
		sink_none(&o->sinks[i], m->base, o->path ? o->path : "", &m->prober);
	list_push_back(&m->outlets, &o->link);
	return o;
}

static enum err open_path(struct master *m, const char *path)
{
	struct outlet *o = find(m, path);

	if (!o)
		o = new_outlet(m, path);
	if (!o) {
		logs_complain(&m->logs, "out of memory for the workers' output");
		return ERR_NOMEM;
	}
	if (o->opened)
		return ERR_OK;
	enum err e = !path ? ERR_OK : is_standard(path) ? open_standard(m, o) : open_file(m, o);
	o->opened = e == ERR_OK;
	if (e && o->holders == 0)
		free_outlet(o, 0);
	return e;
}

enum err outlets_open(struct master *m, const struct config *cfg)
{
	enum err e = ERR_OK;

	for (size_t i = 0; i < cfg->n_apps && !e; i++)
		if (cfg->apps[i].command)
			e = open_path(m, cfg->apps[i].log_output);
	return e;
}

/* ---- in use ------------------------------------------------------------- */

struct outlet *outlet_take(struct master *m, const char *path)
{
	/* It is there already, unless a release returns whose outlet had gone. */
	struct outlet *o = open_path(m, path) ? NULL : find(m, path);

	if (!o)
		o = new_outlet(m, path);
	if (!o)
		return &nowhere;
	o->holders++;
	return o;
}

struct outlet *outlet_resume(struct master *m, const char *path)
{
	struct outlet *o = find(m, path);

	if (!o)
		o = new_outlet(m, path);
	if (!o)
		return NULL;
	o->opened = true;
	if (is_standard(path)) {
		o->sinks[0].name = "our stdout";
		o->sinks[1].name = "our stderr";
	}
	return o;
}

struct outlet *outlet_drop(struct outlet *o)
{
	if (o && o != &nowhere)
		o->holders--;
	return NULL;
}

struct sink *outlet_sink(struct outlet *o, int stream)
{
	return &o->sinks[is_standard(o->path) ? stream : 0];
}

void outlets_reopen(struct master *m)
{
	list_each (it, &m->outlets) {
		struct outlet *o = list_entry(it, struct outlet, link);
		int fd;
		if (!o->path || is_standard(o->path) ||
		    logs_open_file(&m->logs, o->path, "log.output", &fd))
			continue;
		enum err e = sink_move(&o->sinks[0], fd);
		if (e)
			log_error("cannot write to %s (log.output): %s", o->path,
				  e == ERR_SYS ? strerror(errno) : err_text(e));
		else
			o->opened = true;
	}
}

static bool names(const struct config_ref *ref, const struct outlet *o)
{
	for (size_t i = 0; ref && i < ref->cfg->n_apps; i++)
		if (ref->cfg->apps[i].command && is_at(o, ref->cfg->apps[i].log_output))
			return true;
	return false;
}

void outlets_sweep(struct master *m)
{
	list_each_safe (it, &m->outlets) {
		struct outlet *o = list_entry(it, struct outlet, link);
		bool idle = sink_is_idle(&o->sinks[0]) && sink_is_idle(&o->sinks[1]);
		if (o->holders == 0 && idle && !names(m->config, o) && !names(m->pending_config, o))
			free_outlet(o, 0);
	}
}

void outlets_fini(struct master *m, int wait_ms)
{
	clock_update();
	uint64_t deadline_us = clock_now_us() + (uint64_t)wait_ms * 1000;

	list_each_safe (it, &m->outlets)
		free_outlet(list_entry(it, struct outlet, link), deadline_us);
}
