/* `drover logs`: the workers' recent output, and with -f what comes next.
 *
 * Nothing is kept open: each answer says where the next one goes on, so that a follower lives
 * through everything that its drover does: workers that are replaced, reloads, upgrades, a
 * monitor that dies.  Who does not read what we print holds up nobody but us; when we come
 * back to ask, some lines may be gone, and how many is said in their place.
 *
 * The last lines of all may be missed: those of workers' last tenth of a second before drover
 * ends.  They are the master's, and go with it, so that one more question at the end would find
 * nobody; drover does not wait for its followers.  log.output has them. */
#include <errno.h>
#include <jansson.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "balancer/cli/commands.h"
#include "balancer/cli/instance.h"
#include "balancer/cli/remote.h"
#include "common/contract.h"
#include "common/fd.h"
#include "common/line_text.h"
#include "common/mem.h"
#include "common/slice.h"

#define LAST_LINES 10 /* before those that are followed, as with tail -f and journalctl -f */
#define WAIT_S 10     /* for the next line, in one question */
#define LAST_MS 3000  /* from the end of its admin channel to its own */
#define PAUSE_MS 50   /* between two questions, so that a flood costs drover little */

/* ---- printing ----------------------------------------------------------- */

static const char *text_of(const json_t *line, const char *key)
{
	const char *text = json_string_value(json_object_get(line, key));

	return text ? text : "?";
}

static long long number_of(const json_t *o, const char *key)
{
	return (long long)json_integer_value(json_object_get(o, key));
}

/* As it is on drover's own stdout (master/output.c). */
static void print_line(const json_t *line, bool colours)
{
	const json_t *text = json_object_get(line, "line");
	size_t n = json_string_length(text);
	char *shown = mem_must_alloc(LINE_TEXT_SHOWN * n + 1);

	printf("%s.%lld[%lld]: ", text_of(line, "app"), number_of(line, "instance"),
	       number_of(line, "pid"));
	if (n)
		fwrite(shown, 1, line_text_show(shown, json_string_value(text), n, colours), stdout);
	puts(json_is_true(json_object_get(line, "cut")) ? "..." : "");
	mem_free(shown);
}

static void print_page(const json_t *page, bool as_json, bool colours)
{
	const json_t *lines = json_object_get(page, "lines"), *line;
	long long skipped = number_of(page, "skipped");
	size_t i;

	if (skipped > 0 && as_json)
		printf("{\"skipped\":%lld}\n", skipped);
	else if (skipped > 0)
		printf("drover: %lld line%s skipped here\n", skipped,
		       skipped == 1 ? " was" : "s were");
	json_array_foreach(lines, i, line)
	{
		if (!as_json) {
			print_line(line, colours);
			continue;
		}
		json_dumpf(line, stdout, JSON_COMPACT);
		putchar('\n');
	}
	fflush(stdout);
}

/* ---- asking ------------------------------------------------------------- */

/* Where the lines of "", "web" or "web/0" are; the caller's.  NULL: of nothing. */
static char *path_of(const char *word)
{
	char *worker, *path;

	if (!word)
		return mem_must_dup("/api/v1/logs");
	if (!strchr(word, '/'))
		return mem_must_printf("/api/v1/apps/%s/logs", word);
	worker = remote_worker_path(word);
	path = worker ? mem_must_printf("%s/logs", worker) : NULL;
	mem_free(worker);
	return path;
}

/* Its socket goes a moment before the process does. */
static bool has_ended(int pidfd)
{
	struct pollfd p = { .fd = pidfd, .events = POLLIN };

	return pidfd >= 0 && poll(&p, 1, LAST_MS) > 0;
}

/* One page; -1, or the exit status. */
static int next_page(const struct instance *it, int pidfd, const char *question, json_t **ret_page)
{
	int error = 0, status = -1;
	struct answer answer = remote_try(it, "GET", question, NULL, &error);

	*ret_page = answer.status == 200 ? answer_json(&answer) : NULL;
	if (answer.status && answer.status != 200) {
		status = answer_refused(&answer);
	} else if (!answer.status && error != EACCES && has_ended(pidfd)) {
		cli_complain("instance %s (pid %d) has ended", it->name, (int)it->pid);
		status = EXIT_DRAINED; /* and with it what was followed, as a container's log */
	} else if (!answer.status) {
		remote_complain(it, "GET", error);
		status = EXIT_FAILED;
	} else if (!*ret_page) {
		status = EXIT_FAILED;
	}
	answer_fini(&answer);
	return status;
}

static int follow(const struct args *a, const struct instance *it, int pidfd, const char *path,
		  uint64_t lines)
{
	bool colours = isatty(STDOUT_FILENO);
	char *question = lines == UINT64_MAX
				 ? mem_must_dup(path)
				 : mem_must_printf("%s?lines=%llu", path, (unsigned long long)lines);

	for (;;) {
		json_t *page;
		int status = next_page(it, pidfd, question, &page);
		mem_free(question);
		if (status >= 0)
			return status;
		bool more = json_is_true(json_object_get(page, "more"));
		print_page(page, a->json, colours);
		question = mem_must_printf("%s?since=%lld&wait=%d", path, number_of(page, "next"),
					   more ? 0 : WAIT_S);
		json_decref(page);
		if (ferror(stdout) || (!a->follow && !more)) {
			mem_free(question);
			return EXIT_DRAINED;
		}
		if (!more)
			poll(NULL, 0, PAUSE_MS);
	}
}

int command_logs(const struct args *a, struct cli_run *ret_run)
{
	struct instance it;
	uint64_t lines = a->follow ? LAST_LINES : UINT64_MAX;
	int pidfd = -1;
	char *path = path_of(a->n_words ? a->words[0] : NULL);

	(void)ret_run;
	if (!path)
		return cli_complain("drover logs: \"%s\" names no worker; one is named like web/0",
				    a->words[0]);
	int status = -1;
	if (a->lines && strcmp(a->lines, "all") == 0)
		lines = UINT64_MAX;
	else if (a->lines && slice_to_u64(slice_of(a->lines), 65534, &lines) != ERR_OK)
		status = cli_complain("--lines: \"%s\" is not a number from 0 to 65534, nor all",
				      a->lines);
	if (status < 0)
		status = instance_find(a, &it);
	if (status < 0) {
		(void)!fd_of_pid(it.pid, &pidfd);
		status = cli_answered(follow(a, &it, pidfd, path, lines));
		fd_close(&pidfd);
		instance_fini(&it);
	}
	mem_free(path);
	return status;
}
