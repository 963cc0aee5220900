/* drover-worker: a small web server that shows what drover expects of an
 * application, and answers when there is no application yet.
 *
 * This file turns arguments and environment into `struct settings`; server.c
 * does the rest.  What the environment means is common/contract.h.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/addr.h"
#include "common/contract.h"
#include "common/log.h"
#include "common/proc.h"
#include "common/slice.h"
#include "worker/files.h"
#include "worker/server.h"

#define DEFAULT_PORT "8000"
#define DEFAULT_HOST "127.0.0.1"
#define DEFAULT_KEEP_ALIVE_S 65
#define KEEP_ALIVE_MAX_S 86400

static const char usage[] =
	"Usage: drover-worker [OPTION...] [DIRECTORY]\n"
	"\n"
	"Answers HTTP: with the files of DIRECTORY, or with a page that shows which\n"
	"instance answered.  Ends gracefully on SIGTERM.\n"
	"\n"
	"  --port PORT           TCP port, or path of a Unix socket when it starts with /;\n"
	"                        0 lets the kernel choose (default: $PORT, else " DEFAULT_PORT ")\n"
	"  --host ADDRESS        address to listen on (default: $HOST, else " DEFAULT_HOST ")\n"
	"  --keep-alive SECONDS  how long an idle connection is kept; 0: not at all (default: 65)\n"
	"  --test                add routes that misbehave on request; never in public\n"
	"  --help                this text\n"
	"  --version             the version\n"
	"\n"
	"Environment: PORT, HOST, INSTANCE, DROVER_APP, DROVER_RELEASE.\n";

struct arguments {
	const char *port, *host, *keep_alive, *directory;
	bool test;
};

NORETURN static void wrong_usage(const char *what, const char *value)
{
	fprintf(stderr, "drover-worker: %s: \"%s\"\nTry drover-worker --help\n", what, value);
	exit(EXIT_USAGE);
}

static uint64_t number(const char *what, const char *text, uint64_t max)
{
	uint64_t value = 0;

	if (slice_to_u64(slice_of(text), max, &value) != ERR_OK)
		wrong_usage(what, text);
	return value;
}

static struct addr address(const char *host, const char *port)
{
	struct addr a;
	char text[ADDR_TEXT_MAX];
	const char *brackets = strchr(host, ':') && host[0] != '[' ? "[]" : "\0";

	if (port[0] == '/') {
		if (addr_unix(port, &a) != ERR_OK)
			wrong_usage("the path of the socket is too long", port);
		return a;
	}
	number("not a port", port, 65535);
	if (strcmp(host, "localhost") == 0)
		host = DEFAULT_HOST;
	int n = snprintf(text, sizeof(text), "%.1s%s%s:%s", brackets, host,
			 brackets[0] ? brackets + 1 : "", port);

	if (n < 0 || (size_t)n >= sizeof(text) || addr_parse(slice_of(text), true, &a) != ERR_OK)
		wrong_usage("not an IP address", host);
	return a;
}

static int open_root(const char *directory)
{
	int fd = files_open_root(directory);

	if (fd < 0) {
		fprintf(stderr, "drover-worker: cannot serve files from %s: %s\n", directory,
			strerror(errno));
		exit(EXIT_FAILED);
	}
	return fd;
}

static struct arguments parse(int argc, char **argv)
{
	static const struct option options[] = {
		{ "port", required_argument, NULL, 'p' },
		{ "host", required_argument, NULL, 'H' },
		{ "keep-alive", required_argument, NULL, 'k' },
		{ "test", no_argument, NULL, 't' },
		{ "help", no_argument, NULL, 'h' },
		{ "version", no_argument, NULL, 'v' },
		{ NULL, 0, NULL, 0 },
	};
	struct arguments args = { .port = getenv(CONTRACT_PORT), .host = getenv(CONTRACT_HOST) };
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (option) {
		case 'p': args.port = optarg; break;
		case 'H': args.host = optarg; break;
		case 'k': args.keep_alive = optarg; break;
		case 't': args.test = true; break;
		case 'h':
			fputs(usage, stdout);
			exit(EXIT_SUCCESS);
		case 'v':
			puts("drover-worker " DROVER_VERSION);
			exit(EXIT_SUCCESS);
		default: /* getopt_long() has said what is wrong */
			fputs("Try drover-worker --help\n", stderr);
			exit(EXIT_USAGE);
		}
	}
	if (optind < argc)
		args.directory = argv[optind++];
	if (optind < argc)
		wrong_usage("one directory is enough", argv[optind]);
	return args;
}

static struct settings settle(const struct arguments *args)
{
	const char *instance = getenv(CONTRACT_INSTANCE);
	const char *port = args->port && args->port[0] ? args->port : DEFAULT_PORT;
	const char *host = args->host && args->host[0] ? args->host : DEFAULT_HOST;
	struct settings s = {
		.app = getenv(CONTRACT_APP),
		.release = getenv(CONTRACT_RELEASE),
		.root = -1,
		.test = args->test,
		.keep_alive_s = DEFAULT_KEEP_ALIVE_S,
	};

	s.address = address(host, port);
	if (instance && instance[0])
		s.instance = (uint32_t)number("INSTANCE is no number", instance, UINT32_MAX);
	if (args->keep_alive)
		s.keep_alive_s = (uint32_t)number("--keep-alive takes seconds, up to a day",
						  args->keep_alive, KEEP_ALIVE_MAX_S);
	if (args->directory)
		s.root = open_root(args->directory);
	return s;
}

int main(int argc, char **argv)
{
	struct arguments args = parse(argc, argv);
	struct settings settings = settle(&args);
	char ident[32];

	snprintf(ident, sizeof(ident), "worker %u", settings.instance);
	log_ident(ident);
	log_to_fd(STDERR_FILENO);
	signal(SIGPIPE, SIG_IGN);
	proc_raise_nofile();
	int status = server_run(&settings);

	if (settings.root >= 0)
		close(settings.root);
	return status;
}
