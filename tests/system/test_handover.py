"""What outlives its balancers: connections between two requests, and tunnels, go to the next
generation when theirs drains, and nobody at either end notices."""
import os
import random
import re
import select
import signal
import socket
import threading
import time

import pytest

from admin import status
from crowd import HEAD, raise_descriptor_limit
from drover import QUICK, SANITIZED
from test_drain_order import Record, check_order, echo, recorder, tunnel
from test_upgrade_binary import upgrade
from tunnels import UPGRADE, piece
from wire import WireError, request_bytes

# Seconds, from the moment in which the new generation serves; sanitizers look for leaks at the end.
GONE_WITHIN = 6.0 if SANITIZED else 2.0


def reload(drover):
	"""SIGHUP; returns how long the old balancers have lived on once the new ones served."""
	old = set(drover.balancers())
	serving = drover.log().count('serves, generation')
	drover.signal(signal.SIGHUP)
	drover.wait(lambda: drover.log().count('serves, generation') > serving, 'a new generation')
	began = time.monotonic()
	drover.wait(lambda: not old & set(drover.balancers()), lambda: f'balancers were {old}, are {drover.balancers()}')
	return time.monotonic() - began


def test_idle_connections_stay_open(running, crowd):
	idle = crowd(running.port)
	idle.grow(200)
	took = reload(running)
	assert took < GONE_WITHIN
	assert idle.closed() == 0
	idle.ask_all()
	assert idle.closed() == 0


def test_tunnels_go_on_over_upgrades(drover, crowd, tunnels):
	drover.start(drover.config(balancers=2))
	idle, echoing = crowd(drover.port), tunnels(drover.port)
	idle.grow(100)
	echoing.open(20)
	for _ in range(3):
		upgrade(drover)
		echoing.echo_again()
		idle.ask_all()
	echoing.check()


def wait_replaced(drover, old):
	"""The rollout has ended: of the workers `old` none is UP any more."""
	pids = {w.pid for w in old}
	drover.wait(lambda: not any(w['pid'] in pids and w['state'] == 'up' for a in status(drover)['apps'] for w in a['workers'])
		    and 'reloading' not in status(drover)['state'], lambda: f'a rollout: {status(drover)}')


def test_tunnels_live_through_reloads(drover, crowd, tunnels):
	"""Their workers have long been replaced, and nothing has waited for them."""
	drover.start(drover.config({'stop': {'drain': '120s'}}, balancers=2))
	first = drover.workers()
	idle, echoing = crowd(drover.port), tunnels(drover.port)
	idle.grow(200)
	echoing.open(40)
	for _ in range(3):
		before = drover.workers()
		assert reload(drover) < GONE_WITHIN
		wait_replaced(drover, before)
		echoing.echo_again()
		idle.ask_all()
	assert {w.pid for w in first} < {w.pid for w in drover.workers()}, 'whoever has tunnels stays'
	echoing.check()
	echoing.stop()
	drover.wait(lambda: len(drover.workers()) == 2, 'without tunnels they go')


class Restless:
	"""Keep-alive clients that ask again at any moment, in a thread: each answer must come whole, on
	the connection that it was asked on."""

	def __init__(self, port, n):
		self.sockets = {}
		self.epoll = select.epoll()
		for _ in range(n):
			s = socket.create_connection(('127.0.0.1', port))
			s.setblocking(False)
			self.sockets[s.fileno()] = [s, b'', 0.0, False]
			self.epoll.register(s, select.EPOLLIN)
		self.answers, self.failures, self.stopping = 0, [], False
		self.thread = threading.Thread(target=self.run, daemon=True)
		self.thread.start()

	def run(self):
		dice = random.Random(1)
		while not self.stopping and not self.failures:
			now = time.monotonic()
			for row in self.sockets.values():
				if not row[3] and row[2] <= now:
					row[3] = True
					try:
						row[0].send(request_bytes(target='/instance'))
					except OSError as e:
						self.failures.append(f'cannot ask: {e}')
			for fd, _ in self.epoll.poll(0.002):
				self.read(self.sockets[fd], dice)

	def read(self, row, dice):
		try:
			data = row[0].recv(65536)
		except OSError as e:
			data, row[1] = b'', row[1] + repr(e).encode()
		row[1] += data
		head = HEAD.match(row[1])
		if not data or not row[3]:
			self.failures.append(f'closed, or unasked: {row[1]!r} after {self.answers} answers')
		elif head and head[1] != b'200':
			self.failures.append(f'not an answer: {row[1]!r}')
		elif head and len(row[1]) == head.end() + int(head[2]):
			row[1], row[3], row[2] = b'', False, time.monotonic() + dice.random() * 0.02
			self.answers += 1

	def stop(self):
		self.stopping = True
		self.thread.join(10)
		for row in self.sockets.values():
			row[0].close()
		self.epoll.close()
		assert not self.failures, self.failures[:3]
		return self.answers


def test_requests_at_the_moment_of_the_handover(drover):
	drover.start(drover.config(balancers=2))
	clients = Restless(drover.port, 60)
	for _ in range(3):
		reload(drover)
		upgrade(drover)
	assert clients.stop() > 1000


def test_nobody_reads(drover, tunnels):
	"""Tunnels with all buffers on the way full, in both directions."""
	drover.start(drover.config(balancers=1))
	stuck, moving = tunnels(drover.port), tunnels(drover.port)
	some = stuck.open(6)
	moving.open(10)
	stuck.pause_reading(some)
	for t in some:
		t.window, t.pause = 64 << 20, 0
	stalled = lambda: [t.sent for t in some]
	def all_full():
		before = stalled()
		time.sleep(0.3) # so long nothing moves: what keeps them cannot be asked for
		return before == stalled() and min(before) > 1 << 20
	drover.wait(all_full, lambda: f'nothing moves any more: {stalled()}')
	for _ in range(2):
		upgrade(drover)
		moving.echo_again()
	stuck.check()
	for t in some:
		t.window = 0
	stuck.pause_reading(some, reads=True)
	stuck.wait(lambda: all(t.got == t.sent for t in some), 'all of it comes back')
	for t in some:
		t.window, t.pause = 200, 0.05
	stuck.echo_again()


def test_part_of_a_head(running):
	"""The rest of it comes when another process reads on."""
	client = running.connect()
	whole = request_bytes(target='/instance')
	client.send(whole[:-9])
	assert reload(running) < GONE_WITHIN
	client.send(whole[-9:])
	assert client.reply().status == 200


def test_half_closed(drover):
	"""The client has said all and shut its side, and takes nothing: the bytes on their way, and the FIN behind them, go along."""
	drover.start(drover.config(balancers=1))
	client = drover.connect()
	client.request(target='/upgrade', headers=UPGRADE)
	assert client.head().status == 101
	sent = got = 0
	client.sock.settimeout(0.3) # so long nothing moves: all buffers are full
	with pytest.raises(TimeoutError):
		while True:
			sent += client.sock.send(piece(sent, 1 << 16))
	client.sock.shutdown(socket.SHUT_WR)
	for _ in range(2):
		upgrade(drover)
	client.sock.settimeout(10)
	while data := client.sock.recv(1 << 16):
		assert data == piece(got, len(data)), f'after {got} bytes'
		got += len(data)
	assert got == sent > 1 << 20


def test_the_line_in_the_access_log(drover, tunnels):
	drover.start(drover.config(balancers=2))
	echoing = tunnels(drover.port)
	[one] = echoing.open(1)
	for _ in range(2):
		upgrade(drover)
		echoing.echo_again()
	echoing.stop()
	lines = lambda: [line for line in drover.access_log().splitlines() if '/upgrade' in line]
	drover.wait(lines, 'its line')
	assert len(lines()) == 1 and re.search(rf'"GET /upgrade HTTP/1.1" 101 {one.got} ', lines()[0]), (lines(), one.got)


def test_a_clients_share_is_counted_on(drover):
	drover.start(drover.config(balancers=2, trust=['10.0.0.0/8'], limits={'per_client': 5}))
	held = [drover.connect() for _ in range(5)]
	for c in held:
		assert c.ask(target='/instance').status == 200
	assert reload(drover) < GONE_WITHIN
	with pytest.raises((OSError, WireError)):
		drover.get('/instance')
	held.pop().close()
	drover.wait(drover.answers, 'room for one more')
	for c in held:
		assert c.ask(target='/instance').status == 200


def test_the_taker_dies(drover, crowd, tunnels):
	"""Killed as soon as it serves: what it had taken goes with it; the rest lives on with the old
	balancer, and goes to the next one."""
	drover.start(drover.config(balancers=1))
	idle, echoing = crowd(drover.port), tunnels(drover.port)
	idle.grow(300)
	echoing.open(40)
	old = set(drover.balancers())
	drover.same_balancers = False
	serving = drover.log().count('serves, generation')
	drover.signal(signal.SIGUSR2)
	drover.wait(lambda: drover.log().count('serves, generation') > serving, 'a new generation')
	for pid in set(drover.balancers()) - old:
		os.kill(pid, signal.SIGKILL)
	drover.wait_log('has a successor')
	drover.wait(lambda: not old & set(drover.balancers()), 'the old balancer ends all the same')
	wrong = [t.failure for t in echoing.part_with_failed() if not t.failure.startswith(('closed', 'broken'))]
	assert not wrong, wrong
	echoing.echo_again()
	drover.wait(drover.answers, 'it serves')
	drover.settle()


def test_its_worker_is_drained_in_order(drover):
	"""The tunnel counts for its worker in whichever balancer it is: no signal before it has ended."""
	folder, app = recorder(drover, drain='2s')
	drover.start(drover.config(app, balancers=2))
	held, short = tunnel(drover), tunnel(drover) # one to each worker
	upgrade(drover)
	old = drover.workers()
	echo(held, b'in another process')
	started = time.monotonic_ns()
	assert reload(drover) < GONE_WITHIN
	echo(held, b'and another')
	short.close()
	assert held.closed_within(10), 'stop.drain ends it'
	drover.wait(lambda: not {w.pid for w in old} & {w.pid for w in drover.workers()}, 'they are replaced')
	records = [Record(folder, w.pid) for w in old]
	for record in records:
		check_order(record)
	assert max(r.signal_ns for r in records) - started > 1.9e9, 'the tunnel was given its time'
	assert re.search(r'drained in [01]\.', drover.log()), 'the other was not waited for'


@pytest.mark.load
def test_ten_reloads_and_ten_upgrades(drover, crowd, tunnels):
	"""2,000 idle connections, 200 echoing tunnels: not one is closed, not one byte lost or out of order."""
	raise_descriptor_limit(8192)
	drover.start(drover.config({'stop': {'drain': '600s'}, 'rollout': {'linger': 64}}, balancers=2))
	idle, echoing = crowd(drover.port), tunnels(drover.port)
	idle.grow(200 if QUICK else 2000)
	echoing.open(40 if QUICK else 200, pause=0.1)
	longest = 0
	for _ in range(10):
		before = drover.workers()
		longest = max(longest, reload(drover))
		wait_replaced(drover, before[-2:])
		upgrade(drover)
		echoing.echo_again()
		assert idle.closed() == 0
	idle.ask_all()
	echoing.check()
	print(f'the longest that an old balancer lived: {longest:.2f} s; {sum(t.rounds for t in echoing.all)} rounds')
	assert longest < GONE_WITHIN
	echoing.stop()
	drover.wait(lambda: len(drover.workers()) == 2, 'without tunnels they go')
