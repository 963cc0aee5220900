/* The ends of a balancer, and of its connections: drain levels, the master gone,
 * limits on connections, each timeout. */
#include "flow/script.h"


/* ---- drain ---- */

static const struct step reload[] = {
	CONNECT(C0),
	CONNECT(C1),
	CONNECT(C2),
	SEND(C0, GET("/a")),
	EXPECT(S0, "GET /a "),
	SEND(C1, GET("/b")),
	EXPECT(S1, "GET /b "),
	SEND(S1, OK(1) "b"),
	EXPECT(C1, "\r\n\r\nb"),
	DRAIN(RELOAD),
	STOPPED,
	SILENCE(C0),
	SILENCE(C1), /* idle ones are not cut under the next request */
	SILENCE(C2),
	SEND(S0, OK(1) "a"),
	EXPECT(C0, "Connection: close\r\n\r\na"),
	ENDS(C0),
	SEND(C1, GET("/c")),
	EXPECT(S0, "GET /c "),
	SEND(S0, OK(1) "c"),
	EXPECT(C1, "Connection: close\r\n\r\nc"),
	ENDS(C1),
	SEND(C2, GET("/d")),
	EXPECT(S1, "GET /d "),
	SEND(S1, OK(1) "d"),
	EXPECT(C2, "Connection: close\r\n\r\nd"),
	ENDS(C2),
	DRAINED(0),
};

static const struct step reload_idle_out[] = {
	CONNECT(C0),
	SEND(C0, GET("/a")),
	EXPECT(S0, "GET /a "),
	SEND(S0, OK(1) "a"),
	EXPECT(C0, "\r\n\r\na"),
	DRAIN(RELOAD),
	STOPPED,
	TICK(75000),
	ENDS(C0),
	DRAINED(0),
};

/* In the queue of the listening socket when the order comes: taken, and answered. */
static const struct step reload_takes_the_queue[] = {
	DRAIN(RELOAD),
	CONNECT(C0),
	SEND(C0, GET("/a")),
	CONNECT(C1),
	STOPPED,
	EXPECT(S0, "GET /a "),
	SEND(S0, OK(1) "a"),
	EXPECT(C0, "Connection: close\r\n\r\na"),
	ENDS(C0),
	SILENCE(C1),
	SEND(C1, GET("/b")),
	EXPECT(S1, "GET /b "),
	SEND(S1, OK(1) "b"),
	EXPECT(C1, "Connection: close\r\n\r\nb"),
	DRAINED(0),
};

static const struct step shutdown_idle[] = {
	CONNECT(C0), /* served once: ended now */
	SEND(C0, GET("/a")),
	EXPECT(S0, "GET /a "),
	EXPECT(S0, "\r\n\r\n"),
	SEND(S0, OK(1) "a"),
	EXPECT(C0, "\r\n\r\na"),
	CONNECT(C1), /* never asked: a moment, its request may be on the way */
	CONNECT(C2), /* its request is there */
	SILENCE(C1),
	SILENCE(S0),
	DRAIN(SHUTDOWN),
	SEND(C2, GET("/c")),
	ENDS(C0),
	ENDS(S0),
	EXPECT(S1, "GET /c "),
	SEND(S1, OK(1) "c"),
	EXPECT(C2, "Connection: close\r\n\r\nc"),
	SILENCE(C1),
	TICK(2000),
	ENDS(C1),
	DRAINED(0),
};

/* Its answer promised more, and the shutdown came while it was on its way. */
static const struct step shutdown_under_a_reply[] = {
	CONNECT(C0),
	SEND(C0, GET("/a")),
	EXPECT(S0, "GET /a "),
	SEND(S0, OK(4) "ab"),
	EXPECT(C0, "\r\n\r\nab"),
	DRAIN(SHUTDOWN),
	STOPPED,
	SEND(S0, "cd"),
	EXPECT(C0, "cd"),
	ENDS(C0),
	DRAINED(0),
};

static const struct step soft_under_a_reply[] = {
	CONNECT(C0),
	SEND(C0, GET("/a")),
	EXPECT(S0, "GET /a "),
	SEND(S0, OK(4) "ab"),
	EXPECT(C0, "\r\n\r\nab"),
	DRAIN(SHUTDOWN),
	DRAIN(SOFT),
	STOPPED,
	SEND(S0, "cd"),
	EXPECT(C0, "cd"),
	ENDS(C0),
	DRAINED(0),
};

/* What is pipelined behind it has arrived, so it is answered. */
static const struct step shutdown_pipelined[] = {
	CONNECT(C0),
	SEND(C0, GET("/a") GET("/b")),
	EXPECT(S0, "GET /a "),
	SEND(S0, OK(4) "ab"),
	EXPECT(C0, "\r\n\r\nab"),
	DRAIN(SHUTDOWN),
	STOPPED,
	SEND(S0, "cd"),
	EXPECT(C0, "cd"),
	EXPECT(S1, "GET /b "),
	SEND(S1, OK(1) "b"),
	EXPECT(C0, "Connection: close\r\n\r\nb"),
	ENDS(C0),
	DRAINED(0),
};

static const struct step shutdown_queued[] = {
	ROSTER(0, DOWN),
	ROSTER(1, DOWN),
	COMING(1),
	CONNECT(C0),
	SEND(C0, GET("/a")),
	COUNT(requests_queued, 1),
	DRAIN(SHUTDOWN),
	STOPPED,
	ROSTER(1, UP),
	EXPECT(S0, "GET /a "),
	SEND(S0, OK(1) "a"),
	EXPECT(C0, "Connection: close\r\n\r\na"),
	DRAINED(0),
};

static const struct step soft_and_hard[] = {
	CONNECT(C0), /* never asks */
	CONNECT(C1), /* lingers: refused with bytes to come */
	CONNECT(C2), /* waits for its worker */
	CONNECT(C3), /* half a head */
	SEND(C1, "nonsense\r\n\r\n"),
	EXPECT(C1, "HTTP/1.1 400 "),
	EXPECT(C1, "\r\n\r\n"),
	SEND(C2, GET("/a")),
	EXPECT(S0, "GET /a "),
	SEND(C3, "GET /b"),
	SILENCE(C3),
	DRAIN(SHUTDOWN),
	STOPPED,
	SILENCE(C0),
	COUNT(connections_open, 4),
	DRAIN(SOFT),
	BREAKS(C0),
	COUNT(connections_open, 2),
	SILENCE(C2),
	DRAIN(HARD),
	BREAKS(C2),
	BREAKS(C3),
	DRAINED(1),
	COUNT(connections_forced, 2),
};

static const struct step hard_tunnel[] = {
	CONNECT(C0),
	SEND(C0, "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n"),
	EXPECT(S0, "\r\n\r\n"),
	SEND(S0, "HTTP/1.1 101 Go\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n"),
	EXPECT(C0, "HTTP/1.1 101 Go\r\n"),
	DRAIN(SHUTDOWN),
	DRAIN(SOFT),
	STOPPED,
	SEND(C0, "still"),
	EXPECT(S0, "still"),
	DRAIN(HARD),
	BREAKS(C0),
	DRAINED(1),
};

/* The second TERM: at once.  Nothing unfinished was cut, so nothing was forced. */
static const struct step hard_but_idle[] = {
	CONNECT(C0),
	CONNECT(C1),
	SEND(C0, GET("/a")),
	EXPECT(S0, "GET /a "),
	SEND(S0, OK(1) "a"),
	EXPECT(C0, "\r\n\r\na"),
	SILENCE(C1),
	DRAIN(HARD),
	BREAKS(C0),
	DRAINED(0),
	COUNT(connections_forced, 0),
};

static const struct step orphaned[] = {
	CONNECT(C0), /* idle */
	CONNECT(C1),
	CONNECT(C2),
	SEND(C1, GET("/a")),
	EXPECT(S0, "GET /a "),
	SEND(C2, GET("/b")),
	EXPECT(S1, "GET /b "),
	ORPHAN,
	SILENCE(C1),
	SEND(S0, OK(1) "a"),
	EXPECT(C1, "Connection: close\r\n\r\na"),
	ENDS(C1),
	TICK(4900),
	ENDS(C0),
	SILENCE(C2),
	TICK(5000),
	SILENCE(C2),
	TICK(100),
	BREAKS(C2),
	DRAINED(1),
};

/* No descriptor is left for the new log: it is the log that waits, not the traffic. */
static const struct step reopen_without_descriptors[] = {
	CONNECT(C0),
	SEND(C0, GET("/a")),
	EXPECT(S0, "GET /a "),
	SEND(S0, OK(1) "a"),
	EXPECT(C0, "\r\n\r\na"),
	SILENCE(C0),
	FD_LIMIT(0),
	REOPEN,
	SILENCE(C0),
	FD_LIMIT(-1),
	SEND(C0, GET("/b")),
	EXPECT(S1, "GET /b "),
	SEND(S1, OK(1) "b"),
	EXPECT(C0, "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nb"),
	SILENCE(C0),
	LOG("\"GET /b "),
};

/* ---- room ---- */

static const struct step connection_limit[] = {
	CONNECT(C0),
	CONNECT(C1),
	CONNECT(C2),
	SEND(C2, GET("/c")),
	SILENCE(C2),
	COUNT(connections_open, 2),
	COUNT(accept_paused, 1),
	TICK(100),
	NEVER(S0),
	SEND(C0, GET("/a")),
	EXPECT(S0, "GET /a "),
	SEND(S0, OK(1) "a"),
	EXPECT(C0, "\r\n\r\na"),
	CLOSE(C1),
	EXPECT(S1, "GET /c "),
	SEND(S1, OK(1) "c"),
	EXPECT(C2, "\r\n\r\nc"),
	COUNT(connections_open, 2),
};

/* The last descriptors are for what the clients that are here will ask for. */
static const struct step descriptors_are_left[] = {
	CONNECT(C0),
	CONNECT(C1),
	CONNECT(C2),
	CONNECT(C3),
	SEND(C3, GET("/d")),
	SILENCE(C3),
	COUNT(connections_open, 3),
	COUNT(accept_paused, 1),
	SEND(C0, GET("/a")),
	EXPECT(S0, "GET /a "),
	SEND(S0, OK(1) "a"),
	EXPECT(C0, "\r\n\r\na"),
	CLOSE(C1),
	NEVER(S1), /* the pooled connection counts too */
	CLOSE(S0),
	EXPECT(S1, "GET /d "),
	SEND(S1, OK(1) "d"),
	EXPECT(C3, "\r\n\r\nd"),
	COUNT(connections_open, 3),
};

/* Nobody comes after this process: those in the queue are its own, limit or not. */
static const struct step shutdown_at_the_limit[] = {
	CONNECT(C0),
	SEND(C0, GET("/a")),
	EXPECT(S0, "GET /a "),
	CONNECT(C1),
	SEND(C1, GET("/b")),
	CONNECT(C2),
	SEND(C2, GET("/c")),
	SILENCE(C2),
	COUNT(connections_open, 1),
	DRAIN(SHUTDOWN),
	EXPECT(S1, "GET /"),
	SEND(S1, OK(1) "x"),
	EXPECT(S2, "GET /"),
	SEND(S2, OK(1) "x"),
	EXPECT(C1, "Connection: close\r\n\r\nx"),
	EXPECT(C2, "Connection: close\r\n\r\nx"),
	SEND(S0, OK(1) "a"),
	EXPECT(C0, "Connection: close\r\n\r\na"),
	DRAINED(0),
};

/* The next generation has the same sockets. */
static const struct step reload_at_the_limit[] = {
	CONNECT(C0),
	SEND(C0, GET("/a")),
	EXPECT(S0, "GET /a "),
	CONNECT(C1),
	SEND(C1, GET("/b")),
	SILENCE(C1),
	DRAIN(RELOAD),
	STOPPED,
	NEVER(S1),
	SEND(S0, OK(1) "a"),
	EXPECT(C0, "Connection: close\r\n\r\na"),
	DRAINED(0),
};

static const struct step out_of_descriptors[] = {
	CONNECT(C0),
	SILENCE(C0),
	CONNECT(C1),
	SEND(C1, GET("/b")),
	FD_LIMIT(0),
	COUNT(accept_paused, 1),
	TICK(100),
	COUNT(accept_paused, 2), /* tried again, in vain */
	COUNT(connections_open, 1),
	CLOSE(C0),
	COUNT(connections_accepted, 2),
	FD_LIMIT(-1),
	EXPECT(S0, "GET /b "),
	SEND(S0, OK(1) "b"),
	EXPECT(C1, "\r\n\r\nb"),
};

/* Closing the first listening socket makes room for one more; the others are left to
 * the next generation. */
static const struct step reload_without_descriptors[] = {
	CONNECT(C0),
	SILENCE(C0),
	CONNECT(C1),
	CONNECT(C2),
	FD_LIMIT(0),
	DRAIN(RELOAD),
	STOPPED,
	COUNT(connections_open, 2),
	FD_LIMIT(-1),
	CLOSE(C0),
	SEND(C1, GET("/a")),
	EXPECT(S0, "GET /a "),
	SEND(S0, OK(1) "a"),
	EXPECT(C1, "Connection: close\r\n\r\na"),
	DRAINED(0),
};

/* ---- timeouts ---- */

static const struct step head_timeout[] = {
	CONNECT(C0),
	SEND(C0, "GET /"),
	SILENCE(C0),
	TICK(5000),
	SEND(C0, "a HTTP/1.1\r\n"), /* no reprieve for each byte */
	SILENCE(C0),
	TICK(5000),
	EXPECT(C0, "HTTP/1.1 408 "),
	EXPECT(C0, "Connection: close\r\n"),
	LOG("] \"GET /a HTTP/1.1\" 408 "),
};

static const struct step says_nothing[] = {
	CONNECT(C0),
	SILENCE(C0),
	TICK(10000),
	ENDS(C0),
};

static const struct step idle_timeout[] = {
	CONNECT(C0),
	SEND(C0, GET("/a")),
	EXPECT(S0, "\r\n\r\n"),
	SEND(S0, OK(1) "a"),
	EXPECT(C0, "\r\n\r\na"),
	TICK(4000),
	ENDS(S0), /* the pool has less patience */
	TICK(70999),
	SILENCE(C0),
	TICK(1),
	ENDS(C0),
};

static const struct step body_timeout[] = {
	CONNECT(C0),
	SEND(C0, POST("/p1", 9) "abc"),
	EXPECT(S0, "\r\n\r\nabc"),
	TICK(29000),
	SEND(C0, "def"),
	EXPECT(S0, "def"),
	TICK(29000),
	SILENCE(C0),
	TICK(1000),
	EXPECT(C0, "HTTP/1.1 408 "),
	EXPECT(C0, "Connection: close\r\n"),
	ENDS(S0),
};

static const struct step body_timeout_under_a_reply[] = {
	CONNECT(C0),
	SEND(C0, POST("/p1", 9) "abc"),
	EXPECT(S0, "\r\n\r\nabc"),
	SEND(S0, OK(9) "abc"),
	EXPECT(C0, "\r\n\r\nabc"),
	TICK(30000),
	BREAKS(C0),
};

static const struct step response_timeout[] = {
	CONNECT(C0),
	SEND(C0, GET("/a")),
	EXPECT(S0, "\r\n\r\n"),
	TICK(59000),
	SILENCE(C0),
	TICK(1000),
	EXPECT(C0, "HTTP/1.1 504 "),
	EXPECT(C0, "error=http_response_timeout"),
	ENDS(S0),
	COUNT(connections_idle, 1),
	NEVER(S1),
};

/* From the end of the request, however long that took. */
static const struct step response_timeout_after_a_body[] = {
	CONNECT(C0),
	SEND(C0, POST("/p1", 6) "abc"),
	EXPECT(S0, "\r\n\r\nabc"),
	TICK(29000),
	SEND(C0, "def"),
	EXPECT(S0, "def"),
	TICK(59000),
	SILENCE(C0),
	TICK(1000),
	EXPECT(C0, "HTTP/1.1 504 "),
};

static const struct step reply_stalls[] = {
	CONNECT(C0),
	SEND(C0, GET("/a")),
	EXPECT(S0, "\r\n\r\n"),
	TICK(59000),
	SEND(S0, OK(9) "abc"),
	EXPECT(C0, "\r\n\r\nabc"),
	TICK(59000),
	SEND(S0, "def"),
	EXPECT(C0, "def"),
	TICK(59000),
	SILENCE(C0),
	TICK(1000),
	BREAKS(C0),
	ENDS(S0),
};

static const struct step connect_timeout[] = {
	DOOR(0, SILENT),
	CONNECT(C0),
	SEND(C0, POST("/p1", 3) "abc"),
	SILENCE(C0),
	NEVER(S0),
	TICK(1900),
	NEVER(S0),
	TICK(100),
	EXPECT(S0, "POST /p1 "),
	AT(S0, 1),
	SEND(S0, OK(1) "a"),
	EXPECT(C0, "\r\n\r\na"),
};

static const struct step linger_timeout[] = {
	CONNECT(C0),
	SEND(C0, "nonsense\r\n\r\n"),
	EXPECT(C0, "HTTP/1.1 400 "),
	SEND(C0, "more of it"),
	TICK(1900),
	COUNT(connections_open, 1),
	SEND(C0, "and more"),
	TICK(100),
	COUNT(connections_open, 0),
};

static const struct scenario scenarios[] = {
	SCENARIO(reload),
	SCENARIO(reload_idle_out),
	SCENARIO(reload_takes_the_queue),
	SCENARIO(shutdown_idle),
	SCENARIO(shutdown_under_a_reply),
	SCENARIO(soft_under_a_reply),
	SCENARIO(shutdown_pipelined),
	SCENARIO(shutdown_queued),
	SCENARIO(soft_and_hard),
	SCENARIO(hard_tunnel),
	SCENARIO(hard_but_idle),
	SCENARIO(orphaned),
	SCENARIO(reopen_without_descriptors),
	SCENARIO(connection_limit, .setup = { .connections = 2 }),
	SCENARIO(descriptors_are_left, .setup = { .sockets = 3 }),
	SCENARIO(shutdown_at_the_limit, .setup = { .connections = 1 }),
	SCENARIO(reload_at_the_limit, .setup = { .connections = 1 }),
	SCENARIO(out_of_descriptors),
	SCENARIO(reload_without_descriptors),
	SCENARIO(head_timeout),
	SCENARIO(says_nothing),
	SCENARIO(idle_timeout),
	SCENARIO(body_timeout),
	SCENARIO(body_timeout_under_a_reply),
	SCENARIO(response_timeout),
	SCENARIO(response_timeout_after_a_body),
	SCENARIO(reply_stalls),
	SCENARIO(connect_timeout),
	SCENARIO(linger_timeout),
};

int main(int argc, char **argv)
{
	return script_main(scenarios, ARRAY_LEN(scenarios), argc > 1 ? argv[1] : NULL);
}
