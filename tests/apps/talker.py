#!/usr/bin/env python3
"""A worker that writes to its stdout, and answers every request on PORT with the number of
lines that it has written so far.  By its arguments:

	steady RATE   "line 1", "line 2" ... at RATE a second
	flood         lines of 100 bytes, as fast as they are taken
	last N        waits for a request to /go, writes "last 1" to "last N" and is gone at once
	notify        a STATUS= to its NOTIFY_SOCKET instead, as fast as they are taken
	junk          all kinds of bytes, without end and as fast as they are taken
"""
import os
import signal
import socket
import sys
import threading
import time

written = 0
go = threading.Event()


def out(data):
	while data:
		data = data[os.write(1, data):]


def steady(rate):
	global written
	start = time.monotonic()
	while True:
		due = int((time.monotonic() - start) * rate)
		if due > written:
			out(b''.join(b'line %d\n' % n for n in range(written + 1, due + 1)))
			written = due
		time.sleep(0.002)


def flood():
	global written
	block = (b'x' * 99 + b'\n') * 640
	while True:
		out(block)
		written += 640


def last(n):
	go.wait()
	out(b''.join(b'last %d\n' % i for i in range(1, n + 1)))
	os._exit(3)


def junk():
	global written
	block = os.urandom(1 << 18)
	while True:
		out(block)
		out(b'y' * (1 << 18))
		written += block.count(b'\n')


def notify():
	global written
	with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
		s.connect(os.environ['NOTIFY_SOCKET'])
		while True:
			s.send(b'STATUS=%d' % written)
			written += 1
			time.sleep(0.0001)


def serve(listener):
	while True:
		connection, _ = listener.accept()
		threading.Thread(target=answer, args=(connection,), daemon=True).start()


def answer(connection):
	with connection, connection.makefile('rb') as stream:
		while line := stream.readline():
			target = line.split()[1]
			while stream.readline() not in (b'\r\n', b''):
				pass
			if target == b'/go':
				go.set()
			body = b'%d' % written
			connection.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s' % (len(body), body))


listener = socket.create_server(('127.0.0.1', int(os.environ['PORT'])))
threading.Thread(target=serve, args=(listener,), daemon=True).start()
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
kind, *words = sys.argv[1:]
talk = {'steady': steady, 'flood': flood, 'last': last, 'junk': junk, 'notify': notify}[kind]
threading.Thread(target=talk, args=[int(w) for w in words], daemon=True).start()
while True:
	time.sleep(60)
