/* balancer/proxy/handover_take.c: of what nobody sends who means well, whatever it is, nothing is
 * left, and the channel that it came over ends. */
#include "test_handover.h"

#include "lib/send_raw.h"

/* ---- what is sent ------------------------------------------------------- */

struct hostile {
	const char *name;
	void (*spoil)(struct handover_record *r);
	const char *bytes;
};

#define SPOIL(name, ...)                                    \
	static void spoil_##name(struct handover_record *r) \
	{                                                   \
		__VA_ARGS__;                                \
	}
SPOIL(form, r->form++)
SPOIL(kind, r->kind = HANDOVER_KIND_MAX)
SPOIL(number, r->number = 9)
SPOIL(state, r->state = CLIENT_DEAD)
SPOIL(linger, r->state = CLIENT_LINGER)
SPOIL(flags, r->flags = HANDOVER_FLAG_MAX)
SPOIL(family, r->peer.sa.sa_family = AF_NETLINK)
SPOIL(no_family, r->peer.sa.sa_family = AF_UNSPEC)
SPOIL(other_family, r->peer.sa.sa_family = AF_INET)
SPOIL(listen, r->listen.len = sizeof(r->listen) + 1)
SPOIL(no_listen, r->listen.len = 0)
SPOIL(slot, r->slot = ROSTER_SLOTS)
SPOIL(big_slot, r->slot = UINT32_MAX)
SPOIL(epoch, r->epoch = 0)
SPOIL(future, r->started_us = UINT64_MAX / 2)
SPOIL(minor, r->minor = 2)
SPOIL(too_many, r->pieces[PIECE_TO_CLIENT] = UINT32_MAX)
SPOIL(overflow, r->pieces[PIECE_TO_CLIENT] = r->pieces[PIECE_TO_WORKER] = 1u << 31)
SPOIL(line, r->pieces[PIECE_LINE] = 4097)
SPOIL(fewer, r->pieces[PIECE_LINE] = 2)
SPOIL(fewer_in_all, r->pieces[PIECE_TO_CLIENT] = r->pieces[PIECE_LINE] = 1)
SPOIL(more, r->pieces[PIECE_LINE] = 40000)
SPOIL(input, r->pieces[PIECE_INPUT] = 3)
SPOIL(idle_tunnel, r->state = CLIENT_IDLE)
SPOIL(client_with_worker, r->kind = HANDOVER_CLIENT)
SPOIL(deaf, r->flags = HANDOVER_WORKER_DEAF; r->pieces[PIECE_TO_WORKER] = 3)

static const struct hostile hostile[] = {
	{ "form", spoil_form, "" },
	{ "kind", spoil_kind, "" },
	{ "number", spoil_number, "" },
	{ "state", spoil_state, "" },
	{ "linger", spoil_linger, "" },
	{ "flags", spoil_flags, "" },
	{ "family", spoil_family, "" },
	{ "no family", spoil_no_family, "" },
	{ "another's family", spoil_other_family, "" },
	{ "listen", spoil_listen, "" },
	{ "no listen", spoil_no_listen, "" },
	{ "slot", spoil_slot, "" },
	{ "big slot", spoil_big_slot, "" },
	{ "epoch", spoil_epoch, "" },
	{ "future", spoil_future, "" },
	{ "minor", spoil_minor, "" },
	{ "too many bytes", spoil_too_many, "abc" },
	{ "overflow", spoil_overflow, "" },
	{ "long line", spoil_line, "abc" },
	{ "more than said", spoil_fewer, "abc" },
	{ "more than all said", spoil_fewer_in_all, "abc" },
	{ "less than said", spoil_more, "abc" },
	{ "input of a tunnel", spoil_input, "abc" },
	{ "idle tunnel", spoil_idle_tunnel, "" },
	{ "one descriptor too many", spoil_client_with_worker, "" },
	{ "bytes for the deaf", spoil_deaf, "abc" },
};

/* The same of a connection that is no tunnel, and idle but for this. */
SPOIL(client_kind, r->kind = HANDOVER_KIND_MAX)
SPOIL(client_for_worker, r->pieces[PIECE_TO_WORKER] = 3)
SPOIL(client_line, r->pieces[PIECE_LINE] = 3)
SPOIL(client_slot, r->slot = SLOT)
SPOIL(client_epoch, r->epoch = EPOCH)
SPOIL(client_started, r->started_us = T0 - 1000)
SPOIL(client_sent, r->bytes_out = 1)
SPOIL(client_minor, r->minor = 1)
SPOIL(client_worker_ended, r->flags = HANDOVER_WORKER_ENDED)
SPOIL(client_deaf, r->flags = HANDOVER_WORKER_DEAF)
SPOIL(idle_input, r->pieces[PIECE_INPUT] = 3)
SPOIL(idle_output, r->pieces[PIECE_TO_CLIENT] = 3)
SPOIL(idle_eof, r->flags = HANDOVER_EOF)
SPOIL(head_empty, r->state = CLIENT_HEAD)
SPOIL(head_output, r->state = CLIENT_HEAD; r->pieces[PIECE_INPUT] = 2; r->pieces[PIECE_TO_CLIENT] = 1)
SPOIL(head_eof, r->state = CLIENT_HEAD; r->pieces[PIECE_INPUT] = 3; r->flags = HANDOVER_EOF)
SPOIL(last_empty, r->state = CLIENT_REQUEST)
SPOIL(last_input, r->state = CLIENT_REQUEST; r->pieces[PIECE_INPUT] = 2;
      r->pieces[PIECE_TO_CLIENT] = 1)
SPOIL(closing_empty, r->state = CLIENT_CLOSING)
SPOIL(client_linger, r->state = CLIENT_LINGER)
SPOIL(client_dead, r->state = CLIENT_DEAD)
SPOIL(client_state, r->state = UINT32_MAX)

static const struct hostile hostile_clients[] = {
	{ "of no kind", spoil_client_kind, "" },
	{ "bytes for a worker", spoil_client_for_worker, "abc" },
	{ "a line", spoil_client_line, "abc" },
	{ "a slot", spoil_client_slot, "" },
	{ "an epoch", spoil_client_epoch, "" },
	{ "a start", spoil_client_started, "" },
	{ "bytes sent", spoil_client_sent, "" },
	{ "a minor version", spoil_client_minor, "" },
	{ "a worker's end", spoil_client_worker_ended, "" },
	{ "a deaf worker", spoil_client_deaf, "" },
	{ "idle with input", spoil_idle_input, "abc" },
	{ "idle with output", spoil_idle_output, "abc" },
	{ "idle at its end", spoil_idle_eof, "" },
	{ "a head of nothing", spoil_head_empty, "" },
	{ "a head with output", spoil_head_output, "abc" },
	{ "a head at its end", spoil_head_eof, "abc" },
	{ "nothing to be sent", spoil_last_empty, "" },
	{ "a last answer and a head", spoil_last_input, "abc" },
	{ "closing, all sent", spoil_closing_empty, "" },
	{ "lingering", spoil_client_linger, "" },
	{ "dead", spoil_client_dead, "" },
	{ "of no state", spoil_client_state, "" },
};

/* ---- what becomes of it -------------------------------------------------- */

/* Past what handover_send() lets through; with the first of its descriptors. */
static void send_any(struct scene *t, const void *bytes, size_t n, size_t n_fds)
{
	int fds[2] = { t->e.client_fd, t->e.worker_fd };

	assert_int_equal(send_raw(t->channel, bytes, n, fds, n_fds), n);
}

/* The channel ends, and nothing is left of what was sent, nor of the taker. */
static void check_refused(struct scene *t, const char *name, int fds_before)
{
	enum handover_answer answer;

	close_ends(&t->e);
	turn(&t->s);
	check_row_int(name, verdict(t->channel, 1, &answer), ERR_CLOSED);
	fd_close(&t->channel);
	check_row_int(name, t->s.proxy->n_clients, 0);
	scene_stop(t);
	check_row_int(name, count_fds(), fds_before);
}

static void check_hostile(const struct hostile *h, struct handover_record r)
{
	struct scene t;
	int before = count_fds();
	char packet[sizeof(r) + 16];
	size_t n = strlen(h->bytes), n_fds = handover_n_fds(&r);

	scene_start(&t);
	h->spoil(&r);
	memcpy(packet, &r, sizeof(r));
	memcpy(packet + sizeof(r), h->bytes, n);
	send_any(&t, packet, sizeof(r) + n, n_fds);
	check_refused(&t, h->name, before);
}

static void test_hostile_records(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(hostile); i++)
		check_hostile(&hostile[i], tunnel_record(1));
	for (size_t i = 0; i < ARRAY_LEN(hostile_clients); i++)
		check_hostile(&hostile_clients[i], idle_record(1));
}

/* A tunnel's record that says how much a piece of it has, and behind it as much as one packet holds,
 * and `surplus`. */
static size_t full_packet(char *ret, enum handover_piece piece, uint32_t bytes, size_t surplus)
{
	struct handover_record r = tunnel_record(1);

	r.pieces[piece] = bytes;
	memcpy(ret, &r, sizeof(r));
	return sizeof(r) + HANDOVER_PACKET_BYTES + surplus;
}

static char packet[sizeof(struct handover_record) + HANDOVER_PACKET_BYTES + 1];

/* More than a connection can hold back, of which the first packet is good: nobody waits for the rest. */
static void test_hostile_sizes(void **state)
{
	static const enum handover_piece rows[] = { PIECE_TO_CLIENT,  PIECE_TO_WORKER,
						    PIECE_LINE,       PIECE_REFERER,
						    PIECE_USER_AGENT, PIECE_REQUEST_ID };
	struct scene t;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		int before = count_fds();
		size_t n = full_packet(packet, rows[i], BLOCK_LARGE_BYTES + 1, 0);
		scene_start(&t);
		send_any(&t, packet, n, 2);
		check_refused(&t, "size", before);
	}
}

/* The rest of a record that is longer, or shorter, than the record has said. */
static void test_hostile_rest(void **state)
{
	static const int rows[] = { -1, 1, HANDOVER_PACKET_BYTES - 10 };
	struct scene t;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		int before = count_fds();
		size_t n = full_packet(packet, PIECE_TO_CLIENT, HANDOVER_PACKET_BYTES + 10, 0);
		scene_start(&t);
		send_any(&t, packet, n, 2);
		send_any(&t, packet, (size_t)(10 + rows[i]), 0);
		check_refused(&t, "rest", before);
	}
}

/* More than any packet holds, of which the kernel gives as much as there should be. */
static void test_hostile_surplus(void **state)
{
	struct scene t;
	int before = count_fds();

	(void)state;
	scene_start(&t);
	send_any(&t, packet, full_packet(packet, PIECE_TO_CLIENT, HANDOVER_PACKET_BYTES, 1), 2);
	check_refused(&t, "surplus", before);
}

/* Less than a record, where one has to begin, is none: what would be missing of it is not made up. */
static void test_hostile_cut(void **state)
{
	static const size_t rows[] = { 1, 8, sizeof(struct handover_record) - 1 };
	static char bytes[HANDOVER_PACKET_BYTES];
	struct handover_record r = idle_record(1), got;
	int pair[2], fds[HANDOVER_FDS_MAX];
	unsigned n_fds;
	size_t n;

	(void)state;
	assert_int_equal(msg_pair(pair), ERR_OK);
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		assert_int_equal(send_raw(pair[0], &r, rows[i], NULL, 0), rows[i]);
		assert_int_equal(handover_receive(pair[1], &got, fds, &n_fds, bytes, &n),
				 ERR_PROTOCOL);
	}
	close(pair[0]);
	close(pair[1]);
}

static void test_hostile_descriptors(void **state)
{
	struct scene t;
	int blocking[2], packets[2];
	struct addr any = addr_ipv4_loopback(0);
	struct ends good = make_ends();
	struct handover_record r = tunnel_record(1);
	int null = open("/dev/null", O_RDWR | O_CLOEXEC | O_NONBLOCK), listening = -1;

	(void)state;
	assert_int_equal(fd_listen(&any, false, 1, 0, &listening), ERR_OK);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, blocking), 0);
	assert_int_equal(msg_pair(packets), ERR_OK);
	const struct {
		const char *name;
		int client, worker;
		size_t n;
	} rows[] = {
		{ "a file", null, good.worker_fd, 2 },
		{ "a file to the worker", good.client_fd, null, 2 },
		{ "one that blocks", blocking[0], good.worker_fd, 2 },
		{ "a worker's that blocks", good.client_fd, blocking[0], 2 },
		{ "one that listens", good.client_fd, listening, 2 },
		{ "one of packets", packets[0], good.worker_fd, 2 },
		{ "one too few", good.client_fd, -1, 1 },
		{ "none", -1, -1, 0 },
	};
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		int before = count_fds(), fds[2] = { rows[i].client, rows[i].worker };
		scene_start(&t);
		assert_int_equal(send_raw(t.channel, &r, sizeof(r), fds, rows[i].n), sizeof(r));
		check_refused(&t, rows[i].name, before);
	}
	close_ends(&good);
	close(null);
	close(listening);
	close(blocking[0]);
	close(blocking[1]);
	close(packets[0]);
	close(packets[1]);
}

/* With descriptors that nobody has use for then. */
static void test_hostile_cut_with_descriptors(void **state)
{
	struct scene t;
	struct handover_record r = tunnel_record(1);

	(void)state;
	for (size_t n = 0; n < sizeof(r); n += 40) {
		int before = count_fds();
		scene_start(&t);
		send_any(&t, &r, n, 2);
		check_refused(&t, "cut", before);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_hostile_records),
		cmocka_unit_test(test_hostile_sizes),
		cmocka_unit_test(test_hostile_rest),
		cmocka_unit_test(test_hostile_surplus),
		cmocka_unit_test(test_hostile_cut),
		cmocka_unit_test(test_hostile_descriptors),
		cmocka_unit_test(test_hostile_cut_with_descriptors),
	};

	log_to_fd(-1);
	return cmocka_run_group_tests(tests, boot, NULL);
}
