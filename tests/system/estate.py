"""Both sides of what crosses when a master has been killed (balancer/master/adopt_wire.h)."""
import os
import re
import socket
import struct

MAGIC, BATCH = 0x64726f7641, 200
PACKET = struct.Struct(f'=QII{BATCH}i')


def path(drover):
	for top in ('/run/drover', os.path.join(drover.runtime_dir, 'drover')):
		if os.path.exists(f'{top}/{drover.name}.lock'):
			return f'{top}/{drover.name}.adopt'
	raise AssertionError('no lock file')


def records(state):
	"""(kind, bytes) of each record (balancer/master/state.h)."""
	at = state.index(b'\n') + 1
	while at < len(state):
		start, at = at, state.index(b'\n', at) + 1
		kind = state[start:at - 1].decode()
		while state[at:at + 1] == b' ':
			colon = state.index(b':', at)
			at = colon + int(state[state.index(b'=', at) + 1:colon]) + 2
		at += 1
		yield kind, state[start:at]


def without(state, dropped):
	"""The state less the records for which `dropped(kind, bytes)` holds."""
	kept = [r for kind, r in records(state) if not dropped(kind, r)]
	end = re.sub(rb' records=\d+:\d+', b' records=%d:%d' % (len(b'%d' % (len(kept) - 1)), len(kept) - 1), kept.pop())
	return state[:state.index(b'\n') + 1] + b''.join(kept) + end


class Estate:
	"""What a warden gives away, as a next master gets it."""

	def __init__(self, drover):
		self.conn = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
		self.conn.settimeout(10)
		self.conn.connect(path(drover))
		_, (state,), total = self._packet()
		self.fds = {}
		with open(state, 'rb') as f:
			f.seek(0)
			self.state = f.read()
		while len(self.fds) < total:
			numbers, fds, _ = self._packet()
			self.fds.update(zip(numbers, fds))

	def _packet(self):
		data, fds, _, _ = socket.recv_fds(self.conn, PACKET.size, BATCH)
		if not data:
			raise ConnectionError('nothing is given')
		magic, total, n, *numbers = PACKET.unpack(data)
		assert magic == MAGIC and n == len(fds)
		return numbers[:n], fds, total

	def serve(self, drover, state, when_taken=lambda: None):
		"""Gives it away once more, with another state.  To be called when nobody else does; true: it was taken.
		`when_taken` is called while whoever has taken it waits for us to go."""
		with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
			listener.settimeout(10)
			listener.bind(path(drover))
			listener.listen()
			conn, _ = listener.accept()
		with conn:
			conn.settimeout(10)
			memfd = os.memfd_create('forged')
			os.write(memfd, state)
			self._give(conn, [(-1, memfd)])
			rows = list(self.fds.items())
			for i in range(0, len(rows), BATCH):
				self._give(conn, rows[i:i + BATCH])
			os.close(memfd)
			if conn.recv(10) != b'T':
				return False
			when_taken()
			return True

	def _give(self, conn, rows):
		numbers = [n for n, _ in rows]
		packet = PACKET.pack(MAGIC, len(self.fds), len(rows), *numbers, *[0] * (BATCH - len(rows)))
		socket.send_fds(conn, [packet], [fd for _, fd in rows])

	def close(self):
		self.conn.close()
		for fd in self.fds.values():
			os.close(fd)
		self.fds = {}
