/* Raw bytes in, verdict out: every file tests/wire/NAME.case is one test.
 *
 *   # why this message matters, with its source
 *   request                     or: reply METHOD; then limits: head=100 uri=20 fields=3 body=10
 *   > GET / HTTP/1.1\r\n        bytes; escapes \r \n \t \\ \xHH; the lines are joined as they are
 *   >*300 a                     the same bytes 300 times
 *   = REFUSED HOST_MISSING      or: = PARTIAL
 *   = ACCEPTED path=/ framing=length keep=yes drop=te,x-a body=abc rest=GET
 *
 * ACCEPTED lists what is to be compared; a value runs up to the next space, with
 * the escapes of the bytes.  The body behind the head is read too: its payload is
 * `body`, `trailers` is what of its trailer section is passed on, `end` says
 * whether it ended, `rest` is what follows it.  A body that is
 * refused refuses the message.
 *
 * Each message is also fed byte by byte and cut in two at every offset, from
 * buffers of exactly that size, and has to be judged the same. */
#include "lib/check.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/http_body.h"
#include "common/http_parse.h"
#include "common/http_trailers.h"

#define CASES_MAX 512
#define WIRE_MAX (128 * 1024)
#define VALUES_MAX 24
#define CUT_MAX 2048 /* longer messages are not cut at every offset */

struct wire_case {
	char *text;          /* the file */
	char wire[WIRE_MAX]; /* the message */
	size_t n;
	bool is_request;
	uint8_t request_method;
	struct http_limits limits;
	char *want; /* in `text`, behind "= " */
};

/* What became of a message; everything that two ways of feeding it could differ in. */
struct outcome {
	enum http_verdict verdict;
	enum http_rule rule;
	struct {
		const char *key;
		size_t at, n; /* in `text` */
	} values[VALUES_MAX];
	size_t n_values;
	char text[WIRE_MAX * 2];
	size_t n;
};

static bool rules_hit[HTTP_RULE_MAX];
static struct http_head head;

static void bad_case(const char *name, const char *why)
{
	fail_msg("%s: %s", name, why);
}

static int hex(char c)
{
	const char *digits = "0123456789abcdef", *at = c ? strchr(digits, ascii_lower(c)) : NULL;

	return at ? (int)(at - digits) : -1;
}

/* Undoes the escapes of `text` into `out`; returns the bytes, or -1. */
static long unescape(const char *text, char *out, size_t size)
{
	size_t n = 0;

	for (; *text; text++) {
		char c = *text;
		if (c == '\\') {
			switch (*++text) {
			case 'r': c = '\r'; break;
			case 'n': c = '\n'; break;
			case 't': c = '\t'; break;
			case '\\': break;
			case 'x':
				if (hex(text[1]) < 0 || hex(text[2]) < 0)
					return -1;
				c = (char)(hex(text[1]) << 4 | hex(text[2]));
				text += 2;
				break;
			default: return -1;
			}
		}
		if (n == size)
			return -1;
		out[n++] = c;
	}
	return (long)n;
}

static void read_kind(struct wire_case *wc, const char *name, char *line)
{
	char *word = strtok(line, " ");

	wc->is_request = strcmp(word, "request") == 0;
	if (!wc->is_request) {
		char *method = strcmp(word, "reply") == 0 ? strtok(NULL, " ") : NULL;
		if (!method)
			bad_case(name, "neither \"request\" nor \"reply METHOD\"");
		wc->request_method = (uint8_t)http_method_find(slice_of(method));
	}
	wc->limits = (struct http_limits){ 16384, 8192, 100, 0 };
	while ((word = strtok(NULL, " ")) != NULL) {
		unsigned v;
		if (sscanf(word, "head=%u", &v) == 1)
			wc->limits.head_bytes = v;
		else if (sscanf(word, "uri=%u", &v) == 1)
			wc->limits.uri_bytes = v;
		else if (sscanf(word, "fields=%u", &v) == 1)
			wc->limits.fields = v;
		else if (sscanf(word, "body=%u", &v) == 1)
			wc->limits.body_bytes = v;
		else
			bad_case(name, "unknown limit");
	}
}

static void read_bytes(struct wire_case *wc, const char *name, const char *line)
{
	unsigned times = 1;

	if (line[0] == '*')
		times = (unsigned)strtoul(line + 1, (char **)&line, 10);
	if (line[0] != ' ')
		bad_case(name, "no space behind >");
	for (; times; times--) {
		long n = unescape(line + 1, wc->wire + wc->n, sizeof(wc->wire) - wc->n);
		if (n < 0)
			bad_case(name, "wrong escape, or too long");
		wc->n += (size_t)n;
	}
}

static char *read_file(const char *path)
{
	FILE *f = fopen(path, "rb");
	char *text = calloc(1, WIRE_MAX);

	if (!f || !text)
		fail_msg("%s: cannot be read", path);
	size_t n = fread(text, 1, WIRE_MAX - 1, f);
	fclose(f);
	if (strlen(text) != n)
		fail_msg("%s: holds a NUL", path);
	return text;
}

static struct wire_case *load(const char *name)
{
	struct wire_case *wc = calloc(1, sizeof(*wc));
	const char *root = getenv("DROVER_SOURCE_ROOT");
	char path[4096];
	bool kind = false;

	assert_non_null(wc);
	snprintf(path, sizeof(path), "%s/tests/wire/%s", root ? root : ".", name);
	wc->text = read_file(path);
	for (char *line = wc->text, *next; line && *line; line = next) {
		next = strchr(line, '\n');
		if (next)
			*next++ = '\0';
		if (line[0] == '#' || line[0] == '\0')
			continue;
		if (!kind) {
			read_kind(wc, name, line);
			kind = true;
		} else if (line[0] == '>') {
			read_bytes(wc, name, line + 1);
		} else if (line[0] == '=' && line[1] == ' ' && !wc->want) {
			wc->want = line + 2;
		} else {
			bad_case(name, "line of no known kind");
		}
	}
	if (!wc->want || !wc->n)
		bad_case(name, "no bytes or no verdict");
	return wc;
}

static void unload(struct wire_case *wc)
{
	free(wc->text);
	free(wc);
}

/* --- judging ------------------------------------------------------------------ */

static void put(struct outcome *o, const char *key, struct slice value)
{
	assert_true(o->n + value.n <= sizeof(o->text) && o->n_values < VALUES_MAX);
	if (value.n)
		memcpy(o->text + o->n, value.p, value.n);
	o->values[o->n_values].key = key;
	o->values[o->n_values].at = o->n;
	o->values[o->n_values++].n = value.n;
	o->n += value.n;
}

static void put_number(struct outcome *o, const char *key, uint64_t v)
{
	char text[24];

	snprintf(text, sizeof(text), "%llu", (unsigned long long)v);
	put(o, key, slice_of(text));
}

static void put_bool(struct outcome *o, const char *key, bool v)
{
	put(o, key, v ? SLICE("yes") : SLICE("no"));
}

static void put_head(struct outcome *o, const struct http_head *h)
{
	char dropped[WIRE_MAX];
	size_t n = 0;

	put(o, "method", h->method);
	put(o, "path", h->path);
	put(o, "host", h->host);
	put_number(o, "status", h->status);
	put(o, "reason", h->reason);
	put_number(o, "minor", h->minor);
	put(o, "framing", slice_of(http_framing_text(h->framing)));
	put_bool(o, "has_length", h->has_length);
	put_number(o, "length", h->length);
	put_bool(o, "keep", h->keep_alive);
	put_bool(o, "upgrade", h->upgrade);
	put_bool(o, "continue", h->expect_continue);
	put_number(o, "fields", h->n_fields);
	for (uint32_t i = 0; i < h->n_fields; i++) {
		if (!h->fields[i].drop)
			continue;
		if (n)
			dropped[n++] = ',';
		for (size_t k = 0; k < h->fields[i].name.n; k++)
			dropped[n++] = ascii_lower(h->fields[i].name.p[k]);
	}
	put(o, "drop", (struct slice){ dropped, n });
}

/* One connection's worth of reading: head, then body, from pieces. */
struct reader {
	const struct wire_case *wc;
	bool whole;
	struct http_body body;
	char *payload, *trailers;
	size_t payload_n, trailers_n, used; /* used: bytes of the message behind us */
};

static void read_body(struct reader *r, struct outcome *o, const char *p, size_t n)
{
	enum http_body_step step = HTTP_BODY_DATA;

	while (step == HTTP_BODY_DATA || step == HTTP_BODY_TRAILERS) {
		size_t used = 0;
		struct slice data = { NULL, 0 };
		step = http_body_read(&r->body, p, n, &used, &data, &o->rule);
		assert_true(used <= n);
		if (step == HTTP_BODY_DATA) {
			assert_true(data.n > 0 && data.p >= p && data.p + data.n == p + used);
			memcpy(r->payload + r->payload_n, data.p, data.n);
			r->payload_n += data.n;
		} else if (step == HTTP_BODY_TRAILERS) {
			assert_true(data.n > 0 && data.p >= p && data.p + data.n <= p + used);
			memcpy(r->trailers + r->trailers_n, data.p, data.n);
			r->trailers_n += data.n;
		}
		p += used;
		n -= used;
		r->used += used;
	}
	if (step == HTTP_BODY_BAD)
		o->verdict = HTTP_REFUSED;
	else
		assert_true(step == HTTP_BODY_END || n == 0);
	if (step == HTTP_BODY_END)
		assert_true(r->body.ended);
}

/* The message up to `n` has arrived, `before` of it already at the last call. */
static void feed(struct reader *r, struct outcome *o, size_t before, size_t n)
{
	const struct wire_case *wc = r->wc;
	char *exact; /* so that a sanitizer sees a read behind the end */

	if (o->verdict == HTTP_REFUSED)
		return;
	if (r->whole) {
		exact = malloc(n - r->used + 1);
		memcpy(exact, wc->wire + r->used, n - r->used);
		read_body(r, o, exact, n - r->used);
		free(exact);
		return;
	}
	exact = malloc(n + !n);
	memcpy(exact, wc->wire, n);
	o->verdict = wc->is_request
			     ? http_parse_request(&head, exact, n, before, &wc->limits, &o->rule)
			     : http_parse_reply(&head, exact, n, before, &wc->limits,
						wc->request_method, &o->rule);
	if (o->verdict == HTTP_WHOLE) {
		r->whole = true;
		r->used = head.head_bytes;
		put_head(o, &head);
		http_body_init(&r->body, (enum http_framing)head.framing, head.length,
			       wc->limits.body_bytes);
		r->body.give_trailers = true;
		read_body(r, o, exact + r->used, n - r->used);
	}
	free(exact);
}

/* Feeds the message in pieces: up to `cut`, then `step` bytes at a time (0: all). */
static void judge(const struct wire_case *wc, size_t cut, size_t step, struct outcome *o)
{
	static char payload[WIRE_MAX], trailers[WIRE_MAX]; /* big ones, thousands of times: not from malloc() */
	struct reader r = { .wc = wc, .payload = payload, .trailers = trailers };
	size_t n = cut, before = 0;

	o->verdict = HTTP_PARTIAL;
	o->rule = HTTP_RULE_NONE;
	o->n = o->n_values = 0;
	for (;;) {
		feed(&r, o, before, n);
		if (n == wc->n)
			break;
		before = n;
		n = step && wc->n - n > step ? n + step : wc->n;
	}
	if (o->verdict == HTTP_WHOLE) {
		put(o, "body", (struct slice){ r.payload, r.payload_n });
		if (r.body.ended)
			r.trailers_n = http_trailers_filter(r.trailers, r.trailers_n);
		put(o, "trailers", (struct slice){ r.trailers, r.trailers_n });
		put_bool(o, "end", r.body.ended);
		put(o, "rest", (struct slice){ wc->wire + r.used, wc->n - r.used });
	}
}

static bool same(const struct outcome *a, const struct outcome *b)
{
	if (a->verdict != b->verdict || a->rule != b->rule)
		return false;
	if (a->verdict != HTTP_WHOLE)
		return true;
	for (size_t i = 0; i < a->n_values; i++) {
		if (a->values[i].n != b->values[i].n)
			return false;
	}
	return a->n_values == b->n_values && a->n == b->n && memcmp(a->text, b->text, a->n) == 0;
}

static void assert_same(const char *name, size_t cut, const struct outcome *a,
			const struct outcome *b)
{
	if (!same(a, b))
		fail_msg("%s: judged %d %s, but when cut at %zu %d %s", name, a->verdict,
			 http_rule_table[a->rule].name, cut, b->verdict,
			 http_rule_table[b->rule].name);
}

/* --- comparing ----------------------------------------------------------------- */

/* `pair` is "key=value", both changed on the way. */
static void assert_value(const char *name, const struct outcome *o, char *pair)
{
	char *eq = strchr(pair, '='), want[4096];

	if (!eq)
		bad_case(name, "ACCEPTED takes key=value");
	*eq = '\0';
	long n = unescape(eq + 1, want, sizeof(want));
	if (n < 0)
		bad_case(name, "wrong escape in the verdict");
	for (size_t i = 0; i < o->n_values; i++) {
		if (strcmp(o->values[i].key, pair) != 0)
			continue;
		const char *got = o->text + o->values[i].at;
		if (o->values[i].n != (size_t)n || memcmp(got, want, (size_t)n) != 0)
			fail_msg("%s: %s is \"%.*s\", not \"%s\"", name, pair, (int)o->values[i].n,
				 got, eq + 1);
		return;
	}
	bad_case(name, "no such key");
}

static void assert_wanted(const struct wire_case *wc, const char *name, const struct outcome *o)
{
	char *word = strtok(wc->want, " ");

	if (strcmp(word, "PARTIAL") == 0) {
		if (o->verdict != HTTP_PARTIAL)
			fail_msg("%s: judged %d %s, not PARTIAL", name, o->verdict,
				 http_rule_table[o->rule].name);
	} else if (strcmp(word, "REFUSED") == 0) {
		char *rule = strtok(NULL, " ");
		if (o->verdict != HTTP_REFUSED)
			fail_msg("%s: judged %d, not REFUSED", name, o->verdict);
		assert_string_equal(http_rule_table[o->rule].name, rule ? rule : "");
		rules_hit[o->rule] = true;
	} else if (strcmp(word, "ACCEPTED") == 0) {
		if (o->verdict != HTTP_WHOLE)
			fail_msg("%s: judged %d %s, not ACCEPTED", name, o->verdict,
				 http_rule_table[o->rule].name);
		while ((word = strtok(NULL, " ")) != NULL)
			assert_value(name, o, word);
	} else {
		bad_case(name, "unknown verdict");
	}
}

static void test_case(void **state)
{
	static struct outcome whole, pieces;
	const char *name = *state;
	struct wire_case *wc = load(name);

	judge(wc, wc->n, 0, &whole);
	judge(wc, wc->n < CUT_MAX ? 0 : CUT_MAX, wc->n < CUT_MAX ? 1 : 997, &pieces);
	assert_same(name, 0, &whole, &pieces);
	for (size_t cut = 1; cut < wc->n && wc->n < CUT_MAX; cut++) {
		judge(wc, cut, 0, &pieces);
		assert_same(name, cut, &whole, &pieces);
	}
	assert_wanted(wc, name, &whole);
	unload(wc);
}

/* Runs last.  The rules behind TRAILER are not of single messages: tests/flow has them. */
static void test_every_rule_hit(void **state)
{
	(void)state;
	for (unsigned rule = HTTP_RULE_NONE + 1; rule <= HTTP_RULE_TRAILER; rule++)
		check_row(http_rule_table[rule].name, rules_hit[rule]);
}

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct CMUnitTest *)a)->name, ((const struct CMUnitTest *)b)->name);
}

int main(void)
{
	static struct CMUnitTest tests[CASES_MAX + 1];
	static char names[CASES_MAX][256];
	const char *root = getenv("DROVER_SOURCE_ROOT");
	char path[4096];
	size_t n = 0;

	snprintf(path, sizeof(path), "%s/tests/wire", root ? root : ".");
	DIR *dir = opendir(path);
	for (struct dirent *e; dir && n < CASES_MAX && (e = readdir(dir)) != NULL;) {
		size_t len = strlen(e->d_name);
		if (len < 5 || len >= sizeof(names[0]) || strcmp(e->d_name + len - 5, ".case") != 0)
			continue;
		strcpy(names[n], e->d_name);
		tests[n] = (struct CMUnitTest){ names[n], test_case, NULL, NULL, names[n] };
		n++;
	}
	if (dir)
		closedir(dir);
	if (n == 0) {
		fprintf(stderr, "no cases in %s\n", path);
		return 1;
	}
	qsort(tests, n, sizeof(tests[0]), by_name);
	tests[n++] =
		(struct CMUnitTest){ "every rule is hit", test_every_rule_hit, NULL, NULL, NULL };
	return _cmocka_run_group_tests("wire", tests, n, NULL, NULL);
}
