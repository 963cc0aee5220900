"""Clients and workers at their worst: more, smaller, longer or emptier than anybody
would send.  Each is served or refused; nobody else suffers, and nothing grows."""
import socket
import threading
import time

import pytest

import procs
from drover import SANITIZED
from wire import Closed, WireError, request_bytes

GREW_KIB = 1024 + (4 * 1024 if SANITIZED else 0)


def growth(drover, before):
	return sum(procs.memory_kib(p) for p in drover.balancers()) - before


def memory(drover):
	return growth(drover, 0)


@pytest.mark.both
def test_large_head_in_small_pieces(drover, peer):
	"""64 KiB, some bytes at a time: looking at them again and again would take long."""
	p = peer()
	drover.start(drover.config({'servers': [p.server]}, limits={'head': '64KiB', 'headers': 100}))
	head = request_bytes(target='/instance', headers=[(f'X-{i}', 'v' * 800) for i in range(79)])
	assert 62000 < len(head) < 65536
	balancer, = drover.balancers()
	before = procs.cpu_seconds(balancer)
	pieces = 0
	with drover.connect() as c:
		for size in (7, 100):
			for at in range(0, len(head), size):
				c.send(head[at:at + size])
				pieces += 1
			assert c.reply().status == 200
	each = (procs.cpu_seconds(balancer) - before) / pieces
	assert each < (400e-6 if SANITIZED else 40e-6), f'{each * 1e6:.1f} us for each of {pieces} pieces'


def test_body_of_tiny_chunks(running):
	"""A byte in each: passed on, or refused as too much overhead; the next client is served."""
	n = 100_000
	with running.connect() as c:
		c.send(request_bytes('POST', '/sink', (('Transfer-Encoding', 'chunked'),)))
		try:
			for _ in range(n // 1000):
				c.send(b'1\r\nx\r\n' * 1000)
			c.send(b'0\r\n\r\n')
		except OSError:
			pass  # refused before the end
		r = c.reply()
	assert (r.status == 200 and str(n) in r.text) or 400 <= r.status < 500, r
	assert running.get('/instance').status == 200


def test_thousands_of_pipelined_requests(running):
	"""Each reply in its place, whatever the client reads when."""
	n = 3000
	with running.connect() as c:
		def send():
			for i in range(n):
				c.request('POST', '/echo', body=b'%d' % i)
		sender = threading.Thread(target=send, daemon=True)
		sender.start()
		time.sleep(0.3)  # the reader is late: all queues on the way fill
		for i in range(n):
			r = c.reply()
			assert (r.status, r.text) == (200, str(i)), r
		sender.join(10)
		assert not sender.is_alive()


def test_endless_reply_to_a_client_that_reads_nothing(drover):
	drover.start(drover.config(timeouts={'idle': '1s'}))
	balancer, = drover.balancers()
	before = memory(drover)
	with drover.connect(receive_buffer=4096) as c:
		c.request(target='/huge?bytes=1000000000000')
		drover.wait(lambda: b'200' in c.sock.recv(12, socket.MSG_PEEK), 'the reply begins')
		assert procs.cpu_share(balancer, 0.5) < (0.1 if SANITIZED else 0.02), 'it spins'
		assert growth(drover, before) < GREW_KIB
		counters = lambda: procs.counters(drover.pid, balancer)
		drover.wait(lambda: not counters()['requests_in_flight'], 'it is given up')
		with pytest.raises(WireError):
			c.reply()
	assert drover.get('/instance').status == 200


@pytest.mark.both
def test_interim_replies_without_end(drover, peer):
	"""From a worker that never comes to its point: 502, or 504 when its time is up."""
	def script(c, r):
		if r.target != '/':
			while True:
				c.send(b'HTTP/1.1 102 Processing\r\n\r\n' * 100)
		c.send(b'HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n')
	p = peer(script)
	drover.start(drover.config({'servers': [p.server]}, timeouts={'response': '1s'}))
	before = memory(drover)
	for reads in (True, False):
		with drover.connect(receive_buffer=4096) as c:
			c.request(target='/for-ever')
			if not reads:
				balancer, = drover.balancers()
				drover.wait(lambda: not procs.counters(drover.pid, balancer)['requests_in_flight'], 'it is ended')
			r = c.reply()
			assert r.status in (502, 504), r
			assert drover.get().status == 200
	assert growth(drover, before) < GREW_KIB


@pytest.mark.both
def test_a_thousand_tunnels(drover):
	n = 1000
	drover.start(drover.config({'connections': {'idle_timeout': '200ms'}}))
	balancer, = drover.balancers()
	before = memory(drover)
	upgrade = request_bytes(target='/upgrade', headers=(('Connection', 'upgrade'), ('Upgrade', 'echo')))
	tunnels = [drover.connect() for _ in range(n)]
	for c in tunnels:
		c.send(upgrade)
	for c in tunnels:
		assert c.head().status == 101
	for _ in range(3):
		for i, c in enumerate(tunnels):
			c.send(b'%06d' % i)
		for i, c in enumerate(tunnels):
			assert c.read_exactly(6) == b'%06d' % i
	each = growth(drover, before) * 1024 / n
	assert each < (16384 if SANITIZED else 4096), f'{each:.0f} bytes each'
	assert procs.counters(drover.pid, balancer)['tunnels_open'] == n
	for i, c in enumerate(tunnels):
		(c.close, c.reset, c.shut_write)[i % 3]()
	drover.wait(lambda: not procs.counters(drover.pid, balancer)['tunnels_open'], 'all tunnels end')
	kinds = lambda: procs.descriptor_kinds(balancer, {drover.port})
	drover.wait(lambda: not any('connection' in k for k in kinds()), lambda: f'both sides of each: {kinds()}')


def test_half_closed_clients(running):
	"""Who has asked and ended its side gets its answers, however many."""
	clients = [running.connect() for _ in range(300)]
	for i, c in enumerate(clients):
		for n in range(1 + i % 3):
			c.request('POST', '/echo', body=b'%d.%d' % (i, n))
		c.shut_write()
	for i, c in enumerate(clients):
		for n in range(1 + i % 3):
			assert c.reply().text == f'{i}.{n}'
		assert c.closed_within(5)


@pytest.mark.parametrize('length', [(), (('Content-Length', '0'),)], ids=['none', 'zero'])
def test_expectation_without_a_body(running, length):
	"""RFC 9110 10.1.1: a client must not; what follows is not taken for a body."""
	with running.connect() as c:
		for i in range(50):
			c.request(('GET', 'POST')[i % 2], '/headers', (('Expect', '100-continue'), *length))
			r = c.reply()
			assert r.status == 200 and len(r.interim) <= 1, r


def test_expectation_and_silence(drover):
	"""The body is never sent: 408, and nothing is held."""
	drover.start(drover.config(timeouts={'body': '500ms'}))
	clients = [drover.connect() for _ in range(100)]
	for c in clients:
		c.send(request_bytes('POST', '/sink', (('Expect', '100-continue'), ('Content-Length', '5'))))
	for c in clients:
		assert c.reply().status == 408
		assert c.closed_within(5)


def test_versions_mixed_on_one_connection(running):
	keep = (('Connection', 'keep-alive'),)
	with running.connect() as c:
		for i in range(300):
			c.send(request_bytes('POST', '/echo', keep, b'%d' % i, version=f'HTTP/1.{i % 2}'))
		for i in range(300):
			r = c.reply()
			assert r.text == str(i) and not r.closes, r
		c.send(request_bytes(target='/huge?bytes=70000&chunked=1', headers=keep, version='HTTP/1.0') + request_bytes())
		r = c.reply()
		assert len(r.body) == 70000 and r.by_close and not r.chunked, 'RFC 9112 7.1: no chunks for 1.0'
		with pytest.raises(Closed):
			c.reply()


def test_connections_that_come_and_go(running, steady):
	"""As fast as they can be made, ended by FIN or RST at once, beside one who asks."""
	balancer, = running.balancers()
	before = memory(running)
	asking = steady(('127.0.0.1', running.port), target='/instance', threads=1)
	n, end = 0, time.monotonic() + 1
	while time.monotonic() < end:
		with socket.socket() as s:
			s.connect(('127.0.0.1', running.port))
			if n % 2:
				s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b'\1\0\0\0\0\0\0\0')
			if n % 3:
				s.send(b'GET / HTTP/1.1\r\n'[:n % 16])
		n += 1
	asking.stop()
	assert not asking.failures and len(asking.replies) > 20, (len(asking.replies), asking.failures[:3])
	running.wait(lambda: procs.counters(running.pid, balancer)['connections_open'] == 0, 'all are gone')
	assert n > 500
	assert growth(running, before) < GREW_KIB
	assert len(running.log()) < 20000, 'one client fills the log'
