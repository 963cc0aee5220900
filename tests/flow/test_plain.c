/* Requests without bodies: keep-alive, the pool, pipelining, heads in pieces. */
#include "flow/script.h"

static const struct step keep_alive[] = {
	CONNECT(C0),
	SEND(C0, GET("/a")),
	EXPECT(S0, "GET /a HTTP/1.1\r\nHost: a\r\n"),
	EXPECT(S0, "\r\n\r\n"),
	COUNT(requests_in_flight, 1),
	COUNT(connections_idle, 0),
	SEND(S0, OK(5) "hello"),
	EXPECT(C0, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"),
	COUNT(requests_in_flight, 0),
	COUNT(connections_idle, 1),
	SILENCE(C0),
	SEND(C0, GET("/b")),
	AT(S1, 1), /* the rotation goes on */
	EXPECT(S1, "GET /b HTTP/1.1\r\n"),
	SEND(S1, OK(3) "two"),
	EXPECT(C0, "\r\n\r\ntwo"),
	SEND(C0, GET("/c")),
	EXPECT(S0, "GET /c HTTP/1.1\r\n"), /* pooled */
	SEND(S0, OK(5) "three"),
	EXPECT(C0, "\r\n\r\nthree"),
	COUNT(upstream_reuses, 1),
	COUNT(upstream_connects, 2),
	LOG("\"GET /c HTTP/1.1\" 200 5 \"-\" \"-\""),
};

static const struct step json_log[] = {
	CONNECT(C0),
	SEND(C0, "GET /q\"\\ HTTP/1.1\r\nHost: a\r\nUser-Agent: \xff\x01-agent\r\n\r\n"),
	EXPECT(C0, "HTTP/1.1 400 "),
	EXPECT(C0, "control byte in the head\n"),
	ENDS(C0),
	CONNECT(C1),
	SEND(C1, "GET /q\"\\ HTTP/1.1\r\nHost: a\r\nUser-Agent: \xff-agent\r\nX-Request-Id: mine\r\n\r\n"),
	EXPECT(S0, "X-Request-Id: mine\r\n"),
	SEND(S0, OK(2) "ok"),
	EXPECT(C1, "ok"),
	LOG("\"method\":\"GET\",\"path\":\"/q\\u0022\\u005C\",\"status\":200,\"bytes\":2,"),
	LOG("\"user_agent\":\"\\u00FF-agent\",\"request_id\":\"mine\",\"outcome\":\"OK\"}\n"),
	REOPEN,
	SEND(C1, GET("/again")),
	EXPECT(S1, "GET /again"),
	SEND(S1, OK(2) "ok"),
	EXPECT(C1, "ok"),
	LOG("\"path\":\"/again\""),
};

static const struct step forwarding[] = {
	CONNECT(C0),
	SEND(C0, "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 9.9.9.9\r\nX-Request-Id: forged\r\n"
		 "X-Forwarded-Proto: https\r\nConnection: x-hop\r\nX-Hop: 1\r\nX-Stays: 2\r\n\r\n"),
	EXPECT(S0, "GET / HTTP/1.1\r\nHost: a\r\nX-Stays: 2\r\nX-Forwarded-For: 127.0.0.1\r\n"
		   "X-Forwarded-Proto: http\r\nX-Forwarded-Host: a\r\nX-Request-Id: "),
	SEND(S0, "HTTP/1.1 204 No\r\nConnection: x-mine\r\nX-Mine: 1\r\nServer: w\r\n\r\n"),
	EXPECT(C0, "HTTP/1.1 204 No\r\nServer: w\r\n\r\n"),
};

/* Whatever stands around a value, the field leaves as "name: value", whether or not its
 * neighbours are copied with it; and the log finds what it looks for behind all of them. */
static const struct step fields_in_all_forms[] = {
	CONNECT(C0),
	SEND(C0, "POST /p1 HTTP/1.1\r\nA: 1\r\nB:2\r\nC:  3\r\nReferer:r\r\nD: 4 \r\nHost: a\r\nE:\t5\r\n"
		 "F: \t6\t\r\nG: \r\nH:\r\nI:   \r\nUser-Agent: \xff u\r\nJ: a:  b\r\nA: \x80\r\n"
		 "Content-Length:  002 \r\nK: 7\r\nX-Request-Id:\tmine \r\n\r\nhi"),
	EXPECT(S0, "POST /p1 HTTP/1.1\r\nHost: a\r\nA: 1\r\nB: 2\r\nC: 3\r\nReferer: r\r\nD: 4\r\nE: 5\r\n"
		   "F: 6\r\nG: \r\nH: \r\nI: \r\nUser-Agent: \xff u\r\nJ: a:  b\r\nA: \x80\r\n"
		   "Content-Length: 2\r\nK: 7\r\nX-Request-Id: mine\r\nX-Forwarded-For: 127.0.0.1\r\n"),
	EXPECT(S0, "\r\n\r\nhi"),
	SEND(S0, "HTTP/1.1 200\r\nA:1\r\nB: 2\r\nContent-Length: 00000000000000000000001\r\nC:\r\nConnection:\tB\r\n"
		 "D: \r\n\r\na"),
	EXPECT(C0, "HTTP/1.1 200 \r\nA: 1\r\nContent-Length: 1\r\nC: \r\nD: \r\n\r\na"),
	LOG("\"referer\":\"r\",\"user_agent\":\"\\u00FF u\",\"request_id\":\"mine\""),
};

static const struct step pipelined[] = {
	CONNECT(C0),
	SEND(C0, GET("/a") GET("/b") "GET /c HTTP/1.1\r\nHo"),
	EXPECT(S0, "GET /a "),
	NEVER(S1), /* one at a time */
	SEND(C0, "st: a\r\n\r\n" GET("/d")),
	SEND(S0, OK(1) "a"),
	EXPECT(C0, "\r\n\r\na"),
	EXPECT(S1, "GET /b "),
	SEND(S1, OK(1) "b"),
	EXPECT(C0, "\r\n\r\nb"),
	EXPECT(S0, "GET /c "),
	SEND(S0, OK(1) "c"),
	EXPECT(C0, "\r\n\r\nc"),
	EXPECT(S1, "GET /d "),
	SEND(S1, OK(1) "d"),
	EXPECT(C0, "\r\n\r\nd"),
	SILENCE(C0),
	COUNT(requests, 4),
};

/* A half-close behind the last of them: all are still answered. */
static const struct step pipelined_and_shut[] = {
	CONNECT(C0),
	SEND(C0, GET("/a") GET("/b")),
	SHUT(C0),
	EXPECT(S0, "GET /a "),
	SEND(S0, OK(1) "a"),
	EXPECT(C0, "\r\n\r\na"),
	EXPECT(S1, "GET /b "),
	SEND(S1, OK(1) "b"),
	EXPECT(C0, "\r\n\r\nb"),
	ENDS(C0),
};

/* Answers that need no worker: the next request is looked at all the same. */
static const struct step pipelined_refusals[] = {
	CONNECT(C0),
	SEND(C0, GET("/x") GET("/y") GET("/app") GET("/z") "NONSENSE\r\n\r\n"),
	EXPECT(C0, "HTTP/1.1 404 "),
	EXPECT(C0, "HTTP/1.1 404 "),
	EXPECT(S0, "GET /app "),
	EXPECT(S0, "\r\n\r\n"),
	SILENCE(S0),
	SEND(S0, OK(1) "a"),
	EXPECT(C0, "\r\n\r\na"),
	EXPECT(C0, "HTTP/1.1 404 "),
	EXPECT(C0, "HTTP/1.1 400 "),
	EXPECT(C0, "Connection: close\r\n"),
	NEVER(S1),
	COUNT(requests_refused, 1),
};

static const struct step close_asked[] = {
	CONNECT(C0),
	SEND(C0, "GET /a HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n" GET("/b")),
	EXPECT(S0, "GET /a "),
	SEND(S0, OK(1) "a"),
	EXPECT(C0, "Connection: close\r\n\r\na"),
	NEVER(S1),
	COUNT(requests, 1),
};

static const struct step old_client[] = {
	CONNECT(C0),
	SEND(C0, "GET /a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"),
	EXPECT(S0, "GET /a HTTP/1.1\r\nHost: "),
	SEND(S0, OK(1) "a"),
	EXPECT(C0, "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nConnection: keep-alive\r\n\r\na"),
	SEND(C0, "GET /b HTTP/1.0\r\n\r\n"),
	EXPECT(S1, "GET /b HTTP/1.1\r\n"),
	SEND(S1, OK_CHUNKED "3\r\nxyz\r\n2\r\nzz\r\n0\r\n\r\n"),
	EXPECT(C0, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nxyzzz"),
	ENDS(C0),
};

static const struct step old_worker[] = {
	CONNECT(C0),
	SEND(C0, GET("/a")),
	EXPECT(S0, "GET /a "),
	SEND(S0, "HTTP/1.0 200 OK\r\n\r\nabc"),
	EXPECT(C0, "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"),
	SILENCE(C0),
	SEND(S0, "de"),
	EXPECT(C0, "2\r\nde\r\n"),
	CLOSE(S0),
	EXPECT(C0, "0\r\n\r\n"),
	SILENCE(C0),
	SEND(C0, GET("/b")),
	EXPECT(S1, "GET /b "),
	SEND(S1, "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\nb"),
	EXPECT(C0, "\r\n\r\nb"),
	COUNT(upstream_connects, 2),
};

/* A worker that is reset in a body without length: it cannot pass for whole. */
static const struct step old_worker_reset[] = {
	CONNECT(C0),
	SEND(C0, "GET /a HTTP/1.0\r\n\r\n"),
	EXPECT(S0, "GET /a "),
	SEND(S0, "HTTP/1.0 200 OK\r\n\r\nabc"),
	EXPECT(C0, "Connection: close\r\n\r\nabc"),
	RESET(S0),
	BREAKS(C0),
	COUNT(replies_truncated, 1),
};

static const struct step head_method[] = {
	CONNECT(C0),
	SEND(C0, "HEAD /a HTTP/1.1\r\nHost: a\r\n\r\n"),
	EXPECT(S0, "HEAD /a "),
	SEND(S0, "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"),
	EXPECT(C0, "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"),
	SILENCE(C0),
	SEND(C0, "HEAD /b HTTP/1.1\r\nHost: a\r\n\r\n"),
	EXPECT(S1, "HEAD /b "),
	CLOSE(S1),
	EXPECT(S0, "HEAD /b "),
	SEND(S0, "HTTP/1.1 304 Same\r\nContent-Length: 7\r\n\r\n"),
	EXPECT(C0, "HTTP/1.1 304 Same\r\nContent-Length: 7\r\n\r\n"),
	SILENCE(C0),
};

static const struct step head_in_pieces[] = {
	CONNECT(C0),
	SEND(C0, "G"),
	SILENCE(C0),
	SEND(C0, "ET /a HTTP/1.1\r\nHost: a\r"),
	SILENCE(C0),
	COUNT(requests, 0),
	SEND(C0, "\n\r"),
	SILENCE(C0),
	SEND(C0, "\n"),
	EXPECT(S0, "GET /a "),
	SEND(S0, "HTTP/1.1 200 "),
	SILENCE(C0),
	SEND(S0, "OK\r\nContent-Length: 2\r\n\r"),
	SILENCE(C0),
	SEND(S0, "\na"),
	EXPECT(C0, "\r\n\r\na"),
	SEND(S0, "b"),
	EXPECT(C0, "b"),
	SILENCE(C0),
	COUNT(connections_idle, 1),
};

static const struct step empty_lines_before[] = {
	CONNECT(C0),
	SEND(C0, "\r\n" GET("/a")),
	EXPECT(S0, "GET /a "),
	SEND(S0, OK(1) "a"),
	EXPECT(C0, "\r\n\r\na"),
};

static const struct step client_leaves_half_a_head[] = {
	CONNECT(C0),
	SEND(C0, "GET /a HT"),
	SILENCE(C0),
	SHUT(C0),
	ENDS(C0),
	COUNT(requests, 0),
	COUNT(connections_open, 0),
};

static const struct step head_too_large[] = {
	CONNECT(C0),
	SEND(C0, "GET /a HTTP/1.1\r\nX: "),
	FILL(C0, 3000),
	EXPECT(C0, "HTTP/1.1 431 "),
	EXPECT(C0, "Connection: close\r\n"),
	CLOSE(C0),
	COUNT(connections_open, 0),
	LOG("] \"GET /a HTTP/1.1\" 431 "),
};

#define C64 "a-value-with-sixty-four-bytes-in-all-which-is-made-of-some-words"
#define FIELD "X-Long: " C64 C64 C64 C64 C64 C64 C64 C64 C64 C64 C64 C64 C64 C64 C64 C64 "\r\n"

/* The largest head that can be allowed, and all that one read brings behind it. */
static const struct step largest_request_head[] = {
	CONNECT(C0),
	SEND(C0, "POST /p1 HTTP/1.1\r\nHost: a\r\nContent-Length: 300000\r\n"),
	SEND_TIMES(C0, 63, FIELD),
	SEND(C0, "\r\n"),
	FILL(C0, 300000),
	EXPECT(S0, "\r\n\r\n"),
	PATTERN(S0, 300000),
	SEND(S0, OK(1) "a"),
	EXPECT(C0, "\r\n\r\na"),
	SEND(C0, "GET /b HTTP/1.1\r\nHost: a\r\n"),
	SEND_TIMES(C0, 64, FIELD),
	EXPECT(C0, "HTTP/1.1 431 "),
};

static const struct step largest_reply_head[] = {
	CONNECT(C0),
	SEND(C0, GET("/a")),
	EXPECT(S0, "GET /a "),
	SEND(S0, "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n"),
	SEND_TIMES(S0, 63, FIELD),
	SEND(S0, "\r\na"),
	EXPECT(C0, "\r\n\r\na"),
	SEND(C0, GET("/b")),
	EXPECT(S1, "GET /b "),
	SEND(S1, "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n"),
	SEND_TIMES(S1, 64, FIELD),
	SEND(S1, "\r\na"),
	EXPECT(C0, "HTTP/1.1 502 "),
};

static const struct scenario scenarios[] = {
	SCENARIO(keep_alive),
	SCENARIO(json_log, .setup = { .log_json = true, .trusting = true }),
	SCENARIO(forwarding),
	SCENARIO(fields_in_all_forms, .setup = { .log_json = true, .trusting = true }),
	SCENARIO(pipelined),
	SCENARIO(pipelined_and_shut),
	SCENARIO(pipelined_refusals, .setup = { .routed = true }),
	SCENARIO(close_asked),
	SCENARIO(old_client, .until_close = 5),
	SCENARIO(old_worker),
	SCENARIO(old_worker_reset, .until_close = 3),
	SCENARIO(head_method, .unframed = true),
	SCENARIO(head_in_pieces),
	SCENARIO(empty_lines_before),
	SCENARIO(client_leaves_half_a_head),
	SCENARIO(largest_request_head, .setup = { .head_bytes = 65536 }),
	SCENARIO(largest_reply_head),
	SCENARIO(head_too_large, .setup = { .head_bytes = 2048 }),
};

int main(int argc, char **argv)
{
	return script_main(scenarios, ARRAY_LEN(scenarios), argc > 1 ? argv[1] : NULL);
}
