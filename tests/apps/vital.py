#!/usr/bin/env python3
"""A worker whose health can be steered: by files in $CONTROL, and by $MODE:

	MODE=exit    writes a line and ends before it is ready
	MODE=deaf    is never ready
	MODE=crash   ends with status 3, 300 ms after it became ready
	MODE=slow    is ready after a second

	$CONTROL/sick, sick-INSTANCE    /healthz is answered 503
	$CONTROL/mute-INSTANCE          no WATCHDOG=1 is sent any more

	/leak?MB   keeps so many MiB more
	/hang      from now on nothing is answered any more
	/slow?S    is answered after S seconds
	others     "INSTANCE PID V"
"""
import os
import socket
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

INSTANCE, MODE, CONTROL = os.environ['INSTANCE'], os.environ.get('MODE', ''), os.environ.get('CONTROL', '/nowhere')
hanging = threading.Event()
kept = []


def told(name):
	return os.path.exists(os.path.join(CONTROL, name))


def notify(text):
	with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
		s.connect(os.environ['NOTIFY_SOCKET'])
		s.send(text.encode())


class Handler(BaseHTTPRequestHandler):
	protocol_version = 'HTTP/1.1'
	disable_nagle_algorithm = True
	wbufsize = -1

	def do_GET(self):
		path, _, query = self.path.partition('?')
		status = 200
		if path == '/leak':
			kept.append(bytearray(os.urandom(1)) * (int(query) << 20))
		elif path == '/hang':
			hanging.set()
		elif path == '/slow':
			time.sleep(float(query))
		elif path == '/healthz' and (told('sick') or told('sick-' + INSTANCE)):
			status = 503
		if hanging.is_set():
			time.sleep(3600)
		body = f'{INSTANCE} {os.getpid()} {os.environ.get("V", "")}\n'.encode()
		self.send_response(status)
		self.send_header('Content-Length', str(len(body)))
		self.end_headers()
		self.wfile.write(body)

	def log_message(self, *_):
		pass


class Server(ThreadingHTTPServer):
	daemon_threads = True
	request_queue_size = 128


def feed_watchdog():
	pause = int(os.environ['WATCHDOG_USEC']) / 4e6
	while True:
		if not told('mute-' + INSTANCE):
			notify('WATCHDOG=1')
		time.sleep(pause)


if MODE == 'exit':
	print('no such database', file=sys.stderr, flush=True)
	sys.exit(7)
if MODE == 'deaf':
	print('waiting for the moon', flush=True)
	time.sleep(3600)
if MODE == 'slow':
	time.sleep(1)
server = Server(('127.0.0.1', int(os.environ['PORT'])), Handler)
notify('READY=1')
if 'WATCHDOG_USEC' in os.environ:
	threading.Thread(target=feed_watchdog, daemon=True).start()
if MODE == 'crash':
	def crash():
		time.sleep(0.3)
		print('a bug', file=sys.stderr, flush=True)
		os._exit(3)
	threading.Thread(target=crash, daemon=True).start()
server.serve_forever()
