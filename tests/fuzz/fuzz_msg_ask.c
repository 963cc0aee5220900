/* What the monitor sends to the master: the master's real handlers on a real channel, at whose
 * other end stands whoever took the monitor over.  No process is started (child.h), and what would
 * change something leads here (--wrap); what only looks is done in earnest, on two apps whose
 * workers have printed something.
 *
 * The same packets go through a model of a few lines: which commands are carried out, on which
 * app and with which number; what is answered, to which ticket; whether the monitor is ended;
 * and no descriptor stays. */
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

#include "balancer/board/admin.h"
#include "balancer/board/page.h"
#include "balancer/master/app.h"
#include "balancer/master/core.h"
#include "balancer/master/reload.h"
#include "common/fd.h"
#include "common/log.h"
#include "common/mem.h"
#include "fuzz/child.h"
#include "fuzz/packets.h"

#define DONE_MAX (2 * PACKETS_MAX)

/* Flags of a packet. */
enum { FLAG_LINE = 1 /* a worker prints a line before it */ };

/* A command that was carried out. */
struct done {
	enum admin_verb verb;
	uint32_t app_id, number;
};

static struct master master;
static struct config config;
static struct config_ref config_ref = { .cfg = &config };
static char *command[] = { (char *)(uintptr_t)"app", NULL };
static struct cfg_app conf = { .command = command };
static struct release release = { .number = 7, .conf = &conf };
static struct app apps[2];
static struct recent_worker *writers[2];
static struct done done[DONE_MAX];
static unsigned n_done;

/* ---- what would change something ----------------------------------------- */

uint32_t __wrap_reload_ask(struct master *m, const char *why);
void __wrap_shutdown_ask(struct master *m, const char *why);
void __wrap_upgrade_begin(struct master *m, const char *why);
enum admin_code __wrap_app_restart(struct app *a);
enum admin_code __wrap_app_scale(struct app *a, uint32_t n);
enum admin_code __wrap_app_drain(struct app *a, uint32_t i, pid_t *ret_pid);

static void note(enum admin_verb verb, uint32_t app_id, uint32_t number)
{
	FUZZ_CHECK(n_done < DONE_MAX, "more is done than was asked");
	done[n_done++] = (struct done){ verb, app_id, number };
}

uint32_t __wrap_reload_ask(struct master *m, const char *why)
{
	(void)m, (void)why;
	note(ADMIN_RELOAD, 0, 0);
	return 5;
}

void __wrap_shutdown_ask(struct master *m, const char *why)
{
	(void)m, (void)why;
	note(ADMIN_STOP, 0, 0);
}

void __wrap_upgrade_begin(struct master *m, const char *why)
{
	(void)m, (void)why;
	note(ADMIN_UPGRADE, 0, 0);
}

enum admin_code __wrap_app_restart(struct app *a)
{
	note(ADMIN_RESTART, a->id, 0);
	return ADMIN_ACCEPTED_CODE;
}

enum admin_code __wrap_app_scale(struct app *a, uint32_t n)
{
	note(ADMIN_SCALE, a->id, n);
	return ADMIN_ACCEPTED_CODE;
}

enum admin_code __wrap_app_drain(struct app *a, uint32_t i, pid_t *ret_pid)
{
	note(ADMIN_DRAIN, a->id, i);
	*ret_pid = 4711;
	return ADMIN_ACCEPTED_CODE;
}

/* ---- the model ----------------------------------------------------------- */

struct model {
	struct done done[DONE_MAX];
	struct msg answers[DONE_MAX]; /* ticket and code */
	unsigned n_done, n_answers;
	bool killed, closed;
};

static bool knows_app(uint32_t id)
{
	return id == apps[0].id || id == apps[1].id;
}

static enum admin_code expected_code(const struct msg *msg, enum admin_code good)
{
	return knows_app(msg->ask.app_id) ? good : ADMIN_NO_APP_CODE;
}

/* What has to be answered, and done; false: no monitor asks such a thing. */
static bool model_ask(struct model *m, const struct msg *msg)
{
	enum admin_code code = ADMIN_ACCEPTED_CODE;
	struct done act = { msg->ask.verb, msg->ask.app_id, msg->ask.number };
	uint32_t instance = msg->ask.number >> 16;
	bool acts = true;

	switch (msg->ask.verb) {
	case ADMIN_SNAPSHOT:
		code = ADMIN_OK_CODE;
		acts = false;
		break;
	case ADMIN_RELOAD:
	case ADMIN_STOP:
	case ADMIN_UPGRADE:
		act.app_id = act.number = 0;
		break;
	case ADMIN_RESTART:
	case ADMIN_SCALE:
	case ADMIN_DRAIN:
		if (msg->ask.verb == ADMIN_RESTART)
			act.number = 0;
		code = expected_code(msg, code);
		acts = code == ADMIN_ACCEPTED_CODE;
		break;
	case ADMIN_LOGS:
		code = msg->ask.app_id ? expected_code(msg, ADMIN_OK_CODE) : ADMIN_OK_CODE;
		if (code == ADMIN_OK_CODE && msg->ask.app_id && instance != ADMIN_LOGS_ALL &&
		    instance >= 2)
			code = ADMIN_NO_INSTANCE_CODE;
		acts = false;
		break;
	default:
		return false;
	}
	if (acts)
		m->done[m->n_done++] = act;
	m->answers[m->n_answers++].answer.ticket = msg->ask.ticket;
	m->answers[m->n_answers - 1].answer.code = code;
	return true;
}

static void model_hear(struct model *m, const struct packet *p)
{
	struct msg msg;

	if (m->killed || m->closed)
		return;
	if (p->n == 0 && p->n_fds == 0) {
		m->closed = true; /* looks like the end */
		return;
	}
	bool good = packet_is_message(p, MSG_UP, &msg);
	if (good && msg.type == MSG_ASK)
		good = model_ask(m, &msg);
	else
		good = good && msg.type == MSG_ALIVE;
	m->killed = !good;
}

/* ---- the run ------------------------------------------------------------- */

static void boot(void)
{
	if (master.base)
		return;
	log_to_fd(-1);
	master.base = event_base_new();
	if (!master.base || event_base_priority_init(master.base, 2) || slots_init(&master.slots) ||
	    tally_create(&master.tally_fd, &master.tally))
		abort();
	master.logs.error_fd = master.logs.access_fd = -1;
	master.config = &config_ref;
	admin_init(&master.admin);
	monitor_init(&master);
	list_init(&master.generations);
	list_init(&master.listeners);
	list_init(&master.apps);
	list_init(&master.buried);
	for (int i = 0; i < 2; i++) {
		apps[i] = (struct app){ .m = &master, .id = 1 + (uint32_t)i, .name = (char *)(uintptr_t)"web",
					.wanted = 2, .in_config = true, .target = &release };
		list_init(&apps[i].workers);
		list_push_back(&master.apps, &apps[i].link);
		recents_init(&apps[i].recents, &master.last_line);
		writers[i] = recents_open(&apps[i].recents, 100 + i, 0, 7);
		if (!writers[i])
			abort();
	}
}

/* What rides along is whole, and nobody can change it. */
static void check_rider(int fd)
{
	struct snapshot_view view;
	const struct page *page;
	struct stat st;

	if (fstat(fd, &st) || st.st_size <= 0)
		FUZZ_FAIL("what rides along cannot be looked at");
	void *map = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED)
		abort();
	FUZZ_CHECK(page_view(map, (size_t)st.st_size, &page) == ERR_OK ||
			   snapshot_view(map, (size_t)st.st_size, &view) == ERR_OK,
		   "what rides along is neither a snapshot nor a page");
	munmap(map, (size_t)st.st_size);
	FUZZ_CHECK(ftruncate(fd, 0) != 0, "what rides along can be cut");
}

/* Takes the answers that are there, and compares them with those of the model. */
static void check_answers(const struct model *model, unsigned *n)
{
	struct msg msg;
	int fd;

	while (msg_recv(child_peer, MSG_DOWN, &msg, &fd) == ERR_OK) {
		FUZZ_CHECK(*n < model->n_answers, "an answer more than was asked for");
		const struct msg *want = &model->answers[(*n)++];
		FUZZ_CHECK(msg.type == (fd >= 0 ? MSG_ANSWER_WITH : MSG_ANSWER) &&
				   msg.answer.ticket == want->answer.ticket &&
				   msg.answer.code == want->answer.code,
			   "answer %u to %u, not %u to %u", msg.answer.code, msg.answer.ticket,
			   want->answer.code, want->answer.ticket);
		if (fd >= 0) {
			check_rider(fd);
			close(fd);
		}
	}
}

/* In one turn of its loop the master hears four. */
static void turn(const struct model *model, unsigned *n, unsigned packets)
{
	for (unsigned i = 0; i <= packets / 4; i++)
		if (event_base_loop(master.base, EVLOOP_NONBLOCK) < 0)
			abort();
	check_answers(model, n);
}

static void run(const uint8_t *data, size_t n)
{
	struct model model = { .n_done = 0 };
	struct packet packet;
	unsigned answers = 0;
	bool turning = n && data[n - 1] & 1;

	for (unsigned i = 0; i < PACKETS_MAX && packet_next(&data, &n, &packet); i++) {
		if (packet.flags & FLAG_LINE)
			recents_add(writers[i & 1], 1, "some line", 9, false);
		if (!packet_send(child_peer, &packet))
			break;
		model_hear(&model, &packet);
		if (turning)
			turn(&model, &answers, 1);
	}
	turn(&model, &answers, PACKETS_MAX);
	FUZZ_CHECK(answers == model.n_answers, "%u answers, not %u", answers, model.n_answers);
	FUZZ_CHECK(child_kills == model.killed, "%u signals sent, not %d", child_kills, model.killed);
	FUZZ_CHECK(n_done == model.n_done &&
			   memcmp(done, model.done, n_done * sizeof(done[0])) == 0,
		   "%u commands carried out, not the %u that were asked for", n_done, model.n_done);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	boot();
	uint64_t before = open_fds();
	child_kills = n_done = 0;
	master.admin.now.fd = STDIN_FILENO; /* there is a socket to serve */
	monitor_start(&master);
	FUZZ_CHECK(master.monitor.pid, "the monitor cannot be started");
	run(data, n);
	/* It ends as one that was killed does, without anything to be waited for. */
	monitor_leave(&master);
	fd_close(&master.monitor.pidfd);
	fd_close(&master.monitor.owed.fd);
	backoff_history_fini(&master.monitor.history);
	monitor_init(&master);
	close(child_peer);
	FUZZ_CHECK(open_fds() == before, "a descriptor is left open");
	return 0;
}
