/* The floor: what any proxy must spend that copies bytes through user space.  Takes
 * TCP connections, opens one to the backend for each, and forwards bytes both ways
 * without looking at them: per request, two recv() and two send().
 *
 *   floor LISTEN_ADDRESS BACKEND_ADDRESS
 *
 * One process, one level-triggered epoll loop, no library in between. */
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/addr.h"
#include "common/fd.h"

#define BUFFER_BYTES (64u * 1024)

/* One of the two sockets of a pair. */
struct half {
	int fd; /* -1: the pair has ended */
	struct half *other;
	char *held; /* bytes for this socket that it did not take; NULL: none */
	size_t at, end;
	bool paused; /* not read, because the other one holds bytes */
	struct half *next_dead;
};

static char buffer[BUFFER_BYTES];
static struct half *dead; /* pairs are freed between turns: later events may name them */
static int epoll_fd;

static void watch(struct half *h, int op)
{
	struct epoll_event e = { .data.ptr = h };

	e.events = (h->paused ? 0 : EPOLLIN) | (h->held ? EPOLLOUT : 0);
	if (epoll_ctl(epoll_fd, op, h->fd, &e))
		exit(1);
}

static void end_pair(struct half *h)
{
	struct half *pair[] = { h, h->other };

	for (int i = 0; i < 2; i++) {
		close(pair[i]->fd);
		pair[i]->fd = -1;
		pair[i]->next_dead = dead;
		dead = pair[i];
	}
}

static void free_dead(void)
{
	while (dead) {
		struct half *h = dead;
		dead = h->next_dead;
		free(h->held);
		free(h);
	}
}

/* Keeps what the socket of `h` did not take, and stops reading the other. */
static void hold(struct half *h, const char *p, size_t n)
{
	h->held = malloc(n);
	if (!h->held)
		exit(1);
	memcpy(h->held, p, n);
	h->at = 0;
	h->end = n;
	h->other->paused = true;
	watch(h, EPOLL_CTL_MOD);
	watch(h->other, EPOLL_CTL_MOD);
}

static void forward(struct half *h)
{
	ssize_t n = recv(h->fd, buffer, sizeof(buffer), MSG_DONTWAIT);

	if (n < 0 && errno == EAGAIN)
		return;
	if (n <= 0) {
		end_pair(h);
		return;
	}
	ssize_t sent = send(h->other->fd, buffer, (size_t)n, MSG_NOSIGNAL | MSG_DONTWAIT);
	if (sent < 0 && errno != EAGAIN)
		end_pair(h);
	else if (sent < n)
		hold(h->other, buffer + (sent < 0 ? 0 : sent), (size_t)(n - (sent < 0 ? 0 : sent)));
}

static void send_held(struct half *h)
{
	ssize_t n = send(h->fd, h->held + h->at, h->end - h->at, MSG_NOSIGNAL | MSG_DONTWAIT);

	if (n < 0 && errno != EAGAIN) {
		end_pair(h);
		return;
	}
	h->at += n > 0 ? (size_t)n : 0;
	if (h->at < h->end)
		return;
	free(h->held);
	h->held = NULL;
	h->other->paused = false;
	watch(h, EPOLL_CTL_MOD);
	watch(h->other, EPOLL_CTL_MOD);
}

static void new_pair(int client, const struct addr *backend)
{
	struct half *a = calloc(1, sizeof(*a)), *b = calloc(1, sizeof(*b));

	if (!a || !b)
		exit(1);
	a->fd = client;
	b->fd = socket(backend->sa.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	/* Waits: on one machine that is as long as the handshake takes. */
	if (b->fd < 0 || connect(b->fd, &backend->sa, backend->len)) {
		perror("floor: backend");
		exit(1);
	}
	fd_set_nodelay(a->fd);
	fd_set_nodelay(b->fd);
	a->other = b;
	b->other = a;
	watch(a, EPOLL_CTL_ADD);
	watch(b, EPOLL_CTL_ADD);
}

int main(int argc, char **argv)
{
	struct epoll_event ready[256], e = { .events = EPOLLIN };
	struct addr address, backend;
	int listener, fd;

	if (argc != 3 || addr_parse(slice_of(argv[1]), false, &address) ||
	    addr_parse(slice_of(argv[2]), false, &backend)) {
		fprintf(stderr, "usage: floor LISTEN_ADDRESS BACKEND_ADDRESS\n");
		return 2;
	}
	epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (fd_listen(&address, false, 4096, 0666, &listener) || epoll_fd < 0 ||
	    epoll_ctl(epoll_fd, EPOLL_CTL_ADD, listener, &e)) {
		perror(argv[1]);
		return 1;
	}
	for (;;) {
		int n = epoll_wait(epoll_fd, ready, 256, -1);
		for (int i = 0; i < n; i++) {
			struct half *h = ready[i].data.ptr;
			if (!h) {
				while ((fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC)) >= 0)
					new_pair(fd, &backend);
				continue;
			}
			if (h->fd >= 0 && ready[i].events & EPOLLOUT)
				send_held(h);
			if (h->fd >= 0 && h->paused && ready[i].events & (EPOLLHUP | EPOLLERR))
				end_pair(h);
			else if (h->fd >= 0 && !h->paused && ready[i].events & ~(unsigned)EPOLLOUT)
				forward(h);
		}
		free_dead();
	}
}
