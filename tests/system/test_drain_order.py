"""The order in which a worker is taken out of service, as the worker sees it: first nobody connects or
sends any more, then what it had ends, its idle connections are closed, its tunnels; then comes the signal."""
import os
import signal
import time
from functools import cached_property

import pytest

import procs
from drover import app_command
from wire import WireError

pytestmark = pytest.mark.release


class Record:
	"""What one worker noted: (nanoseconds, word, connection or name, ...)."""

	def __init__(self, folder, pid):
		lines = procs.read(os.path.join(folder, str(pid))).decode().splitlines()
		self.events = [(int(t), *words) for t, *words in map(str.split, lines)]

	def of(self, *words):
		return [e for e in self.events if e[1] in words]

	@cached_property
	def signal_ns(self):
		[event] = self.of('signal')
		return event[0]


def recorder(drover, **stop):
	folder = drover.path('record')
	if not os.path.isdir(folder):
		os.mkdir(folder)
		os.chmod(folder, 0o777)
	return folder, {'command': app_command('recorder.py'), 'instances': 2, 'env': {'RECORD': folder},
			'stop': {'drain': '20s', 'grace': '5s', **stop}}


def check_order(record, tunnels=0):
	"""Nothing reaches it after the signal, and all it had has ended before."""
	after = [e for e in record.events if e[0] > record.signal_ns and e[1] in ('open', 'bytes', 'end', 'reply')]
	assert not after, f'after the signal: {after}'
	opened, ended = {e[2] for e in record.of('open')}, {e[2] for e in record.of('end')}
	assert opened and opened == ended, f'open at the signal: {opened - ended}'


def echo(client, text):
	client.send(text)
	assert client.read_exactly(len(text)) == text


def tunnel(drover):
	client = drover.connect()
	client.request(target='/tunnel', headers=(('Connection', 'Upgrade'), ('Upgrade', 'echo')))
	assert client.head().status == 101
	echo(client, b'hello')
	return client


@pytest.mark.parametrize('balancers', [1, 2])
def test_order_under_load(drover, steady, balancers):
	"""A reload, while clients send and one tunnel and one slow request keep the first generation alive."""
	folder, app = recorder(drover, drain='3s')
	drover.start(drover.config(app, balancers=balancers))
	old = drover.workers()
	old_balancers = set(drover.balancers())
	held = tunnel(drover)
	slow = drover.connect()
	slow.request(target='/slow?ms=1500')
	load = steady(('127.0.0.1', drover.port))
	time.sleep(0.3) # the load warms up; the order must hold at any moment
	started = time.monotonic_ns()
	drover.signal(signal.SIGHUP)
	drover.wait_log('generation 2 serves')
	echo(held, b'still there')
	assert old_balancers & set(drover.balancers()), 'two generations live'
	assert slow.reply().status == 200
	assert held.closed_within(10), 'the tunnel ends with stop.drain'
	drover.wait_new_workers(old)
	assert not load.stop().failures and len(load.replies) > 100
	by_pid = {w.pid: Record(folder, w.pid) for w in old}
	for record in by_pid.values():
		check_order(record)
	assert max(r.signal_ns for r in by_pid.values()) - started > 2.9e9, 'the tunnel was given its time'
	drover.same_balancers = False


def test_idle_connections_are_closed_first(drover):
	folder, app = recorder(drover)
	drover.start(drover.config(app))
	old = drover.workers()
	for _ in range(6):
		drover.get('/')
	drover.reload()
	for worker in old:
		record = Record(folder, worker.pid)
		check_order(record)


def test_second_step_is_sigkill(drover):
	"""grace counts from the signal; the whole process group gets both."""
	folder, app = recorder(drover, grace='1s')
	app['command'] = ['/usr/bin/python3', '-c', 'import os, signal, sys\nsignal.pthread_sigmask(signal.SIG_BLOCK, [15])\n'
			  'os.fork() or os.execv("/bin/sleep", ["sleep", "300"])\nos.execv(sys.argv[1], sys.argv[1:])',
			  *app_command('recorder.py')]
	drover.start(drover.config(app))
	old = drover.workers()
	start = time.monotonic()
	drover.signal(signal.SIGHUP)
	drover.wait_log('did not end within stop.grace')
	assert time.monotonic() - start >= 1
	drover.wait_new_workers(old)
	drover.wait(lambda: not [p for w in old for p in procs.all_pids() if (s := procs.stat(p)) and s.group == w.pid],
		    'nobody of their groups is left')
	drover.same_balancers = False


@pytest.mark.parametrize('when', ['in mid-request', 'before it has followed'])
def test_balancer_that_dies_in_the_middle(drover, when):
	"""Of the generation that drains.  It is not waited for, the others' requests are, and the order stays."""
	folder, app = recorder(drover)
	drover.start(drover.config(app, balancers=2))
	drover.same_balancers = drover.descriptors_kept = False
	old, old_balancers = drover.workers(), drover.balancers()
	victim = old_balancers[0]
	slow = [drover.connect() for _ in range(12)]
	if when == 'before it has followed':
		os.kill(victim, signal.SIGSTOP)
		slow = []
	for client in slow:
		client.request(target='/held')
	drover.wait(lambda: sum(len(Record(folder, w.pid).of('open')) for w in old) >= len(slow), 'all are with the workers')
	drover.signal(signal.SIGHUP)
	drover.wait_log('generation 2 serves')
	drover.wait(lambda: len(drover.workers()) > 2, 'a new worker')
	if when == 'before it has followed':
		drover.wait(lambda: {w.env['DROVER_RELEASE'] for w in drover.workers()} == {'1', '2'} and
			    all(drover.accepts(w) for w in drover.workers()), 'a new worker serves')
		time.sleep(1) # in which the old ones would have been found idle
	assert not [e for w in old for e in Record(folder, w.pid).of('signal')], 'nobody has been asked to stop yet'
	os.kill(victim, signal.SIGKILL)
	open(os.path.join(folder, 'go'), 'w').close()
	ends = []
	for client in slow:
		try:
			ends.append(client.reply().status)
		except (OSError, WireError):
			ends.append('cut')
	drover.wait_new_workers(old)
	assert set(ends) <= {200, 'cut'} and (200 in ends or not slow), ends
	for w in old:
		check_order(Record(folder, w.pid))
	for _ in range(4):
		assert drover.get('/').status == 200
	drover.settle()
