/* Commands from the admin channel; in the master.  What arrives here has come over a network
 * through the monitor, which read it: a verb, an app's id, a number.  Each is checked, and
 * nothing else of it is believed. */
#include "balancer/master/command.h"

#include <unistd.h>

#include "balancer/master/app.h"
#include "balancer/master/core.h"
#include "balancer/master/reload.h"
#include "balancer/master/snapshot.h"
#include "balancer/master/tail.h"
#include "common/log.h"

typedef enum admin_code command_f(struct master *m, const struct msg *ask, struct answer *answer);

static enum admin_code snapshot(struct master *m, const struct msg *ask, struct answer *answer)
{
	(void)ask;
	return snapshot_make(m, &answer->fd) ? ADMIN_NO_MEMORY_CODE : ADMIN_OK_CODE;
}

static enum admin_code reload(struct master *m, const struct msg *ask, struct answer *answer)
{
	(void)ask;
	answer->number = reload_ask(m, "drover reload");
	return answer->number ? ADMIN_ACCEPTED_CODE : ADMIN_STOPPING_CODE;
}

static enum admin_code restart(struct master *m, const struct msg *ask, struct answer *answer)
{
	struct app *a = apps_find(m, ask->ask.app_id);
	enum admin_code code = a ? app_restart(a) : ADMIN_NO_APP_CODE;

	if (code == ADMIN_ACCEPTED_CODE)
		answer->number = a->target->number;
	return code;
}

static enum admin_code scale(struct master *m, const struct msg *ask, struct answer *answer)
{
	struct app *a = apps_find(m, ask->ask.app_id);

	answer->number = ask->ask.number;
	return a ? app_scale(a, ask->ask.number) : ADMIN_NO_APP_CODE;
}

static enum admin_code drain(struct master *m, const struct msg *ask, struct answer *answer)
{
	struct app *a = apps_find(m, ask->ask.app_id);
	pid_t pid = 0;
	enum admin_code code = a ? app_drain(a, ask->ask.number, &pid) : ADMIN_NO_APP_CODE;

	answer->number = (uint64_t)pid;
	return code;
}

static enum admin_code stop(struct master *m, const struct msg *ask, struct answer *answer)
{
	(void)ask;
	answer->number = (uint64_t)getpid();
	/* Asked twice it does not end at once, as a second signal does: two who ask for the
	 * same have not lost their patience. */
	if (!shutdown_begun(&m->stop))
		shutdown_ask(m, "drover stop");
	return ADMIN_ACCEPTED_CODE;
}

static enum admin_code upgrade(struct master *m, const struct msg *ask, struct answer *answer)
{
	(void)ask;
	if (shutdown_begun(&m->stop))
		return ADMIN_STOPPING_CODE;
	upgrade_begin(m, "drover upgrade");
	answer->number = m->upgrade.asked + m->upgrade.again;
	return ADMIN_ACCEPTED_CODE;
}

static enum admin_code logs(struct master *m, const struct msg *ask, struct answer *answer)
{
	struct app *a = apps_find(m, ask->ask.app_id);
	struct tail t = { .app = a,
			  .instance = ask->ask.number >> 16,
			  .lines = ask->ask.number & 0xffff,
			  .since = ask->ask.since };

	if (ask->ask.app_id && !a)
		return ADMIN_NO_APP_CODE;
	if (a && t.instance != ADMIN_LOGS_ALL && t.instance >= a->wanted &&
	    !recents_of_instance(&a->recents, t.instance))
		return ADMIN_NO_INSTANCE_CODE;
	return tail_make(m, &t, &answer->fd, &answer->number) ? ADMIN_NO_MEMORY_CODE : ADMIN_OK_CODE;
}

static command_f *const commands[ADMIN_VERB_MAX] = {
	[ADMIN_SNAPSHOT] = snapshot, [ADMIN_RELOAD] = reload, [ADMIN_RESTART] = restart,
	[ADMIN_SCALE] = scale,	     [ADMIN_DRAIN] = drain,   [ADMIN_STOP] = stop,
	[ADMIN_UPGRADE] = upgrade,   [ADMIN_LOGS] = logs,
};

enum err command_run(struct master *m, const struct msg *ask, struct answer *ret_answer)
{
	struct answer answer = { .fd = -1 };
	uint32_t verb = ask->ask.verb;

	if (verb >= ADMIN_VERB_MAX || !commands[verb])
		return ERR_PROTOCOL;
	answer.code = commands[verb](m, ask, &answer);
	*ret_answer = answer;
	return ERR_OK;
}
