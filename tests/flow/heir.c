/* The balancer of the next generation; see heir.h.  Runs in the flow tests. */
#include "lib/check.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "flow/heir.h"

#include "balancer/proxy/client.h"
#include "balancer/proxy/handover_record.h"
#include "common/clock.h"
#include "common/fd.h"

void heir_init(struct heir *h)
{
	memset(h, 0, sizeof(*h));
	h->channel = -1;
	for (unsigned i = 0; i < HEIR_PEERS; i++)
		peer_init(&h->peers[i]);
}

void heir_die(struct heir *h)
{
	fd_close(&h->channel);
	h->missing = 0;
}

void heir_fini(struct heir *h)
{
	heir_die(h);
	for (unsigned i = 0; i < HEIR_PEERS; i++)
		peer_fini(&h->peers[i]);
}

int heir_open(struct heir *h)
{
	int pair[2];

	heir_die(h);
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair))
		abort();
	h->channel = pair[0];
	h->number = 0;
	return pair[1];
}

static void answer(struct heir *h, enum handover_answer what)
{
	struct handover_verdict v = { .number = h->number, .answer = what };

	if (handover_send_verdict(h->channel, &v) != ERR_OK)
		heir_die(h);
}

/* A client with all its bytes: those that were read of it, then those that it is owed. */
static void take(struct heir *h, const struct handover_record *r, int fd, const char *bytes)
{
	struct peer *p = &h->peers[h->n];
	size_t n_in = r->pieces[PIECE_INPUT];

	p->fd = fd;
	p->used = true;
	p->in = calloc(1, n_in + 1);
	if (!p->in)
		abort();
	memcpy(p->in, bytes, n_in);
	p->n_in = n_in;
	p->room_in = n_in + 1;
	if (r->pieces[PIECE_TO_CLIENT])
		peer_send(p, bytes + n_in, r->pieces[PIECE_TO_CLIENT]);
	h->ends[h->n] = r->state == CLIENT_CLOSING || (r->flags & HANDOVER_EOF);
	if (h->ends[h->n])
		peer_shut(p);
	h->n++;
}

/* Tunnels are not gone on with, and those of which not all has come yet go back. */
static bool receive(struct heir *h)
{
	static char bytes[HANDOVER_PACKET_BYTES];
	struct handover_record r;
	int fds[HANDOVER_FDS_MAX];
	unsigned n_fds;
	size_t n;

	enum err e = handover_receive(h->channel, h->missing ? NULL : &r, fds, &n_fds, bytes, &n);
	if (e == ERR_AGAIN)
		return false;
	if (e != ERR_OK) {
		heir_die(h);
		return true;
	}
	if (h->missing) {
		h->missing -= MIN(n, h->missing);
		if (!h->missing)
			answer(h, HANDOVER_REFUSED);
		return true;
	}
	assert_true(handover_record_ok(&r, clock_now_us()));
	assert_int_equal(n_fds, handover_n_fds(&r));
	h->number = r.number;
	h->missing = handover_n_bytes(&r) - n;
	bool taken = !h->refuses && !h->missing && n_fds == 1 && h->n < HEIR_PEERS;
	if (!h->missing)
		answer(h, taken ? HANDOVER_TAKEN : HANDOVER_REFUSED);
	if (taken)
		take(h, &r, fds[0], bytes);
	for (unsigned i = taken; i < n_fds; i++)
		fd_close(&fds[i]);
	return true;
}

/* Heads one after the other; what is no plain GET is not for us. */
static void answer_alone(struct heir *h, unsigned i)
{
	struct peer *p = &h->peers[i];
	char path[16], text[128];
	const char *end;

	while (p->fd >= 0 && p->n_in && !h->ends[i] &&
	       (end = strstr(p->in + h->answered[i], "\r\n\r\n"))) {
		const char *head = p->in + h->answered[i];
		if (sscanf(head, "GET /r%10[0-9]", path) != 1) {
			peer_reset(p);
			return;
		}
		h->answered[i] = (size_t)(end - p->in) + 4;
		snprintf(text, sizeof(text),
			 "HTTP/1.1 200 OK\r\nX-Path: /r%s\r\nContent-Length: 0\r\n\r\n", path);
		peer_send(p, text, strlen(text));
	}
}

bool heir_pump(struct heir *h)
{
	bool moved = false;

	while (h->channel >= 0 && receive(h))
		moved = true;
	for (unsigned i = 0; i < h->n; i++) {
		moved |= peer_pump(&h->peers[i]);
		if (h->alone)
			answer_alone(h, i);
	}
	return moved;
}
