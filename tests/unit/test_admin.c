/* What master and monitor say to each other (board/admin.c), what the master takes of it
 * (master/command.c, master/tail.c), and what becomes JSON (monitor/status.c). */
#include "lib/check.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "balancer/board/admin.h"
#include "balancer/board/page.h"
#include "balancer/master/app.h"
#include "balancer/master/command.h"
#include "balancer/master/core.h"
#include "balancer/monitor/status.h"
#include "common/fd.h"
#include "common/mem.h"

/* ---- the layout --------------------------------------------------------- */

/* A snapshot with rows of every kind; the caller frees it. */
static struct snapshot *sample(size_t *ret_bytes)
{
	struct snapshot head = { .stamp = SNAPSHOT_STAMP,
				 .state = ADMIN_STATE_SERVING,
				 .master_pid = 4711,
				 .now_us = 90000000,
				 .started_us = 30000000,
				 .n_apps = 2,
				 .n_workers = 2,
				 .n_instances = 2,
				 .n_generations = 1,
				 .n_balancers = 1,
				 .n_listeners = 1 };
	struct snapshot_view v;
	size_t bytes = snapshot_bytes(&head);
	struct snapshot *s = mem_must_alloc(bytes);

	*s = head;
	assert_int_equal(snapshot_view(s, bytes, &v), ERR_OK);
	struct snapshot_app *apps = (void *)(uintptr_t)v.apps;
	struct snapshot_worker *workers = (void *)(uintptr_t)v.workers;
	struct snapshot_instance *instances = (void *)(uintptr_t)v.instances;
	apps[0] = (struct snapshot_app){ .id = 1, .release = 3, .newest_release = 3, .wanted = 2,
					 .in_config = 1, .name = "web" };
	apps[1] = (struct snapshot_app){ .id = 2, .release = 1, .servers = 1, .wanted = 0,
					 .name = "old" };
	workers[0] = (struct snapshot_worker){ .app_id = 1, .instance = 0, .release = 3,
					       .state = WORKER_UP, .pid = 99, .in_flight = 5,
					       .requests = 1234, .started_us = 80000000,
					       .up_us = 81000000, .address = "127.0.0.1:1" };
	workers[1] = (struct snapshot_worker){ .app_id = 2, .state = WORKER_UP,
					       .address = "10.0.0.1:80" };
	instances[0] = (struct snapshot_instance){ .app_id = 1, .instance = 0, .restarts = 7 };
	instances[1] = (struct snapshot_instance){ .app_id = 1, .instance = 1, .restarts = 9,
						   .failing = 1, .not_before_us = 92500000,
						   .failed_us = 88000000, .failed_pid = 98,
						   .failure = "ended: exit status 3, after \xff" };
	*(struct snapshot_listener *)(uintptr_t)v.listeners =
		(struct snapshot_listener){ .sockets = 2, .in_config = 1, .address = "0.0.0.0:80" };
	*(struct snapshot_generation *)(uintptr_t)v.generations =
		(struct snapshot_generation){ .number = 1, .state = GENERATION_SERVING };
	*(struct snapshot_balancer *)(uintptr_t)v.balancers =
		(struct snapshot_balancer){ .generation = 1, .pid = 55, .row = 0 };
	*ret_bytes = bytes;
	return s;
}

/* Every way in which one can be broken, and none of them read. */
static void test_broken_snapshots(void **state)
{
	struct snapshot_view v;
	size_t bytes;
	struct snapshot *s = sample(&bytes);

	(void)state;
	assert_int_equal(snapshot_view(s, bytes, &v), ERR_OK);
	for (size_t n = 0; n < bytes; n += n < 200 ? 1 : 97)
		assert_int_equal(snapshot_view(s, n, &v), ERR_PROTOCOL);
	s->stamp++;
	assert_int_equal(snapshot_view(s, bytes, &v), ERR_PROTOCOL);
	s->stamp--;
	uint32_t *counts[] = { &s->n_apps, &s->n_workers, &s->n_instances, &s->n_generations,
			       &s->n_balancers, &s->n_listeners };
	for (size_t i = 0; i < ARRAY_LEN(counts); i++) {
		uint32_t before = *counts[i];
		const uint32_t wrong[] = { before + 1, before - 1, UINT32_MAX, 1u << 31 };
		for (size_t k = 0; k < ARRAY_LEN(wrong); k++) {
			*counts[i] = wrong[k];
			assert_int_equal(snapshot_view(s, bytes, &v), ERR_PROTOCOL);
		}
		*counts[i] = before;
	}
	assert_int_equal(snapshot_view(s, bytes, &v), ERR_OK);
	struct snapshot_instance *instance = (void *)(uintptr_t)v.instances;
	memset(instance->failure, 'x', sizeof(instance->failure));
	assert_int_equal(snapshot_view(s, bytes, &v), ERR_PROTOCOL);
	instance->failure[0] = '\0';
	instance->failure[sizeof(instance->failure) - 1] = '\0';
	assert_int_equal(snapshot_view(s, bytes, &v), ERR_OK);
	struct snapshot_app *app = (void *)(uintptr_t)v.apps;
	memset(app->name, 'x', sizeof(app->name));
	assert_int_equal(snapshot_view(s, bytes, &v), ERR_PROTOCOL);
	mem_free(s);
}

/* ---- the master's side -------------------------------------------------- */

static void test_asks_that_make_no_sense(void **state)
{
	static const uint32_t verbs[] = { ADMIN_NONE, ADMIN_VERB_MAX, ADMIN_VERB_MAX + 1, UINT32_MAX };
	struct answer answer = { .fd = -1 };
	struct master m = { .exit_status = 0 };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(verbs); i++) {
		struct msg ask = { .type = MSG_ASK, .ask = { .verb = verbs[i], .ticket = 1 } };
		assert_int_equal(command_run(&m, &ask, &answer), ERR_PROTOCOL);
	}
	assert_int_equal(answer.fd, -1);
}

/* An empty master gives an empty snapshot, which nobody can change. */
static void test_snapshot_is_sealed(void **state)
{
	struct answer answer;
	struct master m = { .booting = true, .started_us = 1 };
	struct msg ask = { .type = MSG_ASK, .ask = { .verb = ADMIN_SNAPSHOT, .ticket = 1 } };
	struct snapshot_view v;
	struct stat st;

	(void)state;
	list_init(&m.apps);
	list_init(&m.generations);
	list_init(&m.listeners);
	assert_int_equal(command_run(&m, &ask, &answer), ERR_OK);
	assert_int_equal(answer.code, ADMIN_OK_CODE);
	assert_true(answer.fd >= 0);
	assert_int_equal(fstat(answer.fd, &st), 0);
	assert_int_equal(pwrite(answer.fd, "x", 1, 0), -1);
	assert_int_equal(ftruncate(answer.fd, 0), -1);
	assert_int_equal(fcntl(answer.fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
	void *map = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, answer.fd, 0);
	assert_true(map != MAP_FAILED);
	assert_int_equal(snapshot_view(map, (size_t)st.st_size, &v), ERR_OK);
	assert_int_equal(v.head->state, ADMIN_STATE_STARTING);
	assert_int_equal(v.head->master_pid, getpid());
	munmap(map, (size_t)st.st_size);
	fd_close(&answer.fd);
}

/* ---- pages of lines ----------------------------------------------------- */

struct reader {
	uint64_t next, missing;
	uint32_t lines;
	bool more;
	char text[4096]; /* "one.0:1 two.1:2 " */
};

/* Asks as the monitor does, and reads what comes. */
static void turn_page(struct master *m, uint32_t app_id, uint32_t number, uint64_t since, struct reader *r)
{
	struct msg question = { .type = MSG_ASK,
				.ask = { .verb = ADMIN_LOGS, .app_id = app_id, .number = number, .since = since } };
	struct answer answer;
	struct stat st;
	const struct page *p;
	const struct page_line *l;
	struct slice text;
	size_t offset = 0, n = 0;

	*r = (struct reader){ .text = "" };
	assert_int_equal(command_run(m, &question, &answer), ERR_OK);
	assert_int_equal(answer.code, ADMIN_OK_CODE);
	r->next = answer.number;
	if (answer.fd < 0)
		return;
	assert_int_equal(fstat(answer.fd, &st), 0);
	size_t bytes = (size_t)st.st_size;
	void *map = mmap(NULL, bytes, PROT_READ, MAP_SHARED, answer.fd, 0);
	assert_true(map != MAP_FAILED);
	assert_int_equal(page_view(map, bytes, &p), ERR_OK);
	assert_int_equal(p->next, r->next);
	for (size_t k = 0; k < bytes; k += k < 200 ? 1 : 1009)
		assert_true(page_view(map, k, &(const struct page *){ NULL }) == ERR_PROTOCOL);
	while ((l = page_next(p, bytes, &offset, &text)))
		if (n < sizeof(r->text) - 64)
			n += (size_t)snprintf(r->text + n, sizeof(r->text) - n, "%u.%u:%.*s ", l->app_id, l->instance,
					      (int)MIN(text.n, 20u), text.p);
	r->missing = p->missing;
	r->more = p->more;
	r->lines = p->n_lines;
	munmap(map, bytes);
	fd_close(&answer.fd);
}

static void print_line(struct recent_worker *w, const char *text)
{
	recents_add(w, 1, text, strlen(text), false);
}

#define ALL ADMIN_LOGS_ALL

static void test_pages(void **state)
{
	struct master m = { .exit_status = 0 };
	struct release release = { .number = 1 };
	struct app one = { .m = &m, .id = 1, .wanted = 2, .in_config = true, .target = &release };
	struct app two = { .m = &m, .id = 2, .wanted = 1, .in_config = true, .target = &release };
	const uint32_t every = admin_logs_number(ALL, ALL);
	struct reader r;

	(void)state;
	list_init(&m.apps);
	list_push_back(&m.apps, &one.link);
	list_push_back(&m.apps, &two.link);
	recents_init(&one.recents, &m.last_line);
	recents_init(&two.recents, &m.last_line);
	turn_page(&m, 0, every, 0, &r);
	assert_int_equal(r.lines, 0);
	assert_int_equal(r.next, 0);
	struct recent_worker *a = recents_open(&one.recents, 11, 0, 1), *b = recents_open(&one.recents, 12, 1, 1),
			     *c = recents_open(&two.recents, 13, 0, 1);
	print_line(a, "A");
	print_line(c, "C");
	print_line(b, "B");
	print_line(c, "D");
	print_line(a, "E");
	/* In the order in which they were written; the last ones; behind a place. */
	turn_page(&m, 0, every, 0, &r);
	assert_string_equal(r.text, "1.0:A 2.0:C 1.1:B 2.0:D 1.0:E ");
	assert_int_equal(r.next, 5);
	assert_int_equal(r.missing, 0);
	turn_page(&m, 0, admin_logs_number(2, ALL), 0, &r);
	assert_string_equal(r.text, "2.0:D 1.0:E ");
	assert_int_equal(r.next, 5);
	turn_page(&m, 0, admin_logs_number(0, ALL), 0, &r);
	assert_int_equal(r.lines, 0);
	assert_int_equal(r.next, 5);
	turn_page(&m, 0, every, 3, &r);
	assert_string_equal(r.text, "2.0:D 1.0:E ");
	/* Of one app its own lines are counted. */
	turn_page(&m, 1, every, 0, &r);
	assert_string_equal(r.text, "1.0:A 1.1:B 1.0:E ");
	assert_int_equal(r.next, 3);
	turn_page(&m, 1, every, 2, &r);
	assert_string_equal(r.text, "1.0:E ");
	turn_page(&m, 1, admin_logs_number(ALL, 1), 1, &r);
	assert_string_equal(r.text, "1.1:B ");
	assert_int_equal(r.next, 3);
	turn_page(&m, 1, admin_logs_number(ALL, 1), 2, &r); /* another's line only */
	assert_int_equal(r.lines, 0);
	assert_int_equal(r.next, 3);
	/* A place of another drover, that has written more. */
	turn_page(&m, 0, every, 999, &r);
	assert_int_equal(r.lines, 5);
	assert_int_equal(r.next, 5);
	/* A neighbour floods: this one's lines are still there at first; who follows is told. */
	for (int i = 0; i < 5000; i++)
		print_line(b, "flood flood flood");
	turn_page(&m, 1, admin_logs_number(ALL, 0), 0, &r);
	assert_string_equal(r.text, "1.0:A 1.0:E ");
	assert_int_equal(r.next, 5003);
	turn_page(&m, 1, every, 3, &r);
	assert_true(r.lines > 500 && r.lines < 5000);
	assert_int_equal(r.lines + r.missing, 5000);
	assert_int_equal(r.next, 5003);
	turn_page(&m, 0, every, 4, &r);
	assert_int_equal(r.lines + r.missing, 5001);
	assert_int_equal(r.next, 5005);
	struct msg nobody = { .type = MSG_ASK, .ask = { .verb = ADMIN_LOGS, .app_id = 1, .number = 7u << 16 } };
	struct answer answer;
	assert_int_equal(command_run(&m, &nobody, &answer), ERR_OK);
	assert_int_equal(answer.code, ADMIN_NO_INSTANCE_CODE);
	nobody.ask.app_id = 3;
	assert_int_equal(command_run(&m, &nobody, &answer), ERR_OK);
	assert_int_equal(answer.code, ADMIN_NO_APP_CODE);
	recents_fini(&one.recents);
	recents_fini(&two.recents);
}

/* Many apps with much to say: no line is lost or doubled from page to page. */
static void test_page_after_page(void **state)
{
	struct master m = { .exit_status = 0 };
	static struct app apps[8];
	struct reader r = { .next = 0 };
	struct recent_worker *w[ARRAY_LEN(apps)];
	uint32_t seen = 0, pages = 0;
	char text[1000];

	(void)state;
	memset(text, 'x', sizeof(text));
	list_init(&m.apps);
	for (uint32_t i = 0; i < ARRAY_LEN(apps); i++) {
		apps[i] = (struct app){ .m = &m, .id = i + 1, .wanted = 1, .in_config = true };
		list_push_back(&m.apps, &apps[i].link);
		recents_init(&apps[i].recents, &m.last_line);
		w[i] = recents_open(&apps[i].recents, 11, 0, 1);
	}
	for (int k = 0; k < 60; k++)
		for (size_t i = 0; i < ARRAY_LEN(apps); i++)
			recents_add(w[i], 1, text, sizeof(text), false);
	do {
		uint64_t since = r.next;
		turn_page(&m, 0, admin_logs_number(ALL, ALL), since, &r);
		assert_int_equal(r.next, since + r.lines);
		assert_int_equal(r.missing, 0);
		seen += r.lines;
		pages++;
	} while (r.more);
	assert_int_equal(seen, 60 * ARRAY_LEN(apps));
	assert_true(pages > 1);
	for (size_t i = 0; i < ARRAY_LEN(apps); i++)
		recents_fini(&apps[i].recents);
}

/* ---- JSON --------------------------------------------------------------- */

static const json_t *at(const json_t *o, const char *key)
{
	const json_t *found = json_object_get(o, key);

	if (!found)
		fail_msg("there is no %s", key);
	return found;
}

static void test_status(void **state)
{
	struct tally *tally;
	struct snapshot_view v;
	size_t bytes;
	int fd;
	uint32_t row;
	struct snapshot *s = sample(&bytes);

	(void)state;
	assert_int_equal(tally_create(&fd, &tally), ERR_OK);
	assert_int_equal(tally_claim(tally, &row), ERR_OK);
	atomic_store(&tally->rows[row].pid, 55);
	atomic_store(&tally->rows[row].counters[COUNTER_connections_open], 6);
	tally_refused(&tally->rows[row], TALLY_CLIENTS, HTTP_RULE_HOST_MISSING);
	tally_refused(&tally->rows[row], TALLY_WORKERS, HTTP_RULE_BODY_CUT);
	tally_refused(&tally->retired, TALLY_WORKERS, HTTP_RULE_BODY_CUT);
	assert_int_equal(snapshot_view(s, bytes, &v), ERR_OK);
	struct monitor_heritage h = { .name = "x", .tally = tally };
	json_t *o = status_json(&v, &h, true);
	assert_non_null(o);
	assert_string_equal(json_string_value(at(o, "state")), "serving");
	assert_true(json_is_null(at(o, "config_file")));
	assert_int_equal(json_integer_value(at(o, "connections")), 6);
	assert_int_equal((int)json_real_value(at(o, "uptime_s")), 60);
	const json_t *web = json_array_get(at(o, "apps"), 0), *old = json_array_get(at(o, "apps"), 1);
	assert_int_equal(json_integer_value(at(web, "up")), 1);
	assert_true(json_is_true(at(web, "failing")));
	assert_int_equal(json_array_size(at(web, "workers")), 2);
	const json_t *up = json_array_get(at(web, "workers"), 0);
	assert_int_equal(json_integer_value(at(up, "pid")), 99);
	assert_int_equal(json_integer_value(at(up, "restarts")), 7);
	assert_int_equal(json_integer_value(at(up, "requests")), 1234);
	assert_int_equal((int)json_real_value(at(up, "uptime_s")), 9);
	/* The instance without a process is shown too, and when it starts. */
	const json_t *waiting = json_array_get(at(web, "workers"), 1);
	assert_string_equal(json_string_value(at(waiting, "state")), "waiting");
	assert_true(json_is_null(at(waiting, "pid")));
	assert_true(json_real_value(at(waiting, "starts_in_s")) > 2.4);
	/* How an instance failed last, whoever it was. */
	assert_true(json_is_null(at(up, "last_failure")));
	const json_t *failure = at(waiting, "last_failure");
	assert_string_equal(json_string_value(at(failure, "reason")), "ended: exit status 3, after \xef\xbf\xbd");
	assert_int_equal(json_integer_value(at(failure, "pid")), 98);
	assert_int_equal((int)json_real_value(at(failure, "ago_s")), 2);
	const json_t *listener = json_array_get(at(o, "listeners"), 0);
	assert_string_equal(json_string_value(at(listener, "address")), "0.0.0.0:80");
	assert_int_equal(json_integer_value(at(listener, "sockets")), 2);
	assert_int_equal(json_integer_value(at(at(o, "counters"), "connections_open")), 6);
	assert_int_equal(json_object_size(at(o, "counters")), COUNTER_MAX);
	assert_int_equal(json_object_size(at(at(o, "refusals"), "clients")), 1);
	assert_int_equal(json_integer_value(at(at(at(o, "refusals"), "clients"), "host_missing")), 1);
	assert_int_equal(json_integer_value(at(at(at(o, "refusals"), "workers"), "body_cut")), 2);
	assert_string_equal(json_string_value(at(old, "kind")), "servers");
	assert_null(json_object_get(json_array_get(at(old, "workers"), 0), "pid"));
	assert_int_equal(json_integer_value(at(json_array_get(at(o, "balancers"), 0), "connections")), 6);
	json_decref(o);
	mem_free(s);
	close(fd);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_broken_snapshots),
		cmocka_unit_test(test_asks_that_make_no_sense),
		cmocka_unit_test(test_snapshot_is_sealed),
		cmocka_unit_test(test_pages),
		cmocka_unit_test(test_page_after_page),
		cmocka_unit_test(test_status),
	};

	return cmocka_run_group_tests_name("admin", tests, NULL, NULL);
}
