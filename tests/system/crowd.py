"""Clients by the thousand, in one thread: connections that are opened, asked and
watched together.  Where each reply matters by itself, wire.Client is the better one."""
import re
import resource
import select
import socket
import time

from wire import request_bytes

HEAD = re.compile(rb'HTTP/1\.1 (\d{3}) [^\r]*\r\n(?:[^\r]+\r\n)*?Content-Length: (\d+)\r\n(?:[^\r]+\r\n)*\r\n', re.I)

# So many are opened or asked at a time: none shall be lost in the kernel's accept queue.
WAVE = 256


def raise_descriptor_limit(wanted):
	"""For this process; the soft limit is often 1024.  Returns the limit in force."""
	soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
	if soft < wanted:
		soft = hard if hard != resource.RLIM_INFINITY and hard < wanted else wanted
		resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
	return soft


class Crowd:
	"""`port`: on 127.0.0.1.  `request`: bytes that each of them sends; its reply is a 200
	with a length.  Nothing is retried: what goes wrong is raised."""

	def __init__(self, port, request=None, timeout=20.0):
		self.address, self.timeout = ('127.0.0.1', port), timeout
		self.request = request or request_bytes(target='/instance')
		self.sockets = []
		self.epoll = select.epoll()

	def open(self, n):
		"""`n` connections, each of which has said nothing yet."""
		made = []
		for _ in range(n):
			s = socket.socket()
			made.append(s)
			s.setblocking(False)
			s.connect_ex(self.address)
		self.sockets += made
		return made

	def grow(self, n):
		"""`n` more that have had an answer each, and are idle now."""
		while n > 0:
			self.ask(self.open(min(n, WAVE)))
			n -= WAVE

	def ask_all(self):
		for at in range(0, len(self.sockets), WAVE):
			self.ask(self.sockets[at:at + WAVE])

	def ask(self, some):
		"""One request on each of `some`, all at the same time."""
		waiting = {s.fileno(): (s, bytearray()) for s in some}
		for fd in waiting:
			self.epoll.register(fd, select.EPOLLOUT)
		end = time.monotonic() + self.timeout
		while waiting:
			left = end - time.monotonic()
			assert left > 0, f'{len(waiting)} of {len(some)} got no answer'
			for fd, what in self.epoll.poll(left):
				s, got = waiting[fd]
				if what & select.EPOLLOUT:
					assert s.send(self.request) == len(self.request)
					self.epoll.modify(fd, select.EPOLLIN)
				elif self.whole(s, got):
					self.epoll.unregister(fd)
					del waiting[fd]

	def whole(self, s, got):
		data = s.recv(1 << 16)
		assert data, f'the connection was closed, after {bytes(got)!r}'
		got += data
		head = HEAD.match(got)
		if not head:
			return False
		assert head[1] == b'200', bytes(got)
		left = head.end() + int(head[2]) - len(got)
		assert left >= 0, f'more than one reply: {bytes(got)!r}'
		return left == 0

	def closed(self):
		"""How many the other side has ended."""
		n = 0
		for s in self.sockets:
			try:
				n += s.recv(1, socket.MSG_PEEK) == b''
			except BlockingIOError:
				pass
			except ConnectionResetError:
				n += 1
		return n

	def close(self):
		for s in self.sockets:
			s.close()
		self.sockets.clear()
		self.epoll.close()
