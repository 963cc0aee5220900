"""Big bodies, both ways and both framings, past slow ends: whole, and in bounded memory."""
import hashlib
import threading
import time

import pytest

import procs
from drover import SANITIZED
from peers import ok
from wire import request_bytes

MIB = 1 << 20
SIZE = 64 * MIB
BLOCK = hashlib.sha256(b'seed').digest() * 2048  # 64 KiB
SUM = hashlib.sha256(BLOCK * (SIZE // len(BLOCK))).hexdigest()
# A sanitizer keeps freed memory aside for a while; the release build is measured too.
ALLOWED_KIB = 1024 + (8 * 1024 if SANITIZED else 0)


pytestmark = pytest.mark.both


class Memory:
	"""The most that the balancers together grew by, sampled while a test runs."""

	def __init__(self, drover):
		self.pids = drover.balancers()
		self.before = self.now()
		self.most = 0
		self.stopping = threading.Event()
		self.thread = threading.Thread(target=self._sample, daemon=True)

	def now(self):
		return sum(procs.memory_kib(p) for p in self.pids)

	def _sample(self):
		while not self.stopping.wait(0.05):
			self.most = max(self.most, self.now() - self.before)

	def __enter__(self):
		self.thread.start()
		return self

	def __exit__(self, *failed):
		self.stopping.set()
		self.thread.join()
		self.most = max(self.most, self.now() - self.before)
		if not any(failed):
			assert self.most < ALLOWED_KIB, f'grew by {self.most} KiB'


def pour(connection, chunked, pause_every=0, pause=0.0):
	"""Sends SIZE bytes of body.  `pause_every` bytes it rests."""
	since = 0
	for _ in range(SIZE // len(BLOCK)):
		connection.send(b'%x\r\n%s\r\n' % (len(BLOCK), BLOCK) if chunked else BLOCK)
		since += len(BLOCK)
		if pause_every and since >= pause_every:
			time.sleep(pause)
			since = 0
	if chunked:
		connection.send(b'0\r\n\r\n')


def drain(pieces, pause_every=0, pause=0.0):
	"""Digest of a body, read with rests."""
	digest, total, since = hashlib.sha256(), 0, 0
	for data in pieces:
		digest.update(data)
		total += len(data)
		since += len(data)
		if pause_every and since >= pause_every:
			time.sleep(pause)
			since = 0
	assert total == SIZE
	return digest.hexdigest()


def framing(chunked):
	return b'Transfer-Encoding: chunked\r\n' if chunked else b'Content-Length: %d\r\n' % SIZE


SLOW = {'pause_every': 4 * MIB, 'pause': 0.1}  # 1.6 s in all
ways = pytest.mark.parametrize('chunked', [False, True], ids=['length', 'chunked'])
paces = pytest.mark.parametrize('source, sink', [({}, {}), (SLOW, {}), ({}, SLOW)],
				ids=['fast', 'slow-writer', 'slow-reader'])


def answer_requests(drover, peer, on_connect):
	p = peer(on_connect=on_connect)
	drover.start(drover.config({'servers': [p.server]}))
	return p


@ways
@paces
def test_download(drover, peer, chunked, source, sink):
	def worker(c):
		while r := c.request():
			if r.target == '/big':
				c.send(b'HTTP/1.1 200 OK\r\n' + framing(chunked) + b'\r\n')
				pour(c, chunked, **source)
			else:
				c.send(ok())
	answer_requests(drover, peer, worker)
	with Memory(drover), drover.connect(timeout=60, receive_buffer=65536) as c:
		c.request(target='/big')
		r = c.head()
		assert drain(c.body(r), **sink) == SUM
		assert r.chunked == chunked
		assert c.ask().status == 200


@ways
@paces
def test_upload(drover, peer, chunked, source, sink):
	sums = []

	def worker(c):
		while r := c.request(with_body=False):
			if r.target == '/big':
				sums.append(drain(c.chunks() if r.get('Transfer-Encoding') else c.exactly(int(r.get('Content-Length'))),
						  **sink))
			c.send(ok())
	answer_requests(drover, peer, worker)
	with Memory(drover), drover.connect(timeout=60) as c:
		c.send(b'POST /big HTTP/1.1\r\nHost: x\r\n' + framing(chunked) + b'\r\n')
		pour(c, chunked, **source)
		assert c.reply().status == 200
		assert sums == [SUM]
		assert c.ask().status == 200


def test_both_ways_at_once(drover):
	"""The bundled worker echoes: backpressure must not become a deadlock."""
	drover.start()
	with Memory(drover), drover.connect(timeout=60) as c:
		c.send(b'POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n')
		writer = threading.Thread(target=pour, args=(c, True), daemon=True)
		writer.start()
		assert drain(c.body(c.head()), **SLOW) == SUM
		writer.join(30)


def test_bundled_worker_big_replies(running):
	for chunked in '01':
		with running.connect(timeout=60) as c:
			c.request(target=f'/huge?bytes={SIZE}&chunked={chunked}')
			assert sum(map(len, c.body(c.head()))) == SIZE


def test_stalled_readers_cost_little(drover):
	"""Forty clients that ask for much and read nothing."""
	drover.start()
	count = 40
	held = []
	before = sum(map(procs.memory_kib, drover.balancers()))
	for _ in range(count):
		c = drover.connect(receive_buffer=4096)
		c.request(target=f'/huge?bytes={SIZE}&chunked=0')
		held.append(c)
	for c in held:
		c.head()
	def calm():
		a = sum(map(procs.memory_kib, drover.balancers()))
		time.sleep(0.2)
		# Not to the page: what others share with it counts by halves and thirds.
		return abs(sum(map(procs.memory_kib, drover.balancers())) - a) < count
	drover.wait(calm, 'the balancer holds still')
	grown = sum(map(procs.memory_kib, drover.balancers())) - before
	assert grown < count * 1024, f'{grown} KiB for {count} connections'
	assert drover.get('/instance').status == 200
	drover.close_clients()


def test_client_that_leaves_in_mid_body(running):
	for _ in range(5):
		c = running.connect(receive_buffer=65536)
		c.request(target=f'/huge?bytes={SIZE}&chunked=1')
		c.head()
		c.reset()
		c = running.connect()
		c.send(request_bytes('POST', '/sink', (('Content-Length', str(SIZE)),)) + BLOCK)
		c.close()
	assert running.get('/instance').status == 200
