#!/usr/bin/env python3
"""A worker that appends to $RECORD/PID what it sees, one line each with its monotonic time in
nanoseconds: "open C", "bytes C N", "end C" (the peer's FIN or reset), "reply C", "signal NAME".  C numbers
its connections.  By target: /slow?ms=N answers late; an Upgrade begins an echoing tunnel; else at once.
After SIGTERM it goes on until its connections have ended, or for a second."""
import os
import signal
import socket
import threading
import time

record = os.open(os.path.join(os.environ['RECORD'], str(os.getpid())), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
stopping = threading.Event()
living = 0
lock = threading.Lock()


def note(*words):
	os.write(record, (' '.join(map(str, (time.monotonic_ns(), *words))) + '\n').encode())


def receive(connection, number):
	try:
		data = connection.recv(65536)
	except OSError:
		data = b''
	note(*(('bytes', number, len(data)) if data else ('end', number)))
	return data


def serve(connection, number):
	global living
	buffer = b''
	with connection:
		while True:
			while b'\r\n\r\n' not in buffer:
				data = receive(connection, number)
				if not data:
					with lock:
						living -= 1
					return
				buffer += data
			head, _, buffer = buffer.partition(b'\r\n\r\n')
			target = head.split(b' ')[1]
			if b'\nupgrade:' in head.lower():
				connection.sendall(b'HTTP/1.1 101 Go\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n')
				while data := receive(connection, number):
					connection.sendall(data)
				with lock:
					living -= 1
				return
			if target.startswith(b'/slow?ms='):
				time.sleep(int(target[9:]) / 1000)
			note('reply', number)
			body = str(os.getpid()).encode()
			try:
				connection.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s' % (len(body), body))
			except OSError:
				pass


def accept(listener):
	global living
	number = 0
	while True:
		connection, _ = listener.accept()
		number += 1
		note('open', number)
		with lock:
			living += 1
		threading.Thread(target=serve, args=(connection, number), daemon=True).start()


def on_term(*_):
	note('signal', 'SIGTERM')
	stopping.set()


signal.signal(signal.SIGTERM, on_term)
listener = socket.create_server(('127.0.0.1', int(os.environ['PORT'])), backlog=128)
threading.Thread(target=accept, args=(listener,), daemon=True).start()
while not stopping.is_set():
	time.sleep(0.01)
time.sleep(0.3) # what comes after the signal would show
note('exit')
