/* balancer/config: the small readers below the file: scalars, commands, names that are nearly
 * right, UTF-8. */
#include "lib/check.h"

#include <stdio.h>
#include <string.h>

#include "balancer/config/config.h"
#include "balancer/config/nearest.h"
#include "balancer/config/utf8.h"
#include "balancer/config/values.h"
#include "balancer/config/words.h"
#include "common/base.h"
#include "common/mem.h"

/* ---- scalars ---- */

/* Parses `text` as the value of a key of this type; gives what it prints as. */
static const char *round_trip(const struct key *key, const char *text, char buf[static 300])
{
	union {
		uint64_t wide;
		uint32_t narrow;
		int number;
		uint16_t ports[2];
		char *text;
	} field = { 0 };
	struct value_refusal refusal;
	FILE *out = fmemopen(buf, 300, "w");

	assert_non_null(out);
	if (value_parse(key, text, "/etc/drover", &field, &refusal))
		value_print(key, &field, out);
	else
		fprintf(out, "! %s%s%s", refusal.why, refusal.hint[0] ? "; " : "", refusal.hint);
	fclose(out);
	if (value_owns_text((enum value_type)key->type))
		mem_free(field.text);
	return buf;
}

static void test_scalars(void **state)
{
	static const char *const colours[] = { "red", "green", NULL };
	static const struct key ms = { .type = VALUE_MS, .min = 1, .max = 3600000 };
	static const struct key bytes = { .type = VALUE_BYTES, .max = 1ull << 40 };
	static const struct key any = { .type = VALUE_BYTES, .max = UINT64_MAX };
	static const struct key count = { .type = VALUE_COUNT, .min = 1, .max = 100 };
	static const struct key sig = { .type = VALUE_SIGNAL };
	static const struct key choice = { .type = VALUE_CHOICE, .choices = colours };
	static const struct key ports = { .type = VALUE_PORTS };
	static const struct key path = { .type = VALUE_PATH };
	static const struct key file = { .type = VALUE_FILE };
	static const struct key path_off = { .type = VALUE_PATH_OFF };
	static const struct key host = { .type = VALUE_HOST };
	static const struct key prefix = { .type = VALUE_PREFIX };
	static const struct key name = { .type = VALUE_NAME };
	static const struct key user = { .type = VALUE_USER };
	static const struct {
		const struct key *key;
		const char *text, *want;
	} rows[] = {
		{ &ms, "1ms", "1ms" },
		{ &ms, "1500ms", "1500ms" },
		{ &ms, "10s", "10s" },
		{ &ms, "1000ms", "1s" },
		{ &ms, "90s", "90s" },
		{ &ms, "5m", "5m" },
		{ &ms, "60m", "1h" },
		{ &ms, "0s", "! must be from 1ms to 1h" },
		{ &ms, "0", "! must be from 1ms to 1h" },
		{ &ms, "61m", "! must be from 1ms to 1h" },
		{ &ms, "99999999999999999999999s", "! must be from 1ms to 1h" },
		{ &ms, "18446744073709551615h", "! must be from 1ms to 1h" },
		{ &ms, "5124095576031h", "! must be from 1ms to 1h" }, /* modulo 2^64: 34 minutes */
		{ &ms, "10", "! has no unit; expected a duration like 500ms, 10s, 5m or 1h" },
		{ &ms, "10sec", "! is not a duration like 500ms, 10s, 5m or 1h; write 10s" },
		{ &ms, "3 min", "! is not a duration like 500ms, 10s, 5m or 1h" },
		{ &ms, "3min", "! is not a duration like 500ms, 10s, 5m or 1h; write 3m" },
		{ &ms, "-1s", "! is not a duration like 500ms, 10s, 5m or 1h" },
		{ &ms, "1.5s", "! is not a duration like 500ms, 10s, 5m or 1h" },
		{ &ms, "1m30s", "! is not a duration like 500ms, 10s, 5m or 1h" },
		{ &ms, "s", "! is not a duration like 500ms, 10s, 5m or 1h" },
		{ &ms, "", "! is not a duration like 500ms, 10s, 5m or 1h" },
		{ &bytes, "0", "0" },
		{ &bytes, "0B", "0" },
		{ &bytes, "512", "512B" },
		{ &bytes, "16KiB", "16KiB" },
		{ &bytes, "16384", "16KiB" },
		{ &bytes, "700MiB", "700MiB" },
		{ &bytes, "1GB", "1GB" },
		{ &bytes, "1GiB", "1GiB" },
		{ &bytes, "5kB", "5kB" },
		{ &bytes, "16k", "! is not a size like 16KiB, 700MiB or 1GB; write 16KiB" },
		{ &bytes, "16m", "! is not a size like 16KiB, 700MiB or 1GB; write 16MiB" },
		{ &bytes, "1gb", "! is not a size like 16KiB, 700MiB or 1GB; write 1GB" },
		{ &bytes, "-1", "! is not a size like 16KiB, 700MiB or 1GB" },
		{ &bytes, "2048GiB", "! must be from 0 to 1024GiB" },
		{ &any, "18446744073709551615", "18446744073709551615B" },
		{ &any, "18446744073709551616", "18446744073709551615B" }, /* no limit is that high */
		{ &count, "1", "1" },
		{ &count, "100", "100" },
		{ &count, "0", "! must be from 1 to 100" },
		{ &count, "101", "! must be from 1 to 100" },
		{ &count, "-1", "! must be from 1 to 100" },
		{ &count, "4294967297", "! must be from 1 to 100" },
		{ &count, "99999999999999999999", "! must be from 1 to 100" },
		{ &count, "1.0", "! is not a whole number" },
		{ &count, "0x10", "! is not a whole number" },
		{ &count, "1_0", "! is not a whole number" },
		{ &count, "-", "! is not a whole number" },
		{ &count, "", "! is not a whole number" },
		{ &sig, "SIGTERM", "SIGTERM" },
		{ &sig, "TERM", "SIGTERM" },
		{ &sig, "SIGQUIT", "SIGQUIT" },
		{ &sig, "KILL", "SIGKILL" },
		{ &sig, "sigterm", "! is not a signal like SIGTERM or TERM; did you mean SIGTERM?" },
		{ &sig, "SIGTREM", "! is not a signal like SIGTERM or TERM; did you mean SIGTERM?" },
		{ &sig, "15",
		  "! is not a signal like SIGTERM or TERM; known: SIGTERM, SIGINT, SIGQUIT, "
		  "SIGHUP, SIGUSR1, SIGUSR2, SIGWINCH, SIGABRT, SIGALRM, SIGKILL" },
		{ &choice, "green", "green" },
		{ &choice, "Green", "! is not one of: red, green; did you mean green?" },
		{ &choice, "blue", "! is not one of: red, green" },
		{ &ports, "20000-29999", "20000-29999" },
		{ &ports, "20000 - 29999", "20000-29999" },
		{ &ports, "1-65535", "1-65535" },
		{ &ports, "3000", "3000-3000" },
		{ &ports, "2-1", "! begins above its end" },
		{ &ports, "0-1", "! is not a range of ports like 20000-29999" },
		{ &ports, "1-65536", "! is not a range of ports like 20000-29999" },
		{ &ports, "1-2-3", "! is not a range of ports like 20000-29999" },
		{ &ports, "-", "! is not a range of ports like 20000-29999" },
		{ &path, "/a/b", "/a/b" },
		{ &path, "a/b", "/etc/drover/a/b" },
		{ &path, "./a", "/etc/drover/a" },
		{ &path, "../a", "/etc/drover/../a" },
		{ &path, ".", "/etc/drover" },
		{ &path, "./", "/etc/drover" },
		{ &path, ".//", "/etc/drover" },
		{ &path, ".hidden", "/etc/drover/.hidden" },
		{ &path, "", "! is not a path" },
		{ &path, "a\nb", "! is not a path" },
		{ &path, "~/x", "! begins with ~, which only a shell replaces; write the whole path" },
		{ &file, "-", "\"-\"" },
		{ &file, "off", "off" },
		{ &file, "x.log", "/etc/drover/x.log" },
		{ &file, "stdout",
		  "! is not a path, \"-\" or off; write \"-\"; a file of this name would be "
		  "./stdout" },
		{ &file, "no",
		  "! is not a path, \"-\" or off; write off; a file of this name would be ./no" },
		{ &path_off, "off", "off" },
		{ &path_off, "-", "! is not a path or off" },
		{ &path_off, "stdout", "! is not a path or off" },
		{ &path_off, "/run/x.pid", "/run/x.pid" },
		{ &host, "Example.COM", "example.com" },
		{ &host, "*.example.com", "\"*.example.com\"" },
		{ &host, "[::1]", "\"[::1]\"" },
		{ &host, "example.com:80",
		  "! is not a host: a route matches the host without its port" },
		{ &host, "[::1]:80", "! is not a host: a route matches the host without its port" },
		{ &host, "a.*.com",
		  "! has a * that is not the first label; only *.example.com is known; leave host "
		  "out to match every host" },
		{ &host, "*",
		  "! has a * that is not the first label; only *.example.com is known; leave host "
		  "out to match every host" },
		{ &host, "http/x", "! is not a host: the path goes under its own key, path" },
		{ &host, "a b", "! is not a host like example.com or *.example.com" },
		{ &host, "*.", "! is not a host like example.com or *.example.com" },
		{ &host, "", "! is not a host like example.com or *.example.com" },
		{ &prefix, "/v1", "/v1" },
		{ &prefix, "v1", "! is not a path: it must begin with /" },
		{ &prefix, "/v1?x", "! has a query; routes match the path alone" },
		{ &prefix, "/v1/*",
		  "! has a *, which has no meaning: /v1 matches /v1 and all below it" },
		{ &prefix, "/a b", "! must be written as it is sent: blanks and non-ASCII as %XX" },
		{ &name, "a-B_9", "a-B_9" },
		{ &name, "a.b", "! is not a name; names are 1 to 63 of A-Z a-z 0-9 _ -" },
		{ &name, "", "! is not a name; names are 1 to 63 of A-Z a-z 0-9 _ -" },
		{ &user, "root", "root" },
		{ &user, "no-such-user-here", "! is not a user on this machine" },
	};
	char buf[300];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		check_row_text(rows[i].text, round_trip(rows[i].key, rows[i].text, buf),
			       rows[i].want);
}

/* ---- commands ---- */

static void test_words(void **state)
{
	static const struct {
		const char *text, *want; /* words between bars, or "! why" */
	} rows[] = {
		{ "node server.js", "|node|server.js|" },
		{ "  a\t b \n", "|a|b|" },
		{ "a 'b c' \"d e\" f\\ g", "|a|b c|d e|f g|" },
		{ "a'b'\"c\"d", "|abcd|" },
		{ "a '' \"\"", "|a|||" },
		{ "a '\\n\"$x'", "|a|\\n\"$x|" },
		{ "a \"\\\"\\\\\\$\\`\\n\"", "|a|\"\\$`\\n|" },
		{ "run ${PORT} $HOME", "|run|${PORT}|$HOME|" },
		{ "run '|' \"&&\" \\;", "|run|||&&|;|" },
		{ "run --x=y a=b", "|run|--x=y|a=b|" },
		{ "", "! the command is empty" },
		{ " \t", "! the command is empty" },
		{ "a 'b", "! a quote is not closed" },
		{ "a \"b", "! a quote is not closed" },
		{ "a \"b\\", "! a quote is not closed" },
		{ "a b\\", "! a quote is not closed" },
		{ "a | b", "! no shell runs the command, so | has no meaning; put it in quotes, or "
			   "run a shell: [sh, -c, \"...\"]" },
		{ "a && b",
		  "! no shell runs the command, so & has no meaning; put it in quotes, or run a "
		  "shell: [sh, -c, \"...\"]" },
		{ "a 2>b", "! no shell runs the command, so > has no meaning; put it in quotes, or "
			   "run a shell: [sh, -c, \"...\"]" },
		{ "a $(b)",
		  "! no shell runs the command, so $ has no meaning; put it in quotes, or run a "
		  "shell: [sh, -c, \"...\"]" },
		{ "A=b c", "! no shell runs the command: variables in front of it go under env" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		char why[WORDS_WHY_MAX], got[300] = "|";
		char **words = words_split(rows[i].text, why);

		if (!words)
			snprintf(got, sizeof(got), "! %s", why);
		for (size_t j = 0; words && words[j]; j++)
			snprintf(got + strlen(got), sizeof(got) - strlen(got), "%s|", words[j]);
		check_row_text(rows[i].text, got, rows[i].want);
		words_free(words);
	}
}

static void test_nearest(void **state)
{
	static const struct {
		const char *word, *want;
	} rows[] = {
		{ "lisen", "listen" },
		{ "Listen", "listen" },
		{ "time-outs", "timeouts" },
		{ "tiemouts", "timeouts" },
		{ "balancer", "balancers" },
		{ "bal", "balancers" },
		{ "tls", "none" },
		{ "admin", "admin" },
		{ "x", "none" },
		{ "", "none" },
		{ "port", "listen" },
		{ "services", "apps" },
		{ "a-word-that-is-much-too-long-to-be-anything", "none" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		const char *near = key_nearest(&config_keys, rows[i].word);
		check_row_text(rows[i].word, near ? near : "none", rows[i].want);
	}
}

static void test_utf8(void **state)
{
	static const struct {
		const char *text;
		size_t len;
		uint32_t code;
		unsigned width;
	} rows[] = {
		{ "a", 1, 'a', 1 },
		{ "\xc3\xa4", 2, 0xe4, 1 },
		{ "\xe4\xb8\xad", 3, 0x4e2d, 2 },
		{ "\xf0\x9f\x98\x80", 4, 0x1f600, 2 },
		{ "\xcc\x88", 2, 0x308, 0 },
		{ "\xf4\x8f\xbf\xbf", 4, 0x10ffff, 1 },
		{ "\x80", 0, 0, 0 },             /* no beginning */
		{ "\xc3", 0, 0, 0 },             /* cut */
		{ "\xc3(", 0, 0, 0 },            /* no continuation */
		{ "\xc0\xaf", 0, 0, 0 },         /* overlong */
		{ "\xe0\x80\xaf", 0, 0, 0 },     /* overlong */
		{ "\xed\xa0\x80", 0, 0, 0 },     /* surrogate */
		{ "\xf4\x90\x80\x80", 0, 0, 0 }, /* past the end */
		{ "\xff", 0, 0, 0 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		uint32_t code = 0;
		size_t len = utf8_decode(rows[i].text, strlen(rows[i].text), &code);

		check_row_int(rows[i].text, len, rows[i].len);
		check_row_int(rows[i].text, code, rows[i].code);
		if (len)
			check_row_int(rows[i].text, utf8_width(code), rows[i].width);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_scalars),
		cmocka_unit_test(test_words),
		cmocka_unit_test(test_nearest),
		cmocka_unit_test(test_utf8),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
