/* balancer/master/worker_env.h: what a worker finds when it starts. */
#include "lib/check.h"

#include <stdbool.h>

#include "balancer/master/worker_env.h"
#include "common/addr.h"
#include "common/mem.h"

static const struct {
	const char *text, *want;
} expansions[] = {
	{ "", "" },
	{ "plain", "plain" },
	{ "${PORT}", "3000" },
	{ "--listen=${HOST}:${PORT}", "--listen=127.0.0.1:3000" },
	{ "${INSTANCE}${INSTANCE}", "77" },
	{ "${PORT", "${PORT" },
	{ "$PORT", "$PORT" },
	{ "${port}", "${port}" },
	{ "${OTHER}", "${OTHER}" },
	{ "$${PORT}", "$3000" },
	{ "${${PORT}}", "${3000}" },
	{ "a$", "a$" },
	{ "na\xc3\xafve ${PORT}", "na\xc3\xafve 3000" },
};

static void test_expansion(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(expansions); i++) {
		char *got = worker_env_expand(expansions[i].text, "3000", "127.0.0.1", "7");
		check_row_text(expansions[i].text, got, expansions[i].want);
		mem_free(got);
	}
}

/* The value of `name`, or NULL; fails when it is there twice. */
static const char *value(char *const *env, const char *name)
{
	const char *found = NULL;
	size_t n = strlen(name);

	for (; *env; env++) {
		if (strncmp(*env, name, n) != 0 || (*env)[n] != '=')
			continue;
		check_row(name, found == NULL);
		found = *env + n + 1;
	}
	return found;
}

static char *inherited[] = {
	(char *)"PATH=/bin", (char *)"NOTIFY_SOCKET=/run/systemd/notify", (char *)"LISTEN_FDS=1",
	(char *)"LISTEN_PID=1", (char *)"LISTEN_FDNAMES=x", (char *)"WATCHDOG_USEC=1",
	(char *)"WATCHDOG_PID=1", (char *)"PORT=80", (char *)"HOST=outer",
	(char *)"COLOUR=grey", (char *)"EMPTY=", NULL,
};

static struct cfg_app app(char **command, char **env)
{
	return (struct cfg_app){ .name = (char *)"web", .command = command, .env = env };
}

static void test_port(void **state)
{
	char *command[] = { (char *)"node", (char *)"--port=${PORT}", (char *)"", NULL };
	char *own[] = { (char *)"COLOUR=blue", (char *)"URL=http://${HOST}:${PORT}/${INSTANCE}",
			(char *)"PORT=1", (char *)"WEB_CONCURRENCY=9", NULL };
	struct cfg_app a = app(command, own);
	struct addr address = addr_ipv4_loopback(4001);
	struct worker_env e;

	(void)state;
	assert_int_equal(worker_env_init(&e, &a, &address, 3, 12, NULL, inherited), ERR_OK);
	assert_string_equal(e.argv[0], "node");
	assert_string_equal(e.argv[1], "--port=4001");
	assert_string_equal(e.argv[2], "");
	assert_null(e.argv[3]);

	const char *want[][2] = {
		{ "PATH", "/bin" }, { "EMPTY", "" },
		/* the app's own over what was inherited, the contract over both */
		{ "COLOUR", "blue" }, { "URL", "http://127.0.0.1:4001/3" }, { "PORT", "4001" },
		{ "HOST", "127.0.0.1" }, { "INSTANCE", "3" }, { "NODE_APP_INSTANCE", "3" },
		{ "DROVER_APP", "web" }, { "DROVER_RELEASE", "12" }, { "WEB_CONCURRENCY", "1" },
	};
	for (size_t i = 0; i < ARRAY_LEN(want); i++)
		check_row_text(want[i][0], value(e.env, want[i][0]), want[i][1]);
	/* What systemd told the master, and the master alone. */
	const char *withheld[] = { "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_FDS",
				   "LISTEN_PID", "LISTEN_FDNAMES" };
	for (size_t i = 0; i < ARRAY_LEN(withheld); i++)
		check_row(withheld[i], value(e.env, withheld[i]) == NULL);
	worker_env_fini(&e);
	assert_null(e.env);
}

static void test_unix_socket_has_no_host(void **state)
{
	char *command[] = { (char *)"app", (char *)"${HOST}:${PORT}", NULL };
	struct cfg_app a = app(command, NULL);
	struct addr address;
	struct worker_env e;

	(void)state;
	assert_int_equal(addr_unix("/run/drover/w1/1/2.sock", &address), ERR_OK);
	assert_int_equal(worker_env_init(&e, &a, &address, 0, 1, "/run/n", inherited), ERR_OK);
	assert_string_equal(e.argv[1], ":/run/drover/w1/1/2.sock");
	assert_string_equal(value(e.env, "PORT"), "/run/drover/w1/1/2.sock");
	assert_null(value(e.env, "HOST"));
	assert_string_equal(value(e.env, "NOTIFY_SOCKET"), "/run/n");
	worker_env_fini(&e);
	/* Ours in place of what systemd told the master; of no use without the socket. */
	a.watchdog_ms = 1500;
	assert_int_equal(worker_env_init(&e, &a, &address, 0, 1, "/run/n", inherited), ERR_OK);
	assert_string_equal(value(e.env, "WATCHDOG_USEC"), "1500000");
	assert_null(value(e.env, "WATCHDOG_PID"));
	worker_env_fini(&e);
	assert_int_equal(worker_env_init(&e, &a, &address, 0, 1, NULL, inherited), ERR_OK);
	assert_null(value(e.env, "WATCHDOG_USEC"));
	worker_env_fini(&e);
}

/* Each allocation fails once: nothing is left behind (the sanitizer sees to it). */
static void test_without_memory(void **state)
{
	char *command[] = { (char *)"node", (char *)"${PORT}", NULL };
	char *own[] = { (char *)"A=${INSTANCE}", NULL };
	struct cfg_app a = app(command, own);
	struct addr address = addr_ipv4_loopback(4001);
	struct worker_env e;
	uint64_t nth = 0;
	bool failed;

	(void)state;
	do {
		mem_fault_at(++nth);
		enum err err = worker_env_init(&e, &a, &address, 0, 1, "/run/n", inherited);
		failed = mem_fault_hit();
		mem_fault_at(0);
		assert_int_equal(err, failed ? ERR_NOMEM : ERR_OK);
		if (!err)
			worker_env_fini(&e);
	} while (failed);
	assert_in_range(nth, 10, 100);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_expansion),
		cmocka_unit_test(test_port),
		cmocka_unit_test(test_unix_socket_has_no_host),
		cmocka_unit_test(test_without_memory),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
