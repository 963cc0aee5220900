#!/usr/bin/env python3
"""The worker behind drover in the chaos runs: it echoes each request's id, and
records what was delivered to it before anything else happens.

Environment:
	RECORDS  folder; this process appends "METHOD ID" lines to the file PID in it
	START    how it starts: "" | "delay:SECONDS" | "refuse" (exits with 3) | "silent" (never listens)

Each request has a field X-Id; each reply has it again, with X-Pid.  By target:
	/bytes?N     N bytes made from the id
	/sum         "ID BYTES CRC32" of the request's body
	/wait?MS     the same, after so long
	/hang        never answers
	/tunnel      with Upgrade: every byte comes back until the client ends its side

Blocking threads and nothing else, so that what it does at a signal is what the
kernel does: SIGTERM ends it in the middle of whatever it is doing, as most
applications do that their authors gave no thought to this.
"""
import os
import socket
import sys
import threading
import time
import zlib


def fields(stream):
	found = {}
	while (line := stream.readline(1 << 16)) not in (b'\r\n', b''):
		name, _, value = line.partition(b':')
		found[name.strip().lower().decode()] = value.strip().decode()
	return found


def read_body(stream, head):
	"""(bytes, CRC-32) of the body, which must be whole."""
	count = crc = 0

	def take(left):
		nonlocal count, crc
		while left:
			data = stream.read(min(left, 1 << 16))
			if not data:
				raise ConnectionError('body cut')
			left -= len(data)
			count += len(data)
			crc = zlib.crc32(data, crc)
	if head.get('transfer-encoding') == 'chunked':
		while n := int(stream.readline(), 16):
			take(n)
			stream.readline()
		fields(stream)
	else:
		take(int(head.get('content-length', '0')))
	return count, crc


def bytes_of(name, n):
	unit = (name + '.').encode()
	return (unit * (n // len(unit) + 1))[:n]


class Worker:
	def __init__(self):
		self.records = os.open(os.path.join(os.environ['RECORDS'], str(os.getpid())),
				       os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)

	def record(self, method, name):
		os.write(self.records, f'{method} {name}\n'.encode())

	def serve(self, connection):
		try:
			with connection, connection.makefile('rb') as stream:
				while self.one(connection, stream):
					pass
		except (OSError, ValueError):
			pass  # the other side is gone; whoever asked will tell

	def one(self, connection, stream):
		start = stream.readline(1 << 16).split()
		if not start:
			return False
		method, (path, _, query) = start[0].decode(), start[1].decode().partition('?')
		head = fields(stream)
		name = head.get('x-id', '-')
		self.record(method, name)
		mark = f'X-Id: {name}\r\nX-Pid: {os.getpid()}\r\n'
		if path == '/tunnel':
			connection.sendall(f'HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n{mark}\r\n'.encode())
			while data := stream.read1(1 << 16):
				connection.sendall(data)
			return False
		count, crc = read_body(stream, head)
		if path == '/wait':
			time.sleep(int(query) / 1000)
		while path == '/hang':
			time.sleep(60)
		body = bytes_of(name, int(query)) if path == '/bytes' else f'{name} {count} {crc:08x}\n'.encode()
		out = f'HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n{mark}\r\n'.encode()
		connection.sendall(out if method == 'HEAD' else out + body)
		return True


def main():
	how, _, seconds = os.environ.get('START', '').partition(':')
	if how == 'refuse':
		sys.exit('chaos: this release refuses to start')
	while how == 'silent':
		time.sleep(60)
	if how == 'delay':
		time.sleep(float(seconds))
	port = os.environ['PORT']
	listener = socket.socket(socket.AF_UNIX if '/' in port else socket.AF_INET)
	listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
	listener.bind(port if '/' in port else ('127.0.0.1', int(port)))
	worker = Worker()
	listener.listen(256)
	while True:
		connection = listener.accept()[0]
		if connection.family != socket.AF_UNIX:
			connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
		threading.Thread(target=worker.serve, args=(connection,), daemon=True).start()


main()
