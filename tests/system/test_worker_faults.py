"""The bundled worker's misbehaviour on request: other tests rely on it, so it is tested too."""
import time

import pytest

import procs
from one_worker import pattern, kept_worker, start_worker, worker  # noqa: F401
from procs import wait_until
from wire import Closed, request_bytes


def raw(w, target, method='GET', **options):
	"""Everything that comes back for one request, and whether it ended with a reset."""
	with w.connect(**options) as c:
		c.send(request_bytes(method, target, (('Connection', 'close'),)))
		data = b''
		while True:
			try:
				more = c.sock.recv(65536)
			except ConnectionResetError:
				return data, True
			if not more:
				return data, False
			data += more


def body_of(data):
	return data.split(b'\r\n\r\n', 1)[1]


# Who is it?

def test_instance_pid_env_headers(worker):
	assert worker.get('/instance').text == '3\n'
	assert worker.get('/pid').text == f'{worker.pid}\n'
	assert worker.get('/env?DROVER_APP').text == 'app' and worker.get('/env?DROVER_RELEASE').text == 'r7'
	assert worker.get('/env?NOT_SET').status == 404
	with worker.connect() as c:
		sent = request_bytes('GET', '/headers?x', (('X-One', ' 1 '), ('x-two', '\u00e9'), ('X-One', '2')))
		c.send(sent)
		r = c.reply()
		assert r.body == sent and r.get('Content-Type').startswith('text/plain')


@pytest.mark.parametrize('target', ['/huge?bytes=x', '/slow?ms=-1', '/exit?code=256', '/status?code=600', '/status?code=150',
				     '/cut?after=', '/drip?bytes=99999999', '/huge?chunked=2', '/bad', '/bad?kind=none'])
def test_wrong_parameters_are_named(worker, target):
	assert worker.get(target).status == 400


# Slow

def test_slow(worker):
	since = time.monotonic()
	assert worker.get('/slow?ms=300').text == 'slow\n'
	assert 0.29 <= time.monotonic() - since < 3, 'give or take a tick of the coarse clock'


def test_drip(worker):
	with worker.connect() as c:
		c.request(target='/drip?bytes=5&ms=50')
		head, since, pieces = c.head(), time.monotonic(), []
		for data in c.body(head):
			pieces.append(data)
		assert b''.join(pieces) == pattern(5) and len(pieces) == 5
		assert time.monotonic() - since >= 0.19


def test_hang(worker):
	with worker.connect() as c:
		c.request(target='/hang')
		assert c.silent_for(0.5)
	wait_until(lambda: worker.descriptors() == worker.idle_descriptors, 5, 'a client that left is let go')


# Cut short

def test_close(worker):
	with worker.connect() as c:
		c.request(target='/close')
		with pytest.raises(Closed):
			c.reply()
	assert raw(worker, '/close') == (b'', False)
	with worker.connect() as c:
		assert c.ask(target='/close?answer=1').closes and c.closed_within(5)


@pytest.mark.parametrize('after', [0, 1, 5000, 1000000])
def test_cut(worker, after):
	data, was_reset = raw(worker, f'/cut?after={after}')
	assert body_of(data) == pattern(after) and not was_reset
	with worker.connect() as c:
		c.request(target=f'/cut?after={after}')
		assert int(c.head().get('Content-Length')) > after


@pytest.mark.parametrize('after', [0, 1, 5000, 1000000])
def test_reset(worker, after):
	data, was_reset = raw(worker, f'/reset?after={after}')
	assert body_of(data) == pattern(after) and was_reset


def test_reset_of_who_has_left(worker):
	"""Bytes that nobody will acknowledge are not waited for."""
	for _ in range(10):
		c = worker.connect(receive_buffer=16384)
		c.request(target='/reset?after=200000')
		c.shut_write()
		c.read_some(1)
		time.sleep(0.01)  # it is the order that counts: first our FIN, later our reset
		c.close()
	wait_until(lambda: worker.descriptors() == worker.idle_descriptors, 3, 'all are let go')


def test_reset_before_any_byte(worker):
	assert raw(worker, '/reset?after=-1') == (b'', True)


def test_reset_on_a_unix_socket_is_an_end(start_worker, tmp_path):
	w = start_worker('--test', '--port', str(tmp_path / 's'))
	data, _ = raw(w, '/reset?after=100')
	assert body_of(data) == pattern(100)


# The end of the process

def test_crash(worker):
	with pytest.raises(Closed):
		worker.get('/crash')
	assert worker.ended(status=-6)


@pytest.mark.parametrize('code', [0, 3, 255])
def test_exit(worker, code):
	with pytest.raises(Closed):
		worker.get(f'/exit?code={code}')
	assert worker.ended(status=code)


# Statuses

@pytest.mark.parametrize('code', [200, 204, 205, 301, 304, 404, 418, 500, 503, 599])
def test_status(worker, code):
	with worker.connect() as c:
		for method in ('GET', 'HEAD', 'GET'):
			r = c.ask(method, f'/status?code={code}')
			assert r.status == code
			if code in (204, 304):
				assert r.get('Content-Length') is None and r.get('Transfer-Encoding') is None
			elif method == 'GET':
				assert r.text == (f'status {code}\n' if code != 205 else '')


def test_interim_replies(worker):
	with worker.connect() as c:
		r = c.ask(target='/early')
		assert [i.status for i in r.interim] == [103] and r.interim[0].get('Link').startswith('</style.css>')
		assert r.text == 'after early hints\n'
		r = c.ask('POST', '/continue', body=b'hello')
		assert [i.status for i in r.interim] == [100] and r.text == '5 3610a686\n'
		for target in ('/early', '/continue'):
			r = c.ask(target=target, version='HTTP/1.0', headers=(('Connection', 'keep-alive'),))
			assert r.status == 200 and r.interim == []


def test_expect417(worker):
	with worker.connect() as c:
		c.send(request_bytes('POST', '/expect417', (('Expect', '100-continue'), ('Content-Length', '5'))))
		r = c.reply()
		assert r.status == 417 and r.closes and r.interim == []


def test_early_reply(worker):
	with worker.connect() as c:
		c.send(request_bytes('POST', '/early-reply', (('Content-Length', '10000000'),)) + b'x' * 1000)
		r = c.reply()
		assert r.status == 413 and r.closes
		for _ in range(20):
			c.send(b'x' * 100000)  # still taken: the end is orderly
		c.shut_write()
		assert c.closed_within(5)
	with worker.connect() as c:
		c.send(request_bytes('POST', '/early-reply?linger=0', (('Content-Length', '10000000'),)))
		assert c.reply().status == 413
		with pytest.raises(OSError):
			for _ in range(1000):
				c.send(b'x' * 100000)


# Malformed

@pytest.mark.parametrize('kind, mark', [
	('two-content-lengths', b'Content-Length: 5\r\nContent-Length: 6'),
	('cl-te', b'Content-Length: 5\r\nTransfer-Encoding: chunked'),
	('garbage-status-line', b'HTP/1.1 2OO'),
	('bare-lf', b'200 OK\nContent-Length'),
	('chunked-bad-size', b'\r\nxyz\r\n'),
	('extra-bytes-after-reply', b'hello' b'HTTP/1.1 200 OK'),
	('header-injection', b'X-Name: a\rSet-Cookie: injected=1\r\n'),
	('huge-head', b'x' * 1000),
])
def test_bad(worker, kind, mark):
	data, _ = raw(worker, f'/bad?kind={kind}')
	assert mark in data
	if kind == 'huge-head':
		head = data[:data.index(b'\r\n\r\n')]
		assert len(head) >= 1 << 20 and data.endswith(b'\r\n\r\nhello')
		assert all(b': ' in line for line in head.split(b'\r\n')[1:])
	with worker.connect() as c:
		c.request(target=f'/bad?kind={kind}')
		c.read_until(mark, limit=2 << 20)
		c.buffer = b''
		while not c.silent_for(0.2):
			assert c.read_some(), 'to end the connection is up to the reader'
	assert {'two-content-lengths', 'cl-te'} <= set(worker.get('/bad').text.replace(',', '').split())


# Old and unframed

def test_http10(worker):
	data, was_reset = raw(worker, '/http10?bytes=70000')
	assert data.startswith(b'HTTP/1.0 200 OK\r\n') and body_of(data) == pattern(70000) and not was_reset
	assert b'ontent-Length' not in data.split(b'\r\n\r\n')[0]


def test_nolength(worker):
	data, was_reset = raw(worker, '/nolength?bytes=70000')
	assert data.startswith(b'HTTP/1.1 200 OK\r\n') and body_of(data) == pattern(70000) and not was_reset
	assert body_of(raw(worker, '/nolength', 'HEAD')[0]) == b''


# Tunnels

UPGRADE = (('Connection', 'keep-alive, Upgrade'), ('Upgrade', 'other, ECHO'))


def test_upgrade(worker):
	with worker.connect() as c:
		c.send(request_bytes(target='/upgrade', headers=UPGRADE) + b'at once')
		r = c.head()
		assert r.status == 101 and r.get('Upgrade') == 'echo' and r.get('Connection').lower() == 'upgrade'
		assert c.read_exactly(7) == b'at once'
		for n in (1, 1000, 60000):
			c.send(pattern(n))
			assert c.read_exactly(n) == pattern(n)
		c.send(b'last words')
		c.shut_write()
		assert c.read_all() == b'last words'


def test_upgrade_holds_back_what_nobody_reads(worker):
	before = procs.memory_kib(worker.pid)
	with worker.connect(receive_buffer=16384) as c:
		c.send(request_bytes(target='/upgrade', headers=UPGRADE))
		c.head()
		c.sock.settimeout(0.5)
		sent, piece = 0, pattern(251000)
		try:
			while sent < 64 << 20:
				sent += c.sock.send(piece[sent % 251:])
		except TimeoutError:
			pass
		assert sent < 64 << 20, 'the sender is stopped'
		assert procs.memory_kib(worker.pid) - before < 2048
		c.sock.settimeout(10)
		assert c.read_exactly(sent) == pattern(sent)


def test_no_upgrade(worker):
	with worker.connect() as c:
		for headers in ((), (('Upgrade', 'echo'),), (('Connection', 'upgrade'), ('Upgrade', 'websocket'))):
			r = c.ask(target='/upgrade', headers=headers)
			assert r.status == 426 and r.get('Upgrade') == 'echo'


def test_a_tunnel_is_cut_when_patience_ends(worker):
	with worker.connect() as c:
		c.send(request_bytes(target='/upgrade', headers=UPGRADE))
		c.head()
		worker.terminate()
		wait_until(worker.refuses, 5, 'nobody listens')
		c.send(b'still there')
		assert c.read_exactly(11) == b'still there'
		worker.terminate()
		assert worker.ended(status=1) and c.closed_within(1)
