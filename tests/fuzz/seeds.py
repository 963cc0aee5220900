#!/usr/bin/env python3
"""Makes fuzz inputs from what the repository has: the cases of tests/wire and the files
of conf.

    seeds.py FOLDER      writes FOLDER/request/*, reply/*, body/*, config/*

An input of these targets is one byte of settings and then the message or file; of the
body target, what stands behind the head."""
import os
import re
import sys

TESTS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
WIRE = os.path.join(TESTS, 'wire')
CONF = os.path.join(os.path.dirname(TESTS), 'conf')
MOST = 4096  # longer messages slow every input that grows from them
ESCAPES = {'r': '\r', 'n': '\n', 't': '\t', '\\': '\\'}


def unescape(text):
	text = re.sub(r'\\(x([0-9a-fA-F]{2})|[rnt\\])',
	              lambda m: chr(int(m[2], 16)) if m[2] else ESCAPES[m[1]], text)
	return text.encode('latin-1')


def read_case(path):
	"""kind ("request" or "reply METHOD"), message"""
	kind, message = None, b''
	with open(path, encoding='latin-1') as f:
		for line in f.read().split('\n'):
			if not line or line[0] in '#=':
				continue
			if kind is None:
				kind = line
			elif line[0] == '>':
				times, text = re.match(r'>(?:\*(\d+))? (.*)', line).groups()
				message += unescape(text) * int(times or 1)
	return kind, message


def write(folder, target, name, data):
	os.makedirs(os.path.join(folder, target), exist_ok=True)
	with open(os.path.join(folder, target, name), 'wb') as f:
		f.write(data)


def main(folder):
	for i, file in enumerate(sorted(os.listdir(WIRE))):
		name, ext = os.path.splitext(file)
		if ext != '.case':
			continue
		kind, message = read_case(os.path.join(WIRE, file))
		if len(message) > MOST:
			continue
		body = message.partition(b'\r\n\r\n')[2]
		if kind.startswith('request'):
			write(folder, 'request', name, bytes([i % 4]) + message)
		# Fewer, so that each can be cut in every way.
		for cuts in range(4):
			if kind.startswith('reply'):
				head = 4 if kind.startswith('reply HEAD') else 0
				write(folder, 'reply', f'{name}-{cuts}', bytes([cuts | head]) + message)
			if b'chunked' in message and body:
				write(folder, 'body', f'{name}-{cuts}', bytes([cuts]) + body)
	for file in sorted(os.listdir(CONF)):
		if file.endswith('.yaml'):
			with open(os.path.join(CONF, file), 'rb') as f:
				write(folder, 'config', file, b'\0' + f.read().replace(b'drover-worker', b'sh'))


main(*sys.argv[1:])
