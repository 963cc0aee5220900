/* What master and monitor say to each other (board/admin.c), what the master takes of it
 * (master/command.c), and what becomes JSON (monitor/status.c). */
#include "lib/check.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "balancer/board/admin.h"
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
				 .n_balancers = 1 };
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
						   .failing = 1, .not_before_us = 92500000 };
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
			       &s->n_balancers };
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
	assert_int_equal(snapshot_view(s, bytes, &v), ERR_OK);
	struct monitor_heritage h = { .name = "x", .tally = tally };
	json_t *o = status_json(&v, &h);
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
		cmocka_unit_test(test_status),
	};

	return cmocka_run_group_tests_name("admin", tests, NULL, NULL);
}
