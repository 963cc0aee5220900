/* Upgraded connections: bytes both ways, their ends, their pace. */
#include "flow/script.h"

#define BIG 600000
#define UPGRADE "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\r\n"
#define SWITCH "HTTP/1.1 101 Go\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"

#define OPENED CONNECT(C0), UPGRADED
#define UPGRADED \
	SEND(C0, UPGRADE), EXPECT(S0, "Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n"), \
		SEND(S0, SWITCH), EXPECT(C0, SWITCH)

static const struct step both_ways[] = {
	OPENED,
	COUNT(tunnels_open, 1),
	COUNT(requests_in_flight, 1),
	SEND(C0, "ping"),
	EXPECT(S0, "ping"),
	SEND(S0, "pong"),
	EXPECT(C0, "pong"),
	CLOSE(C0),
	ENDS(S0),
	CLOSE(S0),
	COUNT(tunnels_open, 0),
	COUNT(requests_in_flight, 0),
	LOG("\"GET /ws HTTP/1.1\" 101 4 "),
};

/* Bytes behind the heads, from both. */
static const struct step early_bytes[] = {
	CONNECT(C0),
	SEND(C0, UPGRADE "early"),
	EXPECT(S0, "\r\n\r\n"),
	SILENCE(S0),
	SEND(S0, SWITCH "hello"),
	EXPECT(C0, SWITCH "hello"),
	EXPECT(S0, "early"),
	SEND(C0, "late"),
	EXPECT(S0, "late"),
	SHUT(S0),
	ENDS(C0),
	SHUT(C0),
	ENDS(S0),
	COUNT(tunnels_open, 0),
};

/* Several Upgrade fields, one of them empty, go on as one list, both ways. */
static const struct step several_fields[] = {
	CONNECT(C0),
	SEND(C0, "GET /ws HTTP/1.1\r\nHost: a\r\nUpgrade:\r\nUpgrade: a/1\r\nConnection: upgrade\r\n"
		 "Upgrade: b\r\n\r\n"),
	EXPECT(S0, "Connection: Upgrade\r\nUpgrade: a/1, b\r\n\r\n"),
	SEND(S0, "HTTP/1.1 101 Go\r\nConnection: Upgrade\r\nUpgrade:\r\nUpgrade: b\r\n\r\nhi"),
	EXPECT(C0, "HTTP/1.1 101 Go\r\nConnection: Upgrade\r\nUpgrade: b\r\n\r\nhi"),
	COUNT(tunnels_open, 1),
};

static const struct step client_shuts_first[] = {
	OPENED,
	SEND(C0, "last words"),
	SHUT(C0),
	EXPECT(S0, "last words"),
	ENDS(S0),
	SEND(S0, "answer"),
	EXPECT(C0, "answer"),
	SILENCE(C0),
	COUNT(tunnels_open, 1),
	SHUT(S0),
	ENDS(C0),
	COUNT(tunnels_open, 0),
	COUNT(connections_open, 0),
};

/* An application that overlooks the client's end: what it still sends goes out, its
 * silence ends the tunnel. */
static const struct step client_shuts_and_nobody_cares[] = {
	OPENED,
	SHUT(C0),
	ENDS(S0),
	TICK(1500),
	SEND(S0, "still here"),
	EXPECT(C0, "still here"),
	TICK(1500),
	COUNT(tunnels_open, 1),
	TICK(600),
	COUNT(tunnels_open, 0),
	COUNT(connections_open, 0),
};

static const struct step worker_shuts_first[] = {
	OPENED,
	SEND(S0, "last words"),
	SHUT(S0),
	EXPECT(C0, "last words"),
	ENDS(C0),
	SEND(C0, "answer"),
	EXPECT(S0, "answer"),
	SILENCE(S0),
	SHUT(C0),
	ENDS(S0),
	COUNT(tunnels_open, 0),
};

/* The client has said all before there was a tunnel. */
static const struct step shut_before_the_switch[] = {
	CONNECT(C0),
	SEND(C0, UPGRADE "early"),
	SHUT(C0),
	EXPECT(S0, "\r\n\r\n"),
	SILENCE(S0),
	SEND(S0, SWITCH),
	EXPECT(S0, "early"),
	ENDS(S0),
	SEND(S0, "bye"),
	EXPECT(C0, SWITCH "bye"),
	CLOSE(S0),
	ENDS(C0),
};

static const struct step client_breaks[] = {
	OPENED,
	RESET(C0),
	COUNT(tunnels_open, 0),
	ENDS(S0),
};

static const struct step worker_breaks[] = {
	OPENED,
	RESET(S0),
	BREAKS(C0),
	COUNT(tunnels_open, 0),
};

/* After the worker's FIN its reset shows only when we write. */
static const struct step worker_shuts_then_breaks[] = {
	OPENED,
	SHUT(S0),
	ENDS(C0),
	RESET(S0),
	SEND(C0, "anybody?"),
	COUNT(tunnels_open, 0),
};

/* ... or while we still have something to write. */
static const struct step worker_shuts_then_leaves_the_rest[] = {
	OPENED,
	SHUT(S0),
	ENDS(C0),
	DEAF(S0),
	FILL(C0, 10 * BIG), /* TCP, for its resets, has large buffers towards workers */
	TICK(0),
	COUNT(tunnels_open, 1),
	RESET(S0),
	COUNT(tunnels_open, 0),
};

/* Our write fails before its last words are read. */
static const struct step worker_says_and_breaks[] = {
	OPENED,
	SEND(C0, "question"),
	SEND(S0, "last words"),
	RESET(S0),
	EXPECT(C0, "last words"),
	COUNT(tunnels_open, 0),
};

static const struct step refused_upgrade[] = {
	CONNECT(C0),
	SEND(C0, UPGRADE GET("/next")),
	EXPECT(S0, "\r\n\r\n"),
	SEND(S0, OK(1) "x"),
	EXPECT(C0, OK(1) "x"),
	EXPECT(S1, "GET /next "),
	SEND(S1, OK(1) "y"),
	EXPECT(C0, "\r\n\r\ny"),
	COUNT(tunnels_open, 0),
};

static const struct step nobody_asked[] = {
	CONNECT(C0),
	SEND(C0, GET("/a")),
	EXPECT(S0, "\r\n\r\n"),
	SEND(S0, SWITCH),
	EXPECT(C0, "HTTP/1.1 502 "),
	ENDS(S0),
};

static const struct step worker_dies_before_the_switch[] = {
	CONNECT(C0),
	SEND(C0, UPGRADE "early"),
	EXPECT(S0, "\r\n\r\n"),
	CLOSE(S0),
	EXPECT(S1, "Upgrade: websocket\r\n\r\n"),
	SEND(S1, SWITCH),
	EXPECT(S1, "early"),
};

static const struct step slow_worker[] = {
	OPENED,
	DEAF(S0),
	FILL(C0, BIG),
	SILENCE(C0),
	SEND(S0, "meanwhile"),
	EXPECT(C0, "meanwhile"),
	SHUT(C0),
	HEAR(S0),
	PATTERN(S0, BIG),
	ENDS(S0),
};

static const struct step slow_client[] = {
	OPENED,
	DEAF(C0),
	FILL(S0, BIG),
	SILENCE(S0),
	SEND(C0, "meanwhile"),
	EXPECT(S0, "meanwhile"),
	SHUT(S0),
	SILENCE(S0),
	HEAR(C0),
	PATTERN(C0, BIG),
	ENDS(C0),
};

static const struct step both_deaf[] = {
	OPENED,
	DEAF(C0),
	DEAF(S0),
	FILL(S0, BIG),
	FILL(C0, BIG),
	TICK(3599000),
	COUNT(tunnels_open, 1),
	TICK(1000),
	COUNT(tunnels_open, 0),
};

/* The worker's time to drain is over: what it has said is still delivered. */
static const struct step ended_with_bytes_left[] = {
	CONNECT_SMALL(C0, 8192),
	UPGRADED,
	DEAF(C0),
	FILL(S0, 60000),
	SILENCE(S0),
	COUNT(tunnels_open, 1),
	ROSTER(0, STOPPING),
	COUNT(tunnels_open, 0),
	COUNT(requests_in_flight, 0),
	HEAR(C0),
	PATTERN(C0, 60000),
	ENDS(C0),
	CLOSE(C0),
	COUNT(connections_open, 0),
};

/* ... to who takes it; and what the client says now meets no RST. */
static const struct step ended_and_nobody_listens[] = {
	CONNECT_SMALL(C0, 8192),
	UPGRADED,
	DEAF(C0),
	FILL(S0, 60000),
	SILENCE(S0),
	ROSTER(0, STOPPING),
	ENDS(S0),
	COUNT(connections_open, 1),
	TICK(75000),
	COUNT(connections_open, 0),
};

static const struct step ended_while_idle[] = {
	OPENED,
	ROSTER(0, STOPPING),
	ENDS(S0),
	ENDS(C0),
	SEND(C0, "too late"),
	TICK(1900),
	COUNT(connections_open, 1),
	TICK(200),
	COUNT(connections_open, 0),
};

/* A client that took its bytes in many goes is not a stalled one afterwards. */
static const struct step slow_then_silent[] = {
	CONNECT_SMALL(C0, 8192),
	UPGRADED,
	DEAF(C0),
	FILL(S0, 60000),
	SILENCE(S0),
	SIP(C0, 4000), SIP(C0, 4000), SIP(C0, 4000), SIP(C0, 4000), SIP(C0, 4000),
	SIP(C0, 4000), SIP(C0, 4000), SIP(C0, 4000), SIP(C0, 4000), SIP(C0, 4000),
	HEAR(C0),
	PATTERN(C0, 60000),
	TICK(3599000),
	COUNT(tunnels_open, 1),
	SEND(C0, "x"),
	EXPECT(S0, "x"),
	TICK(3599000),
	COUNT(tunnels_open, 1),
	TICK(1000),
	COUNT(tunnels_open, 0),
};

#define UNIX .setup = { .unix_sockets = true }

static const struct scenario scenarios[] = {
	SCENARIO(both_ways),
	SCENARIO(early_bytes),
	SCENARIO(several_fields),
	SCENARIO(client_shuts_first),
	SCENARIO(client_shuts_and_nobody_cares),
	SCENARIO(worker_shuts_first),
	SCENARIO(shut_before_the_switch),
	SCENARIO(client_breaks),
	SCENARIO(worker_breaks),
	SCENARIO(worker_shuts_then_breaks),
	SCENARIO(worker_shuts_then_leaves_the_rest, .straight_only = true), /* megabytes */
	SCENARIO(worker_says_and_breaks),
	SCENARIO(refused_upgrade),
	SCENARIO(nobody_asked),
	SCENARIO(worker_dies_before_the_switch),
	SCENARIO(slow_worker, UNIX),
	SCENARIO(slow_client),
	SCENARIO(both_deaf, UNIX),
	SCENARIO(ended_with_bytes_left),
	SCENARIO(ended_and_nobody_listens),
	SCENARIO(ended_while_idle),
	SCENARIO(slow_then_silent),
};

int main(int argc, char **argv)
{
	return script_main(scenarios, ARRAY_LEN(scenarios), argc > 1 ? argv[1] : NULL);
}
