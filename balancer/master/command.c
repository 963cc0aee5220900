/* Commands from the admin channel; in the master.  What arrives here has come over a network
 * through the monitor, which read it: a verb, an app's id, a number.  Each is checked, and
 * nothing else of it is believed. */
#include "balancer/master/command.h"

#include "balancer/master/app.h"
#include "balancer/master/core.h"
#include "balancer/master/snapshot.h"
#include "common/log.h"

typedef enum admin_code command_f(struct master *m, const struct msg *ask, struct answer *answer);

static enum admin_code snapshot(struct master *m, const struct msg *ask, struct answer *answer)
{
	(void)ask;
	return snapshot_make(m, &answer->fd) ? ADMIN_NO_MEMORY_CODE : ADMIN_OK_CODE;
}

static command_f *const commands[ADMIN_VERB_MAX] = {
	[ADMIN_SNAPSHOT] = snapshot,
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
