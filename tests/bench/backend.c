/* The server behind the proxies that are compared: answers every request head with
 * the same 200 and does as little as possible, so that it is never the bottleneck.
 *
 *   backend ADDRESS|PATH BODY_BYTES     "127.0.0.1:8000", or the path of a Unix socket
 *
 * One process, one epoll loop.  It takes only what load generators send: heads
 * without bodies, pipelined or not. */
#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/addr.h"
#include "common/fd.h"

#define HEAD_MAX 16384

struct reply {
	char *text;
	size_t n;
};

struct conn {
	int fd;
	bool writing;      /* EPOLLOUT is asked for */
	bool last;         /* the client wants no further request */
	unsigned owed;     /* replies not sent to the end */
	size_t sent, have; /* of the first reply owed; of `in` */
	char in[HEAD_MAX];
};

static struct reply keeping, closing;
static int epoll_fd;

static struct reply make_reply(size_t body, const char *connection)
{
	char *text = malloc(body + 256);
	struct reply r = { text, 0 };

	if (!text)
		exit(1);
	r.n = (size_t)sprintf(
		text, "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n%sContent-Length: %zu\r\n\r\n",
		connection, body);
	memset(text + r.n, 'x', body);
	r.n += body;
	return r;
}

static void watch(struct conn *c, int op, bool writing)
{
	struct epoll_event e = { .events = writing ? EPOLLIN | EPOLLOUT : EPOLLIN, .data.ptr = c };

	c->writing = writing;
	if (epoll_ctl(epoll_fd, op, c->fd, &e))
		exit(1);
}

/* Sends what is owed.  False: the connection has ended. */
static bool send_owed(struct conn *c)
{
	while (c->owed) {
		const struct reply *r = c->last && c->owed == 1 ? &closing : &keeping;
		ssize_t n =
			send(c->fd, r->text + c->sent, r->n - c->sent, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (n < 0 && errno != EAGAIN)
			return false;
		if (n > 0)
			c->sent += (size_t)n;
		if (c->sent < r->n) {
			if (!c->writing)
				watch(c, EPOLL_CTL_MOD, true);
			return true;
		}
		c->sent = 0;
		c->owed--;
	}
	if (c->writing)
		watch(c, EPOLL_CTL_MOD, false);
	return !c->last;
}

/* Counts the heads that came.  False: the connection has ended. */
static bool read_heads(struct conn *c)
{
	ssize_t n = recv(c->fd, c->in + c->have, sizeof(c->in) - c->have, MSG_DONTWAIT);
	char *p = c->in, *end;

	if (n <= 0)
		return n < 0 && errno == EAGAIN;
	c->have += (size_t)n;
	while ((end = memmem(p, c->have, "\r\n\r\n", 4))) {
		end += 4;
		c->last = memmem(p, (size_t)(end - p), "\r\nConnection: close\r\n", 21);
		c->owed++;
		c->have -= (size_t)(end - p);
		p = end;
	}
	memmove(c->in, p, c->have);
	return c->have < sizeof(c->in);
}

static void accept_all(int listener)
{
	int fd;

	while ((fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK)) >= 0) {
		struct conn *c = calloc(1, sizeof(*c));
		if (!c)
			exit(1);
		fd_set_nodelay(fd);
		c->fd = fd;
		watch(c, EPOLL_CTL_ADD, false);
	}
}

int main(int argc, char **argv)
{
	struct epoll_event ready[256], e = { .events = EPOLLIN };
	struct addr address;
	int listener;

	if (argc != 3 || (argv[1][0] == '/' ? addr_unix(argv[1], &address)
					    : addr_parse(slice_of(argv[1]), false, &address))) {
		fprintf(stderr, "usage: backend ADDRESS|PATH BODY_BYTES\n");
		return 2;
	}
	size_t body = strtoul(argv[2], NULL, 10);
	keeping = make_reply(body, "");
	closing = make_reply(body, "Connection: close\r\n");
	epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (fd_listen(&address, false, 4096, 0666, &listener) || epoll_fd < 0 ||
	    epoll_ctl(epoll_fd, EPOLL_CTL_ADD, listener, &e)) {
		perror(argv[1]);
		return 1;
	}
	for (;;) {
		int n = epoll_wait(epoll_fd, ready, 256, -1);
		for (int i = 0; i < n; i++) {
			struct conn *c = ready[i].data.ptr;
			bool alive = true;
			if (!c) {
				accept_all(listener);
				continue;
			}
			if (ready[i].events & ~(unsigned)EPOLLOUT)
				alive = read_heads(c);
			if (!alive || !send_owed(c)) {
				close(c->fd);
				free(c);
			}
		}
	}
}
