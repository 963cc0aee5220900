/* balancer/config: bad files, and the exact words and carets that answer them;
 * files that are meant to hurt, and how soon they are refused. */
#include "test_config.h"

#include <time.h>

#include "common/base.h"
#include "common/mem.h"

#define APP "apps: { web: { command: sh } }\n"

struct row {
	const char *file, *errors;
};

static void check_errors(const struct row *rows, size_t n, const struct config_overrides *over)
{
	for (size_t i = 0; i < n; i++) {
		struct config_errors errors;
		struct config *cfg =
			config_of(rows[i].file, strlen(rows[i].file), over, &errors);
		check_row(rows[i].file, cfg == NULL);
		check_row(rows[i].file, errors.count > 0);
		check_row_text(rows[i].file, errors.text, rows[i].errors);
		config_errors_fini(&errors);
		assert_null(errors.text);
	}
}

/* ---- single values ---- */

static void test_values(void **state)
{
	static const struct row rows[] = {
		{ APP "timeouts: { head: 10 }\n",
		  "t.yaml:2:19: timeouts.head: \"10\" has no unit; expected a duration like 500ms, "
		  "10s, 5m or 1h\n"
		  "  timeouts: { head: 10 }\n"
		  "                    ^~\n" },
		{ APP "limits:\n  head: 16k\n",
		  "t.yaml:3:9: limits.head: \"16k\" is not a size like 16KiB, 700MiB or 1GB\n"
		  "    head: 16k\n"
		  "          ^~~\n"
		  "  write 16KiB\n" },
		{ APP "limits: { head: 1GB }\n",
		  "t.yaml:2:17: limits.head: \"1GB\" must be from 1KiB to 64KiB\n"
		  "  limits: { head: 1GB }\n"
		  "                  ^~~\n" },
		{ APP "timeouts: { head: [ 1s ] }\n",
		  "t.yaml:2:19: timeouts.head: expected a duration like 500ms, 10s, 5m or 1h, not a "
		  "list\n"
		  "  timeouts: { head: [ 1s ] }\n"
		  "                    ^\n" },
		{ APP "timeouts: { head: { a: 1s } }\n",
		  "t.yaml:2:19: timeouts.head: expected a duration like 500ms, 10s, 5m or 1h, not a "
		  "block of keys\n"
		  "  timeouts: { head: { a: 1s } }\n"
		  "                    ^\n" },
		{ APP "timeouts:\n  head:\n  body: 1s\n",
		  "t.yaml:3:8: timeouts.head: has no value; expected a duration like 500ms, 10s, 5m "
		  "or 1h\n"
		  "    head:\n"
		  "         ^\n" },
		{ APP "timeouts: 10s\n", "t.yaml:2:11: timeouts: expected a block of keys, not a "
					 "single value\n"
					 "  timeouts: 10s\n"
					 "            ^\n" },
		{ APP "timeouts: [ 10s ]\n", "t.yaml:2:11: timeouts: expected a block of keys, not "
					     "a list\n"
					     "  timeouts: [ 10s ]\n"
					     "            ^\n" },
		{ APP "balancers: many\n", "t.yaml:2:12: balancers: \"many\" is not a whole number "
					   "or auto\n"
					   "  balancers: many\n"
					   "             ^~~~\n" },
		{ APP "log: { format: jsn }\n",
		  "t.yaml:2:16: log.format: \"jsn\" is not one of: combined, json\n"
		  "  log: { format: jsn }\n"
		  "                 ^~~\n"
		  "  did you mean json?\n" },
		{ "apps: { web: { command: sh, ready: { type: http, path: up } } }\n",
		  "t.yaml:1:56: apps.web.ready.path: \"up\" is not a path: it must begin "
		  "with /\n"
		  "  apps: { web: { command: sh, ready: { type: http, path: up } } }\n"
		  "                                                         ^~\n" },
		{ "apps: { web: { command: sh, balance: dice } }\n",
		  "t.yaml:1:38: apps.web.balance: \"dice\" is not known here; the only choice is "
		  "round-robin\n"
		  "  apps: { web: { command: sh, balance: dice } }\n"
		  "                                       ^~~~\n" },
		{ APP "user: no-such-user-here\n",
		  "t.yaml:2:7: user: \"no-such-user-here\" is not a user on this machine\n"
		  "  user: no-such-user-here\n"
		  "        ^~~~~~~~~~~~~~~~~\n" },
	};

	(void)state;
	check_errors(rows, ARRAY_LEN(rows), NULL);
}

static void test_keys(void **state)
{
	static const struct row rows[] = {
		{ "lisen: 80\n" APP, "t.yaml:1:1: unknown key \"lisen\"\n"
				     "  lisen: 80\n"
				     "  ^~~~~\n"
				     "  did you mean listen?\n" },
		{ APP "timeouts: { haed: 1s }\n", "t.yaml:2:13: timeouts: unknown key \"haed\"\n"
						  "  timeouts: { haed: 1s }\n"
						  "              ^~~~\n"
						  "  did you mean head?\n" },
		/* Known to the future; not to this program. */
		{ APP "dashboard: { listen: 1 }\n", "t.yaml:2:1: unknown key \"dashboard\"\n"
						    "  dashboard: { listen: 1 }\n"
						    "  ^~~~~~~~~\n" },
		{ "apps: { web: { command: sh, canary: { path: / } } }\n",
		  "t.yaml:1:29: apps.web: unknown key \"canary\"\n"
		  "  apps: { web: { command: sh, canary: { path: / } } }\n"
		  "                              ^~~~~~\n" },
		{ "listen: { address: 81, tls: {} }\n" APP,
		  "t.yaml:1:24: listen: unknown key \"tls\"\n"
		  "  listen: { address: 81, tls: {} }\n"
		  "                         ^~~\n" },
		{ "apps: { web: { command: sh, cwd: / } }\n",
		  "t.yaml:1:29: apps.web: unknown key \"cwd\"\n"
		  "  apps: { web: { command: sh, cwd: / } }\n"
		  "                              ^~~\n"
		  "  did you mean directory?\n" },
		{ APP "listen: 81\nlisten: 82\n",
		  "t.yaml:3:1: duplicate key \"listen\": it is already on line 2, column 1\n"
		  "  listen: 82\n"
		  "  ^~~~~~\n" },
		{ "apps:\n  web: { command: sh }\n  api: { command: sh }\n  web: { command: sh }\n"
		  "routes: { app: web }\n",
		  "t.yaml:4:3: duplicate key \"web\": it is already on line 2, column 3\n"
		  "    web: { command: sh }\n"
		  "    ^~~\n" },
		{ "", "t.yaml: apps is missing\n"
		      "  write for example:\n"
		      "    apps:\n"
		      "      web:\n"
		      "        command: [node, server.js]\n" },
		{ "# nothing\n\n#apps:\n", "t.yaml: apps is missing\n"
					   "  write for example:\n"
					   "    apps:\n"
					   "      web:\n"
					   "        command: [node, server.js]\n" },
		{ "---\n", "t.yaml: apps is missing\n"
			   "  write for example:\n"
			   "    apps:\n"
			   "      web:\n"
			   "        command: [node, server.js]\n" },
		{ "listen: 81\napps:\n", "t.yaml: apps is missing\n"
					 "  write for example:\n"
					 "    apps:\n"
					 "      web:\n"
					 "        command: [node, server.js]\n" },
		{ "apps: {}\n", "t.yaml:1:7: apps: there is no app in it\n"
				"  apps: {}\n"
				"        ^\n" },
		{ "apps: [ web ]\n", "t.yaml:1:7: apps: expected a block with one key per app, not "
				     "a list\n"
				     "  apps: [ web ]\n"
				     "        ^\n" },
		{ "- a\n", "t.yaml:1:1: expected keys such as listen and apps, not a list\n"
			   "  - a\n"
			   "  ^\n" },
		{ "hello\n", "t.yaml:1:1: expected keys such as listen and apps, not a single "
			     "value\n"
			     "  hello\n"
			     "  ^~~~~\n" },
	};

	(void)state;
	check_errors(rows, ARRAY_LEN(rows), NULL);
}

/* ---- fields that are more than one scalar ---- */

static void test_addresses(void **state)
{
	static const struct row rows[] = {
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
	check_errors(rows, ARRAY_LEN(rows), NULL);
}

static void test_apps(void **state)
{
	static const struct row rows[] = {
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
	check_errors(rows, ARRAY_LEN(rows), NULL);
}

static void test_env(void **state)
{
	static const struct row rows[] = {
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
	check_errors(rows, ARRAY_LEN(rows), NULL);
	for (size_t i = 0; i < ARRAY_LEN(files); i++) {
		char want[400];
		struct row row = { config, want };

		config_write("e.env", files[i].lines, strlen(files[i].lines));
		snprintf(want, sizeof(want),
			 "t.yaml:1:39: apps.web.env_file: %s/e.env:%s\n  %s%*s^~~~~\n",
			 config_folder, files[i].error, config, 40, "");
		check_errors(&row, 1, NULL);
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
	static const struct row rows[] = {
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
	check_errors(rows, ARRAY_LEN(rows), NULL);
#undef TWO
}

static void test_order(void **state)
{
	static const struct row rows[] = {
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
	check_errors(rows, ARRAY_LEN(rows), NULL);
}

/* ---- YAML ---- */

static void test_yaml(void **state)
{
	static const struct row rows[] = {
		{ "apps:\n\tweb: 1\n",
		  "t.yaml:2:1: not valid YAML: found character that cannot start any token\n"
		  "      web: 1\n"
		  "  ^~~~\n"
		  "  YAML is indented with spaces, never with tabs\n" },
		{ "a: @x\n", "t.yaml:1:4: not valid YAML: found character that cannot start any token\n"
			     "  a: @x\n"
			     "     ^\n"
			     "  put a value that begins with this character in quotes\n" },
		{ "a: b: c\n",
		  "t.yaml:1:5: not valid YAML: mapping values are not allowed in this context\n"
		  "  a: b: c\n"
		  "      ^\n"
		  "  check the indentation; a value with \": \" in it needs quotes\n" },
		{ "a:\n  b: 1\n c: 2\n",
		  "t.yaml:3:2: not valid YAML: did not find expected key while parsing a block "
		  "mapping that begins on line 1\n"
		  "   c: 2\n"
		  "   ^\n"
		  "  what belongs together begins in one column; this fits none of the lines above\n" },
		{ "a: [ b\n", "t.yaml:2:1: not valid YAML: did not find expected ',' or ']' while "
			      "parsing a flow sequence that begins on line 1\n"
			      "  \n"
			      "  ^\n" },
		{ "a: \"b\n", "t.yaml:2:1: not valid YAML: found unexpected end of stream while "
			      "scanning a quoted scalar that begins on line 1\n"
			      "  \n"
			      "  ^\n" },
		{ "log:\n  access: -\n",
		  "t.yaml:2:11: not valid YAML: block sequence entries are not allowed in this "
		  "context\n"
		  "    access: -\n"
		  "            ^\n"
		  "  a list begins on its own line; a lone - as a value needs quotes: \"-\"\n" },
		{ APP "---\n" APP,
		  "t.yaml:2:1: a second document begins here; one file is one document\n"
		  "  ---\n"
		  "  ^~~\n" },
		{ "? [ a, b ]\n: c\n", "t.yaml:1:3: a key must be a word, not a list or a map\n"
				       "  ? [ a, b ]\n"
				       "    ^\n" },
		{ "apps: !!map { a: 1 }\n",
		  "t.yaml:1:7: tag \"tag:yaml.org,2002:map\": values are typed by their key, tags "
		  "have no meaning here\n"
		  "  apps: !!map { a: 1 }\n"
		  "        ^~~~~~~\n" },
		{ "a: &x [ *x ]\n", "t.yaml:1:9: alias \"x\" stands inside the value that it names\n"
				    "  a: &x [ *x ]\n"
				    "          ^~\n" },
		{ "a: *x\n", "t.yaml:1:4: alias of \"x\", but no anchor of this name comes before it\n"
			     "  a: *x\n"
			     "     ^~\n"
			     "  put a value that begins with * in quotes\n" },
		{ "apps: { web: { <<: 3, command: sh } }\n",
		  "t.yaml:1:20: << merges maps: give it the alias of one (<<: *name)\n"
		  "  apps: { web: { <<: 3, command: sh } }\n"
		  "                     ^\n" },
		{ "a: \"x\\0y\"\n", "t.yaml:1:4: a value cannot hold a NUL byte (\\0)\n"
				    "  a: \"x\\0y\"\n"
				    "     ^~~~~~\n" },
		{ "a: \xc3(\n", "t.yaml:1:4: byte 0xc3 is not valid UTF-8\n"
				"  a: \\xc3(\n"
				"     ^~~~\n"
				"  save the file as UTF-8\n" },
		{ "\xff\xfe" "a\n", "t.yaml:1:1: byte 0xff is not valid UTF-8\n"
				    "  \\xff\\xfea\n"
				    "  ^~~~\n"
				    "  save the file as UTF-8\n" },
		{ "a: b\x1b[31mc\n", "t.yaml:1:5: character U+001B is not allowed\n"
				     "  a: b\\x1b[31mc\n"
				     "      ^~~~\n"
				     "  in double quotes it can be written as \"\\u001B\"\n" },
	};

	(void)state;
	check_errors(rows, ARRAY_LEN(rows), NULL);
}

/* The caret stands under the value, whatever is left of it. */
static void test_carets(void **state)
{
	static const struct row rows[] = {
		{ APP "timeouts: {\thead:\t\t10 }\n",
		  "t.yaml:2:20: timeouts.head: \"10\" has no unit; expected a duration like 500ms, "
		  "10s, 5m or 1h\n"
		  "  timeouts: { head:       10 }\n"
		  "                          ^~\n" },
		{ APP "log: { error: \"/no/\xc3\xa4\xe4\xb8\xad/x\", level: loud }\n",
		  "t.yaml:2:15: log.error: the directory /no/\xc3\xa4\xe4\xb8\xad: No such file or "
		  "directory\n"
		  "  log: { error: \"/no/\xc3\xa4\xe4\xb8\xad/x\", level: loud }\n"
		  "                ^~~~~~~~~~~\n"
		  "t.yaml:2:34: log.level: \"loud\" is not one of: error, warn, notice, info, "
		  "debug\n"
		  "  log: { error: \"/no/\xc3\xa4\xe4\xb8\xad/x\", level: loud }\n"
		  "                                    ^~~~\n" },
		{ APP "log: { error: /no/\xe2\x80\xae/x }\n", /* right-to-left override */
		  "t.yaml:2:15: log.error: the directory /no/\\u202e: No such file or directory\n"
		  "  log: { error: /no/\\u202e/x }\n"
		  "                ^~~~~~~~~~~~\n" },
		{ APP "\"a\\nb\\e\\t\": 1\n", "t.yaml:2:1: unknown key \"a\\nb\\x1b\\t\"\n"
					      "  \"a\\nb\\e\\t\": 1\n"
					      "  ^~~~~~~~~~\n" },
		{ APP "timeouts: { head: \"1\n  2\" }\n",
		  "t.yaml:2:19: timeouts.head: \"1 2\" is not a duration like 500ms, 10s, 5m or "
		  "1h\n"
		  "  timeouts: { head: \"1\n"
		  "                    ^\n" },
		{ "\xef\xbb\xbf" "lisen: 1\n" APP, "t.yaml:1:1: unknown key \"lisen\"\n"
						   "  lisen: 1\n"
						   "  ^~~~~\n"
						   "  did you mean listen?\n" },
		{ "# x\r\nlisen: 1\r\n" APP, "t.yaml:2:1: unknown key \"lisen\"\n"
					     "  lisen: 1\n"
					     "  ^~~~~\n"
					     "  did you mean listen?\n" },
		{ "# \xe2\x80\xa8lisen: 1\n" APP, /* a line end for YAML */
		  "t.yaml:2:1: unknown key \"lisen\"\n"
		  "  lisen: 1\n"
		  "  ^~~~~\n"
		  "  did you mean listen?\n" },
	};

	(void)state;
	check_errors(rows, ARRAY_LEN(rows), NULL);
}

static void test_long_lines(void **state)
{
	static const char fill[] = "0123456789";
	char file[1000] = "lisen: 1 # ", want[400];
	struct row row = { file, want };

	(void)state;
	while (strlen(file) < 300)
		strcat(file, fill);
	strcat(file, "\n" APP);
	snprintf(want, sizeof(want),
		 "t.yaml:1:1: unknown key \"lisen\"\n  %.100s...\n  ^~~~~\n  did you mean listen?\n",
		 file);
	check_errors(&row, 1, NULL);

	/* Far to the right: what is around it. */
	strcpy(file, "{ apps: { web: { command: \"");
	while (strlen(file) < 200)
		strcat(file, fill);
	strcat(file, "\" } }, lisen: 80, trust: [],");
	while (strlen(file) < 400)
		strcat(file, "      ");
	strcat(file, "}\n");
	struct config_errors errors;
	assert_null(config_of(file, strlen(file), NULL, &errors));
	const char *caret = strstr(errors.text, "\n  ...");
	assert_non_null(caret);
	assert_non_null(strstr(errors.text, "lisen: 80, trust: [],"));
	const char *second = strchr(caret + 1, '\n');
	/* The caret's column in its line is the word's in the line above. */
	const char *word = strstr(caret, "lisen");
	assert_int_equal(strspn(second + 1, " "), (size_t)(word - (caret + 1)));
	assert_int_equal(second - (caret + 1), 2 + 3 + 100 + 3);
	config_errors_fini(&errors);
}

/* ---- all at once ---- */

static void test_all_at_once(void **state)
{
	static const struct row row = {
		"routes: { app: nobody }\n"
		"lisen: 81\n"
		"apps:\n"
		"  web: { command: sh, bind: prot, instances: 0 }\n"
		"timeouts: { head: 1 }\n"
		"shutdown: { soft: 1h }\n",
		"t.yaml:1:16: routes.app: there is no app \"nobody\"; known: web\n"
		"  routes: { app: nobody }\n"
		"                 ^~~~~~\n"
		"t.yaml:2:1: unknown key \"lisen\"\n"
		"  lisen: 81\n"
		"  ^~~~~\n"
		"  did you mean listen?\n"
		"t.yaml:4:29: apps.web.bind: \"prot\" is not one of: port, unix\n"
		"    web: { command: sh, bind: prot, instances: 0 }\n"
		"                              ^~~~\n"
		"  did you mean port?\n"
		"t.yaml:4:46: apps.web.instances: \"0\" must be from 1 to 512\n"
		"    web: { command: sh, bind: prot, instances: 0 }\n"
		"                                               ^\n"
		"t.yaml:5:19: timeouts.head: \"1\" has no unit; expected a duration like 500ms, "
		"10s, 5m or 1h\n"
		"  timeouts: { head: 1 }\n"
		"                    ^\n"
		"t.yaml:6:19: shutdown.soft: 1h is more than shutdown.hard, which is 10s by "
		"default\n"
		"  shutdown: { soft: 1h }\n"
		"                    ^~\n",
	};
	struct config_errors errors;
	char many[4000] = APP;

	(void)state;
	check_errors(&row, 1, NULL);

	for (int i = 0; i < 30; i++)
		sprintf(many + strlen(many), "unknown%d: 1\n", i);
	assert_null(config_of(many, strlen(many), NULL, &errors));
	assert_int_equal(errors.count, 30);
	assert_non_null(strstr(errors.text, "\"unknown19\""));
	assert_null(strstr(errors.text, "\"unknown20\""));
	assert_non_null(strstr(errors.text, "\nand 10 more errors\n"));
	config_errors_fini(&errors);
}

/* ---- files as a whole ---- */

static void test_unreadable(void **state)
{
	static const struct {
		const char *file, *error;
	} rows[] = {
		{ "none.yaml", "none.yaml: cannot be read: No such file or directory\n" },
		{ "/dev/null/x", "/dev/null/x: cannot be read: Not a directory\n" },
		{ "/", "/: cannot be read: Is a directory\n" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct config_errors errors;
		check_row(rows[i].file, config_load(rows[i].file, NULL, &errors) == NULL);
		check_row_text(rows[i].file, errors.text, rows[i].error);
		check_row_int(rows[i].file, errors.count, 1);
		config_errors_fini(&errors);
	}
}

static void test_command_line(void **state)
{
	char sh[] = "sh", missing[] = "no-such-program";
	char *const command[] = { sh, NULL }, *const bad[] = { missing, NULL };
	struct config_overrides wrong = { .listen = "99999", .instances = 9999, .name = "a b",
					  .command = bad };
	struct config_overrides two = { .command = command };
	static const struct row row = {
		APP, "command line: a command was given, but t.yaml has apps of its own\n"
		     "  leave out the command, or -c, or apps in the file\n"
	};
	struct config_errors errors;

	(void)state;
	assert_null(config_load(NULL, &wrong, &errors));
	assert_string_equal(errors.text,
			    "command line: name: \"a b\" is not a name; names are 1 to 63 of A-Z "
			    "a-z 0-9 _ -\n"
			    "command line: listen: \"99999\": a port must be from 1 to 65535\n"
			    "command line: apps.app.instances: \"9999\" must be from 1 to 512\n"
			    "command line: apps.app.command: there is no program "
			    "\"no-such-program\" in PATH\n");
	config_errors_fini(&errors);
	check_errors(&row, 1, &two);
}

/* ---- files that are meant to hurt ---- */

static uint64_t cpu_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* Repeats `part` until `n` bytes are full. */
static char *filled(const char *head, const char *part, size_t n)
{
	char *text = mem_must_alloc(n + 1);
	size_t at = strlen(head), step = strlen(part);

	memcpy(text, head, at);
	for (; at + step <= n; at += step)
		memcpy(text + at, part, step);
	return text;
}

static void test_hostile(void **state)
{
	static const struct {
		const char *head, *part;
		size_t n;
		const char *error; /* the beginning of the first line */
	} rows[] = {
		{ "", "[", 200000, "t.yaml:1:65: nested deeper than 64 levels\n" },
		{ "", "{a: ", 200000, "t.yaml:1:257: nested deeper than 64 levels\n" },
		{ "", "- ", 200000, "t.yaml:1:129: nested deeper than 64 levels\n" },
		{ "", "? ", 200000, "t.yaml:1:3: a key must be a word, not a list or a map\n" },
		{ "", "a", 1048577, "t.yaml: is larger than 1 MiB\n" },
		{ "", "a", 1048576, "t.yaml:1:1: expected keys such as listen and apps" },
		{ "trust: [", "1,", 1048000, "t.yaml:1:131075: more than 65536 values in one file" },
		{ "trust:\n", "- 1\n", 200000, "t.yaml: apps is missing\n" },
		{ "", "#\n", 1048576, "t.yaml: apps is missing\n" },
		{ "a: \"", "\\n", 1000000, "t.yaml:1:1000001: not valid YAML" },
		{ "a: |\n", " x\n", 1000000, "t.yaml: apps is missing\n" },
		{ "", "a: 1\n", 150000, "t.yaml:2:1: duplicate key" },
		{ "", "&a ", 200000, "t.yaml:1:4: not valid YAML" },
		{ "", "!a ", 200000, "t.yaml:1:1: tag \"!a\"" },
		{ "a: [", "&a b,", 200000, "t.yaml:1:1285: more than 256 anchors in one file\n" },
		{ "", "\n", 1048576, "t.yaml: apps is missing\n" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct config_errors errors;
		char *text = filled(rows[i].head, rows[i].part, rows[i].n);
		uint64_t before = cpu_ms();
		struct config *cfg = config_of(text, strlen(text), NULL, &errors);

		check_row(rows[i].part, cfg == NULL);
		check_row(rows[i].part, cpu_ms() - before < 2000);
		if (strncmp(errors.text, rows[i].error, strlen(rows[i].error)) != 0)
			check_row_text(rows[i].part, errors.text, rows[i].error);
		config_errors_fini(&errors);
		mem_free(text);
	}
}

/* 60000 different keys, all of them unknown. */
static void test_many_keys(void **state)
{
	struct config_errors errors;
	size_t used = 0;
	char *text = mem_must_alloc(1048576);
	uint64_t before;

	(void)state;
	for (int i = 0; i < 32000; i++)
		used += (size_t)sprintf(text + used, "listen%d: 1\n", i);
	before = cpu_ms();
	assert_null(config_of(text, used, NULL, &errors));
	assert_true(cpu_ms() - before < 2000);
	assert_int_equal(errors.count, 32001);
	assert_non_null(strstr(errors.text, "\nand 31981 more errors\n"));
	config_errors_fini(&errors);
	mem_free(text);
}

/* Each line stands for ten of the one before: a file of 300 bytes that would
 * mean ten billion values. */
static void test_alias_bomb(void **state)
{
	struct config_errors errors;
	char text[2000] = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n";

	(void)state;
	for (int i = 1; i < 10; i++) {
		sprintf(text + strlen(text), "a%d: &a%d [", i, i);
		for (int j = 0; j < 10; j++)
			sprintf(text + strlen(text), "*a%d,", i - 1);
		strcat(text, "]\n");
	}
	uint64_t before = cpu_ms();
	assert_null(config_of(text, strlen(text), NULL, &errors));
	assert_true(cpu_ms() - before < 500);
	assert_non_null(strstr(errors.text, "more than 65536 values in one file, counting what "
					    "aliases repeat\n"));
	config_errors_fini(&errors);

	/* The same with merged maps. */
	strcpy(text, "a0: &a0 { k: [x,x,x,x,x,x,x,x,x,x,x,x,x,x,x,x,x,x] }\nb: [");
	for (int i = 0; i < 60; i++)
		strcat(text, "{<<: *a0},");
	strcat(text, "]\n");
	assert_null(config_of(text, strlen(text), NULL, &errors));
	assert_null(strstr(errors.text, "more than"));
	config_errors_fini(&errors);
}

/* Bytes that no editor writes. */
static void test_nul_bytes(void **state)
{
	struct config_errors errors;
	static const char text[] = APP "name: a\0b\n";

	(void)state;
	assert_null(config_of(text, sizeof(text) - 1, NULL, &errors));
	assert_string_equal(errors.text, "t.yaml:2:8: character U+0000 is not allowed\n"
					 "  name: a\\x00b\n"
					 "         ^~~~\n"
					 "  in double quotes it can be written as \"\\u0000\"\n");
	config_errors_fini(&errors);
}

/* Every beginning of a good file: refused or loaded, never worse. */
static void test_cut_anywhere(void **state)
{
	static const char text[] = "listen: [ 8080, { address: \"[::1]:81\" } ]\n"
				   "apps:\n"
				   "  web: &w\n"
				   "    command: 'sh -c \"x\"'\n"
				   "    env: { A: \"\\u00e4\", B: |\n    }\n";
	struct config_errors errors;

	(void)state;
	for (size_t n = 0; n < sizeof(text); n++) {
		struct config *cfg = config_of(text, n, NULL, &errors);
		assert_int_equal(cfg == NULL, errors.count > 0);
		config_free(cfg);
		config_errors_fini(&errors);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_values),      cmocka_unit_test(test_keys),
		cmocka_unit_test(test_addresses),   cmocka_unit_test(test_apps),
		cmocka_unit_test(test_env),         cmocka_unit_test(test_routes),
		cmocka_unit_test(test_order),       cmocka_unit_test(test_yaml),
		cmocka_unit_test(test_carets),      cmocka_unit_test(test_long_lines),
		cmocka_unit_test(test_all_at_once), cmocka_unit_test(test_unreadable),
		cmocka_unit_test(test_command_line), cmocka_unit_test(test_hostile),
		cmocka_unit_test(test_many_keys),   cmocka_unit_test(test_alias_bomb),
		cmocka_unit_test(test_nul_bytes),   cmocka_unit_test(test_cut_anywhere),
	};

	return cmocka_run_group_tests(tests, config_setup, config_teardown);
}
