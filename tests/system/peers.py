"""Scripted workers and servers: a listening socket in this process whose answers
are raw bytes, for replies that no decent server would send."""
import socket
import threading

from wire import Closed, Head, Stream, Truncated, parse_head


class Request(Head):
	def __init__(self, start, fields):
		super().__init__(start, fields)
		self.method, self.target, self.version = start.split(' ')


class PeerConnection(Stream):
	"""One connection that drover opened to the peer."""

	number = 0  # counted from 1 within the peer

	def request(self, with_body=True):
		"""The next request, or None when drover has ended the connection."""
		try:
			request = parse_head(self.read_until(b'\r\n\r\n'), Request)
		except (Closed, OSError):
			return None
		if with_body:
			self.body(request)
		return request

	def body(self, request):
		if request.get('Transfer-Encoding'):
			request.chunked = True
			request.body = b''.join(self.chunks())
		else:
			request.body = b''.join(self.exactly(int(request.get('Content-Length', '0'))))
		return request.body


def ok(body=b'ok', headers=()):
	lines = ['HTTP/1.1 200 OK', f'Content-Length: {len(body)}'] + [f'{n}: {v}' for n, v in headers]
	return '\r\n'.join(lines + ['', '']).encode() + body


class Peer:
	"""Serves every connection in a thread of its own.

	`script(connection, request)` is called for each request and sends what it
	wants; when it returns False the connection is closed.  Without `script`
	every request is answered 200.  `on_connect(connection)` takes a connection
	over whole instead.
	"""

	def __init__(self, script=None, on_connect=None, address=('127.0.0.1', 0)):
		self.script = script or (lambda c, r: c.send(ok()))
		self.on_connect = on_connect
		self.requests, self.connections, self.faults = [], 0, []
		self.lock = threading.Lock()
		family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
		self.socket = socket.socket(family, socket.SOCK_STREAM)
		self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
		self.socket.bind(address)
		self.socket.listen(256)
		self.open = set()
		self.thread = threading.Thread(target=self._accept, daemon=True)
		self.thread.start()

	@property
	def port(self):
		return self.socket.getsockname()[1]

	@property
	def server(self):
		"""For `servers:` in a config."""
		name = self.socket.getsockname()
		return f'unix:{name}' if isinstance(name, str) else f'{name[0]}:{name[1]}'

	def _accept(self):
		while True:
			try:
				sock, _ = self.socket.accept()
			except OSError:
				return
			if sock.family != socket.AF_UNIX:
				sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
			connection = PeerConnection(sock, 60)
			with self.lock:
				self.connections += 1
				connection.number = self.connections
				self.open.add(connection)
			threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

	def _serve(self, connection):
		try:
			if self.on_connect:
				self.on_connect(connection)
				return
			while request := connection.request():
				with self.lock:
					self.requests.append(request)
				if self.script(connection, request) is False:
					return
		except (OSError, Truncated, Closed):
			pass  # drover went away: the test looks at the client's side
		except Exception as e:  # what drover sent was not HTTP: told by check()
			self.faults.append(e)
		finally:
			with self.lock:
				self.open.discard(connection)
			connection.close()

	def check(self):
		if self.faults:
			raise AssertionError(f'the peer was sent something malformed: {self.faults}')

	def close(self):
		try:
			self.socket.shutdown(socket.SHUT_RDWR)
		except OSError:
			pass
		self.socket.close()
		with self.lock:
			left = list(self.open)
		for connection in left:
			try:
				connection.sock.shutdown(socket.SHUT_RDWR)
			except OSError:
				pass
