/* Trailers, both ways: passed on where chunks follow chunks, less what must not be in
 * them; gone where the framing has no place for them. */
#include "flow/script.h"

#define TRAILERS "X-Sum: 17\r\nHost: b\r\ncontent_length: 5\r\nServer-Timing: a;dur=1\r\n"
#define LEFT "X-Sum: 17\r\nServer-Timing: a;dur=1\r\n"

static const struct step of_a_request[] = {
	CONNECT(C0),
	SEND(C0, POST_CHUNKED("/p1") "3\r\nabc\r\n0\r\n" TRAILERS "\r\n" GET("/next")),
	EXPECT(S0, "\r\n\r\n3\r\nabc\r\n0\r\n" LEFT "\r\n"),
	SILENCE(S0),
	SEND(S0, OK(1) "x"),
	EXPECT(C0, "\r\n\r\nx"),
	EXPECT(S1, "GET /next "),
	SEND(S1, OK(1) "y"),
	EXPECT(C0, "\r\n\r\ny"),
};

static const struct step of_a_request_later[] = {
	CONNECT(C0),
	SEND(C0, POST_CHUNKED("/p1") "3\r\nabc\r\n"),
	EXPECT(S0, "\r\n\r\n3\r\nabc\r\n"),
	SEND(C0, "0\r\nX-S"),
	SILENCE(S0),
	SEND(C0, "um: 17\r\nHo"),
	SILENCE(S0),
	SEND(C0, "st: b\r\nServer-Timing: a;dur=1\r\n\r"),
	SILENCE(S0),
	SEND(C0, "\n"),
	EXPECT(S0, "0\r\n" LEFT "\r\n"),
	SILENCE(S0),
	SEND(S0, OK(1) "x"),
	EXPECT(C0, "\r\n\r\nx"),
	COUNT(connections_idle, 1),
};

static const struct step of_a_reply[] = {
	CONNECT(C0),
	SEND(C0, "GET /a HTTP/1.1\r\nHost: a\r\nTE: deflate, trailers\r\nConnection: TE\r\n\r\n"),
	EXPECT(S0, "Connection: TE\r\nTE: trailers\r\n\r\n"),
	SEND(S0, "HTTP/1.1 200 OK\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n" TRAILERS "\r\n"),
	EXPECT(C0, "HTTP/1.1 200 OK\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n"
		   "3\r\nabc\r\n0\r\n" LEFT "\r\n"),
	SILENCE(C0),
	SEND(C0, GET("/b")),
	EXPECT(S1, "GET /b "),
	SEND(S1, OK_CHUNKED "3\r\nabc\r\n0\r\nX-"),
	EXPECT(C0, "3\r\nabc\r\n"),
	SEND(S1, "Sum: 1\r\n\r\n"),
	EXPECT(C0, "0\r\nX-Sum: 1\r\n\r\n"),
	SEND(C0, GET("/c")),
	EXPECT(S0, "GET /c "), /* in the pool again */
	SEND(S0, OK(1) "x"),
	EXPECT(C0, "\r\n\r\nx"),
	COUNT(upstream_connects, 2),
	LOG("\"GET /a HTTP/1.1\" 200 3 "),
};

/* HTTP/1.0 has no chunks, so no place for trailers, and hears of none. */
static const struct step to_an_old_client[] = {
	CONNECT(C0),
	SEND(C0, "GET /a HTTP/1.0\r\nTE: trailers\r\n\r\n"),
	EXPECT(S0, "X-Request-Id: "),
	SEND(S0, "HTTP/1.1 200 OK\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n" TRAILERS "\r\n"),
	EXPECT(C0, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nabc"),
	ENDS(C0),
};

/* Connection may name a field that comes among the trailers. */
static const struct step named_by_connection[] = {
	CONNECT(C0),
	SEND(C0, "POST /p1 HTTP/1.1\r\nHost: a\r\nConnection: x-sum\r\nTransfer-Encoding: chunked\r\n\r\n"
		 "3\r\nabc\r\n0\r\nX-Sum: 17\r\n\r\n"),
	EXPECT(S0, "\r\n\r\n3\r\nabc\r\n0\r\n\r\n"),
	SEND(S0, "HTTP/1.1 200 OK\r\nConnection: x-sum, keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX-Sum: 17\r\n\r\n"),
	EXPECT(C0, "\r\n\r\n0\r\n\r\n"),
	COUNT(connections_idle, 1),
};

/* What was held for a second send includes them. */
static const struct step sent_again[] = {
	CONNECT(C0),
	SEND(C0, "PUT /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n" TRAILERS "\r\n"),
	EXPECT(S0, "\r\n\r\n3\r\nabc\r\n0\r\n" LEFT "\r\n"),
	CLOSE(S0),
	EXPECT(S1, "\r\n\r\n3\r\nabc\r\n0\r\n" LEFT "\r\n"),
	SEND(S1, OK(1) "x"),
	EXPECT(C0, "\r\n\r\nx"),
};

/* The first half of them came with the head, the second after the second send. */
static const struct step sent_again_between[] = {
	CONNECT(C0),
	SEND(C0, "PUT /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-Sum: "),
	EXPECT(S0, "\r\n\r\n3\r\nabc\r\n"),
	CLOSE(S0),
	EXPECT(S1, "\r\n\r\n3\r\nabc\r\n"),
	SEND(C0, "17\r\nX-B: 1\r\n\r\n"),
	EXPECT(S1, "0\r\nX-Sum: 17\r\nX-B: 1\r\n\r\n"),
	SEND(S1, OK(1) "x"),
	EXPECT(C0, "\r\n\r\nx"),
};

static const struct step broken_in_a_request[] = {
	CONNECT(C0),
	SEND(C0, POST_CHUNKED("/p1") "3\r\nabc\r\n"),
	EXPECT(S0, "\r\n\r\n3\r\nabc\r\n"),
	SEND(C0, "0\r\nX-Sum: 17\r\nX Y: 1\r\n\r\n"),
	EXPECT(C0, "HTTP/1.1 400 "),
	ENDS(S0),
	REFUSED(TRAILER, 1),
};

static const struct step broken_in_a_reply[] = {
	CONNECT(C0),
	SEND(C0, GET("/a")),
	EXPECT(S0, "\r\n\r\n"),
	SEND(S0, OK_CHUNKED "3\r\nabc\r\n0\r\nX-Sum: 17\r\n folded\r\n\r\n"),
	EXPECT(C0, "3\r\nabc\r\n"),
	BREAKS(C0),
	ENDS(S0),
	REFUSED_REPLY(TRAILER, 1),
};

static const struct step cut_in_a_reply[] = {
	CONNECT(C0),
	SEND(C0, GET("/a")),
	EXPECT(S0, "\r\n\r\n"),
	SEND(S0, OK_CHUNKED "3\r\nabc\r\n0\r\nX-Sum: 17\r\n"),
	EXPECT(C0, "3\r\nabc\r\n"),
	CLOSE(S0),
	BREAKS(C0),
	REFUSED_REPLY(BODY_CUT, 1),
};

#define F100 "X-123456: 12345678901234567890123456789012345678901234567890123456789012345678901234567890123456789\r\n"

static const struct step as_many_as_may_be[] = {
	CONNECT(C0),
	SEND(C0, GET("/a")),
	EXPECT(S0, "\r\n\r\n"),
	SEND(S0, OK_CHUNKED "0\r\n"),
	SEND_TIMES(S0, 64, F100),
	SEND(S0, "\r\n"),
	EXPECT(C0, "\r\n\r\n0\r\n" F100),
	EXPECT(C0, F100 "\r\n"),
	SEND(C0, GET("/b")),
	EXPECT(S1, "\r\n\r\n"),
	SEND(S1, OK_CHUNKED "0\r\n"),
	SEND_TIMES(S1, 65, F100),
	SEND(S1, "\r\n"),
	BREAKS(C0),
	REFUSED_REPLY(TRAILER, 1),
};

static const struct scenario scenarios[] = {
	SCENARIO(of_a_request),
	SCENARIO(of_a_request_later),
	SCENARIO(of_a_reply),
	SCENARIO(to_an_old_client, .until_close = 3),
	SCENARIO(named_by_connection),
	SCENARIO(sent_again),
	SCENARIO(sent_again_between),
	SCENARIO(broken_in_a_request),
	SCENARIO(broken_in_a_reply),
	SCENARIO(cut_in_a_reply),
	SCENARIO(as_many_as_may_be),
};

int main(int argc, char **argv)
{
	return script_main(scenarios, ARRAY_LEN(scenarios), argc > 1 ? argv[1] : NULL);
}
