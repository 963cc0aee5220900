#!/usr/bin/env python3
"""A worker whose life is steered by files in $CONTROL, which a test writes while
it runs; it answers on PORT, a number or the path of a Unix socket.

At start:
	refuse    exists: prints two lines and exits with 3
	silent    exists: runs, but never listens
	delay     holds seconds: waits so long before it listens

Each request is recorded as a line "METHOD TARGET INSTANCE PID" in $CONTROL/record
before anything else happens.  Then, by target:
	/die        this process is killed, with SIGKILL
	/once/NAME  the first delivery of NAME dies like that, later ones answer 200
	/wait/NAME  answers when the file NAME exists
	/           200, with "INSTANCE PID RELEASE"
"""
import os
import signal
import socket
import sys
import threading
import time

CONTROL = os.environ['CONTROL']


def control(name):
	return os.path.join(CONTROL, name)


def die():
	os.kill(os.getpid(), signal.SIGKILL)


def read_request(stream):
	start = stream.readline().split()
	if not start:
		return None
	length = 0
	while (line := stream.readline()) not in (b'\r\n', b''):
		name, _, value = line.partition(b':')
		if name.lower() == b'content-length':
			length = int(value)
	stream.read(length)
	return start[0].decode(), start[1].decode()


def record(method, target):
	line = f"{method} {target} {os.environ['INSTANCE']} {os.getpid()}\n"
	fd = os.open(control('record'), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
	os.write(fd, line.encode())
	os.close(fd)


def serve(connection):
	with connection, connection.makefile('rb') as stream:
		while request := read_request(stream):
			method, target = request
			record(method, target)
			if target == '/die':
				die()
			if target.startswith('/once/'):
				try:
					os.close(os.open(control(target[6:]), os.O_CREAT | os.O_EXCL))
					die()
				except FileExistsError:
					pass
			if target.startswith('/wait/'):
				while not os.path.exists(control(target[6:])):
					time.sleep(0.005)
			body = f"{os.environ['INSTANCE']} {os.getpid()} {os.environ['DROVER_RELEASE']}".encode()
			head = b'HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n' % len(body)
			connection.sendall(head if method == 'HEAD' else head + body)


def main():
	if os.path.exists(control('refuse')):
		print('reading the settings', flush=True)
		print('settings: no such database: orders', file=sys.stderr, flush=True)
		sys.exit(3)
	while os.path.exists(control('silent')):
		time.sleep(0.02)
	if os.path.exists(control('delay')):
		with open(control('delay'), encoding='ascii') as f:
			time.sleep(float(f.read()))
	port = os.environ['PORT']
	listener = socket.socket(socket.AF_UNIX if '/' in port else socket.AF_INET)
	listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
	listener.bind(port if '/' in port else ('127.0.0.1', int(port)))
	listener.listen(256)
	while True:
		threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()


main()
