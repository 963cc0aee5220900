"""The bundled worker by itself: what it serves, how it keeps connections, how it ends."""
import json
import os
import signal
import socket
import subprocess
import time
import zlib

import pytest

import procs
from one_worker import SANITIZED, WORKER, environment, pattern, kept_worker, start_worker, worker  # noqa: F401
from procs import wait_until
from wire import Closed, Truncated, request_bytes

BIG = (8 if SANITIZED else 64) << 20


# The page

def test_welcome_page(start_worker):
	w = start_worker(env={'INSTANCE': '2', 'DROVER_APP': '<web>&"x"'})
	r = w.get('/', ('Accept', 'text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8'))
	assert r.status == 200 and r.get('Content-Type') == 'text/html; charset=utf-8'
	assert '<title>Instance 2 of &lt;web&gt;&amp;&quot;x&quot;</title>' in r.text
	assert f'<dd>{w.pid}</dd>' in r.text and '@media' in r.text and 'prefers-color-scheme:dark' in r.text
	assert 'http://' not in r.text and 'https://' not in r.text, 'needs no network'
	assert r.get('Vary') == 'Accept' and r.get('Cache-Control') == 'no-store'


@pytest.mark.parametrize('accept, is_json', [
	('application/json', True), ('application/json, text/html;q=0.5', True), ('application/*', True),
	('text/html;q=0, */*', True), ('text/html;q=0.3,application/json;q=0.31', True),
	('application/json;q=0.5, text/html', False), ('*/*', False), ('text/html', False), ('image/png', False),
	('application/json;q=0', False), (None, False)])
def test_page_or_json(start_worker, accept, is_json):
	w = start_worker(env={'INSTANCE': '5', 'DROVER_APP': 'a"\\\t', 'DROVER_RELEASE': '9'})
	r = w.get('/', *([('Accept', accept)] if accept else []))
	assert r.status == 200
	assert r.get('Content-Type') == ('application/json' if is_json else 'text/html; charset=utf-8')
	if is_json:
		answer = json.loads(r.text)
		assert answer.pop('uptime_s') in range(60)
		assert answer == {'app': 'a"\\\t', 'instance': 5, 'release': '9', 'pid': w.pid, 'requests': 1}


def test_other_addresses_and_methods(start_worker):
	w = start_worker()
	r = w.get('/nope')
	assert r.status == 404 and r.get('Content-Type').startswith('text/plain')
	r = w.get('/nope', ('Accept', 'text/html'))
	assert r.status == 404 and '<h1>404 Not Found</h1>' in r.text
	r = w.ask('POST', '/', body=b'x')
	assert r.status == 405 and r.get('Allow') == 'GET, HEAD'
	full, head = w.get('/'), w.ask('HEAD', '/')
	assert head.get('Content-Length') == full.get('Content-Length') and head.body == b''
	for target in ('/instance', '/crash', '/exit', '/hang', '/echo'):
		assert w.get(target).status == 404, 'test mode is off'


# Arguments and environment

def run(*args, env=None):
	return subprocess.run([WORKER, *args], env=environment(env or {}), capture_output=True, text=True, timeout=20)


def test_help_and_version():
	r = run('--help')
	assert r.returncode == 0 and '--keep-alive' in r.stdout and r.stderr == ''
	r = run('--version')
	assert r.returncode == 0 and r.stdout.startswith('drover-worker ')


@pytest.mark.parametrize('args, env, status, text', [
	(['--wrong'], {}, 2, '--wrong'),
	(['--port', '65536'], {}, 2, '65536'),
	(['--port', '8x'], {}, 2, '8x'),
	(['--host', 'no.such.name'], {}, 2, 'no.such.name'),
	(['--port', '/' + 'x' * 200], {}, 2, 'too long'),
	(['--keep-alive', 'never'], {}, 2, 'never'),
	(['/tmp', '/tmp'], {}, 2, 'one directory'),
	([], {'INSTANCE': 'one'}, 2, 'one'),
	([], {'PORT': 'http'}, 2, 'http'),
	(['--port', '0', '/no/such/directory'], {}, 1, '/no/such/directory: No such file or directory'),
	(['--port', '0', WORKER], {}, 1, 'Not a directory'),
	(['--port', '/no/such/directory/socket'], {}, 1, 'unix:/no/such/directory/socket'),
	(['--host', '192.0.2.1'], {}, 1, '192.0.2.1'),
])
def test_wrong_usage_is_named(args, env, status, text):
	r = run(*args, env=env)
	assert r.returncode == status and text in r.stderr, r.stderr


def test_port_in_use(start_worker):
	w = start_worker()
	r = run('--port', str(w.address[1]))
	assert r.returncode == 1 and f'127.0.0.1:{w.address[1]}' in r.stderr and 'in use' in r.stderr


def test_environment_and_arguments(start_worker):
	port = procs.free_port()
	assert start_worker(env={'PORT': str(port)}).address == ('127.0.0.1', port)
	w = start_worker('--host', '::1', env={'PORT': '0', 'HOST': '127.0.0.1'})
	assert w.address[0] == '::1' and w.get('/').status == 200
	assert start_worker('--host', 'localhost').address[0] == '127.0.0.1'


def test_unix_socket(start_worker, tmp_path):
	path = str(tmp_path / 'socket')
	stale = socket.socket(socket.AF_UNIX)
	stale.bind(path)
	stale.close()
	w = start_worker('--test', env={'PORT': path})
	assert w.address == path and w.get('/instance').text == '0\n'
	w.terminate()
	assert w.ended() and not os.path.exists(path)


def test_what_a_successor_put_there_stays(start_worker, tmp_path):
	path = str(tmp_path / 'socket')
	w = start_worker(env={'PORT': path})
	os.unlink(path)
	successor = start_worker(env={'PORT': path})
	w.terminate()
	assert w.ended() and successor.get('/').status == 200


# Connections

def test_keep_alive_and_close(worker):
	with worker.connect() as c:
		for _ in range(3):
			r = c.ask(target='/instance')
			assert r.text == '3\n' and not r.closes
		assert c.ask(target='/instance', headers=(('Connection', 'close'),)).closes and c.closed_within(5)
	with worker.connect() as c:
		r = c.ask(target='/instance', version='HTTP/1.0', headers=(('Connection', 'keep-alive'),))
		assert r.get('Connection') == 'keep-alive'
		assert c.ask(target='/instance', version='HTTP/1.0').closes and c.closed_within(5)


@pytest.mark.parametrize('seconds, low, high', [(1, 0.7, 3.0), (0, 0, 0.5)])
def test_idle_limit(start_worker, seconds, low, high):
	w = start_worker('--test', '--keep-alive', str(seconds))
	with w.connect() as c:
		assert c.ask(target='/instance').closes == (seconds == 0)
		since = time.monotonic()
		assert c.closed_within(10) and low <= time.monotonic() - since <= high


def test_pipelined_requests_are_answered_in_order(worker):
	targets = ['/slow?ms=100', '/instance', '/status?code=404', '/huge?bytes=300000', '/early', '/pid',
		   '/drip?bytes=3&ms=10', '/status?code=204', '/huge?bytes=5000&chunked=1'] * 5
	with worker.connect() as c:
		c.send(b''.join(request_bytes(target=t) for t in targets) + request_bytes('POST', '/echo', body=b'end'))
		lengths = [len(c.reply().body) for _ in targets]
		assert lengths == [5, 2, 11, 300000, 18, len(f'{worker.pid}\n'), 3, 0, 5000] * 5
		assert c.reply().body == b'end'


def test_many_pipelined_requests_at_once(worker):
	with worker.connect() as c:
		c.send(request_bytes(target='/instance') * 1000)
		assert all(c.reply().text == '3\n' for _ in range(1000))


def test_head_byte_by_byte(worker):
	with worker.connect() as c:
		for byte in request_bytes(target='/instance'):
			c.send(bytes([byte]))
		assert c.reply().text == '3\n'


@pytest.mark.parametrize('raw, status', [
	(b'GET / HTTP/1.1\r\n\r\n', 400), (b'nonsense\r\n\r\n', 400), (b'GET / HTTP/2.0\r\nHost: x\r\n\r\n', 505),
	(b'POST /sink HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n', 400),
	(b'POST /sink HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n', 400),
	(b'GET /' + b'x' * 20000 + b' HTTP/1.1\r\nHost: x\r\n\r\n', 414),
	(b'GET / HTTP/1.1\r\nHost: x\r\nX: ' + b'y' * 40000 + b'\r\n\r\n', 431),
	(b'TRACE / HTTP/1.1\r\nHost: x\r\n\r\n', 501),
], ids=lambda v: v if isinstance(v, int) else v[:12].decode())
def test_malformed_requests_are_refused(worker, raw, status):
	with worker.connect() as c:
		c.send(raw + request_bytes(target='/exit'))
		r = c.reply()
		assert r.status == status and r.closes and c.closed_within(5)


def test_a_client_that_has_ended_its_side_gets_its_reply(worker):
	with worker.connect() as c:
		c.request(target='/slow?ms=100')
		c.request(target='/instance')
		c.shut_write()
		assert c.reply().text == 'slow\n' and c.reply().text == '3\n' and c.closed_within(5)


def test_half_a_request_and_an_end(worker):
	for raw in (b'', b'GET / HT', request_bytes('POST', '/sink', (('Content-Length', '9'),)) + b'half',
		    request_bytes('POST', '/echo', (('Transfer-Encoding', 'chunked'),)) + b'5\r\nha'):
		with worker.connect() as c:
			c.send(raw)
			c.shut_write()
			with pytest.raises((Closed, Truncated)):
				c.reply()


def test_clients_that_go_away(worker):
	for target in ('/huge?bytes=100000000', '/drip?bytes=100&ms=1', '/slow?ms=50', '/hang', '/echo'):
		c = worker.connect()
		c.request(target=target)
		c.reset()
		c = worker.connect()
		c.request(target=target)
		if 'huge' in target:
			c.read_some()
		c.close()
	assert worker.get('/instance').text == '3\n'


def test_an_unwanted_body_is_dropped_or_ends_the_connection(worker):
	with worker.connect() as c:
		assert c.ask('POST', '/instance', body=b'x' * 100000).text == '3\n'
		r = c.ask('POST', '/instance', body=[b'y' * 100])
		assert r.text == '3\n' and r.closes and c.closed_within(10)
	with worker.connect() as c:
		c.send(request_bytes('POST', '/instance', (('Content-Length', '100000000'),)))
		assert c.reply().closes
		for _ in range(10):
			c.send(b'z' * 100000)
		c.shut_write()
		assert c.closed_within(10)


def test_out_of_descriptors(start_worker):
	w = start_worker('--test', descriptors=20)
	clients = [w.connect() for _ in range(40)]
	for c in clients:
		c.request(target='/instance')
	wait_until(lambda: 'cannot accept' in w.log(), 10, 'the worker runs out of descriptors')
	assert clients[-1].silent_for(0.5)
	assert w.log().count('cannot accept') == 1 and w.cpu_seconds() < 0.25, 'it waits'
	for c in clients:
		assert c.reply().text == '0\n'
		c.close()


# Bodies

@pytest.mark.parametrize('n', [0, 1, 65535, 65536, 1000000])
@pytest.mark.parametrize('chunked', [False, True])
def test_echo(worker, n, chunked):
	body = pattern(n)
	with worker.connect() as c:
		for _ in range(2):
			r = c.ask('POST', '/echo', body=[body[i:i + 70000] for i in range(0, n, 70000)] if chunked else body)
			assert r.status == 200 and r.body == body and r.chunked == chunked


@pytest.mark.parametrize('chunked', [False, True])
def test_big_echo_in_bounded_memory(worker, chunked):
	"""A reader that lags: what is under way must wait in the sender, not in the worker."""
	before, piece, crc = procs.memory_kib(worker.pid), pattern(1 << 20), 0
	framing = ('Transfer-Encoding', 'chunked') if chunked else ('Content-Length', str(BIG))
	with worker.connect(receive_buffer=16384) as c:
		c.send(request_bytes('POST', '/echo', (framing,)))
		sender = subprocess_sender(c.sock, piece, BIG >> 20, chunked)
		try:
			reply = c.head()
			for n, data in enumerate(c.body(reply)):
				crc = zlib.crc32(data, crc)
				if n == 50:
					time.sleep(0.2)  # the lag itself, not a wait for something
					grown = procs.memory_kib(worker.pid) - before
		finally:
			os.waitpid(sender, 0)
	assert reply.chunked == chunked and grown < (4096 if SANITIZED else 1024), f'{grown} KiB more'
	expected = 0
	for _ in range(BIG >> 20):
		expected = zlib.crc32(piece, expected)
	assert crc == expected


def subprocess_sender(sock, piece, times, chunked):
	"""Sends from a process of its own, so that reading never waits for it."""
	pid = os.fork()
	if pid:
		return pid
	try:
		sock.settimeout(60)
		for _ in range(times):
			sock.sendall(b'%x\r\n%s\r\n' % (len(piece), piece) if chunked else piece)
		if chunked:
			sock.sendall(b'0\r\n\r\n')
	finally:
		os._exit(0)


@pytest.mark.parametrize('chunked', [False, True])
def test_sink(worker, chunked):
	body = pattern(3000000)
	with worker.connect() as c:
		r = c.ask('PUT', '/sink', body=[body[:7], body[7:]] if chunked else body)
		assert r.text == f'{len(body)} {zlib.crc32(body):08x}\n'
		assert c.ask('PUT', '/sink', body=b'').text == '0 00000000\n'


@pytest.mark.parametrize('chunked', [0, 1])
@pytest.mark.parametrize('n', [0, 1, 32768, 5000000])
def test_huge(worker, n, chunked):
	r = worker.get(f'/huge?bytes={n}&chunked={chunked}')
	assert r.body == pattern(n) and r.chunked == bool(chunked)
	r = worker.get(f'/huge?bytes={n}&chunked={chunked}', version='HTTP/1.0')
	assert r.body == pattern(n) and not r.chunked
	r = worker.ask('HEAD', f'/huge?bytes={n}&chunked={chunked}')
	assert r.status == 200 and (r.get('Transfer-Encoding') is not None) == bool(chunked)


def test_expect_100_continue(worker):
	for target, answer in (('/echo', b'hello'), ('/sink', b'5 3610a686\n'), ('/continue', b'5 3610a686\n')):
		with worker.connect() as c:
			for _ in range(2):
				c.send(request_bytes('POST', target, (('Expect', '100-continue'), ('Content-Length', '5'))))
				assert c.read_until(b'\r\n\r\n').startswith(b'HTTP/1.1 100 ')
				c.send(b'hello')
				r = c.reply()
				assert r.body == answer and r.interim == []


def test_expect_100_continue_for_nothing(worker):
	with worker.connect() as c:
		c.send(request_bytes('POST', '/instance', (('Expect', '100-continue'), ('Content-Length', '5'))))
		r = c.reply()
		assert r.interim == [] and r.text == '3\n' and r.closes
	assert worker.ask('POST', '/echo', (('Expect', 'wonders'),), b'x').status == 417


# The end

def test_drain_answers_what_is_in_flight(worker):
	with worker.connect() as busy, worker.connect() as idle, worker.connect() as queued:
		idle.ask(target='/instance')
		busy.request(target='/slow?ms=500')
		wait_until(lambda: worker.descriptors() == worker.idle_descriptors + 3, 5, 'all are accepted')
		queued.request(target='/slow?ms=400')
		worker.terminate()
		assert idle.closed_within(0.4), 'idle ones end at once'
		wait_until(worker.refuses, 1, 'nobody listens')
		for c in (busy, queued):
			r = c.reply()
			assert r.text == 'slow\n' and r.closes and c.closed_within(5)
	assert worker.ended() and 'draining: ' in worker.log()


def test_drain_serves_who_is_in_the_queue(worker):
	"""Connections that the worker has not accepted yet, with a request each, and without."""
	os.kill(worker.pid, signal.SIGSTOP)
	clients = [worker.connect() for _ in range(150)]
	late = worker.connect()
	for c in clients:
		c.request(target='/instance')
	worker.terminate()
	os.kill(worker.pid, signal.SIGCONT)
	wait_until(worker.refuses, 5, 'nobody listens')
	assert late.silent_for(0.5), 'it is given some time'
	late.request(target='/instance')
	for c in [*clients, late]:
		assert c.reply().text == '3\n' and c.closed_within(5)
		c.close()
	assert worker.ended()


def test_drain_serves_the_queue_when_descriptors_are_short(start_worker):
	w = start_worker('--test', descriptors=20)
	clients = [w.connect() for _ in range(40)]
	wait_until(lambda: 'cannot accept' in w.log(), 10, 'the worker runs out of descriptors')
	for c in clients:
		c.request(target='/instance')
	w.terminate()
	for c in clients:
		assert c.reply().text == '0\n' and c.closed_within(5)
	assert w.ended()


def test_drain_finishes_long_replies_and_bodies(worker):
	with worker.connect(receive_buffer=16384) as reader, worker.connect() as writer:
		reader.request(target='/huge?bytes=3000000')
		head = reader.head()
		writer.send(request_bytes('POST', '/sink', (('Content-Length', '10'),)) + b'12345')
		wait_until(lambda: worker.descriptors() == worker.idle_descriptors + 2, 5, 'both are accepted')
		worker.terminate()
		wait_until(worker.refuses, 5, 'nobody listens')
		assert worker.process.poll() is None
		assert b''.join(reader.body(head)) == pattern(3000000) and reader.closed_within(5)
		writer.send(b'67890')
		r = writer.reply()
		assert r.text.startswith('10 ') and r.closes
	assert worker.ended()


def test_drain_serves_pipelined_requests_up_to_the_close(worker):
	with worker.connect() as c:
		c.send(request_bytes(target='/drip?bytes=5&ms=60') + request_bytes(target='/instance'))
		assert not c.head().closes
		worker.terminate()
		assert c.read_exactly(5) == pattern(5)
		r = c.reply()
		assert r.text == '3\n' and r.closes and c.closed_within(5)
	assert worker.ended()


@pytest.mark.parametrize('signum', [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT])
def test_every_end_signal(start_worker, signum):
	w = start_worker()
	w.process.send_signal(signum)
	assert w.ended()


def test_second_signal_ends_at_once(worker):
	with worker.connect() as c:
		c.request(target='/hang')
		wait_until(lambda: worker.descriptors() > worker.idle_descriptors, 5, 'it is accepted')
		worker.terminate()
		wait_until(lambda: 'draining' in worker.log(), 5, 'the first signal is seen')
		worker.terminate()
		assert worker.ended(status=1, timeout=2), 'a request was cut'
		assert c.closed_within(1)


def test_patience_ends(worker):
	with worker.connect() as c:
		c.request(target='/hang')
		wait_until(lambda: worker.descriptors() > worker.idle_descriptors, 5, 'it is accepted')
		since = time.monotonic()
		worker.terminate()
		assert worker.ended(status=1, timeout=12) and 9.5 < time.monotonic() - since
	assert 'unfinished' in worker.log()


def test_a_silent_connection_does_not_hold_up_the_end(worker):
	with worker.connect() as c:
		wait_until(lambda: worker.descriptors() > worker.idle_descriptors, 5, 'it is accepted')
		worker.terminate()
		assert worker.ended(timeout=3) and c.closed_within(1)
