/* Between carry.c and the files that know what is to be carried; private to them. */
#ifndef DROVER_MASTER_CARRY_PARTS_H
#define DROVER_MASTER_CARRY_PARTS_H

#include "balancer/master/backoff.h"
#include "balancer/master/core.h"
#include "balancer/master/state_in.h"
#include "balancer/master/state_out.h"

struct app;
struct release;
struct listener;

/* What records refer to by number, while a state is read. */
struct carry_in {
	struct master *m;
	struct state_in *in;
	bool heir;                     /* we are another process than the one that wrote it */
	bool fresh_board;              /* the segments are of another layout: new ones were made */
	bool fresh_notes;              /* the warden's notes are new too */
	struct config_ref **configs;   /* held; by the numbers that they had */
	size_t n_configs;
	struct listener **listeners;   /* in the order of their records */
	size_t n_listeners;
	struct release **releases;     /* held, in any order */
	uint32_t *release_apps;        /* the app of each */
	size_t n_releases;
};

/* Writes its records, of one kind; begins each with state_record(). */
typedef void carry_save_f(const struct master *m, struct state_out *o);

/* Takes one record.  On failure the reason has been logged. */
typedef enum err carry_load_f(struct carry_in *c, const struct state_record *r);

/* carry_self.c: what is the master's own */
carry_save_f carry_save_master, carry_save_rundir, carry_save_logs, carry_save_sinks;
carry_save_f carry_save_supervisor, carry_save_activation, carry_save_warden, carry_save_upgrade;
carry_save_f carry_save_admin, carry_save_adoption, carry_save_cgroup;
carry_load_f carry_load_master, carry_load_rundir, carry_load_logs, carry_load_sink;
carry_load_f carry_load_supervisor, carry_load_activation, carry_load_warden, carry_load_upgrade;
carry_load_f carry_load_admin, carry_load_adoption, carry_load_cgroup;

/* carry_balancers.c: the board, listeners, generations and their balancers */
carry_save_f carry_save_board, carry_save_counters, carry_save_listeners, carry_save_generations;
carry_save_f carry_save_balancers;
carry_load_f carry_load_board, carry_load_counter, carry_load_listener, carry_load_generation;
carry_load_f carry_load_balancer;

/* carry_apps.c: configurations, apps, releases, workers */
carry_save_f carry_save_configs, carry_save_apps, carry_save_releases, carry_save_workers;
carry_load_f carry_load_config, carry_load_app, carry_load_release, carry_load_worker;

/* carry_past.c: ends, verdicts, lines of output */
carry_save_f carry_save_instances, carry_save_rollouts, carry_save_writers, carry_save_lines;
carry_load_f carry_load_instance, carry_load_rollout, carry_load_writer, carry_load_line;

/* carry_heir.c: of a master that was killed.  Whether `pid` is still the process that was
 * meant, and lives: then *ret_pidfd is one of it. */
bool carry_find(pid_t pid, uint64_t start_ticks, int *ret_pidfd);
/* Everything is read: what does not agree with it is put in order. */
void carry_settle(struct master *m);

/* The app of that id; NULL. */
struct app *carry_app(struct master *m, uint64_t id);

/* The config of that number; NULL. */
struct config_ref *carry_config(const struct carry_in *c, uint64_t number);

/* Numbers in one field: "1 2 3".  carry_get_list() gives how many there are, and the first
 * `room` of them. */
void carry_put_list(struct state_out *o, const char *name, const uint64_t *values, size_t n);
size_t carry_get_list(const struct state_record *r, const char *name, uint64_t *values, size_t room);

void carry_put_history(struct state_out *o, const struct backoff_history *h);
void carry_get_history(const struct state_record *r, struct backoff_history *h);

/* Logs that this record makes no sense; returns ERR_SYNTAX. */
MUST_CHECK enum err carry_refuse(const struct state_record *r, const char *why);

#endif
