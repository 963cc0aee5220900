/* A finished configuration: immutable from load to free.
 *
 * config_load() turns text into this struct or into a list of errors with file,
 * line and column; nothing else in the program ever sees YAML.  A balancer
 * generation is forked with one `struct config` and never changes it; the
 * master keeps each one for as long as a generation or release needs it.
 * Every number has its unit in its name; durations are milliseconds.
 */
#ifndef DROVER_CONFIG_CONFIG_H
#define DROVER_CONFIG_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "common/addr.h"
#include "common/log.h"

enum cfg_bind { BIND_PORT = 0, BIND_UNIX, BIND_MAX };
enum cfg_ready { READY_PORT = 0, READY_HTTP, READY_NOTIFY, READY_MAX };
enum cfg_rlimit {
#define CFG_RLIMIT(key, resource, help) CFG_RLIMIT_##resource,
#include "balancer/config/rlimits.def"
#undef CFG_RLIMIT
	CFG_RLIMIT_MAX
};
#define CFG_RLIMIT_INHERIT (UINT64_MAX - 1) /* as drover's own */
#define CFG_RLIMIT_NONE UINT64_MAX

enum cfg_on_failure { ON_FAILURE_KEEP_OLD = 0, ON_FAILURE_MAX };
enum cfg_balance { BALANCE_ROUND_ROBIN = 0, BALANCE_MAX };
enum cfg_sandbox { CFG_SANDBOX_ON = 0, CFG_SANDBOX_REQUIRED, CFG_SANDBOX_OFF, CFG_SANDBOX_MAX };
enum cfg_log_format { LOG_FORMAT_COMBINED = 0, LOG_FORMAT_JSON, LOG_FORMAT_MAX };

enum cfg_output_format { OUTPUT_PREFIXED = 0, OUTPUT_JSON, OUTPUT_FORMAT_MAX };

struct cfg_listen {
	struct addr address;
	char *text; /* as the log and errors name it */
};

struct cfg_app {
	char *name;  /* 1-63 of [A-Za-z0-9_-] */
	uint32_t id; /* given by the master before any fork; same name, same id, for its whole life; 0 in a fresh config */

	/* Exactly one of command and servers. */
	char **command; /* NULL-terminated argv, ${PORT} ${HOST} ${INSTANCE} not yet replaced; or NULL */
	struct addr *servers;
	size_t n_servers;

	char *directory; /* absolute; NULL only with servers */
	char *user;      /* or NULL: the master's user */
	char **env; /* "NAME=value", NULL-terminated, env_file already merged under env; ${} not yet replaced */
	uint32_t instances; /* auto already resolved; >= 1; n_servers where there are servers */
	uint32_t bind;      /* enum cfg_bind */
	uint16_t port_min, port_max; /* both 0: chosen by the kernel */

	uint32_t ready_type; /* enum cfg_ready */
	char *ready_path;    /* of READY_HTTP */
	uint64_t ready_timeout_ms;

	char *health_path; /* or NULL: no health probes */
	uint64_t health_interval_ms, health_timeout_ms;
	uint32_t health_fall, health_rise; /* probes in a row */
	uint64_t watchdog_ms;              /* longest silence of WATCHDOG=1; 0: none is expected */

	uint32_t balance; /* enum cfg_balance */

	int stop_signal;
	uint64_t stop_drain_ms, stop_grace_ms;

	uint64_t backoff_min_ms, backoff_max_ms, restart_window_ms;
	uint32_t restart_budget;

	uint64_t recycle_memory_bytes, recycle_age_ms; /* 0 = never */
	uint32_t recycle_requests;

	uint64_t rlimits[CFG_RLIMIT_MAX]; /* or one of CFG_RLIMIT_* */
	int nice;                         /* 0: drover's own */
	char *cpus;                       /* "0-3,8", or NULL: drover's own */
	uint64_t cgroup_memory_bytes;     /* of all workers together; 0: no limit */
	uint32_t cgroup_cpu_percent;      /* the same, of one core; 0: no limit */

	uint32_t rollout_surge;      /* >= 1 */
	uint32_t rollout_linger;     /* workers with tunnels alone */
	uint32_t rollout_on_failure; /* enum cfg_on_failure */

	uint32_t idle_connections; /* pooled, per worker and balancer */
	uint64_t idle_connection_ms;

	uint32_t queue_limit; /* requests waiting, per balancer */
	uint64_t queue_timeout_ms;

	char *log_output;                 /* "-" stdout and stderr, a path, or NULL: nowhere */
	uint32_t log_output_format;       /* enum cfg_output_format */
};

struct cfg_route {
	char *host; /* lower case, without port; NULL matches all. "*.example.com" matches any name below */
	char *path; /* prefix at a segment border ("/v1" matches /v1 and /v1/x); NULL matches all */
	uint32_t app; /* index into apps */
};

/* The bytes of a file that a config was read from. */
struct cfg_source {
	char *path;
	char *text; /* a NUL follows the `n` bytes */
	size_t n;
};

struct cfg_sources {
	struct cfg_source *all;
	size_t n;
};

/* What the command line lays over the file; NULL or 0 = not given. */
struct config_overrides {
	const char *listen; /* replaces the file's list */
	const char *name;
	uint32_t instances; /* of every app with a command */
	char *const *command; /* NULL-terminated; builds the only app, "app"; refused when the file has apps */
	const char *worker_path; /* bundled worker: what a command's "drover-worker" stands for, and the
	                          * command when there is neither file nor command; NULL: none found */
};

struct config {
	char *file;      /* as named by the user; NULL when built from arguments alone */
	char *directory; /* absolute; relative paths in the file are relative to it */
	char *name;

	struct cfg_listen *listens;
	size_t n_listens;
	uint32_t balancers;      /* auto already resolved; >= 1 */
	char *user;              /* for balancers when the master is root; NULL: see config reference */
	uint32_t sandbox;        /* enum cfg_sandbox */

	struct cfg_app *apps;
	size_t n_apps;
	struct cfg_route *routes; /* at least one; "everything to the only app" is written out */
	size_t n_routes;

	uint64_t timeout_head_ms, timeout_body_ms, timeout_idle_ms, timeout_connect_ms;
	uint64_t timeout_response_ms, timeout_tunnel_ms;

	uint64_t limit_head_bytes, limit_body_bytes, limit_uri_bytes; /* body: 0 = none */
	uint64_t limit_min_rate; /* bytes per second of a head or body; 0 = none */
	uint32_t limit_headers;
	uint32_t limit_connections; /* open client connections, per balancer; 0 = none */
	uint32_t limit_per_client;  /* of one address, over all balancers; 0 = none */

	struct addr_block *trust;
	size_t n_trust;

	uint64_t lame_duck_ms, shutdown_soft_ms, shutdown_hard_ms;
	uint64_t adopt_ms;       /* how long all else goes on without the master; 0: not at all */

	char *log_access;        /* "-" stdout, a path, or NULL: off */
	uint32_t log_format;     /* enum cfg_log_format */
	char *log_error;         /* "-" stderr, a path, or NULL: off */
	uint32_t log_level;      /* enum log_level */
	char *log_output;        /* of apps that say nothing else; already copied to them */
	uint32_t log_output_format;

	char *admin_socket;      /* a path, "auto" (in the run directory, by name), or NULL: off */
	struct cfg_listen admin_listen; /* text NULL: off */
	char *pid_file;          /* or NULL: off */

	struct cfg_sources sources;  /* what it was read from: its file, then env_files */
	struct config_overrides over; /* and the command line, less worker_path; copies */
	struct cfg_origins *origins; /* for config_dump(); private to config/ */
};

/* Errors as the user reads them: "file:line:column: message", the line, a caret,
 * a suggestion; all of the file's, up to 20. */
struct config_errors {
	char *text; /* printable, ends in a newline; NULL when none */
	size_t count;
};

/* Loads `file` (NULL: only the overrides and defaults).  Returns a config that
 * the caller ends with config_free(), or NULL with *ret_errors filled; the
 * caller ends that with config_errors_fini() in both cases. */
struct config *config_load(const char *file, const struct config_overrides *over,
			   struct config_errors *ret_errors);

/* The same from what was kept of the files (`sources` of a config, borrowed): a config
 * that was good once, as it was.  Rules that span keys, and what the machine has to say
 * about programs and directories, are not asked again.  Relative paths are relative to
 * `directory`. */
struct config *config_load_kept(const char *file, const char *directory,
				const struct config_overrides *over,
				const struct cfg_sources *sources,
				struct config_errors *ret_errors);

/* Whether both were read from the same bytes, with the same command line. */
bool config_same_sources(const struct config *a, const struct config *b);

void config_errors_fini(struct config_errors *errors);

/* Overwrites the values of env and env_file, and the files as they were read: for a process
 * that starts no workers.  What is left is no configuration to start some with. */
void config_wipe_secrets(struct config *cfg);

/* Accepts NULL; returns NULL. */
struct config *config_free(struct config *cfg);

/* `drover config`: every key with its effective value and origin (file:line,
 * command line, default), as YAML with comments. */
void config_dump(const struct config *cfg, FILE *out);

/* The reference of all keys, from the tables: one Markdown section per block. */
void config_reference(FILE *out);

const struct cfg_app *config_app(const struct config *cfg, const char *name); /* or NULL */

#endif
