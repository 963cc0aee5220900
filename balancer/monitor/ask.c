/* The channel to the master, in the monitor: ASK goes up with a ticket, ANSWER comes down
 * with the same one, in any order.  A sealed memfd that rides along is mapped read-only for
 * the time that its reader looks at it. */
#include "balancer/monitor/ask.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "balancer/monitor/core.h"
#include "common/fd.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/msg.h"

struct ask {
	struct list link;
	uint32_t ticket;
	struct conn *conn; /* NULL: it has ended */
	ask_f *on_answer;
};

enum err ask_master(struct monitor *m, enum admin_verb verb, uint32_t app_id, uint32_t number,
		    uint64_t since, struct conn *c, ask_f *on_answer)
{
	struct ask *ask = mem_alloc(sizeof(*ask));
	struct msg message = { .type = MSG_ASK,
			       .ask = { .verb = verb,
					.ticket = ++m->next_ticket,
					.app_id = app_id,
					.number = number,
					.since = since } };

	if (!ask)
		return ERR_NOMEM;
	enum err e = msg_send(m->heritage->channel, &message, -1);
	if (e) {
		mem_free(ask);
		return e;
	}
	*ask = (struct ask){ .ticket = message.ask.ticket, .conn = c, .on_answer = on_answer };
	list_push_back(&m->asks, &ask->link);
	return ERR_OK;
}

void ask_forget(struct monitor *m, struct conn *c)
{
	list_each(it, &m->asks) {
		struct ask *ask = list_entry(it, struct ask, link);
		if (ask->conn == c)
			ask->conn = NULL;
	}
}

static struct ask *find(struct monitor *m, uint32_t ticket)
{
	list_each(it, &m->asks) {
		struct ask *ask = list_entry(it, struct ask, link);
		if (ask->ticket == ticket)
			return ask;
	}
	return NULL;
}

/* NULL, logged: it cannot be read; the asker is told so by its absence. */
static void *map_rider(int fd, size_t *ret_bytes)
{
	struct stat st;
	void *map = MAP_FAILED;

	if (fstat(fd, &st) == 0 && st.st_size > 0)
		map = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED) {
		log_error("cannot read what the master sent: %s", strerror(errno));
		return NULL;
	}
	*ret_bytes = (size_t)st.st_size;
	return map;
}

static void on_answer(struct monitor *m, const struct msg *message, int rider)
{
	struct ask *ask = find(m, message->answer.ticket);
	struct reply_from_master r = { .code = message->answer.code,
				       .number = message->answer.number };

	if (!ask || r.code >= ADMIN_CODE_MAX) {
		log_error("the master answered what was not asked");
		return;
	}
	list_remove(&ask->link);
	if (ask->conn) {
		void *map = rider >= 0 ? map_rider(rider, &r.bytes) : NULL;
		r.data = map;
		ask->on_answer(ask->conn, &r);
		if (map)
			munmap(map, r.bytes);
	}
	mem_free(ask);
}

static void on_reopen(const struct msg *message, int fd)
{
	if (message->reopen.which != LOG_KIND_ERROR) {
		fd_close(&fd);
		return;
	}
	int old = log_fd();
	log_to_fd(fd);
	if (old > 2)
		fd_close(&old);
}

void ask_sent(struct conn *c, enum err e)
{
	if (e)
		conn_refuse(c, 503, "The master cannot be asked: %s.", err_text(e));
}

bool ask_refused(struct conn *c, const struct reply_from_master *r)
{
	const struct admin_code_info *info = &admin_code_table[r->code];

	if (info->http_status < 300)
		return false;
	conn_refuse(c, info->http_status, "%s", info->text);
	return true;
}

bool ask_hear(struct monitor *m)
{
	for (;;) {
		struct msg message;
		int rider = -1;
		enum err e = msg_recv(m->heritage->channel, MSG_DOWN, &message, &rider);
		if (e == ERR_AGAIN)
			return true;
		if (e == ERR_FD_LIMIT) { /* whoever asked is told by the deadline */
			log_error("cannot take an answer: out of file descriptors");
			continue;
		}
		if (e)
			return false;
		if (message.type == MSG_REOPEN) {
			on_reopen(&message, rider);
			continue;
		}
		if (message.type == MSG_ANSWER || message.type == MSG_ANSWER_WITH)
			on_answer(m, &message, rider);
		fd_close(&rider);
	}
}

void ask_fini(struct monitor *m)
{
	list_each_safe(it, &m->asks) {
		list_remove(it);
		mem_free(list_entry(it, struct ask, link));
	}
}
