/* Runs in the balancer; see batch.h. */
#include "balancer/proxy/batch.h"

#include <string.h>

#include "balancer/board/tally.h"
#include "balancer/proxy/ring.h"
#include "common/mem.h"

static struct {
	/* left to be read, in the order of their events */
	struct conn *readers[RING_OPS]; /* NULL: has left */
	short what[RING_OPS];
	unsigned n_readers;
	char *buffers; /* RING_OPS * buffer_bytes */
	size_t buffer_bytes;
	struct conn *reading; /* whose bytes are to be told next; NULL: nobody's */
	int32_t read_result;
	bool running; /* batch_read() is */

	/* left to be sent */
	struct conn *senders[RING_OPS];
	_Atomic uint64_t *counters[RING_OPS]; /* of bytes sent; NULL: nobody counts them */
	struct ring_op sends[RING_OPS];
	unsigned n_sends;
	char *bytes; /* RING_OPS * BATCH_SEND_BYTES */
} batch;

void batch_start(size_t scratch_bytes)
{
	ring_start();
	if (!ring_on())
		return;
	/* Pages that nothing was read into cost nothing. */
	batch.buffers = mem_must_alloc(RING_OPS * scratch_bytes);
	batch.buffer_bytes = scratch_bytes;
	batch.bytes = mem_must_alloc(RING_OPS * BATCH_SEND_BYTES);
}

void batch_stop(void)
{
	mem_free(batch.buffers);
	mem_free(batch.bytes);
	memset(&batch, 0, sizeof(batch));
	ring_stop();
}

/* ---- reading ---- */

bool batch_defer(struct conn *c, short what)
{
	if (batch.running || !ring_on() || batch.n_readers == RING_OPS)
		return false;
	batch.readers[batch.n_readers] = c;
	batch.what[batch.n_readers] = what;
	c->reader = (uint8_t)++batch.n_readers;
	return true;
}

/* Calls the owner back; `op`: what was read for it, NULL: it has to do so itself. */
static void tell(unsigned i, const struct ring_op *op, char **scratch)
{
	struct conn *c = batch.readers[i];
	char *own = *scratch;

	if (!c) /* it has ended meanwhile, by what another led to */
		return;
	batch.readers[i] = NULL;
	c->reader = 0;
	if (op) {
		batch.reading = c;
		batch.read_result = op->result;
		*scratch = op->bytes;
	}
	event_get_callback (&c->event)(c->fd, batch.what[i], event_get_callback_arg(&c->event));
	batch.reading = NULL;
	*scratch = own;
}

void batch_read(char **scratch, struct block_pool *pool)
{
	struct ring_op ops[RING_OPS];
	unsigned of[RING_OPS], n = 0;

	if (!batch.n_readers)
		return;
	/* What has been left to be sent so far need not wait for these: who gets it works meanwhile.
	 * (Nothing else depends on it: who is read here has nothing to be sent, or sees to it.) */
	batch_flush(pool);
	batch.running = true;
	for (unsigned i = 0; i < batch.n_readers; i++) {
		struct conn *c = batch.readers[i];
		if (!c)
			continue;
		if (!c->armed_read) { /* what is there is told when it is switched on again */
			c->reader = 0;
			continue;
		}
		ops[n] = (struct ring_op){ .fd = c->fd,
					   .bytes = batch.buffers + n * batch.buffer_bytes,
					   .n = (uint32_t)batch.buffer_bytes };
		of[n++] = i;
	}
	if (n > 1)
		ring_run(ops, n);
	for (unsigned k = 0; k < n; k++)
		tell(of[k], n > 1 ? &ops[k] : NULL, scratch);
	batch.n_readers = 0;
	batch.running = false;
}

bool batch_take(struct conn *c, ssize_t *ret_n)
{
	if (LIKELY(batch.reading != c))
		return false;
	batch.reading = NULL;
	*ret_n = batch.read_result;
	return true;
}

/* ---- sending ---- */

bool batch_send(struct conn *c, const struct iovec *iov, int n_iov, size_t total,
		_Atomic uint64_t *counter)
{
	if (!ring_on() || total > BATCH_SEND_BYTES || c->sender || batch.n_sends == RING_OPS)
		return false;
	char *bytes = batch.bytes + batch.n_sends * BATCH_SEND_BYTES, *p = bytes;
	for (int i = 0; i < n_iov; i++) {
		memcpy(p, iov[i].iov_base, iov[i].iov_len);
		p += iov[i].iov_len;
	}
	batch.sends[batch.n_sends] =
		(struct ring_op){ .fd = c->fd, .send = true, .bytes = bytes, .n = (uint32_t)total };
	batch.senders[batch.n_sends] = c;
	batch.counters[batch.n_sends] = counter;
	c->sender = (uint8_t)++batch.n_sends;
	return true;
}

void batch_flush(struct block_pool *pool)
{
	unsigned n = batch.n_sends;

	ring_run(batch.sends, n);
	batch.n_sends = 0;
	for (unsigned i = 0; i < n; i++) {
		const struct ring_op *op = &batch.sends[i];
		uint32_t sent = (uint32_t)MAX(op->result, 0);
		batch.senders[i]->sender = 0;
		if (batch.counters[i])
			tally_raise(batch.counters[i], sent);
		if (UNLIKELY(sent < op->n))
			conn_unsent(batch.senders[i], pool,
				    (struct slice){ op->bytes + sent, op->n - sent }, sent == 0);
	}
}

void batch_leave(struct conn *c, struct block_pool *pool)
{
	if (c->reader)
		batch.readers[c->reader - 1] = NULL;
	c->reader = 0;
	if (c->sender)
		batch_flush(pool);
}
