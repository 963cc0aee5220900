/* What the master and the monitor say to each other: verbs, codes, and the layout of a
 * snapshot of everything that the master knows, which rides along with an answer.
 *
 *   monitor ── ASK(verb, app, number) ──► master
 *           ◄── ANSWER(code, number) ───                  nothing more to say
 *           ◄── ANSWER_WITH(code, number) + memfd ───     SNAPSHOT: struct snapshot and its
 *                                                         rows; LOGS: struct page
 *
 * The memfd is sealed: what was written can neither change nor shrink under its reader.
 * The master writes flat rows and never JSON; the monitor writes JSON and decides nothing. */
#ifndef DROVER_BOARD_ADMIN_H
#define DROVER_BOARD_ADMIN_H

#include <stddef.h>
#include <stdint.h>

#include "common/addr.h"
#include "common/base.h"
#include "common/err.h"

enum admin_verb {
	ADMIN_NONE = 0,
	ADMIN_SNAPSHOT,
	ADMIN_RELOAD,
	ADMIN_RESTART, /* app_id */
	ADMIN_SCALE,   /* app_id, number: instances */
	ADMIN_DRAIN,   /* app_id, number: instance */
	ADMIN_STOP,
	ADMIN_UPGRADE,
	ADMIN_LOGS,    /* app_id (0: all), number: admin_logs_number(), since: see board/page.h */
	ADMIN_VERB_MAX
};

/* Which lines ADMIN_LOGS is for, in its one number: the last `lines` of them, of instance
 * `instance` or (ADMIN_LOGS_ALL) of all. */
#define ADMIN_LOGS_ALL 0xffffu

static inline uint32_t admin_logs_number(uint32_t lines, uint32_t instance)
{
	return (lines & 0xffffu) | (instance & 0xffffu) << 16;
}

enum admin_code {
#define CODE(name, http_status, text) ADMIN_##name##_CODE,
#include "balancer/board/admin_codes.def"
#undef CODE
	ADMIN_CODE_MAX
};

struct admin_code_info {
	uint16_t http_status;
	const char *text;
};
extern const struct admin_code_info admin_code_table[ADMIN_CODE_MAX];

/* How drover as a whole is. */
enum admin_state {
	ADMIN_STATE_STARTING = 0, /* the first generation does not serve yet */
	ADMIN_STATE_SERVING,
	ADMIN_STATE_LEAVING,      /* asked to stop, and still accepts: shutdown.lame_duck */
	ADMIN_STATE_DRAINING,     /* balancers finish what they have */
	ADMIN_STATE_STOPPING,     /* balancers are gone, workers stop */
	ADMIN_STATE_MAX
};
const char *admin_state_text(uint32_t state);

enum generation_state {
#define GSTATE(name, text) GENERATION_##name,
#include "balancer/board/generation_states.def"
#undef GSTATE
	GENERATION_MAX
};
const char *generation_state_text(uint32_t state);

/* What came of a release, of a reload as a whole, or of an upgrade. */
enum rollout_state {
#define ROLLOUT(name, text) ROLLOUT_##name,
#include "balancer/board/rollout_states.def"
#undef ROLLOUT
	ROLLOUT_STATE_MAX
};
const char *rollout_state_text(uint32_t state);

#define SNAPSHOT_STAMP 0x64726f7605u /* "drov" and the layout's number */

struct snapshot_app {
	uint32_t id;
	uint32_t release;        /* the target's number; 0: nothing is to run */
	uint32_t newest_release; /* the latest that was tried */
	uint32_t wanted;         /* instances */
	uint32_t in_config;      /* 0: it has left, and drains */
	uint32_t servers;        /* 1: its servers were not started by drover */
	char name[64];
};

struct snapshot_worker {
	uint32_t app_id, instance, release, state; /* enum worker_state */
	uint32_t in_flight;
	int32_t pid;             /* 0: a server */
	uint64_t started_us, up_us; /* monotonic; 0: not yet */
	uint64_t requests;       /* sent to it */
	char address[ADDR_TEXT_MAX];
};

/* What is remembered of an instance beyond the life of its workers. */
struct snapshot_instance {
	uint32_t app_id, instance;
	uint32_t restarts;       /* workers that ended by themselves and had, or wait for, a successor */
	uint32_t failing;        /* requests do not wait for it */
	uint64_t not_before_us;  /* monotonic: its next start waits until then */
	uint64_t failed_us;      /* monotonic: when a worker of it failed last; 0: never */
	int32_t failed_pid;      /* 0: it could not even be started */
	uint32_t zero;
	char failure[192];       /* why: "ended: exit status 3, after 0.1 s" */
};

struct snapshot_generation {
	uint32_t number, state;  /* enum generation_state */
	uint64_t since_us;       /* monotonic: when it was forked */
};

struct snapshot_balancer {
	uint32_t generation, index;
	int32_t pid;             /* 0: waits to be started again */
	uint32_t row;            /* of the tally */
};

/* An address that drover listens on. */
struct snapshot_listener {
	uint32_t sockets;        /* its balancers share them out */
	uint32_t inherited;      /* 1: the service manager opened it */
	uint32_t in_config;      /* 0: it has left, and its queue is emptied */
	uint32_t zero;
	char address[ADDR_TEXT_MAX];
};

/* Of an app's latest release; and of the last reloads, whose app_id is 0. */
struct snapshot_rollout {
	uint32_t app_id, number, reload, state; /* enum rollout_state */
	uint32_t kept;           /* FAILED: the release that serves on in its place; 0: none */
	uint32_t zero;
	char reason[512];        /* FAILED: one line */
	char lines[4096];        /* FAILED: what the worker wrote last, or what is wrong in the file */
};

/* The head of the file; the rows follow, in this order, without gaps. */
struct snapshot {
	uint64_t stamp;
	uint32_t state;          /* enum admin_state */
	int32_t master_pid;
	uint64_t now_us, started_us; /* monotonic */
	uint32_t upgrades;       /* begun so far; the last one: */
	uint32_t upgrade;        /* enum rollout_state */
	char upgrade_from[64];   /* DONE: the version that it replaced */
	char upgrade_reason[256]; /* FAILED: why the program that ran before goes on */
	uint32_t adoptions;      /* times that a master was killed and another took over; the last: */
	int32_t adopted_from;    /* its pid */
	uint64_t adopted_us;     /* monotonic */
	uint32_t n_apps, n_workers, n_instances, n_generations, n_balancers, n_rollouts, n_listeners;
	uint32_t zero;
};

/* The rows of a snapshot. */
struct snapshot_view {
	const struct snapshot *head;
	const struct snapshot_app *apps;
	const struct snapshot_worker *workers;
	const struct snapshot_instance *instances;
	const struct snapshot_generation *generations;
	const struct snapshot_balancer *balancers;
	const struct snapshot_rollout *rollouts;
	const struct snapshot_listener *listeners;
};

/* Bytes that a snapshot with these counts takes. */
size_t snapshot_bytes(const struct snapshot *head);

/* Where the rows of `bytes` bytes at `data` (borrowed) stand.  ERR_PROTOCOL: too short,
 * another layout, or counts that do not fit; every text in it ends within its array. */
MUST_CHECK enum err snapshot_view(const void *data, size_t bytes, struct snapshot_view *ret_view);

#endif
