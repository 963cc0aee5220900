/* Runs scenarios; see script.h.
 *
 * What must hold in every run, whatever befell it, besides the end that
 * rig_stop() checks: a client got whole replies, or saw from the way its
 * connection ended that the last one was cut; a POST (to /p1 .. /p9, each sent
 * once by its client) never reached a worker twice. */
#include "lib/check.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "flow/replies.h"
#include "flow/script.h"

#include "common/clock.h"
#include "common/mem.h"

#define WAIT_MS 2000 /* for the kernel, when both sides of a socket are ours */
#define BLOWS_MAX 400
#define PIECES_MAX 3 /* bytes */
#define PATTERN_MAX (8 << 20)

struct run {
	struct rig rig;
	const struct scenario *scenario;
	bool strict;
	char what[160];
};

static struct peer *peer_of(struct run *run, unsigned who)
{
	if (who >= HEIR_BASE)
		return &run->rig.heir.peers[who - HEIR_BASE];
	return who >= CONN_BASE ? &run->rig.conns[who - CONN_BASE] : &run->rig.clients[who];
}

/* The first PATTERN_MAX bytes of what ACT_FILL sends. */
static const char *pattern(void)
{
	static char bytes[PATTERN_MAX];

	for (size_t i = 0; !bytes[PATTERN_MAX - 1] && i < PATTERN_MAX; i++)
		bytes[i] = (char)('a' + i % 23);
	return bytes;
}

static void fill(struct peer *p, long long n)
{
	assert_in_range(n, 1, PATTERN_MAX);
	peer_send(p, pattern(), (size_t)n);
}

static bool take_pattern(struct peer *p, long long n)
{
	assert_in_range(n, 1, PATTERN_MAX);
	if (p->n_in - p->seen < (size_t)n || memcmp(p->in + p->seen, pattern(), (size_t)n) != 0)
		return false;
	p->seen += (size_t)n;
	return true;
}

static bool take_text(struct peer *p, const char *text)
{
	const char *at = p->n_in ? strstr(p->in + p->seen, text) : NULL;

	if (!at)
		return false;
	p->seen = (size_t)(at - p->in) + strlen(text);
	return true;
}

static bool in_log(struct run *run, const char *text)
{
	char *log;
	bool found;

	rig_tick(&run->rig, 0); /* a sweep writes it */
	log = rig_log_text(run->rig.log);
	found = strstr(log, text) != NULL;
	free(log);
	return found;
}

static bool in_error_log(struct run *run, const char *text, long long times)
{
	char *log = rig_log_text(run->rig.errors);
	long long n = 0;

	for (const char *at = log; (at = strstr(at, text)) != NULL; at++)
		n++;
	free(log);
	return n == times;
}

static void limit_fds(long long more)
{
	static struct rlimit before;
	struct rlimit now;

	if (!before.rlim_cur)
		getrlimit(RLIMIT_NOFILE, &before);
	now = before;
	if (more >= 0) {
		int next = dup(0); /* the lowest that is free */
		close(next);
		now.rlim_cur = (rlim_t)(next + more);
	}
	setrlimit(RLIMIT_NOFILE, &now);
}

/* Whether what `s` waits for has come. */
static bool met(struct run *run, const struct step *s)
{
	struct rig *r = &run->rig;
	struct peer *p = s->act >= ACT_EXPECT && s->act <= ACT_AT ? peer_of(run, s->who) : NULL;

	switch (s->act) {
	case ACT_EXPECT:
		return take_text(p, s->text);
	case ACT_PATTERN:
		return take_pattern(p, s->n);
	case ACT_ENDS:
		return p->eof && !p->reset && p->seen == p->n_in;
	case ACT_BREAKS:
		return p->reset || (r->setup.unix_sockets && p->eof);
	case ACT_SILENCE:
		rig_settle(r);
		return p->used && p->seen == p->n_in && !p->eof && !p->reset;
	case ACT_NEVER:
		rig_settle(r);
		return !p->used;
	case ACT_AT:
		return p->used && r->conn_worker[s->who - CONN_BASE] == (uint32_t)s->n;
	case ACT_COUNT:
		return rig_count(r, (enum counter)s->who) == (uint64_t)s->n;
	case ACT_BUSIEST:
		return r->busiest == (unsigned)s->n;
	case ACT_ACKED:
		return r->acked == atomic_load(&r->heritage.roster->version);
	case ACT_STOPPED:
		return r->stopped;
	case ACT_DRAINED:
		return r->drained && r->proxy->forced == s->n;
	case ACT_REFUSED:
		return rig_refusals(r, (enum tally_side)(s->who / RULES_BASE),
				    (enum http_rule)(s->who % RULES_BASE)) == (uint64_t)s->n;
	case ACT_LOG:
		return in_log(run, s->text);
	case ACT_ERROR_LOG:
		return in_error_log(run, s->text, s->n);
	default:
		return true;
	}
}

static void act(struct run *run, const struct step *s)
{
	struct rig *r = &run->rig;

	switch (s->act) {
	case ACT_CONNECT:
		r->clients[s->who].room = (int)s->n;
		(void)!rig_connect(r, s->who);
		return;
	case ACT_SEND:
		for (long long i = 0; i < s->n; i++)
			peer_send(peer_of(run, s->who), s->text, strlen(s->text));
		return;
	case ACT_FILL:
		fill(peer_of(run, s->who), s->n);
		return;
	case ACT_SHUT:
		peer_shut(peer_of(run, s->who));
		return;
	case ACT_CLOSE:
		peer_close(peer_of(run, s->who));
		return;
	case ACT_RESET:
		peer_reset(peer_of(run, s->who));
		return;
	case ACT_LATE:
		rig_late(r, s->who - CONN_BASE, (size_t)s->n);
		return;
	case ACT_SOON:
		rig_soon(r, s->who - CONN_BASE, s->text);
		return;
	case ACT_NARROW:
		rig_narrow(r, s->who, (unsigned)s->n);
		return;
	case ACT_DEAF:
	case ACT_HEAR:
		peer_of(run, s->who)->deaf = s->act == ACT_DEAF;
		return;
	case ACT_SIP:
		rig_settle(r);
		peer_sip(peer_of(run, s->who), (size_t)s->n);
		return;
	case ACT_TICK:
		rig_settle(r);
		rig_tick(r, (uint64_t)s->n);
		return;
	case ACT_TICK_BEHIND:
		rig_tick_behind(r, (uint64_t)s->n);
		return;
	case ACT_PAUSE:
		rig_pause((uint64_t)s->n);
		return;
	case ACT_DOOR:
		rig_door(r, s->who, (enum rig_door)s->n);
		return;
	case ACT_ROSTER:
		rig_roster(r, s->who, (uint32_t)s->n);
		return;
	case ACT_REPLACE:
		rig_replace(r, s->who);
		return;
	case ACT_COMING:
		rig_coming(r, (uint32_t)s->n);
		return;
	case ACT_DRAIN:
		rig_drain(r, (uint32_t)s->n);
		return;
	case ACT_HAND_OVER:
		rig_hand_over(r, s->n);
		return;
	case ACT_ORPHAN:
		rig_orphan(r);
		return;
	case ACT_REOPEN:
		rig_reopen_log(r);
		return;
	case ACT_FD_LIMIT:
		limit_fds(s->n);
		return;
	default:
		return;
	}
}

static uint64_t wall_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* False: what the step waits for did not come. */
static bool step(struct run *run, const struct step *s)
{
	uint64_t started = 0;

	act(run, s);
	while (!met(run, s)) {
		if (rig_turn(&run->rig))
			continue;
		rig_settle(&run->rig);
		if (met(run, s))
			return true;
		if (!run->strict)
			return false;
		if (!started)
			started = wall_ms();
		else if (wall_ms() - started > WAIT_MS)
			return false;
		usleep(1000);
	}
	return true;
}

static void explain(struct run *run, size_t at)
{
	const struct step *s = &run->scenario->steps[at];
	struct peer *p = s->act >= ACT_EXPECT && s->act <= ACT_AT ? peer_of(run, s->who) : NULL;

	print_error("%s: step %zu (act %d, who %u, n %lld, \"%s\") does not come true\n", run->what, at,
		    (int)s->act, s->who, s->n, s->text ? s->text : "");
	if (s->act == ACT_COUNT)
		print_error("%s is %llu\n", counter_table[s->who].name,
			    (unsigned long long)rig_count(&run->rig, (enum counter)s->who));
	if (p)
		print_error("the peer: used %d, eof %d, reset %d, %zu bytes, unseen: \"%.600s\"\n",
			    p->used, p->eof, p->reset, p->n_in, p->n_in ? p->in + p->seen : "");
	_fail(__FILE__, __LINE__);
}

/* ---- what holds in every run ---- */

static void check_clients(struct run *run)
{
	struct rig *r = &run->rig;

	for (int i = 0; i < RIG_CLIENTS; i++) {
		struct peer *c = &r->clients[i];
		bool fin = c->eof && !c->reset && !r->setup.unix_sockets;
		const char *wrong = run->scenario->unframed || !c->n_in ? NULL
				    : replies_judge(c->in, c->n_in, fin, run->scenario->until_close);
		if (wrong)
			fail_msg("%s: client %d: %s: \"%.3000s\"", run->what, i, wrong, c->in);
	}
}

static void check_posts(struct run *run)
{
	struct rig *r = &run->rig;

	for (char digit = '1'; digit <= '9'; digit++) {
		char line[] = "POST /p0 ";
		int seen = 0;
		line[7] = digit;
		for (uint32_t i = 0; i < r->n_conns; i++)
			seen += r->conns[i].n_in && strstr(r->conns[i].in, line);
		if (seen > 1)
			fail_msg("%s: %swas sent %d times", run->what, line, seen);
	}
}

/* What clients have come by has been counted, once; where one of them has left, does not read
 * or is with somebody else nobody can say. */
static void check_bytes(struct run *run)
{
	struct rig *r = &run->rig;
	uint64_t n = 0;

	for (int i = 0; i < RIG_CLIENTS; i++) {
		const struct peer *c = &r->clients[i];
		if (c->used && (c->fd < 0 || c->deaf || c->reset))
			return;
		n += c->n_in;
	}
	if (!r->heir.n && n != rig_count(r, COUNTER_bytes_out))
		fail_msg("%s: clients have had %llu bytes, counted are %llu", run->what,
			 (unsigned long long)n, (unsigned long long)rig_count(r, COUNTER_bytes_out));
}

/* Returns false when the blow never fell: there are no further turns or allocations. */
static bool run_once(const struct scenario *s, enum rig_blow blow, uint64_t at)
{
	static const char *const blows[RIG_BLOW_MAX] = {
		"straight", "no memory at", "no memory from", "in pieces of",
		"clients close at", "clients reset at", "workers close at", "workers reset at",
	};
	static struct run run;

	limit_fds(-1);
	run.scenario = s;
	run.strict = blow == RIG_UNHARMED;
	snprintf(run.what, sizeof(run.what), "%s, %s %llu", s->name, blows[blow],
		 (unsigned long long)at);
	rig_start(&run.rig, &s->setup, blow, at);
	for (size_t i = 0; i < s->n_steps; i++)
		if (!step(&run, &s->steps[i]) && run.strict)
			explain(&run, i);
	rig_settle(&run.rig);
	limit_fds(-1);
	if (run.strict)
		check_bytes(&run);
	bool struck = run.rig.struck || (blow == RIG_NO_MEMORY && mem_fault_hit()) ||
		      (blow == RIG_IN_PIECES && at < PIECES_MAX);
	rig_stop(&run.rig, run.what);
	check_clients(&run);
	check_posts(&run);
	rig_fini(&run.rig);
	return struck;
}

/* Some send too much for that. */
static bool fits_in_pieces(const struct scenario *s)
{
	for (size_t i = 0; i < s->n_steps; i++)
		if (s->steps[i].act == ACT_FILL || (s->steps[i].act == ACT_SEND && s->steps[i].n > 1))
			return false;
	return true;
}

static void run_all_ways(void **state)
{
	const struct scenario *s = *state;

	run_once(s, RIG_UNHARMED, 0);
	for (int blow = RIG_NO_MEMORY; blow < RIG_BLOW_MAX && !s->straight_only; blow++) {
		uint64_t at = 1;
		if (blow == RIG_IN_PIECES && !fits_in_pieces(s))
			continue;
		while (run_once(s, (enum rig_blow)blow, at))
			assert_true(++at < BLOWS_MAX);
	}
}

int script_main(const struct scenario *scenarios, size_t n, const char *only)
{
	struct CMUnitTest *tests = calloc(n, sizeof(*tests));

	if (!tests)
		return 1;
	if (only)
		cmocka_set_test_filter(only);
	rig_boot();
	for (size_t i = 0; i < n; i++)
		tests[i] = (struct CMUnitTest){ scenarios[i].name, run_all_ways, NULL, NULL,
						(void *)(uintptr_t)&scenarios[i] };
	int failed = _cmocka_run_group_tests("flow", tests, n, NULL, NULL);
	free(tests);
	return failed;
}
