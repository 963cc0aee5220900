"""What the master tells its service manager over NOTIFY_SOCKET."""
import os
import re
import signal
import time

import pytest

import procs
from drover import bundled
from manager import Notify

pytestmark = pytest.mark.release

STATUS = re.compile(r'(Starting: |Reloading: |Stopping: |)(\d+) of (\d+) workers up, (\d+) connections, '
		    r'generation (\d+)(; failing: [\w, ]+)?$')
SLOW_START = ['/bin/sh', '-c', 'until [ -e go ]; do sleep 0.02; done; exec "$0" "$@"', *bundled()]
NEVER = ['/bin/sh', '-c', 'exit 1']


@pytest.fixture
def notify(drover):
	n = Notify(drover.path('notify'))
	drover.cleanups.append(n.close)
	return n


def status_values(notify):
	found = [STATUS.match(v) for v in notify.values('STATUS')]
	assert all(found), notify.values('STATUS')
	return found


def test_ready_when_every_app_has_a_ready_worker(drover, notify):
	"""Not when the ports are open, nor when the first app is there: systemctl start returns to a service that serves."""
	config = drover.config(balancers=2)
	config['apps'] = {'quick': {'command': bundled(), 'instances': 2},
			  'slow': {'command': SLOW_START, 'instances': 2, 'directory': drover.dir}}
	config['routes'] = [{'path': '/slow', 'app': 'slow'}, {'app': 'quick'}]
	drover.write_config(config)
	drover.launch(env=notify.environment)
	drover.wait(drover.answers, 'the quick app answers')
	notify.listen(1.2)
	assert notify.order() == []
	assert 'Starting: 2 of 4 workers up, 0 connections, generation 1' in notify.values('STATUS')
	open(drover.path('go'), 'w').close()
	drover.wait(lambda: notify.said('READY'), 'READY=1')
	assert drover.get('/slow').status == 200
	assert {pid for _, pid, _ in notify.listen()} == {drover.pid}, 'NotifyAccess=main'
	drover.stop()
	assert notify.order() == ['READY', 'STOPPING']
	status_values(notify)


def test_an_app_that_fails_does_not_keep_the_others_from_being_ready(drover, notify):
	config = drover.config()
	config['apps'] = {'good': {'command': bundled(), 'instances': 1},
			  'broken': {'command': NEVER, 'instances': 1, 'restart': {'backoff_min': '10ms', 'backoff_max': '50ms'}}}
	config['routes'] = [{'path': '/broken', 'app': 'broken'}, {'app': 'good'}]
	drover.write_config(config)
	drover.launch(env=notify.environment)
	drover.wait(lambda: notify.said('READY'), 'READY=1')
	assert status_values(notify)[-1][6] == '; failing: broken'


def test_not_ready_when_nothing_works(drover, notify):
	"""The start must fail by its timeout, and say why meanwhile."""
	drover.write_config(drover.config({'command': NEVER, 'instances': 1,
					   'restart': {'backoff_min': '10ms', 'backoff_max': '50ms'}}))
	drover.launch(env=notify.environment)
	drover.wait(lambda: any(m[6] == '; failing: app' for m in status_values(notify)), 'STATUS names it')
	assert notify.order() == []
	drover.stop()


def test_reload_is_over_when_the_last_old_worker_is(drover, notify):
	drover.start(env=notify.environment)
	drover.wait(lambda: notify.said('READY'), 'READY=1')
	old = {w.pid for w in drover.workers()}
	asked = time.monotonic_ns() // 1000
	drover.signal(signal.SIGHUP)
	drover.wait(lambda: len(notify.said('READY')) == 2, 'READY=1 again')
	for _ in range(6):
		assert int(drover.get('/pid').text) not in old, 'an old worker answers after READY=1'
	assert notify.order() == ['READY', 'RELOADING', 'READY']
	[stamp] = notify.values('MONOTONIC_USEC')
	assert asked <= int(stamp) <= time.monotonic_ns() // 1000
	assert status_values(notify)[-1][5] == '2'


@pytest.mark.parametrize('fault', ['bad file', 'no listener', 'workers fail'])
def test_reload_that_fails_ends_too(drover, notify, fault):
	drover.start(env=notify.environment)
	drover.wait(lambda: notify.said('READY'), 'READY=1')
	config = drover.config()
	if fault == 'no listener':
		config['listen'].append('unix:' + drover.path('no/such/folder'))
	if fault == 'workers fail':
		config = drover.config({'command': NEVER})
	drover.write_config('nonsense: [' if fault == 'bad file' else config)
	drover.signal(signal.SIGHUP)
	drover.wait(lambda: notify.order() == ['READY', 'RELOADING', 'READY'], notify.order)
	assert drover.get('/').status == 200
	drover.same_balancers = fault != 'workers fail'


def test_every_sighup_is_answered(drover, notify):
	"""Each with its own time: the manager waits for one that is not older than its request."""
	drover.start(env=notify.environment)
	drover.wait(lambda: notify.said('READY'), 'READY=1')
	for _ in range(3):
		n = len(notify.said('RELOADING'))
		drover.signal(signal.SIGHUP)
		drover.wait(lambda: len(notify.said('RELOADING')) > n, 'RELOADING=1')
	drover.wait(lambda: notify.order()[-1] == 'READY', 'READY=1 at the end')
	stamps = [int(v) for v in notify.values('MONOTONIC_USEC')]
	assert stamps == sorted(set(stamps)) and len(stamps) == 3


def test_sighup_during_the_start_belongs_to_it(drover, notify):
	drover.write_config(drover.config({'command': SLOW_START, 'directory': drover.dir}))
	drover.launch(env=notify.environment)
	drover.wait(lambda: len(drover.workers()) == 2, 'workers start')
	drover.signal(signal.SIGHUP)
	open(drover.path('go'), 'w').close()
	drover.wait(lambda: notify.said('READY'), 'READY=1')
	assert notify.order() == ['READY']


def test_status_only_on_change_and_once_a_second(drover, notify):
	drover.start(env=notify.environment)
	drover.wait(lambda: notify.said('READY'), 'READY=1')
	notify.listen(1.3)  # what the harness' own requests have left is told
	notify.heard.clear()
	notify.listen(2.2)
	assert notify.values('STATUS') == []
	held = [drover.connect() for _ in range(3)]
	for c in held:
		c.ask(target='/instance')
	end = time.monotonic() + 2.2
	while time.monotonic() < end:
		drover.get('/instance')
		notify.listen()
	times = [at for at, _, words in notify.heard if 'STATUS' in words]
	assert 1 <= len(times) <= 3 and all(b - a > 0.8 for a, b in zip(times, times[1:]))
	assert all(3 <= int(m[4]) <= 4 for m in status_values(notify))
	assert [m[2] for m in status_values(notify)] == ['2'] * len(times)


def test_draining_asks_for_time(drover, notify):
	drover.start(drover.config(shutdown={'soft': '8s', 'hard': '9s'}), env=notify.environment)
	busy = drover.connect()
	busy.request(target='/slow?ms=2600')
	time.sleep(0.2)
	notify.listen()
	notify.heard.clear()
	drover.signal(signal.SIGTERM)
	assert busy.reply().status == 200
	assert drover.wait_exit() == 0
	assert notify.order() == ['STOPPING']
	asked = [int(v) for v in notify.values('EXTEND_TIMEOUT_USEC')]
	assert len(asked) >= 3 and all(v > 2_000_000 for v in asked)
	assert any(m[1] == 'Stopping: ' and m[4] == '1' for m in status_values(notify))


def test_lame_duck_is_stopping(drover, notify):
	drover.start(drover.config(shutdown={'lame_duck': '800ms'}), env=notify.environment)
	drover.signal(signal.SIGTERM)
	drover.wait(lambda: notify.said('STOPPING'), 'STOPPING=1')
	assert drover.get('/').status == 200
	assert drover.wait_exit() == 0


@pytest.mark.parametrize('whose', ['ours', 'anybody', 'another'])
def test_watchdog(drover, notify, whose):
	"""Half of what is allowed; from the loop, so that a master that hangs is found out."""
	env = {**notify.environment, 'WATCHDOG_USEC': '400000'}
	if whose == 'another':
		env['WATCHDOG_PID'] = str(os.getpid())
	wrapper = ['/bin/sh', '-c', 'WATCHDOG_PID=$$ exec "$@"', 'sh'] if whose == 'ours' else []
	drover.start(env=env, wrapper=wrapper)
	notify.listen()
	notify.heard.clear()
	notify.listen(1.0)
	if whose == 'another':
		assert notify.said('WATCHDOG') == []
		return
	assert 4 <= len(notify.said('WATCHDOG')) <= 6
	os.kill(drover.pid, signal.SIGSTOP)
	try:
		notify.listen(0.1)
		notify.heard.clear()
		notify.listen(0.8)
		assert notify.heard == []
	finally:
		os.kill(drover.pid, signal.SIGCONT)


def test_abstract_name(drover):
	notify = Notify(f'@drover-test-{drover.name}')
	drover.cleanups.append(notify.close)
	drover.start(env=notify.environment)
	drover.wait(lambda: notify.said('READY'), 'READY=1')
	drover.stop()
	assert notify.order() == ['READY', 'STOPPING']


def test_none_of_it_reaches_workers_and_balancers(drover, notify):
	drover.start(env={**notify.environment, 'WATCHDOG_USEC': '9000000', 'LISTEN_FDS': '0', 'LISTEN_FDNAMES': 'x'})
	for w in drover.workers():
		env = procs.environment(w.pid)
		assert env.get('NOTIFY_SOCKET') != notify.environment['NOTIFY_SOCKET']
		assert not {'WATCHDOG_USEC', 'LISTEN_FDS', 'LISTEN_FDNAMES', 'LISTEN_PID'} & set(env)


@pytest.mark.parametrize('address', ['relative', '@', '/' + 'x' * 200, 'vsock:2:1'])
def test_address_that_makes_no_sense(drover, address):
	drover.start(env={'NOTIFY_SOCKET': address})
	drover.wait_log('NOTIFY_SOCKET=.* is neither a path nor @name')


def test_manager_that_is_gone(drover):
	drover.start(env={'NOTIFY_SOCKET': drover.path('nobody')})
	drover.wait_log('cannot be told anything: No such file')
	assert drover.get('/').status == 200
	drover.stop()
	assert drover.log().count('cannot be told') == 1


def test_manager_that_does_not_listen_for_a_while(drover, notify):
	"""Its queue is full: nobody waits for it, and nothing that matters is lost."""
	import socket
	stuffing = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
	stuffing.setblocking(False)
	with pytest.raises(BlockingIOError):
		while True:
			stuffing.sendto(b'X=1', drover.path('notify'))
	stuffing.close()
	drover.start(env=notify.environment)
	drover.signal(signal.SIGHUP)
	notify.listen()
	drover.wait(lambda: notify.said('READY'), 'READY=1')
	drover.wait_log('all 2 workers ready, of release 2')
