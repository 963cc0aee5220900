#!/usr/bin/env python3
"""A worker that appends to $RECORD/PID what it sees, one line each with its monotonic time in
nanoseconds: "open C", "bytes C N", "end C" (the peer's FIN or reset), "reply C", "signal NAME".  C numbers
its connections.  By target: /slow?ms=N answers late, /held when there is a file $RECORD/go; an Upgrade begins
an echoing tunnel; else at once.
It is one thread, and looks at all its sockets before it notes a signal: what stands before the signal in
the record had arrived by then, however busy the machine is."""
import heapq
import os
import selectors
import signal
import socket
import time

LINGER_S = 0.3  # after the signal: what comes too late would show

folder = os.environ['RECORD']
record = os.open(os.path.join(folder, str(os.getpid())), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
selector = selectors.DefaultSelector()
late = []  # (when, number, connection) of replies to come
held = []  # connections


def note(*words):
	os.write(record, (' '.join(map(str, (time.monotonic_ns(), *words))) + '\n').encode())


class Connection:
	count = 0

	def __init__(self, sock):
		Connection.count += 1
		self.number, self.sock, self.buffer, self.tunnel = Connection.count, sock, b'', False
		note('open', self.number)
		selector.register(sock, selectors.EVENT_READ, self.on_readable)

	def on_readable(self):
		try:
			data = self.sock.recv(65536)
		except OSError:
			data = b''
		if not data:
			note('end', self.number)
			selector.unregister(self.sock)
			self.sock.close()
			return
		note('bytes', self.number, len(data))
		if self.tunnel:
			self.send(data)
			return
		self.buffer += data
		while b'\r\n\r\n' in self.buffer:
			head, _, self.buffer = self.buffer.partition(b'\r\n\r\n')
			self.on_head(head)

	def on_head(self, head):
		target = head.split(b' ')[1]
		if b'\nupgrade:' in head.lower():
			self.tunnel = True
			self.send(b'HTTP/1.1 101 Go\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n')
		elif target.startswith(b'/slow?ms='):
			heapq.heappush(late, (time.monotonic() + int(target[9:]) / 1000, self.number, self))
		elif target == b'/held':
			held.append(self)
		else:
			self.reply()

	def reply(self):
		note('reply', self.number)
		body = str(os.getpid()).encode()
		self.send(b'HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s' % (len(body), body))

	def send(self, data):
		try:
			self.sock.sendall(data)
		except OSError:
			pass


def on_connections():
	while True:
		try:
			sock, _ = listener.accept()
		except BlockingIOError:
			return
		Connection(sock)


def turn(patience):
	for key, _ in selector.select(patience):
		key.data()
	while late and late[0][0] <= time.monotonic():
		heapq.heappop(late)[2].reply()
	while held and os.path.exists(os.path.join(folder, 'go')):
		held.pop().reply()


signals, wakes = os.pipe2(os.O_NONBLOCK)
signal.signal(signal.SIGTERM, lambda *_: None)
signal.set_wakeup_fd(wakes)
listener = socket.create_server(('127.0.0.1', int(os.environ['PORT'])), backlog=128)
listener.setblocking(False)
selector.register(listener, selectors.EVENT_READ, on_connections)
selector.register(signals, selectors.EVENT_READ, lambda: None)


def signalled():
	try:
		return bool(os.read(signals, 1))
	except BlockingIOError:
		return False


while not signalled():
	turn(0.01)
selector.unregister(signals)
for _ in range(4):  # of a connection: that it is there, its bytes, its end; and one to spare
	turn(0)
note('signal', 'SIGTERM')
end = time.monotonic() + LINGER_S
while (left := end - time.monotonic()) > 0:
	turn(min(left, 0.01))
note('exit')
