/* An upgraded connection.  Runs in the balancer; see tunnel.h. */
#include "balancer/proxy/tunnel.h"

#include "balancer/proxy/request.h"

/* A client that has ended gets what the worker is still sending; an application
 * that overlooks the end (a raw socket in Node does, unless it listens for it) must
 * not keep the tunnel, and with it every drain of its worker, for an hour. */
void tunnel_touch(struct request *r)
{
	struct client *c = r->client;
	deadline_start(&c->deadline, c->eof ? &r->proxy->linger_wait : &r->proxy->tunnel_wait);
}

/* The master lets a worker that has only tunnels left wait beside its successors. */
static void count(struct request *r, uint32_t change)
{
	_Atomic uint32_t *n = &r->proxy->row->workers[r->upstream->slot].tunnels;
	atomic_store_explicit(n, atomic_load_explicit(n, memory_order_relaxed) + change,
			      memory_order_relaxed);
}

void tunnel_begin(struct request *r)
{
	tally_inc(r->proxy->row, COUNTER_tunnels_open);
	count(r, 1);
}

void tunnel_end(struct request *r)
{
	tally_dec(r->proxy->row, COUNTER_tunnels_open);
	count(r, UINT32_MAX); /* one less */
}

void tunnel_start(struct request *r, char *rest, size_t n_rest)
{
	struct proxy *p = r->proxy;
	struct client *c = r->client;
	struct http_out o = { p->out, p->out + OUT_BYTES, false };
	tunnel_begin(r);
	rewrite_reply(r, &p->reply_head, &o);
	deadline_stop(&r->upstream->deadline);
	struct iovec iov[2] = { { p->out, (size_t)(o.p - p->out) }, { rest, n_rest } };
	if (o.full || client_write(c, iov, n_rest ? 2 : 1) != ERR_OK) {
		request_on_client_gone(r);
		return;
	}
	r->bytes_out += n_rest;
	tunnel_touch(r);
	if (!chain_empty(&c->conn.out))
		upstream_read_off(r->upstream);
	/* What the client sent ahead of the 101 is the worker's too. */
	struct block *early = c->input;
	c->input = NULL;
	if (early) {
		tunnel_from_client(r, early->bytes + early->start, block_used(early));
		block_give_back(&p->blocks, early);
		if (c->state != CLIENT_REQUEST)
			return;
	}
	if (c->eof)
		tunnel_on_client_end(r);
	else if (chain_empty(&r->upstream->conn.out))
		client_read_on(c);
}

/* Passes on the FINs whose bytes are all out; ends when both have gone.  A worker
 * that takes no more bytes has heard all it will hear from the client. */
void tunnel_settle(struct request *r)
{
	struct client *c = r->client;
	struct upstream *up = r->upstream;
	if ((c->eof || up->conn.broken) && !r->client_ended && chain_empty(&up->conn.out)) {
		r->client_ended = true;
		conn_end_writing(&up->conn, &r->proxy->blocks);
	}
	if (r->worker_ended && chain_empty(&c->conn.out)) {
		if (r->client_ended) {
			request_finish_tunnel(r);
			return;
		}
		conn_end_writing(&c->conn, &r->proxy->blocks);
	}
}

void tunnel_from_client(struct request *r, char *p, size_t n)
{
	struct upstream *up = r->upstream;
	struct iovec iov = { p, n };
	tunnel_touch(r);
	enum err e = conn_write(&up->conn, &r->proxy->blocks, &iov, 1, NULL);
	if (e != ERR_OK && e != ERR_CLOSED) {
		request_finish_tunnel(r);
		return;
	}
	if (e == ERR_CLOSED || !chain_empty(&up->conn.out))
		client_read_off(r->client);
	if (e == ERR_CLOSED) /* what it said before may still be there to be read */
		tunnel_settle(r);
}

void tunnel_from_worker(struct request *r, char *p, size_t n)
{
	struct client *c = r->client;
	struct iovec iov = { p, n };
	tunnel_touch(r);
	r->bytes_out += n;
	enum err e = client_write(c, &iov, 1);
	if (e != ERR_OK)
		request_finish_tunnel(r);
	else if (!chain_empty(&c->conn.out))
		upstream_read_off(r->upstream);
}

void tunnel_on_client_drained(struct request *r)
{
	if (!r->worker_ended)
		upstream_read_on(r->upstream);
	tunnel_settle(r);
}

void tunnel_on_worker_drained(struct request *r)
{
	if (!r->client->eof)
		client_read_on(r->client);
	tunnel_settle(r);
}

void tunnel_on_client_end(struct request *r)
{
	tunnel_touch(r);
	tunnel_settle(r);
}

void tunnel_on_worker_end(struct request *r, enum err why)
{
	if (why != ERR_CLOSED) { /* reset: nothing more will pass either way */
		request_cut(r);
		return;
	}
	r->worker_ended = true;
	upstream_read_off(r->upstream);
	tunnel_settle(r);
}

static void end_if_to(struct client *c, void *slot)
{
	struct request *r = c->request;
	if (r && r->state == REQ_TUNNEL && r->upstream->slot == *(const uint16_t *)slot)
		request_close_tunnel(r);
}

void tunnels_end(struct proxy *p, uint16_t slot)
{
	if (atomic_load_explicit(&p->row->counters[COUNTER_tunnels_open], memory_order_relaxed) == 0)
		return; /* spares the walk */
	clients_each(p, end_if_to, &slot);
}
