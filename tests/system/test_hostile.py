"""A balancer that belongs to an attacker: tests/hostile/hostile.c does what the test names, in
the first process that is balancer 0.  Whatever it is, the master, the workers and the other
balancers go on, and nobody else comes to harm."""
import os
import signal
import subprocess

import pytest

import drover as under_test
import procs
from drover import BUILD
from procs import wait_until
from wire import WireError

HOSTILE = os.path.join(BUILD, 'tests', 'hostile', 'hostile')

pytestmark = pytest.mark.skipif(not os.path.exists(HOSTILE), reason='built without tests')

# What the master says of it; None: it is not told from a balancer that ends.
MESSAGES = {
	'short': 'malformed message', 'long': 'malformed message', 'empty': None,
	'unknown-type': 'malformed message', 'type-none': 'malformed message',
	'masters-type': 'malformed message', 'reserved': 'malformed message', 'descriptors': 'malformed message',
	'ready-again': 'a message that makes no sense', 'stopped-early': 'a message that makes no sense',
	'ack-future': 'a message that makes no sense', 'ack-odd': 'a message that makes no sense',
	'ack-old': 'a message that makes no sense', 'flood': 'a message that makes no sense',
}


@pytest.fixture
def taken_over(drover, monkeypatch):
	monkeypatch.setattr(under_test, 'DROVER', HOSTILE)

	def start(act, wrapper=(), **top):
		drover.start(drover.config(**{'balancers': 2, **top}), env={'HOSTILE': act, 'HOSTILE_GO': drover.path('go')}, wrapper=wrapper)
		drover.same_balancers = False
		drover.n_children = len(drover.children())
		return drover
	drover.start_taken_over = start
	return drover


def until_it_acts(drover, condition, what):
	"""Requests, until one has met balancer 0 and what follows has followed.  One that the killed
	process held fails; no other does, and none is answered wrongly."""
	failed = []
	open(drover.path('go'), 'w', encoding='ascii').close()

	def asked():
		try:
			assert drover.get('/instance').text.strip() in ('0', '1')
		except (OSError, WireError) as e:
			failed.append(e)
		return condition()
	drover.wait(asked, what)
	assert len(failed) <= 1, failed


def serves_well(drover, workers):
	drover.wait(lambda: len(drover.balancers()) == 2, 'two balancers')
	drover.wait(drover.answers, 'it answers')
	for _ in range(20):
		assert drover.get('/instance').status == 200
	assert [w.pid for w in drover.workers()] == workers, 'no worker has been touched'
	drover.wait(lambda: len(drover.children()) == drover.n_children, lambda: 'as many processes as at the start and no other: '
		    f'{[procs.command_line(p) for p in drover.children()]}', 5)


@pytest.mark.parametrize('act', MESSAGES)
def test_message(taken_over, act):
	drover = taken_over.start_taken_over(act)
	workers = [w.pid for w in drover.workers()]
	says = MESSAGES[act]
	if says:
		until_it_acts(drover, lambda: f'sent {says}; ending it' in drover.log(), says)
		drover.wait_log(r'balancer 0 \(pid \d+\) of generation 1 ended: signal 9')
		drover.wait_log('balancer 0 has a successor')
	else:
		until_it_acts(drover, lambda: f'hostile: {act} is done' in drover.log(), 'it has acted')
	serves_well(drover, workers)
	drover.reload()
	serves_well(drover, [w.pid for w in drover.workers()])


def test_hangs_up(taken_over):
	drover = taken_over.start_taken_over('hang-up')
	workers = [w.pid for w in drover.workers()]
	until_it_acts(drover, lambda: 'balancer 0 has a successor' in drover.log(), 'a successor')
	serves_well(drover, workers)


@pytest.mark.parametrize('act', ['deafen', 'disconnect'])
def test_listening_socket_is_mended(taken_over, act):
	"""It is shared with the master for good: what its owner did to it would outlive it."""
	drover = taken_over.start_taken_over(act, balancers=1)
	workers = [w.pid for w in drover.workers()]
	open(drover.path('go'), 'w', encoding='ascii').close()
	drover.wait_log('did not listen any more; it does again')
	drover.wait(drover.answers, 'it answers')
	for _ in range(20):
		assert drover.get('/instance').status == 200
	assert [w.pid for w in drover.workers()] == workers


def test_lies_in_its_row(taken_over):
	"""In-flight counts past any sum keep no worker from being replaced: the drain has an end."""
	drover = taken_over.start_taken_over('own-row', apps={'app': {
		'command': under_test.bundled(), 'instances': 2, 'stop': {'drain': '300ms'}}})
	until_it_acts(drover, lambda: 'hostile: own-row is done' in drover.log(), 'it has lied')
	drover.reload()
	serves_well(drover, [w.pid for w in drover.workers()])


def test_nobody_else_is_killed(taken_over):
	"""The warden ends balancers that hang, by pid.  A pid that a balancer wrote does not count."""
	drover = taken_over.start_taken_over('own-row', adopt='0s', shutdown={'soft': '200ms', 'hard': '400ms'}, wrapper=[
		'/bin/sh', '-c', 'sleep 60 & export BYSTANDER=$!; exec "$@"', 'sh'])
	bystander = next(p for p in procs.children(drover.pid) if procs.command_line(p) == 'sleep 60')
	until_it_acts(drover, lambda: 'hostile: own-row is done' in drover.log(), 'it has lied')
	stuck = drover.balancers()
	for pid in stuck:
		os.kill(pid, signal.SIGSTOP)
	drover.signal(signal.SIGKILL)
	drover.process.wait()
	wait_until(lambda: not [p for p in stuck if procs.alive(p)], 15, 'the warden kills them')
	wait_until(lambda: 'all that the master left behind is stopped' in drover.log(), 15, 'it is done')
	assert procs.alive(bystander)
	os.kill(bystander, signal.SIGKILL)
	drover.ended = True


def test_warden_is_not_deceived(taken_over):
	"""A byte in its pipe is not the end of all balancers: requests in flight are finished first."""
	drover = taken_over.start_taken_over('warden-pipe', adopt='0s')
	until_it_acts(drover, lambda: 'hostile: warden-pipe is done' in drover.log(), 'it has written')
	busy = drover.connect()
	busy.request(target='/slow?ms=1500')
	drover.wait(lambda: 'GET' in drover.access_log(), 'it is on its way')
	drover.signal(signal.SIGKILL)
	drover.process.wait()
	assert busy.reply().status == 200
	wait_until(lambda: not drover.left(), 15, lambda: f'all end by themselves: {drover.left()}')
	drover.ended = True


def test_forged_connections(taken_over):
	"""A balancer that drains gives the next generations noise, descriptors of the wrong kind, tunnels to workers that
	are none of its business and thousands of connections: those go on, and so does everybody else's."""
	drover = taken_over.start_taken_over('forge', balancers=1)
	[forger] = drover.balancers()
	open(drover.path('go'), 'w', encoding='ascii').close()
	drover.wait(lambda: 'hostile: it speaks for its balancer' in drover.log(), 'it is taken over')
	config = drover.config(balancers=1)
	for n in range(6):
		before = drover.balancers()
		drover.write_config(config)
		drover.signal(signal.SIGHUP)
		drover.wait(lambda: f'hostile: channel {n} is used' in drover.log(), f'channel {n}')
		drover.wait(lambda: [b for b in drover.balancers() if b not in before], 'the next generation')
		with drover.connect() as c:
			for _ in range(10):
				assert c.ask(target='/instance').status == 200
	served = [b for b in drover.balancers() if b != forger]
	drover.wait(lambda: len(drover.balancers()) == 2, lambda: f'the forger, and the last generation: {drover.balancers()}')
	assert 'ended: signal' not in drover.log() and 'ended: exit' not in drover.log()
	os.kill(forger, signal.SIGKILL)
	drover.wait(lambda: len(drover.balancers()) == 1 and drover.balancers()[0] in served, 'it is alone')
	drover.settle()
	assert drover.get('/instance').status == 200


def test_program_under_test_is_the_hostile_one():
	assert subprocess.run([HOSTILE, '--version'], stdout=subprocess.PIPE, check=True).stdout.startswith(b'drover')
