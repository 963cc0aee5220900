/* balancer/config: good files and command lines, and what becomes of them.  Single values:
 * test_config_values.c. */
#include "test_config.h"

#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/proc.h"

/* ---- whole files ---- */

static const char whole[] =
	"listen:\n"
	"  - 127.0.0.1:8080\n"
	"  - address: \"[::1]:8443\"\n"
	"  - unix:run/http.sock\n"
	"balancers: 3\n"
	"name: shop\n"
	"apps:\n"
	"  web:\n"
	"    command: [sh, -c, \"exec x ${PORT}\"]\n"
	"    directory: /\n"
	"    env: { A: one, B: , C: \"x=y\" }\n"
	"    instances: 4\n"
	"    bind: unix\n"
	"    ready: { type: port, timeout: 5s }\n"
	"    stop: { signal: INT, drain: 1m, grace: 0s }\n"
	"    restart: { backoff_min: 1s, backoff_max: 1s, window: 2m, budget: 3 }\n"
	"    connections: { idle: 7, idle_timeout: 90s }\n"
	"    queue: { limit: 0, timeout: 250ms }\n"
	"  old:\n"
	"    servers: [ 10.0.0.5:3000, \"[fd00::1]:81\", unix:old.sock ]\n"
	"routes:\n"
	"  - { host: API.Example.com, path: /v1, app: old }\n"
	"  - app: web\n"
	"timeouts: { head: 1s, body: 2s, idle: 3s, connect: 4s, response: 5s, tunnel: 6s }\n"
	"limits: { head: 32KiB, headers: 200, body: 10MiB, uri: 4KiB, min_rate: 1KiB, connections: 9, per_client: 5 }\n"
	"trust: [ 10.0.0.0/8, unix ]\n"
	"shutdown: { lame_duck: 1s, soft: 2s, hard: 3s }\n"
	"log: { access: off, format: json, error: e.log, level: debug }\n"
	"pid_file: p.pid\n";

static void check_path(const char *got, const char *relative)
{
	char want[200];

	snprintf(want, sizeof(want), "%s/%s", config_folder, relative);
	assert_string_equal(got, want);
}

static void check_web(const struct cfg_app *web)
{
	assert_string_equal(web->name, "web");
	assert_string_equal(web->command[0], "sh");
	assert_string_equal(web->command[2], "exec x ${PORT}");
	assert_null(web->command[3]);
	assert_null(web->servers);
	assert_string_equal(web->directory, "/");
	assert_null(web->user);
	assert_string_equal(web->env[0], "A=one");
	assert_string_equal(web->env[1], "B=");
	assert_string_equal(web->env[2], "C=x=y");
	assert_null(web->env[3]);
	assert_int_equal(web->instances, 4);
	assert_int_equal(web->bind, BIND_UNIX);
	assert_int_equal(web->port_min, 0);
	assert_int_equal(web->ready_type, READY_PORT);
	assert_int_equal(web->ready_timeout_ms, 5000);
	assert_int_equal(web->stop_signal, SIGINT);
	assert_int_equal(web->stop_drain_ms, 60000);
	assert_int_equal(web->stop_grace_ms, 0);
	assert_int_equal(web->backoff_min_ms, 1000);
	assert_int_equal(web->backoff_max_ms, 1000);
	assert_int_equal(web->restart_window_ms, 120000);
	assert_int_equal(web->restart_budget, 3);
	assert_int_equal(web->idle_connections, 7);
	assert_int_equal(web->idle_connection_ms, 90000);
	assert_int_equal(web->queue_limit, 0);
	assert_int_equal(web->queue_timeout_ms, 250);
}

static void check_old(const struct cfg_app *old)
{
	char text[ADDR_TEXT_MAX];

	assert_string_equal(old->name, "old");
	assert_null(old->command);
	assert_int_equal(old->n_servers, 3);
	assert_string_equal(addr_format(&old->servers[0], text), "10.0.0.5:3000");
	assert_string_equal(addr_format(&old->servers[1], text), "[fd00::1]:81");
	check_path(addr_format(&old->servers[2], text) + 5, "old.sock");
	assert_int_equal(old->instances, 3);
	assert_int_equal(old->balance, BALANCE_ROUND_ROBIN);
	assert_int_equal(old->queue_limit, 1024);
}

static void test_whole(void **state)
{
	struct config *cfg = config_good(whole, NULL);

	(void)state;
	assert_string_equal(cfg->file, "t.yaml");
	assert_string_equal(cfg->directory, config_folder);
	assert_string_equal(cfg->name, "shop");
	assert_int_equal(cfg->n_listens, 3);
	assert_string_equal(cfg->listens[0].text, "127.0.0.1:8080");
	assert_int_equal(addr_port(&cfg->listens[0].address), 8080);
	assert_string_equal(cfg->listens[1].text, "[::1]:8443");
	check_path(cfg->listens[2].text + 5, "run/http.sock");
	assert_int_equal(cfg->balancers, 3);
	assert_null(cfg->user);
	assert_int_equal(cfg->n_apps, 2);
	check_web(&cfg->apps[0]);
	check_old(&cfg->apps[1]);
	assert_ptr_equal(config_app(cfg, "old"), &cfg->apps[1]);
	assert_null(config_app(cfg, "new"));
	assert_int_equal(cfg->n_routes, 2);
	assert_string_equal(cfg->routes[0].host, "api.example.com");
	assert_string_equal(cfg->routes[0].path, "/v1");
	assert_int_equal(cfg->routes[0].app, 1);
	assert_null(cfg->routes[1].host);
	assert_null(cfg->routes[1].path);
	assert_int_equal(cfg->routes[1].app, 0);
	assert_int_equal(cfg->timeout_head_ms, 1000);
	assert_int_equal(cfg->timeout_body_ms, 2000);
	assert_int_equal(cfg->timeout_idle_ms, 3000);
	assert_int_equal(cfg->timeout_connect_ms, 4000);
	assert_int_equal(cfg->timeout_response_ms, 5000);
	assert_int_equal(cfg->timeout_tunnel_ms, 6000);
	assert_int_equal(cfg->limit_head_bytes, 32768);
	assert_int_equal(cfg->limit_headers, 200);
	assert_int_equal(cfg->limit_body_bytes, 10485760);
	assert_int_equal(cfg->limit_uri_bytes, 4096);
	assert_int_equal(cfg->limit_connections, 9);
	assert_int_equal(cfg->limit_min_rate, 1024);
	assert_int_equal(cfg->limit_per_client, 5);
	assert_int_equal(cfg->n_trust, 2);
	assert_int_equal(cfg->trust[0].bits, 8);
	assert_int_equal(cfg->trust[1].family_unix, 1);
	assert_int_equal(cfg->lame_duck_ms, 1000);
	assert_int_equal(cfg->shutdown_soft_ms, 2000);
	assert_int_equal(cfg->shutdown_hard_ms, 3000);
	assert_null(cfg->log_access);
	assert_int_equal(cfg->log_format, LOG_FORMAT_JSON);
	check_path(cfg->log_error, "e.log");
	assert_int_equal(cfg->log_level, LOG_DEBUG);
	check_path(cfg->pid_file, "p.pid");
	assert_null(config_free(cfg));
}

static void test_defaults(void **state)
{
	struct config *cfg = config_good(APP, NULL);
	const struct cfg_app *app = &cfg->apps[0];

	(void)state;
	assert_string_equal(cfg->name, "t");
	assert_int_equal(cfg->n_listens, 1);
	assert_string_equal(cfg->listens[0].text, "0.0.0.0:8080");
	assert_int_equal(cfg->balancers, MIN(proc_usable_cores(), 64u));
	assert_int_equal(cfg->n_routes, 1);
	assert_null(cfg->routes[0].host);
	assert_null(cfg->routes[0].path);
	assert_int_equal(cfg->routes[0].app, 0);
	assert_int_equal(cfg->n_trust, 1);
	assert_string_equal(cfg->log_access, "-");
	assert_string_equal(cfg->log_error, "-");
	assert_int_equal(cfg->log_level, LOG_INFO);
	assert_null(cfg->pid_file);
	assert_int_equal(cfg->timeout_idle_ms, 75000);
	assert_int_equal(cfg->limit_head_bytes, 16384);
	assert_int_equal(cfg->limit_body_bytes, 0);
	assert_string_equal(app->directory, config_folder);
	assert_int_equal(app->instances, proc_usable_cores());
	assert_int_equal(app->bind, BIND_PORT);
	assert_null(app->env);
	assert_int_equal(app->stop_signal, SIGTERM);
	assert_int_equal(app->restart_budget, 10);
	config_free(cfg);
}

/* Each of these says the same as APP. */
static void test_forms(void **state)
{
	static const char *const rows[] = {
		APP,
		"apps:\n  web:\n    command: sh\n",
		"\xef\xbb\xbf" APP,
		"# first\r\napps:\r\n  web:\r\n    command: sh # that\r\n",
		"---\n" APP "...\n",
		"%YAML 1.1\n---\n" APP,
		"{\"apps\":{\"web\":{\"command\":[\"sh\"]}}}",
		"{\n"
		"\t\"apps\": {\n"
		"\t\t\"web\": {\n"
		"\t\t\t\"command\": \"\\u0073h\"\n"
		"\t\t}\n"
		"\t}\n"
		"}\n",
		APP "timeouts:\nlimits:\nroutes:\nlisten:\ntrust:\n",
		APP "timeouts: {}\nlog: {}\n",
		"'apps': { 'web': { 'command': 'sh' } }",
		"apps:\n  web:\n    command: >-\n      sh\n",
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct config *cfg = config_good(rows[i], NULL);
		check_row_int(rows[i], cfg->n_apps, 1);
		check_row_text(rows[i], cfg->apps[0].name, "web");
		check_row_text(rows[i], cfg->apps[0].command[0], "sh");
		check_row(rows[i], cfg->apps[0].command[1] == NULL);
		check_row_int(rows[i], cfg->n_listens, 1);
		check_row_int(rows[i], cfg->timeout_head_ms, 10000);
		config_free(cfg);
	}
}

static void test_one_or_list(void **state)
{
	struct config *cfg = config_good("listen: { address: 81 }\n"
					 "apps: { a: { servers: 10.0.0.1:2 } }\n"
					 "routes: { host: x, app: a }\n"
					 "trust: []\n",
					 NULL);

	(void)state;
	assert_string_equal(cfg->listens[0].text, "0.0.0.0:81");
	assert_int_equal(cfg->apps[0].n_servers, 1);
	assert_int_equal(cfg->n_routes, 1);
	assert_string_equal(cfg->routes[0].host, "x");
	assert_int_equal(cfg->n_trust, 0);
	config_free(cfg);
}

static void test_aliases(void **state)
{
	struct config *cfg = config_good("apps:\n"
					 "  a: &base\n"
					 "    command: &cmd [sh, -x]\n"
					 "    env: { K: v }\n"
					 "    instances: 3\n"
					 "  b:\n"
					 "    <<: *base\n"
					 "    instances: 5\n"
					 "  c:\n"
					 "    command: *cmd\n"
					 "  d:\n"
					 "    <<: [ { instances: 7 }, *base ]\n"
					 "routes: [ { path: /b, app: b }, { app: a } ]\n",
					 NULL);

	(void)state;
	assert_int_equal(cfg->n_apps, 4);
	assert_int_equal(cfg->apps[0].instances, 3);
	assert_int_equal(cfg->apps[1].instances, 5);
	assert_string_equal(cfg->apps[1].command[1], "-x");
	assert_string_equal(cfg->apps[1].env[0], "K=v");
	assert_string_equal(cfg->apps[2].command[1], "-x");
	assert_null(cfg->apps[2].env);
	assert_int_equal(cfg->apps[3].instances, 7);
	assert_string_equal(cfg->apps[3].env[0], "K=v");
	config_free(cfg);
}

static void test_env_file(void **state)
{
	static const char lines[] = "# comment\n"
				    "\n"
				    "  A=from file\n"
				    "B=  \n"
				    "export C='it # is'  # comment\n"
				    "D=\"tab\\t\\\"q\\\" end\" \n"
				    "E=a # comment\n"
				    "F=a#b\n"
				    "G=first\n"
				    "G=second\r\n"
				    "PORT=3000\n" /* drover says what it is */
				    "PORTS=1\n"
				    "H=\xc3\xa4";
	static const char *const want[] = { "A=from env",       "Z=1",        "B=",    "C=it # is",
					    "D=tab\t\"q\" end", "E=a",        "F=a#b", "G=second",
					    "PORTS=1",          "H=\xc3\xa4", NULL };
	struct config *cfg;

	(void)state;
	config_write("web.env", lines, strlen(lines));
	cfg = config_good("apps: { web: { command: sh, env_file: web.env, env: { A: from env, Z: 1 "
			  "} } }\n",
			  NULL);
	for (size_t i = 0; want[i]; i++)
		check_row_text(want[i], cfg->apps[0].env[i], want[i]);
	assert_null(cfg->apps[0].env[ARRAY_LEN(want) - 1]);
	config_free(cfg);

	cfg = config_good("apps: { web: { command: sh, env_file: web.env } }\n", NULL);
	assert_string_equal(cfg->apps[0].env[0], "A=from file");
	config_free(cfg);
}

/* ---- names and folders ---- */

static void test_names(void **state)
{
	static const struct {
		const char *file, *name;
	} rows[] = {
		{ "drover.yaml", "drover" },
		{ "shop", "shop" },
		{ "a.b.yml", "a-b" },
		{ "my app.json", "my-app" },
		{ ".hidden", "-hidden" },
		{ "./x.yaml", "x" },
		{ "\xc3\xa4.yaml", "--" },
		{ "0123456789012345678901234567890123456789012345678901234567890123456789.yaml",
		  "012345678901234567890123456789012345678901234567890123456789012" },
	};
	struct config_errors errors;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		config_write(rows[i].file, APP, strlen(APP));
		struct config *cfg = config_load(rows[i].file, NULL, &errors);
		check_row(rows[i].file, cfg != NULL);
		check_row_text(rows[i].file, cfg->name, rows[i].name);
		config_free(cfg);
		config_errors_fini(&errors);
	}
}

static void test_directory(void **state)
{
	char absolute[200], want[200];
	struct config_errors errors;
	struct config *cfg;

	(void)state;
	assert_int_equal(mkdir("sub", 0755), 0);
	config_write("sub/c.yaml", "apps: { a: { command: ./x } }\nlog: { error: e.log }\n", 52);
	config_write("sub/x", "#!/bin/sh\n", 10);
	chmod("sub/x", 0755);
	snprintf(want, sizeof(want), "%s/sub", config_folder);
	snprintf(absolute, sizeof(absolute), "%s/sub/c.yaml", config_folder);
	const char *const files[] = { "sub/c.yaml", absolute };
	for (size_t i = 0; i < ARRAY_LEN(files); i++) {
		cfg = config_load(files[i], NULL, &errors);
		check_row(files[i], cfg != NULL);
		check_row_text(files[i], cfg->directory, want);
		check_row_text(files[i], cfg->apps[0].directory, want);
		check_row_text(files[i], cfg->apps[0].command[0], "./x"); /* exec's affair */
		check_path(cfg->log_error, "sub/e.log");
		config_free(cfg);
		config_errors_fini(&errors);
	}
}

/* ---- the command line ---- */

static void test_no_file(void **state)
{
	char sh[] = "sh", c[] = "-c", text[] = "a b";
	char *command[] = { sh, c, text, NULL };
	struct config_overrides over = { .listen = "unix:x.sock", .instances = 3, .command = command };
	struct config_errors errors;
	char name[32];
	struct config *cfg = config_load(NULL, &over, &errors);

	(void)state;
	assert_non_null(cfg);
	assert_null(errors.text);
	assert_null(cfg->file);
	assert_string_equal(cfg->directory, config_folder);
	snprintf(name, sizeof(name), "run-%d", (int)getpid());
	assert_string_equal(cfg->name, name);
	assert_int_equal(cfg->n_listens, 1);
	check_path(cfg->listens[0].text + 5, "x.sock");
	assert_int_equal(cfg->n_apps, 1);
	assert_string_equal(cfg->apps[0].name, "app");
	assert_string_equal(cfg->apps[0].command[2], "a b");
	assert_string_equal(cfg->apps[0].directory, config_folder);
	assert_int_equal(cfg->apps[0].instances, 3);
	assert_int_equal(cfg->n_routes, 1);
	config_free(cfg);
	config_errors_fini(&errors);
}

static void test_overrides(void **state)
{
	struct config_overrides over = { .listen = "127.0.0.1:9", .instances = 6, .name = "other" };
	struct config *cfg = config_good("listen: [ 1, 2, 3 ]\n"
					 "name: this\n"
					 "apps:\n"
					 "  a: { command: sh, instances: 2 }\n"
					 "  b: { command: sh }\n"
					 "  c: { servers: 10.0.0.1:80 }\n"
					 "routes: { app: a }\n",
					 &over);

	(void)state;
	assert_int_equal(cfg->n_listens, 1);
	assert_string_equal(cfg->listens[0].text, "127.0.0.1:9");
	assert_string_equal(cfg->name, "other");
	assert_int_equal(cfg->apps[0].instances, 6);
	assert_int_equal(cfg->apps[1].instances, 6);
	assert_int_equal(cfg->apps[2].instances, 1);
	config_free(cfg);
}

static void test_bundled(void **state)
{
	char worker[] = "drover-worker", x[] = "--x";
	char *named[] = { worker, x, NULL };
	struct config_overrides alone = { .worker_path = "/bin/sh" };
	struct config_overrides with_name = { .worker_path = "/bin/sh", .command = named };
	struct config_errors errors;
	struct config *cfg = config_load(NULL, &alone, &errors);

	(void)state;
	assert_non_null(cfg);
	assert_string_equal(cfg->apps[0].command[0], "/bin/sh");
	assert_null(cfg->apps[0].command[1]);
	config_free(cfg);
	config_errors_fini(&errors);

	cfg = config_load(NULL, &with_name, &errors);
	assert_non_null(cfg);
	assert_string_equal(cfg->apps[0].command[0], "/bin/sh");
	assert_string_equal(cfg->apps[0].command[1], "--x");
	config_free(cfg);
	config_errors_fini(&errors);

	cfg = config_good("apps: { a: { command: drover-worker --y } }\n", &alone);
	assert_string_equal(cfg->apps[0].command[0], "/bin/sh");
	assert_string_equal(cfg->apps[0].command[1], "--y");
	config_free(cfg);

	/* A file of settings and a command: the command is the app. */
	cfg = config_good("timeouts: { head: 1s }\n", &with_name);
	assert_int_equal(cfg->timeout_head_ms, 1000);
	assert_string_equal(cfg->apps[0].name, "app");
	config_free(cfg);
}

/* A config that was in force is read again from what was kept of its files, whatever has
 * become of them. */
static void test_kept(void **state)
{
	static const char text[] = "\xef\xbb\xbflisten: 8080\napps:\n  web: { command: [sh, -c, x], env_file: e.env, "
				   "directory: gone }\n";
	struct config_errors errors;

	(void)state;
	config_write("e.env", "COLOUR=red\n", 11);
	assert_int_equal(mkdir("gone", 0700), 0);
	struct config *a = config_good(text, NULL);
	assert_int_equal(a->sources.n, 2);
	struct config *same = config_good(text, NULL);
	assert_true(config_same_sources(a, same));
	config_free(same);
	config_write("e.env", "COLOUR=blue\n", 12);
	struct config *other = config_good(text, NULL);
	assert_false(config_same_sources(a, other));
	config_free(other);

	assert_int_equal(unlink("e.env") | unlink("t.yaml") | rmdir("gone"), 0);
	struct config *b = config_load_kept("t.yaml", a->directory, NULL, &a->sources, &errors);
	assert_non_null(b);
	assert_string_equal(b->apps[0].env[0], "COLOUR=red");
	assert_string_equal(b->apps[0].directory, a->apps[0].directory);
	assert_string_equal(b->name, "t");
	assert_true(config_same_sources(a, b));
	config_errors_fini(&errors);

	a->sources.n = 1; /* the env_file's bytes are not there */
	assert_null(config_load_kept("t.yaml", a->directory, NULL, &a->sources, &errors));
	assert_non_null(strstr(errors.text, "it is not among what was kept"));
	config_errors_fini(&errors);
	a->sources.n = 2;
	config_free(a);
	config_free(b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_whole),
		cmocka_unit_test(test_defaults),
		cmocka_unit_test(test_forms),
		cmocka_unit_test(test_one_or_list),
		cmocka_unit_test(test_aliases),
		cmocka_unit_test(test_env_file),
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_directory),
		cmocka_unit_test(test_no_file),
		cmocka_unit_test(test_overrides),
		cmocka_unit_test(test_bundled),
		cmocka_unit_test(test_kept),
	};

	return cmocka_run_group_tests(tests, config_setup, config_teardown);
}
