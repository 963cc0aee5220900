"""The open-loop load generator of tests/bench, against servers whose delays are known."""
import os
import re
import subprocess
import time

import pytest

from drover import BUILD
from peers import ok

OPENLOAD = os.path.join(BUILD, 'tests', 'bench', 'openload')


class Result:
	def __init__(self, output):
		self.output = output
		self.requests = int(re.search(r'^requests +(\d+)', output, re.M)[1])
		self.rate = float(re.search(r'^rate +([\d.]+)', output, re.M)[1])
		self.ms = {p: float(ms) for p, ms in re.findall(r'^p([\d.]+) +([\d.]+) ms', output, re.M)}
		self.errors = {kind: int(n) for kind, n in re.findall(r' ([a-z]+) (\d+)', output.splitlines()[-1])}


def openload(peer, rate, seconds, connections=4, status=0, warm=0):
	done = subprocess.run([OPENLOAD, '-c', str(connections), '-r', str(rate), '-d', str(seconds), '-w', str(warm),
			       peer.server], capture_output=True, text=True, timeout=60)
	assert done.returncode == status, done.stdout + done.stderr
	return Result(done.stdout)


def test_known_delay(peer):
	def slow(connection, _request):
		time.sleep(0.03)
		connection.send(ok())
	r = openload(peer(slow), 50, 1, warm=0.2)
	assert r.requests == 50, r.output
	assert 48 <= r.rate <= 51, r.output
	assert 30 <= r.ms['50'] < 60, r.output


def test_a_standstill_is_seen_with_all_that_would_have_come(peer):
	"""0.5 s of 2 without an answer: a quarter of the requests are late by 0 to 500 ms, a tenth by 300 or more.
	A generator that waits for replies would have had four slow ones of 800."""
	start = []

	def stalling(connection, _request):
		start[:] = start or [time.monotonic()]
		since = time.monotonic() - start[0]
		if 0.5 <= since < 1:
			time.sleep(1 - since)
		connection.send(ok())
	r = openload(peer(stalling), 400, 2)
	assert r.requests == 800, r.output
	assert r.ms['50'] < 100, r.output
	assert 200 < r.ms['90'] < 480, r.output
	assert r.ms['99'] > 400, r.output


@pytest.mark.parametrize('kind, reply', [
	('status', b'HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n'),
	('broken', b'HTTP/1.1 200 OK\r\nContent-Length : 2\r\n\r\nok'),
	('broken', ok() + b'more'),
	('ended', b'HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok'),
])
def test_errors_are_counted_by_kind(peer, kind, reply):
	def wrong(connection, _request):
		connection.send(reply)
		return kind != 'ended'
	r = openload(peer(wrong), 100, 0.2, status=1)
	assert r.errors == {**dict.fromkeys(r.errors, 0), kind: 20}, r.output


def test_connections_that_the_server_ends_are_opened_again(peer):
	def once(connection, _request):
		connection.send(ok(headers=[('Connection', 'close')]))
		return False
	server = peer(once)
	r = openload(server, 100, 0.5)
	assert r.requests == 50 and not any(r.errors.values()), r.output
	assert server.connections >= 50
