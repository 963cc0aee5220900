/* balancer/config: fields that are more than one scalar (addresses, apps, variables, routes), and
 * the exact words that answer what is wrong with them. */
#include "test_config.h"

#include "common/base.h"

static void test_addresses(void **state)
{
	static const struct refused rows[] = {
		{ APP "listen: localhost:80\n",
		  "t.yaml:2:9: listen: \"localhost:80\" has a name, and names are not resolved "
		  "yet\n"
		  "  listen: localhost:80\n"
		  "          ^~~~~~~~~~~~\n"
		  "  write 127.0.0.1:... or [::1]:...\n" },
		{ APP "listen: 0\n", "t.yaml:2:9: listen: \"0\": a port must be from 1 to 65535\n"
				     "  listen: 0\n"
				     "          ^\n" },
		{ APP "listen: [ 1.2.3.4:65536, 1.2.3:4, [ 5 ] ]\n",
		  "t.yaml:2:11: listen: \"1.2.3.4:65536\": a port must be from 1 to 65535\n"
		  "  listen: [ 1.2.3.4:65536, 1.2.3:4, [ 5 ] ]\n"
		  "            ^~~~~~~~~~~~~\n"
		  "t.yaml:2:26: listen: \"1.2.3:4\" is not an address; expected one like "
		  "0.0.0.0:8080, [::1]:8080 or unix:/run/http.sock\n"
		  "  listen: [ 1.2.3.4:65536, 1.2.3:4, [ 5 ] ]\n"
		  "                           ^~~~~~~\n"
		  "t.yaml:2:35: listen: expected an address like 0.0.0.0:8080, [::1]:8080 or "
		  "unix:/run/http.sock\n"
		  "  listen: [ 1.2.3.4:65536, 1.2.3:4, [ 5 ] ]\n"
		  "                                    ^\n" },
		{ APP "listen: \"unix:\"\n",
		  "t.yaml:2:9: listen: \"unix:\" is not the path of a Unix socket\n"
		  "  listen: \"unix:\"\n"
		  "          ^~~~~~~\n" },
		{ APP "listen: unix:/0123456789012345678901234567890123456789012345678901234567890"
		      "123456789012345678901234567890123456789012345678901234\n",
		  "t.yaml:2:9: listen: \"unix:/01234567890123456789012345678901234567890123456789"
		  "0123456789012345678901234567890123...\" is too long for a Unix socket (at most "
		  "107 bytes)\n"
		  "  listen: unix:/0123456789012345678901234567890123456789012345678901234567890123"
		  "4567890123456789012345...\n"
		  "          "
		  "^~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~"
		  "~~~~~~~~~~\n" },
		{ APP "listen: []\n", "t.yaml:2:9: listen: the list is empty: nobody could connect\n"
				      "  listen: []\n"
				      "          ^\n" },
		{ APP "listen: { port: 80 }\n", "t.yaml:2:9: listen: address is missing\n"
						"  listen: { port: 80 }\n"
						"          ^\n"
						"t.yaml:2:11: listen: unknown key \"port\"\n"
						"  listen: { port: 80 }\n"
						"            ^~~~\n" },
		{ APP "listen: [ 8080, 0.0.0.0:8080 ]\n",
		  "t.yaml:2:17: listen: 0.0.0.0:8080 is already on line 2\n"
		  "  listen: [ 8080, 0.0.0.0:8080 ]\n"
		  "                  ^~~~~~~~~~~~\n" },
		{ APP "listen:\n  - 127.0.0.1:81\n  - address: 81\n",
		  "t.yaml:4:14: listen: 0.0.0.0:81 overlaps with 127.0.0.1:81 on line 3\n"
		  "    - address: 81\n"
		  "               ^~\n" },
		{ APP "trust: [ 10.0.0.0/33, fd00, me ]\n",
		  "t.yaml:2:10: trust: \"10.0.0.0/33\" is not a block of addresses like "
		  "10.0.0.0/8 or ::1, nor unix\n"
		  "  trust: [ 10.0.0.0/33, fd00, me ]\n"
		  "           ^~~~~~~~~~~\n"
		  "t.yaml:2:23: trust: \"fd00\" is not a block of addresses like 10.0.0.0/8 or "
		  "::1, nor unix\n"
		  "  trust: [ 10.0.0.0/33, fd00, me ]\n"
		  "                        ^~~~\n"
		  "t.yaml:2:29: trust: \"me\" is not a block of addresses like 10.0.0.0/8 or ::1, "
		  "nor unix\n"
		  "  trust: [ 10.0.0.0/33, fd00, me ]\n"
		  "                              ^~\n" },
		{ APP "listen: [::1]:8080\n",
		  "t.yaml:2:10: not valid YAML: did not find expected node content\n"
		  "  listen: [::1]:8080\n"
		  "           ^\n"
		  "  put an address with :: in quotes, like \"[::1]:8080\"\n" },
		{ "apps: { a: { servers: [ db.example.com:80, 3000 ] } }\n",
		  "t.yaml:1:25: apps.a.servers: \"db.example.com:80\" has a name, and names are not "
		  "resolved yet\n"
		  "  apps: { a: { servers: [ db.example.com:80, 3000 ] } }\n"
		  "                          ^~~~~~~~~~~~~~~~~\n"
		  "  write the address, like 10.0.0.5:3000, [::1]:3000 or unix:/run/app.sock\n"
		  "t.yaml:1:44: apps.a.servers: \"3000\" names no machine; write 127.0.0.1:3000 for "
		  "this one\n"
		  "  apps: { a: { servers: [ db.example.com:80, 3000 ] } }\n"
		  "                                             ^~~~\n" },
		{ "apps: { a: { servers: http://10.0.0.5:80 } }\n",
		  "t.yaml:1:23: apps.a.servers: \"http://10.0.0.5:80\" is a URL, and an address is "
		  "wanted\n"
		  "  apps: { a: { servers: http://10.0.0.5:80 } }\n"
		  "                        ^~~~~~~~~~~~~~~~~~\n"
		  "  write only the address, like 10.0.0.5:3000, [::1]:3000 or unix:/run/app.sock\n" },
		{ "listen: 81\napps: { a: { servers: 127.0.0.1:81 } }\n",
		  "t.yaml:2:23: apps.a.servers: drover itself listens here (0.0.0.0:81)\n"
		  "  apps: { a: { servers: 127.0.0.1:81 } }\n"
		  "                        ^~~~~~~~~~~~\n" },
	};

	(void)state;
	check_refused(rows, ARRAY_LEN(rows), NULL);
}

static void test_apps(void **state)
{
	static const struct refused rows[] = {
		{ "apps:\n  web: node server.js\n",
		  "t.yaml:2:8: apps.web: expected a block of keys, not a single value\n"
		  "    web: node server.js\n"
		  "         ^\n" },
		{ "apps:\n  web:\n", "t.yaml:2:3: apps.web: neither command nor servers\n"
				     "    web:\n"
				     "    ^~~\n"
				     "  write what to start, as in command: [node, server.js]\n" },
		{ "apps: { web: { command: sh, servers: 10.0.0.1:2 } }\n",
		  "t.yaml:1:38: apps.web: command and servers exclude each other: either drover "
		  "starts the app, or it runs elsewhere\n"
		  "  apps: { web: { command: sh, servers: 10.0.0.1:2 } }\n"
		  "                                       ^~~~~~~~~~\n" },
		{ "apps: { web: { servers: 10.0.0.1:2, instances: 2, stop: {} } }\n",
		  "t.yaml:1:37: apps.web: instances has no meaning for an app with servers: drover "
		  "does not start them\n"
		  "  apps: { web: { servers: 10.0.0.1:2, instances: 2, stop: {} } }\n"
		  "                                      ^~~~~~~~~\n"
		  "t.yaml:1:51: apps.web: stop has no meaning for an app with servers: drover does "
		  "not start them\n"
		  "  apps: { web: { servers: 10.0.0.1:2, instances: 2, stop: {} } }\n"
		  "                                                    ^~~~\n" },
		{ "apps: { my.app: { command: sh } }\n",
		  "t.yaml:1:9: apps: \"my.app\" is not a name; names are 1 to 63 of A-Z a-z 0-9 _ "
		  "-\n"
		  "  apps: { my.app: { command: sh } }\n"
		  "          ^~~~~~\n" },
		{ "apps: { web: { command: [] } }\n",
		  "t.yaml:1:25: apps.web.command: the command is empty\n"
		  "  apps: { web: { command: [] } }\n"
		  "                          ^\n" },
		{ "apps: { web: { command: [ sh, [ x ] ] } }\n",
		  "t.yaml:1:31: apps.web.command: expected a word of the command, not a list\n"
		  "  apps: { web: { command: [ sh, [ x ] ] } }\n"
		  "                                ^\n" },
		{ "apps: { web: { command: \"sh && x\" } }\n",
		  "t.yaml:1:25: apps.web.command: no shell runs the command, so & has no meaning; "
		  "put it in quotes, or run a shell: [sh, -c, \"...\"]\n"
		  "  apps: { web: { command: \"sh && x\" } }\n"
		  "                          ^~~~~~~~~\n" },
		{ "apps: { web: { command: no-such-program } }\n",
		  "t.yaml:1:25: apps.web.command: there is no program \"no-such-program\" in PATH\n"
		  "  apps: { web: { command: no-such-program } }\n"
		  "                          ^~~~~~~~~~~~~~~\n" },
		{ "apps: { web: { command: /no/such/program } }\n",
		  "t.yaml:1:25: apps.web.command: there is no program \"/no/such/program\"\n"
		  "  apps: { web: { command: /no/such/program } }\n"
		  "                          ^~~~~~~~~~~~~~~~\n" },
		{ "apps: { web: { command: ./x, directory: / } }\n",
		  "t.yaml:1:25: apps.web.command: there is no program \"./x\" in /\n"
		  "  apps: { web: { command: ./x, directory: / } }\n"
		  "                          ^~~\n" },
		{ "apps: { web: { command: sh, env: { PATH: /no/such } } }\n",
		  "t.yaml:1:25: apps.web.command: there is no program \"sh\" in PATH\n"
		  "  apps: { web: { command: sh, env: { PATH: /no/such } } }\n"
		  "                          ^~\n" },
		{ "apps: { web: { command: [ sh -c x ] } }\n",
		  "t.yaml:1:25: apps.web.command: there is no program \"sh -c x\" in PATH\n"
		  "  apps: { web: { command: [ sh -c x ] } }\n"
		  "                          ^\n"
		  "  a word is not split: leave out the quotes around the whole command, as in node "
		  "server.js\n" },
		{ "apps: { web: { command: /dev } }\n",
		  "t.yaml:1:25: apps.web.command: \"/dev\" is a directory\n"
		  "  apps: { web: { command: /dev } }\n"
		  "                          ^~~~\n" },
		{ "apps: { web: { command: ./t.yaml } }\n",
		  "t.yaml:1:25: apps.web.command: \"./t.yaml\" is not executable\n"
		  "  apps: { web: { command: ./t.yaml } }\n"
		  "                          ^~~~~~~~\n" },
		{ "apps: { web: { command: sh, directory: /no/such } }\n",
		  "t.yaml:1:40: apps.web.directory: /no/such: No such file or directory\n"
		  "  apps: { web: { command: sh, directory: /no/such } }\n"
		  "                                         ^~~~~~~~\n" },
		{ "apps: { web: { command: sh, directory: /dev/null } }\n",
		  "t.yaml:1:40: apps.web.directory: /dev/null: is not a directory\n"
		  "  apps: { web: { command: sh, directory: /dev/null } }\n"
		  "                                         ^~~~~~~~~\n" },
		{ "apps: { web: { command: sh, instances: 4, ports: 3000-3006 } }\n",
		  "t.yaml:1:50: apps.web.ports: 7 ports are not enough for 4 instances: twice as "
		  "many are needed, since a new worker is ready before an old one goes\n"
		  "  apps: { web: { command: sh, instances: 4, ports: 3000-3006 } }\n"
		  "                                                   ^~~~~~~~~\n" },
		{ "apps: { web: { command: sh, bind: unix, ports: 3000-3999 } }\n",
		  "t.yaml:1:48: apps.web.ports has no meaning with bind: unix\n"
		  "  apps: { web: { command: sh, bind: unix, ports: 3000-3999 } }\n"
		  "                                                 ^~~~~~~~~\n" },
		{ "apps: { a: { command: sh, instances: 500 }, b: { command: sh, instances: 13 } }\n"
		  "routes: { app: a }\n",
		  "t.yaml:1:7: apps: 513 workers in all; at most 512 are possible\n"
		  "  apps: { a: { command: sh, instances: 500 }, b: { command: sh, instances: 13 } "
		  "}\n"
		  "        ^\n" },
	};

	(void)state;
	check_refused(rows, ARRAY_LEN(rows), NULL);
}

static void test_env(void **state)
{
	static const struct refused rows[] = {
		{ "apps: { web: { command: sh, env: { PORT: 1, INSTANCE: 2 } } }\n",
		  "t.yaml:1:36: apps.web.env: PORT is set by drover for each instance\n"
		  "  apps: { web: { command: sh, env: { PORT: 1, INSTANCE: 2 } } }\n"
		  "                                     ^~~~\n"
		  "  say where ports are taken from with ports: 20000-29999; the public port is "
		  "under listen\n"
		  "t.yaml:1:45: apps.web.env: INSTANCE is set by drover for each instance\n"
		  "  apps: { web: { command: sh, env: { PORT: 1, INSTANCE: 2 } } }\n"
		  "                                              ^~~~~~~~\n" },
		{ "apps: { web: { command: sh, env: { A=B: 1, C: [ 2 ] } } }\n",
		  "t.yaml:1:36: apps.web.env: \"A=B\" cannot be the name of a variable\n"
		  "  apps: { web: { command: sh, env: { A=B: 1, C: [ 2 ] } } }\n"
		  "                                     ^~~\n"
		  "t.yaml:1:47: apps.web.env: \"C\": a variable holds one text, not a list\n"
		  "  apps: { web: { command: sh, env: { A=B: 1, C: [ 2 ] } } }\n"
		  "                                                ^\n" },
		{ "apps: { web: { command: sh, env: [ A=B ] } }\n",
		  "t.yaml:1:34: apps.web.env: expected a block of variables like { NODE_ENV: "
		  "production }, not a list\n"
		  "  apps: { web: { command: sh, env: [ A=B ] } }\n"
		  "                                   ^\n" },
		{ "apps: { web: { command: sh, env_file: /no/such } }\n",
		  "t.yaml:1:39: apps.web.env_file: /no/such cannot be read: No such file or "
		  "directory\n"
		  "  apps: { web: { command: sh, env_file: /no/such } }\n"
		  "                                        ^~~~~~~~\n" },
		{ "apps: { web: { command: sh, env_file: /dev/zero } }\n",
		  "t.yaml:1:39: apps.web.env_file: /dev/zero cannot be read: not a regular file\n"
		  "  apps: { web: { command: sh, env_file: /dev/zero } }\n"
		  "                                        ^~~~~~~~~\n" },
		{ "apps: { web: { command: sh, env_file: / } }\n",
		  "t.yaml:1:39: apps.web.env_file: / cannot be read: Is a directory\n"
		  "  apps: { web: { command: sh, env_file: / } }\n"
		  "                                        ^\n" },
	};
	static const struct {
		const char *lines, *error;
	} files[] = {
		{ "A=1\nB\n", "2: is not NAME=value" },
		{ "=x\n", "1: is not NAME=value" },
		{ "A B=x\n", "1: is not NAME=value" },
		{ "\n\nA='x\n", "3: a quote is not closed" },
		{ "A=\"x\\\"\n", "1: a quote is not closed" },
		{ "A=\"x\" y\n", "1: something stands behind the closing quote" },
		{ "A=\xff\n", "1: is not valid UTF-8" },
	};
	static const char config[] = "apps: { web: { command: sh, env_file: e.env } }\n";

	(void)state;
	check_refused(rows, ARRAY_LEN(rows), NULL);
	for (size_t i = 0; i < ARRAY_LEN(files); i++) {
		char want[400];
		struct refused row = { config, want };

		config_write("e.env", files[i].lines, strlen(files[i].lines));
		snprintf(want, sizeof(want),
			 "t.yaml:1:39: apps.web.env_file: %s/e.env:%s\n  %s%*s^~~~~\n",
			 config_folder, files[i].error, config, 40, "");
		check_refused(&row, 1, NULL);
	}
	config_write("e.env", "A=\0\n", 4);
	struct config_errors errors;
	assert_null(config_of(config, strlen(config), NULL, &errors));
	assert_non_null(strstr(errors.text, "e.env:1: has a NUL byte\n"));
	config_errors_fini(&errors);
}

static void test_routes(void **state)
{
#define TWO "apps: { web: { command: sh }, api: { command: sh } }\n"
	static const struct refused rows[] = {
		{ TWO, "t.yaml:1:7: routes is missing: with 2 apps it must say which requests go "
		       "where\n"
		       "  " TWO "        ^\n"
		       "  write for example:\n"
		       "    routes:\n"
		       "      - { path: /api, app: api }\n"
		       "      - { app: web }\n" },
		{ TWO "routes:\n  - { app: wbe }\n",
		  "t.yaml:3:12: routes.app: there is no app \"wbe\"; known: web, api\n"
		  "    - { app: wbe }\n"
		  "             ^~~\n"
		  "  did you mean web?\n" },
		{ TWO "routes:\n  - { path: /x }\n", "t.yaml:3:5: routes: app is missing\n"
						     "    - { path: /x }\n"
						     "      ^\n" },
		{ TWO "routes: []\n",
		  "t.yaml:2:9: routes: the list is empty: every request would be answered 404\n"
		  "  routes: []\n"
		  "          ^\n" },
		{ TWO "routes: web\n", "t.yaml:2:9: routes: expected a list of routes like { host: "
				       "example.com, app: web }, not a single value\n"
				       "  routes: web\n"
				       "          ^~~\n" },
		{ TWO "routes: [ { app: web }, { path: /a, app: api } ]\n",
		  "t.yaml:2:42: routes: never reached, since the one for web on line 2 matches "
		  "everything\n"
		  "  routes: [ { app: web }, { path: /a, app: api } ]\n"
		  "                                           ^~~\n" },
		{ TWO "routes: [ { path: /a, app: web }, { path: /a, app: api } ]\n",
		  "t.yaml:2:52: routes: never reached, since the one for web on line 2 matches the "
		  "same\n"
		  "  routes: [ { path: /a, app: web }, { path: /a, app: api } ]\n"
		  "                                                     ^~~\n" },
		/* Whether one is reached is not said of routes that are wrong themselves. */
		{ TWO "routes: [ { app: wbe }, { app: api } ]\n",
		  "t.yaml:2:18: routes.app: there is no app \"wbe\"; known: web, api\n"
		  "  routes: [ { app: wbe }, { app: api } ]\n"
		  "                   ^~~\n"
		  "  did you mean web?\n" },
		{ TWO "routes: [ { host: a, app: web }, { host: a, path: v1, app: api } ]\n",
		  "t.yaml:2:51: routes.path: \"v1\" is not a path: it must begin with /\n"
		  "  routes: [ { host: a, app: web }, { host: a, path: v1, app: api } ]\n"
		  "                                                    ^~\n" },
		{ TWO "routes: [ { host: *.example.com, app: web } ]\n",
		  "t.yaml:2:20: not valid YAML: did not find expected alphabetic or numeric "
		  "character\n"
		  "  routes: [ { host: *.example.com, app: web } ]\n"
		  "                     ^\n"
		  "  put a value that begins with * or & in quotes\n" },
		/* Apps were refused: nothing is said about routes to them. */
		{ "apps: []\nroutes: [ { app: web } ]\n",
		  "t.yaml:1:7: apps: expected a block with one key per app, not a list\n"
		  "  apps: []\n"
		  "        ^\n" },
	};

	(void)state;
	check_refused(rows, ARRAY_LEN(rows), NULL);
#undef TWO
}

static void test_order(void **state)
{
	static const struct refused rows[] = {
		{ APP "shutdown: { soft: 20s, hard: 10s }\n",
		  "t.yaml:2:19: shutdown.soft: 20s is more than shutdown.hard, which is 10s\n"
		  "  shutdown: { soft: 20s, hard: 10s }\n"
		  "                    ^~~\n" },
		{ APP "shutdown: { soft: 20s }\n",
		  "t.yaml:2:19: shutdown.soft: 20s is more than shutdown.hard, which is 10s by "
		  "default\n"
		  "  shutdown: { soft: 20s }\n"
		  "                    ^~~\n" },
		{ APP "shutdown: { hard: 2s }\n",
		  "t.yaml:2:19: shutdown.soft: 5s (the default) is more than shutdown.hard, which "
		  "is 2s\n"
		  "  shutdown: { hard: 2s }\n"
		  "                    ^~\n" },
		{ APP "limits: { uri: 32KiB }\n",
		  "t.yaml:2:16: limits.uri: 32KiB is more than limits.head, which is 16KiB by "
		  "default\n"
		  "  limits: { uri: 32KiB }\n"
		  "                 ^~~~~\n" },
		{ "apps: { web: { command: sh, restart: { backoff_min: 1m } } }\n",
		  "t.yaml:1:53: apps.web.restart.backoff_min: 1m is more than "
		  "apps.web.restart.backoff_max, which is 30s by default\n"
		  "  apps: { web: { command: sh, restart: { backoff_min: 1m } } }\n"
		  "                                                      ^~\n" },
		{ APP "log: { access: /no/such/a.log, error: / }\npid_file: /dev/null/x\n",
		  "t.yaml:2:16: log.access: the directory /no/such: No such file or directory\n"
		  "  log: { access: /no/such/a.log, error: / }\n"
		  "                 ^~~~~~~~~~~~~~\n"
		  "t.yaml:2:39: log.error: / is a directory\n"
		  "  log: { access: /no/such/a.log, error: / }\n"
		  "                                        ^\n"
		  "t.yaml:3:11: pid_file: /dev/null is not a directory\n"
		  "  pid_file: /dev/null/x\n"
		  "            ^~~~~~~~~~~\n" },
		{ APP "admin: { socket: /no/such/a.sock, listen: 9900 }\nlisten: 127.0.0.1:9900\n",
		  "t.yaml:2:18: admin.socket: the directory /no/such: No such file or directory\n"
		  "  admin: { socket: /no/such/a.sock, listen: 9900 }\n"
		  "                   ^~~~~~~~~~~~~~~\n"
		  "t.yaml:2:43: admin.listen: 0.0.0.0:9900 is a public address already (listen)\n"
		  "  admin: { socket: /no/such/a.sock, listen: 9900 }\n"
		  "                                            ^~~~\n" },
		{ APP "admin: { socket: \"unix:/tmp/x\", listen: localhost:1 }\n",
		  "t.yaml:2:18: admin.socket: \"unix:/tmp/x\" is not a path, auto or off\n"
		  "  admin: { socket: \"unix:/tmp/x\", listen: localhost:1 }\n"
		  "                   ^~~~~~~~~~~~~\n"
		  "  write only the path: /tmp/x\n"
		  "t.yaml:2:41: admin.listen: \"localhost:1\" is not an address like 127.0.0.1:9900, or "
		  "off\n"
		  "  admin: { socket: \"unix:/tmp/x\", listen: localhost:1 }\n"
		  "                                          ^~~~~~~~~~~\n" },
		/* A broken value is not judged again. */
		{ APP "shutdown: { soft: 20s, hard: x }\n",
		  "t.yaml:2:30: shutdown.hard: \"x\" is not a duration like 500ms, 10s, 5m or 1h\n"
		  "  shutdown: { soft: 20s, hard: x }\n"
		  "                               ^\n" },
	};

	(void)state;
	check_refused(rows, ARRAY_LEN(rows), NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_addresses),
		cmocka_unit_test(test_apps),
		cmocka_unit_test(test_env),
		cmocka_unit_test(test_routes),
		cmocka_unit_test(test_order),
	};

	return cmocka_run_group_tests(tests, config_setup, config_teardown);
}
