#!/usr/bin/env python3
"""A threaded HTTP/1.1 server of the standard library: one JSON route, no signal
handler, so SIGTERM ends it on the spot."""
import json
import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Handler(BaseHTTPRequestHandler):
	protocol_version = 'HTTP/1.1'
	disable_nagle_algorithm = True
	wbufsize = -1  # head and body leave together

	def do_GET(self):
		body = json.dumps({'instance': int(os.environ['INSTANCE']), 'pid': os.getpid()}).encode()
		self.send_response(200)
		self.send_header('Content-Type', 'application/json')
		self.send_header('Content-Length', str(len(body)))
		self.end_headers()
		self.wfile.write(body)

	def log_message(self, *args):
		pass


class Server(ThreadingHTTPServer):
	request_queue_size = 256
	daemon_threads = True


Server((os.environ['HOST'], int(os.environ['PORT'])), Handler).serve_forever()
