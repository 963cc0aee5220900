"""How a worker proves that it is ready, and what becomes of one that does not: every
wait has an end, and every end says why."""
import os
import re
import signal
import stat
import time

import pytest

import procs
from drover import AS_ROOT, app_command, bundled

pytestmark = pytest.mark.release


def control(drover):
	folder = drover.path('control')
	os.makedirs(folder, exist_ok=True)
	os.chmod(folder, 0o777)
	return folder


def touch(drover, name):
	with open(os.path.join(control(drover), name), 'w', encoding='ascii'):
		pass


def notifier(drover, *steps, timeout='10s', **more):
	return drover.config({'command': app_command('notifier.py', *steps), 'instances': 1, 'env': {'CONTROL': control(drover)},
			      'ready': {'type': 'notify', 'timeout': timeout}, **more})


def launch(drover, config):
	drover.write_config(config)
	return drover.launch()


# NOTIFY_SOCKET

@pytest.mark.parametrize('kind', ['port', 'notify'])
def test_every_worker_has_a_private_socket(drover, kind):
	drover.start(drover.config({'ready': {'type': kind}}))
	sockets = [w.env['NOTIFY_SOCKET'] for w in drover.workers()]
	assert len(set(sockets)) == 2
	for path in sockets:
		s = os.stat(path)
		assert stat.S_ISSOCK(s.st_mode) and stat.S_IMODE(s.st_mode) == 0o600
	drover.reload()
	drover.wait(lambda: not any(os.path.exists(p) for p in sockets), 'the sockets of old workers are removed')


def test_systemds_words_are_for_drover_alone(drover):
	drover.start(env={'NOTIFY_SOCKET': '/nowhere', 'WATCHDOG_USEC': '1000000', 'WATCHDOG_PID': '1'})
	for w in drover.workers():
		assert w.env['NOTIFY_SOCKET'].startswith(drover.runtime_dir if not AS_ROOT else '/run/drover')
		assert not {'WATCHDOG_USEC', 'WATCHDOG_PID'} & set(w.env)


@pytest.mark.skipif(not AS_ROOT, reason='needs root')
def test_worker_of_another_user_may_send_and_nobody_else(drover):
	drover.start(notifier(drover, 'listen', 'send:READY=1', user='nobody'))
	s = os.stat(drover.worker().env['NOTIFY_SOCKET'])
	assert s.st_uid == os.stat(f'/proc/{drover.worker().pid}').st_uid != 0
	assert stat.S_IMODE(s.st_mode) == 0o600


# ready: notify

def test_bundled_worker_notifies(drover):
	drover.start(drover.config({'ready': {'type': 'notify'}}))
	assert drover.get().status == 200


def test_gets_no_request_before_it_says_so(drover):
	"""Though it accepts connections already: they wait."""
	launch(drover, notifier(drover, 'listen', 'print:listening', 'until:go', 'send:STATUS=warm\\nREADY=1'))
	drover.wait(lambda: 'listening' in drover.output(), 'the worker accepts')
	with drover.connect() as c:
		c.request()
		time.sleep(0.3)  # time to do it wrong
		assert 'ready on' not in drover.log()
		touch(drover, 'go')
		assert c.head().status == 200
	drover.wait_log(r'worker 0 \(pid \d+\) ready on')


def test_junk_gifts_and_strangers_prove_nothing(drover):
	launch(drover, notifier(drover, 'listen', 'junk', 'descriptors:1', 'descriptors:250', 'stranger:READY=1', 'print:all sent',
				'until:go', 'send:READY=1'))
	drover.wait(lambda: 'all sent' in drover.output(), 'the worker has sent everything')
	time.sleep(0.2)  # time to do it wrong
	assert 'ready on' not in drover.log()
	assert drover.output().count('descriptors taken') == 2
	touch(drover, 'go')
	drover.wait_log('ready on')
	assert drover.get().status == 200


def test_flood_holds_up_nobody(drover):
	start = time.monotonic()
	drover.start(notifier(drover, 'listen', 'flood:3000', 'send:READY=1'))
	assert time.monotonic() - start < 10
	assert drover.get().status == 200


def test_helper_of_the_same_group_may_speak_for_it(drover):
	drover.start(notifier(drover, 'listen', 'helper:READY=1'))
	assert drover.get().status == 200


def test_shell_with_socat_like_tools(drover):
	"""Any program that can send a datagram will do: a shell that starts one and stays."""
	send = ("import os,socket; s=socket.socket(socket.AF_UNIX,socket.SOCK_DGRAM); s.connect(os.environ['NOTIFY_SOCKET']); "
		"s.send(b'READY=1'); import time; time.sleep(60)")
	worker = ' '.join(bundled())
	launch(drover, drover.config({'command': ['sh', '-c', f'NOTIFY_SOCKET= {worker} & /usr/bin/python3 -c "{send}"'],
				      'instances': 1, 'ready': {'type': 'notify'}}))
	drover.wait_log('ready on')


# It does not become ready

FAILURES = {
	'silent': (['print:loading', 'send:STATUS=waiting for the database\x1b[2J'],
		   r'app app: worker 0 \(pid \d+\) was not ready within \S+ s: no READY=1 has come over \$NOTIFY_SOCKET; '
		   r'its status: waiting for the database\\x1b\[2J', 'loading'),
	'exit': (['print:no licence', 'send:STATUS=giving up', 'exit:7'],
		 r'app app: worker 0 \(pid \d+\) ended before it was ready: exit status 7.*; its status: giving up', 'no licence'),
	'stopping': (['print:no database', 'send:STATUS=closing\\nSTOPPING=1'],
		     r'app app: worker 0 \(pid \d+\) sent STOPPING=1 before it was ready.*; its status: closing', 'no database'),
	'stranger': (['print:outside', 'stranger:READY=1'],
		     r'was not ready within \S+ s: .*; notifications from outside its process group were dropped: 2', 'outside'),
}


@pytest.mark.parametrize('how', FAILURES)
def test_failed_start_says_why(drover, how):
	steps, line, output = FAILURES[how]
	launch(drover, notifier(drover, *steps, timeout='3s'))
	drover.wait_log(line)
	drover.wait_log(rf'  app\.0\[\d+\]: {output}')


def test_stopping_counts_whatever_the_proof(drover):
	launch(drover, notifier(drover, 'send:STOPPING=1', ready={'type': 'port', 'timeout': '10s'}))
	drover.wait_log(r'sent STOPPING=1 before it was ready')


def test_more_time_on_request(drover):
	drover.start(notifier(drover, 'listen', 'send:EXTEND_TIMEOUT_USEC=9000000', 'sleep:3.5', 'send:READY=1', timeout='2500ms'))
	assert 'was not ready' not in drover.log()


def test_more_time_has_an_end(drover):
	launch(drover, notifier(drover, 'send:EXTEND_TIMEOUT_USEC=86400000000', timeout='1s'))
	match = drover.wait_log(r'was not ready within ([\d.]+) s')
	assert 9.9 < float(match[1]) < 13


@pytest.mark.parametrize('how', ['silent', 'exit', 'stopping'])
def test_release_that_fails_leaves_the_old_one_serving(drover, steady, how):
	drover.start(drover.config({'ready': {'type': 'notify'}}))
	old = {w.pid for w in drover.workers()}
	client = steady(('127.0.0.1', drover.port), '/instance')
	drover.write_config(notifier(drover, *FAILURES[how][0], timeout='3s'))
	drover.signal(signal.SIGHUP)
	drover.wait_log(FAILURES[how][1] + '.*keeping release 1')
	drover.wait(lambda: {w.pid for w in drover.workers()} == old, 'only the old workers are left')
	drover.wait(lambda: len(client.replies) > 20, 'replies since')
	client.stop()
	assert not client.failures, client.failures[:5]
	drover.wait(lambda: len(drover.balancers()) == 1, 'one generation')
	drover.settle()


def test_one_that_says_it_is_stopping_is_replaced_without_loss(drover, steady):
	"""SIGTERM from somebody else: the bundled worker says STOPPING=1, and gets no more requests."""
	drover.start(drover.config({'ready': {'type': 'notify'}}))
	client = steady(('127.0.0.1', drover.port), '/instance')
	for i in range(3):
		os.kill(drover.worker().pid, signal.SIGTERM)
		drover.wait(lambda i=i: drover.log().count('ready on') == 3 + i and len(drover.workers()) == 2, 'it is replaced')
	client.stop()
	assert not client.failures, client.failures[:5]
	assert len(re.findall('says that it is stopping', drover.log())) == 3


# ready: http

def http(drover, *steps, timeout='10s', path='/up?deep=1', **more):
	return notifier(drover, *steps, **{'ready': {'type': 'http', 'path': path, 'timeout': timeout}, **more})


@pytest.mark.parametrize('first', ['503', '503,404,500,400', 'close', 'junk', '503,close,junk,302', 'slow', '302', '204'])
def test_probe_goes_on_until_it_is_answered(drover, first):
	drover.start(http(drover, f'serve:{first}'))
	probes = re.findall(r"probed: b'(.*)'", drover.output())
	assert len(probes) >= len(first.split(','))
	assert probes[0].startswith('GET /up?deep=1 HTTP/1.1\\r\\nHost: localhost\\r\\nUser-Agent: drover-probe/')
	assert drover.get().status == 200
	assert not [p for p in drover.children() if procs.command_line(p).startswith('drover: probe')], 'the prober is gone'


PROBE_FAILURES = {
	'503': ('serve:' + ','.join(['503'] * 50), r'GET /up\?deep=1 on 127.0.0.1:\d+ is answered 503'),
	'silent': ('serve:' + ','.join(['silent'] * 50), r'GET /up\?deep=1 on 127.0.0.1:\d+ is not answered in time'),
	'close': ('serve:' + ','.join(['close'] * 50), r'GET .* is not answered: the connection is closed'),
	'junk': ('serve:' + ','.join(['junk'] * 50), r'GET .* is answered by something that is not HTTP'),
	# Its port is anybody's meanwhile: tests that run beside this one ask the kernel for ports, too.
	'deaf': ('print:probed: never', r'(?:nothing accepts on 127.0.0.1:\d+|127.0.0.1:\d+ was taken by)'),
}


@pytest.mark.parametrize('how', PROBE_FAILURES)
def test_release_that_fails_its_probe_leaves_the_old_one_serving(drover, steady, how):
	drover.start(drover.config())
	old = {w.pid for w in drover.workers()}
	client = steady(('127.0.0.1', drover.port), '/instance')
	step, reason = PROBE_FAILURES[how]
	drover.write_config(http(drover, step, timeout='2500ms'))
	drover.signal(signal.SIGHUP)
	drover.wait_log(rf'was not ready within \S+ s: {reason}.*keeping release 1')
	drover.wait_log(r'  app\.0\[\d+\]: probed: ')
	drover.wait(lambda: {w.pid for w in drover.workers()} == old, 'only the old workers are left')
	drover.wait(lambda: len(client.replies) > 20, 'replies since')
	client.stop()
	assert not client.failures, client.failures[:5]
	drover.wait(lambda: len(drover.balancers()) == 1, 'one generation')
	drover.settle()


@pytest.mark.parametrize('user', ['nobody', None])
def test_probe_of_a_unix_socket(drover, user):
	"""As root: the prober is another user than the worker, as the balancers are."""
	if user and not AS_ROOT:
		pytest.skip('needs root')
	app = {'bind': 'unix', 'ready': {'type': 'http', 'path': '/instance'}}
	drover.start(drover.config({**app, 'user': user} if user else app))
	assert drover.get('/instance').status == 200


def test_prober_is_unprivileged_and_holds_nothing(drover):
	launch(drover, http(drover, 'serve:' + ','.join(['silent'] * 9)))
	probers = lambda: [p for p in drover.children() if procs.command_line(p).startswith('drover: probe')]
	drover.wait(probers, 'a prober')
	drover.wait(lambda: 'probed' in drover.output(), 'it has asked')
	pid, = probers()
	if AS_ROOT:
		assert os.stat(f'/proc/{pid}').st_uid != 0
	assert len(os.listdir(f'/proc/{pid}/fd')) <= 6, 'stdin, stdout, stderr, its pipe, its connection and the error log'
	os.kill(pid, signal.SIGKILL)
	drover.wait(lambda: probers() not in ([], [pid]), 'another one')
