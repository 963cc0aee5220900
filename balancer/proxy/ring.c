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
#include "common/log.h"

_Static_assert(RING_OPS <= 64, "a bit for each in ring_run()");

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

/* Whatever order they come in.  -ENOMEM: the kernel had none for the operation itself and has
 * done nothing of it. */
static unsigned take_results(struct ring_op *ops, uint64_t *done)
{
	struct io_uring_cqe *cqe;
	unsigned head, n = 0;

	io_uring_for_each_cqe(&ring, head, cqe)
	{
		ops[cqe->user_data].result = cqe->res;
		if (LIKELY(cqe->res != -ENOMEM))
			*done |= UINT64_C(1) << cqe->user_data;
		n++;
	}
	io_uring_cq_advance(&ring, n);
	return n;
}

/* All that it has taken has its result by now, and what it has not taken ends with it.
 *
 * It is not asked again.  Of what io_uring_enter(2) may answer two are no bug: EINTR, and EAGAIN,
 * that it has no memory for one more operation.  How long that lasts nobody knows, and a balancer
 * that asks until it ends serves nobody; calls one by one need no such memory.  It must be rare:
 * what the kernel has got for the operations of one call it keeps for the next ones.  (EBUSY, results
 * that found no place, cannot be: there is place for twice RING_OPS, and we leave none.) */
static void give_up(int e)
{
	log_warn("the kernel fails io_uring, sends and receives are made one by one from now on: %s",
		 strerror(-e));
	ring_stop();
}

static void prepare(const struct ring_op *op, uint64_t place)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&ring);

	if (op->send)
		io_uring_prep_send(sqe, op->fd, op->bytes, op->n, MSG_NOSIGNAL | MSG_DONTWAIT);
	else
		io_uring_prep_recv(sqe, op->fd, op->bytes, op->n, MSG_DONTWAIT);
	sqe->user_data = place;
}

void ring_run(struct ring_op *ops, unsigned n)
{
	uint64_t done = 0; /* a bit for each */

	if (n >= 2 && on) { /* a single one is cheaper one by one */
		for (unsigned i = 0; i < n; i++)
			prepare(&ops[i], i);
		for (unsigned left = n; left && on;) {
			int e = io_uring_submit_and_wait(&ring, left);
			left -= take_results(ops, &done);
			if (UNLIKELY(e < 0 && e != -EINTR))
				give_up(e);
		}
	}
	for (unsigned i = 0; i < n; i++)
		if (!(done >> i & 1))
			run_one(&ops[i]);
}
