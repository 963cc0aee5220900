/* One request to a running instance, over its admin socket. */
#ifndef DROVER_CLI_REMOTE_H
#define DROVER_CLI_REMOTE_H

#include <jansson.h>

#include "balancer/cli/instance.h"

struct answer {
	int status;   /* of HTTP; 0: none came, and it has been said why */
	char *text;   /* the body, `n` bytes and a NUL */
	size_t n;
};

/* Asks with METHOD PATH and, unless it is NULL, a JSON body (borrowed).  A GET that finds
 * the monitor being replaced is tried again.  The caller frees the text with
 * answer_fini(). */
struct answer remote_ask(const struct instance *i, const char *method, const char *path,
			 const char *body);

/* The same in two steps, for who knows another reason why there may be no answer: status 0
 * and *ret_error, an errno. */
struct answer remote_try(const struct instance *i, const char *method, const char *path,
			 const char *body, int *ret_error);
void remote_complain(const struct instance *i, const char *method, int error);

/* "/api/v1/apps/web/workers/0" of "web/0", the caller's; NULL: that names no worker. */
char *remote_worker_path(const char *word);

void answer_fini(struct answer *a);

/* The body as JSON, the caller's; NULL: it is none, which has been said. */
json_t *answer_json(const struct answer *a);

/* Says what a refusal says ("there is no such app"); returns EXIT_FAILED. */
int answer_refused(const struct answer *a);

#endif
