/* balancer/proxy/route: hosts, prefixes at segment borders, the first match. */
#include "lib/check.h"

#include <stdio.h>

#include "balancer/proxy/route.h"
#include "common/base.h"

/* One route alone: does it match? */
static void test_one(void **state)
{
	static const struct {
		const char *host, *path; /* the route's; NULL: any */
		const char *asked_host, *asked_path;
		bool matches;
	} cases[] = {
		{ NULL, NULL, "a.example", "/", true },
		{ NULL, NULL, "", "*", true },

		{ "a.example", NULL, "a.example", "/", true },
		{ "a.example", NULL, "A.Example", "/", true },
		{ "a.example", NULL, "a.example:8080", "/", true },
		{ "a.example", NULL, "a.example:", "/", true },
		{ "a.example", NULL, "a.example.", "/", true },
		{ "a.example", NULL, "a.example.:80", "/", true },
		{ "a.example", NULL, "a.example..", "/", false },
		{ "a.example", NULL, "b.a.example", "/", false },
		{ "a.example", NULL, "xa.example", "/", false },
		{ "a.example", NULL, "a.example.evil", "/", false },
		{ "a.example", NULL, "a.exampl", "/", false },
		{ "a.example", NULL, "", "/", false },
		{ "a.example", NULL, ":80", "/", false },

		{ "*.a.example", NULL, "b.a.example", "/", true },
		{ "*.a.example", NULL, "c.b.A.EXAMPLE:1", "/", true },
		{ "*.a.example", NULL, "b.a.example.", "/", true },
		{ "*.a.example", NULL, "a.example", "/", false },
		{ "*.a.example", NULL, ".a.example", "/", false },
		{ "*.a.example", NULL, "ba.example", "/", false },

		{ "[::1]", NULL, "[::1]", "/", true },
		{ "[::1]", NULL, "[::1]:80", "/", true },
		{ "[::1]", NULL, "[::2]:80", "/", false },
		{ "10.0.0.1", NULL, "10.0.0.1:80", "/", true },
		{ "10.0.0.1", NULL, "10.0.0.1", "/", true },

		{ NULL, "/v1", "a", "/v1", true },
		{ NULL, "/v1", "a", "/v1/", true },
		{ NULL, "/v1", "a", "/v1/x", true },
		{ NULL, "/v1", "a", "/v1?q=/", true },
		{ NULL, "/v1", "a", "/v10", false },
		{ NULL, "/v1", "a", "/v", false },
		{ NULL, "/v1", "a", "/V1", false },
		{ NULL, "/v1", "a", "/", false },
		{ NULL, "/v1", "a", "*", false },
		{ NULL, "/v1/", "a", "/v1/x", true },
		{ NULL, "/v1/", "a", "/v1/", true },
		{ NULL, "/v1/", "a", "/v1", false },
		{ NULL, "/", "a", "/anything", true },

		{ "a.example", "/v1", "a.example", "/v1/x", true },
		{ "a.example", "/v1", "b.example", "/v1/x", false },
		{ "a.example", "/v1", "a.example", "/v2", false },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct cfg_route route = { .app = 3, .host = (char *)(uintptr_t)cases[i].host,
					   .path = (char *)(uintptr_t)cases[i].path };
		struct config cfg = { .routes = &route, .n_routes = 1 };
		char row[128];
		snprintf(row, sizeof(row), "%s %s asked for %s %s", cases[i].host ? cases[i].host : "any",
			 cases[i].path ? cases[i].path : "any", cases[i].asked_host, cases[i].asked_path);
		check_row_int(row, route_find(&cfg, slice_of(cases[i].asked_host),
					      slice_of(cases[i].asked_path)),
			      cases[i].matches ? 3 : ROUTE_NONE);
	}
}

static void test_first_wins(void **state)
{
	char host[] = "a", v1[] = "/v1";
	struct cfg_route routes[] = { { host, v1, 0 }, { host, NULL, 1 }, { NULL, v1, 2 }, { NULL, NULL, 3 } };
	struct config cfg = { .routes = routes, .n_routes = 4 };

	(void)state;
	assert_int_equal(route_find(&cfg, SLICE("a"), SLICE("/v1")), 0);
	assert_int_equal(route_find(&cfg, SLICE("a"), SLICE("/")), 1);
	assert_int_equal(route_find(&cfg, SLICE("b"), SLICE("/v1")), 2);
	assert_int_equal(route_find(&cfg, SLICE("b"), SLICE("/")), 3);
	cfg.n_routes = 3;
	assert_int_equal(route_find(&cfg, SLICE("b"), SLICE("/")), ROUTE_NONE);
	cfg.n_routes = 0;
	assert_int_equal(route_find(&cfg, SLICE("a"), SLICE("/v1")), ROUTE_NONE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_one),
		cmocka_unit_test(test_first_wins),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
