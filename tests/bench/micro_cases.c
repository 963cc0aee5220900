/* What is timed: the guard, the parser face, the head writer, chunked bodies and the
 * access log, each over the heads of samples.h.  The balancer's structs are filled by
 * hand with what these functions read; nothing here opens a socket. */
#include "bench/micro.h"

#include <assert.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>

#include "bench/samples.h"

#include "balancer/proxy/access_log.h"
#include "balancer/proxy/client.h"
#include "balancer/proxy/request.h"
#include "balancer/proxy/rewrite.h"
#include "common/addr.h"
#include "common/clock.h"
#include "common/http_body.h"
#include "common/http_parse.h"

static const struct http_limits limits = { 16384, 8192, 100, 0 };
static struct http_head head;
static struct proxy proxy;
static struct client client;

/* ---- in ---- */

static bool guard_request(const void *arg)
{
	const struct sample *s = arg;

	size_t end;

	return http_guard_split(&head, s->text.p, s->text.n, true, HTTP_FIELDS_MAX, &end) ==
	       HTTP_RULE_NONE;
}

static bool guard_reply(const void *arg)
{
	const struct sample *s = arg;

	size_t end;

	return http_guard_split(&head, s->text.p, s->text.n, false, HTTP_FIELDS_MAX, &end) ==
	       HTTP_RULE_NONE;
}

static bool parse_request(const void *arg)
{
	const struct sample *s = arg;
	enum http_rule rule;

	return http_parse_request(&head, s->text.p, s->text.n, 0, &limits, &rule) == HTTP_WHOLE;
}

static bool parse_reply(const void *arg)
{
	const struct sample *s = arg;
	enum http_rule rule;

	return http_parse_reply(&head, s->text.p, s->text.n, 0, &limits, HTTP_M_GET, &rule) ==
	       HTTP_WHOLE;
}

/* In two reads: first half of it, then all. */
static bool parse_request_halves(const void *arg)
{
	const struct sample *s = arg;
	enum http_rule rule;
	size_t half = s->text.n / 2;

	return http_parse_request(&head, s->text.p, half, 0, &limits, &rule) == HTTP_PARTIAL &&
	       http_parse_request(&head, s->text.p, s->text.n, half, &limits, &rule) == HTTP_WHOLE;
}

static bool parse_reply_halves(const void *arg)
{
	const struct sample *s = arg;
	enum http_rule rule;
	size_t half = s->text.n / 2;

	return http_parse_reply(&head, s->text.p, half, 0, &limits, HTTP_M_GET, &rule) ==
		       HTTP_PARTIAL &&
	       http_parse_reply(&head, s->text.p, s->text.n, half, &limits, HTTP_M_GET, &rule) ==
		       HTTP_WHOLE;
}

/* ---- out ---- */

static bool write_request(const void *arg)
{
	struct kept_fields kept;
	struct block *b;

	if (rewrite_request(&client, arg, &b, &kept))
		return false;
	block_give_back(&proxy.blocks, b);
	return true;
}

static bool write_reply(const void *arg)
{
	static const struct request request = { .client = &client,
						.proxy = &proxy,
						.minor = 1,
						.keep_alive = true,
						.to_client = { .out_framing = HTTP_BODY_LENGTH } };
	static char text[8192];
	struct http_out out = { text, text + sizeof(text), false };

	rewrite_reply(&request, arg, &out);
	return !out.full;
}

/* ---- bodies ---- */

static bool read_body(const void *arg)
{
	const struct sample *s = arg;
	struct http_body body;
	struct slice rest = s->text, data;
	enum http_body_step step;
	enum http_rule rule;
	size_t used;

	http_body_init(&body, HTTP_BODY_CHUNKED, 0, 0);
	do {
		step = http_body_read(&body, rest.p, rest.n, &used, &data, &rule);
		rest.p += used;
		rest.n -= used;
	} while (step == HTTP_BODY_DATA);
	return step == HTTP_BODY_END && body.data_bytes == 16384;
}

/* 16 KiB in chunks of `bytes`; the sample is never freed. */
static struct slice make_chunks(size_t bytes)
{
	static const size_t total = 16384;
	size_t room = total + (total / bytes + 1) * (HTTP_CHUNK_LINE_MAX + 2);
	char *text = malloc(room), *p = text;

	assert(text);
	for (size_t i = 0; i < total; i += bytes)
		p += sprintf(p, "%zx\r\n%0*d\r\n", bytes, (int)bytes, 0);
	p += sprintf(p, "0\r\n\r\n");
	return (struct slice){ text, (size_t)(p - text) };
}

/* ---- the log ---- */

/* To /dev/null: the line is made and gathered, and written nowhere. */
static bool log_line(const void *arg)
{
	access_log_request(&proxy.access_log, arg);
	return true;
}

static bool log_line_json(const void *arg)
{
	static struct access_log json;

	if (!json.buffer)
		access_log_start(&json, open("/dev/null", O_WRONLY | O_CLOEXEC), NULL,
				 LOG_FORMAT_JSON);
	access_log_request(&json, arg);
	return true;
}

/* ---- the table ---- */

static void start_proxy(void)
{
	static struct tally *tally;
	int fd;

	if (tally_create(&fd, &tally))
		abort();
	clock_update();
	proxy.row = &tally->rows[0];
	proxy.limits = limits;
	block_pool_init(&proxy.blocks);
	memset(proxy.id_prefix, 'a', sizeof(proxy.id_prefix));
	client.proxy = &proxy;
	client.peer = (struct addr_host){ AF_INET, { 127, 0, 0, 1 } };
	access_log_start(&proxy.access_log, open("/dev/null", O_WRONLY | O_CLOEXEC), NULL,
			 LOG_FORMAT_COMBINED);
}

static struct http_head *read_sample(const struct sample *s, bool is_request)
{
	struct http_head *h = malloc(sizeof(*h));

	if (!(is_request ? parse_request : parse_reply)(s))
		abort();
	assert(h);
	*h = head;
	return h;
}

/* The head behind a log line is the one that the worker got. */
static struct request *finished_request(struct http_head *h)
{
	struct request *r = calloc(1, sizeof(*r));

	assert(r);
	*r = (struct request){ .client = &client,
			       .proxy = &proxy,
			       .minor = 1,
			       .status = 200,
			       .bytes_out = 128,
			       .started_us = clock_now_us() };
	if (rewrite_request(&client, h, &r->head, &r->kept))
		abort();
	return r;
}

static struct micro_case *put(struct micro_case *c, const char *what, const struct sample *s,
			      bool (*run)(const void *), const void *arg)
{
	*c = (struct micro_case){ what, s->name, s->text.n, run, arg };
	return c + 1;
}

size_t micro_cases(struct micro_case cases[static MICRO_CASES_MAX])
{
	static struct sample bodies[] = { { "16 x 1024", { 0 } },
					  { "1 x 16384", { 0 } },
					  { "1024 x 16", { 0 } } };
	struct micro_case *c = cases;

	start_proxy();
	bodies[0].text = make_chunks(1024);
	bodies[1].text = make_chunks(16384);
	bodies[2].text = make_chunks(16);
	for (size_t i = 0; i < ARRAY_LEN(sample_requests); i++) {
		const struct sample *s = &sample_requests[i];
		struct http_head *h = read_sample(s, true);
		struct request *r = finished_request(h);
		c = put(c, "guard request", s, guard_request, s);
		c = put(c, "parse request", s, parse_request, s);
		c = put(c, "parse request halves", s, parse_request_halves, s);
		c = put(c, "write request", s, write_request, h);
		c = put(c, "log combined", s, log_line, r);
		c = put(c, "log json", s, log_line_json, r);
	}
	for (size_t i = 0; i < ARRAY_LEN(sample_replies); i++) {
		const struct sample *s = &sample_replies[i];
		struct http_head *h = read_sample(s, false);
		c = put(c, "guard reply", s, guard_reply, s);
		c = put(c, "parse reply", s, parse_reply, s);
		c = put(c, "parse reply halves", s, parse_reply_halves, s);
		c = put(c, "write reply", s, write_reply, h);
	}
	for (size_t i = 0; i < ARRAY_LEN(bodies); i++)
		c = put(c, "read chunks", &bodies[i], read_body, &bodies[i]);
	return (size_t)(c - cases);
}
