/* What comes together, or a moment too late: bytes and their end in one turn, reads that
 * end where a message does, bytes behind the last request of a connection.  Events are
 * edge-triggered, so what is overlooked once is not announced again. */
#include "flow/script.h"

#define GET_CLOSE(path) "GET " path " HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"

/* ---- bytes that nobody looked for when the connection ends ---- */

/* To close with bytes unread is to reset, and what the kernel still held of the reply is
 * gone with it.  Some clients send CRLF behind a body. */
static const struct step bytes_behind_the_last[] = {
	CONNECT(C0),
	SEND(C0, GET_CLOSE("/a")),
	EXPECT(S0, "GET /a "),
	EXPECT(S0, "\r\n\r\n"),
	SEND(C0, "\r\n"),
	SEND(S0, OK(1) "a"),
	EXPECT(C0, "Connection: close\r\n\r\na"),
	ENDS(C0),
	COUNT(requests, 1),
};

/* The same on a connection that has been watched all the time. */
static const struct step bytes_behind_a_later_one[] = {
	CONNECT(C0),
	SEND(C0, GET("/a")),
	EXPECT(S0, "GET /a "),
	SEND(S0, OK(1) "a"),
	EXPECT(C0, "\r\n\r\na"),
	SEND(C0, GET_CLOSE("/b")),
	EXPECT(S1, "GET /b "),
	EXPECT(S1, "\r\n\r\n"),
	SEND(S1, OK(1) "b"),
	SEND(C0, "\r\n"),
	EXPECT(C0, "Connection: close\r\n\r\nb"),
	ENDS(C0),
};

/* Innocent: it had not been told of the end when it sent its next request. */
static const struct step pipelined_into_a_drain[] = {
	CONNECT(C0),
	SEND(C0, GET("/a")),
	EXPECT(S0, "GET /a "),
	EXPECT(S0, "\r\n\r\n"),
	DRAIN(RELOAD),
	STOPPED,
	SEND(C0, GET("/b")),
	SEND(S0, OK(1) "a"),
	EXPECT(C0, "Connection: close\r\n\r\na"),
	ENDS(C0),
	COUNT(requests, 1),
};

/* More than the sockets hold is on its way when the bytes come. */
static const struct step bytes_behind_while_closing[] = {
	CONNECT(C0),
	DEAF(C0),
	SEND(C0, GET_CLOSE("/a")),
	EXPECT(S0, "GET /a "),
	SEND(S0, OK(60000)),
	FILL(S0, 60000),
	COUNT(requests_in_flight, 0),
	SEND(C0, "\r\n"),
	TICK(200),
	HEAR(C0),
	EXPECT(C0, "\r\n\r\n"),
	PATTERN(C0, 60000),
	ENDS(C0),
};

/* ---- bytes and an end in one turn ---- */

static const struct step request_and_fin[] = {
	CONNECT(C0),
	SEND(C0, GET("/a")),
	EXPECT(S0, "GET /a "),
	SEND(S0, OK(1) "a"),
	EXPECT(C0, "\r\n\r\na"),
	SEND(C0, GET("/b")),
	SHUT(C0),
	EXPECT(S1, "GET /b "),
	SEND(S1, OK(1) "b"),
	EXPECT(C0, "Connection: close\r\n\r\nb"), /* the end was seen behind the request */
	ENDS(C0),
};

static const struct step reply_and_fin[] = {
	CONNECT(C0),
	SEND(C0, GET("/a")),
	EXPECT(S0, "GET /a "),
	SEND(S0, OK(1) "a"),
	CLOSE(S0),
	EXPECT(C0, "\r\n\r\na"),
	SEND(C0, GET("/b")),
	EXPECT(S1, "GET /b "),
	SEND(S1, OK(1) "b"),
	EXPECT(C0, "\r\n\r\nb"),
	SEND(C0, GET("/c")),
	AT(S2, 0), /* the first one has left the pool */
	EXPECT(S2, "GET /c "),
	SEND(S2, OK(1) "c"),
	EXPECT(C0, "\r\n\r\nc"),
	COUNT(upstream_reuses, 0),
	COUNT(upstream_failures, 0),
};

/* The error behind the reply shows in no event; who takes the connection next finds it. */
static const struct step reply_and_reset[] = {
	CONNECT(C0),
	SEND(C0, GET("/a")),
	EXPECT(S0, "GET /a "),
	SEND(S0, OK(1) "a"),
	RESET(S0),
	EXPECT(C0, "\r\n\r\na"),
	SEND(C0, POST("/p1", 2) "hi"),
	EXPECT(S1, "POST /p1 "),
	SEND(S1, OK(1) "b"),
	EXPECT(C0, "\r\n\r\nb"),
	SEND(C0, POST("/p2", 2) "hi"),
	EXPECT(S2, "POST /p2 "),
	SEND(S2, OK(1) "c"),
	EXPECT(C0, "\r\n\r\nc"),
	COUNT(requests_in_flight, 0),
};

static const struct step body_and_reset[] = {
	CONNECT(C0),
	SEND(C0, "GET /a HTTP/1.0\r\n\r\n"),
	EXPECT(S0, "GET /a "),
	SEND(S0, "HTTP/1.0 200 OK\r\n\r\nabc"),
	RESET(S0),
	BREAKS(C0),
	COUNT(replies_truncated, 1),
};

/* A client that goes with its request: found out by writing, if by nothing else. */
static const struct step request_and_reset[] = {
	CONNECT(C0),
	SEND(C0, GET("/a")),
	EXPECT(S0, "GET /a "),
	SEND(S0, OK(1) "a"),
	EXPECT(C0, "\r\n\r\na"),
	SEND(C0, GET("/b")),
	RESET(C0),
	EXPECT(S1, "GET /b "),
	SEND(S1, OK(1) "b"),
	COUNT(requests_in_flight, 0),
	COUNT(connections_open, 0),
	COUNT(client_aborts, 1),
};

static const struct step tunnel_and_fin[] = {
	CONNECT(C0),
	SEND(C0, "GET /t HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: raw\r\n\r\nearly"),
	EXPECT(S0, "\r\n\r\n"),
	SILENCE(S0),
	SEND(S0, "HTTP/1.1 101 Go\r\nConnection: upgrade\r\nUpgrade: raw\r\n\r\nlate"),
	SHUT(S0),
	EXPECT(S0, "early"),
	EXPECT(C0, "\r\n\r\nlate"),
	ENDS(C0),
	SEND(C0, "more"),
	SHUT(C0),
	EXPECT(S0, "more"),
	ENDS(S0),
	COUNT(tunnels_open, 0),
};

/* ---- an early answer, and the body that nobody wants ---- */

static const struct step refused_body_goes_on[] = {
	CONNECT(C0),
	SEND(C0, POST("/p1", 200000)),
	EXPECT(S0, "\r\n\r\n"),
	FILL(C0, 1000),
	SEND(S0, "HTTP/1.1 413 No\r\nContent-Length: 2\r\n\r\nno"),
	CLOSE(S0),
	FILL(C0, 199000),
	EXPECT(C0, "HTTP/1.1 413 No\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno"),
	ENDS(C0),
	CLOSE(C0),
	COUNT(connections_open, 0),
};

static const struct step refused_with_reset[] = {
	CONNECT(C0),
	SEND(C0, POST("/p1", 200000)),
	EXPECT(S0, "\r\n\r\n"),
	FILL(C0, 100000),
	SEND(S0, "HTTP/1.1 413 No\r\nContent-Length: 2\r\n\r\nno"),
	RESET(S0),
	FILL(C0, 100000),
	EXPECT(C0, "HTTP/1.1 413 No\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno"),
	ENDS(C0),
};

/* ---- reads that end where a message does ---- */

#define FULL 65536 /* SCRATCH_BYTES: more than a read can take may be there */

/* The next request waits behind a body that fills the read. */
static const struct step read_filled_by_a_body[] = {
	CONNECT(C0),
	SEND(C0, POST("/p1", 65536)),
	EXPECT(S0, "\r\n\r\n"),
	FILL(C0, FULL),
	SEND(C0, GET("/b")),
	PATTERN(S0, FULL),
	SEND(S0, OK(1) "a"),
	EXPECT(C0, "\r\n\r\na"),
	EXPECT(S1, "GET /b "),
	SEND(S1, OK(1) "b"),
	EXPECT(C0, "\r\n\r\nb"),
	SILENCE(C0),
	COUNT(connections_idle, 1),
};

static const struct step read_filled_then_fin[] = {
	CONNECT(C0),
	SEND(C0, POST("/p1", 65536)),
	EXPECT(S0, "\r\n\r\n"),
	FILL(C0, FULL),
	SHUT(C0),
	PATTERN(S0, FULL),
	SEND(S0, "HTTP/1.1 200 OK\r\nContent-Length: 65495\r\n\r\n"),
	FILL(S0, 65495), /* head and body are one read */
	CLOSE(S0),
	EXPECT(C0, "\r\n\r\n"),
	PATTERN(C0, 65495),
	ENDS(C0),
	COUNT(upstream_failures, 0),
};

/* ---- clients whose first request came with the connection ---- */

/* They are not watched before the next sweep: then it shows. */
static const struct step first_request_abandoned[] = {
	CONNECT(C0),
	SEND(C0, GET("/a")),
	EXPECT(S0, "GET /a "),
	EXPECT(S0, "\r\n\r\n"),
	RESET(C0),
	SILENCE(S0),
	TICK(200),
	ENDS(S0),
	COUNT(connections_open, 0),
	COUNT(client_aborts, 1),
};

/* The accept queue is emptied beyond the limit: some of it is dead, some ends at once. */
static const struct step queue_into_a_shutdown[] = {
	CONNECT(C0),
	SEND(C0, GET("/a")),
	EXPECT(S0, "GET /a "),
	CONNECT(C1),
	SEND(C1, "NONSENSE\r\n\r\n"),
	CONNECT(C2),
	RESET(C2),
	CONNECT(C3),
	SEND(C3, GET("/b")),
	NEVER(S1),
	DRAIN(SHUTDOWN),
	STOPPED,
	EXPECT(C1, "HTTP/1.1 400 "),
	EXPECT(S1, "GET /b "),
	SEND(S1, OK(1) "b"),
	EXPECT(C3, "Connection: close\r\n\r\nb"),
	ENDS(C3),
	SEND(S0, OK(1) "a"),
	EXPECT(C0, "Connection: close\r\n\r\na"),
	ENDS(C0),
	CLOSE(C1),
	DRAINED(0),
};

/* A shutdown that finds more waiting on an idle connection than one read takes. */
static const struct step much_waits_at_the_shutdown[] = {
	CONNECT(C0),
	SEND(C0, GET("/a")),
	EXPECT(S0, "GET /a "),
	SEND(S0, OK(1) "a"),
	EXPECT(C0, "\r\n\r\na"),
	DRAIN(SHUTDOWN),
	SEND(C0, POST("/p1", 100000)),
	FILL(C0, 100000),
	EXPECT(S1, "\r\n\r\n"),
	PATTERN(S1, 100000),
	SEND(S1, OK(1) "b"),
	EXPECT(C0, "Connection: close\r\n\r\nb"),
	ENDS(C0),
	DRAINED(0),
};

static const struct scenario scenarios[] = {
	SCENARIO(bytes_behind_the_last),
	SCENARIO(bytes_behind_a_later_one),
	SCENARIO(pipelined_into_a_drain),
	SCENARIO(bytes_behind_while_closing),
	SCENARIO(request_and_fin),
	SCENARIO(reply_and_fin),
	SCENARIO(reply_and_reset),
	SCENARIO(body_and_reset, .until_close = 3),
	SCENARIO(request_and_reset),
	SCENARIO(tunnel_and_fin),
	SCENARIO(refused_body_goes_on),
	SCENARIO(refused_with_reset),
	SCENARIO(first_request_abandoned),
	SCENARIO(queue_into_a_shutdown, .setup = { .connections = 1 }),
	SCENARIO(much_waits_at_the_shutdown, .setup = { .unix_sockets = true }),
	SCENARIO(read_filled_by_a_body, .setup = { .unix_sockets = true }),
	SCENARIO(read_filled_then_fin, .setup = { .unix_sockets = true }),
};

int main(int argc, char **argv)
{
	return script_main(scenarios, ARRAY_LEN(scenarios), argc > 1 ? argv[1] : NULL);
}
