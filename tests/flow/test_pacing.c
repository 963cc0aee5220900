/* Connections to one worker are opened at a pace: who waits, for what, how long. */
#include "flow/script.h"

/* Four requests that the worker has not answered, each on a connection of its own. */
#define FOUR_UNANSWERED                                                             \
	CONNECT(C0), SEND(C0, GET("/0")), EXPECT(S0, "GET /0 "), CONNECT(C1),       \
		SEND(C1, GET("/1")), EXPECT(S1, "GET /1 "), CONNECT(C2),            \
		SEND(C2, GET("/2")), EXPECT(S2, "GET /2 "), CONNECT(C3),            \
		SEND(C3, GET("/3")), EXPECT(S3, "GET /3 ")
#define C4 4u

static const struct step waits_for_a_free_connection[] = {
	FOUR_UNANSWERED,
	CONNECT(C4),
	SEND(C4, GET("/4")),
	NEVER(S4),
	SEND(S1, OK(1) "b"),
	EXPECT(C1, "\r\n\r\nb"),
	EXPECT(S1, "GET /4 "), /* on the connection that came free */
	SEND(S1, OK(1) "e"),
	EXPECT(C4, "\r\n\r\ne"),
	COUNT(upstream_connects, 4),
	COUNT(upstream_reuses, 1),
};

/* An answer also makes room for a new connection, when its own does not come free. */
static const struct step waits_for_an_answer[] = {
	FOUR_UNANSWERED,
	CONNECT(C4),
	SEND(C4, GET("/4")),
	NEVER(S4),
	SEND(S1, OK(2) "b"), /* half of the body */
	EXPECT(C1, "\r\n\r\nb"),
	EXPECT(S4, "GET /4 "),
	SEND(S4, OK(1) "e"),
	EXPECT(C4, "\r\n\r\ne"),
	SEND(S1, "b"),
	EXPECT(C1, "b"),
};

/* One that had answered before, and is free again. */
static const struct step waits_for_a_pooled_connection[] = {
	CONNECT(C4),
	SEND(C4, GET("/4")),
	EXPECT(S0, "GET /4 "),
	SEND(S0, OK(1) "x"),
	EXPECT(C4, "\r\n\r\nx"),
	SEND(C4, GET("/4")), EXPECT(S0, "GET /4 "),
	CONNECT(C0), SEND(C0, GET("/0")), EXPECT(S1, "GET /0 "),
	CONNECT(C1), SEND(C1, GET("/1")), EXPECT(S2, "GET /1 "),
	CONNECT(C2), SEND(C2, GET("/2")), EXPECT(S3, "GET /2 "),
	CONNECT(C3), SEND(C3, GET("/3")), EXPECT(S4, "GET /3 "),
	CONNECT(5u),
	SEND(5u, GET("/5")),
	NEVER(S5),
	SEND(S0, OK(1) "x"),
	EXPECT(C4, "\r\n\r\nx"),
	EXPECT(S0, "GET /5 "),
	COUNT(upstream_connects, 5),
};

static const struct step not_for_long[] = {
	FOUR_UNANSWERED,
	CONNECT(C4),
	SEND(C4, GET("/4")),
	TICK(49),
	NEVER(S4),
	TICK(1),
	EXPECT(S4, "GET /4 "),
	SEND(S4, OK(1) "e"),
	EXPECT(C4, "\r\n\r\ne"),
};

/* Slow uploads and long polls: their connections were accepted long ago. */
static const struct step unanswered_for_long[] = {
	FOUR_UNANSWERED,
	TICK(60),
	CONNECT(C4),
	SEND(C4, GET("/4")),
	EXPECT(S4, "GET /4 "),
	SEND(S4, OK(1) "e"),
	EXPECT(C4, "\r\n\r\ne"),
};

/* A worker that takes its time would keep others waiting for nothing. */
static const struct step slow_workers_are_not_paced[] = {
	CONNECT(C4),
	SEND(C4, GET("/slow")),
	EXPECT(S0, "GET /slow "),
	TICK(60),
	SEND(S0, OK(1) "s"),
	EXPECT(C4, "\r\n\r\ns"),
	CONNECT(C0), SEND(C0, GET("/0")), EXPECT(S0, "GET /0 "), /* the pooled one */
	CONNECT(C1), SEND(C1, GET("/1")), EXPECT(S1, "GET /1 "),
	CONNECT(C2), SEND(C2, GET("/2")), EXPECT(S2, "GET /2 "),
	CONNECT(C3), SEND(C3, GET("/3")), EXPECT(S3, "GET /3 "),
	SEND(C4, GET("/4")), EXPECT(S4, "GET /4 "),
	CONNECT(5u), SEND(5u, GET("/5")), EXPECT(S5, "GET /5 "),
};

/* One that closes after each reply never has a connection that comes free. */
static const struct step closing_workers_are_not_paced[] = {
	CONNECT(C4),
	SEND(C4, GET("/first")),
	EXPECT(S0, "GET /first "),
	EXPECT(S0, "\r\n\r\n"),
	SEND(S0, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1\r\n\r\nf"),
	EXPECT(C4, "\r\n\r\nf"),
	ENDS(S0),
	CONNECT(C0), SEND(C0, GET("/0")), EXPECT(S1, "GET /0 "),
	CONNECT(C1), SEND(C1, GET("/1")), EXPECT(S2, "GET /1 "),
	CONNECT(C2), SEND(C2, GET("/2")), EXPECT(S3, "GET /2 "),
	CONNECT(C3), SEND(C3, GET("/3")), EXPECT(S4, "GET /3 "),
	SEND(C4, GET("/4")), EXPECT(S5, "GET /4 "),
};

/* The worker leaves before the request had a connection: another one gets it. */
static const struct step the_worker_leaves[] = {
	ROSTER(1, DOWN),
	FOUR_UNANSWERED,
	CONNECT(C4),
	SEND(C4, GET("/4")),
	NEVER(S4),
	ROSTER(1, UP),
	ROSTER(0, DRAINING),
	ACKED,
	EXPECT(S4, "GET /4 "),
	AT(S4, 1),
	SEND(S4, OK(1) "e"),
	EXPECT(C4, "\r\n\r\ne"),
};

static const struct step the_client_leaves[] = {
	FOUR_UNANSWERED,
	EXPECT(S1, "\r\n\r\n"),
	CONNECT(C4),
	SEND(C4, GET("/4")),
	RESET(C4),
	COUNT(client_aborts, 1),
	SEND(S1, OK(1) "b"),
	EXPECT(C1, "\r\n\r\nb"),
	SILENCE(S1),
	COUNT(upstream_connects, 4),
};

static const struct scenario scenarios[] = {
	SCENARIO(waits_for_a_free_connection, .setup = { .workers = 1 }),
	SCENARIO(waits_for_a_pooled_connection, .setup = { .workers = 1 }),
	SCENARIO(waits_for_an_answer, .setup = { .workers = 1 }),
	SCENARIO(not_for_long, .setup = { .workers = 1 }),
	SCENARIO(unanswered_for_long, .setup = { .workers = 1 }),
	SCENARIO(slow_workers_are_not_paced, .setup = { .workers = 1 }),
	SCENARIO(closing_workers_are_not_paced, .setup = { .workers = 1 }),
	SCENARIO(the_worker_leaves, .setup = { .workers = 2 }),
	SCENARIO(the_client_leaves, .setup = { .workers = 1 }),
};

int main(int argc, char **argv)
{
	return script_main(scenarios, ARRAY_LEN(scenarios), argc > 1 ? argv[1] : NULL);
}
