/* balancer/proxy/client: what a connection costs that waits for its next request. */
#include "lib/check.h"

#include "balancer/proxy/client.h"
#include "balancer/proxy/upstream.h"

/* What malloc() of glibc takes for an object: 8 bytes of its own, in steps of 16. */
static size_t allocated(size_t bytes)
{
	return (bytes + 8 + 15) / 16 * 16;
}

/* The aim is 300 bytes for a connection (docs/performance.md, idle).  libevent keeps 40 more for
 * its descriptor; 128 of these are its event. */
static void test_idle_client_is_small(void **state)
{
	(void)state;
	assert_in_range(allocated(sizeof(struct client)), 1, 256);
}

/* Many of these are idle, too: connections.idle for each worker. */
static void test_pooled_connection_is_small(void **state)
{
	(void)state;
	assert_in_range(allocated(sizeof(struct upstream)), 1, 288);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_idle_client_is_small),
		cmocka_unit_test(test_pooled_connection_is_small),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
