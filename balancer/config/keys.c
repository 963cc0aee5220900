/* THE key tables.  A key exists when it has a row here and a field in
 * config.h; nothing else in the program lists keys. */
#include "balancer/config/keys.h"

#include <string.h>

#include "balancer/config/config.h"
#include "balancer/config/nearest.h"
#include "common/base.h"
#include "common/http_head.h"
#include "common/log.h"

#define MINUTE (60 * 1000ull)
#define HOUR (60 * MINUTE)
#define DAY (24 * HOUR)
#define KIB 1024ull
#define MIB (1ull << 20)
#define TIB (1ull << 40)

#define TABLE(rows) .keys = (rows), .n = ARRAY_LEN(rows)

static const char *const bind_names[] = { "port", "unix", NULL };
static const char *const ready_names[] = { "port", "http", "notify", NULL };
static const char *const on_failure_names[] = { "keep-old", NULL };
static const char *const balance_names[] = { "round-robin", NULL };
static const char *const sandbox_names[] = { "on", "required", "off", NULL };
static const char *const format_names[] = { "combined", "json", NULL };
static const char *const output_format_names[] = { "prefixed", "json", NULL };
static const char *const level_names[] = { "error", "warn", "notice", "info", "debug", NULL };

_Static_assert(ARRAY_LEN(bind_names) == BIND_MAX + 1, "a name per enum cfg_bind");
_Static_assert(ARRAY_LEN(ready_names) == READY_MAX + 1, "a name per enum cfg_ready");
_Static_assert(ARRAY_LEN(on_failure_names) == ON_FAILURE_MAX + 1, "a name per enum cfg_on_failure");
_Static_assert(ARRAY_LEN(balance_names) == BALANCE_MAX + 1, "a name per enum cfg_balance");
_Static_assert(ARRAY_LEN(sandbox_names) == CFG_SANDBOX_MAX + 1, "a name per enum cfg_sandbox");
_Static_assert(ARRAY_LEN(format_names) == LOG_FORMAT_MAX + 1, "a name per enum cfg_log_format");
_Static_assert(ARRAY_LEN(output_format_names) == OUTPUT_FORMAT_MAX + 1,
	       "a name per enum cfg_output_format");
_Static_assert(ARRAY_LEN(level_names) == LOG_LEVEL_MAX + 1, "a name per enum log_level");

/* ---- one entry of listen, long form ---- */

#define AT(field) offsetof(struct cfg_listen, field)
static const struct key listen_rows[] = {
	{ "address", VALUE_ADDRESS, 0, NULL, .flags = KEY_REQUIRED,
	  .help = "Where to listen: `0.0.0.0:8080`, `8080`, `\"[::1]:8080\"` or "
		  "`unix:/run/drover/http.sock`." },
};
#undef AT

const struct key_table listen_keys = {
	.title = "listen, long form",
	.help = "An entry of `listen` may be a block instead of an address.",
	.example = "listen:\n  - address: 0.0.0.0:8080\n  - address: unix:/run/drover/http.sock\n",
	TABLE(listen_rows),
};

/* ---- one entry of apps ---- */

#define AT(field) offsetof(struct cfg_app, field)

static const struct key ready_rows[] = {
	{ "type", VALUE_CHOICE, AT(ready_type), "port", .choices = ready_names,
	  .help = "How a new worker proves that it is ready. `port`: it accepts a connection. "
		  "`http`: it answers a GET of `path` with a status from 200 to 399; asked again "
		  "until it does, each time for 5 s at the most. "
		  "`notify`: it sends `READY=1` to `$NOTIFY_SOCKET`, as sd_notify(3) describes." },
	{ "path", VALUE_TARGET, AT(ready_path), "/", 1, 1024,
	  .help = "What `type: http` asks for; it may have a query." },
	{ "timeout", VALUE_MS, AT(ready_timeout_ms), "30s", 100, HOUR,
	  .help = "How long the proof may take; then the worker is stopped and counts as failed. "
		  "With `EXTEND_TIMEOUT_USEC=` a worker can ask for more, up to ten times as "
		  "much." },
};

static const struct key_table ready_keys = {
	.title = "apps.NAME.ready",
	.help = "When a worker that was started gets its first request.",
	TABLE(ready_rows),
};

static const struct key health_rows[] = {
	{ "path", VALUE_TARGET, AT(health_path), NULL, 1, 1024, .unset = "there are no health probes",
	  .help = "Asked for with GET, for as long as the worker lives; a status from 200 to 399 "
		  "is "
		  "good. It may have a query." },
	{ "interval", VALUE_MS, AT(health_interval_ms), "2s", 10, HOUR,
	  .help = "Between two probes. A new worker is asked every 250 ms at least until it has "
		  "passed." },
	{ "timeout", VALUE_MS, AT(health_timeout_ms), "1s", 10, HOUR,
	  .help = "Longest wait for the head of the answer." },
	{ "fall", VALUE_COUNT, AT(health_fall), "3", 1, 1000,
	  .help = "So many failed probes in a row take a worker out of the rotation. It is not "
		  "stopped, and the last one that is left is never taken out." },
	{ "rise", VALUE_COUNT, AT(health_rise), "2", 1, 1000,
	  .help = "So many good ones in a row bring it back. A new worker needs as many before it "
		  "gets its first request, within `ready.timeout`." },
};

static const struct key_table health_keys = {
	.title = "apps.NAME.health",
	.help = "Health probes, with `path`: of every worker and server, by a process for each. A "
		"new "
		"worker has to pass its first ones after it is ready, or its start has failed; a "
		"release whose workers fall while it is being rolled out is taken back.",
	TABLE(health_rows),
};

static const struct key stop_rows[] = {
	{ "signal", VALUE_SIGNAL, AT(stop_signal), "SIGTERM",
	  .help = "Sent to the worker's process group. Traffic to it has ended before." },
	{ "drain", VALUE_MS, AT(stop_drain_ms), "30s", 0, DAY,
	  .help = "Longest wait for the requests in flight before the signal is sent." },
	{ "grace", VALUE_MS, AT(stop_grace_ms), "10s", 0, HOUR,
	  .help = "Time between the signal and SIGKILL." },
};

static const struct key_table stop_keys = {
	.title = "apps.NAME.stop",
	.help = "How a worker is stopped: new requests go elsewhere, those in flight end, then "
		"comes the signal.",
	TABLE(stop_rows),
};

static const struct key restart_rows[] = {
	{ "backoff_min", VALUE_MS, AT(backoff_min_ms), "100ms", 1, HOUR,
	  .help = "Wait before the restart after the second crash within `window`; it doubles with "
		  "each further one. The first crash of a worker that had been up is answered at "
		  "once; one that had been up for a second or more waits a quarter of that time "
		  "at the most." },
	{ "backoff_max", VALUE_MS, AT(backoff_max_ms), "30s", 1, DAY,
	  .help = "The longest such wait, give or take a quarter of it, so that workers that ended "
		  "together do not start together." },
	{ "window", VALUE_MS, AT(restart_window_ms), "60s", 1000, DAY,
	  .help = "Crashes longer ago than this are forgotten." },
	{ "budget", VALUE_COUNT, AT(restart_budget), "10", 1, 10000,
	  .help = "More crashes than this within `window` and the app is called failing: it is "
		  "still restarted, every `backoff_max`, but requests no longer wait for it. "
		  "They do not either after three starts in a row that did not become ready." },
};

static const struct key_table restart_keys = {
	.title = "apps.NAME.restart",
	.help = "What happens after a crash.",
	TABLE(restart_rows),
};

static const struct key recycle_rows[] = {
	{ "memory", VALUE_BYTES, AT(recycle_memory_bytes), "0", 0, 1024 * TIB,
	  .help = "Resident memory of the worker and its descendants in its process group, looked "
		  "at every second. What a child shares with others counts once." },
	{ "requests", VALUE_COUNT, AT(recycle_requests), "0", 0, 4000000000,
	  .help = "Requests that it has been given. Each worker's own number is up to a tenth "
		  "lower, "
		  "by chance, so that those that started together are not due together." },
	{ "age", VALUE_MS, AT(recycle_age_ms), "0s", 0, 365 * DAY,
	  .help = "Time since it was started; likewise up to a tenth less." },
};

static const struct key_table recycle_keys = {
	.title = "apps.NAME.recycle",
	.help = "Workers that are past any of these are replaced, one of an app at a time, as in a "
		"rollout: the new one is ready before the old one is drained, and no request is "
		"lost. 0: never.",
	TABLE(recycle_rows),
};

static const struct key app_limits_rows[] = {
#define CFG_RLIMIT(key, resource, text) \
	{ #key, VALUE_RLIMIT, AT(rlimits[CFG_RLIMIT_##resource]), "inherit", .help = text },
#include "balancer/config/rlimits.def"
#undef CFG_RLIMIT
	{ "memory", VALUE_BYTES, AT(cgroup_memory_bytes), "0", 0, 1024 * TIB,
	  .help = "Memory of all workers of the app together, by a control group: past it the kernel "
		  "ends one of them. 0: no limit." },
	{ "cpu", VALUE_PERCENT, AT(cgroup_cpu_percent), "0%", 0, 1000000,
	  .help = "Processor time of all workers of the app together, in percent of one core, by a "
		  "control group: `150%` is one and a half cores. 0%: no limit." },
};

static const struct key_table app_limits_keys = {
	.title = "apps.NAME.limits",
	.help = "What the kernel allows the workers. `inherit`: what drover itself was started with; "
		"more than that takes root. `memory` and `cpu` need a control group of version 2 that "
		"drover may divide (a service with `Delegate=yes`, or a container of its own); "
		"without one a warning says so, and the workers run without these two.",
	TABLE(app_limits_rows),
};

static const struct key rollout_rows[] = {
	{ "surge", VALUE_COUNT, AT(rollout_surge), "1", 1, CONFIG_WORKERS_MAX,
	  .help = "How many processes there may be beyond `instances` while a new release replaces "
		  "an older one. `instances` of it: all new ones start at once." },
	{ "linger", VALUE_COUNT, AT(rollout_linger), "8", 0, CONFIG_WORKERS_MAX,
	  .help = "How many processes there may be beyond that which have been replaced and have "
		  "only tunnels (WebSockets) left. They stay until those have ended, for "
		  "`stop.drain` at most, while the rollout goes on; it waits for any further one." },
	{ "on_failure", VALUE_CHOICE, AT(rollout_on_failure), "keep-old", .choices = on_failure_names,
	  .help = "When a new worker does not become ready in time, ends, or fails its health "
		  "probes while older ones serve. `keep-old`: the new ones are removed, and the "
		  "older release serves on." },
};

static const struct key_table rollout_keys = {
	.title = "apps.NAME.rollout",
	.help = "How a reload replaces the workers: a new one proves itself before an old one is "
		"drained.",
	TABLE(rollout_rows),
};

static const struct key connections_rows[] = {
	{ "idle", VALUE_COUNT, AT(idle_connections), "256", 0, 65535,
	  .help = "Idle connections that each balancer keeps open to each worker." },
	{ "idle_timeout", VALUE_MS, AT(idle_connection_ms), "4s", 10, DAY,
	  .help = "An idle connection is closed after this time, so that a request never meets one "
		  "that the app is closing. An app that says in its replies how long it keeps one "
		  "(`Keep-Alive: timeout=5`, as Node does) is believed instead: closed is then a "
		  "second before that. For others keep it below their keep-alive timeout." },
};

static const struct key_table connections_keys = {
	.title = "apps.NAME.connections",
	.help = "Connections from the balancers to the workers.",
	TABLE(connections_rows),
};

static const struct key queue_rows[] = {
	{ "limit", VALUE_COUNT, AT(queue_limit), "1024", 0, 1000000,
	  .help = "Requests that may wait in each balancer while no worker is ready; the next ones "
		  "are answered 503." },
	{ "timeout", VALUE_MS, AT(queue_timeout_ms), "10s", 1, HOUR,
	  .help = "How long one may wait; then it is answered 503." },
};

static const struct key_table queue_keys = {
	.title = "apps.NAME.queue",
	.help = "Requests wait here while no worker is ready but one is starting.",
	TABLE(queue_rows),
};

static const struct key app_log_rows[] = {
	{ "output", VALUE_FILE, AT(log_output), NULL, .unset = "as in the top `log` block",
	  .help = "Where the lines of this app's workers go: a file, `\"-\"`, or `off`." },
	{ "output_format", VALUE_CHOICE, AT(log_output_format), NULL,
	  .choices = output_format_names, .unset = "as in the top `log` block",
	  .help = "`prefixed` or `json`." },
};

static const struct key_table app_log_keys = {
	.title = "apps.NAME.log",
	.help = "What becomes of the output of this app's workers, where it differs from the others'.",
	TABLE(app_log_rows),
};

static const struct key app_rows[] = {
	{ "command", VALUE_COMMAND, AT(command), NULL, 1, 1000,
	  .unset = "the app has `servers` instead",
	  .help = "The program and its arguments: a list, or a string that is split into words "
		  "with the quotes of a shell. No shell runs it. `${PORT}`, `${HOST}` and "
		  "`${INSTANCE}` are replaced here and in `env`. A program without a slash is "
		  "searched in PATH; a relative one with a slash belongs to `directory`; "
		  "`drover-worker` is the one that comes with drover." },
	{ "servers", VALUE_SERVERS, AT(servers), NULL, 1, CONFIG_WORKERS_MAX,
	  .unset = "the app has `command` instead",
	  .help = "Addresses of workers that drover does not start: `10.0.0.5:3000`, "
		  "`\"[::1]:3000\"`, `unix:/run/app.sock`. Names are not resolved." },
	{ "directory", VALUE_PATH, AT(directory), ".", .flags = KEY_OWN,
	  .help = "Working directory of the workers." },
	{ "user", VALUE_USER, AT(user), NULL, .flags = KEY_OWN,
	  .unset = "the user that started drover",
	  .help = "Runs the workers as this user. Needs a master that runs as root." },
	{ "env", VALUE_ENV, AT(env), NULL, 0, 1000, .flags = KEY_OWN,
	  .unset = "only what drover's own environment holds",
	  .help = "Variables for the workers, besides drover's own environment and those that "
		  "drover sets for each instance (PORT, HOST, INSTANCE and so on), which cannot be "
		  "set here." },
	{ "env_file", VALUE_ENV_FILE, AT(env), NULL, .flags = KEY_OWN, .unset = "no file is read",
	  .help = "A file of `NAME=value` lines; `#` begins a comment, a value may stand in "
		  "quotes. What `env` names wins, and what drover sets itself (PORT and so on) is "
		  "passed over." },
	{ "instances", VALUE_CORES, AT(instances), "auto", 1, CONFIG_WORKERS_MAX, .flags = KEY_OWN,
	  .help = "How many copies run. `auto`: as many as there are usable cores (CPU affinity "
		  "and the control group's quota count)." },
	{ "bind", VALUE_CHOICE, AT(bind), "port", .choices = bind_names, .flags = KEY_OWN,
	  .help = "What a worker listens on: `port`, then PORT holds a TCP port on 127.0.0.1; or "
		  "`unix`, then PORT holds the path of a Unix socket." },
	{ "ports", VALUE_PORTS, AT(port_min), NULL, .flags = KEY_OWN, .unset = "the kernel chooses",
	  .help = "Where internal ports are taken from. Twice as many as instances are needed, "
		  "since a new worker is ready before an old one goes." },
	{ "ready", VALUE_BLOCK, 0, NULL, .sub = &ready_keys, .flags = KEY_OWN },
	{ "health", VALUE_BLOCK, 0, NULL, .sub = &health_keys },
	{ "watchdog", VALUE_MS, AT(watchdog_ms), "0s", 0, HOUR, .flags = KEY_OWN,
	  .help = "With a time: once ready, a worker has to send `WATCHDOG=1` to `$NOTIFY_SOCKET` "
		  "at "
		  "least this often, as sd_watchdog_enabled(3) describes (`$WATCHDOG_USEC` is "
		  "set). "
		  "One that does not hangs: it is taken out of the rotation, stopped and replaced. "
		  "A worker can ask for it by itself with `WATCHDOG_USEC=`. 0: none is expected." },
	{ "balance", VALUE_CHOICE, AT(balance), "round-robin", .choices = balance_names,
	  .help = "How a worker is chosen for a request. `round-robin`: each in turn." },
	{ "stop", VALUE_BLOCK, 0, NULL, .sub = &stop_keys, .flags = KEY_OWN },
	{ "restart", VALUE_BLOCK, 0, NULL, .sub = &restart_keys, .flags = KEY_OWN },
	{ "limits", VALUE_BLOCK, 0, NULL, .sub = &app_limits_keys, .flags = KEY_OWN },
	{ "nice", VALUE_NICE, AT(nice), "0", .flags = KEY_OWN,
	  .help = "Scheduling priority of the workers, from -20 (first) to 19 (last). 0: as drover's." },
	{ "cpus", VALUE_CPUS, AT(cpus), NULL, .flags = KEY_OWN, .unset = "all that drover may use",
	  .help = "Processors that the workers may run on: `0-3,8`." },
	{ "recycle", VALUE_BLOCK, 0, NULL, .sub = &recycle_keys, .flags = KEY_OWN },
	{ "rollout", VALUE_BLOCK, 0, NULL, .sub = &rollout_keys, .flags = KEY_OWN },
	{ "connections", VALUE_BLOCK, 0, NULL, .sub = &connections_keys },
	{ "queue", VALUE_BLOCK, 0, NULL, .sub = &queue_keys },
	{ "log", VALUE_BLOCK, 0, NULL, .sub = &app_log_keys, .flags = KEY_OWN },
};
#undef AT

const struct key_table app_keys = {
	.title = "apps.NAME",
	.help = "One key per app, named as you like (1 to 63 of `A-Z a-z 0-9 _ -`). An app has "
		"either a `command`, which drover runs in several instances, or `servers`, which "
		"run elsewhere.",
	.example = "apps:\n"
		   "  web:\n"
		   "    command: [node, server.js]\n"
		   "    directory: /srv/web\n"
		   "    instances: 4\n"
		   "  legacy:\n"
		   "    servers: [10.0.0.5:3000, 10.0.0.6:3000]\n",
	TABLE(app_rows),
};

/* ---- one entry of routes ---- */

#define AT(field) offsetof(struct cfg_route, field)
static const struct key route_rows[] = {
	{ "host", VALUE_HOST, AT(host), NULL, .unset = "every host",
	  .help = "Host of the request, without port: `example.com`, or `*.example.com` for every "
		  "name below it." },
	{ "path", VALUE_PREFIX, AT(path), NULL, .unset = "every path",
	  .help = "Beginning of the path, at a segment border: `/v1` matches `/v1` and `/v1/x`, "
		  "not `/v10`." },
	{ "app", VALUE_APP, AT(app), NULL, .flags = KEY_REQUIRED, .help = "Which app answers." },
};
#undef AT

const struct key_table route_keys = {
	.title = "routes",
	.help = "A list; the first entry that matches a request decides. Without `routes` "
		"everything goes to the only app.",
	.example = "routes:\n"
		   "  - { host: api.example.com, path: /v1, app: legacy }\n"
		   "  - { app: web }\n",
	TABLE(route_rows),
};

/* ---- the top of the file ---- */

#define AT(field) offsetof(struct config, field)

static const struct key timeouts_rows[] = {
	{ "head", VALUE_MS, AT(timeout_head_ms), "10s", 10, DAY,
	  .help = "From the first byte of a request to the end of its head; then 408. A new "
		  "connection has as long for its first request." },
	{ "body", VALUE_MS, AT(timeout_body_ms), "30s", 10, DAY,
	  .help = "Longest silence while a body is on its way, in either direction." },
	{ "idle", VALUE_MS, AT(timeout_idle_ms), "75s", 10, DAY,
	  .help = "A client connection is closed after this time between two requests; and, cut, "
		  "when for this time it takes nothing of a reply that waits for it." },
	{ "connect", VALUE_MS, AT(timeout_connect_ms), "2s", 10, HOUR,
	  .help = "Longest wait for a connection to a worker; then another worker is tried." },
	{ "response", VALUE_MS, AT(timeout_response_ms), "60s", 10, DAY,
	  .help = "From the end of the request to the head of the worker's reply; then 504." },
	{ "tunnel", VALUE_MS, AT(timeout_tunnel_ms), "1h", 10, 30 * DAY,
	  .help = "Longest silence in both directions of an upgraded connection (WebSocket)." },
};

static const struct key_table timeouts_keys = {
	.title = "timeouts",
	.help = "How long each step of a request may take.",
	TABLE(timeouts_rows),
};

static const struct key limits_rows[] = {
	{ "head", VALUE_BYTES, AT(limit_head_bytes), "16KiB", KIB, 64 * KIB,
	  .help = "Request line and all fields of a request; more is answered 431." },
	{ "headers", VALUE_COUNT, AT(limit_headers), "100", 1, HTTP_FIELDS_MAX,
	  .help = "Fields in a request; more are answered 431." },
	{ "body", VALUE_BYTES, AT(limit_body_bytes), "0", 0, 1024 * TIB,
	  .help = "Body of a request; more is answered 413. 0: no limit." },
	{ "uri", VALUE_BYTES, AT(limit_uri_bytes), "8KiB", 64, 64 * KIB,
	  .help = "Target of a request; longer ones are answered 414." },
	{ "min_rate", VALUE_BYTES, AT(limit_min_rate), "240B", 0, MIB,
	  .help = "Bytes per second that a client has to send a request at and to take a reply "
		  "at, on average; a request that is slower is answered 408, a reply is cut. A "
		  "body may first take as long as `timeouts.body`, a head half of `timeouts.head` "
		  "(and never more than all of it), a reply `timeouts.idle`. Only the time in "
		  "which drover waits for the client counts, not that in which the worker keeps "
		  "it waiting; and of a request none once the reply has begun. 0: no limit." },
	{ "connections", VALUE_COUNT, AT(limit_connections), "0", 0, 10000000,
	  .help = "Open client connections per balancer; at the limit further ones wait in the "
		  "kernel's queue. The kernel spreads connections over the balancers by chance, so "
		  "that one may be full a little before the others. 0: as many as descriptors "
		  "allow." },
	{ "per_client", VALUE_COUNT, AT(limit_per_client), "0", 0, 10000000,
	  .help = "Open connections from one address (of IPv6, one /64), counted over all "
		  "balancers, those that are draining after a reload among them; further ones are "
		  "reset at once. Peers named in `trust` and Unix sockets are not counted. "
		  "Connections that "
		  "arrive at the same moment at K balancers may be K - 1 too many. Each balancer "
		  "counts 64Ki addresses at most; those past that are let in. 0: no limit." },
};

static const struct key_table limits_keys = {
	.title = "limits",
	.help = "What a client may send.",
	TABLE(limits_rows),
};

static const struct key shutdown_rows[] = {
	{ "lame_duck", VALUE_MS, AT(lame_duck_ms), "0s", 0, HOUR,
	  .help = "After SIGTERM go on as before for this time, so that a load balancer in front "
		  "can look elsewhere." },
	{ "soft", VALUE_MS, AT(shutdown_soft_ms), "5s", 0, DAY,
	  .help = "After this time idle and finished connections are closed hard." },
	{ "hard", VALUE_MS, AT(shutdown_hard_ms), "10s", 0, DAY,
	  .help = "After this time the rest is closed, and drover exits with 1." },
};

static const struct key_table shutdown_keys = {
	.title = "shutdown",
	.help = "The end of drover itself, after SIGTERM, SIGINT or SIGQUIT. The times count from "
		"the moment when draining begins.",
	TABLE(shutdown_rows),
};

static const struct key log_rows[] = {
	{ "access", VALUE_FILE, AT(log_access), "-",
	  .help = "One line per request: a file, `\"-\"` for stdout, or `off`." },
	{ "format", VALUE_CHOICE, AT(log_format), "combined", .choices = format_names,
	  .help = "Of the access log: `combined`, as Apache and nginx write it, or `json`. A "
		  "request whose head was refused stands there with its first line as it came. "
		  "JSON says more: `outcome`, how the request ended, and `refused`, the rule that "
		  "the request or the worker's reply broke." },
	{ "error", VALUE_FILE, AT(log_error), "-",
	  .help = "What drover itself has to say, malformed replies of workers among it: a file, "
		  "`\"-\"` for stderr, or `off`." },
	{ "level", VALUE_CHOICE, AT(log_level), "info", .choices = level_names,
	  .help = "Least important line that is written to the error log: `error`, `warn`, "
		  "`notice`, `info`, `debug`." },
	{ "output", VALUE_FILE, AT(log_output), "-",
	  .help = "Where the workers' stdout and stderr go, line by line: a file, `\"-\"` for "
		  "drover's own stdout and stderr, or `off`. Lines longer than 16 KiB come in "
		  "pieces. The workers never wait for it: what is not taken fast enough is "
		  "dropped, and how many lines that were is said there and in the error log." },
	{ "output_format", VALUE_CHOICE, AT(log_output_format), "prefixed",
	  .choices = output_format_names,
	  .help = "Of these lines: `prefixed`, with `app.instance[pid]: ` in front and control "
		  "bytes as `\\xNN`; or `json`, one object per line with `time`, `app`, "
		  "`instance`, `pid`, `release`, `stream` and `line`, of a piece also `goes_on` "
		  "and `continues`." },
};

static const struct key_table log_keys = {
	.title = "log",
	.help = "Files are opened again on SIGUSR1.",
	TABLE(log_rows),
};

static const struct key admin_rows[] = {
	{ "socket", VALUE_SOCKET, AT(admin_socket), "auto",
	  .help = "Unix socket of the admin channel, by which `drover status`, `reload` and the "
		  "other commands reach a running drover; it belongs to whoever starts drover, "
		  "with mode 0600. `auto`: `NAME.sock` in the run directory." },
	{ "listen", VALUE_LISTEN_OFF, AT(admin_listen), "off",
	  .help = "The same over TCP, for probes and for looking, never for changing anything: "
		  "`127.0.0.1:9900`. Nobody is asked who he is, so it should not be reachable from "
		  "outside." },
};

static const struct key_table admin_keys = {
	.title = "admin",
	.help = "HTTP with JSON: `curl --unix-socket /run/drover/web.sock "
		"http://drover/api/v1/status`.",
	TABLE(admin_rows),
};

/* In the order in which they are read: routes name apps. */
static const struct key config_rows[] = {
	{ "name", VALUE_NAME, AT(name), NULL,
	  .unset = "the config file's name without its ending, or run-PID without a file",
	  .help = "Of this running drover; a second one of the same name is refused." },
	{ "listen", VALUE_LISTENS, AT(listens), "0.0.0.0:8080", 1, 64, .sub = &listen_keys,
	  .help = "Public addresses: one, or a list. `0.0.0.0:8080`, `8080` (all IPv4 addresses), "
		  "`\"[::1]:8080\"`, `\"[::]:8080\"` (all IPv6 addresses), "
		  "`unix:/run/drover/http.sock`." },
	{ "balancers", VALUE_CORES, AT(balancers), "auto", 1, CONFIG_BALANCERS_MAX,
	  .help = "Processes that relay requests. `auto`: one per usable core (CPU affinity and "
		  "the control group's quota count)." },
	{ "user", VALUE_USER, AT(user), NULL,
	  .unset = "`drover` when there is such a user, else `nobody`",
	  .help = "The balancers run as this user when drover is started as root; otherwise as "
		  "whoever started it." },
	{ "sandbox", VALUE_CHOICE, AT(sandbox), "on", .choices = sandbox_names,
	  .help = "What else the processes that read from networks give up: system calls that they "
		  "have no need of (one that is made all the same ends the process, and is named "
		  "in the error log), all files (Landlock), core dumps. `on`: as far as the kernel "
		  "can. `required`: a kernel that cannot is an error. `off`: none of it, for "
		  "debuggers and profilers. The same for the whole life of a process: a reload "
		  "starts new ones." },
	{ "apps", VALUE_APPS, AT(apps), NULL, 1, CONFIG_APPS_MAX, .sub = &app_keys,
	  .flags = KEY_REQUIRED, .help = "What requests are relayed to." },
	{ "routes", VALUE_ROUTES, AT(routes), NULL, 1, 1000, .sub = &route_keys,
	  .unset = "everything goes to the only app", .help = "Which requests go to which app." },
	{ "timeouts", VALUE_BLOCK, 0, NULL, .sub = &timeouts_keys },
	{ "limits", VALUE_BLOCK, 0, NULL, .sub = &limits_keys },
	{ "trust", VALUE_TRUST, AT(trust), "127.0.0.0/8", 0, 1000,
	  .help = "Peers whose `X-Forwarded-*` fields are believed and added to; those of all "
		  "others are replaced or left out. A list of blocks (`10.0.0.0/8`, `::1`) and "
		  "`unix` for Unix sockets; `[]` trusts nobody." },
	{ "shutdown", VALUE_BLOCK, 0, NULL, .sub = &shutdown_keys },
	{ "adopt", VALUE_MS, AT(adopt_ms), "30s", 0, DAY,
	  .help = "Should the master be killed, balancers and workers go on for this long, and a "
		  "drover that is started anew with the same name takes them over as they are: no "
		  "request is lost. When none comes, they finish what they have, and end. `0`: they "
		  "do that at once. Has no effect on one that was given no name, by a file or by "
		  "`--name`." },
	{ "log", VALUE_BLOCK, 0, NULL, .sub = &log_keys },
	{ "admin", VALUE_BLOCK, 0, NULL, .sub = &admin_keys },
	{ "pid_file", VALUE_PATH_OFF, AT(pid_file), "off",
	  .help = "Holds the master's pid while it runs; `off`: none." },
};
#undef AT

const struct key_table config_keys = {
	.title = "The file",
	.help = "YAML, so JSON is accepted too. A key that is left out has its default. Relative "
		"paths are relative to the file.",
	.example = "listen: 8080\napps:\n  web:\n    command: [node, server.js]\n",
	TABLE(config_rows),
};

/* ---- finding rows ---- */

const struct key *key_find(const struct key_table *table, const char *name)
{
	for (size_t i = 0; i < table->n; i++)
		if (strcmp(table->keys[i].name, name) == 0)
			return &table->keys[i];
	return NULL;
}

static const char *next_key(const void *arg, size_t i)
{
	const struct key_table *table = arg;
	return i < table->n ? table->keys[i].name : NULL;
}

const char *key_nearest(const struct key_table *table, const char *name)
{
	/* What the same thing is called in nginx, PM2, docker-compose and the like. */
	static const char *const foreign[][2] = {
		{ "cwd", "directory" },
		{ "working_dir", "directory" },
		{ "workdir", "directory" },
		{ "script", "command" },
		{ "cmd", "command" },
		{ "exec", "command" },
		{ "workers", "instances" },
		{ "processes", "instances" },
		{ "replicas", "instances" },
		{ "environment", "env" },
		{ "upstream", "servers" },
		{ "backends", "servers" },
		{ "worker_processes", "balancers" },
		{ "port", "listen" },
		{ "services", "apps" },
		{ "kill_timeout", "stop" },
		{ "pid", "pid_file" },
		{ "logs", "log" },
		{ "out_file", "log" },
		{ "error_file", "log" },
		{ "log_file", "log" },
	};
	for (size_t i = 0; i < ARRAY_LEN(foreign); i++)
		if (strcmp(foreign[i][0], name) == 0 && key_find(table, foreign[i][1]))
			return foreign[i][1];
	return nearest(name, next_key, table);
}
