/* Bodies both ways: framing, backpressure, early replies, interim replies, cuts. */
#include "flow/script.h"

/* More than both sockets of a way through take, and what is kept between them. */
#define BIG 600000

/* ---- requests ---- */

static const struct step length_in_pieces[] = {
	CONNECT(C0),
	SEND(C0, POST("/p1", 9)),
	EXPECT(S0, "Content-Length: 9\r\n"),
	EXPECT(S0, "\r\n\r\n"),
	SEND(C0, "abc"),
	EXPECT(S0, "abc"),
	SEND(C0, "def"),
	EXPECT(S0, "def"),
	SEND(C0, "ghi" GET("/next")),
	EXPECT(S0, "ghi"),
	SILENCE(S0),
	NEVER(S1),
	SEND(S0, OK(1) "x"),
	EXPECT(C0, "\r\n\r\nx"),
	EXPECT(S1, "GET /next "),
	SEND(S1, OK(1) "y"),
	EXPECT(C0, "\r\n\r\ny"),
	COUNT(connections_idle, 1),
};

static const struct step chunks_in_pieces[] = {
	CONNECT(C0),
	SEND(C0, POST_CHUNKED("/p1") "3\r\nabc\r\n2;x=y\r\nde"),
	EXPECT(S0, "Transfer-Encoding: chunked\r\n"),
	EXPECT(S0, "\r\n\r\n5\r\nabcde\r\n"),
	SEND(C0, "\r"),
	SEND(C0, "\n"),
	SILENCE(S0),
	SEND(C0, "A\r\n01234"),
	EXPECT(S0, "5\r\n01234\r\n"),
	SEND(C0, "56789\r\n0\r\nHost: dropped\r\n\r\n" GET("/next")),
	EXPECT(S0, "5\r\n56789\r\n0\r\n\r\n"),
	SILENCE(S0),
	SEND(S0, OK_CHUNKED "4\r\nwxyz\r\n0\r\n\r\n"),
	EXPECT(C0, "\r\n\r\n4\r\nwxyz\r\n0\r\n\r\n"),
	EXPECT(S1, "GET /next "),
	SEND(S1, OK(1) "y"),
	EXPECT(C0, "\r\n\r\ny"),
};

static const struct step bad_chunk[] = {
	CONNECT(C0),
	SEND(C0, POST_CHUNKED("/p1") "3\r\nabc\r\n"),
	EXPECT(S0, "3\r\nabc\r\n"),
	SEND(C0, "3\r\nabcX\r\n"),
	EXPECT(C0, "HTTP/1.1 400 "),
	EXPECT(C0, "Connection: close\r\n"),
	ENDS(S0),
	NEVER(S1),
	COUNT(requests_refused, 1),
	COUNT(requests_in_flight, 0),
};

static const struct step bad_first_chunk[] = {
	CONNECT(C0),
	SEND(C0, POST_CHUNKED("/p1") "3\r\nabcdef\r\n"),
	EXPECT(C0, "HTTP/1.1 400 "),
	NEVER(S0),
};

/* The reply has begun: nothing but the end of the connection can tell. */
static const struct step bad_chunk_under_a_reply[] = {
	CONNECT(C0),
	SEND(C0, POST_CHUNKED("/p1") "3\r\nabc\r\n"),
	EXPECT(S0, "3\r\nabc\r\n"),
	SEND(S0, OK_CHUNKED "2\r\nxy\r\n"),
	EXPECT(C0, "2\r\nxy\r\n"),
	SEND(C0, "zz\r\n"),
	BREAKS(C0),
};

static const struct step body_over_the_limit[] = {
	CONNECT(C0),
	SEND(C0, POST_CHUNKED("/p1") "6\r\nabcdef\r\n"),
	EXPECT(S0, "6\r\nabcdef\r\n"),
	SEND(C0, "6\r\nabcdef\r\n"),
	EXPECT(C0, "HTTP/1.1 413 "),
	CONNECT(C1),
	SEND(C1, POST("/p2", 11)),
	EXPECT(C1, "HTTP/1.1 413 "),
	COUNT(requests, 1),
};

static const struct step client_leaves_its_body[] = {
	CONNECT(C0),
	SEND(C0, POST("/p1", 9) "abc"),
	EXPECT(S0, "\r\n\r\nabc"),
	SHUT(C0),
	ENDS(S0),
	COUNT(client_aborts, 1),
	COUNT(requests_in_flight, 0),
};

/* The worker reads nothing for a while: the client is not read either. */
static const struct step slow_worker[] = {
	CONNECT(C0),
	SEND(C0, POST("/p1", 600000)),
	EXPECT(S0, "\r\n\r\n"),
	DEAF(S0),
	FILL(C0, BIG),
	SILENCE(C0),
	TICK(30000), /* not the client's fault */
	SILENCE(C0),
	TICK(29000),
	SILENCE(C0),
	HEAR(S0),
	PATTERN(S0, BIG),
	SEND(S0, OK(1) "x"),
	EXPECT(C0, "\r\n\r\nx"),
	COUNT(connections_idle, 1),
};

/* It never reads again: the response timeout is what ends the wait. */
static const struct step stuck_worker[] = {
	CONNECT(C0),
	SEND(C0, POST("/p1", 600000)),
	EXPECT(S0, "\r\n\r\n"),
	DEAF(S0),
	FILL(C0, BIG),
	TICK(59000),
	SILENCE(C0),
	TICK(1000),
	EXPECT(C0, "HTTP/1.1 504 "),
	EXPECT(C0, "Connection: close\r\n"),
};

/* Pieces that the socket takes whole, until it takes nothing at all. */
#define PUSH FILL(C0, 16384), SILENCE(C0)
static const struct step stuck_worker_to_the_byte[] = {
	CONNECT(C0),
	SEND(C0, POST("/p1", 600000)),
	EXPECT(S0, "\r\n\r\n"),
	DEAF(S0),
	PUSH, PUSH, PUSH, PUSH, PUSH, PUSH, PUSH, PUSH, PUSH, PUSH,
	PUSH, PUSH, PUSH, PUSH, PUSH, PUSH, PUSH, PUSH, PUSH, PUSH,
	TICK(60000),
	EXPECT(C0, "HTTP/1.1 504 "),
};

static const struct step worker_leaves_a_body[] = {
	CONNECT(C0),
	SEND(C0, POST("/p1", 600000)),
	EXPECT(S0, "\r\n\r\n"),
	DEAF(S0),
	FILL(C0, BIG),
	SILENCE(C0),
	CLOSE(S0),
	EXPECT(C0, "HTTP/1.1 502 "),
	NEVER(S1),
};

/* ---- replies ---- */

static const struct step reply_in_pieces[] = {
	CONNECT(C0),
	SEND(C0, GET("/a")),
	EXPECT(S0, "GET /a "),
	SEND(S0, OK_CHUNKED "3\r\nabc\r\n2"),
	EXPECT(C0, "\r\n\r\n3\r\nabc\r\n"),
	SEND(S0, "\r\nde"),
	EXPECT(C0, "2\r\nde\r\n"),
	SEND(S0, "\r\n0\r\nTransfer-Encoding: gone\r\n\r\n"),
	EXPECT(C0, "0\r\n\r\n"),
	SILENCE(C0),
	COUNT(connections_idle, 1),
	LOG("\"GET /a HTTP/1.1\" 200 5 "),
};

static const struct step slow_client[] = {
	CONNECT(C0),
	SEND(C0, GET("/a")),
	EXPECT(S0, "GET /a "),
	EXPECT(S0, "\r\n\r\n"),
	DEAF(C0),
	SEND(S0, OK(600000)),
	FILL(S0, BIG),
	SILENCE(S0),
	TICK(61000), /* not the worker's fault */
	SILENCE(S0),
	HEAR(C0),
	EXPECT(C0, "\r\n\r\n"),
	PATTERN(C0, BIG),
	COUNT(connections_idle, 1),
	SEND(C0, GET("/b")),
	EXPECT(S1, "GET /b "),
	SEND(S1, OK(1) "x"),
	EXPECT(C0, "\r\n\r\nx"),
};

static const struct step stalled_client[] = {
	CONNECT(C0),
	SEND(C0, GET("/a")),
	EXPECT(S0, "GET /a "),
	DEAF(C0),
	SEND(S0, OK(600000)),
	FILL(S0, BIG),
	TICK(74000),
	COUNT(connections_open, 1),
	TICK(1000),
	COUNT(connections_open, 0),
	COUNT(client_aborts, 1),
	BREAKS(S0),
};

/* What such a client finds when it wakes up must not look like a whole reply. */
static const struct step stalled_old_client[] = {
	CONNECT(C0),
	SEND(C0, "GET /a HTTP/1.0\r\n\r\n"),
	EXPECT(S0, "GET /a "),
	DEAF(C0),
	SEND(S0, "HTTP/1.0 200 OK\r\n\r\n"),
	FILL(S0, BIG),
	TICK(75000),
	COUNT(connections_open, 0),
	HEAR(C0),
	BREAKS(C0),
};

/* The last answer waits in us; the worker is free meanwhile. */
static const struct step rest_of_reply_waits[] = {
	CONNECT(C0),
	SEND(C0, GET("/a")),
	EXPECT(S0, "GET /a "),
	EXPECT(S0, "\r\n\r\n"),
	DEAF(C0),
	SEND(C0, GET("/b")),
	SEND(S0, OK(250000)),
	FILL(S0, 190000),
	SILENCE(S0),
	FILL(S0, 60000), /* finds the client's socket full */
	COUNT(requests_in_flight, 0),
	COUNT(connections_idle, 0),
	SILENCE(S0),
	NEVER(S1),
	HEAR(C0),
	EXPECT(C0, "\r\n\r\n"),
	PATTERN(C0, 190000),
	PATTERN(C0, 60000),
	EXPECT(S1, "GET /b "),
	SEND(S1, OK(1) "x"),
	EXPECT(C0, "\r\n\r\nx"),
};

static const struct step rest_of_reply_stalls[] = {
	CONNECT(C0),
	SEND(C0, GET("/a")),
	EXPECT(S0, "\r\n\r\n"),
	DEAF(C0),
	SEND(S0, OK(250000)),
	FILL(S0, 190000),
	SILENCE(S0),
	FILL(S0, 60000), /* finds the client's socket full */
	COUNT(requests_in_flight, 0),
	TICK(75000),
	COUNT(connections_open, 0),
};

static const struct step truncated_length[] = {
	CONNECT(C0),
	SEND(C0, GET("/a")),
	EXPECT(S0, "GET /a "),
	SEND(S0, OK(9) "abc"),
	EXPECT(C0, "\r\n\r\nabc"),
	CLOSE(S0),
	BREAKS(C0),
	COUNT(replies_truncated, 1),
	NEVER(S1),
};

static const struct step truncated_chunks[] = {
	CONNECT(C0),
	SEND(C0, GET("/a")),
	EXPECT(S0, "GET /a "),
	SEND(S0, OK_CHUNKED "3\r\nabc\r\n"),
	EXPECT(C0, "\r\n\r\n3\r\nabc\r\n"),
	CLOSE(S0),
	BREAKS(C0),
};

static const struct step malformed_chunks[] = {
	CONNECT(C0),
	SEND(C0, GET("/a")),
	EXPECT(S0, "\r\n\r\n"),
	SEND(S0, OK_CHUNKED "3\r\nabc\r\nnonsense"),
	EXPECT(C0, "\r\n\r\n3\r\nabc\r\n"),
	BREAKS(C0),
	ENDS(S0),
};

static const struct step malformed_head[] = {
	CONNECT(C0),
	SEND(C0, GET("/a")),
	EXPECT(S0, "\r\n\r\n"),
	SEND(S0, "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab"),
	EXPECT(C0, "HTTP/1.1 502 "),
	EXPECT(C0, "error=http_protocol_error"),
	ENDS(S0),
	NEVER(S1),
	SEND(C0, GET("/b")),
	EXPECT(S1, "\r\n\r\n"),
	SEND(S1, "SSH-2.0-nobody\r\n"),
	EXPECT(C0, "HTTP/1.1 502 "),
	ENDS(S1),
};

/* What follows a reply must never be taken for the next one. */
static const struct step extra_bytes[] = {
	CONNECT(C0),
	SEND(C0, GET("/a")),
	EXPECT(S0, "\r\n\r\n"),
	SEND(S0, OK(1) "x" OK(1) "y"),
	EXPECT(C0, "\r\n\r\nx"),
	ENDS(S0),
	SILENCE(C0),
	SEND(C0, GET("/b")),
	EXPECT(S1, "GET /b "),
	SEND(S1, "HTTP/1.1 204 No\r\n\r\nbody"),
	EXPECT(C0, "HTTP/1.1 204 No\r\n\r\n"),
	SILENCE(C0),
};

static const struct step worker_closes_politely[] = {
	CONNECT(C0),
	SEND(C0, GET("/a")),
	EXPECT(S0, "\r\n\r\n"),
	SEND(S0, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1\r\n\r\nx"),
	EXPECT(C0, "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx"),
	ENDS(S0),
	SILENCE(C0),
};

/* ---- both at once ---- */

static const struct step early_refusal[] = {
	CONNECT(C0),
	SEND(C0, POST("/p1", 600000)),
	EXPECT(S0, "\r\n\r\n"),
	DEAF(S0),
	FILL(C0, 590000),
	SILENCE(C0),
	SEND(S0, "HTTP/1.1 413 Large\r\nContent-Length: 2\r\n\r\nno"),
	EXPECT(C0, "HTTP/1.1 413 Large\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno"),
	COUNT(requests_in_flight, 0),
	HEAR(S0),
	BREAKS(S0),
};

/* It answers and closes; our writes fail before the answer is read. */
static const struct step early_refusal_and_gone[] = {
	CONNECT(C0),
	SEND(C0, POST("/p1", 600000)),
	EXPECT(S0, "\r\n\r\n"),
	SEND(S0, "HTTP/1.1 413 Large\r\nContent-Length: 2\r\n\r\nno"),
	SHUT(S0),
	FILL(C0, 590000),
	EXPECT(C0, "HTTP/1.1 413 Large\r\n"),
	EXPECT(C0, "Connection: close\r\n\r\nno"),
};

static const struct step early_answer_then_body[] = {
	CONNECT(C0),
	SEND(C0, POST("/p1", 6) "abc"),
	EXPECT(S0, "\r\n\r\nabc"),
	SEND(S0, OK_CHUNKED "2\r\nhi\r\n"),
	EXPECT(C0, "2\r\nhi\r\n"),
	SEND(C0, "def"),
	EXPECT(S0, "def"),
	SEND(S0, "2\r\nho\r\n0\r\n\r\n"),
	EXPECT(C0, "2\r\nho\r\n0\r\n\r\n"),
	SILENCE(C0),
	COUNT(connections_idle, 1),
};

/* The client waits for a 100 that will not come: its connection cannot go on, since
 * nobody knows whether its next bytes are the body. */
static const struct step expect_redirected[] = {
	CONNECT(C0),
	SEND(C0, "POST /p1 HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 9\r\n\r\n"),
	EXPECT(S0, "Expect: 100-continue\r\n"),
	EXPECT(S0, "\r\n\r\n"),
	SEND(S0, "HTTP/1.1 307 There\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n"),
	EXPECT(C0, "HTTP/1.1 307 There\r\nLocation: /x\r\nContent-Length: 0\r\nConnection: close\r\n"),
};

static const struct step expect_continued[] = {
	CONNECT(C0),
	SEND(C0, "POST /p1 HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n"),
	EXPECT(S0, "Expect: 100-continue\r\n"),
	EXPECT(S0, "\r\n\r\n"),
	SILENCE(C0),
	SEND(S0, "HTTP/1.1 100 Go\r\n\r\n"),
	EXPECT(C0, "HTTP/1.1 100 Go\r\n\r\n"),
	SEND(C0, "abc"),
	EXPECT(S0, "abc"),
	SEND(S0, "HTTP/1.1 102 Busy\r\n\r\nHTTP/1.1 103 Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\n"),
	EXPECT(C0, "HTTP/1.1 102 Busy\r\n\r\nHTTP/1.1 103 Hints\r\nLink: x\r\n\r\n"),
	SEND(S0, "Content-Length: 1\r\n\r\nx"),
	EXPECT(C0, "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx"),
	SILENCE(C0),
	COUNT(replies_1xx, 3),
	COUNT(connections_idle, 1),
};

static const struct step interim_to_an_old_client[] = {
	CONNECT(C0),
	SEND(C0, "GET /a HTTP/1.0\r\n\r\n"),
	EXPECT(S0, "GET /a "),
	SEND(S0, "HTTP/1.1 103 Hints\r\nLink: x\r\n\r\n" OK(1) "x"),
	EXPECT(C0, "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nConnection: close\r\n\r\nx"),
	ENDS(C0),
};

#define C64 "</a-style-sheet-with-a-rather-long-name.css>; rel=preload; a=b, "
#define K C64 C64 C64 C64 C64 C64 C64 C64 C64 C64 C64 C64 C64 C64 C64 C64

#define K16 K K K K K K K K K K K K K K K K

/* As many hints as may come, to a client that reads none: they are not kept for it. */
static const struct step interim_unread[] = {
	CONNECT(C0),
	SEND(C0, GET("/a")),
	EXPECT(S0, "\r\n\r\n"),
	DEAF(C0),
	SEND_TIMES(S0, 100, "HTTP/1.1 103 Hints\r\nLink: " K16 K16 "\r\n\r\n"),
	SILENCE(S0),
	SEND(S0, OK(1) "x"),
	SILENCE(S0),
	HEAR(C0),
	EXPECT(C0, "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx"),
	COUNT(connections_idle, 1),
};

/* An echo whose client reads nothing: the echo stops reading too, and nobody moves. */
static const struct step deadlocked_echo[] = {
	CONNECT(C0),
	SEND(C0, POST("/p1", 1200000)),
	EXPECT(S0, "\r\n\r\n"),
	DEAF(C0),
	SEND(S0, OK(1200000)),
	FILL(S0, BIG),
	SILENCE(S0),
	DEAF(S0),
	FILL(C0, 2 * BIG),
	TICK(60000),
	TICK(74000),
	TICK(75000),
	COUNT(connections_open, 0),
};

/* The same with a client that begins to read in time. */
static const struct step freed_echo[] = {
	CONNECT(C0),
	SEND(C0, POST("/p1", 600000)),
	EXPECT(S0, "\r\n\r\n"),
	DEAF(C0),
	SEND(S0, OK(1200000)),
	FILL(S0, BIG),
	SILENCE(S0),
	DEAF(S0),
	FILL(C0, BIG),
	TICK(50000),
	HEAR(C0),
	EXPECT(C0, "\r\n\r\n"),
	HEAR(S0),
	PATTERN(S0, BIG),
	PATTERN(C0, BIG),
	TICK(50000),
	FILL(S0, BIG),
	PATTERN(C0, BIG),
	COUNT(connections_idle, 1),
};

#define UNIX .setup = { .unix_sockets = true }

static const struct scenario scenarios[] = {
	SCENARIO(length_in_pieces),
	SCENARIO(chunks_in_pieces),
	SCENARIO(bad_chunk),
	SCENARIO(bad_first_chunk),
	SCENARIO(bad_chunk_under_a_reply),
	SCENARIO(body_over_the_limit, .setup = { .body_bytes = 10 }),
	SCENARIO(client_leaves_its_body),
	SCENARIO(slow_worker, UNIX),
	SCENARIO(stuck_worker, UNIX),
	SCENARIO(stuck_worker_to_the_byte, UNIX),
	SCENARIO(worker_leaves_a_body, UNIX),
	SCENARIO(reply_in_pieces),
	SCENARIO(slow_client, UNIX),
	SCENARIO(stalled_client, UNIX),
	SCENARIO(stalled_old_client, .until_close = BIG),
	SCENARIO(rest_of_reply_waits, UNIX),
	SCENARIO(rest_of_reply_stalls, UNIX),
	SCENARIO(truncated_length),
	SCENARIO(truncated_chunks),
	SCENARIO(malformed_chunks),
	SCENARIO(malformed_head),
	SCENARIO(extra_bytes),
	SCENARIO(worker_closes_politely),
	SCENARIO(early_refusal, UNIX),
	SCENARIO(early_refusal_and_gone),
	SCENARIO(early_answer_then_body),
	SCENARIO(expect_redirected),
	SCENARIO(expect_continued),
	SCENARIO(interim_to_an_old_client),
	SCENARIO(interim_unread, UNIX, .straight_only = true), /* megabytes; for the memory alone */
	SCENARIO(deadlocked_echo, UNIX),
	SCENARIO(freed_echo, UNIX),
};

int main(int argc, char **argv)
{
	return script_main(scenarios, ARRAY_LEN(scenarios), argc > 1 ? argv[1] : NULL);
}
