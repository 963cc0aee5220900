/* The command line: tables of commands and options, and what each does.  Runs
 * before there is a master; messages go to stderr, answers to stdout.
 *
 *   drover COMMAND [OPTIONS]      commands[]  name, which options, function
 *                                 options[]   name, letter, argument, help
 */
#include "balancer/cli/cli.h"

#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "balancer/cli/args.h"
#include "balancer/cli/commands.h"
#include "balancer/cli/habits.h"
#include "balancer/cli/version.h"
#include "balancer/config/keys.h"
#include "balancer/config/nearest.h"
#include "common/contract.h"
#include "common/proc.h"
#include "common/slice.h"

struct command;

typedef int command_f(const struct args *a, struct cli_run *ret_run);

struct command {
	const char *name, *synopsis, *summary;
	const char *letters; /* of the options it takes */
	int words;           /* behind the options: so many, or one of TAKES_... */
	command_f *run;
	const char *help;
};

#define TAKES_COMMAND (-1) /* to run */
#define TAKES_ONE_AT_MOST (-2)

struct option_row {
	char letter; /* upper case: has no short form */
	const char *name, *argument, *help;
};

static const struct option_row options[] = {
	{ 'c', "config", "FILE", "the config file" },
	{ 'L', "listen", "ADDRESS",
	  "public address, instead of the file's: 8000, 127.0.0.1:8000, unix:/path" },
	{ 'I', "instances", "N", "copies of every app with a command; or auto" },
	{ 'N', "name", "NAME", "name of this running drover" },
	{ 'R', "reference", NULL, "print the reference of all keys as Markdown" },
	{ 'W', "wait", NULL, "until all new workers serve; fails, and says why, when they do not" },
	{ 'J', "json", NULL, "as JSON, for programs" },
	{ 'f', "follow", NULL, "go on with what comes next, until Ctrl-C" },
	{ 'n', "lines", "N", "so many of the last lines; or all. 10 with -f, else all that are kept" },
	{ 'h', "help", NULL, "this text" },
};

static command_f run_run, run_check, run_config, run_takeover;

#define WHICH                                                                                  \
	"Of the only drover that runs here, or the one that --name or -c names.\n"             \
	"\n"                                                                                   \
	"Exit status: 0 done, 1 it failed or was refused, 2 usage, 78 errors in FILE.\n"

static const struct command commands[] = {
	{ "run", "[-c FILE] [--listen ADDRESS] [--instances N] [--name NAME] [-- COMMAND...]",
	  "run in the foreground", "cLINh", TAKES_COMMAND, run_run,
	  "Without a file and a command the bundled drover-worker answers.\n"
	  "\n"
	  "  drover run -- node server.js\n"
	  "  drover run --listen 8000 --instances 4 -- node server.js\n"
	  "  drover run -c /etc/drover/drover.yaml\n"
	  "\n"
	  "Exit status: 0 all requests ended, 1 something failed or was cut, 2 usage, 78 "
	  "config.\n" },
	{ "check", "[-c FILE] [--listen ADDRESS] [--instances N] [--name NAME] [-- COMMAND...]",
	  "check the config and say what it would run", "cLINh", TAKES_COMMAND, run_check,
	  "Exit status: 0 good, 2 usage, 78 errors in the config. drover -t is the same.\n" },
	{ "config", "[-c FILE] [--reference]",
	  "print the config in force, with the origin of each value", "cLINRh", TAKES_COMMAND, run_config, "" },
	{ "status", "[--json] [-c FILE | --name NAME]", "show how a running drover and its workers are",
	  "cNJh", 0, command_status, WHICH },
	{ "reload", "[--wait] [-c FILE | --name NAME]", "check the config again and change over to it",
	  "cNWh", 0, command_reload, WHICH },
	{ "restart", "[-c FILE | --name NAME] APP", "replace an app's workers by new ones, one by one",
	  "cNh", 1, command_restart, WHICH },
	{ "scale", "[-c FILE | --name NAME] APP N", "run N copies of an app, until the next reload", "cNh",
	  2, command_scale, WHICH },
	{ "drain", "[-c FILE | --name NAME] APP/N", "take a worker out and start its successor", "cNh",
	  1, command_drain, WHICH },
	{ "logs", "[-f] [-n N] [--json] [-c FILE | --name NAME] [APP | APP/N]",
	  "show what the workers have printed last", "cNJfnh", TAKES_ONE_AT_MOST, command_logs,
	  "Of all apps, of one, or of one instance of it, oldest first.\n"
	  "\n" WHICH },
	{ "stop", "[-c FILE | --name NAME]", "drain and stop, as SIGTERM does, and wait for the end", "cNh",
	  0, command_stop, WHICH },
	{ "upgrade", "[-c FILE | --name NAME]", "replace the running program by the one on disk", "cNh",
	  0, command_upgrade, WHICH },
	/* Asked by a master of the program that is to be its successor; not for people. */
	{ .name = "takeover", .letters = "cLIN", .words = TAKES_COMMAND, .run = run_takeover },
};

int cli_complain(const char *fmt, ...)
{
	va_list args;
	va_start(args, fmt);
	fputs("drover: ", stderr);
	vfprintf(stderr, fmt, args);
	fputc('\n', stderr);
	va_end(args);
	return EXIT_USAGE;
}

int cli_answered(int status)
{
	if (fflush(stdout) == 0 && !ferror(stdout))
		return status;
	cli_complain("cannot write to stdout: %s", strerror(errno));
	return EXIT_FAILED;
}

/* ---- help ---- */

static void print_help(FILE *out)
{
	fputs("drover runs an application as N identical processes and balances HTTP over them.\n"
	      "\n"
	      "Usage: drover COMMAND [OPTIONS]\n"
	      "\n",
	      out);
	for (size_t i = 0; i < ARRAY_LEN(commands); i++)
		if (commands[i].summary)
			fprintf(out, "  %-10s %s\n", commands[i].name, commands[i].summary);
	fputs("\n"
	      "  drover COMMAND --help   options of a command\n"
	      "  drover --version        version, libraries, build options\n"
	      "\n"
	      "Try it: drover run -- node server.js\n",
	      out);
}

static int print_command_help(const struct command *c)
{
	printf("Usage: drover %s %s\n\n%c%s.\n\n", c->name, c->synopsis, c->summary[0] - 'a' + 'A',
	       c->summary + 1);
	for (size_t i = 0; i < ARRAY_LEN(options); i++) {
		const struct option_row *o = &options[i];
		if (!strchr(c->letters, o->letter))
			continue;
		bool letter = o->letter >= 'a';
		int used = printf("  %c%c%s--%s%s%s", letter ? '-' : ' ', letter ? o->letter : ' ',
				  letter ? ", " : "  ", o->name, o->argument ? " " : "",
				  o->argument ? o->argument : "");
		printf("%*s%s\n", used < 26 ? 26 - used : 1, "", o->help);
	}
	if (c->help[0])
		printf("\n%s", c->help);
	return cli_answered(EXIT_DRAINED);
}

/* ---- options ---- */

static const char *next_option(const void *arg, size_t i)
{
	const struct command *c = arg;
	for (size_t j = 0; j < ARRAY_LEN(options); j++)
		if (strchr(c->letters, options[j].letter) && i-- == 0)
			return options[j].name;
	return NULL;
}

/* getopt said ':' (no argument) or '?' (unknown, or an argument too many), and
 * left the letter in optopt unless it was a long option that nobody knows. */
static int bad_option(const struct command *c, int letter, char **argv)
{
	for (size_t i = 0; i < ARRAY_LEN(options); i++) {
		const struct option_row *o = &options[i];
		if (o->letter != optopt || !strchr(c->letters, o->letter))
			continue;
		if (letter == ':')
			return cli_complain("--%s needs an argument: %s", o->name, o->argument);
		return cli_complain("--%s takes no argument", o->name);
	}
	char word[64], short_word[2] = { (char)optopt, '\0' };
	const char *given = argv[optind - 1] + 2;
	const char *instead = optopt ? habit_option(short_word) : NULL;
	if (optopt)
		return instead ? cli_complain("drover %s has no option -%c; %s", c->name, optopt, instead)
			       : cli_complain("drover %s has no option -%c; see drover %s --help",
					  c->name, optopt, c->name);
	snprintf(word, sizeof(word), "%.*s", (int)strcspn(given, "="), given);
	instead = habit_option(word);
	if (instead)
		return cli_complain("drover %s has no option --%s; %s", c->name, word, instead);
	const char *near = nearest(word, next_option, c);
	if (near)
		return cli_complain("drover %s has no option --%s; did you mean --%s?", c->name, word,
				near);
	return cli_complain("drover %s has no option --%s; see drover %s --help", c->name, word, c->name);
}

static bool set_instances(struct args *a, const char *text)
{
	uint64_t n;
	if (strcmp(text, "auto") == 0)
		n = proc_usable_cores();
	else if (slice_to_u64(slice_of(text), CONFIG_WORKERS_MAX, &n) != ERR_OK || n == 0)
		return false;
	a->over.instances = (uint32_t)n;
	return true;
}

/* Returns -1 to go on, else the exit status. */
static int take_option(const struct command *c, struct args *a, int letter, char **argv)
{
	if (letter == 'c' && !optarg[0])
		return cli_complain("--config needs an argument: FILE");
	switch (letter) {
	case 'c': a->config_file = optarg; return -1;
	case 'L': a->over.listen = optarg; return -1;
	case 'I':
		if (set_instances(a, optarg))
			return -1;
		return cli_complain("--instances: \"%s\" is not a number from 1 to %d, nor auto",
				optarg, CONFIG_WORKERS_MAX);
	case 'N': a->over.name = optarg; return -1;
	case 'R': a->reference = true; return -1;
	case 'W': a->wait = true; return -1;
	case 'J': a->json = true; return -1;
	case 'f': a->follow = true; return -1;
	case 'n': a->lines = optarg; return -1;
	case 'h': return print_command_help(c);
	default: return bad_option(c, letter, argv);
	}
}

/* Words behind the options of a command that runs nothing. */
static int take_words(const struct command *c, struct args *a, int argc, char **argv)
{
	a->words = argv + optind;
	a->n_words = argc - optind;
	int least = MAX(c->words, 0), most = c->words == TAKES_ONE_AT_MOST ? 1 : c->words;
	if (a->n_words >= least && a->n_words <= most)
		return -1;
	if (a->n_words > most)
		return cli_complain("drover %s: what is \"%s\" for? Usage: drover %s %s", c->name,
				    a->words[most], c->name, c->synopsis);
	return cli_complain("drover %s needs more: drover %s %s", c->name, c->name, c->synopsis);
}

static bool looks_like_config(const char *word)
{
	const char *dot = strrchr(word, '.');
	return dot && (!strcmp(dot, ".yaml") || !strcmp(dot, ".yml") || !strcmp(dot, ".json"));
}

/* argv[0] is the command's name.  Returns -1 to go on, else the exit status. */
static int parse(const struct command *c, int argc, char **argv, struct args *ret_args)
{
	struct option longs[ARRAY_LEN(options) + 1] = { 0 };
	char shorts[16] = "+:";
	size_t n = 0;
	for (size_t i = 0; i < ARRAY_LEN(options); i++) {
		const struct option_row *o = &options[i];
		if (!strchr(c->letters, o->letter))
			continue;
		longs[n++] = (struct option){ o->name, o->argument != NULL, NULL, o->letter };
		if (o->letter >= 'a')
			snprintf(shorts + strlen(shorts), sizeof(shorts) - strlen(shorts), "%c%s",
				 o->letter, o->argument ? ":" : "");
	}
	opterr = 0;
	optind = 0; /* from the beginning, also when called again */
	int letter, status;
	while ((letter = getopt_long(argc, argv, shorts, longs, NULL)) >= 0)
		if ((status = take_option(c, ret_args, letter, argv)) >= 0)
			return status;
	if (c->words != TAKES_COMMAND)
		return take_words(c, ret_args, argc, argv);
	if (optind == argc)
		return strcmp(argv[argc - 1], "--") == 0 ? cli_complain("there is no command behind --")
							 : -1;
	if (strcmp(argv[optind - 1], "--") != 0 && looks_like_config(argv[optind]))
		return cli_complain("did you mean drover %s -c %s?", c->name, argv[optind]);
	ret_args->over.command = argv + optind;
	return -1;
}

/* ---- commands ---- */

/* The worker that comes with drover: beside the binary, in the build tree, or
 * where it is installed.  NULL when there is none. */
static const char *find_worker(void)
{
	static const char *const places[] = { "../worker/drover-worker",
					      "../libexec/drover/drover-worker", "drover-worker" };
	static char path[PATH_MAX];
	const char *env = getenv("DROVER_WORKER");
	if (env && env[0]) /* absolute, since workers run in a folder of their own */
		return strchr(env, '/') && realpath(env, path) ? path : env;
	char self[PATH_MAX], near[PATH_MAX + 64];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	if (n <= 0)
		return NULL;
	self[n] = '\0';
	char *slash = strrchr(self, '/');
	for (size_t i = 0; slash && i < ARRAY_LEN(places); i++) {
		snprintf(near, sizeof(near), "%.*s/%s", (int)(slash - self), self, places[i]);
		if (access(near, X_OK) == 0 && realpath(near, path))
			return path;
	}
	return NULL;
}

struct config *cli_load(struct args *a, int *ret_status)
{
	*ret_status = EXIT_CONFIG;
	a->over.worker_path = find_worker();
	if (!a->config_file && !a->over.command) {
		if (!a->over.worker_path) {
			cli_complain("nothing to run: give -c FILE or a command, as in drover run -- "
				 "node server.js (the bundled drover-worker was not found near "
				 "this program)");
			*ret_status = EXIT_USAGE;
			return NULL;
		}
	}
	struct config_errors errors;
	struct config *cfg = config_load(a->config_file, &a->over, &errors);
	if (errors.text)
		fputs(errors.text, stderr);
	config_errors_fini(&errors);
	return cfg;
}

/* Only root can start processes as somebody else. */
static bool may_run(const struct config *cfg)
{
	for (size_t i = 0; i < cfg->n_apps; i++) {
		const struct cfg_app *app = &cfg->apps[i];
		struct proc_user user;
		if (!app->user || geteuid() == 0 || proc_find_user(app->user, &user) != ERR_OK ||
		    user.uid == geteuid())
			continue;
		cli_complain("apps.%s.user: only root can run an app as another user (%s)", app->name,
			 app->user);
		return false;
	}
	return true;
}

static void give(struct cli_run *ret_run, enum cli_role role, struct args *a)
{
	a->over.worker_path = find_worker();
	ret_run->role = role;
	ret_run->config_file = a->config_file;
	ret_run->overrides = a->over;
}

static int run_run(const struct args *given, struct cli_run *ret_run)
{
	struct args a = *given;
	int status;
	if (ret_run->takes_over) {
		give(ret_run, CLI_RUN, &a);
		return EXIT_DRAINED;
	}
	struct config *cfg = cli_load(&a, &status);
	if (!cfg)
		return status;
	if (!may_run(cfg)) {
		config_free(cfg);
		return EXIT_CONFIG;
	}
	give(ret_run, CLI_RUN, &a);
	ret_run->config = cfg;
	return EXIT_DRAINED;
}

static int run_takeover(const struct args *given, struct cli_run *ret_run)
{
	struct args a = *given;
	give(ret_run, CLI_REHEARSE, &a);
	return EXIT_DRAINED;
}

static void print_app(const struct cfg_app *app)
{
	char text[ADDR_TEXT_MAX];
	if (!app->command) {
		printf("  app        %s: %zu %s not started by drover:", app->name, app->n_servers,
		       app->n_servers == 1 ? "server" : "servers");
		for (size_t i = 0; i < app->n_servers; i++)
			printf(" %s", addr_format(&app->servers[i], text));
		putchar('\n');
		return;
	}
	printf("  app        %s: %u %s of:", app->name, app->instances,
	       app->instances == 1 ? "instance" : "instances");
	for (char *const *word = app->command; *word; word++)
		printf(strpbrk(*word, " \t\n\"'") || !**word ? " '%s'" : " %s", *word);
	printf("\n             in %s%s%s\n", app->directory, app->user ? " as " : "",
	       app->user ? app->user : "");
}

static int run_check(const struct args *given, struct cli_run *ret_run)
{
	struct args a = *given;
	int status;
	(void)ret_run;
	struct config *cfg = cli_load(&a, &status);
	if (!cfg)
		return status;
	printf("%s is good. It would run:\n", cfg->file ? cfg->file : "The command line");
	printf("  name       %s\n", cfg->name);
	for (size_t i = 0; i < cfg->n_listens; i++)
		printf("  listen     %s\n", cfg->listens[i].text);
	printf("  balancers  %u\n", cfg->balancers);
	for (size_t i = 0; i < cfg->n_apps; i++)
		print_app(&cfg->apps[i]);
	for (size_t i = 0; i < cfg->n_routes; i++) {
		const struct cfg_route *r = &cfg->routes[i];
		printf("  route      %s%s -> %s\n",
		       r->host   ? r->host
		       : r->path ? ""
				 : "everything",
		       r->path ? r->path : "", cfg->apps[r->app].name);
	}
	config_free(cfg);
	return cli_answered(EXIT_DRAINED);
}

static int run_config(const struct args *given, struct cli_run *ret_run)
{
	struct args a = *given;
	int status;
	(void)ret_run;
	if (a.reference) {
		config_reference(stdout);
		return cli_answered(EXIT_DRAINED);
	}
	struct config *cfg = cli_load(&a, &status);
	if (!cfg)
		return status;
	config_dump(cfg, stdout);
	config_free(cfg);
	return cli_answered(EXIT_DRAINED);
}

/* ---- entry ---- */

static const char *next_command(const void *arg, size_t i)
{
	(void)arg;
	/* "" is near to nothing. */
	return i >= ARRAY_LEN(commands) ? NULL : commands[i].summary ? commands[i].name : "";
}

static const struct command *find_command(const char *name)
{
	if (strcmp(name, "-t") == 0)
		name = "check"; /* as nginx users type it */
	for (size_t i = 0; i < ARRAY_LEN(commands); i++)
		if (strcmp(commands[i].name, name) == 0)
			return &commands[i];
	return NULL;
}

/* Neither a command nor --help or --version. */
static int bad_command(const char *word)
{
	const char *instead = habit_command(word);
	if (instead)
		return cli_complain("there is no command %s; %s", word, instead);
	if (word[0] == '-')
		return cli_complain(
			"%s: options follow a command, as in drover run %s; see drover --help",
			word, word);
	const char *near = nearest(word, next_command, NULL);
	if (near)
		return cli_complain("there is no command %s; did you mean %s?", word, near);
	return cli_complain("there is no command %s; see drover --help, or to run a program: "
			"drover run -- %s",
			word, word);
}

static bool is_one_of(const char *word, const char *a, const char *b, const char *c)
{
	return !strcmp(word, a) || !strcmp(word, b) || !strcmp(word, c);
}

int cli_main(int argc, char **argv, struct cli_run *ret_run)
{
	*ret_run = (struct cli_run){ .takes_over = ret_run->takes_over };
	if (argc < 2) {
		print_help(stderr);
		return EXIT_USAGE;
	}
	const char *word = argv[1];
	if (is_one_of(word, "--help", "-h", "help")) {
		const struct command *of = argc > 2 ? find_command(argv[2]) : NULL;
		if (of)
			return print_command_help(of);
		if (argc > 2)
			return bad_command(argv[2]);
		print_help(stdout);
		return cli_answered(EXIT_DRAINED);
	}
	if (is_one_of(word, "--version", "version", "-V") || !strcmp(word, "-v")) {
		version_print(stdout);
		return cli_answered(EXIT_DRAINED);
	}
	const struct command *c = find_command(word);
	if (!c)
		return bad_command(word);
	struct args a = { 0 };
	int status = parse(c, argc - 1, argv + 1, &a);
	return status >= 0 ? status : c->run(&a, ret_run);
}
