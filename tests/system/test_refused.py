"""What is malformed or ambiguous is refused, never passed on: from clients with
the status that names the fault, from workers with 502."""
import signal

import pytest

from peers import ok
from wire import Closed, request_bytes

HOST = b'Host: x\r\n'
POST = b'POST / HTTP/1.1\r\n' + HOST
CHUNKED = POST + b'Transfer-Encoding: chunked\r\n\r\n'
FIELDS = b''.join(b'X-%d: y\r\n' % i for i in range(101))

# (what it is, bytes, status)
HEADS = [
	('no host', b'GET / HTTP/1.1\r\n\r\n', 400),
	('two hosts', b'GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n', 400),
	('host with a path', b'GET / HTTP/1.1\r\nHost: a/b\r\n\r\n', 400),
	('host with user', b'GET / HTTP/1.1\r\nHost: u@a\r\n\r\n', 400),
	('target and host differ', b'GET http://a/ HTTP/1.1\r\nHost: b\r\n\r\n', 400),
	('length and coding', POST + b'Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n', 400),
	('coding and length', POST + b'Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n', 400),
	('two lengths that differ', POST + b'Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd', 400),
	('two lengths alike', POST + b'Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc', 400),
	('list of lengths', POST + b'Content-Length: 3, 3\r\n\r\nabc', 400),
	('signed length', POST + b'Content-Length: +3\r\n\r\nabc', 400),
	('negative length', POST + b'Content-Length: -3\r\n\r\n', 400),
	('hex length', POST + b'Content-Length: 0x3\r\n\r\nabc', 400),
	('length with a blank', POST + b'Content-Length: 3 3\r\n\r\nabc', 400),
	('empty length', POST + b'Content-Length:\r\n\r\n', 400),
	('length beyond 64 bits', POST + b'Content-Length: 99999999999999999999999\r\n\r\n', 400),
	('unknown coding', POST + b'Transfer-Encoding: gzip\r\n\r\n', 501),
	('chunked and more', POST + b'Transfer-Encoding: gzip, chunked\r\n\r\n', 501),
	('chunked is not last', POST + b'Transfer-Encoding: chunked, gzip\r\n\r\n', 501),
	('two codings', POST + b'Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n', 400),
	('coding with a vertical tab', POST + b'Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n', 400),
	('coding in 1.0', b'POST / HTTP/1.0\r\n' + HOST + b'Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n', 400),
	('blank before a colon', b'GET / HTTP/1.1\r\nHost: x\r\nX-A : b\r\n\r\n', 400),
	('folded line', b'GET / HTTP/1.1\r\nHost: x\r\nX-A: b\r\n c\r\n\r\n', 400),
	('first field folded', b'GET / HTTP/1.1\r\n Host: x\r\n\r\n', 400),
	('bare LF', b'GET / HTTP/1.1\nHost: x\n\n', 400),
	('one bare LF', b'GET / HTTP/1.1\r\nHost: x\nX: y\r\n\r\n', 400),
	('bare CR', b'GET / HTTP/1.1\r\nHost: x\rX: y\r\n\r\n', 400),
	('NUL in a value', b'GET / HTTP/1.1\r\nHost: x\r\nX: a\0b\r\n\r\n', 400),
	('DEL in a value', b'GET / HTTP/1.1\r\nHost: x\r\nX: a\x7fb\r\n\r\n', 400),
	('no colon', b'GET / HTTP/1.1\r\nHost: x\r\nnonsense\r\n\r\n', 400),
	('empty name', b'GET / HTTP/1.1\r\nHost: x\r\n: y\r\n\r\n', 400),
	('name with a blank', b'GET / HTTP/1.1\r\nHost: x\r\nX Y: z\r\n\r\n', 400),
	('name in UTF-8', b'GET / HTTP/1.1\r\nHost: x\r\nX\xc3\xa9: z\r\n\r\n', 400),
	('method with a colon', b'G:T / HTTP/1.1\r\nHost: x\r\n\r\n', 400),
	('two blanks', b'GET  / HTTP/1.1\r\nHost: x\r\n\r\n', 400),
	('tab for a blank', b'GET\t/ HTTP/1.1\r\nHost: x\r\n\r\n', 400),
	('blank in the target', b'GET /a b HTTP/1.1\r\nHost: x\r\n\r\n', 400),
	('target without a slash', b'GET a HTTP/1.1\r\nHost: x\r\n\r\n', 400),
	('fragment', b'GET /a#b HTTP/1.1\r\nHost: x\r\n\r\n', 400),
	('star for GET', b'GET * HTTP/1.1\r\nHost: x\r\n\r\n', 400),
	('no version', b'GET /\r\n\r\n', 400),
	('version in lower case', b'GET / http/1.1\r\nHost: x\r\n\r\n', 400),
	('version with more digits', b'GET / HTTP/1.10\r\nHost: x\r\n\r\n', (400, 505)),
	('version 1.2', b'GET / HTTP/1.2\r\nHost: x\r\n\r\n', 505),
	('version 2.0', b'GET / HTTP/2.0\r\nHost: x\r\n\r\n', 505),
	('preface of HTTP/2', b'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', (400, 505)),
	('TLS', b'\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03' + bytes(40) + b'\r\n\r\n', 400),
	('CONNECT', b'CONNECT x:443 HTTP/1.1\r\nHost: x:443\r\n\r\n', 501),
	('TRACE', b'TRACE / HTTP/1.1\r\nHost: x\r\n\r\n', 501),
	('long target', b'GET /' + b'a' * 9000 + b' HTTP/1.1\r\nHost: x\r\n\r\n', 414),
	('long head', b'GET / HTTP/1.1\r\nHost: x\r\nX: ' + b'a' * 17000 + b'\r\n\r\n', 431),
	('long head without an end', b'GET / HTTP/1.1\r\nHost: x\r\nX: ' + b'a' * 40000, 431),
	('many fields', b'GET / HTTP/1.1\r\nHost: x\r\n' + FIELDS + b'\r\n', 431),
	('big body announced', POST + b'Content-Length: 2000000\r\n\r\n', 413),
]

BODIES = [
	('chunk size is not hex', CHUNKED + b'xyz\r\n', 400),
	('chunk size is empty', CHUNKED + b'\r\n\r\n', 400),
	('chunk size is signed', CHUNKED + b'-1\r\n', 400),
	('chunk size has a prefix', CHUNKED + b'0x5\r\nhello\r\n0\r\n\r\n', 400),
	('chunk size overflows', CHUNKED + b'fffffffffffffffff\r\n', 400),
	('chunk size with a blank', CHUNKED + b'5 5\r\nhello\r\n0\r\n\r\n', 400),
	('chunk line ends in LF', CHUNKED + b'5\nhello\r\n0\r\n\r\n', 400),
	('chunk data too long', CHUNKED + b'3\r\nhello\r\n0\r\n\r\n', 400),
	('endless extension', CHUNKED + b'5;' + b'a' * 20000, 400),
	('malformed trailer', CHUNKED + b'5\r\nhello\r\n0\r\nno colon\r\n\r\n', 400),
	('big body in chunks', CHUNKED + b'1e8480\r\n' + b'x' * 1200000, 413),
]


def status_of(client):
	reply = client.reply()
	assert reply.closes, f'the connection must end: {reply}'
	assert client.closed_within(5)
	return reply


@pytest.fixture
def fronted(drover, peer):
	drover.peer = peer()
	drover.start(drover.config({'servers': [drover.peer.server]}, limits={'body': '1MiB'}))
	drover.peer.requests.clear()
	return drover


def run_cases(drover, cases, after=b''):
	wrong = []
	for name, raw, expected in cases:
		with drover.connect() as c:
			try:
				c.send(raw + after)
			except OSError:
				pass  # already refused
			try:
				got = status_of(c)
			except AssertionError as e:
				wrong.append(f'{name}: {type(e).__name__} {e}')
				continue
			if got.status not in (expected if isinstance(expected, tuple) else (expected,)):
				wrong.append(f'{name}: {got.status}, not {expected}')
			elif not got.get('Proxy-Status', '').startswith('drover'):
				wrong.append(f'{name}: not answered by drover: {got}')
	assert not wrong, '\n'.join(wrong)


def test_malformed_heads(fronted):
	run_cases(fronted, HEADS)
	assert not fronted.peer.requests, 'not one was passed on'
	assert fronted.get().status == 200
	fronted.wait(lambda: '"GET / HTTP/2.0" 505 ' in fronted.access_log(), 'refused requests in the access log')
	fronted.wait(lambda: '"GET / HTTP/1.1" 431 ' in fronted.access_log(), 'the later ones too')


def test_what_follows_a_malformed_head_is_not_a_request(fronted):
	"""The classic of request smuggling: whatever comes after is never interpreted."""
	run_cases(fronted, [c for c in HEADS if c[0] != 'long head without an end'], after=b'GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n')
	assert not fronted.peer.requests


def test_malformed_bodies(fronted):
	run_cases(fronted, BODIES)
	assert not fronted.peer.requests, 'no request with such a body was completed'
	fronted.get()
	assert [r.target for r in fronted.peer.requests] == ['/']


def test_malformed_second_request_does_not_spoil_the_first(fronted):
	with fronted.connect() as c:
		c.send(request_bytes() + b'GET / HTTP/1.1\r\nHost: x\r\nbad\r\n\r\n')
		assert c.reply().status == 200
		assert status_of(c).status == 400


OK = b'HTTP/1.1 200 OK\r\n'
REPLIES = [
	('not HTTP', b'SSH-2.0-OpenSSH_9.2\r\n\r\n'),
	('version 2', b'HTTP/2 200 OK\r\nContent-Length: 0\r\n\r\n'),
	('no status', b'HTTP/1.1\r\nContent-Length: 0\r\n\r\n'),
	('status of two digits', b'HTTP/1.1 20 OK\r\nContent-Length: 0\r\n\r\n'),
	('status of four digits', b'HTTP/1.1 2000 OK\r\nContent-Length: 0\r\n\r\n'),
	('status 099', b'HTTP/1.1 099 OK\r\nContent-Length: 0\r\n\r\n'),
	('length and coding', OK + b'Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n'),
	('lengths that differ', OK + b'Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!'),
	('negative length', OK + b'Content-Length: -5\r\n\r\nhello'),
	('text for a length', OK + b'Content-Length: five\r\n\r\nhello'),
	('unknown coding', OK + b'Transfer-Encoding: gzip\r\n\r\nhello'),
	('folded line', OK + b'X: a\r\n b\r\nContent-Length: 0\r\n\r\n'),
	('blank before a colon', OK + b'Content-Length : 0\r\n\r\n'),
	('NUL', OK + b'X: a\0b\r\nContent-Length: 0\r\n\r\n'),
	('bare LF', OK + b'X: a\nY: b\r\nContent-Length: 0\r\n\r\n'),
	('no colon', OK + b'nonsense\r\nContent-Length: 0\r\n\r\n'),
	('head without an end', OK + b'X: ' + b'a' * 300000),
	('head cut', OK + b'Content-Le'),
	('tunnel nobody asked for', b'HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n'),
]


def test_malformed_replies_are_502(drover, peer):
	table = {f'/{i}': raw for i, (_, raw) in enumerate(REPLIES)}

	def script(c, r):
		c.send(table.get(r.target, ok()))
		return 'cut' not in REPLIES[int(r.target[1:])][0] if r.target in table else True
	p = peer(script)
	drover.start(drover.config({'servers': [p.server]}))
	wrong = []
	with drover.connect() as c:
		for i, (name, _) in enumerate(REPLIES):
			before = len(p.requests)
			r = c.ask(target=f'/{i}')
			if r.status != 502 or r.closes:
				wrong.append(f'{name}: {r}')
				break
			if name != 'head cut' and len(p.requests) != before + 1:
				wrong.append(f'{name}: tried {len(p.requests) - before} times')
			if c.ask().status != 200:
				wrong.append(f'{name}: the next request fails')
	assert not wrong, '\n'.join(wrong)
	drover.wait_log(r'app/0 \(127\.0\.0\.1:%d\): bad reply to GET /0, request id [0-9a-f]{32}: .* \(STATUS_LINE, RFC 9112 4\)' % p.port)
	assert drover.log().count('bad reply to') <= 5 * len(drover.balancers()), 'a flood of them does not flood the log'


def test_connection_of_a_malformed_reply_is_not_reused(drover, peer):
	served = []

	def script(c):
		while r := c.request():
			served.append((c.number, r.target))
			c.send(b'HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n' if r.target == '/bad' else ok())
	p = peer(on_connect=script)
	drover.start(drover.config({'servers': [p.server]}))
	with drover.connect() as c:
		for target in ('/', '/bad', '/', '/bad', '/'):
			c.ask(target=target)
	ended = set()
	for number, target in served:
		assert number not in ended, f'connection {number} was used after its malformed reply: {served}'
		if target == '/bad':
			ended.add(number)


def test_bytes_after_a_reply_are_nobodys(drover, peer):
	"""A worker that says too much must not answer the next client."""
	def script(c, r):
		c.send(ok(b'mine') + (ok(b'stray') if r.target == '/too-much' else b''))
	p = peer(script)
	drover.start(drover.config({'servers': [p.server]}))
	with drover.connect() as c:
		for _ in range(5):
			assert c.ask(target='/too-much').body == b'mine'
			assert c.ask(target='/').body == b'mine'


@pytest.mark.parametrize('kind', ['two-content-lengths', 'cl-te', 'garbage-status-line', 'bare-lf', 'header-injection', 'huge-head'])
def test_bundled_worker_misbehaving(running, kind):
	r = running.get(f'/bad?kind={kind}')
	assert r.status == 502 and not r.get('Set-Cookie'), r
	assert running.get('/instance').status == 200


def test_connection_ended_without_a_word(drover, peer):
	"""Not one byte of reply: a POST cannot be sent again, so 502 and one delivery."""
	def script(c, r):
		return False if r.method == 'POST' else c.send(ok())
	p = peer(script)
	drover.start(drover.config({'servers': [p.server]}))
	r = drover.ask('POST', '/', body=b'x')
	assert r.status == 502
	assert [q.method for q in p.requests].count('POST') == 1


def test_silence_is_no_request(running):
	"""Connections that say nothing, or end at once, or are reset, hurt nobody."""
	for _ in range(20):
		running.connect().close()
		running.connect().reset()
	c = running.connect()
	c.shut_write()
	with pytest.raises(Closed):
		c.reply()
	assert running.get('/instance').status == 200


def test_one_clients_share_of_connections(drover):
	"""Over all balancers, exactly; a reload neither forgets nor doubles what is open."""
	drover.start(drover.config(balancers=2, trust=[], limits={'per_client': 6}), instances=2)

	def open_all(n):
		kept, refused = [], 0
		for _ in range(n):
			try:
				c = drover.connect()
				c.request()
				assert c.reply().status == 200
				kept.append(c)
			except (Closed, ConnectionError):
				refused += 1
		return kept, refused
	kept = []
	drover.wait(lambda: kept.extend(open_all(15)[0]) or len(kept) == 6, 'six, once the harness has let go of its own')
	assert open_all(9) == ([], 9)
	assert 'has 6 connections open; one more is refused (limits.per_client)' in drover.log()
	kept.pop().close()
	drover.wait(lambda: kept.extend(open_all(3)[0]) or len(kept) == 6, 'the place that came free')
	drover.signal(signal.SIGHUP)
	drover.wait_log('all 2 workers ready, of release 2')
	for c in kept:
		assert c.ask().status == 200
	assert open_all(5) == ([], 5), 'they count where they have gone'
	for c in kept:
		c.close()
	kept.clear()
	drover.wait(lambda: kept.extend(open_all(15)[0]) or len(kept) == 6, 'their places')
	assert open_all(5) == ([], 5)
