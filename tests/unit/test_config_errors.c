/* balancer/config: bad files, and the exact words and carets that answer them.  Apps, routes and
 * the like: test_config_fields.c. */
#include "test_config.h"

#include "common/base.h"

/* ---- single values ---- */

static void test_values(void **state)
{
	static const struct refused rows[] = {
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
	check_refused(rows, ARRAY_LEN(rows), NULL);
}

static void test_keys(void **state)
{
	static const struct refused rows[] = {
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
	check_refused(rows, ARRAY_LEN(rows), NULL);
}

/* ---- YAML ---- */

static void test_yaml(void **state)
{
	static const struct refused rows[] = {
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
	check_refused(rows, ARRAY_LEN(rows), NULL);
}

/* The caret stands under the value, whatever is left of it. */
static void test_carets(void **state)
{
	static const struct refused rows[] = {
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
	check_refused(rows, ARRAY_LEN(rows), NULL);
}

static void test_long_lines(void **state)
{
	static const char fill[] = "0123456789";
	char file[1000] = "lisen: 1 # ", want[400];
	struct refused row = { file, want };

	(void)state;
	while (strlen(file) < 300)
		strcat(file, fill);
	strcat(file, "\n" APP);
	snprintf(want, sizeof(want),
		 "t.yaml:1:1: unknown key \"lisen\"\n  %.100s...\n  ^~~~~\n  did you mean listen?\n",
		 file);
	check_refused(&row, 1, NULL);

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
	static const struct refused row = {
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
	check_refused(&row, 1, NULL);

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
	static const struct refused row = {
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
	check_refused(&row, 1, &two);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_values),
		cmocka_unit_test(test_keys),
		cmocka_unit_test(test_yaml),
		cmocka_unit_test(test_carets),
		cmocka_unit_test(test_long_lines),
		cmocka_unit_test(test_all_at_once),
		cmocka_unit_test(test_unreadable),
		cmocka_unit_test(test_command_line),
	};

	return cmocka_run_group_tests(tests, config_setup, config_teardown);
}
