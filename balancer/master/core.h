/* The master's state, for the files of this folder, and what all of them use.  One
 * instance, made by master.c; nearly every function gets it as a parameter. */
#ifndef DROVER_MASTER_CORE_H
#define DROVER_MASTER_CORE_H

#include <event2/event.h>
#include <event2/event_struct.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "balancer/master/activation.h"
#include "balancer/master/admin.h"
#include "balancer/master/adoption.h"
#include "balancer/master/cgroup.h"
#include "balancer/master/config_ref.h"
#include "balancer/master/logs.h"
#include "balancer/master/master.h"
#include "balancer/master/monitor_proc.h"
#include "balancer/master/rollout.h"
#include "balancer/master/rundir.h"
#include "balancer/master/sampler.h"
#include "balancer/master/shutdown.h"
#include "balancer/master/signals.h"
#include "balancer/master/slots.h"
#include "balancer/master/supervisor.h"
#include "balancer/master/upgrade.h"
#include "balancer/master/warden.h"
#include "balancer/sandbox/sandbox.h"
#include "common/list.h"
#include "common/proc.h"

struct generation;

struct master {
	const struct master_options *opt;
	balancer_main_f *balancer_main;
	monitor_main_f *monitor_main;
	struct event_base *base;
	const char *name;             /* of this instance, for its whole life; in rundir */

	struct config_ref *config;    /* the newest that is in force */
	struct config_ref *pending_config; /* of the generation that is loading after a reload */
	struct logs_files pending_logs;
	bool reload_wanted;           /* SIGHUP came while starting */
	struct rollouts reloads;      /* what came of each SIGHUP */
	uint32_t reload_asked;        /* number of the last one */
	uint32_t reload_loading;      /* of the one whose generation is loading */
	uint32_t reload_in_force;     /* of the one that m->config came with; 0: the start */
	struct slots slots;           /* the roster */
	struct tally *tally;
	int tally_fd;

	uint64_t files;               /* descriptors that each process may have */
	struct rundir rundir;
	struct logs logs;
	struct list outlets;          /* struct outlet: where the workers' output goes */
	struct signals signals;
	struct warden warden;
	uint64_t statuses_until_us; /* for statuses of processes that are not our children */
	struct adoption adoption;     /* should we be killed */
	struct state_in *carried_in;  /* what is being read of a master before us, or NULL */
	struct admin admin;           /* the sockets of the admin channel */
	struct monitor_proc monitor;     /* who serves it */
	struct shutdown stop;
	struct cgroup cgroup;         /* limits of apps as a whole */
	struct sampler sampler;       /* looks at the workers once a second */
	struct supervisor supervisor; /* whom we tell how we are */
	struct upgrade upgrade;
	struct activation activation; /* listening sockets that it gave us */

	struct list listeners;        /* struct listener */
	struct list generations;      /* struct generation, oldest first */
	struct generation *loading;   /* the one that is to take over, or NULL */
	struct generation *serving;
	struct list apps;             /* struct app */
	struct list buried;           /* struct worker: freed at the end of the turn */

	struct proc_user balancer_user; /* of the generation in force */
	struct sandbox prober;        /* what HTTP probes and writers enter: as its balancers do */
	uint64_t last_line;           /* the number of the workers' newest line of output */
	uint64_t told_version;        /* roster version that the balancers were last woken for */
	uint32_t next_generation, next_app_id, next_port;
	uint64_t started_us;          /* monotonic */
	bool booting;                 /* the first generation is not serving yet */
	bool finished;                /* leave the loop */
	int exit_status;
};

/* Borrows `m`, the one of this process, for the functions below that forked children call
 * without it; NULL: there is none any more. */
void master_keep(struct master *m);

/* Assigns an event of this loop at control priority (worker output runs below it). */
void master_event(struct master *m, struct event *ev, int fd, short what, event_callback_fn f,
		  void *arg);
/* Arms `ev` to fire in `ms`. */
void master_timer(struct event *ev, uint64_t ms);

/* For the handler `f` of `ev`, which waits for the end of a process: whether it has ended, and
 * how (proc_reap()).  While its status may still come, `f` is called again. */
bool master_reap(struct master *m, struct event *ev, short what, pid_t pid, int pidfd,
		 siginfo_t *ret_info);

/* Ends the loop at once: a start that failed, or a shutdown that is done. */
void master_finish(struct master *m, int exit_status);

/* Monotonic microseconds, read now. */
uint64_t master_now_us(void);

/* Makes the roster's draft visible, without waking anybody: that happens once,
 * at the end of the turn. */
void master_publish(struct master *m);

/* In a forked child: what the apps' env, env_file and the files that they came from hold is
 * overwritten, also in states that are written or read.  The rest of the configurations stays. */
void master_forget_secrets(void);

/* In a forked child, that forgets the secrets too: no access any more to what the warden acts
 * on with our rights, nor to the roster; with `all`, nor to the tally. */
void master_shed_shared(bool all);

/* Children that are not ours to know: we are PID 1, or a worker left orphans. */
void master_reap_strangers(struct master *m);

#endif
