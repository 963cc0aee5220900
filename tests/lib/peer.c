/* Scripted parties; see peer.h.  Runs in the flow tests. */
#include "lib/peer.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "common/fd.h"

#define READ_BYTES 16384

void peer_init(struct peer *p)
{
	memset(p, 0, sizeof(*p));
	p->fd = -1;
}

void peer_fini(struct peer *p)
{
	peer_close(p);
	free(p->in);
	free(p->out);
	peer_init(p);
}

static char *grown(char *old, size_t *room, size_t want)
{
	if (want <= *room)
		return old;
	*room = want * 2;
	char *p = realloc(old, *room);
	if (!p)
		abort();
	return p;
}

bool peer_connect(struct peer *p, const struct addr *a)
{
	p->used = true;
	p->fd = socket(a->sa.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (p->fd < 0 ||
	    (p->room && setsockopt(p->fd, SOL_SOCKET, SO_RCVBUF, &p->room, sizeof(p->room))))
		return false;
	fd_set_nodelay(p->fd); /* what it says is there for the next turn, whatever has been acknowledged */
	return connect(p->fd, &a->sa, a->len) == 0 || errno == EINPROGRESS;
}

bool peer_accept(struct peer *p, int fd)
{
	p->fd = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	if (p->fd < 0)
		return false;
	p->used = true;
	return true;
}

static bool push_out(struct peer *p)
{
	size_t before = p->sent;

	while (p->sent < p->n_out && !(p->piece && p->sent > before)) {
		size_t left = p->n_out - p->sent;
		size_t most = p->piece ? MIN(p->piece, left) : left;
		ssize_t n = send(p->fd, p->out + p->sent, most, MSG_NOSIGNAL);
		if (n < 0 && errno != EAGAIN) { /* nobody wants it any more */
			p->reset |= errno == ECONNRESET; /* said once: the next recv gives end of file */
			p->n_out = p->sent = 0;
			return true;
		}
		if (n < 0)
			break;
		p->sent += (size_t)n;
	}
	bool moved = p->sent > before;
	if (p->sent == p->n_out)
		p->n_out = p->sent = 0;
	if (p->n_out == 0 && p->shut_owed) {
		p->shut_owed = false;
		shutdown(p->fd, SHUT_WR);
		return true;
	}
	return moved;
}

/* One read of at most `most` bytes; false when there was nothing. */
static bool pull_once(struct peer *p, size_t most)
{
	p->in = grown(p->in, &p->room_in, p->n_in + most + 1);
	ssize_t n = recv(p->fd, p->in + p->n_in, most, 0);
	if (n < 0 && errno == EAGAIN)
		return false;
	p->reset |= n < 0;
	p->eof |= n <= 0;
	if (n > 0)
		p->n_in += (size_t)n;
	p->in[p->n_in] = '\0';
	return true;
}

static bool pull_in(struct peer *p)
{
	bool moved = false;

	while (!p->deaf && !p->eof && pull_once(p, READ_BYTES))
		moved = true;
	return moved;
}

void peer_sip(struct peer *p, size_t n)
{
	if (p->fd >= 0 && !p->eof)
		pull_once(p, n);
}

void peer_send(struct peer *p, const char *bytes, size_t n)
{
	if (p->fd < 0)
		return;
	p->out = grown(p->out, &p->room_out, p->n_out + n);
	memcpy(p->out + p->n_out, bytes, n);
	p->n_out += n;
	if (!p->piece)
		push_out(p);
}

bool peer_pump(struct peer *p)
{
	if (p->fd < 0)
		return false;
	bool moved = push_out(p);
	return pull_in(p) || moved;
}

void peer_shut(struct peer *p)
{
	if (p->fd < 0)
		return;
	p->shut_owed = true;
	if (!p->piece)
		push_out(p);
}

void peer_close(struct peer *p)
{
	fd_close(&p->fd);
	p->n_out = p->sent = 0;
}

void peer_reset(struct peer *p)
{
	struct linger now = { .l_onoff = 1, .l_linger = 0 };

	if (p->fd >= 0)
		setsockopt(p->fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
	peer_close(p);
}
