/* The regular look at every worker: its memory, its age, its silence. */
#ifndef DROVER_MASTER_SAMPLER_H
#define DROVER_MASTER_SAMPLER_H

#include <event2/event.h>
#include <event2/event_struct.h>
#include <stdint.h>

#include "balancer/master/vitals.h"
#include "common/base.h"

struct master;
struct worker;

struct sampler {
	struct event ev;
	uint32_t tick;
};

/* What is known of one worker; begins with its becoming UP. */
struct vitals {
	struct vitals_limits limits;
	struct vitals_silence silence;
	uint64_t memory_bytes;      /* 0: not sampled (no recycle.memory) */
	uint64_t cpu_ticks, cpu_us; /* at the last look */
	uint32_t cpu_percent;       /* of one core, between the last two looks */
};

void sampler_start(struct master *m);
void sampler_stop(struct sampler *s);

/* `w` has become UP. */
void sampler_begin(struct worker *w);

/* "5 requests in flight, state R (running), CPU 99 % of a core, waits in futex_wait": of now;
 * returns `buf`. */
#define SAMPLER_TEXT_MAX 192
const char *sampler_diagnose(struct worker *w, char buf[static SAMPLER_TEXT_MAX]);

#endif
