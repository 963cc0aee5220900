/* The commands that talk to a running drover: find it (instance.c), ask it (remote.c), say
 * what it answered. */
#include "balancer/cli/commands.h"

#include <poll.h>
#include <stdio.h>
#include <string.h>

#include "balancer/cli/instance.h"
#include "balancer/cli/remote.h"
#include "balancer/cli/show.h"
#include "common/contract.h"
#include "common/fd.h"
#include "common/mem.h"
#include "common/slice.h"

#define LOOK_MS 200

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
		status = answer.status == 200 ? EXIT_FAILED : answer_refused(&answer);
	else if (a->json)
		status = fwrite(answer.text, 1, answer.n, stdout) == answer.n ? EXIT_DRAINED : EXIT_FAILED;
	else
		show_status(json, stdout), status = EXIT_DRAINED;
	json_decref(json);
	answer_fini(&answer);
	return cli_answered(status);
}

/* ---- changing something ------------------------------------------------- */

/* POSTs; -1 and the number that the answer names, or the exit status. */
static int post(const struct instance *it, const char *path, const char *body, long long *ret_number)
{
	struct answer answer = remote_ask(it, "POST", path, body);
	int status = EXIT_FAILED;

	if (answer.status >= 200 && answer.status < 300) {
		json_t *json = answer_json(&answer);
		*ret_number = (long long)json_integer_value(json_object_get(json, "number"));
		status = json ? -1 : EXIT_FAILED;
		json_decref(json);
	} else {
		status = answer_refused(&answer);
	}
	answer_fini(&answer);
	return status;
}

/* The same for one command from beginning to end; `path` is freed. */
static int order(const struct args *a, char *path, const char *body, long long *ret_number)
{
	struct instance it;
	int status = instance_find(a, &it);

	if (status < 0) {
		status = post(&it, path, body, ret_number);
		instance_fini(&it);
	}
	mem_free(path);
	return status;
}

/* What became of what was ordered: the exit status, and it has been said; -1: it is still on
 * its way. */
typedef int verdict_f(const struct instance *it, long long number);

/* Orders, then looks for the verdict: once, or with `wait` until there is one.  *ret_it is
 * the caller's, whatever comes of it. */
static int order_and_watch(const struct args *a, const char *path, verdict_f *look, bool wait,
			   struct instance *ret_it, long long *ret_number)
{
	*ret_it = (struct instance){ .pid = 0 };
	int status = instance_find(a, ret_it);

	if (status < 0)
		status = post(ret_it, path, NULL, ret_number);
	if (status < 0)
		status = look(ret_it, *ret_number);
	while (status < 0 && wait) {
		poll(NULL, 0, LOOK_MS);
		status = look(ret_it, *ret_number);
	}
	return status;
}

static const char *text(const json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));

	return s ? s : "";
}

/* Why a reload failed, and what the worker wrote last (or what is wrong in the file). */
static void explain(long long number, const json_t *reload)
{
	const char *lines = text(reload, "lines");

	cli_complain("reload %lld failed: %s", number, text(reload, "reason"));
	while (*lines) {
		size_t n = strcspn(lines, "\n");
		fputs("  ", stderr);
		for (size_t i = 0; i < n; i++)
			fputc((unsigned char)lines[i] < 0x20 && lines[i] != '\t' ? '?' : lines[i], stderr);
		fputc('\n', stderr);
		lines += n + (lines[n] == '\n');
	}
}

static int reload_verdict(const struct instance *it, long long number)
{
	char path[64];

	snprintf(path, sizeof(path), "/api/v1/reloads/%lld", number);
	struct answer answer = remote_ask(it, "GET", path, NULL);
	json_t *json = answer.status == 200 ? answer_json(&answer) : NULL;
	const char *state = text(json, "state");
	int status = -1;

	if (answer.status != 200) {
		status = answer_refused(&answer);
	} else if (strcmp(state, "failed") == 0) {
		explain(number, json);
		status = EXIT_FAILED;
	} else if (strcmp(state, "superseded") == 0) {
		cli_complain("reload %lld was superseded by a newer one", number);
		status = EXIT_FAILED;
	} else if (strcmp(state, "running") != 0) {
		status = json ? EXIT_DRAINED : EXIT_FAILED;
	}
	json_decref(json);
	answer_fini(&answer);
	return status;
}

int command_reload(const struct args *a, struct cli_run *ret_run)
{
	struct instance it;
	long long number = 0;
	/* A file with errors is known at once, also to who does not wait. */
	int status = order_and_watch(a, "/api/v1/reload", reload_verdict, a->wait, &it, &number);

	(void)ret_run;
	if (status <= 0)
		printf("%s: reload %lld %s\n", it.name, number, status < 0 ? "has begun" : "is done");
	instance_fini(&it);
	return cli_answered(status < 0 ? EXIT_DRAINED : status);
}

int command_restart(const struct args *a, struct cli_run *ret_run)
{
	long long number;
	int status = order(a, mem_must_printf("/api/v1/apps/%s/restart", a->words[0]), NULL, &number);

	(void)ret_run;
	if (status >= 0)
		return status;
	printf("app %s: release %lld starts\n", a->words[0], number);
	return cli_answered(EXIT_DRAINED);
}

int command_scale(const struct args *a, struct cli_run *ret_run)
{
	long long number;
	uint64_t n;
	char body[64];

	(void)ret_run;
	if (slice_to_u64(slice_of(a->words[1]), UINT32_MAX, &n) != ERR_OK)
		return cli_complain("drover scale: \"%s\" is not a number of instances", a->words[1]);
	snprintf(body, sizeof(body), "{\"instances\": %llu}", (unsigned long long)n);
	int status = order(a, mem_must_printf("/api/v1/apps/%s/scale", a->words[0]), body, &number);
	if (status >= 0)
		return status;
	printf("app %s: %lld wanted\n", a->words[0], number);
	return cli_answered(EXIT_DRAINED);
}

int command_drain(const struct args *a, struct cli_run *ret_run)
{
	char *worker = remote_worker_path(a->words[0]);
	long long pid;

	(void)ret_run;
	if (!worker)
		return cli_complain("drover drain: \"%s\" names no worker; one is named like web/0",
				    a->words[0]);
	int status = order(a, mem_must_printf("%s/drain", worker), NULL, &pid);
	mem_free(worker);
	if (status >= 0)
		return status;
	printf("%s (pid %lld) gets no more requests, and a successor\n", a->words[0], pid);
	return cli_answered(EXIT_DRAINED);
}

/* Returns when it has ended: what follows in a script may rely on that.  However long that
 * takes, the configuration has bounded it. */
int command_stop(const struct args *a, struct cli_run *ret_run)
{
	struct instance it;
	long long number;
	int pidfd = -1, status = instance_find(a, &it);

	(void)ret_run;
	if (status >= 0)
		return status;
	enum err e = fd_of_pid(it.pid, &pidfd);
	status = post(&it, "/api/v1/stop", NULL, &number);
	struct pollfd p = { .fd = pidfd, .events = POLLIN };
	while (status < 0 && e == ERR_OK && poll(&p, 1, -1) <= 0)
		;
	if (status < 0)
		printf("%s (pid %d) has %s\n", it.name, (int)it.pid, e == ERR_OK ? "ended" : "begun to stop");
	fd_close(&pidfd);
	instance_fini(&it);
	return cli_answered(status < 0 ? EXIT_DRAINED : status);
}

static int upgrade_verdict(const struct instance *it, long long number)
{
	struct answer answer = remote_ask(it, "GET", "/api/v1/status", NULL);
	json_t *json = answer.status == 200 ? answer_json(&answer) : NULL;
	const json_t *upgrade = json_object_get(json, "upgrade");
	const char *state = text(upgrade, "state");
	int status = -1;

	if (!json) {
		status = answer.status == 200 ? EXIT_FAILED : answer_refused(&answer);
	} else if (json_integer_value(json_object_get(upgrade, "number")) < number) {
		status = -1; /* what is shown is the one before */
	} else if (strcmp(state, "failed") == 0) {
		cli_complain("the upgrade failed: %s", text(upgrade, "reason"));
		status = EXIT_FAILED;
	} else if (strcmp(state, "done") == 0) {
		printf("%s: drover %s has taken over from %s\n", it->name, text(json, "version"),
		       text(upgrade, "from"));
		status = EXIT_DRAINED;
	}
	json_decref(json);
	answer_fini(&answer);
	return status;
}

/* Returns with the verdict.  The monitor is another one afterwards: an answer may be cut
 * short, and the question is asked again. */
int command_upgrade(const struct args *a, struct cli_run *ret_run)
{
	struct instance it;
	long long number = 0;
	int status = order_and_watch(a, "/api/v1/upgrade", upgrade_verdict, true, &it, &number);

	(void)ret_run;
	instance_fini(&it);
	return cli_answered(status);
}
