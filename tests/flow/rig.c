/* The balancer under test; see rig.h. */
#include "lib/check.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <event2/event.h>

#include "flow/rig.h"
#include "lib/process.h"
#include "lib/proxy_config.h"

#include "balancer/proxy/batch.h"
#include "balancer/proxy/client.h"
#include "balancer/proxy/upstream.h"
#include "common/clock.h"
#include "common/fd.h"
#include "common/log.h"
#include "common/mem.h"

#define SPIN_TURNS 2000    /* turns without a peer moving: the loop is spinning */
#define QUIET_TURNS 3      /* turns without anything moving: nothing will */
#define HELD_MAX (1u << 20) /* bytes kept per connection: never more */
#define APP_ID 7

static struct roster *roster;
static struct tally *tally;
static uint64_t now_us = 1000000000;
static uint64_t next_epoch = 100;

/* One listening socket of each kind for the proxy, one per worker; they outlive the
 * rigs, as the master's outlive balancers. */
static struct door {
	int fd;
	struct addr address;
} front[2], back[2][RIG_WORKERS];

/* ---- shared by all rigs ---- */

/* libevent's memory takes part in the injected failures. */
static void *event_realloc(void *ptr, size_t n)
{
	void *probe = mem_alloc(1);

	if (!probe)
		return NULL;
	mem_free(probe);
	return realloc(ptr, n);
}

/* In front of the C library's, for libevent: watching a descriptor can fail too. */
int epoll_ctl(int epoll, int op, int fd, struct epoll_event *event)
{
	void *probe = op == EPOLL_CTL_DEL ? NULL : mem_alloc(1);

	if (!probe && op != EPOLL_CTL_DEL) {
		errno = ENOSPC;
		return -1;
	}
	mem_free(probe);
	return (int)syscall(SYS_epoll_ctl, epoll, op, fd, event);
}

/* The balancer's socket whose worker closes in the middle of a send(): see rig_late(). */
static struct {
	struct peer *peer; /* NULL: there is none */
	int fd;
	size_t heard;
} late;

/* The balancer's socket that takes little for a while: see rig_narrow(). */
static struct {
	int fd;
	size_t room;
	unsigned times; /* sends until it is as before */
} narrow;

/* In front of the C library's: what comes between the balancer's last look and its send()
 * has no other place. */
ssize_t send(int fd, const void *bytes, size_t n, int flags)
{
	if (narrow.times && fd == narrow.fd) {
		size_t room = narrow.room;
		narrow.room = 0;
		narrow.times--;
		if (room < n) {
			errno = EAGAIN;
			return room ? (ssize_t)syscall(SYS_sendto, fd, bytes, room, flags, NULL, 0) : -1;
		}
	}
	if (late.peer && fd == late.fd && late.heard) {
		n = MIN(n, late.heard);
		late.heard = 0;
	} else if (late.peer && fd == late.fd) {
		peer_close(late.peer);
		late.peer = NULL;
	}
	return (ssize_t)syscall(SYS_sendto, fd, bytes, n, flags, NULL, 0);
}

/* The worker's end that gets a word in when the balancer has its events: see rig_soon(). */
static struct {
	struct peer *peer;
	const char *text;
} soon;

/* In front of the C library's, for the same reason. */
int epoll_wait(int epoll, struct epoll_event *events, int max, int timeout_ms)
{
	int n = (int)syscall(SYS_epoll_pwait, epoll, events, max, timeout_ms, NULL, 0);

	if (n <= 0 || !soon.peer)
		return n;
	if (soon.text)
		peer_send(soon.peer, soon.text, strlen(soon.text));
	else
		peer_close(soon.peer);
	soon.peer = NULL;
	return n;
}

static void ignore_event_log(int severity, const char *text)
{
	(void)severity, (void)text;
}

/* One attempt; false when somebody else took the port meanwhile. */
static bool try_door(struct door *d, bool unix_socket)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	struct sockaddr_in in = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };

	d->fd = socket(unix_socket ? AF_UNIX : AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	/* A Unix address of its family alone: the kernel picks an abstract name. */
	int failed = unix_socket ? bind(d->fd, (struct sockaddr *)&un, sizeof(sa_family_t))
				 : bind(d->fd, (struct sockaddr *)&in, sizeof(in));
	d->address.len = sizeof(d->address.un);
	if (failed || getsockname(d->fd, &d->address.sa, &d->address.len))
		abort();
	if (unix_socket)
		return true;
	/* A port that the kernel picked is lost when the socket stops listening, as a
	 * worker's will; one that was asked for is kept. */
	close(d->fd);
	d->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (setsockopt(d->fd, SOL_SOCKET, SO_REUSEADDR, &(int){ 1 }, sizeof(int)))
		abort();
	return bind(d->fd, &d->address.sa, d->address.len) == 0;
}

static void open_door(struct door *d, bool unix_socket)
{
	while (!try_door(d, unix_socket))
		close(d->fd);
	/* For those that will be accepted here: full after little. */
	if (!unix_socket && (setsockopt(d->fd, SOL_SOCKET, SO_SNDBUF, &(int){ 16384 }, sizeof(int)) ||
			     setsockopt(d->fd, SOL_SOCKET, SO_RCVBUF, &(int){ 16384 }, sizeof(int))))
		abort();
	/* As fd_listen() does.  Without it the kernel keeps a short message back until the one before
	 * has been acknowledged, which it may put off, and scripts' steps come in another order. */
	fd_set_nodelay(d->fd);
	if (listen(d->fd, 128))
		abort();
}

void rig_boot(void)
{
	int fd;

	signal(SIGPIPE, SIG_IGN);
	event_set_mem_functions(mem_alloc, event_realloc, mem_free);
	event_set_log_callback(ignore_event_log);
	log_to_fd(-1);
	batch_start(SCRATCH_BYTES);
	if (roster_create(&fd, &roster) || tally_create(&fd, &tally))
		abort();
	for (int kind = 0; kind < 2; kind++) {
		open_door(&front[kind], kind);
		for (int i = 0; i < RIG_WORKERS; i++)
			open_door(&back[kind][i], kind);
	}
}

static struct door *door_of(const struct rig *r, unsigned worker)
{
	return &back[r->setup.unix_sockets][worker];
}

/* Listens again, behind whatever close_door() did. */
static void reopen_door(struct door *d)
{
	if (d->fd < 0) {
		d->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
		if (bind(d->fd, &d->address.sa, d->address.len))
			abort();
	}
	if (listen(d->fd, 128))
		abort();
}

/* A Unix socket that has stopped listening never does again; a TCP socket does, unless
 * it was shut twice. */
static void close_door(struct door *d)
{
	int listening = 0;
	socklen_t n = sizeof(listening);

	if (addr_is_unix(&d->address))
		fd_close(&d->fd);
	else if (getsockopt(d->fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &n) == 0 && listening)
		shutdown(d->fd, SHUT_RDWR);
}

/* Forgets who waits there, from a run that failed or from refusals. */
static void empty_door(struct door *d)
{
	int fd;

	reopen_door(d);
	while ((fd = accept4(d->fd, NULL, NULL, SOCK_CLOEXEC)) >= 0)
		fd_close(&fd);
}

static void empty_doors(struct rig *r)
{
	empty_door(&front[r->setup.unix_sockets]);
	for (unsigned i = 0; i < r->setup.workers; i++)
		empty_door(door_of(r, i));
}

/* ---- start ---- */

#define OR(value, otherwise) ((value) ? (value) : (otherwise))

static void make_config(struct rig *r)
{
	static char command[] = "worker", path[] = "/app", name[] = "web";
	static char *argv[] = { command, NULL };
	const struct rig_setup *s = &r->setup;

	r->app = (struct cfg_app){
		.name = name,
		.id = APP_ID,
		.command = s->servers ? NULL : argv,
		.servers = s->servers ? r->servers : NULL,
		.n_servers = s->servers ? s->workers : 0,
		.idle_connections = OR(s->idle, 4),
		.idle_connection_ms = 4000,
		.queue_limit = OR(s->queue, 8),
		.queue_timeout_ms = 10000,
	};
	r->listen.address = front[s->unix_sockets].address;
	r->route = (struct cfg_route){ .path = s->routed ? path : NULL };
	r->config = (struct config){
		PROXY_CONFIG, .listens = &r->listen, .n_listens = 1,
		.apps = &r->app, .n_apps = 1, .routes = &r->route, .n_routes = 1,
		.limit_body_bytes = s->body_bytes, .limit_min_rate = s->min_rate,
		.limit_connections = s->connections, .limit_per_client = s->per_client,
		.shutdown_soft_ms = 5000, .shutdown_hard_ms = 10000,
		.log_format = s->log_json ? LOG_FORMAT_JSON : LOG_FORMAT_COMBINED,
		.trust = &r->trust, .n_trust = s->trusting,
	};
	r->config.limit_head_bytes = OR(s->head_bytes, r->config.limit_head_bytes);
	if (addr_block_parse(SLICE("127.0.0.0/8"), &r->trust))
		abort();
}

static void fill_roster(struct rig *r)
{
	roster_begin(roster);
	roster->n_apps = 1;
	roster->apps[0] = (struct roster_app){ .id = APP_ID };
	for (unsigned i = 0; i < r->setup.workers; i++) {
		roster->slots[i] = (struct roster_slot){ .epoch = next_epoch++, .app_id = APP_ID,
							 .weight = 1, .state = WORKER_UP };
		roster->slots[i].address = door_of(r, i)->address;
	}
	roster->n_slots = r->setup.workers;
	roster_end(roster);
}

void rig_start(struct rig *r, const struct rig_setup *setup, enum rig_blow blow, uint64_t blow_at)
{
	static const uint32_t listener_of[2] = { 0, 0 };
	int channel[2];

	memset(r, 0, sizeof(*r));
	late.peer = soon.peer = NULL;
	narrow.times = 0;
	r->n_fds = count_fds();
	r->setup = *setup;
	r->setup.workers = OR(setup->workers, 2);
	r->blow = blow;
	r->blow_at = blow_at;
	for (int i = 0; i < RIG_WORKERS; i++)
		r->fillers[i][0] = r->fillers[i][1] = -1;
	for (int i = 0; i < RIG_CLIENTS; i++)
		peer_init(&r->clients[i]);
	for (int i = 0; i < RIG_CONNS; i++)
		peer_init(&r->conns[i]);
	heir_init(&r->heir);
	empty_doors(r);
	clock_freeze(now_us);
	make_config(r);
	fill_roster(r);
	r->listeners[0] = fcntl(front[!setup->unix_sockets].fd, F_DUPFD_CLOEXEC, 3);
	r->listeners[1] = fcntl(front[setup->unix_sockets].fd, F_DUPFD_CLOEXEC, 3);
	r->log = memfd_create("access-log", MFD_CLOEXEC);
	r->errors = memfd_create("error-log", MFD_CLOEXEC);
	log_to_fd(r->errors);
	if (msg_pair(channel) || tally_claim(tally, &r->row) || r->log < 0 || r->errors < 0 ||
	    r->listeners[0] < 0 || r->listeners[1] < 0)
		abort();
	r->master = channel[0];
	r->heritage = (struct proxy_heritage){
		.config = &r->config, .roster = roster, .tally = tally, .row = &tally->rows[r->row],
		.channel = channel[1], .listeners = r->listeners, .listener_of = listener_of,
		.n_listeners = 2, .access_log_fd = fcntl(r->log, F_DUPFD_CLOEXEC, 3),
		.sockets_max = setup->sockets ? setup->sockets : UINT32_MAX,
	};
	r->proxy = proxy_new(&r->heritage);
	proxy_start(r->proxy);
	event_del(r->proxy->sweep_event); /* rig_tick() does it */
	rig_settle(r);
	if (blow == RIG_NO_MEMORY || blow == RIG_MEMORY_GONE)
		mem_fault_at(blow_at);
	for (int i = 0; i < RIG_CLIENTS && blow == RIG_IN_PIECES; i++)
		r->clients[i].piece = blow_at;
	for (int i = 0; i < RIG_CONNS && blow == RIG_IN_PIECES; i++)
		r->conns[i].piece = blow_at;
}

/* ---- turns ---- */

static void strike_all(struct peer *peers, unsigned n, bool reset)
{
	for (unsigned i = 0; i < n; i++) {
		if (reset)
			peer_reset(&peers[i]);
		else
			peer_close(&peers[i]);
	}
}

static void strike(struct rig *r)
{
	if (r->blow == RIG_MEMORY_GONE && mem_fault_hit()) {
		r->struck = true;
		mem_fault_at(1);
	}
	if (r->blow < RIG_CLIENT_ENDS || r->struck || r->turns < r->blow_at)
		return;
	r->struck = true;
	r->alone = r->blow >= RIG_WORKER_ENDS;
	if (r->blow == RIG_CLIENT_ENDS || r->blow == RIG_CLIENT_RESETS)
		strike_all(r->clients, RIG_CLIENTS, r->blow == RIG_CLIENT_RESETS);
	else
		strike_all(r->conns, RIG_CONNS, r->blow == RIG_WORKER_RESETS);
}

/* Workers that come after the script know none: any whole head gets an answer. */
static void answer_alone(struct rig *r, uint32_t i)
{
	static const char answer[] = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nalone";
	struct peer *c = &r->conns[i];

	if (!r->alone || c->fd < 0 || !c->n_in)
		return;
	const char *end = strstr(c->in + r->answered[i], "\r\n\r\n");
	if (!end)
		return;
	r->answered[i] = (size_t)(end - c->in) + 4;
	peer_send(c, answer, sizeof(answer) - 1);
}

static bool pump_peers(struct rig *r)
{
	bool moved = false;

	for (unsigned w = 0; w < r->setup.workers; w++) {
		while (r->fillers[w][0] < 0 && r->n_conns < RIG_CONNS &&
		       peer_accept(&r->conns[r->n_conns], door_of(r, w)->fd)) {
			r->conn_worker[r->n_conns++] = w;
			moved = true;
		}
	}
	for (int i = 0; i < RIG_CLIENTS; i++)
		moved |= peer_pump(&r->clients[i]);
	for (uint32_t i = 0; i < r->n_conns; i++) {
		moved |= peer_pump(&r->conns[i]);
		answer_alone(r, i);
	}
	return heir_pump(&r->heir) || moved;
}

static void hear_proxy(struct rig *r)
{
	struct msg m;
	int fd;

	while (r->master >= 0 && msg_recv(r->master, MSG_UP, &m, &fd) == ERR_OK) {
		switch (m.type) {
		case MSG_READY:
			r->ready = true;
			break;
		case MSG_ACK:
			r->acked = m.ack.version;
			break;
		case MSG_STOPPED:
			r->stopped = true;
			break;
		}
	}
}

/* One turn of the proxy; true when a callback ran in it. */
static bool turn_proxy(struct rig *r)
{
	if (r->drained)
		return false;
	r->drained = !proxy_turn(r->proxy, EVLOOP_NONBLOCK);
	assert_true(r->proxy->blocks.bytes_lent <= (r->proxy->n_clients + 1ull) * HELD_MAX);
	assert_true(list_empty(&r->proxy->graves));
	if (!r->proxy->turn_open)
		return false;
	r->turns++;
	r->busiest = MAX(r->busiest, r->proxy->turn_events);
	hear_proxy(r);
	strike(r);
	return true;
}

bool rig_turn(struct rig *r)
{
	bool moved = pump_peers(r);

	return turn_proxy(r) || moved;
}

void rig_settle(struct rig *r)
{
	int quiet = 0, alone = 0;

	while (quiet < QUIET_TURNS) {
		bool moved = pump_peers(r);
		bool busy = turn_proxy(r);
		quiet = moved || busy ? 0 : quiet + 1;
		alone = moved ? 0 : alone + 1;
		if (alone > SPIN_TURNS)
			fail_msg("the loop spins: %d turns in which no peer did anything", alone);
	}
}

/* ---- what scripts do ---- */

void rig_pause(uint64_t ms)
{
	now_us += ms * 1000;
	clock_freeze(now_us);
}

static void sweep(struct rig *r, uint64_t ms)
{
	rig_pause(ms);
	if (r->drained)
		return;
	event_active(r->proxy->sweep_event, EV_TIMEOUT, 1);
	if (r->proxy->accept_paused)
		event_active(r->proxy->accept_retry, EV_TIMEOUT, 1);
}

void rig_tick(struct rig *r, uint64_t ms)
{
	sweep(r, ms);
	rig_turn(r);
}

void rig_tick_behind(struct rig *r, uint64_t ms)
{
	struct timeval now = { 0, 0 };

	rig_pause(ms);
	if (r->drained || event_add(r->proxy->sweep_event, &now) != 0)
		return;
	pump_peers(r);
	turn_proxy(r);
	if (!r->drained)
		event_del(r->proxy->sweep_event);
}

bool rig_connect(struct rig *r, unsigned client)
{
	return peer_connect(&r->clients[client], &front[r->setup.unix_sockets].address);
}

static void stop_filling(struct rig *r, unsigned worker)
{
	fd_close(&r->fillers[worker][0]);
	fd_close(&r->fillers[worker][1]);
}

void rig_door(struct rig *r, unsigned worker, enum rig_door door)
{
	struct door *d = door_of(r, worker);
	bool done;

	if (r->fillers[worker][0] >= 0) {
		stop_filling(r, worker);
		empty_door(d);
	}
	if (door == RIG_REFUSES) {
		close_door(d);
		return;
	}
	reopen_door(d);
	/* A queue of no length that is full lets further SYNs go unanswered. */
	if (door == RIG_SILENT && listen(d->fd, 0))
		abort();
	for (int i = 0; door == RIG_SILENT && i < 2; i++)
		if (fd_connect(&d->address, &r->fillers[worker][i], &done))
			abort();
}

static void tell_roster(struct rig *r)
{
	struct msg m = { .type = MSG_ROSTER, .roster = { roster_end(roster) } };

	if (r->master >= 0)
		(void)!msg_send(r->master, &m, -1);
}

void rig_roster(struct rig *r, unsigned worker, uint32_t state)
{
	roster_begin(roster);
	roster->slots[worker].state = state;
	tell_roster(r);
}

void rig_replace(struct rig *r, unsigned worker)
{
	roster_begin(roster);
	roster->slots[worker].epoch = next_epoch++;
	roster->slots[worker].state = WORKER_UP;
	tell_roster(r);
}

void rig_coming(struct rig *r, uint32_t n)
{
	roster_begin(roster);
	roster->apps[0].coming = n;
	tell_roster(r);
}

void rig_drain(struct rig *r, uint32_t level)
{
	struct msg m = { .type = MSG_DRAIN, .drain = { .level = level } };

	if (r->master >= 0)
		(void)!msg_send(r->master, &m, -1);
}

void rig_hand_over(struct rig *r, bool refuses)
{
	struct msg m = { .type = MSG_HAND_OVER };
	int channel = heir_open(&r->heir);

	r->heir.refuses = refuses;
	if (r->master >= 0)
		(void)!msg_send(r->master, &m, channel);
	fd_close(&channel);
	rig_drain(r, DRAIN_RELOAD);
}

void rig_late(struct rig *r, unsigned conn, size_t heard)
{
	struct list *first = list_first(&r->proxy->workers[r->conn_worker[conn]].idle);

	if (r->conns[conn].fd < 0 || !first)
		return;
	late.peer = &r->conns[conn];
	late.fd = list_entry(first, struct upstream, idle)->conn.fd;
	late.heard = heard;
}

static void note_lowest(struct client *c, void *fd)
{
	if (*(int *)fd < 0 || c->conn.fd < *(int *)fd)
		*(int *)fd = c->conn.fd;
}

void rig_narrow(struct rig *r, size_t room, unsigned times)
{
	int fd = -1;

	clients_each(r->proxy, note_lowest, &fd); /* the oldest, where none has ended before */
	if (fd < 0)
		return;
	narrow.fd = fd;
	narrow.room = room;
	narrow.times = times;
}

void rig_soon(struct rig *r, unsigned conn, const char *text)
{
	soon.peer = &r->conns[conn];
	soon.text = text;
}

void rig_orphan(struct rig *r)
{
	fd_close(&r->master);
}

void rig_reopen_log(struct rig *r)
{
	struct msg m = { .type = MSG_REOPEN, .reopen = { .which = LOG_KIND_ACCESS } };

	(void)!msg_send(r->master, &m, r->log);
}

uint64_t rig_count(const struct rig *r, enum counter c)
{
	return atomic_load(&r->heritage.row->counters[c]);
}

uint64_t rig_refusals(const struct rig *r, enum tally_side side, enum http_rule rule)
{
	return atomic_load(&r->heritage.row->refusals[side][rule]);
}

char *rig_log_text(int log)
{
	off_t n = lseek(log, 0, SEEK_END);
	char *text = calloc(1, (size_t)n + 1);

	if (!text || pread(log, text, (size_t)n, 0) != n)
		abort();
	return text;
}

/* ---- the end ---- */

/* The peers say nothing more, and take nothing more: each wait has to end. */
static void let_time_pass(struct rig *r, const char *what)
{
	static const uint64_t waits_ms[] = { 3000, 20000, 80000, 3601000 };

	for (size_t i = 0; i < 8 * ARRAY_LEN(waits_ms) && !r->drained && r->proxy->n_clients; i++) {
		sweep(r, waits_ms[i / 8]);
		for (int turns = 0; turn_proxy(r); turns++)
			if (turns > SPIN_TURNS)
				fail_msg("%s: the loop spins", what);
	}
	if (!list_empty(&r->proxy->clients))
		fail_msg("%s: %u connections do not end by any timeout; the first is in state %d", what,
			 r->proxy->n_clients,
			 list_entry(r->proxy->clients.next, struct client, link)->state);
}

/* Whatever happened, the balancer must still take new clients and find a worker. */
static void check_service(struct rig *r, const char *what)
{
	static const char get[] = "GET /app HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
	struct peer *c = &r->clients[RIG_CLIENTS - 1];

	if (r->drained || r->proxy->drain != DRAIN_NONE)
		return;
	r->alone = true;
	for (int i = 0; i < RIG_CLIENTS; i++)
		peer_close(&r->clients[i]);
	for (int i = 0; i < RIG_CONNS; i++)
		r->conns[i].deaf = false;
	for (unsigned i = 0; i < r->setup.workers; i++) {
		rig_door(r, i, RIG_OPEN);
		rig_replace(r, i);
	}
	sweep(r, 1000);
	rig_settle(r);
	peer_fini(c);
	if (!rig_connect(r, RIG_CLIENTS - 1))
		fail_msg("%s: afterwards, nobody can connect", what);
	peer_send(c, get, sizeof(get) - 1);
	for (int i = 0; i < 1000 && !(c->eof && c->n_in); i++) {
		rig_settle(r);
		if (i)
			usleep(1000);
	}
	if (!c->n_in || !strstr(c->in, "alone"))
		fail_msg("%s: afterwards, a client is not served: \"%s\"", what, c->n_in ? c->in : "");
}

static void check_gauges(const struct rig *r, const char *what)
{
	for (int c = 0; c < COUNTER_MAX; c++)
		if (counter_table[c].kind == COUNTER_KIND_GAUGE && rig_count(r, c) != 0)
			fail_msg("%s: gauge %s ends at %lld", what, counter_table[c].name,
				 (long long)rig_count(r, c));
	if (tally_peers(tally, peers_key(&front[0].address, tally->seed)) != 0)
		fail_msg("%s: connections of gone clients are still counted", what);
	for (unsigned i = 0; i < ROSTER_SLOTS; i++)
		if (atomic_load(&r->heritage.row->workers[i].in_flight) != 0)
			fail_msg("%s: in_flight of slot %u ends at %u", what, i,
				 atomic_load(&r->heritage.row->workers[i].in_flight));
}

void rig_stop(struct rig *r, const char *what)
{
	mem_fault_at(0);
	narrow.times = 0;
	r->blow = RIG_UNHARMED;
	heir_die(&r->heir);
	let_time_pass(r, what);
	check_service(r, what);
	rig_drain(r, DRAIN_HARD);
	for (int i = 0; i < SPIN_TURNS && !r->drained; i++)
		turn_proxy(r);
	if (!r->drained)
		fail_msg("%s: it does not end when drained", what);
	check_gauges(r, what);
	proxy_stop(r->proxy); /* asserts that no block is lent */
	for (int i = 0; i < RIG_CLIENTS; i++)
		r->clients[i].deaf = false;
	pump_peers(r); /* the last that was said to them */
	rig_orphan(r);
	fd_close(&r->log);
	log_to_fd(-1);
	fd_close(&r->errors);
	for (unsigned i = 0; i < RIG_WORKERS; i++)
		stop_filling(r, i);
	for (int i = 0; i < RIG_CLIENTS; i++)
		peer_close(&r->clients[i]);
	for (int i = 0; i < RIG_CONNS; i++)
		peer_close(&r->conns[i]);
	for (int i = 0; i < HEIR_PEERS; i++) {
		if (r->heir.peers[i].n_out) /* what is cut must show */
			peer_reset(&r->heir.peers[i]);
		else
			peer_close(&r->heir.peers[i]);
	}
	empty_doors(r);
	tally_retire(tally, r->row);
	if (count_fds() != r->n_fds)
		fail_msg("%s: %d descriptors are left open", what, count_fds() - r->n_fds);
}

void rig_fini(struct rig *r)
{
	for (int i = 0; i < RIG_CLIENTS; i++)
		peer_fini(&r->clients[i]);
	for (int i = 0; i < RIG_CONNS; i++)
		peer_fini(&r->conns[i]);
	heir_fini(&r->heir);
}
