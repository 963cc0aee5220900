/* Framed messages between our processes: SOCK_SEQPACKET pairs, fixed-size
 * structs, descriptors by SCM_RIGHTS.  The receiver checks length, type,
 * direction and descriptor count before anyone looks inside. */
#ifndef DROVER_COMMON_MSG_H
#define DROVER_COMMON_MSG_H

#include <stdint.h>

#include "common/base.h"
#include "common/err.h"

enum msg_type {
	MSG_NONE = 0,
#define MSG(name, dir, fds) MSG_##name,
#include "common/msg.def"
#undef MSG
	MSG_MAX
};

enum msg_direction { MSG_UP = 0, MSG_DOWN };

/* How a balancer is to end.  Levels only rise. */
enum drain_level {
	DRAIN_NONE = 0,
	DRAIN_RELOAD,   /* stop accepting; idle connections and tunnels go where HAND_OVER leads, else live
			 * until their next answer or idle end */
	DRAIN_SHUTDOWN, /* stop accepting; end idle connections now, others after their answer */
	DRAIN_SOFT,     /* close idle and finished (lingering) connections hard */
	DRAIN_HARD,     /* close everything */
	DRAIN_MAX
};

enum log_kind { LOG_KIND_ERROR = 0, LOG_KIND_ACCESS, LOG_KIND_MAX };

struct msg {
	uint32_t type; /* enum msg_type */
	uint32_t zero; /* reserved, 0 */
	union {
		struct { uint64_t version; } ack;
		struct { uint64_t version; } roster;
		struct { uint32_t level, leaves; } drain; /* leaves: see proxy/drain.c */
		struct { uint32_t which; uint32_t zero; } reopen;
		struct {
			uint32_t verb, ticket; /* the ticket is the asker's, to know the answer by */
			uint32_t app_id, number;
			uint64_t since;
		} ask;
		struct { uint32_t ticket, code; uint64_t number; } answer;
		uint64_t raw; /* HAND_OVER and TAKE_OVER say nothing but their descriptor */
	};
};
_Static_assert(sizeof(struct msg) == 32, "the fuzz targets' corpus and dictionary know this size");

const char *msg_name(uint32_t type); /* "READY"; "?" outside the table */

/* A connected pair, both ends non-blocking and close-on-exec. */
MUST_CHECK enum err msg_pair(int ret_fds[2]);

/* Sends one message; `fd` >= 0 rides along (borrowed) exactly when the type's row
 * says so.  Never waits.  ERR_AGAIN, ERR_CLOSED, ERR_SYS with errno. */
MUST_CHECK enum err msg_send(int channel, const struct msg *m, int fd);

/* Receives one message coming in `direction`.  *ret_fd is the descriptor that
 * rode along, or -1; the caller takes it.  ERR_AGAIN, ERR_CLOSED (end of file),
 * ERR_PROTOCOL (wrong size, type, direction or descriptor count; everything that
 * came with it has been closed), ERR_FD_LIMIT (a good message whose descriptor
 * found no room; the message is lost), ERR_SYS with errno. */
MUST_CHECK enum err msg_recv(int channel, enum msg_direction direction,
			     struct msg *ret_msg, int *ret_fd);

#endif
