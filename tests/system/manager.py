"""A service manager for tests: what systemd does for a unit, without systemd.

`Notify` is its end of NOTIFY_SOCKET.  Run as a program it opens sockets, hands them over as
LISTEN_FDS does, and becomes the command:

	manager.py NAME=KIND:PLACE... -- COMMAND...

KIND: stored (PLACE is a descriptor that was inherited), tcp, tcp6 (IPv6 alone), both (IPv6 and IPv4), unix, dgram, connected, file, none (a number
without a descriptor).  `pid=other` hands them over to somebody else, `count=TEXT` overrides LISTEN_FDS.
"""
import os
import select
import socket
import sys
import time

FIRST_FD = 3


class Notify:
	"""Receives datagrams; each becomes a list of (NAME, value), with the sender's pid."""

	def __init__(self, path):
		self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
		self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
		self.socket.bind('\0' + path[1:] if path.startswith('@') else path)
		if not path.startswith('@'):
			os.chmod(path, 0o777)
		self.environment = {'NOTIFY_SOCKET': path}
		self.heard = []     # (time, pid, {NAME: value})
		self.store = []     # (FDNAME, descriptor): what FDSTORE=1 brought

	def close(self):
		self.socket.close()
		for _, fd in self.store:
			os.close(fd)

	def listen(self, seconds=0.0):
		"""Whatever comes within that time."""
		end = time.monotonic() + seconds
		while select.select([self.socket], [], [], max(0.0, end - time.monotonic()))[0]:
			data, control, flags, _ = self.socket.recvmsg(4096, 256)
			assert not flags & socket.MSG_TRUNC
			by_type = {kind: value for _, kind, value in control}
			pid = int.from_bytes(by_type[socket.SCM_CREDENTIALS][:4], sys.byteorder)
			words = dict(line.split('=', 1) for line in data.decode().rstrip('\n').split('\n'))
			self.heard.append((time.monotonic(), pid, words))
			if socket.SCM_RIGHTS in by_type:
				fd = int.from_bytes(by_type[socket.SCM_RIGHTS][:4], sys.byteorder)
				self.store.append((words['FDNAME'], fd))
			if words.get('FDSTOREREMOVE') == '1':
				for name, fd in [s for s in self.store if s[0] == words['FDNAME']]:
					os.close(fd)
					self.store.remove((name, fd))
		return self.heard

	def said(self, name, value='1'):
		self.listen()
		return [at for at, _, words in self.heard if words.get(name) == value]

	def values(self, name):
		self.listen()
		return [words[name] for _, _, words in self.heard if name in words]

	def order(self):
		"""The changes of state, in their order."""
		self.listen()
		names = ('READY', 'RELOADING', 'STOPPING')
		return [n for _, _, words in self.heard for n in names if n in words]


def make(kind, place):
	if kind == 'stored':
		return os.dup(int(place))
	if kind == 'file':
		return os.open(place, os.O_RDONLY)
	if kind in ('unix', 'dgram') and '/' in place:
		s = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM if kind == 'unix' else socket.SOCK_DGRAM)
		s.bind(place)
		os.chmod(place, 0o777)
	elif kind == 'connected':
		s = socket.create_connection(('127.0.0.1', int(place)))
	else:
		six = kind in ('tcp6', 'both')
		s = socket.socket(socket.AF_INET6 if six else socket.AF_INET,
				  socket.SOCK_DGRAM if kind == 'dgram' else socket.SOCK_STREAM)
		s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
		if six:
			s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(kind == 'tcp6'))
		host, _, port = place.rpartition(':')
		s.bind((host.strip('[]'), int(port)))
	if kind not in ('dgram', 'connected'):
		s.listen(64)
	return s.detach()


def main(argv):
	at = argv.index('--')
	env = dict(os.environ)
	pid, names, made = str(os.getpid()), [], []
	count = None
	for word in argv[1:at]:
		name, _, what = word.partition('=')
		if name == 'pid':
			pid = str(os.getppid())
		elif name == 'count':
			count = what
		else:
			kind, _, place = what.partition(':')
			names.append(name)
			made.append(None if kind == 'none' else make(kind, place))
	# Out of the way first, then in their places.
	high = [fd if fd is None else os.dup2(fd, 100 + i) for i, fd in enumerate(made)]
	os.closerange(FIRST_FD, 100)
	for i, fd in enumerate(high):
		if fd is not None:
			os.dup2(fd, FIRST_FD + i)
	os.closerange(100, 100 + len(high))
	env.update(LISTEN_PID=pid, LISTEN_FDS=count or str(len(names)), LISTEN_FDNAMES=':'.join(names))
	os.execvpe(argv[at + 1], argv[at + 1:], env)


if __name__ == '__main__':
	main(sys.argv)
