"""Echoing tunnels by the hundred, in a thread of their own.  What each sends is numbered, and what
comes back is compared byte by byte: whatever is lost, doubled, out of order or another's shows."""
import collections
import select
import socket
import struct
import threading
import time

from wire import request_bytes

PATTERN = b''.join(struct.pack('>I', n) for n in range(1 << 18)) # every four bytes are a number
UPGRADE = (('Connection', 'Upgrade'), ('Upgrade', 'echo'))
READ_BYTES = 1 << 16


def piece(at, n):
	"""Of the endless repetition of PATTERN, which tells any two places within a MiB apart."""
	at %= len(PATTERN)
	return (PATTERN[at:at + n] + PATTERN[:max(0, at + n - len(PATTERN))])[:n]


class Tunnel:
	"""One of them.  `window`: bytes that may be on the way; `pause`: seconds between two rounds; both may
	be changed while it runs.  With `reads` False it takes nothing, and what it sends stops somewhere."""

	def __init__(self, address, number, target, window, pause):
		self.start, self.window, self.pause = number * 4096, window, pause
		self.sent = self.got = 0
		self.rounds = 0
		self.reads, self.ended, self.failure = True, False, None
		self.head = b''
		self.upgraded = False
		self.due = 0.0
		self.socket = socket.create_connection(address)
		self.socket.setblocking(False)
		self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
		self.socket.send(request_bytes(target=target, headers=UPGRADE))

	def fail(self, what):
		self.failure = self.failure or f'{what}, after {self.sent} bytes out, {self.got} back, {self.rounds} rounds'

	def on_readable(self):
		try:
			data = self.socket.recv(READ_BYTES)
		except BlockingIOError:
			return
		except OSError as e:
			self.fail(f'broken: {e}')
			return
		if not data:
			self.ended = True
			if not self.socket_done():
				self.fail('closed')
			return
		if not self.upgraded:
			data = self.read_head(data)
		if data != piece(self.start + self.got, len(data)):
			self.fail(f'not what was sent: {data[:64]!r}')
		self.got += len(data)
		if self.got > self.sent:
			self.fail('more than was sent')
		if data and self.got == self.sent:
			self.rounds += 1

	def read_head(self, data):
		head, end, rest = (self.head + data).partition(b'\r\n\r\n')
		self.head = head + end
		if not end:
			return b''
		self.upgraded = True
		if not self.head.startswith(b'HTTP/1.1 101 '):
			self.fail(f'no tunnel: {self.head!r}')
		return rest

	def socket_done(self):
		"""It was we who ended it first."""
		return self.shut and self.got == self.sent

	shut = False

	def end_sending(self):
		self.shut = True
		self.socket.shutdown(socket.SHUT_WR)

	def send(self):
		n = min(self.window - (self.sent - self.got), READ_BYTES)
		if n <= 0 or not self.upgraded or self.shut:
			return
		try:
			self.sent += self.socket.send(piece(self.start + self.sent, n))
		except BlockingIOError:
			pass
		except OSError as e:
			self.fail(f'broken: {e}')


class Tunnels:
	def __init__(self, port, target='/upgrade'):
		self.address, self.target = ('127.0.0.1', port), target
		self.all = []
		self.epoll = select.epoll()
		self.calls = collections.deque()
		self.stopping = False
		self.thread = threading.Thread(target=self.run, daemon=True)
		self.thread.start()

	def open(self, n, window=200, pause=0.05):
		"""`n` more; returns them when each has echoed once."""
		made = [Tunnel(self.address, len(self.all) + i, self.target, window, pause) for i in range(n)]
		self.do(lambda: [self.add(t) for t in made])
		self.wait(lambda: all(t.rounds for t in made), f'{n} tunnels echo')
		return made

	def add(self, tunnel):
		self.all.append(tunnel)
		self.epoll.register(tunnel.socket, select.EPOLLIN)

	def do(self, call):
		"""In the thread, which alone touches the sockets."""
		done = threading.Event()
		self.calls.append(lambda: (call(), done.set()))
		assert done.wait(20), 'the thread of the tunnels has ended'

	def pause_reading(self, some, reads=False):
		def switch():
			for t in some:
				t.reads = reads
				self.epoll.modify(t.socket, select.EPOLLIN if reads else 0)
		self.do(switch)

	def end_sending(self, some):
		self.do(lambda: [t.end_sending() for t in some])

	def run(self):
		by_fd = {}
		while not self.stopping:
			while self.calls:
				self.calls.popleft()()
				by_fd = {t.socket.fileno(): t for t in self.all}
			for fd, what in self.epoll.poll(0.005):
				t = by_fd.get(fd)
				if t and (t.reads or what & select.EPOLLERR):
					t.on_readable()
				if t and (t.failure or t.ended):
					self.epoll.unregister(fd)
			now = time.monotonic()
			for t in self.all:
				if t.failure or t.ended or now < t.due or (t.got < t.sent and t.pause):
					continue
				t.send()
				t.due = now + t.pause

	def wait(self, condition, what, timeout=20):
		end = time.monotonic() + timeout
		while not condition():
			self.check()
			assert time.monotonic() < end, f'{what}: not within {timeout} s'
			time.sleep(0.005)

	def check(self):
		"""None is closed, and not a byte was lost or out of order."""
		failures = [f'{i}: {t.failure}' for i, t in enumerate(self.all) if t.failure]
		assert not failures, f'{len(failures)} of {len(self.all)} tunnels: {failures[:5]}'
		assert self.thread.is_alive()

	def part_with_failed(self):
		"""Those that have failed by now, which is no fault any more."""
		for _ in range(2):
			self.do(lambda: None)  # between the two it has looked at every socket
		gone = [t for t in self.all if t.failure]
		self.do(lambda: [self.all.remove(t) for t in gone])
		for t in gone:
			t.socket.close()
		return gone

	def echo_again(self, some=None):
		"""Waits until each has sent something from now on, and has got it back."""
		some = [t for t in self.all if t.reads and not t.shut] if some is None else some
		before = [t.rounds + 1 for t in some] # the one under way may have begun before
		self.wait(lambda: all(t.rounds > n for t, n in zip(some, before)), 'every tunnel echoes')

	def stop(self):
		self.stopping = True
		self.thread.join(10)
		for t in self.all:
			t.socket.close()
		self.epoll.close()
