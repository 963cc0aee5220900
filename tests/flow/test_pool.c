/* Connections to workers that are kept for the next request: one that the worker is closing
 * costs nobody a reply, and no request reaches a worker twice. */
#include "flow/script.h"

#define POOLED \
	CONNECT(C0), SEND(C0, GET("/a")), EXPECT(S0, "\r\n\r\n"), SEND(S0, OK(1) "x"), \
	EXPECT(C0, "\r\n\r\nx"), SILENCE(C0)

/* Nothing is sent over one that has waited for its time, also when the balancer was kept
 * from seeing to it. */
static const struct step waits_for_its_time[] = {
	POOLED,
	TICK(3999),
	SILENCE(S0),
	TICK(1),
	ENDS(S0),
	SEND(C0, GET("/b")),
	EXPECT(S1, "\r\n\r\n"),
	SEND(S1, OK(1) "y"),
	EXPECT(C0, "\r\n\r\ny"),
	SILENCE(C0),
	PAUSE(4000),
	SEND(C0, GET("/c")),
	ENDS(S1),
	EXPECT(S2, "GET /c "),
	SEND(S2, OK(1) "z"),
	EXPECT(C0, "\r\n\r\nz"),
	COUNT(upstream_reuses, 0),
};

/* The worker closes as the request comes: both are news in the same turn. */
static const struct step stale_for_get[] = {
	POOLED,
	SEND(C0, GET("/b")),
	CLOSE(S0),
	EXPECT(S1, "GET /b "),
	SEND(S1, OK(1) "y"),
	EXPECT(C0, "\r\n\r\ny"),
};

/* Both are killed at once: one that is dying is not asked a second time. */
static const struct step pooled_dies_with_the_other[] = {
	CONNECT(C0),
	SEND(C0, GET("/1")),
	EXPECT(S0, "GET /1 "),
	AT(S0, 0),
	SEND(S0, OK(1) "x"),
	EXPECT(C0, "\r\n\r\nx"),
	SEND(C0, GET("/2")),
	EXPECT(S1, "GET /2 "),
	AT(S1, 1),
	SEND(S1, OK(1) "x"),
	EXPECT(C0, "\r\n\r\nx"),
	SEND(C0, GET("/a")),
	EXPECT(S0, "GET /a "),
	RESET(S0),
	EXPECT(S2, "GET /a "),
	AT(S2, 1),
	RESET(S2),
	NEVER(S3),
	COUNT(requests_queued, 1),
	ROSTER(0, DOWN),
	ROSTER(1, DOWN),
	COMING(1),
	SILENCE(C0),
	REPLACE(0),
	EXPECT(S3, "GET /a "),
	SEND(S3, OK(1) "x"),
	EXPECT(C0, "\r\n\r\nx"),
	COUNT(retries, 2),
};

/* It has closed, or speaks unasked, and the balancer has yet to hear of it: a POST is not
 * sent there to find out.  The look before reuse sees it: nothing fails, nothing is retried. */
static const struct step stale_for_post[] = {
	POOLED,
	SOON(S0, NULL),
	SEND(C0, POST("/p1", 3) "abc"),
	EXPECT(S1, "POST /p1 "),
	EXPECT(S1, "\r\n\r\nabc"),
	SEND(S1, OK(1) "y"),
	EXPECT(C0, "\r\n\r\ny"),
	COUNT(upstream_reuses, 0),
	COUNT(upstream_connects, 2),
	COUNT(upstream_failures, 0),
	COUNT(retries, 0),
};

static const struct step talks_as_a_post_comes[] = {
	POOLED,
	SOON(S0, "HTTP/1.1 408 Late\r\nContent-Length: 0\r\n\r\n"),
	SEND(C0, POST("/p1", 3) "abc"),
	BREAKS(S0), /* what it said is left unread */
	EXPECT(S1, "POST /p1 "),
	EXPECT(S1, "\r\n\r\nabc"),
	SEND(S1, OK(1) "y"),
	EXPECT(C0, "HTTP/1.1 200 "),
	EXPECT(C0, "\r\n\r\ny"),
	COUNT(upstream_reuses, 0),
	COUNT(retries, 0),
};

/* Its FIN comes behind that look, in front of the request.  Over TCP it has been sent
 * then, to nobody: the POST goes out again, once, over a connection of its own. */
static const struct step closes_behind_the_look[] = {
	POOLED,
	LATE(S0, 0),
	SEND(C0, POST("/p1", 3) "abc"),
	EXPECT(S1, "POST /p1 "),
	EXPECT(S1, "\r\n\r\nabc"),
	COUNT(upstream_reuses, 1),
	COUNT(retries, 1),
	SEND(S1, OK(1) "y"),
	EXPECT(C0, "\r\n\r\ny"),
	SILENCE(S1),
	COUNT(upstream_connects, 2),
	COUNT(upstream_failures, 1),
};

/* On a Unix socket the send fails: that was no first time. */
static const struct step unix_closes_behind_the_look[] = {
	POOLED,
	LATE(S0, 0),
	SEND(C0, POST("/p1", 3) "abc"),
	EXPECT(S1, "POST /p1 "),
	EXPECT(S1, "\r\n\r\nabc"),
	COUNT(upstream_reuses, 1),
	COUNT(retries, 0),
	SEND(S1, OK(1) "y"),
	EXPECT(C0, "\r\n\r\ny"),
	SILENCE(S1),
	COUNT(upstream_failures, 1),
};

/* The second send does not trust the rest of the pool. */
static const struct step closes_with_others_pooled[] = {
	CONNECT(C0),
	CONNECT(C1),
	SEND(C1, GET("/b")),
	EXPECT(S0, "\r\n\r\n"),
	SEND(C0, GET("/a")),
	EXPECT(S1, "\r\n\r\n"),
	SEND(S1, OK(1) "x"),
	EXPECT(C0, "\r\n\r\nx"),
	SEND(S0, OK(1) "x"),
	EXPECT(C1, "\r\n\r\nx"),
	LATE(S0, 0), /* the last that came is the first to go */
	SEND(C0, POST("/p1", 3) "abc"),
	EXPECT(S2, "POST /p1 "),
	EXPECT(S2, "\r\n\r\nabc"),
	SEND(S2, OK(1) "y"),
	EXPECT(C0, "\r\n\r\ny"),
	SILENCE(S1),
};

/* The worker read the beginning and closed: it may have acted on it. */
static const struct step closes_having_heard_some[] = {
	POOLED,
	LATE(S0, 9),
	SEND(C0, POST("/p1", 3) "abc"),
	EXPECT(C0, "HTTP/1.1 502 "),
	EXPECT(S0, "POST /p1 "),
	NEVER(S1),
	COUNT(retries, 0),
};

/* It closes when the request is there: a GET goes to a new connection, even of the
 * same worker; a POST does not. */
static const struct step pooled_closes_on_request[] = {
	POOLED,
	SEND(C0, GET("/b")),
	EXPECT(S0, "GET /b "),
	EXPECT(S0, "\r\n\r\n"),
	CLOSE(S0),
	EXPECT(S1, "GET /b "),
	AT(S1, 0),
	SEND(S1, OK(1) "y"),
	EXPECT(C0, "\r\n\r\ny"),
	SEND(C0, POST("/p1", 3) "abc"),
	EXPECT(S1, "\r\n\r\nabc"),
	CLOSE(S1),
	EXPECT(C0, "HTTP/1.1 502 "),
	NEVER(S2),
};

/* Workers on Unix sockets.  There a close and a write come one after the other: what is
 * written after the close has not been sent at all, and any request goes out again. */
#define UNIX .setup = { .workers = 1, .unix_sockets = true }

/* What was written before is reset when it closes, however much of it was read: a POST may
 * have been, a GET does not mind. */
static const struct step closes_with_it_unread[] = {
	POOLED,
	DEAF(S0),
	SEND(C0, GET("/b")),
	TICK(0),
	CLOSE(S0),
	EXPECT(S1, "GET /b "),
	EXPECT(S1, "\r\n\r\n"),
	SEND(S1, OK(1) "y"),
	EXPECT(C0, "\r\n\r\ny"),
	DEAF(S1),
	SEND(C0, POST("/p1", 3) "abc"),
	TICK(0),
	CLOSE(S1),
	EXPECT(C0, "HTTP/1.1 502 "),
	NEVER(S2),
};

static const struct step pooled_talks_unasked[] = {
	POOLED,
	SEND(S0, "HTTP/1.1 408 Late\r\nContent-Length: 0\r\n\r\n"),
	ENDS(S0),
	SILENCE(C0),
	SEND(C0, GET("/b")),
	EXPECT(S1, "GET /b "),
	SEND(S1, OK(1) "y"),
	EXPECT(C0, "\r\n\r\ny"),
};

static const struct step pool_follows_the_roster[] = {
	CONNECT(C0),
	SEND(C0, GET("/a")),
	EXPECT(S0, "\r\n\r\n"),
	SEND(S0, OK(1) "x"),
	EXPECT(C0, "\r\n\r\nx"),
	ROSTER(0, DRAINING),
	ENDS(S0),
	ACKED,
	ROSTER(0, UP),
	SEND(C0, GET("/b")),
	EXPECT(S1, "GET /b "),
	EXPECT(S1, "\r\n\r\n"),
	REPLACE(0), /* while it answers */
	ACKED,
	SEND(S1, OK(1) "y"),
	EXPECT(C0, "\r\n\r\ny"),
	ENDS(S1), /* the worker that it led to is another now */
};

static const struct step pool_is_bounded[] = {
	CONNECT(C0),
	CONNECT(C1),
	SEND(C0, GET("/a")),
	EXPECT(S0, "\r\n\r\n"),
	SEND(C1, GET("/b")),
	EXPECT(S1, "\r\n\r\n"),
	SEND(S0, OK(1) "x"),
	EXPECT(C0, "\r\n\r\nx"),
	SEND(S1, OK(1) "y"),
	EXPECT(C1, "\r\n\r\ny"),
	SILENCE(S0),
	ENDS(S1),
};

#define ON_UNIX(steps_of) \
	{ .name = "unix_" #steps_of, .steps = (steps_of), .n_steps = ARRAY_LEN(steps_of), UNIX }

static const struct scenario scenarios[] = {
	SCENARIO(waits_for_its_time, .setup = { .workers = 1 }),
	SCENARIO(stale_for_get, .setup = { .workers = 1 }),
	SCENARIO(stale_for_post, .setup = { .workers = 1 }),
	SCENARIO(talks_as_a_post_comes, .setup = { .workers = 1 }),
	SCENARIO(closes_behind_the_look, .setup = { .workers = 1 }),
	SCENARIO(closes_with_others_pooled, .setup = { .workers = 1 }),
	SCENARIO(closes_having_heard_some, .setup = { .workers = 1 }),
	SCENARIO(closes_with_it_unread, .setup = { .workers = 1 }),
	SCENARIO(pooled_dies_with_the_other),
	SCENARIO(pooled_closes_on_request, .setup = { .workers = 1 }),
	ON_UNIX(stale_for_get),
	ON_UNIX(stale_for_post),
	ON_UNIX(pooled_closes_on_request),
	ON_UNIX(closes_with_it_unread),
	ON_UNIX(closes_with_others_pooled),
	SCENARIO(unix_closes_behind_the_look, UNIX),
	SCENARIO(pooled_talks_unasked, .setup = { .workers = 1 }),
	SCENARIO(pool_follows_the_roster, .setup = { .workers = 1 }),
	SCENARIO(pool_is_bounded, .setup = { .workers = 1, .idle = 1 }),
};

int main(int argc, char **argv)
{
	return script_main(scenarios, ARRAY_LEN(scenarios), argc > 1 ? argv[1] : NULL);
}
