/* What a worker sends to its NOTIFY_SOCKET.  A second reading, of a few lines, goes over the
 * text once per key; what points into the datagram lies in it. */
#include "balancer/master/notify_message.h"
#include "fuzz/fuzz.h"

/* The value of the last line `key`=... that `counts`; false: there is none. */
static bool last_value(const char *p, size_t n, const char *key,
		       bool (*counts)(const char *value, size_t n), struct slice *ret)
{
	size_t n_key = strlen(key);
	bool found = false;

	for (size_t i = 0; i + n_key < n; i++) {
		if ((i > 0 && p[i - 1] != '\n') || memcmp(p + i, key, n_key) != 0 ||
		    p[i + n_key] != '=')
			continue;
		size_t end = i + n_key + 1;
		while (end < n && p[end] != '\n')
			end++;
		if (!counts(p + i + n_key + 1, end - i - n_key - 1))
			continue;
		*ret = (struct slice){ p + i + n_key + 1, end - i - n_key - 1 };
		found = true;
	}
	return found;
}

static bool anything(const char *value, size_t n)
{
	(void)value;
	(void)n;
	return true;
}

static bool is_one(const char *value, size_t n)
{
	return n == 1 && value[0] == '1';
}

static bool is_trigger(const char *value, size_t n)
{
	return n == 7 && memcmp(value, "trigger", n) == 0;
}

static unsigned __int128 number(const char *value, size_t n)
{
	unsigned __int128 got = 0;

	for (size_t i = 0; i < n; i++) {
		if (value[i] < '0' || value[i] > '9')
			return NOTIFY_USEC_MAX + 1;
		got = MIN(got * 10 + (unsigned)(value[i] - '0'),
			  (unsigned __int128)NOTIFY_USEC_MAX + 1);
	}
	return n ? got : NOTIFY_USEC_MAX + 1;
}

static bool is_time(const char *value, size_t n)
{
	return number(value, n) <= NOTIFY_USEC_MAX;
}

static void compare(const struct notify_message *m, const char *p, size_t n)
{
	struct slice s;

	FUZZ_CHECK(m->ready == last_value(p, n, "READY", is_one, &s), "READY");
	FUZZ_CHECK(m->stopping == last_value(p, n, "STOPPING", is_one, &s), "STOPPING");
	FUZZ_CHECK(m->alive == last_value(p, n, "WATCHDOG", is_one, &s), "WATCHDOG=1");
	FUZZ_CHECK(m->gives_up == last_value(p, n, "WATCHDOG", is_trigger, &s), "WATCHDOG=trigger");
	bool status = last_value(p, n, "STATUS", anything, &s);
	FUZZ_CHECK(m->has_status == status, "STATUS is there: %d", status);
	FUZZ_CHECK(!status || (m->status.p == s.p && m->status.n == s.n), "STATUS is %.*s", S(s));
	bool extend = last_value(p, n, "EXTEND_TIMEOUT_USEC", is_time, &s);
	FUZZ_CHECK(m->extend_us == (extend ? number(s.p, s.n) : 0), "EXTEND_TIMEOUT_USEC");
	bool watchdog = last_value(p, n, "WATCHDOG_USEC", is_time, &s);
	FUZZ_CHECK(m->watchdog_us == (watchdog ? number(s.p, s.n) : 0), "WATCHDOG_USEC");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	char *p = fuzz_copy(data, n);
	struct notify_message m;
	enum err e = notify_message_parse(&m, p, n);
	size_t text = n && p[n - 1] == '\0' ? n - 1 : n;
	bool legal = n <= NOTIFY_BYTES_MAX && text > 0 && !memchr(p, '\0', text);

	FUZZ_CHECK((e == ERR_OK) == legal, "%zu bytes: %s", n, err_text(e));
	if (!e)
		compare(&m, p, text);
	free(p);
	return 0;
}
