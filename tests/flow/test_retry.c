/* Workers that refuse, close, come and go: what is sent again, what waits, what fails. */
#include "flow/script.h"

/* ---- connections that are not taken ---- */

static const struct step refused[] = {
	DOOR(0, REFUSES),
	CONNECT(C0),
	SEND(C0, POST("/p1", 3) "abc"),
	EXPECT(S0, "POST /p1 "),
	AT(S0, 1),
	EXPECT(S0, "\r\n\r\nabc"),
	SEND(S0, OK(1) "x"),
	EXPECT(C0, "\r\n\r\nx"),
	COUNT(upstream_failures, 1),
	COUNT(retries, 0),
	SEND(C0, GET("/suspect")), /* passed over: it was refused a moment ago */
	EXPECT(S0, "GET /suspect "),
	SEND(S0, OK(1) "x"),
	EXPECT(C0, "\r\n\r\nx"),
	COUNT(upstream_failures, 1),
	DOOR(0, OPEN),
	TICK(200),
	SEND(C0, GET("/forgiven")),
	EXPECT(S1, "GET /forgiven "),
	AT(S1, 0),
	SEND(S1, OK(1) "x"),
	EXPECT(C0, "\r\n\r\nx"),
};

/* A body that is still to come waits for the worker that takes it. */
static const struct step refused_with_body_to_come[] = {
	DOOR(0, REFUSES),
	CONNECT(C0),
	SEND(C0, POST("/p1", 6) "abc"),
	EXPECT(S0, "\r\n\r\nabc"),
	AT(S0, 1),
	SEND(C0, "def"),
	EXPECT(S0, "def"),
	SEND(S0, OK(1) "x"),
	EXPECT(C0, "\r\n\r\nx"),
	COUNT(connections_idle, 1),
};

static const struct step all_refuse_then_one_serves[] = {
	DOOR(0, REFUSES),
	DOOR(1, REFUSES),
	CONNECT(C0),
	SEND(C0, GET("/a")),
	SILENCE(C0),
	COUNT(requests_queued, 1),
	TICK(200),
	SILENCE(C0),
	COUNT(requests_queued, 1),
	DOOR(1, OPEN),
	TICK(500),
	EXPECT(S0, "GET /a "),
	AT(S0, 1),
	SEND(S0, OK(1) "x"),
	EXPECT(C0, "\r\n\r\nx"),
	COUNT(requests_queued, 0),
};

/* They are said to be up and never are: the queue's patience counts from its start. */
static const struct step all_refuse_for_ever[] = {
	DOOR(0, REFUSES),
	DOOR(1, REFUSES),
	CONNECT(C0),
	SEND(C0, GET("/a")),
	TICK(1000), TICK(1000), TICK(1000), TICK(1000), TICK(1000),
	TICK(1000), TICK(1000), TICK(1000), TICK(1000),
	SILENCE(C0),
	TICK(1000),
	EXPECT(C0, "HTTP/1.1 503 "),
	EXPECT(C0, "Retry-After: 1\r\n"),
	COUNT(queue_timeouts, 1),
};

/* One that comes back to the queue must not hide behind younger ones. */
static const struct step back_in_the_queue[] = {
	DOOR(0, REFUSES),
	CONNECT(C0),
	CONNECT(C1),
	SEND(C0, GET("/old")),
	TICK(9000),
	SEND(C1, GET("/young")),
	SILENCE(C1),
	TICK(999),
	TICK(1),
	EXPECT(C0, "HTTP/1.1 503 "),
	SILENCE(C1),
	DOOR(0, OPEN),
	TICK(8000),
	EXPECT(S0, "GET /young "),
	SEND(S0, OK(1) "x"),
	EXPECT(C1, "\r\n\r\nx"),
};

/* More servers than one request remembers, all dead: an answer, not a loop. */
static const struct step servers_all_refuse[] = {
	DOOR(0, REFUSES), DOOR(1, REFUSES), DOOR(2, REFUSES),
	DOOR(3, REFUSES), DOOR(4, REFUSES), DOOR(5, REFUSES),
	CONNECT(C0),
	SEND(C0, GET("/a")),
	EXPECT(C0, "HTTP/1.1 502 "),
	EXPECT(C0, "error=connection_refused"),
	COUNT(upstream_connects, 7),
	DOOR(3, OPEN),
	SEND(C0, GET("/b")), /* a suspect is better than an error */
	EXPECT(S0, "GET /b "),
	AT(S0, 3),
	SEND(S0, OK(1) "x"),
	EXPECT(C0, "\r\n\r\nx"),
};

/* The same when they do not even refuse: each is waited for once. */
static const struct step servers_all_silent[] = {
	DOOR(0, SILENT), DOOR(1, SILENT), DOOR(2, SILENT), DOOR(3, SILENT), DOOR(4, SILENT),
	CONNECT(C0),
	SEND(C0, GET("/a")),
	TICK(2000), TICK(2000), TICK(2000), TICK(2000), TICK(2000),
	SILENCE(C0),
	TICK(2000),
	EXPECT(C0, "HTTP/1.1 504 "),
	EXPECT(C0, "error=connection_timeout"),
};

static const struct step servers_none_up[] = {
	ROSTER(0, DOWN),
	ROSTER(1, DOWN),
	CONNECT(C0),
	SEND(C0, GET("/a")),
	EXPECT(C0, "HTTP/1.1 503 "),
	COUNT(requests_queued, 0),
};

/* A balancer may be asked before the master has entered what the configuration lists. */
static const struct step servers_not_entered_yet[] = {
	ROSTER(0, DOWN),
	ROSTER(1, DOWN),
	COMING(1),
	CONNECT(C0),
	SEND(C0, GET("/a")),
	SILENCE(C0),
	COUNT(requests_queued, 1),
	ROSTER(0, UP),
	COMING(0),
	EXPECT(S0, "GET /a "),
	SEND(S0, OK(1) "x"),
	EXPECT(C0, "\r\n\r\nx"),
};

/* Nothing comes free in time. */
static const struct step no_descriptors[] = {
	CONNECT(C0),
	SILENCE(C0),
	FD_LIMIT(0),
	SEND(C0, GET("/a")),
	SILENCE(C0),
	COUNT(requests_queued, 1),
	TICK(9900),
	SILENCE(C0),
	TICK(200),
	EXPECT(C0, "HTTP/1.1 503 "),
	EXPECT(C0, "proxy_internal_response"),
	EXPECT(C0, "\r\n\r\n"),
	EXPECT(C0, "\n\n"),
	FD_LIMIT(-1),
	SEND(C0, GET("/b")),
	EXPECT(S0, "GET /b "),
	SEND(S0, OK(1) "x"),
	EXPECT(C0, "\r\n\r\nx"),
};

/* The request waits for the connection of another one, and gets it. */
static const struct step waits_for_a_descriptor[] = {
	CONNECT(C0),
	CONNECT(C1),
	SEND(C0, GET("/a")),
	EXPECT(S0, "GET /a "),
	FD_LIMIT(0),
	SEND(C1, POST("/b", 1) "b"),
	SILENCE(C1),
	COUNT(requests_queued, 1),
	SEND(S0, OK(1) "a"),
	EXPECT(C0, "\r\n\r\na"),
	EXPECT(S0, "POST /b "),
	COUNT(requests_queued, 0),
	FD_LIMIT(-1),
	SEND(S0, OK(1) "b"),
	EXPECT(C1, "\r\n\r\nb"),
};

/* A pooled connection to one worker gives way to one to another. */
static const struct step pool_gives_way[] = {
	CONNECT(C0),
	SEND(C0, GET("/a")),
	EXPECT(S0, "GET /a "),
	EXPECT(S0, "\r\n\r\n"),
	AT(S0, 0),
	SEND(S0, OK(1) "a"),
	EXPECT(C0, "\r\n\r\na"),
	SILENCE(S0),
	FD_LIMIT(0),
	SEND(C0, GET("/b")),
	ENDS(S0),
	FD_LIMIT(-1),
	EXPECT(S1, "GET /b "),
	AT(S1, 1),
	SEND(S1, OK(1) "b"),
	EXPECT(C0, "\r\n\r\nb"),
};

/* ---- the queue ---- */

static const struct step waits_for_a_worker[] = {
	ROSTER(0, DOWN),
	ROSTER(1, DOWN),
	COMING(1),
	ACKED,
	CONNECT(C0),
	CONNECT(C1),
	SEND(C0, POST("/p1", 6) "abc"),
	SILENCE(C0),
	SEND(C1, GET("/b")),
	SILENCE(C1),
	COUNT(requests_queued, 2),
	SEND(C0, "def"),
	TICK(5000),
	REPLACE(1),
	ACKED,
	EXPECT(S0, "POST /p1 "),
	EXPECT(S0, "\r\n\r\nabcdef"),
	EXPECT(S1, "GET /b "),
	AT(S0, 1),
	AT(S1, 1),
	COUNT(requests_queued, 0),
	SEND(S1, OK(1) "b"),
	EXPECT(C1, "\r\n\r\nb"),
	SEND(S0, OK(1) "a"),
	EXPECT(C0, "\r\n\r\na"),
};

static const struct step queue_full[] = {
	ROSTER(0, STARTING),
	ROSTER(1, STARTING),
	COMING(2),
	CONNECT(C0),
	CONNECT(C1),
	SEND(C0, GET("/a")),
	SILENCE(C0),
	SEND(C1, POST("/p1", 3) "abc"),
	EXPECT(C1, "HTTP/1.1 503 "),
	EXPECT(C1, "\r\n\r\n"),
	SEND(C1, POST("/p2", 30) "abc"),
	EXPECT(C1, "HTTP/1.1 503 "),
	EXPECT(C1, "Connection: close\r\n"),
	COUNT(queue_full, 2),
	ROSTER(0, UP),
	EXPECT(S0, "GET /a "),
	SEND(S0, OK(1) "a"),
	EXPECT(C0, "\r\n\r\na"),
};

static const struct step queue_timeout[] = {
	ROSTER(0, DOWN),
	ROSTER(1, DOWN),
	COMING(1),
	CONNECT(C0),
	SEND(C0, GET("/a")),
	TICK(9999),
	SILENCE(C0),
	TICK(1),
	EXPECT(C0, "HTTP/1.1 503 "),
	EXPECT(C0, "\r\n\r\n"),
	COUNT(queue_timeouts, 1),
	COUNT(connections_idle, 1),
	LOG("\"GET /a HTTP/1.1\" 503"),
};

static const struct step nobody_will_come[] = {
	ROSTER(0, DOWN),
	ROSTER(1, DOWN),
	COMING(1),
	CONNECT(C0),
	SEND(C0, GET("/a")),
	SILENCE(C0),
	COMING(0),
	EXPECT(C0, "HTTP/1.1 503 "),
	EXPECT(C0, "\r\n\r\n"),
	SEND(C0, GET("/b")),
	EXPECT(C0, "HTTP/1.1 503 "),
	EXPECT(C0, "Retry-After: 5\r\n"),
	COUNT(queue_timeouts, 0),
};

static const struct step client_leaves_the_queue[] = {
	ROSTER(0, DOWN),
	ROSTER(1, DOWN),
	COMING(1),
	CONNECT(C0),
	SEND(C0, GET("/a")),
	SILENCE(C0),
	RESET(C0),
	COUNT(requests_queued, 0),
	COUNT(client_aborts, 1),
	ROSTER(0, UP),
	ACKED,
	NEVER(S0),
	LOG("\"GET /a HTTP/1.1\" 499 0"),
};

/* ---- connections that end before the reply ---- */

static const struct step get_is_sent_again[] = {
	CONNECT(C0),
	SEND(C0, GET("/a")),
	EXPECT(S0, "GET /a "),
	CLOSE(S0),
	EXPECT(S1, "GET /a "),
	AT(S1, 1),
	RESET(S1),
	EXPECT(S2, "GET /a "), /* after a short wait */
	SEND(S2, OK(1) "x"),
	EXPECT(C0, "\r\n\r\nx"),
	COUNT(retries, 2),
};

static const struct step get_is_sent_thrice_at_most[] = {
	CONNECT(C0),
	SEND(C0, GET("/a")),
	EXPECT(S0, "GET /a "),
	CLOSE(S0),
	EXPECT(S1, "GET /a "),
	CLOSE(S1),
	SILENCE(C0),
	NEVER(S2), /* each worker has had it: not again at once */
	COUNT(requests_queued, 1),
	TICK(100),
	EXPECT(S2, "GET /a "),
	CLOSE(S2),
	EXPECT(C0, "HTTP/1.1 502 "),
	EXPECT(C0, "error=connection_terminated"),
	NEVER(S3),
};

static const struct step put_is_sent_again_while_held[] = {
	CONNECT(C0),
	SEND(C0, "PUT /a HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\nabc"),
	EXPECT(S0, "\r\n\r\nabc"),
	CLOSE(S0),
	EXPECT(S1, "PUT /a "),
	EXPECT(S1, "\r\n\r\nabc"),
	SEND(C0, "def"),
	EXPECT(S1, "def"),
	CLOSE(S1), /* now some of it is gone */
	EXPECT(C0, "HTTP/1.1 502 "),
	EXPECT(C0, "\r\n\r\n"),
	COUNT(connections_idle, 1),
};

static const struct step post_is_not_sent_again[] = {
	CONNECT(C0),
	SEND(C0, POST("/p1", 3) "abc"),
	EXPECT(S0, "\r\n\r\nabc"),
	CLOSE(S0),
	EXPECT(C0, "HTTP/1.1 502 "),
	EXPECT(C0, "error=connection_terminated"),
	NEVER(S1),
	SEND(C0, POST("/p2", 3) "abc"),
	EXPECT(S1, "\r\n\r\nabc"),
	RESET(S1),
	EXPECT(C0, "HTTP/1.1 502 "),
	NEVER(S2),
	COUNT(retries, 0),
};

static const struct step reply_ends_in_its_head[] = {
	CONNECT(C0),
	SEND(C0, GET("/a")),
	EXPECT(S0, "GET /a "),
	SEND(S0, "HTTP/1.1 200 OK\r\nCont"),
	CLOSE(S0),
	EXPECT(C0, "HTTP/1.1 502 "),
	NEVER(S1), /* it did begin to answer */
};

static const struct step interim_then_gone[] = {
	CONNECT(C0),
	SEND(C0, GET("/a")),
	EXPECT(S0, "GET /a "),
	SEND(S0, "HTTP/1.1 103 Early\r\nLink: </x>\r\n\r\n"),
	EXPECT(C0, "HTTP/1.1 103 Early\r\nLink: </x>\r\n\r\n"),
	CLOSE(S0),
	EXPECT(C0, "HTTP/1.1 502 "),
	NEVER(S1),
};

static const struct scenario scenarios[] = {
	SCENARIO(refused),
	SCENARIO(refused_with_body_to_come),
	SCENARIO(all_refuse_then_one_serves),
	SCENARIO(all_refuse_for_ever),
	SCENARIO(back_in_the_queue, .setup = { .workers = 1 }),
	SCENARIO(servers_all_refuse, .setup = { .workers = 6, .servers = true }),
	SCENARIO(servers_all_silent, .setup = { .workers = 5, .servers = true }),
	SCENARIO(servers_none_up, .setup = { .servers = true }),
	SCENARIO(servers_not_entered_yet, .setup = { .servers = true }),
	SCENARIO(no_descriptors),
	SCENARIO(waits_for_a_descriptor, .setup = { .workers = 1 }),
	SCENARIO(pool_gives_way),
	SCENARIO(waits_for_a_worker),
	SCENARIO(queue_full, .setup = { .queue = 1 }),
	SCENARIO(queue_timeout),
	SCENARIO(nobody_will_come),
	SCENARIO(client_leaves_the_queue),
	SCENARIO(get_is_sent_again, .setup = { .workers = 3 }),
	SCENARIO(get_is_sent_thrice_at_most),
	SCENARIO(put_is_sent_again_while_held),
	SCENARIO(post_is_not_sent_again),
	SCENARIO(reply_ends_in_its_head),
	SCENARIO(interim_then_gone),
};

int main(int argc, char **argv)
{
	return script_main(scenarios, ARRAY_LEN(scenarios), argc > 1 ? argv[1] : NULL);
}
