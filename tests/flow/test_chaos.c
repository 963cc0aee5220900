/* Many clients and workers at once, doing whatever a seed says: requests of all kinds in
 * pieces, pipelined, cut short; answers good and bad; a changing roster, time, failing
 * allocations, at the end a next generation that takes them over, a drain, or both.
 *
 * What must hold is what rig_stop() checks, and: each reply that a client gets answers
 * the request whose turn it is (workers repeat the path in X-Path); replies are whole or
 * end with a reset; no POST reaches workers twice.
 *
 *   flow_chaos          the seeds that every run of the tests takes
 *   flow_chaos 17       this seed alone
 *   flow_chaos 1 5000   a range of them */
#include "lib/check.h"

#include <stdio.h>
#include <stdlib.h>

#include "flow/replies.h"
#include "flow/rig.h"

#include "common/mem.h"

#define SEEDS 250
#define ACTS 160
#define CLIENTS (RIG_CLIENTS - 1) /* the last is rig_stop()'s */
#define REQUESTS_MAX 48           /* per client */
#define CONNS_SPARE 6             /* for rig_stop() */

struct talker {
	uint32_t ids[REQUESTS_MAX]; /* of its requests, in order; 0: nonsense */
	uint32_t n;
	uint32_t n_sure;            /* behind a short body, what is a request nobody can say; 0: all */
};

struct server {
	size_t at;      /* of peer.in: where the request begins that is to be answered */
	bool replied;   /* it was; its body may still be coming */
	bool tunnel;
	const char *rest; /* of a reply that was begun, or NULL */
};

static struct chaos {
	struct rig rig;
	struct talker talkers[CLIENTS];
	struct server servers[RIG_CONNS];
	uint32_t n_requests;
	uint64_t random;
	char what[64];
} chaos;

static uint32_t below(uint32_t n)
{
	chaos.random ^= chaos.random << 13;
	chaos.random ^= chaos.random >> 7;
	chaos.random ^= chaos.random << 17;
	return (uint32_t)(chaos.random >> 32) % n;
}

static bool one_in(uint32_t n)
{
	return below(n) == 0;
}

static void say(struct peer *p, const char *text)
{
	peer_send(p, text, strlen(text));
}

/* ---- clients ---- */

static void send_body(struct peer *p, struct talker *t, bool chunked, uint32_t n)
{
	static char bytes[300000];
	char line[32];

	memset(bytes, 'b', sizeof(bytes));
	if (one_in(8)) { /* the rest never comes, or what follows is taken for it */
		n /= 2;
		t->n_sure = t->n_sure ? t->n_sure : t->n;
	}
	if (!chunked) {
		peer_send(p, bytes, n);
		return;
	}
	while (n) {
		uint32_t piece = 1 + below(n);
		snprintf(line, sizeof(line), "%x\r\n", piece);
		say(p, line);
		peer_send(p, bytes, piece);
		say(p, "\r\n");
		n -= piece;
	}
	say(p, one_in(20) ? "xyz\r\n" : "0\r\n\r\n");
}

static void send_request(struct peer *p, struct talker *t)
{
	static const char *const methods[] = { "GET", "GET", "GET", "POST", "POST", "PUT" };
	char head[256], framing[64] = "";
	uint32_t id = ++chaos.n_requests;
	const char *method = methods[below(ARRAY_LEN(methods))];
	bool with_body = method[0] == 'P', chunked = with_body && one_in(2);
	bool old = !with_body && one_in(8), upgrade = !with_body && !old && one_in(8);
	uint32_t length = one_in(6) ? below(300000) : below(40);

	if (t->n == REQUESTS_MAX)
		return;
	t->ids[t->n++] = id;
	if (one_in(40)) {
		t->ids[t->n - 1] = 0;
		say(p, "GET / HTTP/1.1\nnonsense\r\n\r\n");
		return;
	}
	if (chunked)
		snprintf(framing, sizeof(framing), "Transfer-Encoding: chunked\r\n");
	else if (with_body)
		snprintf(framing, sizeof(framing), "Content-Length: %u\r\n", length);
	snprintf(head, sizeof(head), "%s /r%u HTTP/1.%d\r\nHost: a\r\n%s%s%s\r\n", method, id, !old, framing,
		 upgrade ? "Connection: upgrade\r\nUpgrade: x\r\n" : "",
		 !upgrade && one_in(10) ? (old ? "Connection: keep-alive\r\n" : "Connection: close\r\n") : "");
	say(p, head);
	if (with_body)
		send_body(p, t, chunked, length);
}

static void client_acts(uint32_t i)
{
	struct peer *p = &chaos.rig.clients[i];
	struct talker *t = &chaos.talkers[i];

	if (!p->used) {
		(void)!rig_connect(&chaos.rig, i);
		p->piece = one_in(4) ? 1 + below(2000) : 0;
		return;
	}
	switch (below(24)) {
	case 0:
		peer_close(p);
		return;
	case 1:
		peer_reset(p);
		return;
	case 2:
		peer_shut(p);
		return;
	case 3:
	case 4:
		p->deaf = !p->deaf;
		return;
	case 5: /* half a head */
		if (t->n < REQUESTS_MAX) {
			say(p, "GET /");
			t->ids[t->n++] = 0;
		}
		return;
	default:
		for (uint32_t n = one_in(4) ? 3 : 1; n; n--)
			send_request(p, t);
	}
}

/* ---- workers ---- */

/* Bytes of the request at p, body included; 0: it is not all there. */
static size_t request_bytes(const char *p, const char **ret_head_end)
{
	const char *end = strstr(p, "\r\n\r\n"), *length, *last;

	if (!end)
		return 0;
	*ret_head_end = end + 4;
	length = strstr(p, "Content-Length: ");
	if (length && length < end) {
		size_t n = strtoul(length + 16, NULL, 10);
		return strlen(end + 4) < n ? 0 : (size_t)(end + 4 - p) + n;
	}
	const char *coding = strstr(p, "Transfer-Encoding: ");
	if (!coding || coding > end)
		return (size_t)(end + 4 - p);
	last = strstr(end + 4, "0\r\n\r\n"); /* bodies here are all b's, and sizes never end in 0\r\n\r\n */
	return last ? (size_t)(last + 5 - p) : 0;
}

/* A good answer that repeats the path, of one kind or another. */
static void answer(struct peer *p, struct server *s, const char *path)
{
	char text[512];
	size_t n = strlen(path);
	const char *interim = one_in(6) ? "HTTP/1.1 103 Hint\r\nLink: x\r\n\r\n" : "";

	switch (below(6)) {
	case 0:
		snprintf(text, sizeof(text), "%sHTTP/1.1 200 OK\r\nX-Path: %s\r\nTransfer-Encoding: chunked\r\n\r\n"
			 "%zx\r\n%s\r\n0\r\n\r\n", interim, path, n, path);
		break;
	case 1:
		snprintf(text, sizeof(text), "%sHTTP/1.1 204 No\r\nX-Path: %s\r\n\r\n", interim, path);
		break;
	case 2: /* ends with the connection */
		snprintf(text, sizeof(text), "HTTP/1.0 200 OK\r\nX-Path: %s\r\n\r\n%s", path, path);
		break;
	case 3: /* in two goes */
		snprintf(text, sizeof(text), "%sHTTP/1.1 200 OK\r\nX-Path: %s\r\nContent-Length: %zu\r\n\r\n%s",
			 interim, path, n + 4, path);
		s->rest = "rest";
		break;
	case 4: /* more than that: it must not be taken for the next one */
		snprintf(text, sizeof(text), "HTTP/1.1 200 OK\r\nX-Path: %s\r\nContent-Length: %zu\r\n\r\n%s%s",
			 path, n, path, one_in(3) ? "HTTP/1.1 200 OK\r\nX-Path: /extra\r\nContent-Length: 0\r\n\r\n" : "");
		break;
	default:
		snprintf(text, sizeof(text), "%sHTTP/1.1 200 OK\r\nX-Path: %s\r\nContent-Length: %zu\r\n%s\r\n%s",
			 interim, path, n, one_in(5) ? "Connection: close\r\n" : "", path);
	}
	say(p, text);
	if (!strncmp(text, "HTTP/1.0", 8)) {
		if (one_in(4))
			peer_reset(p);
		else
			peer_shut(p);
	}
}

static void misbehave(struct peer *p)
{
	switch (below(6)) {
	case 0:
		peer_close(p);
		return;
	case 1:
		peer_reset(p);
		return;
	case 2:
		peer_shut(p);
		return;
	case 3:
		p->deaf = !p->deaf;
		return;
	case 4:
		say(p, "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n");
		return;
	default:
		say(p, "HTTP/1.1 200");
		peer_close(p);
	}
}

static void server_acts(uint32_t i)
{
	struct peer *p = &chaos.rig.conns[i];
	struct server *s = &chaos.servers[i];
	const char *head_end = NULL;
	char path[16];

	if (p->fd < 0 || !p->n_in)
		return;
	if (s->tunnel) {
		say(p, "words");
		if (one_in(6))
			misbehave(p);
		return;
	}
	size_t whole = request_bytes(p->in + s->at, &head_end);
	if (s->replied && !s->rest && whole) { /* on to the next one */
		s->at += whole;
		s->replied = false;
		return;
	}
	if (s->rest) {
		say(p, s->rest);
		s->rest = NULL;
		return;
	}
	if (s->replied || !head_end)
		return;
	if (one_in(10)) {
		misbehave(p);
		return;
	}
	if (!whole && !one_in(3)) /* most answer when all of it is there */
		return;
	sscanf(p->in + s->at, "%*s %15s", path);
	const char *upgrade = strstr(p->in + s->at, "Upgrade: x");
	s->replied = true;
	if (upgrade && upgrade < head_end && !one_in(4)) {
		s->tunnel = true;
		say(p, "HTTP/1.1 101 Go\r\nConnection: upgrade\r\nUpgrade: x\r\nX-Path: ");
		say(p, path);
		say(p, "\r\n\r\nfirst words");
		return;
	}
	answer(p, s, path);
}

/* ---- the world ---- */

static void world_acts(void)
{
	struct rig *r = &chaos.rig;
	uint32_t worker = below(r->setup.workers);

	switch (below(12)) {
	case 0:
		rig_roster(r, worker, below(WORKER_STATE_MAX));
		return;
	case 1:
	case 2:
		rig_replace(r, worker);
		return;
	case 3:
		rig_coming(r, below(2));
		return;
	case 4:
		rig_door(r, worker, one_in(2) ? RIG_REFUSES : RIG_OPEN);
		return;
	case 5:
		mem_fault_at(1 + below(20));
		return;
	case 6:
		rig_tick(r, below(40000));
		return;
	case 7:
		rig_settle(r);
		return;
	default:
		rig_tick(r, below(500));
	}
}

static void act(void)
{
	struct rig *r = &chaos.rig;

	switch (below(8)) {
	case 0:
		world_acts();
		break;
	case 1:
	case 2:
	case 3:
		client_acts(below(CLIENTS));
		break;
	default:
		for (uint32_t i = 0; i < r->n_conns; i++)
			if (one_in(2))
				server_acts(i);
	}
	if (!one_in(3))
		rig_turn(r);
}

/* ---- what must hold ---- */

static void check_client(uint32_t i)
{
	struct peer *p = &chaos.rig.clients[i];
	struct talker *t = &chaos.talkers[i];
	bool fin = p->eof && !p->reset && !chaos.rig.setup.unix_sockets;
	const char *at = p->in, *end = at + p->n_in, *wrong = NULL;

	for (uint32_t k = 0; at < end;) {
		struct reply reply;
		enum reply_verdict verdict = reply_read(at, (size_t)(end - at), &reply, &wrong);
		if (verdict == REPLY_BAD || (verdict == REPLY_CUT && fin))
			fail_msg("%s: client %u, reply %u: %s: \"%.2000s\"", chaos.what, i, k,
				 wrong ? wrong : "cut, with a FIN", at);
		if (verdict == REPLY_CUT)
			return;
		if (k >= t->n)
			fail_msg("%s: client %u has more replies than requests", chaos.what, i);
		const char *path = reply_field(&reply, "X-Path");
		bool sure = !t->n_sure || k < t->n_sure;
		if (path && sure && strtoul(path + 2, NULL, 10) != t->ids[k])
			fail_msg("%s: client %u, request %u was answered with %.10s", chaos.what, i, t->ids[k], path);
		if (path && !reply.framed && fin && reply.body != strcspn(path, "\r"))
			fail_msg("%s: client %u, reply %u: cut, with a FIN", chaos.what, i, k);
		if (reply.status == 101)
			return;
		k += reply.status >= 200;
		at = reply.head_end + reply.body;
	}
}

/* Whether that request stands in `in` as one: with the fields of a proxy.  It may also
 * have been swallowed by the body of one that announced more than its client sent. */
static bool was_sent(const char *in, const char *line)
{
	const char *at = in ? strstr(in, line) : NULL, *end = at ? strstr(at, "\r\n\r\n") : NULL;
	const char *ours = end ? strstr(at, "X-Forwarded-For") : NULL;

	return ours && ours < end;
}

static void check_posts(void)
{
	for (uint32_t id = 1; id <= chaos.n_requests; id++) {
		char line[24];
		int seen = 0;
		snprintf(line, sizeof(line), "POST /r%u ", id);
		for (uint32_t i = 0; i < chaos.rig.n_conns; i++)
			seen += was_sent(chaos.rig.conns[i].in, line);
		if (seen > 1)
			fail_msg("%s: %s was sent to %d workers", chaos.what, line, seen);
	}
}

static void run_seed(uint64_t seed)
{
	memset(&chaos, 0, sizeof(chaos));
	chaos.random = seed * 0x9e3779b97f4a7c15u | 1;
	snprintf(chaos.what, sizeof(chaos.what), "seed %llu", (unsigned long long)seed);
	below(2);
	struct rig_setup setup = {
		.workers = 1 + below(4),
		.unix_sockets = one_in(3),
		.servers = one_in(5),
		.connections = one_in(4) ? 3 : 0,
		.queue = 1 + below(6),
		.idle = 1 + below(3),
	};
	rig_start(&chaos.rig, &setup, RIG_UNHARMED, 0);
	for (int i = 0; i < ACTS && chaos.rig.n_conns < RIG_CONNS - CONNS_SPARE; i++)
		act();
	chaos.rig.heir.alone = true;
	if (one_in(3)) {
		rig_hand_over(&chaos.rig, one_in(4));
		for (int i = 0; i < ACTS / 4 && chaos.rig.n_conns < RIG_CONNS - CONNS_SPARE; i++)
			act();
	}
	if (one_in(2)) {
		rig_drain(&chaos.rig, 1 + below(DRAIN_MAX - 1));
		for (int i = 0; i < 20 && chaos.rig.n_conns < RIG_CONNS - CONNS_SPARE; i++)
			act();
	}
	rig_stop(&chaos.rig, chaos.what);
	for (uint32_t i = 0; i < CLIENTS; i++)
		check_client(i);
	check_posts();
	rig_fini(&chaos.rig);
}

static uint64_t first = 1, last = SEEDS;

static void test_seeds(void **state)
{
	(void)state;
	for (uint64_t seed = first; seed <= last; seed++)
		run_seed(seed);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_seeds) };

	if (argc > 1)
		first = last = strtoull(argv[1], NULL, 10);
	if (argc > 2)
		last = strtoull(argv[2], NULL, 10);
	rig_boot();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
