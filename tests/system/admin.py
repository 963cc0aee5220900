"""The admin channel from outside: drover's own commands, and HTTP over its socket."""
import json
import os
import socket
import subprocess

from drover import DROVER


class Answer:
	def __init__(self, status, headers, body):
		self.status, self.headers, self.body = status, headers, body

	@property
	def json(self):
		return json.loads(self.body)


def socket_path(d):
	"""Of a running instance, as its lock file says."""
	for top in ('/run/drover', os.path.join(d.runtime_dir, 'drover')):
		try:
			with open(f'{top}/{d.name}.lock', encoding='utf-8') as f:
				return f.read().split('\n')[1]
		except FileNotFoundError:
			pass
	raise AssertionError(f'{d.name} has no lock file')


def connect(d, timeout=15):
	s = socket.socket(socket.AF_UNIX)
	s.connect(socket_path(d))  # with a timeout a full queue would be an error
	s.settimeout(timeout)
	return s


def read_answer(s):
	data = b''
	while chunk := s.recv(65536):
		data += chunk
	head, _, body = data.partition(b'\r\n\r\n')
	lines = head.decode('latin-1').split('\r\n')
	headers = {k.lower(): v.strip() for k, _, v in (line.partition(':') for line in lines[1:])}
	return Answer(int(lines[0].split(' ')[1]) if lines[0] else 0, headers, body)


def ask(d, method, path, body=None):
	"""One request over the Unix socket."""
	body = b'' if body is None else json.dumps(body).encode()
	with connect(d) as s:
		s.sendall(f'{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n'.encode() + body)
		return read_answer(s)


def status(d):
	answer = ask(d, 'GET', '/api/v1/status')
	assert answer.status == 200, answer.body
	return answer.json


def command(d, *words, name=True, timeout=60, **options):
	"""Runs a command of drover's for this instance; its streams are text."""
	words = [words[0], *(['--name', d.name] if name else []), *words[1:]]
	return subprocess.run([DROVER, *words], env=d.environment(), stdin=subprocess.DEVNULL, capture_output=True,
			      encoding='utf-8', timeout=timeout, check=False, **options)
