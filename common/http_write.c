/* Heads out: numbers, fields, chunk lines, dates into a caller's buffer.  Runs in
 * balancers and in the worker, once or more per message: no formatted printing. */
#include "common/http_write.h"
#include "common/clock.h"

void http_out_u64(struct http_out *o, uint64_t v)
{
	char text[20], *p = text + sizeof(text);

	do {
		*--p = (char)('0' + v % 10);
		v /= 10;
	} while (v);
	http_out_bytes(o, p, (size_t)(text + sizeof(text) - p));
}

void http_out_field(struct http_out *o, struct slice name, struct slice value)
{
	size_t n = name.n + 2 + value.n + 2;

	/* All of it or nothing, and one check instead of four. */
	if (UNLIKELY((size_t)(o->end - o->p) < n)) {
		o->full = true;
		o->end = o->p;
		return;
	}
	char *p = o->p;
	memcpy(p, name.p, name.n);
	p += name.n;
	*p++ = ':';
	*p++ = ' ';
	if (value.n)
		memcpy(p, value.p, value.n);
	p += value.n;
	*p++ = '\r';
	*p++ = '\n';
	o->p = p;
}

size_t http_chunk_line(char buf[static HTTP_CHUNK_LINE_MAX], uint64_t n)
{
	unsigned digits = n ? (unsigned)(64 - __builtin_clzll(n) + 3) / 4 : 1;

	for (unsigned i = digits; i-- > 0; n >>= 4)
		buf[i] = "0123456789abcdef"[n & 15];
	buf[digits] = '\r';
	buf[digits + 1] = '\n';
	return digits + 2;
}

/* RFC 9110 15, RFC 6585, RFC 7725 and the IANA registry. */
static const char *const reasons[] = {
	[100] = "Continue",
	[101] = "Switching Protocols",
	[102] = "Processing",
	[103] = "Early Hints",
	[200] = "OK",
	[201] = "Created",
	[202] = "Accepted",
	[203] = "Non-Authoritative Information",
	[204] = "No Content",
	[205] = "Reset Content",
	[206] = "Partial Content",
	[207] = "Multi-Status",
	[208] = "Already Reported",
	[226] = "IM Used",
	[300] = "Multiple Choices",
	[301] = "Moved Permanently",
	[302] = "Found",
	[303] = "See Other",
	[304] = "Not Modified",
	[305] = "Use Proxy",
	[307] = "Temporary Redirect",
	[308] = "Permanent Redirect",
	[400] = "Bad Request",
	[401] = "Unauthorized",
	[402] = "Payment Required",
	[403] = "Forbidden",
	[404] = "Not Found",
	[405] = "Method Not Allowed",
	[406] = "Not Acceptable",
	[407] = "Proxy Authentication Required",
	[408] = "Request Timeout",
	[409] = "Conflict",
	[410] = "Gone",
	[411] = "Length Required",
	[412] = "Precondition Failed",
	[413] = "Content Too Large",
	[414] = "URI Too Long",
	[415] = "Unsupported Media Type",
	[416] = "Range Not Satisfiable",
	[417] = "Expectation Failed",
	[421] = "Misdirected Request",
	[422] = "Unprocessable Content",
	[423] = "Locked",
	[424] = "Failed Dependency",
	[425] = "Too Early",
	[426] = "Upgrade Required",
	[428] = "Precondition Required",
	[429] = "Too Many Requests",
	[431] = "Request Header Fields Too Large",
	[451] = "Unavailable For Legal Reasons",
	[500] = "Internal Server Error",
	[501] = "Not Implemented",
	[502] = "Bad Gateway",
	[503] = "Service Unavailable",
	[504] = "Gateway Timeout",
	[505] = "HTTP Version Not Supported",
	[506] = "Variant Also Negotiates",
	[507] = "Insufficient Storage",
	[508] = "Loop Detected",
	[510] = "Not Extended",
	[511] = "Network Authentication Required",
};

const char *http_reason(uint16_t status)
{
	return status < ARRAY_LEN(reasons) && reasons[status] ? reasons[status] : "Unknown";
}

static char *put_two(char *p, int v)
{
	p[0] = (char)('0' + v / 10 % 10);
	p[1] = (char)('0' + v % 10);
	return p + 2;
}

/* RFC 9110 5.6.7 IMF-fixdate; strftime would follow the locale. */
static void write_date(char *p, const struct tm *tm)
{
	static const char days[] = "Sun, Mon, Tue, Wed, Thu, Fri, Sat, ";
	static const char months[] = " Jan  Feb  Mar  Apr  May  Jun  Jul  Aug  Sep  Oct  Nov  Dec ";

	memcpy(p, days + 5 * tm->tm_wday, 5);
	p = put_two(p + 5, tm->tm_mday);
	memcpy(p, months + 5 * tm->tm_mon, 5);
	p = put_two(p + 5, (tm->tm_year + 1900) / 100);
	p = put_two(p, tm->tm_year % 100);
	*p++ = ' ';
	p = put_two(p, tm->tm_hour);
	*p++ = ':';
	p = put_two(p, tm->tm_min);
	*p++ = ':';
	p = put_two(p, tm->tm_sec);
	memcpy(p, " GMT", 4);
}

struct slice http_date(void)
{
	static char text[29];
	static time_t written = -1;
	time_t now = clock_wall().tv_sec;
	struct tm tm;

	if (now != written && gmtime_r(&now, &tm)) {
		write_date(text, &tm);
		written = now;
	}
	return (struct slice){ text, sizeof(text) };
}
