/* balancer/cli: what each command line is answered, on which stream, with which
 * exit status.  Each runs in a child, with its streams in files. */
#include "test_config.h"

#include "balancer/cli/cli.h"
#include "common/base.h"

struct row {
	const char *args[8]; /* behind "drover" */
	int status;
	const char *out, *err; /* exactly; NULL: anything but nothing */
};

static struct cli_run run; /* of the last row, in the child */

static int in_files(void *arg)
{
	const struct row *row = arg;
	char *argv[10] = { NULL };
	int argc = 0, status;

	argv[argc++] = strdup("drover");
	for (int i = 0; row->args[i]; i++)
		argv[argc++] = strdup(row->args[i]);
	if (!freopen("out", "w", stdout) || !freopen("err", "w", stderr))
		return 99;
	status = cli_main(argc, argv, &run);
	if (run.config)
		printf("run %s %zu\n", run.config->name, run.config->n_apps);
	config_free(run.config);
	fflush(stdout);
	fflush(stderr);
	return status;
}

static const char *content(const char *name, char buf[static 8192])
{
	FILE *f = fopen(name, "r");
	size_t n;

	assert_non_null(f);
	n = fread(buf, 1, 8191, f);
	buf[n] = '\0';
	fclose(f);
	return buf;
}

static void check_rows(const struct row *rows, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		char line[200] = "", out[8192], err[8192];

		for (int j = 0; rows[i].args[j]; j++)
			snprintf(line + strlen(line), sizeof(line) - strlen(line), " %s",
				 rows[i].args[j]);
		check_row_int(line, in_child(in_files, (void *)&rows[i]), rows[i].status);
		content("out", out);
		content("err", err);
		if (rows[i].out)
			check_row_text(line, out, rows[i].out);
		else
			check_row(line, out[0]);
		if (rows[i].err)
			check_row_text(line, err, rows[i].err);
		else
			check_row(line, err[0]);
	}
}

static void test_usage(void **state)
{
	static const struct row rows[] = {
		{ { NULL }, 2, "", NULL },
		{ { "--help" }, 0, NULL, "" },
		{ { "help" }, 0, NULL, "" },
		{ { "-h" }, 0, NULL, "" },
		{ { "--version" }, 0, NULL, "" },
		{ { "-V" }, 0, NULL, "" },
		{ { "-v" }, 0, NULL, "" },
		{ { "help", "run" }, 0, NULL, "" },
		{ { "run", "--help" }, 0, NULL, "" },
		{ { "check", "-h" }, 0, NULL, "" },
		{ { "config", "--help" }, 0, NULL, "" },
		{ { "config", "--reference" }, 0, NULL, "" },
		{ { "rnu" }, 2, "", "drover: there is no command rnu; did you mean run?\n" },
		{ { "frobnicate" },
		  2,
		  "",
		  "drover: there is no command frobnicate; see drover --help, or to run a program: "
		  "drover run -- frobnicate\n" },
		{ { "start" }, 2, "", "drover: there is no command start; did you mean run?\n" },
		{ { "relod" }, 2, "", "drover: there is no command relod; did you mean reload?\n" },
		{ { "kill" }, 2, "", "drover: there is no command kill; did you mean stop?\n" },
		{ { "scale", "web" }, 2, "", NULL },
		{ { "scale", "web", "two" }, 2, "", "drover: drover scale: \"two\" is not a number of instances\n" },
		{ { "drain", "web" }, 2, "", "drover: drover drain: \"web\" names no worker; one is named like web/0\n" },
		{ { "status", "x" }, 2, "", NULL },
		{ { " start" }, 2, "", "drover: there is no command  start; did you mean restart?\n" },
		{ { "-s", "reload" },
		  2,
		  "",
		  "drover: there is no command -s; did you mean drover reload, or drover stop?\n" },
		{ { "--config", "x" },
		  2,
		  "",
		  "drover: --config: options follow a command, as in drover run --config; see "
		  "drover "
		  "--help\n" },
		{ { "run", "-p", "80" },
		  2,
		  "",
		  "drover: drover run has no option -p; did you mean --listen?\n" },
		{ { "run", "--workers=4" },
		  2,
		  "",
		  "drover: drover run has no option --workers; did you mean --instances?\n" },
		{ { "run", "--daemon" },
		  2,
		  "",
		  "drover: drover run has no option --daemon; drover stays in the foreground, and "
		  "a "
		  "service manager keeps it running\n" },
		{ { "help", "start" }, 2, "", "drover: there is no command start; did you mean run?\n" },
		{ { "-c", "x" }, 2, "", "drover: -c: options follow a command, as in drover run -c; see drover --help\n" },
		{ { "run", "--lisen", "1" },
		  2,
		  "",
		  "drover: drover run has no option --lisen; did you mean --listen?\n" },
		{ { "run", "--lisen=1" },
		  2,
		  "",
		  "drover: drover run has no option --lisen; did you mean --listen?\n" },
		{ { "run", "--frob" },
		  2,
		  "",
		  "drover: drover run has no option --frob; see drover run --help\n" },
		{ { "run", "--reference" },
		  2,
		  "",
		  "drover: drover run has no option --reference; see drover run --help\n" },
		{ { "run", "-x" }, 2, "", "drover: drover run has no option -x; see drover run --help\n" },
		{ { "run", "-c" }, 2, "", "drover: --config needs an argument: FILE\n" },
		{ { "run", "-c", "" }, 2, "", "drover: --config needs an argument: FILE\n" },
		{ { "run", "--listen" }, 2, "", "drover: --listen needs an argument: ADDRESS\n" },
		{ { "run", "--help=x" }, 2, "", "drover: --help takes no argument\n" },
		{ { "run", "--" }, 2, "", "drover: there is no command behind --\n" },
		{ { "run", "--instances", "0", "--", "sh" },
		  2,
		  "",
		  "drover: --instances: \"0\" is not a number from 1 to 512, nor auto\n" },
		{ { "run", "--instances", "many", "--", "sh" },
		  2,
		  "",
		  "drover: --instances: \"many\" is not a number from 1 to 512, nor auto\n" },
		{ { "run", "--instances", "100000", "--", "sh" },
		  2,
		  "",
		  "drover: --instances: \"100000\" is not a number from 1 to 512, nor auto\n" },
		{ { "run", "web.yaml" }, 2, "", "drover: did you mean drover run -c web.yaml?\n" },
	};

	(void)state;
	check_rows(rows, ARRAY_LEN(rows));
}

static void test_commands(void **state)
{
	static const char good[] =
		"listen: [ 81, \"[::1]:82\" ]\n"
		"balancers: 2\n"
		"apps:\n"
		"  web: { command: sh -c 'a b', instances: 3, directory: / }\n"
		"  old: { servers: [ 10.0.0.5:3000, 10.0.0.6:3000 ] }\n"
		"routes: [ { host: x.org, path: /o, app: old }, { app: web } ]\n";
	static const char answer[] = "g.yaml is good. It would run:\n"
				     "  name       g\n"
				     "  listen     0.0.0.0:81\n"
				     "  listen     [::1]:82\n"
				     "  balancers  2\n"
				     "  app        web: 3 instances of: sh -c 'a b'\n"
				     "             in /\n"
				     "  app        old: 2 servers not started by drover: "
				     "10.0.0.5:3000 10.0.0.6:3000\n"
				     "  route      x.org/o -> old\n"
				     "  route      everything -> web\n";
	static const struct row rows[] = {
		{ { "check", "-c", "g.yaml" }, 0, answer, "" },
		{ { "-t", "-c", "g.yaml" }, 0, answer, "" },
		{ { "check", "-c", "b.yaml" },
		  78,
		  "",
		  "b.yaml:1:1: unknown key \"x\"\n  x: 1\n  ^\nb.yaml:2:9: listen: \"0\": a port "
		  "must be from 1 to 65535\n  listen: 0\n          ^\n" },
		{ { "config", "-c", "none.yaml" },
		  78,
		  "",
		  "none.yaml: cannot be read: No such file or directory\n" },
		{ { "config", "-c", "g.yaml" }, 0, NULL, "" },
		{ { "run", "-c", "g.yaml" }, 0, "run g 2\n", "" },
		{ { "run", "--config=g.yaml", "--name", "n" }, 0, "run n 2\n", "" },
		{ { "run", "--name", "n", "--", "sh", "-c", "x" }, 0, "run n 1\n", "" },
		{ { "run", "--name", "n", "sh", "--help" }, 0, "run n 1\n", "" },
		{ { "run", "--name", "n", "--instances", "auto", "sh" }, 0, "run n 1\n", "" },
		{ { "run", "-c", "b.yaml" }, 78, "", NULL },
		{ { "run", "--", "no-such-program" },
		  78,
		  "",
		  "command line: apps.app.command: there is no program \"no-such-program\" in "
		  "PATH\n" },
	};

	(void)state;
	config_write("g.yaml", good, strlen(good));
	config_write("b.yaml", "x: 1\nlisten: 0\napps: { a: { command: sh } }\n", 43);
	check_rows(rows, ARRAY_LEN(rows));
}

/* The bundled worker: where DROVER_WORKER says, else beside this program. */
static void test_worker(void **state)
{
	static const struct row named[] = {
		{ { "run", "--name", "n" }, 0, "run n 1\n", "" },
		{ { "check", "--name", "n", "--instances", "1", "--listen", "81" }, 0, NULL, "" },
	};
	static const struct row missing[] = { { { "run" }, 2, "", NULL } };
	char out[8192];

	(void)state;
	config_write("worker", "", 0);
	chmod("worker", 0755);
	setenv("DROVER_WORKER", "./worker", 1);
	check_rows(named, ARRAY_LEN(named));
	assert_non_null(strstr(content("out", out), config_folder));
	assert_non_null(strstr(out, "/worker\n"));
	unsetenv("DROVER_WORKER");
	check_rows(missing, ARRAY_LEN(missing));
}

/* An answer that nobody could read is a failure. */
static int to_full_disk(void *arg)
{
	char drover[] = "drover", config[] = "config", reference[] = "--reference";
	char *argv[] = { drover, config, reference, NULL };

	(void)arg;
	if (!freopen("/dev/full", "w", stdout) || !freopen("err", "w", stderr))
		return 99;
	int status = cli_main(3, argv, &run);
	fflush(stderr);
	return status;
}

static void test_full_disk(void **state)
{
	char err[8192];

	(void)state;
	assert_int_equal(in_child(to_full_disk, NULL), 1);
	assert_string_equal(content("err", err),
			    "drover: cannot write to stdout: No space left on device\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_usage),
		cmocka_unit_test(test_commands),
		cmocka_unit_test(test_worker),
		cmocka_unit_test(test_full_disk),
	};

	return cmocka_run_group_tests(tests, config_setup, config_teardown);
}
