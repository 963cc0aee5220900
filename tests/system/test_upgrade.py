"""Upgrade: after 101 the connection is a pair of pipes, whatever flows."""
import hashlib
import threading
import time

from peers import ok
from wire import request_bytes

ASK = (('Connection', 'Upgrade'), ('Upgrade', 'websocket'), ('Sec-WebSocket-Key', 'dGhlIHNhbXBsZSBub25jZQ=='),
       ('Sec-WebSocket-Version', '13'))
SWITCH = (b'HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n'
	  b'Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n')


def tunnel(drover, peer, inside, **top):
	"""A drover in front of a peer that accepts upgrades and then runs inside(connection)."""
	def script(c, r):
		if (r.get('Upgrade') or '').lower() != 'websocket':
			c.send(ok())
			return True
		c.send(SWITCH)
		inside(c)
		return False
	p = peer(script)
	drover.start(drover.config({'servers': [p.server]}, **top))
	return p


def open_tunnel(drover, early=b''):
	c = drover.connect(timeout=30)
	c.send(request_bytes(headers=ASK) + early)
	r = c.head()
	assert r.status == 101 and r.get('Upgrade') == 'websocket', r
	assert 'upgrade' in r.get('Connection').lower()
	assert r.get('Sec-WebSocket-Accept') == 's3pPLMBiTxaQ9kYGzzhZRbK+xOo='
	return c


def echo(c):
	while data := c.read_some():
		c.send(data)


def test_upgrade_headers_reach_the_worker(drover, peer):
	p = tunnel(drover, peer, echo)
	open_tunnel(drover)
	r = p.requests[-1]
	assert r.get('Upgrade') == 'websocket' and 'upgrade' in r.get('Connection').lower()
	assert r.get('Sec-WebSocket-Key') == 'dGhlIHNhbXBsZSBub25jZQ=='


def test_bytes_flow_both_ways(drover, peer):
	tunnel(drover, peer, echo)
	c = open_tunnel(drover, early=b'sent with the head')
	assert c.read_exactly(18) == b'sent with the head'
	for i in range(50):
		c.send(b'ping %d' % i)
		assert c.read_exactly(len(b'ping %d' % i)) == b'ping %d' % i


def test_bytes_that_come_with_the_101(drover, peer):
	p = peer(lambda c, r: (c.send(SWITCH + b'hello first'), echo(c), False)[-1] if r.get('Upgrade') else c.send(ok()))
	drover.start(drover.config({'servers': [p.server]}))
	c = open_tunnel(drover)
	assert c.read_exactly(11) == b'hello first'
	c.send(b'x')
	assert c.read_exactly(1) == b'x'


def test_half_close_from_the_client(drover, peer):
	"""The client says it is done; what the worker still says arrives."""
	def inside(c):
		got = c.read_all()
		c.send(b'got %d, and then more' % len(got))
	tunnel(drover, peer, inside)
	c = open_tunnel(drover)
	c.send(b'x' * 1000)
	c.shut_write()
	assert c.read_all() == b'got 1000, and then more'


def test_half_close_from_the_worker(drover, peer):
	got = []

	def inside(c):
		c.send(b'bye')
		c.shut_write()
		got.append(c.read_all())
	tunnel(drover, peer, inside)
	c = open_tunnel(drover)
	assert c.read_all() == b'bye'
	c.send(b'still here')
	c.shut_write()
	drover.wait(lambda: got, 'the worker sees the end')
	assert got == [b'still here']


def test_reset_crosses_the_tunnel(drover, peer):
	ended = []

	def inside(c):
		ended.append(c.closed_within(10))
	tunnel(drover, peer, inside)
	c = open_tunnel(drover)
	c.reset()
	drover.wait(lambda: ended == [True], 'the worker sees the end')


def test_big_data_both_ways_at_once(drover, peer):
	size = 16 << 20
	block = bytes(range(256)) * 256

	def pour(c):
		for _ in range(size // len(block)):
			c.send(block)
		c.shut_write()
	sums = []

	def inside(c):
		writer = threading.Thread(target=pour, args=(c,))
		writer.start()
		digest, n = hashlib.sha256(), 0
		while data := c.read_some():
			digest.update(data)
			n += len(data)
		sums.append((n, digest.hexdigest()))
		writer.join(60)
	tunnel(drover, peer, inside)
	c = open_tunnel(drover)
	writer = threading.Thread(target=pour, args=(c,))
	writer.start()
	digest, n = hashlib.sha256(), 0
	while data := c.read_some():
		digest.update(data)
		n += len(data)
	writer.join(60)
	expected = (size, hashlib.sha256(block * (size // len(block))).hexdigest())
	assert (n, digest.hexdigest()) == expected
	drover.wait(lambda: sums, 'the worker has read all')
	assert sums == [expected]


def test_refused_upgrade_is_a_plain_reply(drover, peer):
	p = peer(lambda c, r: c.send(b'HTTP/1.1 426 Upgrade Required\r\nUpgrade: h9\r\nContent-Length: 2\r\n\r\nno'))
	drover.start(drover.config({'servers': [p.server]}))
	with drover.connect() as c:
		for _ in range(2):
			r = c.ask(headers=ASK)
			assert (r.status, r.body) == (426, b'no')


def test_upgrade_without_the_connection_option_is_not_one(drover, peer):
	p = peer()
	drover.start(drover.config({'servers': [p.server]}))
	assert drover.get(headers=(('Upgrade', 'websocket'),)).status == 200
	assert p.requests[-1].get('Upgrade') is None


def test_silent_tunnel_ends(drover, peer):
	tunnel(drover, peer, echo, timeouts={'tunnel': '500ms'})
	c = open_tunnel(drover)
	started = time.monotonic()
	for _ in range(4):
		time.sleep(0.2)
		c.send(b'x')
		assert c.read_exactly(1) == b'x', 'traffic keeps it open'
	assert c.closed_within(5)
	assert time.monotonic() - started > 1


def test_tunnel_is_not_cut_by_request_timeouts(drover, peer):
	tunnel(drover, peer, echo, timeouts={'idle': '300ms', 'response': '300ms', 'body': '300ms', 'head': '300ms'})
	c = open_tunnel(drover)
	assert c.silent_for(1)
	c.send(b'x')
	assert c.read_exactly(1) == b'x'


def test_bundled_worker_upgrades(running):
	c = running.connect()
	c.request(target='/upgrade', headers=(('Connection', 'upgrade'), ('Upgrade', 'echo')))
	assert c.head().status == 101
	c.send(b'around')
	assert c.read_exactly(6) == b'around'
