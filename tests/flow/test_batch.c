/* Several connections in one turn: what is read and sent together. */
#include "flow/script.h"

#define ROUND(c, s, what) \
	SEND(c, GET("/" what)), EXPECT(s, "GET /" what " "), SEND(s, OK(2) what), EXPECT(c, "\r\n\r\n" what)

/* Four clients that have had an answer, and a pooled connection to each of two workers. */
#define FOUR \
	CONNECT(C0), CONNECT(C1), CONNECT(C2), CONNECT(C3), \
	ROUND(C0, S0, "w0"), ROUND(C1, S1, "w1"), ROUND(C2, S0, "w2"), ROUND(C3, S1, "w3")

/* No turn passes between what is sent. */
static const struct step together[] = {
	FOUR,
	SEND(C0, GET("/a0")), SEND(C1, GET("/a1")), SEND(C2, GET("/a2")), SEND(C3, GET("/a3")),
	EXPECT(S0, "GET /a0 "), EXPECT(S1, "GET /a1 "), EXPECT(S2, "GET /a2 "), EXPECT(S3, "GET /a3 "),
	COUNT(requests_in_flight, 4),
	SEND(S0, OK(2) "a0"), SEND(S1, OK(2) "a1"), SEND(S2, OK(2) "a2"), SEND(S3, OK(2) "a3"),
	EXPECT(C0, "\r\n\r\na0"), EXPECT(C1, "\r\n\r\na1"), EXPECT(C2, "\r\n\r\na2"), EXPECT(C3, "\r\n\r\na3"),
	SILENCE(C0),
	/* All four from the pool. */
	SEND(C0, GET("/b0")), SEND(C1, GET("/b1")), SEND(C2, GET("/b2")), SEND(C3, GET("/b3")),
	EXPECT(S2, "GET /b0 "), EXPECT(S3, "GET /b1 "), EXPECT(S0, "GET /b2 "), EXPECT(S1, "GET /b3 "),
	COUNT(upstream_connects, 4),
	SEND(S3, OK(2) "b1"), SEND(S0, OK(2) "b2"), SEND(S1, OK(2) "b3"), SEND(S2, OK(2) "b0"),
	EXPECT(C0, "\r\n\r\nb0"), EXPECT(C1, "\r\n\r\nb1"), EXPECT(C2, "\r\n\r\nb2"), EXPECT(C3, "\r\n\r\nb3"),
	COUNT(requests_in_flight, 0),
	COUNT(connections_idle, 4),
	LOG("\"GET /b3 HTTP/1.1\" 200 2 "),
	BUSIEST(4), /* those that are left for the end of the turn are told once */
};

/* Small and large, whole and in parts, heads that are not complete. */
static const struct step mixed[] = {
	FOUR,
	SEND(C0, "GET /a0 HTTP/1.1\r\nHo"), SEND(C1, POST("/p1", 5) "he"), SEND(C2, GET("/a2") GET("/a2b")),
	SEND(C3, "GET /a3 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"),
	EXPECT(S0, "POST /p1 "), EXPECT(S1, "GET /a2 "), EXPECT(S2, "GET /a3 "),
	SEND(C0, "st: a\r\n\r\n"), SEND(C1, "llo"),
	SEND(S0, "HTTP/1.1 100 Continue\r\n\r\n" OK(2)), SEND(S1, OK(40000)), FILL(S1, 40000),
	SEND(S2, OK(2) "a3"),
	EXPECT(C3, "\r\n\r\na3"), ENDS(C3),
	EXPECT(C2, "\r\n\r\n"), PATTERN(C2, 40000),
	EXPECT(S0, "hello"), SEND(S0, "p1"), EXPECT(C1, "\r\n\r\np1"),
	EXPECT(S3, "GET /a0 "), SEND(S3, OK(2) "a0"), EXPECT(C0, "\r\n\r\na0"),
	EXPECT(S2, "GET /a2b "), SEND(S2, OK(3) "a2b"), EXPECT(C2, "\r\n\r\na2b"),
	COUNT(requests_in_flight, 0),
};

/* Some of those that are read or sent for are gone by then. */
static const struct step some_go[] = {
	FOUR,
	SEND(C0, GET("/a0")), SEND(C1, GET("/a1")), SEND(C2, GET("/a2")), SEND(C3, GET("/a3")),
	EXPECT(S0, "GET /a0 "), EXPECT(S1, "GET /a1 "), EXPECT(S2, "GET /a2 "), EXPECT(S3, "GET /a3 "),
	SEND(S0, OK(2) "a0"), SEND(S1, OK(2) "a1"), SEND(S2, OK(2) "a2"), SEND(S3, OK(2) "a3"),
	RESET(C1), CLOSE(S2), CLOSE(C3),
	EXPECT(C0, "\r\n\r\na0"), EXPECT(C2, "\r\n\r\na2"),
	COUNT(requests_in_flight, 0),
	COUNT(connections_open, 2),
	/* And workers' connections that requests were meant for. */
	CLOSE(S0), RESET(S1),
	SEND(C0, POST("/p1", 1) "x"), SEND(C2, POST("/p2", 1) "y"),
	EXPECT(S4, "POST /p1 "), SEND(S4, OK(2) "p1"), EXPECT(C0, "\r\n\r\np1"),
	EXPECT(S3, "POST /p2 "), SEND(S3, OK(2) "p2"), EXPECT(C2, "\r\n\r\np2"),
};

/* The order to end comes in the turn in which requests do. */
static const struct step drained[] = {
	FOUR,
	SEND(C0, GET("/a0")), SEND(C1, GET("/a1")), DRAIN(SHUTDOWN),
	EXPECT(S0, "GET /a0 "), EXPECT(S1, "GET /a1 "),
	SEND(S0, OK(2) "a0"), SEND(S1, OK(2) "a1"),
	EXPECT(C0, "\r\n\r\na0"), ENDS(C0), EXPECT(C1, "\r\n\r\na1"), ENDS(C1),
	ENDS(C2), ENDS(C3),
	DRAINED(0),
};

/* A worker talks on a pooled connection as a request is about to take it: that is no answer to
 * it, so it must not be read by the call that reads the request. */
#define TALKS(request, line) \
	CONNECT(C0), CONNECT(C1), ROUND(C0, S0, "w0"), ROUND(C1, S1, "w1"), \
	SEND(C0, request), SEND(S0, OK(3) "bad"), \
	EXPECT(S2, line), SILENCE(C0), REFUSED_REPLY(EXTRA_BYTES, 1), \
	SEND(S2, OK(2) "a0"), EXPECT(C0, "\r\n\r\na0"), SILENCE(C0)

static const struct step talks_as_it_is_taken[] = { TALKS(GET("/a0"), "GET /a0 ") };
static const struct step talks_as_a_post_comes[] = { TALKS(POST("/p1", 1) "x", "POST /p1 ") };

/* The last of an answer was left for the end of the turn, and is not taken whole then: its
 * client is between two requests already. */
#define SHORT_ANSWER(times) \
	CONNECT(C0), ROUND(C0, S0, "w0"), SEND(C0, GET("/a0")), EXPECT(S0, "GET /a0 "), \
	NARROW(5, times), SEND(S0, OK(2) "a0"), EXPECT(C0, "HTTP/")

static const struct step short_answer[] = {
	SHORT_ANSWER(1),
	EXPECT(C0, "\r\n\r\na0"),
	COUNT(connections_idle, 1),
	ROUND(C0, S0, "b0"),
};

static const struct step short_then_fin[] = {
	SHORT_ANSWER(3),
	SHUT(C0),
	EXPECT(C0, "\r\n\r\na0"), ENDS(C0),
};

/* The FIN came before the answer. */
static const struct step fin_then_short[] = {
	CONNECT(C0), ROUND(C0, S0, "w0"), SEND(C0, GET("/a0")), EXPECT(S0, "GET /a0 "),
	EXPECT(S0, "\r\n\r\n"), SHUT(C0), SILENCE(S0),
	NARROW(5, 1), SEND(S0, OK(2) "a0"),
	EXPECT(C0, "\r\n\r\na0"), ENDS(C0),
};

static const struct step short_then_drain[] = {
	SHORT_ANSWER(2),
	DRAIN(SHUTDOWN),
	EXPECT(C0, "\r\n\r\na0"), ENDS(C0),
	DRAINED(0),
};

static const struct step drain_then_short[] = {
	CONNECT(C0), ROUND(C0, S0, "w0"), SEND(C0, GET("/a0")), EXPECT(S0, "GET /a0 "),
	EXPECT(S0, "\r\n\r\n"), DRAIN(SHUTDOWN), SILENCE(S0),
	NARROW(5, 1), SEND(S0, OK(2) "a0"),
	EXPECT(C0, "\r\n\r\na0"), ENDS(C0),
	DRAINED(0),
};

/* The last byte of an answer is left, and in the same turn something else comes; the first
 * `times` attempts to send it fail. */
#define LEFT(times) \
	CONNECT(C0), ROUND(C0, S0, "w0"), SEND(C0, GET("/a0")), EXPECT(S0, "GET /a0 "), EXPECT(S0, "\r\n\r\n"), \
	SEND(S0, OK(2) "a"), EXPECT(C0, "\r\n\r\na"), NARROW(0, times), SEND(S0, "0")

static const struct step left_then_next[] = {
	LEFT(1), SEND(C0, GET("/b0") GET("/c0")),
	EXPECT(C0, "0"), EXPECT(S0, "GET /b0 "), SEND(S0, OK(2) "b0"), EXPECT(C0, "\r\n\r\nb0"),
	EXPECT(S0, "GET /c0 "), SEND(S0, OK(2) "c0"), EXPECT(C0, "\r\n\r\nc0"),
	BUSIEST(2),
};

static const struct step left_then_fin[] = { LEFT(1), SHUT(C0), EXPECT(C0, "0"), ENDS(C0) };

static const struct step left_then_reset[] = {
	LEFT(0), RESET(C0), CONNECT(C1), ROUND(C1, S0, "w1"),
	COUNT(connections_open, 1),
};

static const struct step left_then_worker_gone[] = {
	LEFT(1), CLOSE(S0), SEND(C0, GET("/b0")),
	EXPECT(C0, "0"), EXPECT(S1, "GET /b0 "), SEND(S1, OK(2) "b0"), EXPECT(C0, "\r\n\r\nb0"),
};

static const struct step left_then_shutdown[] = { LEFT(1), DRAIN(SHUTDOWN), EXPECT(C0, "0"), ENDS(C0), DRAINED(0) };
static const struct step left_then_soft[] = { LEFT(1), DRAIN(SOFT), EXPECT(C0, "0"), ENDS(C0), DRAINED(0) };
static const struct step left_then_hard[] = { LEFT(1), DRAIN(HARD), BREAKS(C0), DRAINED(1) };

/* All of it has left by then: nothing is owed. */
static const struct step taken_then_hard[] = { LEFT(0), DRAIN(HARD), EXPECT(C0, "0"), BREAKS(C0), DRAINED(0) };

/* Levels that would close an idle one hard. */
static const struct step short_then_soft[] = {
	SHORT_ANSWER(2),
	DRAIN(SOFT),
	EXPECT(C0, "\r\n\r\na0"), ENDS(C0),
	DRAINED(0),
};

static const struct step short_then_hard[] = {
	SHORT_ANSWER(2),
	DRAIN(HARD),
	BREAKS(C0),
	DRAINED(1),
};

static const struct step short_then_reset[] = {
	SHORT_ANSWER(2),
	RESET(C0), CONNECT(C1), ROUND(C1, S0, "w1"),
	COUNT(connections_open, 1),
};

static const struct step worker_ends_behind[] = {
	CONNECT(C0), ROUND(C0, S0, "w0"), SEND(C0, GET("/a0")), EXPECT(S0, "GET /a0 "), EXPECT(S0, "\r\n\r\n"),
	NARROW(5, 2), SEND(S0, OK(2) "a0"), CLOSE(S0), EXPECT(C0, "HTTP/"), SEND(C0, GET("/b0")),
	EXPECT(S1, "GET /b0 "), SEND(S1, OK(2) "b0"),
	EXPECT(C0, "\r\n\r\na0"), EXPECT(C0, "\r\n\r\nb0"),
};

/* The clock of its next head is not that of the answer which is still on the way. */
static const struct step short_then_slowly[] = {
	SHORT_ANSWER(2),
	NARROW(7, 2), SEND(C0, "GET /b0 HTTP/1.1\r\n"), EXPECT(C0, "1.1 200"),
	NARROW(7, 2), SEND(C0, "Host: a\r\n"), EXPECT(C0, " OK\r\nCo"),
	SEND(C0, "\r\n"),
	EXPECT(C0, "\r\n\r\na0"),
	EXPECT(S0, "GET /b0 "), SEND(S0, OK(2) "b0"), EXPECT(C0, "\r\n\r\nb0"),
};

/* The next request has come, and part of a third that will not be whole. */
static const struct step short_then_next[] = {
	SHORT_ANSWER(3),
	SEND(C0, GET("/b0") "GET /c"), SHUT(C0),
	EXPECT(S0, "GET /b0 "), SEND(S0, OK(2) "b0"),
	EXPECT(C0, "\r\n\r\na0"), EXPECT(C0, "\r\n\r\nb0"), ENDS(C0),
};

/* Its first bytes were to be read at the end of the turn, and are before, by the order to
 * end; nothing more is, as long as no worker takes them. */
static const struct step read_by_drain[] = {
	CONNECT(C0), ROUND(C0, S0, "w0"), COMING(1), ROSTER(0, STOPPING), ROSTER(1, STOPPING), SILENCE(C0),
	SEND(C0, POST("/p1", 150000)), FILL(C0, 150000), DRAIN(SHUTDOWN),
	COUNT(requests_in_flight, 1),
	ROSTER(1, UP),
	EXPECT(S1, "\r\n\r\n"), PATTERN(S1, 150000), SEND(S1, OK(2) "p1"),
	EXPECT(C0, "\r\n\r\np1"), ENDS(C0),
	DRAINED(0),
};

/* Who has spoken by the time that its wait is found to be over is heard. */
static const struct step spoke_in_time[] = {
	CONNECT(C0), CONNECT(C1), ROUND(C0, S0, "w0"), ROUND(C1, S1, "w1"),
	SEND(C0, GET("/a0")), TICK_BEHIND(3600000),
	EXPECT(S2, "GET /a0 "), SEND(S2, OK(2) "a0"), TICK_BEHIND(3600000),
	EXPECT(C0, "\r\n\r\na0"),
	ENDS(C1),
};

/* The next generation takes a client that has had all of its last answer, or owes it the rest. */
#define GOES_ON \
	SEND(C0, GET("/b0")), EXPECT(H0, "GET /b0 "), SEND(H0, OK(2) "b0"), EXPECT(C0, "\r\n\r\nb0")

static const struct step short_then_given[] = {
	CONNECT(C0), ROUND(C0, S0, "w0"), SEND(C0, GET("/a0")), EXPECT(S0, "GET /a0 "), EXPECT(S0, "\r\n\r\n"),
	HAND_OVER, SILENCE(S0),
	NARROW(5, 1), SEND(S0, OK(2) "a0"), EXPECT(C0, "\r\n\r\na0"), TICK(100),
	GOES_ON,
	DRAINED(0),
};

/* The order comes behind the answer that is left, in its turn. */
static const struct step short_as_it_is_given[] = {
	LEFT(1), HAND_OVER, EXPECT(C0, "0"), TICK(100),
	GOES_ON,
	DRAINED(0),
};

/* Its request is there, and was to be read at the end of the turn: somebody reads it. */
static const struct step given_unread[] = {
	CONNECT(C0), CONNECT(C1), ROUND(C0, S0, "w0"), ROUND(C1, S1, "w1"),
	SEND(C0, GET("/a0")), SEND(C1, GET("/a1")), HAND_OVER,
	EXPECT(H0, "GET /a0 "), SEND(H0, OK(2) "a0"), EXPECT(C0, "\r\n\r\na0"),
	EXPECT(H1, "GET /a1 "), SEND(H1, OK(2) "a1"), EXPECT(C1, "\r\n\r\na1"),
	DRAINED(0),
};

static const struct step given_in_vain[] = {
	CONNECT(C0), CONNECT(C1), ROUND(C0, S0, "w0"), ROUND(C1, S1, "w1"),
	SEND(C0, GET("/a0")), SEND(C1, GET("/a1")), HAND_OVER_IN_VAIN,
	EXPECT(S0, "GET /a0 "), EXPECT(S1, "GET /a1 "), SEND(S1, OK(2) "a1"), SEND(S0, OK(2) "a0"),
	EXPECT(C0, "\r\n\r\na0"), EXPECT(C1, "\r\n\r\na1"),
};

static const struct scenario scenarios[] = {
	SCENARIO(together),
	SCENARIO(together, .setup = { .unix_sockets = true }),
	SCENARIO(mixed, .setup = { .unix_sockets = true }),
	SCENARIO(some_go),
	SCENARIO(drained),
	SCENARIO(short_answer, .setup = { .workers = 1 }),
	SCENARIO(short_then_fin, .setup = { .workers = 1 }),
	SCENARIO(fin_then_short, .setup = { .workers = 1 }),
	SCENARIO(short_then_drain, .setup = { .workers = 1 }),
	SCENARIO(drain_then_short, .setup = { .workers = 1 }),
	SCENARIO(short_then_next, .setup = { .workers = 1 }),
	SCENARIO(short_then_soft, .setup = { .workers = 1 }),
	SCENARIO(short_then_hard, .setup = { .workers = 1 }),
	SCENARIO(short_then_reset, .setup = { .workers = 1 }),
	SCENARIO(short_then_slowly, .setup = { .workers = 1, .min_rate = 1000 }),
	SCENARIO(worker_ends_behind, .setup = { .workers = 1 }),
	SCENARIO(worker_ends_behind, .setup = { .workers = 1, .unix_sockets = true }),
	SCENARIO(left_then_next, .setup = { .workers = 1 }),
	SCENARIO(left_then_fin, .setup = { .workers = 1 }),
	SCENARIO(left_then_fin, .setup = { .workers = 1, .unix_sockets = true }),
	SCENARIO(left_then_reset, .setup = { .workers = 1 }),
	SCENARIO(left_then_worker_gone, .setup = { .workers = 1 }),
	SCENARIO(left_then_shutdown, .setup = { .workers = 1 }),
	SCENARIO(left_then_soft, .setup = { .workers = 1 }),
	SCENARIO(left_then_hard, .setup = { .workers = 1 }),
	SCENARIO(taken_then_hard, .setup = { .workers = 1 }),
	SCENARIO(short_then_given, .setup = { .workers = 1 }),
	SCENARIO(short_as_it_is_given, .setup = { .workers = 1 }),
	SCENARIO(given_unread),
	SCENARIO(given_unread, .setup = { .unix_sockets = true }),
	SCENARIO(given_in_vain),
	SCENARIO(talks_as_it_is_taken),
	SCENARIO(talks_as_it_is_taken, .setup = { .unix_sockets = true }),
	SCENARIO(talks_as_a_post_comes),
	SCENARIO(read_by_drain, .setup = { .unix_sockets = true }),
	SCENARIO(spoke_in_time),
	SCENARIO(mixed),
};

int main(int argc, char **argv)
{
	return script_main(scenarios, ARRAY_LEN(scenarios), argc > 1 ? argv[1] : NULL);
}
