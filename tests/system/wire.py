"""HTTP on raw sockets: requests as bytes, replies through a parser that
forgives nothing (RFC 9112), so that a fault of the balancer is seen as one."""
import re
import select
import socket
import time

TOKEN = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+\Z")
STATUS_LINE = re.compile(rb'(HTTP/1\.[01]) ([1-5]\d\d) ([\t -~\x80-\xff]*)\Z')
VALUE = re.compile(rb'[\t -~\x80-\xff]*\Z')


class WireError(AssertionError):
	"""The other side sent something that is not HTTP."""


class Closed(WireError):
	"""The connection ended, or was reset, before the first byte of a message."""


class Truncated(WireError):
	"""The connection ended inside a message; .reply holds what came."""

	def __init__(self, text, reply=None):
		super().__init__(text)
		self.reply = reply


class Head:
	"""Start line and fields of a request or reply."""

	def __init__(self, start, fields):
		self.start = start
		self.fields = fields  # [(name as sent, value)], text
		self.body = b''
		self.chunked = self.by_close = False
		self.interim = []

	def all(self, name):
		return [v for n, v in self.fields if n.lower() == name.lower()]

	def get(self, name, default=None):
		"""The value of a field that may stand at most once."""
		values = self.all(name)
		if len(values) > 1:
			raise WireError(f'{name} more than once: {values}')
		return values[0] if values else default

	@property
	def text(self):
		return self.body.decode('utf-8', 'replace')

	def __repr__(self):
		return f'<{self.start} {self.fields} {self.body[:200]!r}>'


class Reply(Head):
	def __init__(self, start, fields):
		super().__init__(start, fields)
		version, status, _, = STATUS_LINE.match(start.encode('latin-1')).groups()
		self.version, self.status = version.decode(), int(status)

	@property
	def closes(self):
		options = [o.strip().lower() for v in self.all('Connection') for o in v.split(',')]
		return 'close' in options or (self.version == 'HTTP/1.0' and 'keep-alive' not in options)


def parse_head(raw, kind):
	lines = raw.split(b'\r\n')
	if lines[-2:] != [b'', b'']:
		raise WireError(f'head does not end in an empty line: {raw!r}')
	fields = []
	for line in lines[1:-2]:
		name, colon, value = line.partition(b':')
		if not colon or not TOKEN.match(name) or not VALUE.match(value) or b'\n' in line:
			raise WireError(f'malformed field line {line!r} in {raw!r}')
		fields.append((name.decode(), value.strip(b' \t').decode('latin-1')))
	if kind is Reply and not STATUS_LINE.match(lines[0]):
		raise WireError(f'malformed status line {lines[0]!r}')
	return kind(lines[0].decode('latin-1'), fields)


class Stream:
	"""A socket with a deadline and a buffer of what was read too much."""

	def __init__(self, sock, timeout=15.0):
		self.sock, self.timeout, self.buffer = sock, timeout, b''
		self.trailers = []  # of the last chunked body that was read
		sock.settimeout(timeout)

	def close(self):
		self.sock.close()

	def __enter__(self):
		return self

	def __exit__(self, *_):
		self.close()

	def send(self, data):
		self.sock.sendall(data)

	def shut_write(self):
		self.sock.shutdown(socket.SHUT_WR)

	def reset(self):
		"""Ends with RST instead of FIN."""
		self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b'\1\0\0\0\0\0\0\0')
		self.close()

	def read_some(self, limit=1 << 16):
		"""Bytes, b'' at the end of the stream.  A reset counts as an end."""
		if self.buffer:
			data, self.buffer = self.buffer[:limit], self.buffer[limit:]
			return data
		try:
			return self.sock.recv(limit)
		except ConnectionResetError:
			return b''
		except TimeoutError:
			raise WireError(f'nothing came within {self.sock.gettimeout()} s') from None

	def read_until(self, mark, limit=1 << 20):
		data = b''
		while mark not in data:
			if len(data) > limit:
				raise WireError(f'no {mark!r} within {limit} bytes')
			more = self.read_some()
			if not more:
				raise (Truncated(f'ended inside {data!r}') if data else Closed('the connection was closed'))
			data += more
		end = data.index(mark) + len(mark)
		self.buffer = data[end:] + self.buffer
		return data[:end]

	def read_exactly(self, n):
		data = b''
		while len(data) < n:
			more = self.read_some(min(n - len(data), 1 << 16))
			if not more:
				raise Truncated(f'ended {n - len(data)} bytes early')
			data += more
		return data

	def read_all(self):
		data = b''
		while more := self.read_some():
			data += more
		return data

	def readable(self, seconds):
		"""Bytes or an end come within so long.  By poll(): a test may hold thousands of descriptors."""
		poll = select.poll()
		poll.register(self.sock, select.POLLIN)
		return bool(poll.poll(seconds * 1000))

	def closed_within(self, seconds):
		"""True when the other side ends the connection, saying nothing more."""
		end = time.monotonic() + seconds
		while (left := end - time.monotonic()) > 0:
			if self.buffer:
				raise WireError(f'unexpected bytes {self.buffer!r}')
			if self.readable(left):
				more = self.read_some()
				if not more:
					return True
				self.buffer = more
		return False

	def silent_for(self, seconds):
		"""True when nothing comes, not even an end, for so long."""
		return not self.buffer and not self.readable(seconds)

	def chunks(self):
		"""The data of a chunked body, piece by piece, to its end."""
		while True:
			line = self.read_until(b'\r\n')[:-2]
			if not re.match(rb'[0-9A-Fa-f]{1,16}\Z', line):
				raise WireError(f'malformed chunk line {line!r}')
			left = int(line, 16)
			if not left:
				break
			while left:
				data = self.read_some(min(left, 1 << 16))
				if not data:
					raise Truncated('ended inside a chunk')
				left -= len(data)
				yield data
			if self.read_exactly(2) != b'\r\n':
				raise WireError('chunk data not followed by CRLF')
		self.trailers = []
		while (line := self.read_until(b'\r\n')) != b'\r\n':
			name, colon, value = line.partition(b':')
			if not colon or not TOKEN.match(name):
				raise WireError(f'malformed trailer {line!r}')
			self.trailers.append((name.decode(), value.strip().decode('latin-1')))

	def exactly(self, n):
		"""The same for a body of `n` bytes."""
		while n:
			data = self.read_some(min(n, 1 << 16))
			if not data:
				raise Truncated(f'ended {n} bytes before Content-Length')
			n -= len(data)
			yield data

	def to_end(self):
		while data := self.read_some():
			yield data


class Client(Stream):
	"""One connection of a client."""

	def __init__(self, address, timeout=15.0, receive_buffer=None):
		family = socket.AF_UNIX if isinstance(address, str) else \
			socket.AF_INET6 if ':' in address[0] else socket.AF_INET
		sock = socket.socket(family, socket.SOCK_STREAM)
		if receive_buffer:
			sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
		sock.settimeout(timeout)
		try:
			sock.connect(address)
		except BaseException:
			sock.close()
			raise
		if family != socket.AF_UNIX:
			sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
		super().__init__(sock, timeout)

	def request(self, method='GET', target='/', headers=(), body=None, host='test.example', version='HTTP/1.1'):
		"""Sends a request; `body` bytes go with Content-Length, a list of bytes as chunks."""
		self.send(request_bytes(method, target, headers, body, host, version))

	def head(self):
		"""The next final reply's head; interim replies are gathered in .interim."""
		interim = []
		while True:
			reply = parse_head(self.read_until(b'\r\n\r\n'), Reply)
			if reply.status >= 200 or reply.status == 101:
				reply.interim = interim
				return reply
			if reply.get('Content-Length') or reply.get('Transfer-Encoding'):
				raise WireError(f'interim reply with a body: {reply}')
			interim.append(reply)

	def body(self, reply, method='GET'):
		"""The reply's body, piece by piece (RFC 9112 6.3)."""
		length, coding = reply.get('Content-Length'), reply.get('Transfer-Encoding')
		if length is not None and coding is not None:
			raise WireError(f'both lengths: {reply}')
		if reply.status in (101, 204) and (length is not None or coding is not None):
			raise WireError(f'{reply.status} with a length: {reply}')
		if method == 'HEAD' or reply.status in (101, 204, 304):
			return iter(())
		if coding is not None:
			if coding.lower() != 'chunked' or reply.version == 'HTTP/1.0':
				raise WireError(f'transfer coding {coding!r}: {reply}')
			reply.chunked = True
			return self.chunks()
		if length is not None:
			if not re.match(r'\d+\Z', length):
				raise WireError(f'Content-Length {length!r}')
			return self.exactly(int(length))
		reply.by_close = True
		if not reply.closes:
			raise WireError(f'no length, and the connection is to go on: {reply}')
		return self.to_end()

	def reply(self, method='GET'):
		reply = self.head()
		try:
			for data in self.body(reply, method):
				reply.body += data
		except WireError as e:
			raise Truncated(str(e), reply) from None
		return reply

	def ask(self, method='GET', target='/', headers=(), body=None, **more):
		"""A request and its reply."""
		self.request(method, target, headers, body, **more)
		return self.reply(method)


def request_bytes(method='GET', target='/', headers=(), body=None, host='test.example', version='HTTP/1.1'):
	lines = [f'{method} {target} {version}']
	if host is not None:
		lines.append(f'Host: {host}')
	lines += [f'{n}: {v}' for n, v in headers]
	payload = b''
	if isinstance(body, bytes):
		lines.append(f'Content-Length: {len(body)}')
		payload = body
	elif body is not None:
		lines.append('Transfer-Encoding: chunked')
		payload = b''.join(b'%x\r\n%s\r\n' % (len(c), c) for c in body) + b'0\r\n\r\n'
	return '\r\n'.join(lines + ['', '']).encode('latin-1') + payload
