/* One balancer in the foreground, without a master: for profilers, which then see one
 * process that does nothing but relay.  (Debian 12's valgrind does not know all system
 * calls of the master.)
 *
 *   balancer CONFIG       of the first app the `servers`, of `listen` the first address
 *
 * Ends as the signal does that ends it. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "balancer/heritage.h"
#include "balancer/proxy/proxy.h"
#include "common/fd.h"
#include "common/msg.h"

#define APP_ID 1

/* All servers UP, as the master would say. */
static void fill_roster(struct roster *roster, const struct cfg_app *app)
{
	roster_begin(roster);
	roster->n_apps = 1;
	roster->apps[0] = (struct roster_app){ .id = APP_ID };
	roster->n_slots = (uint32_t)app->n_servers;
	for (uint32_t i = 0; i < roster->n_slots; i++)
		roster->slots[i] = (struct roster_slot){ .epoch = i + 1,
							 .app_id = APP_ID,
							 .weight = 1,
							 .state = WORKER_UP,
							 .address = app->servers[i] };
	roster_end(roster);
}

static struct config *read_config(const char *file)
{
	struct config_overrides none = { 0 };
	struct config_errors errors;
	struct config *config = config_load(file, &none, &errors);

	if (!config) {
		fprintf(stderr, "%s", errors.text);
		exit(1);
	}
	config_errors_fini(&errors);
	if (!config->apps[0].n_servers) {
		fprintf(stderr, "balancer: the first app has no servers\n");
		exit(1);
	}
	config->apps[0].id = APP_ID;
	return config;
}

int main(int argc, char **argv)
{
	static const uint32_t listener_of[1] = { 0 };
	struct roster *roster;
	struct tally *tally;
	int fd, listener, channel[2];
	uint32_t row;

	if (argc != 2) {
		fprintf(stderr, "usage: balancer CONFIG\n");
		return 2;
	}
	struct config *config = read_config(argv[1]);
	if (roster_create(&fd, &roster) || tally_create(&fd, &tally) || tally_claim(tally, &row) ||
	    msg_pair(channel) ||
	    fd_listen(&config->listens[0].address, false, 4096, 0666, &listener)) {
		perror("balancer");
		return 1;
	}
	fill_roster(roster, &config->apps[0]);
	struct proxy_heritage heritage = {
		.config = config,
		.roster = roster,
		.tally = tally,
		.row = &tally->rows[row],
		.channel = channel[1],
		.listeners = &listener,
		.listener_of = listener_of,
		.n_listeners = 1,
		.schedstat_fd = open("/proc/self/schedstat", O_RDONLY | O_CLOEXEC),
		.access_log_fd = -1,
		.sockets_max = UINT32_MAX,
	};
	return proxy_run(&heritage);
}
