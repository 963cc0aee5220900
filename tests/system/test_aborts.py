"""Clients that go away at every byte of a request and of its reply, workers that go
away at every byte of a reply, by FIN and by RST, while others are served.

What is asked of each: a client never takes a cut reply for a whole one, never gets the
reply to another request; a worker never takes a cut request for a whole one, never gets
a POST twice.  At the end nothing is held: no connection, no gauge, no memory.

DROVER_SOAK=N runs every case N times; by default one case in STRIDE is run once."""
import itertools
import os
import random
import threading
import time
from collections import Counter

import pytest

import procs
from drover import SANITIZED
from peers import Peer
from wire import Closed, Truncated, WireError, request_bytes

ROUNDS = int(os.environ.get('DROVER_SOAK') or 0)
STRIDE = 7
THREADS = 4
GAUGES = ('connections_open', 'connections_idle', 'requests_in_flight', 'requests_queued', 'tunnels_open')

# Replies to request %s; at each of their bytes the worker goes away.
BODY = b'0123456789'
LENGTH = b'HTTP/1.1 200 OK\r\nX-Id: %s\r\nContent-Length: 10\r\n\r\n' + BODY
CHUNKED = b'HTTP/1.1 200 OK\r\nX-Id: %s\r\nTransfer-Encoding: chunked\r\n\r\n4\r\n0123\r\n00006;x=y\r\n456789\r\n0\r\n\r\n'
CLOSING = b'HTTP/1.1 200 OK\r\nX-Id: %s\r\n\r\n' + BODY
INTERIM = b'HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n' + LENGTH
LARGE_BODY = BODY * 20000
LARGE = b'HTTP/1.1 200 OK\r\nX-Id: %s\r\nContent-Length: 200000\r\n\r\n' + LARGE_BODY
REPLIES = {'length': LENGTH, 'chunked': CHUNKED, 'closing': CLOSING, 'interim': INTERIM, 'large': LARGE}
ID_BYTES = 8


class Case:
	"""One abort.  `cut`: so many bytes are sent (or read) before the end."""

	ids = itertools.count(1)

	def __init__(self, **what):
		self.__dict__.update(what)
		self.what = what

	def begin(self):
		"""The same with an id of its own."""
		case = Case(**self.what)
		case.id = f'{next(Case.ids):0{ID_BYTES}d}'
		return case

	def __repr__(self):
		return ' '.join(f'{k}={v}' for k, v in self.__dict__.items() if k != 'what')


class Worker(Peer):
	"""Does to each request what its X-Do says, as often as it says, and counts deliveries."""

	deliveries = Counter()

	def __init__(self):
		super().__init__(self.answer)

	def answer(self, connection, request):
		number = request.get('X-Id', '0' * ID_BYTES)
		with self.lock:
			self.requests.clear()  # they would be the memory that grows
			Worker.deliveries[number] += 1
		kind, cut, how, times = request.get('X-Do', 'length,all,keep,9').split(',')
		raw = REPLIES[kind] % number.encode()
		if Worker.deliveries[number] > int(times):
			raw, cut, how = LENGTH % number.encode(), 'all', 'keep'
		if how == 'wait':
			time.sleep(0.003)  # the client goes meanwhile
		connection.send(raw if cut == 'all' else raw[:int(cut)])
		if how == 'reset':
			connection.reset()
		return how in ('keep', 'wait') and kind != 'closing'


class Sides:
	"""A drover before two such workers, and what came out of all cases."""

	def __init__(self, drover):
		self.drover, self.workers, self.faults = drover, [Worker(), Worker()], []
		self.unlucky = 0
		drover.cleanups.append(self.close)
		drover.start(drover.config({'servers': [w.server for w in self.workers], 'connections': {'idle_timeout': '200ms'}}))
		self.balancer, = drover.balancers()
		Worker.deliveries.clear()

	def close(self):
		for w in self.workers:
			w.close()

	def run(self, cases, play):
		"""All cases, on a few threads; memory must not grow from one half to the other."""
		if ROUNDS:
			cases = cases * ROUNDS
			random.Random(1).shuffle(cases)
		else:
			cases = cases[::STRIDE]
		half = len(cases) // 2
		self.halves = []
		for part in (cases[:half], cases[half:]):
			left = iter(part)
			threads = [threading.Thread(target=self.thread, args=(left, play), daemon=True) for _ in range(THREADS)]
			for t in threads:
				t.start()
			for t in threads:
				t.join()
			assert not self.faults, f'{len(self.faults)} of {len(cases)}:\n' + '\n'.join(self.faults[:20])
			self.nothing_is_held()
			self.halves.append(procs.memory_kib(self.balancer))
		first, second = self.halves
		assert self.unlucky <= 2 + len(cases) / 200, f'{self.unlucky} POSTs met a connection that ended'
		print(f'{len(cases)} cases; {self.unlucky} unlucky; memory {first} -> {second} KiB')
		assert second - first < (3072 if SANITIZED else 256), f'memory grows: {first} -> {second} KiB'
		for w in self.workers:
			w.check()

	lock = threading.Lock()

	def thread(self, cases, play):
		witness = None
		while True:
			with self.lock:
				case = next(cases, None)
			if case is None:
				break
			case = case.begin()
			try:
				play(self, case)
				witness = witness or self.drover.connect()
				self.own_reply(witness)
			except (WireError, OSError, AssertionError) as e:
				self.faults.append(f'{case}: {type(e).__name__} {e}')
				witness = None

	def own_reply(self, client):
		"""An ordinary request gets its own reply."""
		case = Case().begin()
		r = client.ask(target=f'/{case.id}', headers=(('X-Id', case.id),))
		Worker.deliveries.pop(case.id)
		assert (r.status, r.get('X-Id'), r.body) == (200, case.id, BODY), f'then: {case}: {r}'

	def nothing_is_held(self):
		self.drover.close_clients()
		kinds = lambda: procs.descriptor_kinds(self.balancer, {self.drover.port})
		self.drover.wait(lambda: not any('connection' in k for k in kinds()), lambda: f'connections end: {kinds()}')
		gauges = lambda: {k: v for k, v in procs.counters(self.drover.pid, self.balancer).items() if k in GAUGES}
		assert len(gauges()) == len(GAUGES)
		self.drover.wait(lambda: not any(gauges().values()), lambda: f'gauges return to zero: {gauges()}')


@pytest.fixture
def sides(drover):
	return Sides(drover)


# Workers

def worker_cases():
	for kind, raw in REPLIES.items():
		size = len(raw % (b'0' * ID_BYTES))
		places = range(0, size, 4099) if kind == 'large' else range(size + 1)
		for cut, how, method, times in itertools.product(places, ('end', 'reset'), ('GET', 'POST'), (1, 9)):
			yield Case(kind=kind, cut=cut, how=how, method=method, times=times)


def came(client, method='GET'):
	"""('whole', reply), or ('cut', what came of its head)."""
	try:
		return 'whole', client.reply(method)
	except Closed:
		return 'cut', None
	except Truncated as e:
		# The parser reports what is malformed, or does not come, by the same exception.
		assert str(e).startswith(('ended', 'the connection was closed')), e
		return 'cut', e.reply


def allowed_after_worker_abort(case):
	"""What the client may see, as 'whole 502' and the like."""
	raw = REPLIES[case.kind] % case.id.encode()
	head = raw.index(b'\r\n\r\n', raw.index(b'HTTP/1.1 200')) + 4
	unanswered = {'whole 502'} if case.method == 'POST' or case.times > 1 else {'whole 200'}
	if case.cut == 0:
		return unanswered
	if case.cut == len(raw) or (case.kind == 'closing' and case.cut >= head and case.how == 'end'):
		seen = {'whole 200'}
	else:
		seen = {'cut'} if case.cut >= head else {'whole 502'}
	# A reset discards what the balancer has not read yet: it may have seen any part.
	if case.how == 'reset':
		seen |= unanswered | {'whole 502'}
		if case.cut >= head:
			seen.add('cut')
	return seen


def play_worker_abort(sides, case):
	with sides.drover.connect() as c:
		do = f'{case.kind},{case.cut},{case.how},{case.times}'
		c.request(case.method, f'/{case.id}', (('X-Id', case.id), ('X-Do', do)), b'body' if case.method == 'POST' else None)
		how, r = came(c, case.method)
		sides.drover.clients.remove(c)
		got = f'{how} {r.status}' if how == 'whole' else how
		delivered = Worker.deliveries.pop(case.id, 0)
		# A worker may end a pooled connection in the very moment in which a POST goes out
		# on it; whether it was read nobody can know (RFC 9110 9.2.2).
		if case.method == 'POST' and not delivered and got == 'whole 502':
			sides.unlucky += 1
			return
		assert got in allowed_after_worker_abort(case), f'{got}: {r}'
		assert delivered == 1 if case.method == 'POST' else 1 <= delivered <= 3, f'delivered {delivered} times'
		if how == 'cut':
			return
		if r.status == 200:
			assert r.get('X-Id') == case.id, f'the reply to another request: {r}'
			whole = LARGE_BODY if case.kind == 'large' else BODY
			if delivered == 1 and case.kind == 'closing':
				whole = whole[:len(whole) - (len(CLOSING % case.id.encode()) - case.cut)]
			assert r.body == (BODY if delivered > 1 else whole), f'body of {len(r.body)} bytes'
		assert not r.closes, r
		sides.own_reply(c)


def test_worker_goes_away_at_every_byte(sides):
	sides.run(list(worker_cases()), play_worker_abort)


def test_worker_goes_away_at_accept(sides):
	"""One of two servers ends each connection as soon as it has it."""
	for how in ('end', 'reset'):
		gone = Peer(on_connect=lambda c, how=how: c.reset() if how == 'reset' else None)
		sides.drover.cleanups.append(gone.close)
		sides.drover.reload(sides.drover.config({'servers': [sides.workers[0].server, gone.server]}))
		seen = Counter()
		for i in range(max(20, 200 * ROUNDS)):
			case = Case(how=how, method=('GET', 'POST')[i % 2]).begin()
			with sides.drover.connect() as c:
				r = c.ask(case.method, f'/{case.id}', (('X-Id', case.id),), b'body' if case.method == 'POST' else None)
			delivered = Worker.deliveries.pop(case.id, 0)
			seen[case.method, r.status] += 1
			assert r.status == 200 or (case.method, r.status, delivered) == ('POST', 502, 0), f'{case}: {r}'
			assert r.status == 502 or (delivered == 1 and r.get('X-Id') == case.id), f'{case}: {delivered} {r}'
		assert gone.connections and seen['GET', 200], seen
	sides.balancer, = sides.drover.balancers()


# Clients

def request_of(kind, case):
	fields = (('X-Id', case.id), ('X-Do', getattr(case, 'do', 'length,all,keep,9')))
	body = {'get': None, 'length': BODY, 'chunked': [BODY, b'x'], 'upload': LARGE_BODY}[kind]
	return request_bytes('GET' if kind == 'get' else 'POST', f'/{case.id}', fields, body)


HOW = ('end', 'half', 'reset')


def client_cases():
	for kind in ('get', 'length', 'chunked', 'upload'):
		size = len(request_of(kind, Case(kind=kind).begin()))
		for cut, how in itertools.product(range(0, size, 4099) if kind == 'upload' else range(size + 1), HOW):
			yield Case(phase='request', kind=kind, cut=cut, how=how)
	for kind, how in itertools.product(('get', 'length'), HOW * 20):
		yield Case(phase='waiting', kind=kind, cut=0, how=how, do='length,all,wait,9')
	for how, cut in itertools.product(HOW, range(150)):
		yield Case(phase='reply', kind='get', cut=cut, how=how)
		yield Case(phase='second reply', kind='get', cut=cut, how=how)
		yield Case(phase='chunked reply', kind='get', cut=cut, how=how, do='chunked,all,keep,9')
	for how, cut in itertools.product(HOW, range(0, len(LARGE_BODY), 2049)):
		yield Case(phase='large reply', kind='length', cut=cut, how=how, do='large,all,keep,9')


def read_up_to(client, n):
	"""The first bytes of what comes, fewer where it ends or where no more is to come."""
	got = b''
	ends = (b'\r\n\r\n' + BODY, b'0\r\n\r\n')
	while len(got) < n and not got.endswith(ends) and (more := client.read_some(n - len(got))):
		got += more
	client.buffer = got + client.buffer  # a half-closed one reads it again


def play_client_abort(sides, case):
	raw = request_of(case.kind, case)
	in_request = case.phase == 'request'
	small = 4096 if case.phase == 'large reply' else None
	with sides.drover.connect(receive_buffer=small) as c:
		sides.drover.clients.remove(c)
		if case.phase == 'second reply':
			first = case.begin()
			c.send(request_of('get', first) + raw)
			r = c.reply()
			assert (r.status, r.get('X-Id'), r.body) == (200, first.id, BODY), r
			Worker.deliveries.pop(first.id)
		else:
			c.send(raw[:case.cut] if in_request else raw)
		if not in_request:
			read_up_to(c, case.cut)
		if in_request and case.cut < len(raw):
			sides.incomplete.append(case.id)
		if case.how == 'reset':
			c.reset()
		elif case.how == 'half':
			c.shut_write()
			after_half_close(c, case, whole=not in_request or case.cut == len(raw))


def after_half_close(c, case, whole):
	"""Who has asked gets an answer; who has not, none, or is told."""
	how, r = came(c)
	if not whole:
		assert (how, r) == ('cut', None) or (r.closes and 400 <= r.status < 500), f'{how} {r}'
		return
	body = LARGE_BODY if case.phase == 'large reply' else BODY
	assert (how, r.status, r.get('X-Id'), r.body) == ('whole', 200, case.id, body), f'{how} {r}'
	assert Worker.deliveries.pop(case.id) == 1
	# A reply that was on its way before the end of the client's was known keeps the connection.
	assert c.closed_within(5)


def test_client_goes_away_at_every_byte(sides):
	sides.incomplete = []
	sides.run(list(client_cases()), play_client_abort)
	delivered = [i for i in sides.incomplete if i in Worker.deliveries]
	assert not delivered, f'the worker took cut requests for whole ones: {delivered}'
	twice = {i: n for i, n in Worker.deliveries.items() if n > 1}
	assert not twice, f'delivered more than once: {twice}'
