#!/usr/bin/env python3
"""A worker that does what its arguments say, one after the other:

	listen         answers requests from now on
	serve:A,B,...  the same, but the first connections get A, B, ... and later ones an answer: a
	               status, "close", "silent", "junk", or "slow" (200, but in pieces over 400 ms)
	send:TEXT      sends TEXT to $NOTIFY_SOCKET; \\n and \\0 are a newline and a NUL
	helper:TEXT    a child sends it, and waits as systemd-notify does
	stranger:TEXT  a child outside this process group sends it
	junk           messages that make no sense, a too long one among them
	flood:N        N messages of 4 KB
	descriptors:N  a message with N descriptors attached; prints "descriptors taken" once they are closed
	print:TEXT     prints it
	sleep:S        waits
	until:FILE     waits for the file $CONTROL/FILE
	exit:N         ends

Then it waits until it is stopped.
"""
import array
import os
import socket
import sys
import threading
import time


def send(text, descriptors=()):
	data = text.encode('utf-8', 'surrogateescape').replace(b'\\n', b'\n').replace(b'\\0', b'\0')
	with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
		s.connect(os.environ['NOTIFY_SOCKET'])
		s.sendmsg([data], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array('i', descriptors))] if descriptors else [])


def send_and_wait(text, n):
	"""Returns when the other side has closed the descriptors."""
	end, given = os.pipe()
	send(text, [given] * n)
	os.close(given)
	os.read(end, 1)
	os.close(end)


def in_child(text, stranger):
	pid = os.fork()
	if pid == 0:
		if stranger:
			os.setsid()
		send(text)
		send_and_wait('BARRIER=1', 1)
		os._exit(0)
	os.waitpid(pid, 0)


def junk():
	for text in ('', '\\0', 'READY', 'READY=', '=1', 'READY=1\\0READY=1', 'READY=11', 'READY=1 ', ' READY=1', 'ready=1',
		     'X' * 100000 + '\\nREADY=1', '\\n' * 4000, 'EXTEND_TIMEOUT_USEC=-1', 'EXTEND_TIMEOUT_USEC=99999999999999999999999',
		     'WATCHDOG_USEC=soon', 'MAINPID=1', 'ERRNO=2', 'STATUS', '\udcff\udcfe=\udc80'):
		send(text)


def answer(connection):
	with connection, connection.makefile('rb') as stream:
		while stream.readline():
			while stream.readline() not in (b'\r\n', b''):
				pass
			body = f"{os.environ['INSTANCE']} {os.environ['DROVER_RELEASE']}".encode()
			connection.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b' % (len(body), body))


def misbehave(connection, how):
	"""What the bytes were is printed: tests look at the request."""
	with connection:
		print('probed:', connection.recv(4096), flush=True)
		if how == 'silent':
			threading.Event().wait()
		if how == 'junk':
			connection.sendall(b'\x00\xff hello\r\n\r\n' * 1000)
		if how == 'slow':
			for piece in (b'HTTP/1.1 103 Early Hints\r\n\r\nHT', b'TP/1.1 200 OK\r\nContent-Length: 1', b'\r\n\r\n'):
				connection.sendall(piece)
				time.sleep(0.2)
		if how.isdigit():
			connection.sendall(f'HTTP/1.1 {how} So\r\nContent-Length: 0\r\nLocation: /\r\n\r\n'.encode())


def serve(listener, how=()):
	for word in how:
		# Connections that only look whether somebody accepts send nothing.
		while True:
			c = listener.accept()[0]
			if c.recv(1, socket.MSG_PEEK):
				break
			c.close()
		threading.Thread(target=misbehave, args=(c, word), daemon=True).start()
	while True:
		threading.Thread(target=answer, args=(listener.accept()[0],), daemon=True).start()


def listen(how=()):
	listener = socket.create_server(('127.0.0.1', int(os.environ['PORT'])), backlog=256)
	threading.Thread(target=serve, args=(listener, how), daemon=True).start()


def wait_for(name):
	while not os.path.exists(os.path.join(os.environ['CONTROL'], name)):
		time.sleep(0.01)


def flood(n):
	with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
		s.connect(os.environ['NOTIFY_SOCKET'])
		for i in range(n):
			s.send(b'STATUS=%d\n' % i + b'x' * 4000)


def main():
	for word in sys.argv[1:]:
		verb, _, rest = word.partition(':')
		if verb == 'listen':
			listen()
		elif verb == 'serve':
			listen(rest.split(','))
		elif verb == 'send':
			send(rest)
		elif verb in ('helper', 'stranger'):
			in_child(rest, verb == 'stranger')
		elif verb == 'junk':
			junk()
		elif verb == 'flood':
			flood(int(rest))
		elif verb == 'descriptors':
			send_and_wait('STATUS=a gift', int(rest))
			print('descriptors taken', flush=True)
		elif verb == 'print':
			print(rest, flush=True)
		elif verb == 'sleep':
			time.sleep(float(rest))
		elif verb == 'until':
			wait_for(rest)
		elif verb == 'exit':
			sys.exit(int(rest))
	threading.Event().wait()


main()
