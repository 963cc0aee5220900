/* The commands that talk to a running drover: find it (instance.c), ask it (remote.c), say
 * what it answered. */
#include "balancer/cli/commands.h"

#include <stdio.h>

#include "balancer/cli/instance.h"
#include "balancer/cli/remote.h"
#include "balancer/cli/show.h"
#include "common/contract.h"

/* Says what a refusal says. */
static int refused(const struct answer *a)
{
	char detail[1024];

	if (a->status)
		cli_complain("%s", answer_detail(a, detail, sizeof(detail)));
	return EXIT_FAILED;
}

int command_status(const struct args *a, struct cli_run *ret_run)
{
	struct instance it;
	int status = instance_find(a, &it);

	(void)ret_run;
	if (status >= 0)
		return status;
	struct answer answer = remote_ask(&it, "GET", "/api/v1/status", NULL);
	instance_fini(&it);
	json_t *json = answer.status == 200 ? answer_json(&answer) : NULL;
	if (!json)
		status = answer.status == 200 ? EXIT_FAILED : refused(&answer);
	else if (a->json)
		status = fwrite(answer.text, 1, answer.n, stdout) == answer.n ? EXIT_DRAINED : EXIT_FAILED;
	else
		show_status(json, stdout), status = EXIT_DRAINED;
	json_decref(json);
	answer_fini(&answer);
	return cli_answered(status);
}
