/* A worker's arguments and environment; in the master, right before a spawn.
 *
 * Later ones win: what the master inherited (without what was meant for the
 * master alone), the app's `env`, the contract. */
#include "balancer/master/worker_env.h"

#include <stdio.h>
#include <string.h>

#include "common/contract.h"
#include "common/mem.h"

/* systemd's words to the master: a worker that answered them would speak for it. */
static const char *const not_for_workers[] = {
	CONTRACT_NOTIFY, CONTRACT_WATCHDOG, "WATCHDOG_PID", "LISTEN_FDS", "LISTEN_PID",
	"LISTEN_FDNAMES",
};

/* The parts that ${} stands for, as text. */
struct facts {
	char port[ADDR_TEXT_MAX];
	const char *host;   /* "": a Unix socket */
	const char *notify; /* path of its socket, or NULL */
	char instance[16], release[16], watchdog[24];
};

static size_t count(char *const *texts)
{
	size_t n = 0;

	while (texts && texts[n])
		n++;
	return n;
}

/* The value for a `${NAME}` that begins at `p`, and its length; NULL: none. */
static const char *value_at(const char *p, size_t *ret_n, const char *port, const char *host,
			    const char *instance)
{
	const struct {
		const char *name, *value;
	} known[] = {
		{ "${PORT}", port }, { "${HOST}", host }, { "${INSTANCE}", instance },
	};

	for (size_t i = 0; i < ARRAY_LEN(known); i++) {
		*ret_n = strlen(known[i].name);
		if (strncmp(p, known[i].name, *ret_n) == 0)
			return known[i].value;
	}
	return NULL;
}

/* Writes to `out` when there is one; returns the length either way. */
static size_t expand_into(char *out, const char *text, const char *port, const char *host,
			  const char *instance)
{
	size_t n = 0, skip = 0;

	while (*text) {
		const char *value = NULL;
		if (*text == '$')
			value = value_at(text, &skip, port, host, instance);
		size_t length = value ? strlen(value) : 1;
		if (out && length)
			memcpy(out + n, value ? value : text, length);
		n += length;
		text += value ? skip : 1;
	}
	return n;
}

char *worker_env_expand(const char *text, const char *port, const char *host, const char *instance)
{
	size_t n = expand_into(NULL, text, port, host, instance);
	char *out = mem_alloc(n + 1);

	if (!out)
		return NULL;
	expand_into(out, text, port, host, instance);
	out[n] = '\0';
	return out;
}

static char *expand(const struct facts *f, const char *text)
{
	return worker_env_expand(text, f->port, f->host, f->instance);
}

static char *assignment(const char *name, const char *value)
{
	size_t n = strlen(name), v = strlen(value);
	char *text = mem_alloc(n + v + 2);

	if (text) {
		memcpy(text, name, n);
		text[n] = '=';
		memcpy(text + n + 1, value, v + 1);
	}
	return text;
}

static bool same_name(const char *a, const char *b)
{
	size_t n = strcspn(a, "=");

	return n == strcspn(b, "=") && memcmp(a, b, n) == 0;
}

/* Puts `text` (taken, may be NULL: out of memory) into the list, over one of
 * the same name. */
static enum err put(char **list, char *text)
{
	size_t i = 0;

	if (!text)
		return ERR_NOMEM;
	while (list[i] && !same_name(list[i], text))
		i++;
	mem_wipe(list[i]);
	list[i] = text;
	return ERR_OK;
}

static void learn(struct facts *f, const struct addr *address, uint32_t instance, uint32_t release)
{
	bool unix_socket = addr_is_unix(address);

	if (unix_socket)
		snprintf(f->port, sizeof(f->port), "%s", address->un.sun_path);
	else
		snprintf(f->port, sizeof(f->port), "%u", addr_port(address));
	f->host = unix_socket ? "" : "127.0.0.1";
	snprintf(f->instance, sizeof(f->instance), "%u", instance);
	snprintf(f->release, sizeof(f->release), "%u", release);
}

static enum err put_contract(char **env, const struct facts *f, const char *app)
{
	const struct {
		const char *name, *value;
	} rows[] = {
		{ CONTRACT_PORT, f->port },
		{ CONTRACT_INSTANCE, f->instance },
		{ CONTRACT_NODE_INSTANCE, f->instance },
		{ CONTRACT_APP, app },
		{ CONTRACT_RELEASE, f->release },
		{ CONTRACT_CONCURRENCY, "1" },
		{ CONTRACT_NOTIFY, f->notify },
		{ CONTRACT_HOST, f->host[0] ? f->host : NULL },
		/* Without WATCHDOG_PID: whichever process of the worker does it. */
		{ CONTRACT_WATCHDOG, f->watchdog[0] ? f->watchdog : NULL },
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		if (rows[i].value && put(env, assignment(rows[i].name, rows[i].value)))
			return ERR_NOMEM;
	return ERR_OK;
}

static bool is_withheld(const char *text, bool unix_socket)
{
	for (size_t i = 0; i < ARRAY_LEN(not_for_workers); i++)
		if (same_name(text, not_for_workers[i]))
			return true;
	return unix_socket && same_name(text, CONTRACT_HOST);
}

static enum err fill_env(char **env, const struct cfg_app *app, const struct facts *f,
			 char *const *inherited)
{
	size_t n = 0;

	for (; *inherited; inherited++) {
		if (is_withheld(*inherited, f->host[0] == '\0'))
			continue;
		env[n] = mem_alloc(strlen(*inherited) + 1);
		if (!env[n])
			return ERR_NOMEM;
		strcpy(env[n++], *inherited);
	}
	for (char *const *own = app->env; own && *own; own++)
		if (put(env, expand(f, *own)))
			return ERR_NOMEM;
	return put_contract(env, f, app->name);
}

static enum err fill_argv(char **argv, const struct cfg_app *app, const struct facts *f)
{
	for (size_t i = 0; app->command[i]; i++) {
		argv[i] = expand(f, app->command[i]);
		if (!argv[i])
			return ERR_NOMEM;
	}
	return ERR_OK;
}

enum err worker_env_init(struct worker_env *e, const struct cfg_app *app,
			 const struct addr *address, uint32_t instance, uint32_t release,
			 const char *notify, char *const *inherited)
{
	enum { CONTRACT_ROOM = 10 }; /* its variables, and the NULL at the end */
	struct facts f;

	learn(&f, address, instance, release);
	f.notify = notify;
	f.watchdog[0] = '\0';
	if (notify && app->watchdog_ms)
		snprintf(f.watchdog, sizeof(f.watchdog), "%llu",
			 (unsigned long long)app->watchdog_ms * 1000);
	e->argv = mem_alloc_zero((count(app->command) + 1) * sizeof(char *));
	size_t most = count(inherited) + count(app->env) + CONTRACT_ROOM;
	e->env = mem_alloc_zero(most * sizeof(char *));
	if (!e->argv || !e->env || fill_argv(e->argv, app, &f) ||
	    fill_env(e->env, app, &f, inherited)) {
		worker_env_fini(e);
		return ERR_NOMEM;
	}
	return ERR_OK;
}

static void free_list(char **list)
{
	for (size_t i = 0; list && list[i]; i++)
		mem_wipe(list[i]);
	mem_free(list);
}

void worker_env_fini(struct worker_env *e)
{
	free_list(e->argv);
	free_list(e->env);
	*e = (struct worker_env){ .argv = NULL };
}
