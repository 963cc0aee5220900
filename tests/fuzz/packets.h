/* What one end of a channel sends, made from fuzz input: packets of any bytes, with
 * descriptors or without. */
#ifndef DROVER_TESTS_FUZZ_PACKETS_H
#define DROVER_TESTS_FUZZ_PACKETS_H

#include "common/msg.h"
#include "fuzz/fuzz.h"

#define PACKET_FDS_MAX 3
#define PACKETS_MAX 40 /* in one input: fewer than a channel holds, or a turn reads */

/* One record of the input: flags, length, bytes. */
struct packet {
	unsigned n_fds; /* the flags' lowest two bits */
	unsigned flags; /* the others, shifted down */
	const uint8_t *bytes;
	size_t n;
};

/* Next record of *p, *n; false at the end. */
bool packet_next(const uint8_t **p, size_t *n, struct packet *ret_packet);

/* Sends it into `channel`; false when the other end is closed. */
bool packet_send(int channel, const struct packet *packet);

/* Whether a receiver has to accept it as a message in this direction: *ret_msg. */
bool packet_is_message(const struct packet *packet, enum msg_direction direction,
		       struct msg *ret_msg);

/* Which of the first 64 descriptors are open. */
uint64_t open_fds(void);

#endif
