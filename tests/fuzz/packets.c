/* See packets.h. */
#include "fuzz/packets.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include "lib/send_raw.h"

bool packet_next(const uint8_t **p, size_t *n, struct packet *ret_packet)
{
	if (*n < 2)
		return false;
	*ret_packet = (struct packet){ .n_fds = (*p)[0] & 3, .flags = (*p)[0] >> 2 };
	ret_packet->n = MIN((size_t)(*p)[1] & 63, *n - 2);
	ret_packet->bytes = *p + 2;
	*p += 2 + ret_packet->n;
	*n -= 2 + ret_packet->n;
	return true;
}

bool packet_send(int channel, const struct packet *packet)
{
	int fds[PACKET_FDS_MAX];

	for (unsigned i = 0; i < packet->n_fds; i++)
		fds[i] = open("/dev/null", O_WRONLY | O_CLOEXEC);
	ssize_t sent = send_raw(channel, packet->bytes, packet->n, fds, packet->n_fds);
	FUZZ_CHECK(sent >= 0 || errno == EPIPE || errno == ECONNRESET, "sending: %s",
		   strerror(errno));
	for (unsigned i = 0; i < packet->n_fds; i++)
		close(fds[i]);
	return sent >= 0;
}

bool packet_is_message(const struct packet *packet, enum msg_direction direction, struct msg *ret_msg)
{
	static const struct {
		enum msg_direction direction;
		unsigned fds;
	} types[MSG_MAX] = {
#define MSG(name, dir, n) [MSG_##name] = { MSG_##dir, n },
#include "common/msg.def"
#undef MSG
	};

	if (packet->n != sizeof(*ret_msg))
		return false;
	memcpy(ret_msg, packet->bytes, sizeof(*ret_msg));
	return ret_msg->type > MSG_NONE && ret_msg->type < MSG_MAX && ret_msg->zero == 0 &&
	       types[ret_msg->type].direction == direction &&
	       types[ret_msg->type].fds == packet->n_fds;
}

uint64_t open_fds(void)
{
	struct pollfd fds[64];
	uint64_t open = 0;

	for (int i = 0; i < 64; i++)
		fds[i] = (struct pollfd){ .fd = i };
	if (poll(fds, 64, 0) < 0)
		abort();
	for (int i = 0; i < 64; i++)
		open |= (uint64_t) !(fds[i].revents & POLLNVAL) << i;
	return open;
}
