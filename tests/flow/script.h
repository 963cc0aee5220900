/* Scenarios as tables of steps, and the ways in which each is run:
 *
 *   straight           every expectation must come true
 *   without memory     for each n: the n-th allocation fails, alone or as the first
 *                      of many
 *   in pieces          all peers send 1, 2, 3 bytes at a time
 *   client or worker gone   for each n: that side closes, or resets, after the n-th
 *                      turn in which the balancer did something
 *
 * In the latter runs a step whose time does not come is passed over; what must
 * hold in every run is checked by rig_stop() and by the rules in script.c. */
#ifndef DROVER_TESTS_SCRIPT_H
#define DROVER_TESTS_SCRIPT_H

#include "flow/rig.h"

enum act {
	ACT_CONNECT = 0, /* n: size of its receive buffer; 0: the usual */
	ACT_SEND,        /* text, n times */
	ACT_FILL,        /* n bytes of the pattern */
	ACT_EXPECT,      /* the text comes; everything up to its end is taken */
	ACT_PATTERN,     /* n bytes of the pattern come next */
	ACT_ENDS,        /* the other side ends it with a FIN, nothing before it */
	ACT_BREAKS,      /* ... with a RST, or a FIN on a Unix socket */
	ACT_SILENCE,     /* nothing comes */
	ACT_NEVER,       /* this connection is not made */
	ACT_AT,          /* connection `who` was made to worker n */
	ACT_SHUT, ACT_CLOSE, ACT_RESET,
	ACT_LATE,        /* connection `who` closes as it is sent to, see rig_late(); n: heard */
	ACT_SOON,       /* it closes, or says text, in front of all events of the next turn: rig_soon() */
	ACT_NARROW,      /* n: sends to the oldest client that meet it; the first takes `who` bytes */
	ACT_DEAF, ACT_HEAR,
	ACT_SIP,         /* a deaf one takes n bytes all the same */
	ACT_TICK,        /* n ms pass */
	ACT_TICK_BEHIND, /* the same, and what peers did before comes in front, in one turn */
	ACT_PAUSE,       /* n ms pass in which the balancer does not run */
	ACT_DOOR,        /* worker `who`: enum rig_door n */
	ACT_ROSTER,      /* worker `who`: enum worker_state n */
	ACT_REPLACE,     /* worker `who` */
	ACT_COMING,      /* n workers */
	ACT_DRAIN,       /* enum drain_level n */
	ACT_HAND_OVER,   /* a generation begins that takes connections; n: or refuses them */
	ACT_ORPHAN,
	ACT_COUNT,       /* counter `who` is n */
	ACT_BUSIEST,     /* no turn had more than n events, by the balancer's count, and one had */
	ACT_ACKED,       /* the latest roster was acknowledged */
	ACT_STOPPED,     /* the listeners are closed, the master was told */
	ACT_DRAINED,     /* the balancer has finished; `n`: whether it had to force */
	ACT_REFUSED,     /* rule `who` refused n times, what clients or (from RULES_BASE) workers sent */
	ACT_LOG,         /* text is in the access log */
	ACT_ERROR_LOG,   /* text is in the error log, n times */
	ACT_REOPEN,      /* the master sends a new descriptor for the access log */
	ACT_FD_LIMIT,    /* only n more descriptors can be opened; -1: as many as before */
	ACT_MAX
};

struct step {
	enum act act;
	unsigned who;
	long long n;
	const char *text;
};

/* Who: clients C0.., connections to workers S0.. in the order in which they were made, clients
 * as the next generation has them H0.. in the order in which it took them. */
#define CONN_BASE 100u
#define HEIR_BASE 200u
#define RULES_BASE 100u
#define C0 0u
#define C1 1u
#define C2 2u
#define C3 3u
#define S0 (CONN_BASE + 0u)
#define S1 (CONN_BASE + 1u)
#define S2 (CONN_BASE + 2u)
#define S3 (CONN_BASE + 3u)
#define S4 (CONN_BASE + 4u)
#define S5 (CONN_BASE + 5u)
#define S6 (CONN_BASE + 6u)
#define S7 (CONN_BASE + 7u)
#define H0 (HEIR_BASE + 0u)
#define H1 (HEIR_BASE + 1u)

#define CONNECT(c) { ACT_CONNECT, (c), 0, NULL }
#define CONNECT_SMALL(c, bytes) { ACT_CONNECT, (c), (bytes), NULL }
#define SEND(p, bytes) { ACT_SEND, (p), 1, (bytes) }
#define SEND_TIMES(p, times, bytes) { ACT_SEND, (p), (times), (bytes) }
#define FILL(p, bytes) { ACT_FILL, (p), (bytes), NULL }
#define EXPECT(p, bytes) { ACT_EXPECT, (p), 0, (bytes) }
#define PATTERN(p, bytes) { ACT_PATTERN, (p), (bytes), NULL }
#define ENDS(p) { ACT_ENDS, (p), 0, NULL }
#define BREAKS(p) { ACT_BREAKS, (p), 0, NULL }
#define SILENCE(p) { ACT_SILENCE, (p), 0, NULL }
#define NEVER(p) { ACT_NEVER, (p), 0, NULL }
#define AT(p, worker) { ACT_AT, (p), (worker), NULL }
#define SHUT(p) { ACT_SHUT, (p), 0, NULL }
#define CLOSE(p) { ACT_CLOSE, (p), 0, NULL }
#define RESET(p) { ACT_RESET, (p), 0, NULL }
#define SOON(p, bytes) { ACT_SOON, (p), 0, (bytes) }
#define LATE(p, heard) { ACT_LATE, (p), (heard), NULL }
#define NARROW(room, times) { ACT_NARROW, (room), (times), NULL }
#define DEAF(p) { ACT_DEAF, (p), 0, NULL }
#define HEAR(p) { ACT_HEAR, (p), 0, NULL }
#define SIP(p, bytes) { ACT_SIP, (p), (bytes), NULL }
#define TICK(ms) { ACT_TICK, 0, (ms), NULL }
#define TICK_BEHIND(ms) { ACT_TICK_BEHIND, 0, (ms), NULL }
#define PAUSE(ms) { ACT_PAUSE, 0, (ms), NULL }
#define DOOR(worker, door) { ACT_DOOR, (worker), RIG_##door, NULL }
#define ROSTER(worker, state) { ACT_ROSTER, (worker), WORKER_##state, NULL }
#define REPLACE(worker) { ACT_REPLACE, (worker), 0, NULL }
#define COMING(count) { ACT_COMING, 0, (count), NULL }
#define DRAIN(level) { ACT_DRAIN, 0, DRAIN_##level, NULL }
#define HAND_OVER { ACT_HAND_OVER, 0, false, NULL }
#define HAND_OVER_IN_VAIN { ACT_HAND_OVER, 0, true, NULL }
#define ORPHAN { ACT_ORPHAN, 0, 0, NULL }
#define COUNT(counter, count) { ACT_COUNT, COUNTER_##counter, (count), NULL }
#define BUSIEST(events) { ACT_BUSIEST, 0, (events), NULL }
#define ACKED { ACT_ACKED, 0, 0, NULL }
#define STOPPED { ACT_STOPPED, 0, 0, NULL }
#define DRAINED(forced) { ACT_DRAINED, 0, (forced), NULL }
#define REFUSED(rule, count) { ACT_REFUSED, HTTP_RULE_##rule, (count), NULL }
#define REFUSED_REPLY(rule, count) { ACT_REFUSED, RULES_BASE + HTTP_RULE_##rule, (count), NULL }
#define LOG(line) { ACT_LOG, 0, 0, (line) }
#define ERROR_LOG(count, line) { ACT_ERROR_LOG, 0, (count), (line) }
#define REOPEN { ACT_REOPEN, 0, 0, NULL }
#define FD_LIMIT(more) { ACT_FD_LIMIT, 0, (more), NULL }

/* Messages that most scripts use. */
#define GET(path) "GET " path " HTTP/1.1\r\nHost: a\r\n\r\n"
#define POST(path, length) \
	"POST " path " HTTP/1.1\r\nHost: a\r\nContent-Length: " #length "\r\n\r\n"
#define POST_CHUNKED(path) \
	"POST " path " HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
#define OK(length) "HTTP/1.1 200 OK\r\nContent-Length: " #length "\r\n\r\n"
#define OK_CHUNKED "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"

struct scenario {
	const char *name;
	struct rig_setup setup;
	const struct step *steps;
	size_t n_steps;
	bool straight_only;  /* why is said beside it */
	bool unframed;       /* what clients get cannot be split into replies: HEAD */
	size_t until_close;  /* bytes of a body that ends with the connection, when whole */
};

#define SCENARIO(steps_of, ...) \
	{ .name = #steps_of, .steps = (steps_of), .n_steps = ARRAY_LEN(steps_of), __VA_ARGS__ }

/* The main function of each program: runs all `scenarios` in all ways; with `only`,
 * those whose names match it (with * and ?). */
int script_main(const struct scenario *scenarios, size_t n, const char *only);

#endif
