/* Runs in the balancer; see ring.h.
 *
 * Who takes the balancer over gains nothing by the ring: it is restricted to the two
 * operations, on descriptors that the process has anyway, before it is switched on. */
#include "balancer/proxy/ring.h"

#include <errno.h>
#include <liburing.h>
#include <string.h>
#include <sys/socket.h>

#include "common/base.h"
#include "common/contract.h"
#include "common/log.h"

static struct io_uring ring;
static bool on;

/* Nobody else enters it; results wait until we ask for them. */
#define FLAGS (IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN)
#define FLAGS_BEFORE_6_1 IORING_SETUP_COOP_TASKRUN

static bool restrict_it(void)
{
	struct io_uring_restriction only[] = {
		{ .opcode = IORING_RESTRICTION_SQE_OP, .sqe_op = IORING_OP_SEND },
		{ .opcode = IORING_RESTRICTION_SQE_OP, .sqe_op = IORING_OP_RECV },
	};

	/* By number: liburing 2.3 declares functions for both and does not export them. */
	return io_uring_register((unsigned)ring.ring_fd, IORING_REGISTER_RESTRICTIONS, only,
				 ARRAY_LEN(only)) == 0 &&
	       io_uring_register((unsigned)ring.ring_fd, IORING_REGISTER_ENABLE_RINGS, NULL, 0) == 0;
}

void ring_start(void)
{
	static const unsigned flags[] = { FLAGS, FLAGS_BEFORE_6_1 };

	for (unsigned i = 0; i < ARRAY_LEN(flags) && !on; i++) {
		struct io_uring_params params = { .flags = flags[i] | IORING_SETUP_R_DISABLED };
		if (io_uring_queue_init_params(RING_OPS, &ring, &params) != 0)
			continue;
		on = restrict_it();
		if (!on)
			io_uring_queue_exit(&ring);
	}
}

void ring_stop(void)
{
	if (on)
		io_uring_queue_exit(&ring);
	on = false;
}

bool ring_on(void)
{
	return on;
}

static void run_one(struct ring_op *op)
{
	ssize_t n;

	do {
		n = op->send ? send(op->fd, op->bytes, op->n, MSG_NOSIGNAL | MSG_DONTWAIT)
			     : recv(op->fd, op->bytes, op->n, MSG_DONTWAIT);
	} while (n < 0 && errno == EINTR);
	op->result = n < 0 ? -errno : (int32_t)n;
}

static unsigned take_results(struct ring_op *ops)
{
	struct io_uring_cqe *cqe;
	unsigned head, n = 0;

	io_uring_for_each_cqe(&ring, head, cqe)
	{
		ops[cqe->user_data].result = cqe->res;
		n++;
	}
	io_uring_cq_advance(&ring, n);
	return n;
}

void ring_run(struct ring_op *ops, unsigned n)
{
	unsigned done = 0;

	if (n < 2 || !on) { /* a single one is cheaper this way */
		for (unsigned i = 0; i < n; i++)
			run_one(&ops[i]);
		return;
	}
	for (unsigned i = 0; i < n; i++) {
		struct io_uring_sqe *sqe = io_uring_get_sqe(&ring);
		if (ops[i].send)
			io_uring_prep_send(sqe, ops[i].fd, ops[i].bytes, ops[i].n,
					   MSG_NOSIGNAL | MSG_DONTWAIT);
		else
			io_uring_prep_recv(sqe, ops[i].fd, ops[i].bytes, ops[i].n, MSG_DONTWAIT);
		sqe->user_data = i;
	}
	while (done < n) {
		int e = io_uring_submit_and_wait(&ring, n - done);
		if (e < 0 && e != -EINTR && e != -EAGAIN && e != -EBUSY)
			die(EXIT_FAILED, "the kernel refuses its ring: %s", strerror(-e));
		done += take_results(ops);
	}
}
