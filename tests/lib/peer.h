/* A scripted party on a socket, in the test's own process: it never blocks, keeps
 * all that it was sent, and notes how the other side ended the connection. */
#ifndef DROVER_TESTS_PEER_H
#define DROVER_TESTS_PEER_H

#include <stdbool.h>
#include <stddef.h>

#include "common/addr.h"

struct peer {
	int fd;          /* -1: not connected yet, or closed by us */
	char *in;        /* all that ever came, NUL-terminated */
	size_t n_in, room_in;
	size_t seen;     /* of `in`: what the test has looked at */
	char *out;       /* what is to be sent, of which the kernel has taken `sent` bytes */
	size_t n_out, room_out, sent;
	size_t piece;    /* most bytes to send at a time, once per peer_pump(); 0: no limit */
	int room;        /* SO_RCVBUF to connect with; 0: the usual */
	bool used;       /* it was connected once */
	bool deaf;       /* does not read */
	bool shut_owed;  /* sends its FIN when `out` is empty */
	bool eof, reset; /* the other side has ended it; and not with a FIN */
};

void peer_init(struct peer *p);
void peer_fini(struct peer *p);

/* Connects to `a`; false when that is refused at once. */
bool peer_connect(struct peer *p, const struct addr *a);

/* Takes a connection waiting at the listening socket `fd`; false when there is none. */
bool peer_accept(struct peer *p, int fd);

/* Sends `n` bytes, as the other side takes them. */
void peer_send(struct peer *p, const char *bytes, size_t n);

/* Moves what can be moved now, in and out; true when something did. */
bool peer_pump(struct peer *p);

/* Takes at most `n` bytes, deaf or not. */
void peer_sip(struct peer *p, size_t n);

void peer_shut(struct peer *p);  /* FIN, behind what was to be sent */
void peer_close(struct peer *p); /* harmless when closed */
void peer_reset(struct peer *p); /* RST; on a Unix socket an ordinary end */

#endif
