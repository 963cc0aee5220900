"""No room for more connections, by limits.connections or for want of descriptors:
accepting waits without spinning and says so once, those who are in are served, those
who wait get their turn."""
import threading
import time

import pytest

import procs
from drover import SANITIZED
from peers import ok

pytestmark = pytest.mark.both

FILES = 100
PAUSES = 'accepting pauses'
# A worker of ours would have to live with the limit too: hence a server elsewhere.


def limited(drover, server, files=FILES, **top):
	drover.start(drover.config({'servers': [server.server]}, **top), wrapper=('prlimit', f'--nofile={files}:{files}'))
	balancer, = drover.balancers()
	return balancer


def clients_of(drover, balancer):
	return procs.descriptor_kinds(balancer, {drover.port})['connection of a client']


def full(drover, balancer, crowd, limit):
	"""A crowd larger than what gets in; the rest waits in the kernel's queue."""
	many = crowd(drover.port)
	many.open(2 * limit)
	drover.wait_log(PAUSES)
	drover.wait(lambda: clients_of(drover, balancer) > limit / 2, 'it is full')
	return many


def test_out_of_descriptors(drover, peer, crowd):
	"""Clients have taken what they may: idle ones cost nothing, and each of the others can still ask."""
	gate = threading.Event()

	def script(c, r):
		if r.target == '/wait':
			gate.wait(10)
		c.send(ok(r.get('X-Id', '').encode()))
	p = peer(script)
	balancer = limited(drover, p, timeouts={'head': '60s'})
	inside = [drover.connect() for _ in range(8)]
	for c in inside:
		c.ask()
	many = full(drover, balancer, crowd, FILES)
	assert procs.cpu_share(balancer, 1) < (0.05 if SANITIZED else 0.02), 'it spins'

	# All at the same time: each needs a connection to the worker.
	for i, c in enumerate(inside):
		c.request(target='/wait', headers=(('X-Id', str(i)),))
	drover.wait(lambda: p.connections >= len(inside), 'all requests are with the worker')
	gate.set()
	for i, c in enumerate(inside):
		r = c.reply()
		assert (r.status, r.text) == (200, str(i)), r
	assert drover.log().count(PAUSES) == 1, drover.log()

	# Room for those who wait.
	taken = clients_of(drover, balancer)
	last = many.sockets[-20:]
	for s in many.sockets[:-20]:
		s.close()
	many.sockets = last
	many.ask_all()
	assert clients_of(drover, balancer) < taken
	assert drover.log().count(PAUSES) == 1, drover.log()


def test_requests_wait_for_a_descriptor(drover, peer, crowd):
	"""More requests at a time than connections to the worker are possible: none is refused."""
	def script(c, _):
		time.sleep(0.002)  # long enough for the others to want a connection of their own
		c.send(ok())
	p = peer(script)
	balancer = limited(drover, p, files=64)
	many = crowd(drover.port)
	some = many.open(36)
	drover.wait(lambda: clients_of(drover, balancer) == len(some), 'all are in')
	for _ in range(20):
		many.ask(some)
	assert PAUSES not in drover.log()


def test_connection_limit(drover, peer, crowd):
	p = peer()
	balancer = limited(drover, p, files=1000, limits={'connections': 50})
	many = full(drover, balancer, crowd, 50)
	assert clients_of(drover, balancer) == 50
	assert procs.cpu_share(balancer, 1) < (0.05 if SANITIZED else 0.02), 'it spins'
	for s in many.sockets[:50]:
		s.close()
	many.sockets = many.sockets[50:]
	many.ask_all()
	# At the limit, one goes and one comes, over and over: that is one story.
	for s in many.open(200):
		s.close()
		many.sockets.remove(s)
	many.sockets[0].close()
	many.sockets.pop(0)
	many.ask(many.open(1))
	assert drover.log().count(PAUSES) == 1, drover.log()


def test_limit_that_cannot_be_met(drover, peer):
	p = peer()
	limited(drover, p, files=200, limits={'connections': 1000})
	assert 'limits.connections: 1000 are not possible with 200 open files' in drover.log()
