"""Rollouts: how many new workers at a time, what fails a release, and that of overlapping
reloads the newest wins; while clients see nothing of it."""
import os
import re
import signal
import time

import pytest

import procs
from drover import app_command

pytestmark = pytest.mark.release


def control(drover):
	folder = drover.path('control')
	os.makedirs(folder, exist_ok=True)
	os.chmod(folder, 0o777)
	return folder


def tell(drover, name):
	with open(os.path.join(control(drover), name), 'w', encoding='ascii'):
		pass


def untell(drover, name):
	os.unlink(os.path.join(control(drover), name))


def vital(drover, mode='', v='1', instances=2, timeout='15s', **more):
	return drover.config({'command': app_command('vital.py'), 'instances': instances,
			      'env': {'CONTROL': control(drover), 'MODE': mode, 'V': v},
			      'ready': {'type': 'notify', 'timeout': timeout}, **more})


def versions(drover):
	return sorted(w.env['V'] for w in drover.workers())


def served_by(drover, n=8):
	"""Instances that answer: each request goes to the next one."""
	return {drover.get().text.split()[0] for _ in range(n)}


def hup(drover, config):
	drover.write_config(config)
	drover.signal(signal.SIGHUP)


def lost_nothing(client):
	client.stop()
	assert len(client.replies) > 20
	assert not client.failures, client.failures[:5]


def one_generation(drover):
	drover.wait(lambda: len(drover.balancers()) == 1, 'one generation')
	drover.settle()


# How many at a time

@pytest.mark.parametrize('surge', [1, 2, 4])
def test_surge(drover, steady, surge):
	drover.start(vital(drover, instances=4, rollout={'surge': surge}))
	old = {w.pid for w in drover.workers()}
	client = steady(('127.0.0.1', drover.port))
	hup(drover, vital(drover, 'slow', '2', instances=4, rollout={'surge': surge}))
	peak = 0

	def done():
		nonlocal peak
		now = {w.pid for w in drover.workers()}
		peak = max(peak, len(now))
		return not now & old and len(now) == 4
	drover.wait(done, 'all are replaced')
	drover.wait_log('all 4 workers ready, of release 2')
	lost_nothing(client)
	assert peak == 4 + surge
	one_generation(drover)


# What fails a release

FAILURES = {
	'exit': (r'worker 0 \(pid \d+\) ended before it was ready: exit status 7', 'no such database'),
	'deaf': (r'worker 0 \(pid \d+\) was not ready within \S+ s: no READY=1', 'waiting for the moon'),
	'crash': (r'worker 0 \(pid \d+\) ended: exit status 3', 'a bug'),
}


@pytest.mark.parametrize('mode', FAILURES)
@pytest.mark.parametrize('surge', [1, 3])
def test_failed_release_is_taken_back(drover, steady, mode, surge):
	app = {'instances': 3, 'rollout': {'surge': surge, 'on_failure': 'keep-old'}}
	drover.start(vital(drover, **app))
	old = {w.pid for w in drover.workers()}
	client = steady(('127.0.0.1', drover.port))
	hup(drover, vital(drover, mode, '2', timeout='5s' if mode == 'deaf' else '20s', **app))
	reason, words = FAILURES[mode]
	drover.wait_log(rf'{reason.replace("worker 0", "worker [0-2]")}.*keeping release 1')
	if mode != 'deaf':  # which may not have come to write anything on a busy machine
		drover.wait_log(rf'  app\.[0-2]\[\d+\]: {words}')
	drover.wait(lambda: versions(drover) == ['1'] * 3, lambda: f'the old release runs: {versions(drover)}')
	if mode != 'crash':
		assert {w.pid for w in drover.workers()} == old, 'no old worker was touched'
	before = len(client.replies)
	drover.wait(lambda: len(client.replies) > before + 30, 'replies since')
	lost_nothing(client)
	assert {r.split()[2] for r in client.replies[-10:]} == {'1'}
	one_generation(drover)


@pytest.mark.parametrize('meanwhile', ['nothing', 'upgraded', 'scaled'])
def test_failed_release_is_taken_back_when_the_old_one_has_just_lost_its_worker(drover, meanwhile):
	drover.start(vital(drover, instances=1))
	only = drover.workers()[0].pid
	hup(drover, vital(drover, 'deaf', '2', instances=1, timeout='6s'))
	drover.wait(lambda: versions(drover) == ['1', '2'], 'the new release starts')
	if meanwhile == 'upgraded':
		drover.signal(signal.SIGUSR2)
		drover.wait_log('has taken over from drover')
	os.kill(only, signal.SIGKILL)
	if meanwhile == 'scaled':  # is the app, whichever release it comes back to
		drover.wait(lambda: '1' not in versions(drover), 'it has ended')
		drover.descriptors_kept = False
		drover.signal(signal.SIGTTIN)
	drover.wait_log('keeping release 1')
	wanted = ['1', '1'] if meanwhile == 'scaled' else ['1']
	drover.wait(lambda: versions(drover) == wanted, lambda: f'the old release runs again: {versions(drover)}')
	assert drover.get().text.split()[2] == '1'


def test_release_that_fails_its_first_probes_is_taken_back(drover, steady):
	drover.start(vital(drover))
	old = {w.pid for w in drover.workers()}
	client = steady(('127.0.0.1', drover.port))
	tell(drover, 'sick')
	hup(drover, vital(drover, v='2', timeout='8s', health={'path': '/healthz', 'interval': '100ms'}))
	drover.wait_log(r'was not ready within \S+ s: GET /healthz on 127.0.0.1:\d+ is answered 503 \(0 of 2 good in a row\).*keeping release 1')
	drover.wait(lambda: {w.pid for w in drover.workers()} == old, 'only the old workers are left')
	assert not [p for p in drover.children() if procs.command_line(p).startswith('drover: probe')], 'no prober is left'
	lost_nothing(client)
	one_generation(drover)


def test_release_that_falls_ill_on_the_way_is_taken_back(drover, steady):
	"""The first new worker passes its probes, and fails them before the second one comes."""
	health = {'path': '/healthz', 'interval': '100ms', 'fall': 2, 'rise': 1}
	drover.start(vital(drover, instances=3))
	client = steady(('127.0.0.1', drover.port))
	hup(drover, vital(drover, 'slow', '2', instances=3, health=health))
	drover.wait(lambda: drover.log().count('ready on') == 4, 'the first new one')
	tell(drover, 'sick')
	drover.wait_log(r'failed 2 health probes in a row: GET /healthz on \S+ is answered 503; .*keeping release 1')
	drover.wait(lambda: versions(drover) == ['1'] * 3, lambda: f'the old release runs: {versions(drover)}')
	lost_nothing(client)
	one_generation(drover)


def test_first_probes_gate_a_worker(drover):
	"""It listens and says READY=1, but gets no request before it has passed."""
	tell(drover, 'sick')
	drover.write_config(vital(drover, health={'path': '/healthz', 'interval': '100ms', 'rise': 3}))
	drover.launch()
	drover.wait_log('listening on')
	with drover.connect() as c:
		c.request()
		drover.wait(lambda: len([p for p in drover.children() if procs.command_line(p).startswith('drover: probe')]) == 2,
			    'probes')
		time.sleep(0.5)  # time to do it wrong
		assert 'ready on' not in drover.log()
		untell(drover, 'sick')
		assert c.head().status == 200
	drover.wait_log(r'all 2 workers ready')


# A kill from outside says nothing about a release: once

def test_stray_kill_during_the_boot_is_forgiven_once(drover, steady):
	drover.start(vital(drover))
	client = steady(('127.0.0.1', drover.port))

	def kill_new(v, n):
		def starting():
			return [w for w in drover.workers() if w.env['V'] == v and drover.log().count('is started once more') == n]
		drover.wait(starting, 'a new worker')
		os.kill(starting()[0].pid, signal.SIGKILL)
	hup(drover, vital(drover, 'slow', '2'))
	kill_new('2', 0)
	drover.wait_log(r'ended before it was ready: signal 9 \(SIGKILL\).*somebody else ended it: it is started once more')
	drover.wait(lambda: versions(drover) == ['2', '2'], 'the new release is there all the same')
	drover.wait_log('all 2 workers ready, of release 2')
	hup(drover, vital(drover, 'deaf', '3'))
	kill_new('3', 1)
	kill_new('3', 2)
	drover.wait_log(r'signal 9 \(SIGKILL\).*keeping release 2')
	drover.wait(lambda: versions(drover) == ['2', '2'], 'the one before is kept')
	lost_nothing(client)
	one_generation(drover)


# Overlapping reloads

def test_burst_of_reloads_under_load(drover, steady):
	drover.start(drover.config({'env': {'V': '0'}}))
	client = steady(('127.0.0.1', drover.port), '/instance')
	for v in range(1, 21):
		hup(drover, drover.config({'env': {'V': str(v)}}))
		time.sleep(0.01 * (v % 4))  # not all at once: some find one loading, some one that rolls
	drover.wait(lambda: versions(drover) == ['20', '20'], lambda: f'the last one: {versions(drover)}')
	one_generation(drover)
	lost_nothing(client)
	assert drover.get('/env?V').text.strip() == '20'
	assert len(drover.workers()) == 2, 'none is doubled'


def test_reload_during_a_rollout_that_hangs(drover, steady):
	drover.start(vital(drover, v='1'))
	client = steady(('127.0.0.1', drover.port))
	hup(drover, vital(drover, 'deaf', '2', timeout='60s'))
	drover.wait(lambda: '2' in versions(drover), 'the one that hangs')
	hup(drover, vital(drover, v='3'))
	drover.wait(lambda: versions(drover) == ['3', '3'], lambda: f'the newest: {versions(drover)}')
	drover.wait_log('all 2 workers ready, of release 3')
	assert 'keeping release' not in drover.log()
	lost_nothing(client)
	one_generation(drover)


def test_reload_back_to_the_old_content_while_one_fails(drover, steady):
	drover.start(vital(drover, v='1'))
	client = steady(('127.0.0.1', drover.port))
	for _ in range(3):
		hup(drover, vital(drover, 'deaf', '2', timeout='60s'))
		drover.wait(lambda: '2' in versions(drover), 'the one that hangs')
		hup(drover, vital(drover, v='1'))
		drover.wait(lambda: versions(drover) == ['1', '1'], lambda: f'the old content: {versions(drover)}')
	drover.wait_log('all 2 workers ready, of release 7')
	lost_nothing(client)
	one_generation(drover)


def test_bad_file_does_not_disturb_a_rollout(drover, steady):
	drover.start(vital(drover, v='1'))
	client = steady(('127.0.0.1', drover.port))
	hup(drover, vital(drover, 'slow', '2'))
	drover.wait(lambda: '2' in versions(drover), 'a new worker')
	hup(drover, 'apps: [\n')
	drover.wait_log('nothing has changed')
	drover.wait(lambda: versions(drover) == ['2', '2'], lambda: f'the good one: {versions(drover)}')
	drover.wait_log('all 2 workers ready, of release 2')
	lost_nothing(client)
	one_generation(drover)


def test_bad_file_does_not_disturb_a_generation_that_loads(drover):
	"""Both within a moment: the first one's balancers are not ready yet."""
	drover.start(vital(drover, v='1'))
	for v in '234':
		hup(drover, {**vital(drover, v=v), 'balancers': 6})
		drover.wait_log(f'configuration checked, generation {v} starts')
		hup(drover, 'apps: [\n')
		drover.wait(lambda: versions(drover) == [v, v], lambda: f'the good one: {versions(drover)}')
		drover.wait_log(f'all 2 workers ready, of release {v}')
	assert drover.log().count('nothing has changed') == 3 and 'giving up' not in drover.log()
	drover.settle()


def test_failed_reload_leaves_the_number_of_workers_as_it_was(drover):
	drover.start(vital(drover, v='1'))
	drover.signal(signal.SIGTTIN)
	drover.wait(lambda: versions(drover) == ['1'] * 3, 'one more')
	hup(drover, vital(drover, 'deaf', '2', timeout='1s'))
	drover.wait_log('keeping release 1')
	drover.wait(lambda: versions(drover) == ['1'] * 3, lambda: f'three: {versions(drover)}')
	hup(drover, vital(drover, v='3'))
	drover.wait(lambda: versions(drover) == ['3'] * 2, lambda: f'as configured: {versions(drover)}')


# Health of those that serve

def test_sick_worker_gets_no_requests_until_it_is_well(drover, steady):
	drover.start(vital(drover, health={'path': '/healthz', 'interval': '100ms', 'fall': 2, 'rise': 2}))
	drover.wait_log('all 2 workers ready')
	client = steady(('127.0.0.1', drover.port))
	pids = {w.pid for w in drover.workers()}
	tell(drover, 'sick-0')
	drover.wait_log(r'worker 0 \(pid \d+\) failed 2 health probes in a row: .* is answered 503; it gets no requests until it is well')
	drover.wait(lambda: served_by(drover) == {'1'}, 'only the other one is asked')
	tell(drover, 'sick')
	drover.wait_log(r'worker 1 .*no other is left, so it stays in the rotation')
	drover.wait(lambda: served_by(drover) == {'0', '1'}, 'both are better than none')
	untell(drover, 'sick')
	drover.wait_log(r'worker 1 \(pid \d+\) has passed 2 health probes in a row: it gets requests again')
	drover.wait(lambda: served_by(drover) == {'1'}, 'one is well')
	untell(drover, 'sick-0')
	drover.wait(lambda: served_by(drover) == {'0', '1'}, 'both are well')
	lost_nothing(client)
	assert {w.pid for w in drover.workers()} == pids, 'nobody was stopped'


def test_killed_prober_is_replaced(drover):
	drover.start(vital(drover, instances=1, health={'path': '/healthz', 'interval': '100ms'}))
	probers = lambda: [p for p in drover.children() if procs.command_line(p).startswith('drover: probe')]
	first = drover.wait(probers, 'a prober')
	os.kill(first[0], signal.SIGKILL)
	drover.wait(lambda: probers() not in ([], first), 'another one')
	tell(drover, 'sick')
	drover.wait_log('failed 3 health probes in a row')


def test_servers_are_probed_too(drover, new_drover):
	"""Another drover's workers stand for servers that are not ours."""
	other = new_drover()
	other.start(vital(other))
	servers = [f'127.0.0.1:{w.port}' for w in other.workers()]
	health = {'path': '/healthz', 'interval': '100ms', 'fall': 2}
	drover.start(drover.config({'servers': servers, 'health': health}))
	drover.wait(lambda: served_by(drover) == {'0', '1'}, 'both answer')
	tell(other, 'sick-1')
	drover.wait(lambda: served_by(drover) == {'0'}, 'the sick one is out')
	drover.descriptors_kept = False
	old = drover.balancers()
	hup(drover, drover.config({'servers': servers, 'health': {**health, 'interval': '150ms'}}))
	drover.wait(lambda: not set(old) & set(drover.balancers()), 'a new generation')
	assert served_by(drover, 20) == {'0'}, 'a reload heals nobody'
	untell(other, 'sick-1')
	drover.wait(lambda: served_by(drover) == {'0', '1'}, 'it is back')
	drover.settle()


# Signs of life

def test_missed_watchdog(drover, steady):
	drover.start(vital(drover, watchdog='800ms', stop={'grace': '1s'}))
	client = steady(('127.0.0.1', drover.port))
	old = drover.worker(0).pid
	time.sleep(1.2)  # longer than the watchdog: those that give signs of life stay
	assert drover.worker(0).pid == old
	assert drover.worker(0).env['WATCHDOG_USEC'] == '800000'
	tell(drover, 'mute-0')
	line = drover.wait_log(r'worker 0 \(pid \d+\) hangs: no WATCHDOG=1 for 0.8 s; \d+ requests? in flight, state \w \([a-z ]+\), CPU \d+ % .*')
	assert re.search('its successor starts at once', line[0])
	untell(drover, 'mute-0')
	drover.wait(lambda: old not in [w.pid for w in drover.workers()] and len(drover.workers()) == 2, 'it is replaced')
	lost_nothing(client)


def test_watchdog_that_the_worker_asks_for(drover):
	drover.start(drover.config({'command': app_command('notifier.py', 'listen', 'send:READY=1', 'send:WATCHDOG_USEC=400000'),
				    'instances': 1, 'ready': {'type': 'notify'}}))
	drover.wait_log('hangs: no WATCHDOG=1 for 0.4 s')


def test_worker_that_reports_itself(drover):
	drover.start(drover.config({'command': app_command('notifier.py', 'listen', 'send:READY=1', 'sleep:0.3', 'send:WATCHDOG=trigger'),
				    'instances': 1, 'ready': {'type': 'notify'}}))
	drover.wait_log(r'hangs: it says so itself \(WATCHDOG=trigger\)')


def test_stopped_master_blames_nobody(drover):
	"""What workers sent while the master stood still is read before they are judged."""
	drover.start(vital(drover, watchdog='700ms'))
	drover.signal(signal.SIGSTOP)
	time.sleep(2)
	drover.signal(signal.SIGCONT)
	drover.wait(lambda: drover.get().status == 200, 'it serves')
	time.sleep(1)
	assert 'hangs' not in drover.log()


def test_bundled_worker_has_no_watchdog_by_default(running):
	assert 'WATCHDOG_USEC' not in running.worker().env
