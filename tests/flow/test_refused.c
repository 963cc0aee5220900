/* What is refused is counted by its rule, and told in the logs. */
#include "flow/script.h"

/* ---- heads from clients ---- */

static const struct step heads[] = {
	CONNECT(C0),
	SEND(C0, "GET /a HTTP/1.1\r\nX: y\r\n\r\n"),
	EXPECT(C0, "HTTP/1.1 400 "),
	LOG("127.0.0.1 - - ["),
	LOG("] \"GET /a HTTP/1.1\" 400 "),
	CONNECT(C1),
	SEND(C1, "\r\nGET /\"b\x01\xff HTTP/1.1\r\nHost: a\r\n\r\n"),
	EXPECT(C1, "HTTP/1.1 400 "),
	LOG("] \"GET /\\x22b\\x01\\xFF HTTP/1.1\" 400 "),
	CONNECT(C2),
	SEND(C2, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
	EXPECT(C2, "HTTP/1.1 505 "),
	LOG("] \"PRI * HTTP/2.0\" 505 "),
	CONNECT(C3),
	SEND(C3, "\x16\x03\x01\x02"),
	EXPECT(C3, "HTTP/1.1 400 "),
	LOG("] \"\\x16\\x03\\x01\\x02\" 400 "),
	REFUSED(HOST_MISSING, 1),
	REFUSED(VERSION, 1),
	REFUSED(CONTROL_BYTE, 2),
	COUNT(requests_refused, 4),
	COUNT(requests, 0),
};

static const struct step long_head[] = {
	CONNECT(C0),
	SEND(C0, "GET /"),
	SEND_TIMES(C0, 9000, "a"),
	EXPECT(C0, "HTTP/1.1 414 "),
	LOG("] \"GET /aaaa"),
	LOG("aaaa\" 414 "),
	CONNECT(C1),
	SEND(C1, "POST /big HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\n\r\n"),
	EXPECT(C1, "HTTP/1.1 413 "),
	LOG("] \"POST /big HTTP/1.1\" 413 "),
	CONNECT(C2),
	SEND(C2, "TRACE /t HTTP/1.1\r\nHost: a\r\n\r\n"),
	EXPECT(C2, "HTTP/1.1 501 "),
	LOG("] \"TRACE /t HTTP/1.1\" 501 "),
	CONNECT(C3),
	SEND(C3, "GET /slow HT"),
	TICK(10000),
	EXPECT(C3, "HTTP/1.1 408 "),
	LOG("] \"GET /slow HT\" 408 "),
	REFUSED(URI_TOO_LONG, 1),
	REFUSED(BODY_TOO_LARGE, 1),
	REFUSED(METHOD_REFUSED, 1),
	COUNT(requests_refused, 3), /* the slow one broke no rule */
};

static const struct step heads_as_json[] = {
	CONNECT(C0),
	SEND(C0, "GET /a b HTTP/1.1\r\nHost: a\r\n\r\n"),
	EXPECT(C0, "HTTP/1.1 400 "),
	LOG("\"method\":\"GET\",\"path\":\"/a b\",\"status\":400,"),
	LOG("\"outcome\":\"REFUSED\",\"refused\":\"REQUEST_LINE\"}\n"),
	CONNECT(C1),
	SEND(C1, "nonsense\r\n"),
	EXPECT(C1, "HTTP/1.1 400 "),
	LOG("\"method\":\"nonsense\",\"path\":\"\",\"status\":400,"),
	CONNECT(C2),
	SEND(C2, "GET /slow"),
	TICK(10000),
	EXPECT(C2, "HTTP/1.1 408 "),
	LOG("\"method\":\"GET\",\"path\":\"/slow\",\"status\":408,"),
	LOG("\"outcome\":\"HEAD_TIMEOUT\"}\n"),
};

/* Takes some now and then, but less than the rate: cut, and the worker is free.  Less
 * than 160 KB at a time would not make room in a Unix socket. */
static const struct step slow_reader[] = {
	CONNECT(C0),
	SEND(C0, GET("/a")),
	EXPECT(S0, "\r\n\r\n"),
	DEAF(C0),
	SEND(S0, OK(6000000)),
	FILL(S0, 1000000),
	SILENCE(S0),
	TICK(60000),
	SIP(C0, 200000),
	SILENCE(S0),
	TICK(60000),
	COUNT(client_aborts, 0),
	SIP(C0, 200000),
	BREAKS(S0), /* it was still sending */
	COUNT(client_aborts, 1),
	COUNT(connections_open, 0),
};

/* Waiting for the worker is not reading slowly. */
static const struct step slow_worker_then_reader[] = {
	CONNECT(C0),
	SEND(C0, GET("/a")),
	EXPECT(S0, "\r\n\r\n"),
	SEND(S0, OK(600002) "1"),
	EXPECT(C0, "\r\n\r\n1"),
	TICK(59000),
	SEND(S0, "2"),
	EXPECT(C0, "2"),
	TICK(59000),
	DEAF(C0),
	FILL(S0, 600000),
	TICK(60000),
	SIP(C0, 200000),
	TICK(10000),
	HEAR(C0),
	PATTERN(C0, 600000),
	COUNT(client_aborts, 0),
};

/* The same at ten times the rate. */
static const struct step steady_reader[] = {
	CONNECT(C0),
	SEND(C0, GET("/a")),
	EXPECT(S0, "\r\n\r\n"),
	DEAF(C0),
	SEND(S0, OK(600000)),
	FILL(S0, 600000),
	TICK(60000),
	SIP(C0, 200000),
	TICK(60000),
	SIP(C0, 200000),
	TICK(60000),
	HEAR(C0),
	EXPECT(C0, "\r\n\r\n"),
	PATTERN(C0, 600000),
	COUNT(client_aborts, 0),
};

/* ---- connections ---- */

static const struct step one_client_many_connections[] = {
	CONNECT(C0),
	SEND(C0, GET("/a")),
	EXPECT(S0, "GET /a "),
	SEND(S0, OK(1) "a"),
	EXPECT(C0, "\r\n\r\na"),
	CONNECT(C1),
	SILENCE(C1),
	CONNECT(C2),
	BREAKS(C2),
	COUNT(connections_open, 2),
	COUNT(connections_refused, 1),
	COUNT(connections_accepted, 2),
	ERROR_LOG(1, "127.0.0.1 has 2 connections open; one more is refused (limits.per_client)"),
	CLOSE(C1), /* makes room */
	COUNT(connections_open, 1),
	CONNECT(C3),
	SEND(C3, GET("/b")),
	EXPECT(S1, "GET /b "),
	SEND(S1, OK(1) "b"),
	EXPECT(C3, "\r\n\r\nb"),
};

/* Behind another proxy all clients have its address. */
static const struct step trusted_connections[] = {
	CONNECT(C0),
	SILENCE(C0),
	CONNECT(C1),
	SILENCE(C1),
	COUNT(connections_open, 2),
	COUNT(connections_refused, 0),
};

/* ---- bodies from clients ---- */

static const struct step bodies[] = {
	CONNECT(C0), /* with the head */
	SEND(C0, POST_CHUNKED("/p1") "3\r\nabcdef\r\n"),
	EXPECT(C0, "HTTP/1.1 400 "),
	LOG("\"path\":\"/p1\",\"status\":400,"),
	LOG("\"outcome\":\"REFUSED\",\"refused\":\"CHUNK_END\"}\n"),
	CONNECT(C1), /* behind it */
	SEND(C1, POST_CHUNKED("/p2") "3\r\nabc\r\n"),
	EXPECT(S0, "3\r\nabc\r\n"),
	SEND(C1, "zz\r\n"),
	EXPECT(C1, "HTTP/1.1 400 "),
	LOG("\"path\":\"/p2\",\"status\":400,"),
	CONNECT(C2), /* under a reply */
	SEND(C2, POST_CHUNKED("/p3") "3\r\nabc\r\n"),
	EXPECT(S1, "3\r\nabc\r\n"),
	SEND(S1, OK_CHUNKED "2\r\nxy\r\n"),
	EXPECT(C2, "2\r\nxy\r\n"),
	SEND(C2, "zz\r\n"),
	BREAKS(C2),
	LOG("\"path\":\"/p3\",\"status\":200,"),
	REFUSED(CHUNK_END, 1),
	REFUSED(CHUNK_SIZE, 2),
	COUNT(requests_refused, 3),
	ERROR_LOG(0, "bad reply"),
};

/* ---- too slow ---- */

#define DRIP(ms) SEND(C0, "a"), SILENCE(C0), TICK(ms)

/* Half of timeouts.head, and a second for each 10 bytes. */
static const struct step slow_head[] = {
	CONNECT(C0),
	SEND(C0, "GET /a HTT"),
	SILENCE(C0),
	TICK(5000),
	SEND(C0, "P/1.1\r\nX: "),
	SILENCE(C0),
	TICK(1500),
	SEND(C0, "a"),
	SILENCE(C0),
	TICK(1000),
	SEND(C0, "a"),
	EXPECT(C0, "HTTP/1.1 408 "),
	LOG("] \"GET /a HTTP/1.1\" 408 "),
};

/* All of timeouts.body, and a second for each 10 bytes. */
static const struct step slow_body[] = {
	CONNECT(C0),
	SEND(C0, POST("/p1", 100) "12345678"),
	EXPECT(S0, "\r\n\r\n12345678"),
	DRIP(15000),
	DRIP(15000),
	DRIP(1050), /* 11 bytes in 31.05 s */
	DRIP(1000),
	SEND(C0, "a"),
	EXPECT(C0, "HTTP/1.1 408 "),
	EXPECT(C0, "Connection: close\r\n"),
	EXPECT(S0, "aaaa"),
	ENDS(S0),
	LOG("\"POST /p1 HTTP/1.1\" 408 "),
};

static const struct step slow_chunks[] = {
	CONNECT(C0),
	SEND(C0, POST_CHUNKED("/p1") "1\r\n1\r\n"),
	EXPECT(S0, "\r\n\r\n1\r\n1\r\n"),
	TICK(29000),
	SEND(C0, "1\r\n2\r"),
	EXPECT(S0, "1\r\n2\r\n"),
	TICK(2000),
	SEND(C0, "\n"),
	EXPECT(C0, "HTTP/1.1 408 "),
};

/* Fast enough: many times longer than timeouts.body. */
static const struct step steady_body[] = {
	CONNECT(C0),
	SEND(C0, POST("/p1", 500) "12345678"),
#define SPOONFUL                                                                                   \
	SEND(C0, "0123456789012345678901234567890123456789012345678901234567890123456789012345678" \
		 "901234567890123456789"),                                                         \
		SILENCE(C0), TICK(10000)
	SPOONFUL,
	SPOONFUL,
	SPOONFUL,
	SPOONFUL,
	TICK(10000),
	SEND(C0, "012345678901234567890123456789012345678901234567890123456789012345678901234567890"
		 "1234567890123456789"),
	EXPECT(S0, "0123456789"),
	SEND(S0, OK(1) "x"),
	EXPECT(C0, "\r\n\r\nx"),
};

/* While the worker takes nothing nobody reads the client, whose fault it is not. */
static const struct step slow_worker[] = {
	CONNECT(C0),
	SEND(C0, POST("/p1", 600001)),
	EXPECT(S0, "\r\n\r\n"),
	DEAF(S0),
	FILL(C0, 600000),
	SILENCE(C0),
	TICK(59000),
	SILENCE(C0),
	HEAR(S0),
	PATTERN(S0, 600000),
	DEAF(S0),
	TICK(29000),
	SEND(C0, "x"),
	SILENCE(C0),
	HEAR(S0),
	SEND(S0, OK(1) "x"),
	EXPECT(C0, "\r\n\r\nx"),
};

/* Both talk at their leisure. */
static const struct step slow_body_under_a_reply[] = {
	CONNECT(C0),
	SEND(C0, POST("/p1", 5) "1"),
	EXPECT(S0, "\r\n\r\n1"),
	SEND(S0, OK(5) "1"),
	EXPECT(C0, "\r\n\r\n1"),
	TICK(29000),
	SEND(C0, "2"),
	EXPECT(S0, "2"),
	SEND(S0, "2"),
	EXPECT(C0, "2"),
	TICK(29000),
	SEND(C0, "3"),
	EXPECT(S0, "3"),
	SEND(S0, "3"),
	EXPECT(C0, "3"),
	TICK(29000),
	SEND(C0, "4"),
	EXPECT(S0, "4"),
	SEND(S0, "4"),
	EXPECT(C0, "4"),
	TICK(29000),
	SEND(C0, "5"),
	EXPECT(S0, "5"),
	SEND(S0, "5"),
	EXPECT(C0, "5"),
	COUNT(connections_idle, 1),
};

/* ---- replies ---- */

#define BAD_OK(n) \
	"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\nX: " #n "\r\n\r\n"
#define BAD_TRY(n)                                                                 \
	SEND(C0, GET("/a?secret")), EXPECT(S##n, "GET /a"), SEND(S##n, BAD_OK(n)), \
		EXPECT(C0, "HTTP/1.1 502 ")

static const struct step bad_heads[] = {
	CONNECT(C0),
	BAD_TRY(0),
	REFUSED_REPLY(LENGTH_AND_TE, 1),
	REFUSED(LENGTH_AND_TE, 0),
	COUNT(requests_refused, 0),
	ERROR_LOG(1, "web/0 (127.0.0.1:"),
	ERROR_LOG(1, "bad reply to GET /a, request id "),
	ERROR_LOG(0, "secret"),
	ERROR_LOG(
		1,
		": Content-Length together with Transfer-Encoding (LENGTH_AND_TE, RFC 9112 6.3)\n"),
	LOG("\"status\":502,"),
	LOG("\"outcome\":\"BAD_REPLY\",\"refused\":\"LENGTH_AND_TE\"}\n"),
};

/* A flood of them does not flood the log. */
static const struct step flood[] = {
	CONNECT(C0),
	BAD_TRY(0),
	BAD_TRY(1),
	BAD_TRY(2),
	BAD_TRY(3),
	BAD_TRY(4),
	BAD_TRY(5),
	BAD_TRY(6),
	REFUSED_REPLY(LENGTH_AND_TE, 7),
	ERROR_LOG(5, "bad reply to"),
	TICK(9000),
	ERROR_LOG(0, "more"),
	TICK(1000),
	ERROR_LOG(1, "2 more malformed replies in 10 seconds\n"),
	BAD_TRY(7),
	ERROR_LOG(6, "bad reply to"),
	TICK(10000),
	ERROR_LOG(1, "more"),
};

static const struct step switch_nobody_asked_for[] = {
	CONNECT(C0),
	SEND(C0, GET("/a")),
	EXPECT(S0, "\r\n\r\n"),
	SEND(S0, "HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n"),
	EXPECT(C0, "HTTP/1.1 502 "),
	ENDS(S0),
	REFUSED_REPLY(UPGRADE_UNASKED, 1),
};

#define EARLY "HTTP/1.1 103 Early\r\nLink: </a>\r\n\r\n"
static const struct step interim_flood[] = {
	CONNECT(C0),
	SEND(C0, GET("/a")),
	EXPECT(S0, "GET /a "),
	SEND_TIMES(S0, 100, EARLY),
	SEND(S0, OK(1) "a"),
	EXPECT(C0, "\r\n\r\na"),
	SEND(C0, GET("/b")),
	EXPECT(S1, "\r\n\r\n"),
	SEND_TIMES(S1, 101, EARLY),
	EXPECT(C0, "HTTP/1.1 502 "),
	ENDS(S1),
	REFUSED_REPLY(INTERIM_FLOOD, 1),
	COUNT(connections_idle, 1),
};

static const struct step cut_bodies[] = {
	CONNECT(C0),
	SEND(C0, GET("/a")),
	EXPECT(S0, "GET /a "),
	SEND(S0, OK(9) "abc"),
	EXPECT(C0, "\r\n\r\nabc"),
	CLOSE(S0),
	BREAKS(C0),
	REFUSED_REPLY(BODY_CUT, 1),
	LOG("\"outcome\":\"TRUNCATED\",\"refused\":\"BODY_CUT\"}\n"),
	CONNECT(C1),
	SEND(C1, GET("/b")),
	EXPECT(S1, "GET /b "),
	SEND(S1, OK_CHUNKED "3\r\nabcX"),
	BREAKS(C1),
	REFUSED_REPLY(CHUNK_END, 1),
	COUNT(replies_truncated, 2),
	ERROR_LOG(2, "bad reply to"),
};

/* HTTP/1.0 sees no chunks, so that only a reset tells it. */
static const struct step cut_for_an_old_client[] = {
	CONNECT(C0),
	SEND(C0, "GET /a HTTP/1.0\r\n\r\n"),
	EXPECT(S0, "GET /a "),
	SEND(S0, OK_CHUNKED "3\r\nabc\r\n"),
	EXPECT(C0, "\r\n\r\nabc"),
	CLOSE(S0),
	BREAKS(C0),
	REFUSED_REPLY(BODY_CUT, 1),
};

/* Bodies where there are none (RFC 9112 6.3): nobody takes them for the next reply. */
static const struct step bodies_of_the_bodiless[] = {
	CONNECT(C0),
	SEND(C0, GET("/a")),
	EXPECT(S0, "\r\n\r\n"),
	SEND(S0, "HTTP/1.1 204 No\r\nContent-Length: 3\r\n\r\nabc"),
	EXPECT(C0, "HTTP/1.1 204 No\r\n\r\n"),
	ENDS(S0),
	REFUSED_REPLY(EXTRA_BYTES, 1),
	SEND(C0, GET("/b")),
	EXPECT(S1, "\r\n\r\n"),
	SEND(S1, "HTTP/1.1 304 Not\r\nContent-Length: 3\r\n\r\nabc"),
	EXPECT(C0, "HTTP/1.1 304 Not\r\nContent-Length: 3\r\n\r\n"),
	ENDS(S1),
	REFUSED_REPLY(EXTRA_BYTES, 2),
	SEND(C0, GET("/c")),
	EXPECT(S2, "\r\n\r\n"),
	SEND(S2, "HTTP/1.1 204 No\r\nTransfer-Encoding: chunked\r\n\r\n"), /* they may come later */
	EXPECT(C0, "HTTP/1.1 204 No\r\n\r\n"),
	ENDS(S2),
	SEND(C0, GET("/d")),
	EXPECT(S3, "\r\n\r\n"),
	SEND(S3, "HTTP/1.1 103 Early\r\nContent-Length: 3\r\n\r\nabc"),
	SEND(S3, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
	EXPECT(C0, "HTTP/1.1 103 Early\r\n\r\n"),
	EXPECT(C0, "HTTP/1.1 502 "),
	ENDS(S3),
	REFUSED_REPLY(STATUS_LINE, 1),
	COUNT(connections_idle, 1),
};

/* The client has its answer; the connection is not used again. */
static const struct step extra_bytes[] = {
	CONNECT(C0),
	SEND(C0, GET("/a")),
	EXPECT(S0, "\r\n\r\n"),
	SEND(S0, OK(1) "ab"),
	EXPECT(C0, "\r\n\r\na"),
	ENDS(S0),
	REFUSED_REPLY(EXTRA_BYTES, 1),
	ERROR_LOG(1, "bytes after the end of a reply"),
	SEND(C0, GET("/b")),
	EXPECT(S1, "\r\n\r\n"),
	SEND(S1, OK(1) "b"),
	EXPECT(C0, "\r\n\r\nb"),
	SEND(S1, "c"),
	ENDS(S1),
	REFUSED_REPLY(EXTRA_BYTES, 2),
	SILENCE(C0),
};

#define JSON .setup = { .log_json = true }
#define SLOW .setup = { .min_rate = 10 }

static const struct scenario scenarios[] = {
	SCENARIO(heads),
	SCENARIO(long_head, .setup = { .body_bytes = 10 }),
	SCENARIO(heads_as_json, JSON),
	SCENARIO(bodies, JSON),
	SCENARIO(one_client_many_connections, .setup = { .per_client = 2 }),
	SCENARIO(trusted_connections, .setup = { .per_client = 1, .trusting = true }),
	SCENARIO(trusted_connections, .setup = { .per_client = 1, .unix_sockets = true }),
	SCENARIO(slow_head, SLOW),
	SCENARIO(slow_body, SLOW),
	SCENARIO(slow_chunks, SLOW),
	SCENARIO(steady_body, SLOW),
	SCENARIO(slow_worker, .setup = { .min_rate = 1 << 20, .unix_sockets = true }),
	SCENARIO(slow_body_under_a_reply, SLOW),
	SCENARIO(slow_reader, .setup = { .min_rate = 50000, .unix_sockets = true }),
	SCENARIO(slow_worker_then_reader, .setup = { .min_rate = 50000, .unix_sockets = true }),
	SCENARIO(steady_reader, .setup = { .min_rate = 500, .unix_sockets = true }),
	SCENARIO(bad_heads, JSON),
	SCENARIO(flood),
	SCENARIO(switch_nobody_asked_for),
	SCENARIO(interim_flood),
	SCENARIO(cut_bodies, JSON),
	SCENARIO(cut_for_an_old_client, .until_close = SIZE_MAX),
	SCENARIO(bodies_of_the_bodiless),
	SCENARIO(extra_bytes),
};

int main(int argc, char **argv)
{
	return script_main(scenarios, ARRAY_LEN(scenarios), argc > 1 ? argv[1] : NULL);
}
