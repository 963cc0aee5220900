/* Choosing internal ports; in the master, called when a worker is spawned.
 * Nothing is held: the worker binds the port itself, a moment later. */
#include "balancer/master/ports.h"

#include <sys/socket.h>

#include "balancer/master/core.h"
#include "common/fd.h"

#define KERNEL_TRIES 64

static bool in_use_by_us(const struct master *m, uint16_t port)
{
	struct addr a = addr_ipv4_loopback(port);
	const struct roster *r = m->slots.draft;

	for (uint32_t i = 0; i < r->n_slots; i++)
		if (r->slots[i].state != WORKER_EMPTY && r->slots[i].pid &&
		    addr_equal(&r->slots[i].address, &a))
			return true;
	return false;
}

static enum err kernel_choice(uint16_t *ret_port)
{
	struct addr a = addr_ipv4_loopback(0);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return ERR_FD_LIMIT;
	if (bind(fd, &a.sa, a.len) != 0 || getsockname(fd, &a.sa, &a.len) != 0) {
		fd_close(&fd);
		return ERR_SYS;
	}
	fd_close(&fd);
	*ret_port = addr_port(&a);
	return ERR_OK;
}

enum err ports_take(struct master *m, const struct cfg_app *app, uint16_t *ret_port)
{
	uint16_t port;

	if (app->port_max == 0) {
		for (int i = 0; i < KERNEL_TRIES; i++) {
			enum err e = kernel_choice(&port);
			if (e)
				return e;
			if (!in_use_by_us(m, port)) {
				*ret_port = port;
				return ERR_OK;
			}
		}
		return ERR_FULL;
	}
	uint32_t span = (uint32_t)app->port_max - app->port_min + 1;
	for (uint32_t i = 0; i < span; i++) {
		/* In turn: a port that a worker just left rests for a while. */
		port = (uint16_t)(app->port_min + m->next_port++ % span);
		struct addr a = addr_ipv4_loopback(port);
		if (!in_use_by_us(m, port) && fd_probe_bind(&a) == ERR_OK) {
			*ret_port = port;
			return ERR_OK;
		}
	}
	return ERR_FULL;
}
