/* `drover --version`: for bug reports.  Libraries are asked at run time, since a
 * distribution replaces them under a built program. */
#include "balancer/cli/version.h"

#include <event2/event.h>
#include <http_parser.h>
#include <jansson.h>
#include <yaml.h>

#include "balancer/sandbox/sandbox.h"

#if defined(__has_feature)
#define HAS_FEATURE(x) __has_feature(x)
#else
#define HAS_FEATURE(x) 0
#endif

static const char *const build_options[] = {
#if defined(__SANITIZE_ADDRESS__) || HAS_FEATURE(address_sanitizer)
	"address sanitizer",
#endif
#if defined(__SANITIZE_THREAD__) || HAS_FEATURE(thread_sanitizer)
	"thread sanitizer",
#endif
#if HAS_FEATURE(undefined_behavior_sanitizer)
	"undefined behaviour sanitizer",
#endif
#if defined(__OPTIMIZE__)
	"optimised",
#else
	"not optimised",
#endif
#if defined(__PIE__) || defined(__PIC__)
	"position independent",
#endif
#if defined(_FORTIFY_SOURCE) && _FORTIFY_SOURCE > 0
	"fortified",
#endif
#if defined(__SSP_STRONG__) || defined(__SSP_ALL__)
	"stack protector",
#endif
#if defined(__CET__)
	"control-flow protection",
#endif
	NULL
};

void version_print(FILE *out)
{
	unsigned long parser = http_parser_version();
	fprintf(out, "drover %s\n", DROVER_VERSION);
#if defined(__clang__)
	fprintf(out, "compiler:  %s\n", __VERSION__);
#else
	fprintf(out, "compiler:  gcc %s\n", __VERSION__);
#endif
	fprintf(out, "libraries: libevent %s, http-parser %lu.%lu.%lu, libyaml %s, jansson %s\n",
		event_get_version(), parser >> 16 & 255, parser >> 8 & 255, parser & 255,
		yaml_get_version_string(), jansson_version_str());
	fputs("build:     ", out);
	for (size_t i = 0; build_options[i]; i++)
		fprintf(out, "%s%s", i ? ", " : "", build_options[i]);
	fputs("\nsandbox:   ", out);
	sandbox_describe(out);
	fputc('\n', out);
}
