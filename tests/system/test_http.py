"""HTTP/1.1 and 1.0 on both sides: bodies, interim replies, pipelining, old
versions, replies cut short, timeouts."""
import os
import select
import signal
import socket
import threading
import time

import pytest

import procs
from peers import ok
from wire import Truncated, WireError, request_bytes


def before_a_peer(drover, peer, script=None, **top):
	"""A drover in front of one scripted server."""
	p = peer(script)
	drover.start(drover.config({'servers': [p.server]}, **top))
	p.requests.clear()
	return p


def reply_with(raw, close=False):
	def script(c, _):
		c.send(raw)
		return not close
	return script


# Replies without a body

def test_head_request(drover, peer):
	before_a_peer(drover, peer, reply_with(b'HTTP/1.1 200 OK\r\nContent-Length: 12345\r\n\r\n'))
	with drover.connect() as c:
		for _ in range(3):
			r = c.ask('HEAD', '/')
			assert r.status == 200 and r.get('Content-Length') == '12345' and r.body == b''
		assert c.silent_for(0.1)


def test_head_request_to_a_chunked_reply(drover, peer):
	before_a_peer(drover, peer, reply_with(b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n'))
	with drover.connect() as c:
		assert c.ask('HEAD', '/').status == c.ask('HEAD', '/').status == 200


@pytest.mark.parametrize('raw, length', [
	(b'HTTP/1.1 204 No Content\r\n\r\n', None),
	(b'HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n', None),
	(b'HTTP/1.1 304 Not Modified\r\nETag: "x"\r\nContent-Length: 500\r\n\r\n', '500'),
	(b'HTTP/1.1 304 Not Modified\r\nETag: "x"\r\n\r\n', None),
	(b'HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n', '0'),
], ids=['204', '204 with length', '304 with length', '304', 'empty'])
def test_replies_without_a_body(drover, peer, raw, length):
	p = before_a_peer(drover, peer, reply_with(raw))
	with drover.connect() as c:
		for _ in range(3):
			r = c.ask()
			assert r.status == int(raw[9:12]) and r.get('Content-Length') == length and r.body == b''
		assert c.silent_for(0.05)
	assert p.connections <= 2, 'the worker connection was reused'


def test_interim_replies(drover, peer):
	def script(c, r):
		c.send(b'HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n')
		c.send(b'HTTP/1.1 102 Processing\r\n\r\n' + ok())
	before_a_peer(drover, peer, script)
	with drover.connect() as c:
		for _ in range(2):
			r = c.ask()
			assert [i.status for i in r.interim] == [103, 102] and r.status == 200
			assert r.interim[0].get('Link') == '</a.css>; rel=preload'
	with drover.connect() as c:
		r = c.ask(version='HTTP/1.0')
		assert r.interim == [] and r.status == 200, 'RFC 9110 15.2: a 1.0 client knows no 1xx'


# Request bodies

def test_expect_100_continue(running):
	with running.connect() as c:
		for _ in range(2):
			c.send(request_bytes('POST', '/echo', (('Expect', '100-continue'), ('Content-Length', '5'))))
			assert c.read_until(b'\r\n\r\n').startswith(b'HTTP/1.1 100 ')
			c.send(b'hello')
			r = c.reply()
			assert (r.status, r.body) == (200, b'hello') and r.interim == []


def test_expect_100_continue_with_the_body_at_once(running):
	with running.connect() as c:
		c.request('POST', '/echo', (('Expect', '100-continue'),), b'hello')
		r = c.reply()
		assert (r.status, r.body) == (200, b'hello') and len(r.interim) <= 1


def test_expect_100_continue_refused_by_the_worker(drover, peer):
	"""A final reply comes instead of 100, and the body never goes out."""
	def script(c):
		c.request(with_body=False)
		c.send(b'HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno')
		c.read_all()
	p = peer(on_connect=script)
	drover.start(drover.config({'servers': [p.server]}))
	with drover.connect() as c:
		c.send(request_bytes('POST', '/', (('Expect', '100-continue'), ('Content-Length', '5'))))
		r = c.reply()
		assert (r.status, r.body) == (401, b'no')


def test_unknown_expectation(running):
	with running.connect() as c:
		assert c.ask('POST', '/echo', (('Expect', 'wonders'),), b'x').status == 417


@pytest.mark.parametrize('body', [b'', b'x' * 70000, [b'one', b'two'], [b'y' * 40000, b'z']],
			 ids=['empty', 'length', 'chunks', 'big chunks'])
def test_request_body_reaches_the_worker(drover, peer, body):
	p = before_a_peer(drover, peer)
	with drover.connect() as c:
		for _ in range(2):
			assert c.ask('POST', '/', body=body).status == 200
	for r in p.requests:
		assert r.body == (body if isinstance(body, bytes) else b''.join(body))
		assert (r.get('Content-Length') is None) == r.chunked, 'one framing, not two'


def test_trailers_and_chunk_extensions_are_read(drover, peer):
	p = before_a_peer(drover, peer)
	with drover.connect() as c:
		c.send(b'POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: Chunked\r\n\r\n'
		       b'5;name="a b"\r\nhello\r\n006\r\n world\r\n0\r\nX-Sum: 1\r\n\r\n')
		assert c.reply().status == 200
		assert c.ask().status == 200, 'in step afterwards'
	assert p.requests[0].body == b'hello world'


def test_trailers_are_passed_on(drover, peer):
	def script(c, r):
		got.append(list(c.trailers))
		c.send(b'HTTP/1.1 200 OK\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n'
		       b'2\r\nok\r\n0\r\nX-Sum: 1\r\nSet-Cookie: a=b\r\n\r\n')
	got = []
	before_a_peer(drover, peer, script)
	with drover.connect() as c:
		c.send(b'POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n'
		       b'5\r\nhello\r\n0\r\nX-Sum: 2\r\nX-Forwarded-For: 9.9.9.9\r\nHost: y\r\n\r\n')
		r = c.reply()
		assert (r.status, r.body, c.trailers) == (200, b'ok', [('X-Sum', '1')])
		assert got[-1] == [('X-Sum', '2')]
		r = c.ask(version='HTTP/1.0')
		assert (r.status, r.body, r.get('Trailer')) == (200, b'ok', None), 'no chunks, no trailers'


def test_reply_before_the_body_has_ended(running):
	"""The worker answers and is done; the client is still sending."""
	with running.connect() as c:
		c.send(request_bytes('POST', '/early-reply', (('Content-Length', '1000000'),)) + b'x' * 1000)
		r = c.reply()
		assert r.status == 413
		assert r.closes and c.closed_within(5), 'the rest of the body cannot be told from a request'


# Order

def test_pipelined_requests_are_answered_in_order(running):
	with running.connect() as c:
		targets = ['/slow?ms=200', '/instance', '/status?code=404', '/huge?bytes=30000', '/echo', '/instance']
		c.send(b''.join(request_bytes('GET', t) if t != '/echo' else request_bytes('POST', t, body=b'mid')
				for t in targets))
		replies = [c.reply() for _ in targets]
		assert [r.status for r in replies] == [200, 200, 404, 200, 200, 200]
		assert len(replies[3].body) == 30000 and replies[4].body == b'mid'


def test_many_pipelined_requests(drover, peer):
	before_a_peer(drover, peer, lambda c, r: c.send(ok(r.target.encode())))
	with drover.connect() as c:
		c.send(b''.join(request_bytes(target=f'/{i}') for i in range(300)))
		assert [c.reply().text for i in range(300)] == [f'/{i}' for i in range(300)]


def test_head_arriving_byte_by_byte(running):
	with running.connect() as c:
		for byte in request_bytes(target='/instance'):
			c.send(bytes([byte]))
		assert c.reply().status == 200


def test_empty_line_before_a_request(running):
	with running.connect() as c:
		c.send(request_bytes('POST', '/echo', body=b'x') + b'\r\n' + request_bytes(target='/instance'))
		assert c.reply().status == c.reply().status == 200


# Chunked replies, old versions, replies without a length

def test_chunked_reply(running):
	with running.connect() as c:
		for _ in range(2):
			r = c.ask(target='/huge?bytes=200000&chunked=1')
			assert r.chunked and len(r.body) == 200000
			r = c.ask(target='/huge?bytes=200000&chunked=0')
			assert not r.chunked and len(r.body) == 200000


def test_client_of_http_1_0(running):
	with running.connect() as c:
		r = c.ask(target='/instance', version='HTTP/1.0', host=None)
		assert r.status == 200 and c.closed_within(5)
	with running.connect() as c:
		for _ in range(3):
			r = c.ask(target='/instance', version='HTTP/1.0', headers=(('Connection', 'keep-alive'),))
			assert r.status == 200 and 'keep-alive' in r.get('Connection', '').lower()
	with running.connect() as c:
		r = c.ask(target='/huge?bytes=50000&chunked=1', version='HTTP/1.0', headers=(('Connection', 'keep-alive'),))
		assert len(r.body) == 50000 and r.by_close and r.get('Transfer-Encoding') is None


@pytest.mark.parametrize('raw', [
	b'HTTP/1.0 200 OK\r\n\r\nthe body',
	b'HTTP/1.0 200 OK\r\nContent-Length: 8\r\n\r\nthe body',
	b'HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nthe body',
	b'HTTP/1.1 200 OK\r\n\r\nthe body',
	b'HTTP/1.1 200\r\n\r\nthe body',
], ids=['1.0', '1.0 with length', 'close', 'neither length nor close', 'no reason'])
def test_reply_that_ends_with_the_connection(drover, peer, raw):
	before_a_peer(drover, peer, reply_with(raw, close=True))
	for version in ('HTTP/1.1', 'HTTP/1.0'):
		with drover.connect() as c:
			r = c.ask(version=version)
			assert (r.status, r.body) == (200, b'the body')
	with drover.connect() as c:
		if not c.ask().closes:
			assert c.ask().body == b'the body', 'the client connection can go on'


def test_worker_speaking_http_1_0(running):
	for target in ('/http10', '/nolength'):
		r = running.get(target)
		assert r.status == 200 and r.body


def test_connection_close_is_obeyed(running):
	with running.connect() as c:
		r = c.ask(target='/instance', headers=(('Connection', 'close'),))
		assert r.closes and c.closed_within(5)


def test_worker_that_closes_after_each_reply(running):
	with running.connect() as c:
		for method, body in (('GET', None), ('POST', b'x')) * 5:
			r = c.ask(method, '/close?answer=1', body=body)
			assert r.status == 200 and not r.closes


def test_idle_worker_connection_that_was_closed_costs_nothing(drover, peer):
	"""A pooled connection ended by the worker is not used again, not even for a POST."""
	closed = threading.Semaphore(0)

	def script(c):
		r = c.request()
		p.requests.append(r)
		c.send(ok())
		c.close()
		if r and r.method == 'POST':
			closed.release()
	p = peer(on_connect=script)
	drover.start(drover.config({'servers': [p.server]}))
	with drover.connect() as c:
		for _ in range(5):
			assert c.ask('POST', '/', body=b'x').status == 200
			assert closed.acquire(timeout=20)  # over loopback the FIN has then arrived


def test_post_right_behind_a_reply_and_its_close(drover, peer):
	"""The worker's FIN and the next request arrive together: the pooled connection is looked at before use."""
	got, go, closed = (threading.Semaphore(0) for _ in range(3))

	def script(c):
		while c.request():
			got.release()
			assert go.acquire(timeout=20)
			c.send(ok())
			c.close()
			closed.release()
			return
	p = peer(on_connect=script)
	go.release()
	drover.start(drover.config({'servers': [p.server]}))
	assert got.acquire(timeout=20) and closed.acquire(timeout=20)
	balancer = drover.balancers()[0]
	with drover.connect() as c:
		for _ in range(5):
			c.request('POST', '/', body=b'x')
			assert got.acquire(timeout=20)
			os.kill(balancer, signal.SIGSTOP)
			go.release()
			go.release()
			c.request('POST', '/', body=b'y')
			assert closed.acquire(timeout=20)  # reply, FIN and request wait for the balancer
			os.kill(balancer, signal.SIGCONT)
			assert c.reply().status == 200
			assert c.reply().status == 200
			assert got.acquire(timeout=20)
			assert closed.acquire(timeout=20)  # the FIN behind the second reply is no part of this


def test_worker_connections_are_reused(drover, peer):
	p = before_a_peer(drover, peer)
	at_start = p.connections
	with drover.connect() as c:
		for _ in range(50):
			assert c.ask().status == 200
	for _ in range(10):
		drover.get()
	assert p.connections - at_start <= 1


# Replies cut short reach the client cut short

@pytest.mark.parametrize('head, body', [
	(b'Content-Length: 100', b'x' * 50),
	(b'Transfer-Encoding: chunked', b'32\r\n' + b'x' * 50 + b'\r\n'),
	(b'Transfer-Encoding: chunked', b'64\r\n' + b'x' * 50),
	(b'Transfer-Encoding: chunked', b'32\r\n' + b'x' * 50 + b'\r\nzz\r\n'),
	(b'Transfer-Encoding: chunked', b'32\r\n' + b'x' * 50 + b'!!'),
], ids=['length', 'between chunks', 'in a chunk', 'bad chunk size', 'bad chunk end'])
def test_truncated_reply(drover, peer, head, body):
	before_a_peer(drover, peer, reply_with(b'HTTP/1.1 200 OK\r\n' + head + b'\r\n\r\n' + body, close=True))
	with drover.connect() as c:
		with pytest.raises(Truncated) as e:
			c.ask()
		assert e.value.reply.status == 200 and e.value.reply.body == b'x' * 50


def test_reset_in_a_reply_without_length(drover, peer):
	"""A client must be able to tell a reset from an end."""
	def script(c, _):
		c.send(b'HTTP/1.1 200 OK\r\n\r\n' + b'x' * 50)
		time.sleep(0.1)  # let the bytes be read before the reset overtakes them
		c.reset()
		return False
	before_a_peer(drover, peer, script)
	with drover.connect() as c:
		with pytest.raises(Truncated):
			c.ask()


def test_truncated_by_the_bundled_worker(running):
	for target in ('/cut?after=1000', '/reset?after=1000'):
		with running.connect() as c:
			with pytest.raises(WireError):
				r = c.ask(target=target)
				assert r.status in (200, 502), r
				raise Truncated('answered by drover', r) if r.status == 502 else AssertionError(r)
	assert running.get('/instance').status == 200


# Targets

def test_forms_of_a_target(drover, peer):
	p = before_a_peer(drover, peer)
	drover.get('http://abs.example/p?q', host='abs.example')
	assert (p.requests[-1].target, p.requests[-1].get('Host')) == ('/p?q', 'abs.example')
	drover.get('http://abs.example', host='abs.example')
	assert p.requests[-1].target == '/'
	drover.ask('OPTIONS', '*')
	assert (p.requests[-1].method, p.requests[-1].target) == ('OPTIONS', '*')
	drover.get('/;a=1/../%2e%2e/b?x=?/#'.replace('#', ''))
	assert p.requests[-1].target == '/;a=1/../%2e%2e/b?x=?/', 'passed on as it was sent'
	drover.ask('PROPFIND', '/any-token')
	assert p.requests[-1].method == 'PROPFIND'


# Clients that go away

def test_client_that_goes_away_frees_the_worker_connection(drover, peer):
	gone = []

	def script(c, r):
		if r.target == '/hang':
			gone.append(c.closed_within(10))
			return False
		c.send(ok())
	before_a_peer(drover, peer, script)
	c = drover.connect()
	c.request(target='/hang')
	drover.wait(lambda: procs.descriptor_kinds(drover.balancers()[0], {drover.port})['connection of a client'], 'connected')
	time.sleep(0.1)
	c.reset()  # a plain FIN could also come from a client that has only stopped sending
	drover.wait(lambda: gone, 'the worker connection ends', 12)
	assert gone == [True]


def test_client_that_has_stopped_sending_still_gets_its_reply(running):
	with running.connect() as c:
		c.request(target='/slow?ms=100')
		c.shut_write()
		assert c.reply().status == 200
		assert c.closed_within(5)


# Timeouts and limits

def test_slow_head_is_408(drover):
	drover.start(drover.config(timeouts={'head': '400ms'}))
	with drover.connect() as c:
		c.send(b'GET / HTTP/1.1\r\nHost: x\r\n')
		started = time.monotonic()
		assert c.reply().status == 408
		assert 0.3 < time.monotonic() - started < 4
		assert c.closed_within(5)


def test_trickling_does_not_extend_the_head_timeout(drover):
	drover.start(drover.config(timeouts={'head': '500ms'}))
	with drover.connect() as c:
		c.send(b'GET / HTTP/1.1\r\nHost: x\r\n')
		end = time.monotonic() + 5
		while time.monotonic() < end and c.silent_for(0.05):
			c.send(b'X-A: b\r\n')
		assert c.reply().status == 408


def test_slow_body_is_408(drover):
	drover.start(drover.config(timeouts={'body': '400ms'}))
	with drover.connect() as c:
		c.send(request_bytes('POST', '/sink', (('Content-Length', '10'),)) + b'x')
		assert c.reply().status == 408
		assert c.closed_within(5)


def test_idle_connection_ends_in_silence(drover):
	drover.start(drover.config(timeouts={'idle': '400ms'}))
	with drover.connect() as c:
		assert c.ask(target='/instance').status == 200
		started = time.monotonic()
		assert c.closed_within(5), 'closed, and not a byte more'
		assert time.monotonic() - started > 0.3


def test_silent_worker_is_504(drover):
	drover.start(drover.config(timeouts={'response': '400ms'}))
	r = drover.get('/hang')
	assert r.status == 504 and 'timeout' in r.get('Proxy-Status', '')
	assert drover.get('/instance').status == 200


def test_connect_timeout_goes_to_the_next_server(drover, peer):
	deaf = socket.socket()
	deaf.bind(('127.0.0.1', 0))
	deaf.listen(0)
	waiting = []
	for _ in range(3):  # the queue is full: further SYNs are dropped
		s = socket.socket()
		s.setblocking(False)
		s.connect_ex(deaf.getsockname())
		waiting.append(s)
	p = peer()
	drover.start(drover.config({'servers': [f'127.0.0.1:{deaf.getsockname()[1]}', p.server]},
				   timeouts={'connect': '300ms'}))
	for _ in range(2):
		assert drover.get().status == 200
		assert drover.ask('POST', body=b'x').status == 200, 'nothing was sent: even a POST goes elsewhere'
	for s in [deaf, *waiting]:
		s.close()


def test_connection_limit(drover):
	"""Past the limit connections wait; nobody is turned away."""
	drover.start(drover.config(limits={'connections': 3}))
	drover.wait(lambda: not procs.descriptor_kinds(drover.balancers()[0], {drover.port})['connection of a client'],
		    'earlier connections have gone')
	held = [drover.connect() for _ in range(3)]
	for c in held:
		assert c.ask(target='/instance').status == 200
	late = drover.connect()
	late.request(target='/instance')
	assert late.silent_for(0.3)
	held[0].close()
	assert late.reply().status == 200


def test_dripping_body(drover, peer):
	"""Never silent for long, but below limits.min_rate: 408, and the worker is free again."""
	p = before_a_peer(drover, peer, timeouts={'body': '400ms'}, limits={'min_rate': '1KiB'})
	with drover.connect() as c:
		c.request('POST', '/drip', (('Content-Length', '1000'),))
		started = time.monotonic()
		while not select.select([c.sock], [], [], 0.05)[0] and time.monotonic() - started < 10:
			c.send(b'x')
		r = c.reply()
		assert r.status == 408 and r.closes and 0.4 < time.monotonic() - started < 5
	assert [r.target for r in p.requests] == [], 'its body was never whole'
	assert drover.ask('POST', '/', body=b'x' * 1000).status == 200
