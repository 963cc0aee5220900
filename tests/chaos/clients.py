"""Clients of several kinds, each in a thread of its own, that check every reply.

What did not go as it should is an Incident.  A client never judges it: whether
the blow that drover was dealt at that moment excuses it is for judge.py, once
all is known.  Some things nothing excuses; these are marked `never`.
"""
import random
import socket
import threading
import time
import zlib
from dataclasses import dataclass

from wire import Client, WireError, request_bytes

# A reply that takes longer will not come.
PATIENCE = 20.0


@dataclass
class Incident:
	kind: str            # of client
	id: str
	method: str
	again: bool          # whether drover may send such a request twice: it is idempotent, and held whole
	port: int            # of the client's end of the connection; 0: it was not made
	opened: float        # monotonic times: of the connection, the request and the end
	began: float
	sent: float          # of the last byte of the request, or of the end
	ended: float
	what: str            # "status 502", or what was wrong with the connection
	status: int = 0
	pid: int = 0         # of the worker that answered, where its head came
	never: bool = False  # there is no excuse

	@property
	def client(self):
		return self.id.split('.')[1] if '.' in self.id else self.id

	def __str__(self):
		return (f'{self.kind} client: {self.method} {self.id}: {self.what}; connection from port {self.port} open for '
			f'{self.ended - self.opened:.3f} s, request for {self.ended - self.began:.3f} s'
			f'{f", answered by worker {self.pid}" if self.pid else ""}')


class Wrong(Exception):
	"""A reply came, but not the right one."""


class Crowd:
	"""All clients of one run."""

	def __init__(self, address, seed, kinds):
		self.address, self.seed = address, seed
		self.stopping = threading.Event()
		self.incidents, self.posts = [], {}  # posts: {id: pid of the worker that answered, or 0}
		self.answered = {kind.__name__: 0 for kind in kinds}
		self.lock = threading.Lock()
		self.members = [Member(self, kind, n) for n, kind in enumerate(kinds)]

	def start(self):
		for m in self.members:
			m.thread.start()

	def guest(self, kind):
		"""One more client, for one request."""
		guest = Member(self, kind, len(self.members), once=True)
		self.members.append(guest)
		self.answered.setdefault(kind.__name__, 0)
		guest.thread.start()

	def stop(self):
		self.stopping.set()
		end = time.monotonic() + 2 * PATIENCE
		for m in self.members:
			m.thread.join(max(0, end - time.monotonic()))
			if m.thread.is_alive():
				raise AssertionError(f'client {m.number} ({m.kind.__name__}) hangs')
			if m.broke:
				raise m.broke

	def take_incidents(self):
		with self.lock:
			taken, self.incidents = self.incidents, []
		return taken


class Member:
	"""One client: its connection, its random numbers, its count of ids."""

	def __init__(self, crowd, kind, number, once=False):
		self.once = once
		self.crowd, self.kind, self.number = crowd, kind, number
		self.random = random.Random(f'{crowd.seed}-client-{number}')
		self.count, self.connection, self.broke = 0, None, None
		self.thread = threading.Thread(target=self.run, daemon=True)

	@property
	def stopping(self):
		return self.crowd.stopping.is_set()

	def run(self):
		try:
			while not self.stopping:
				self.kind(self)
				if self.once:
					break
				self.crowd.stopping.wait(self.random.uniform(0, 0.02))
		except Exception as e:  # a fault of the harness: told by stop()
			self.broke = e
		finally:
			self.hang_up()

	def hang_up(self):
		if self.connection:
			self.connection.close()
			self.connection = None

	def connect(self, **options):
		if not self.connection:
			self.opened, self.port = time.monotonic(), 0
			self.connection = Client(self.crowd.address, PATIENCE, **options)
			self.port = self.connection.sock.getsockname()[1]
		return self.connection

	def exchange(self, method, target, body=None, expected=None, again=None, send=None, read=None, headers=(),
		     statuses=(200, 101), **options):
		"""One request, its reply checked.  False when it went wrong; the connection is gone then.

		`body`: the bytes that the worker shall get, however they are sent.  `expected`: of the reply; default: what
		/sum says.  `send(connection, head)` sends the rest of the request, `read(connection, reply)` the reply's body."""
		self.count += 1
		name = f'{self.crowd.seed}.{self.number}.{self.count}'
		headers = (*headers, ('X-Id', name))
		again = method not in ('POST', 'PATCH') if again is None else again
		if method == 'POST':
			self.crowd.posts[name] = 0
		began, sent, reply = time.monotonic(), 0.0, None

		def incident(what, never=False):
			head = reply or None
			self.hang_up_after(Incident(
				self.kind.__name__, name, method, again, self.port, self.opened, began, sent or time.monotonic(), time.monotonic(), str(what),
				head.status if head else 0, int(head.get('X-Pid') or 0) if head else 0, never))
		try:
			c = self.connect(**options)
			if send:
				try:
					send(c, method, target, headers)
				except OSError as e:  # an answer may have come before all of it was out
					if isinstance(e, TimeoutError):
						raise
			else:
				c.send(request_bytes(method, target, headers, body))
			sent = time.monotonic()
			reply = c.head()
			data = read(c, reply) if read else b''.join(c.body(reply, method))
		except (OSError, WireError) as e:
			late = isinstance(e, (TimeoutError, ConnectionRefusedError)) or 'nothing came within' in str(e)
			incident(f'{type(e).__name__}: {e}', never=late)
			return None
		if reply.status not in statuses:
			incident(f'status {reply.status} {reply.get("Proxy-Status")}: {data[:200]!r}',
				 never=reply.status not in (502, 504))
			return None
		if expected is None:
			expected = f'{name} {len(body or b"")} {zlib.crc32(body or b""):08x}\n'.encode()
		elif callable(expected):
			expected = expected(name)
		if reply.status < 400 and (reply.get('X-Id') != name or (method != 'HEAD' and data != expected)):
			incident(f'wrong reply: for {reply.get("X-Id")}, {len(data)} bytes {data[:100]!r}', never=True)
			return None
		if method == 'POST' and reply.status < 400:
			self.crowd.posts[name] = int(reply.get('X-Pid'))
		self.crowd.answered[self.kind.__name__] += 1
		if reply.closes:
			self.hang_up()
		return reply

	def hang_up_after(self, incident):
		with self.crowd.lock:
			self.crowd.incidents.append(incident)
		self.hang_up()
		self.crowd.stopping.wait(0.01)

	def some_bytes(self, least, most):
		return self.random.randbytes(self.random.randint(least, most))


def bytes_of(n):
	"""What /bytes?n answers to the request of a name."""
	def made(name):
		unit = (name + '.').encode()
		return (unit * (n // len(unit) + 1))[:n]
	return made


CLOSE = (('Connection', 'close'),)


# ---- the kinds: each is called again and again -------------------------------


def keep_alive(me):
	"""One connection for as long as it is let."""
	n = me.random.choice((0, 10, 1000, 20000))
	me.exchange(me.random.choice(('GET', 'GET', 'HEAD')), f'/bytes?{n}', expected=bytes_of(n))


def per_request(me):
	"""A connection for each request, said or not."""
	me.exchange('GET', f'/wait?{me.random.choice((0, 0, 5, 50))}', headers=me.random.choice((CLOSE, ())))
	me.hang_up()


def poster(me):
	"""Each id may be delivered once."""
	me.exchange('POST', f'/wait?{me.random.choice((0, 0, 5, 100))}', me.some_bytes(0, 5000))
	if me.random.random() < 0.2:
		me.hang_up()


def poster_per_request(me):
	me.exchange('POST', '/sum', me.some_bytes(1, 100), headers=CLOSE)
	me.hang_up()


def slow_reader(me):
	"""Takes a large reply in small bits."""
	n = me.random.randint(200_000, 600_000)

	def read(c, reply):
		data = bytearray()
		for piece in c.body(reply):
			data += piece
			if not me.stopping:
				time.sleep(me.random.uniform(0, 0.03))
		return bytes(data)
	me.exchange('GET', f'/bytes?{n}', expected=bytes_of(n), read=read, receive_buffer=16384)
	me.hang_up()


def pieces(me, body, n):
	cuts = sorted(me.random.randrange(len(body)) for _ in range(n - 1))
	return [body[a:b] for a, b in zip([0, *cuts], [*cuts, len(body)]) if b > a]


def slow_writer(me):
	"""Sends its body bit by bit."""
	body = me.some_bytes(1000, 200_000)

	def send(c, method, target, headers):
		c.send(request_bytes(method, target, (*headers, ('Content-Length', str(len(body))))))
		for piece in pieces(me, body, me.random.randint(2, 20)):
			time.sleep(me.random.uniform(0, 0.03))
			c.send(piece)
	me.exchange('PUT', '/sum', body, again=False, send=send)


def chunked(me):
	"""An upload in chunks, some of them late."""
	body = me.some_bytes(1000, 100_000)
	method = me.random.choice(('PUT', 'POST'))

	def send(c, method, target, headers):
		c.send(request_bytes(method, target, (*headers, ('Transfer-Encoding', 'chunked'))))
		for piece in pieces(me, body, me.random.randint(2, 10)):
			c.send(b'%x\r\n%s\r\n' % (len(piece), piece))
			time.sleep(me.random.choice((0, 0, 0.02)))
		c.send(b'0\r\n\r\n')
	me.exchange(method, '/sum', body, again=False, send=send)


def tunnel(me):
	"""Numbered lines through an upgraded connection, which come back whole and in order."""
	began = time.monotonic()
	reply = me.exchange('GET', '/tunnel', expected=b'', read=lambda c, reply: b'',
			    headers=(('Connection', 'upgrade'), ('Upgrade', 'echo')))
	if not reply:
		return
	name, sent = reply.get('X-Id'), 0
	try:
		if reply.status != 101:
			raise WireError(f'not upgraded: {reply}')
		end = time.monotonic() + me.random.uniform(0.1, 2.0)
		while time.monotonic() < end and not me.stopping:
			data = b''
			for _ in range(me.random.randint(1, 20)):
				data += f'{name}:{sent}:{"x" * me.random.randint(0, 500)}\n'.encode()
				sent += 1
			me.connection.send(data)
			back = me.connection.read_exactly(len(data))
			if back != data:
				raise Wrong(f'after line {sent}: {back[:80]!r}, not {data[:80]!r}')
			time.sleep(me.random.uniform(0, 0.05))
		me.connection.sock.shutdown(socket.SHUT_WR)
		if rest := me.connection.read_all():
			raise Wrong(f'more at its end: {rest[:80]!r}')
	except (OSError, WireError, Wrong) as e:
		late = isinstance(e, (TimeoutError, Wrong)) or 'nothing came within' in str(e)
		me.hang_up_after(Incident('tunnel', name, 'TUNNEL', False, me.port, me.opened, began, began, time.monotonic(),
					  f'{type(e).__name__}: {e}, after {sent} lines', 101, int(reply.get('X-Pid')), late))
	me.hang_up()


def hanging(me):
	"""Asks what is never answered, and is told so in time.  A POST: what is idempotent would go to
	the next worker when this one dies."""
	me.exchange('POST', '/hang', b'', statuses=(504,))


KINDS = [keep_alive, keep_alive, per_request, per_request, poster, poster, poster_per_request, slow_reader, slow_writer,
	 chunked, tunnel, tunnel]
