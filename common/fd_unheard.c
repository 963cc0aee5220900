/* What the kernel knows of the bytes that a TCP socket has sent; in the balancers.  A file
 * of its own: <linux/tcp.h> has the counters, and cannot stand beside <netinet/tcp.h>. */
#include <linux/tcp.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "common/fd.h"

bool fd_tcp_unheard(int fd, size_t n)
{
	struct tcp_info info = { .tcpi_bytes_sent = 0 };
	socklen_t size = sizeof(info);

	if (n == 0 || getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size) != 0 ||
	    size < offsetof(struct tcp_info, tcpi_bytes_retrans) + sizeof(info.tcpi_bytes_retrans))
		return false;
	/* Of what is acknowledged one is the SYN (tcp_snd_una_update() in the kernel). */
	uint64_t sent = info.tcpi_bytes_sent - info.tcpi_bytes_retrans + 1;
	return sent >= info.tcpi_bytes_acked && sent - info.tcpi_bytes_acked >= n;
}
