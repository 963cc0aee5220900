/* The access log.  Runs in the balancer.
 *
 * Lines are gathered and written a few times a second, or when the buffer is
 * full.  A log that cannot be written (full disk, stuck reader) costs lines, which
 * are counted, never requests.  A line of which the reader has the beginning is kept
 * for as long as it takes, so that its rest comes before any other.
 */
#include "balancer/proxy/access_log.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "balancer/proxy/reply.h"
#include "balancer/proxy/request.h"
#include "common/clock.h"
#include "common/fd.h"
#include "common/mem.h"

#define BUFFER_BYTES (256u * 1024)
#define LINE_MAX_BYTES (24u * 1024) /* a line that would be longer is cut in its fields */
#define FIELD_MAX_BYTES 4096u

void access_log_start(struct access_log *log, int fd, const char *path, uint32_t format)
{
	memset(log, 0, sizeof(*log));
	log->fd = fd;
	log->name = path && strcmp(path, "-") != 0 ? path : "stdout";
	log->format = format;
	if (fd >= 0)
		log->buffer = mem_must_alloc(BUFFER_BYTES);
}

static uint64_t count_lines(const char *p, size_t n)
{
	uint64_t lines = 0;
	for (const char *end = p + n; (p = memchr(p, '\n', (size_t)(end - p))); p++)
		lines++;
	return lines;
}

/* Bytes of the line that is partly written already; 0: none is. */
static size_t torn_bytes(const struct access_log *log)
{
	const char *end = log->torn ? memchr(log->buffer, '\n', log->used) : NULL;
	return end ? (size_t)(end - log->buffer) + 1 : 0;
}

void access_log_flush(struct access_log *log, struct tally_row *row)
{
	if (log->fd < 0 || !log->used)
		return;
	ssize_t n = write(log->fd, log->buffer, log->used);
	if (n == (ssize_t)log->used) {
		log->used = 0;
		log->torn = false;
		if (log->complained)
			log_notice("the access log (%s) can be written again", log->name);
		log->complained = false;
		return;
	}
	int error = errno;
	if (n > 0) { /* a pipe took part of it: the rest goes on where it stopped */
		log->torn = log->buffer[n - 1] != '\n';
		memmove(log->buffer, log->buffer + n, log->used - (size_t)n);
		log->used -= (size_t)n;
	}
	bool stuck = n < 0 && error != EAGAIN && error != EINTR;
	if (stuck && !log->complained) {
		log_error("cannot write the access log (%s): %s; lines are lost until it can be",
			  log->name, strerror(error));
		log->complained = true;
	}
	if (stuck || BUFFER_BYTES - log->used < LINE_MAX_BYTES) {
		size_t kept = torn_bytes(log);
		tally_add(row, COUNTER_log_dropped, count_lines(log->buffer + kept, log->used - kept));
		log->used = kept;
	}
}

void access_log_stop(struct access_log *log, struct tally_row *row)
{
	access_log_flush(log, row);
	if (log->fd >= 0)
		fd_close(&log->fd);
	mem_free(log->buffer);
	log->buffer = NULL;
}

void access_log_reopen(struct access_log *log, struct tally_row *row, int fd)
{
	if (log->fd < 0) { /* switched off: a reload turns it on, not a rotation */
		fd_close(&fd);
		return;
	}
	access_log_flush(log, row);
	size_t torn = torn_bytes(log);
	if (torn) { /* its beginning stands in the old file */
		memmove(log->buffer, log->buffer + torn, log->used - torn);
		log->used -= torn;
		log->torn = false;
		tally_inc(row, COUNTER_log_dropped);
	}
	fd_close(&log->fd);
	log->fd = fd;
	log->complained = false;
}

/* ---- lines ---- */

/* "22/Nov/2026:00:49:39 +0000" or "2026-11-22T00:49:39+00:00" (RFC 3339, with the
 * colon that strftime() leaves out), made once per second. */
static struct slice time_text(uint32_t format)
{
	static char text[2][40];
	static size_t n[2];
	static time_t made[2] = { -1, -1 };
	struct timespec now = clock_wall();
	uint32_t i = format == LOG_FORMAT_JSON;
	if (now.tv_sec != made[i]) {
		struct tm tm;
		localtime_r(&now.tv_sec, &tm);
		n[i] = strftime(text[i], sizeof(text[i]),
				i ? "%Y-%m-%dT%H:%M:%S%z" : "%d/%b/%Y:%H:%M:%S %z", &tm);
		if (i && n[i] > 2) {
			memmove(text[i] + n[i] - 1, text[i] + n[i] - 2, 3);
			text[i][n[i]++ - 2] = ':';
		}
		made[i] = now.tv_sec;
	}
	return (struct slice){ text[i], n[i] };
}

/* Outside bytes: quotes, backslashes and everything that is not printable ASCII
 * as \xNN (combined) or \u00NN (JSON), so that no field can forge another. */
static void put_escaped(struct http_out *o, struct slice s, uint32_t format)
{
	static const char hex[] = "0123456789ABCDEF";
	size_t n = MIN(s.n, FIELD_MAX_BYTES), run = 0;
	if (n == 0) /* an empty slice may have no pointer */
		return;
	for (size_t i = 0; i < n; i++) {
		unsigned char ch = (unsigned char)s.p[i];
		if (ch >= 0x20 && ch < 0x7f && ch != '"' && ch != '\\')
			continue;
		char code[6] = { '\\', 'x', hex[ch >> 4], hex[ch & 15], 0, 0 };
		size_t n_code = 4;
		if (format == LOG_FORMAT_JSON) {
			memcpy(code, "\\u00", 4);
			code[4] = hex[ch >> 4];
			code[5] = hex[ch & 15];
			n_code = 6;
		}
		http_out_bytes(o, s.p + run, i - run);
		http_out_bytes(o, code, n_code);
		run = i + 1;
	}
	http_out_bytes(o, s.p + run, n - run);
}

static void put_or_dash(struct http_out *o, struct slice s, uint32_t format)
{
	if (s.n)
		put_escaped(o, s, format);
	else
		http_out_text(o, "-");
}

struct line {
	const struct client *client;
	struct slice request;   /* "GET /x"; empty when there was none */
	bool refused;           /* `request` is a line as it came, its version included */
	uint8_t minor;
	uint16_t status;
	uint64_t bytes, duration_us;
	struct slice referer, user_agent, request_id;
	uint8_t outcome, rule;  /* enum outcome, enum http_rule */
};

static void put_combined(struct http_out *o, const struct line *l)
{
	char host[ADDR_TEXT_MAX];
	http_out_bytes(o, host, addr_format_host(&l->client->peer, host));
	http_out_text(o, " - - [");
	http_out_slice(o, time_text(LOG_FORMAT_COMBINED));
	http_out_text(o, "] \"");
	if (l->request.n) {
		put_escaped(o, l->request, LOG_FORMAT_COMBINED);
		if (!l->refused)
			http_out_bytes(o, l->minor ? " HTTP/1.1" : " HTTP/1.0", 9);
	} else {
		http_out_text(o, "-");
	}
	http_out_text(o, "\" ");
	http_out_u64(o, l->status);
	http_out_text(o, " ");
	http_out_u64(o, l->bytes);
	http_out_text(o, " \"");
	put_or_dash(o, l->referer, LOG_FORMAT_COMBINED);
	http_out_text(o, "\" \"");
	put_or_dash(o, l->user_agent, LOG_FORMAT_COMBINED);
	http_out_text(o, "\"\n");
}

static void put_json_text(struct http_out *o, const char *key, struct slice value)
{
	http_out_text(o, ",\"");
	http_out_slice(o, slice_of(key));
	http_out_text(o, "\":\"");
	put_escaped(o, value, LOG_FORMAT_JSON);
	http_out_text(o, "\"");
}

/* A line that was refused may hold anything, or end anywhere. */
static void split_request(const struct line *l, struct slice *ret_method, struct slice *ret_path)
{
	struct slice method = l->request, path = { "", 0 };
	const char *space = method.n ? memchr(method.p, ' ', method.n) : NULL;
	if (space) {
		path = (struct slice){ space + 1, method.n - (size_t)(space - method.p) - 1 };
		method.n = (size_t)(space - method.p);
		const char *end = l->refused ? memrchr(path.p, ' ', path.n) : NULL;
		if (end && path.n - (size_t)(end - path.p) > 5 && memcmp(end, " HTTP/", 6) == 0)
			path.n = (size_t)(end - path.p);
	}
	*ret_method = method;
	*ret_path = path;
}

static void put_json(struct http_out *o, const struct line *l)
{
	char host[ADDR_TEXT_MAX], seconds[32];
	struct slice method, path;
	split_request(l, &method, &path);
	size_t n_host = addr_format_host(&l->client->peer, host);
	int n = snprintf(seconds, sizeof(seconds), "%.6f", (double)l->duration_us / 1e6);
	http_out_text(o, "{\"time\":\"");
	http_out_slice(o, time_text(LOG_FORMAT_JSON));
	http_out_text(o, "\"");
	put_json_text(o, "client", (struct slice){ host, n_host });
	put_json_text(o, "method", method);
	put_json_text(o, "path", path);
	http_out_text(o, ",\"status\":");
	http_out_u64(o, l->status);
	http_out_text(o, ",\"bytes\":");
	http_out_u64(o, l->bytes);
	http_out_text(o, ",\"seconds\":");
	http_out_bytes(o, seconds, (size_t)n);
	put_json_text(o, "referer", l->referer);
	put_json_text(o, "user_agent", l->user_agent);
	put_json_text(o, "request_id", l->request_id);
	put_json_text(o, "outcome", slice_of(outcome_table[l->outcome].name));
	if (l->rule)
		put_json_text(o, "refused", slice_of(http_rule_table[l->rule].name));
	http_out_text(o, "}\n");
}

static void put_line(struct access_log *log, const struct line *l)
{
	struct tally_row *row = l->client->proxy->row;
	if (BUFFER_BYTES - log->used < LINE_MAX_BYTES)
		access_log_flush(log, row);
	struct http_out o = { log->buffer + log->used, log->buffer + BUFFER_BYTES, false };
	if (log->format == LOG_FORMAT_JSON)
		put_json(&o, l);
	else
		put_combined(&o, l);
	if (o.full)
		tally_inc(row, COUNTER_log_dropped);
	else
		log->used = (size_t)(o.p - log->buffer);
}

void access_log_request(struct access_log *log, const struct request *r)
{
	if (log->fd < 0)
		return;
	struct line l = {
		.client = r->client,
		.request = kept_slice(r->head, r->kept.line),
		.minor = r->minor,
		/* 499: the client went away before an answer, as nginx logs it. */
		.status = r->status ? r->status : 499,
		.bytes = r->bytes_out,
		.duration_us = clock_now_us() - r->started_us,
		.referer = kept_slice(r->head, r->kept.referer),
		.user_agent = kept_slice(r->head, r->kept.user_agent),
		.request_id = kept_slice(r->head, r->kept.request_id),
		.outcome = r->outcome,
		.rule = r->rule,
	};
	put_line(log, &l);
}

/* RFC 9112 2.2: an empty line may stand before the first. */
static struct slice first_line(struct slice s)
{
	size_t n = 0;
	if (s.n >= 2 && memcmp(s.p, "\r\n", 2) == 0)
		s = (struct slice){ s.p + 2, s.n - 2 };
	while (n < s.n && s.p[n] != '\r' && s.p[n] != '\n')
		n++;
	return (struct slice){ s.p, n };
}

void access_log_refused(struct access_log *log, const struct client *c,
			const struct own_reply *sent, struct slice received)
{
	if (log->fd < 0)
		return;
	struct line l = {
		.client = c,
		.request = first_line(received),
		.refused = true,
		.status = sent->status,
		.bytes = sent->body_bytes,
		.outcome = (uint8_t)sent->outcome,
		.rule = (uint8_t)sent->rule,
	};
	put_line(log, &l);
}
