"""The admin channel: what it shows, whom it lets in, and what it bears."""
import json
import os
import re
import socket
import stat
import subprocess
from signal import SIGKILL, SIGSTOP

import pytest

import procs
from admin import ask, command, connect, read_answer, socket_path, status
from drover import AS_ROOT, DROVER, app_command
from procs import wait_until

pytestmark = pytest.mark.release


def test_status_shows_what_runs(running):
	d = running
	s = status(d)
	assert s['name'] == d.name and s['pid'] == d.pid and s['state'] == 'serving'
	assert s['config_file'] == d.config_file and s['uptime_s'] > 0
	(app,) = s['apps']
	assert (app['name'], app['wanted'], app['up'], app['release']) == ('app', 2, 2, 1)
	assert {w['pid'] for w in app['workers']} == {w.pid for w in d.workers()}
	assert all(w['state'] == 'up' and w['restarts'] == 0 and w['in_flight'] == 0 for w in app['workers'])
	assert sum(w['requests'] for w in app['workers']) == s['requests'] > 0
	assert [b['pid'] for b in s['balancers']] == d.balancers()
	assert [(g['number'], g['state']) for g in s['generations']] == [(1, 'serving')]
	assert [(x['address'], x['sockets'], x['in_config']) for x in s['listeners']] == [(f'127.0.0.1:{d.port}', 1, True)]
	assert s['counters']['requests'] == s['requests'] and s['refusals'] == {'clients': {}, 'workers': {}}


def test_status_counts_refusals(running):
	d = running
	for _ in range(3):
		with socket.create_connection(('127.0.0.1', d.port), 10) as s:
			s.sendall(b'GET / HTTP/1.1\r\n\r\n')
			assert s.recv(4096).startswith(b'HTTP/1.1 400 ')
	assert status(d)['refusals']['clients'] == {'host_missing': 3}
	assert '\n  refused of clients: host_missing 3\n' in command(d, 'status').stdout


def test_status_command(running):
	d = running
	human, machine = command(d, 'status'), command(d, 'status', '--json')
	assert human.returncode == machine.returncode == 0, human.stderr + machine.stderr
	assert human.stdout.startswith(f'{d.name}: serving, pid {d.pid}, ')
	for w in d.workers():
		assert str(w.pid) in human.stdout
	assert json.loads(machine.stdout)['pid'] == d.pid


def test_a_killed_worker_counts_as_restart(running):
	"""And how it ended is told of its successor."""
	d = running
	victim = d.worker(1)
	victim.kill()
	d.wait_new_workers([victim])
	rows = {w['instance']: w for w in status(d)['apps'][0]['workers'] if w['state'] != 'down'}
	assert {i: w['restarts'] for i, w in rows.items()} == {0: 0, 1: 1}
	assert rows[0]['last_failure'] is None
	failure = rows[1]['last_failure']
	assert failure['pid'] == victim.pid and 'SIGKILL' in failure['reason'] and 0 <= failure['ago_s'] < 60, failure
	assert f's ago: {failure["reason"]}\n' in command(d, 'status').stdout


def test_socket_belongs_to_its_owner_alone(running):
	st = os.stat(socket_path(running))
	assert stat.S_ISSOCK(st.st_mode) and st.st_mode & 0o777 == 0o600 and st.st_uid == os.geteuid()


def test_monitor_that_dies_is_replaced(running):
	d = running
	(monitor,) = d.monitors()
	client = d.connect()
	client.ask('GET', '/')
	os.kill(monitor, SIGKILL)
	client.ask('GET', '/')
	wait_until(lambda: d.monitors() not in ([], [monitor]), 10, 'another monitor')
	assert command(d, 'status').returncode == 0
	client.ask('GET', '/')


def test_nothing_there(running):
	assert ask(running, 'GET', '/api/v1/statuses').status == 404
	assert ask(running, 'GET', '/').status == 404
	assert ask(running, 'DELETE', '/api/v1/status').status == 405
	head = ask(running, 'HEAD', '/api/v1/status')
	assert head.status == 200 and head.body == b'' and int(head.headers['content-length']) > 100


def test_monitor_runs_as_the_balancers_do(running):
	d = running
	user = lambda pid: procs.read(f'/proc/{pid}/status').split(b'\nUid:')[1].split(b'\n')[0]
	assert user(d.monitors()[0]) == user(d.balancers()[0])


def test_reload_waits_for_the_release(running):
	d = running
	d.same_balancers = False
	old = d.workers()
	done = command(d, 'reload', '--wait')
	assert done.returncode == 0, done.stderr
	assert 'is done' in done.stdout
	assert not {w.pid for w in old} & {w['pid'] for w in status(d)['apps'][0]['workers'] if w['state'] == 'up'}
	d.wait_new_workers(old)
	d.settle()


def test_reload_of_a_bad_file(running):
	d = running
	d.write_config('listen: nonsense\n')
	done = command(d, 'reload')
	assert done.returncode == 1 and 'nonsense' in done.stderr, done.stderr
	assert len(d.workers()) == 2 and d.get('/').status == 200


def test_reload_of_a_release_that_fails(running):
	d = running
	d.same_balancers = False
	old = {w.pid for w in d.workers()}
	d.write_config(d.config({'command': ['sh', '-c', 'echo the base is gone >&2; exit 3']}))
	done = command(d, 'reload', '--wait')
	assert done.returncode == 1
	assert 'exit status 3' in done.stderr and 'the base is gone' in done.stderr, done.stderr
	assert {w.pid for w in d.workers()} == old and d.get('/').status == 200
	app = status(d)['apps'][0]
	assert app['rollout']['state'] == 'failed' and 'the base is gone' in app['rollout']['lines']
	failures = [w['last_failure']['reason'] for w in app['workers'] if w['last_failure']]
	assert failures and 'ended before it was ready: exit status 3' in failures[0]
	assert 'release 2 failed: ' in command(d, 'status').stdout
	d.settle()


def test_restart_one_app(running):
	d = running
	old = d.workers()
	done = command(d, 'restart', 'app')
	assert done.returncode == 0, done.stderr
	d.wait_new_workers(old)
	assert status(d)['apps'][0]['release'] == 2


def test_scale_up_and_down(running):
	d = running
	for n in (4, 1):
		done = command(d, 'scale', 'app', str(n))
		assert done.returncode == 0, done.stderr
		d.wait(lambda: len(d.workers()) == n and status(d)['apps'][0]['up'] == n, f'{n} workers')
	assert command(d, 'scale', 'app', '0').returncode == 1
	assert command(d, 'scale', 'app', '100000').returncode == 1
	assert command(d, 'scale', 'app', 'x').returncode == 2


def test_drain_one_worker(running):
	d = running
	victim, other = d.worker(1), d.worker(0)
	done = command(d, 'drain', 'app/1')
	assert done.returncode == 0 and str(victim.pid) in done.stdout, done.stderr
	d.wait_new_workers([victim])
	assert other.pid in {w.pid for w in d.workers()}
	missing = command(d, 'drain', 'app/7')
	assert missing.returncode == 1 and 'no such worker' in missing.stderr


def test_unknown_app(running):
	for words in (('restart', 'nope'), ('scale', 'nope', '2'), ('drain', 'nope/0')):
		done = command(running, *words)
		assert done.returncode == 1 and 'there is no app nope' in done.stderr, done.stderr


def test_stop_returns_when_it_has_ended(running):
	d = running
	done = command(d, 'stop')
	assert done.returncode == 0 and 'has ended' in done.stdout, done.stderr
	assert d.wait_exit(5) == 0
	d.check_ended()
	gone = command(d, 'status')
	assert gone.returncode == 1 and d.name in gone.stderr


def test_probes(running):
	assert ask(running, 'GET', '/livez').status == 200
	ready = ask(running, 'GET', '/readyz')
	assert ready.status == 200 and ready.json == {'ready': True, 'reasons': []}


def test_tcp_is_for_looking(drover):
	d, port = drover, procs.free_port()
	d.start(d.config(admin={'listen': f'127.0.0.1:{port}'}))
	for method, path, wanted in (('GET', '/api/v1/status', 200), ('GET', '/readyz', 200), ('POST', '/api/v1/stop', 403)):
		with socket.create_connection(('127.0.0.1', port), 10) as s:
			s.sendall(f'{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n'.encode())
			assert read_answer(s).status == wanted
	assert d.get('/').status == 200


def test_what_workers_print_is_not_for_everybody(drover):
	"""It may hold secrets: the lines of a worker that failed a release are not shown over TCP."""
	d, port = drover, procs.free_port()
	d.start(d.config(admin={'listen': f'127.0.0.1:{port}'}))
	d.same_balancers = False
	d.write_config(d.config({'command': ['sh', '-c', 'echo password >&2; exit 3']}, admin={'listen': f'127.0.0.1:{port}'}))
	assert command(d, 'reload', '--wait').returncode == 1
	for path, wanted in (('/api/v1/status', 200), ('/api/v1/reloads/1', 200), ('/api/v1/apps/app/logs', 403)):
		with socket.create_connection(('127.0.0.1', port), 10) as s:
			s.sendall(f'GET {path} HTTP/1.1\r\nHost: x\r\n\r\n'.encode())
			answer = read_answer(s)
			assert answer.status == wanted and b'password' not in answer.body, answer.body
		assert b'password' in ask(d, 'GET', path).body
	d.settle()


def test_hostile_clients(running):
	"""Many that say nothing, a head without end, bodies too long: others are served, and all end."""
	d = running
	silent = [connect(d) for _ in range(100)]
	assert status(d)['name'] == d.name
	for text, wanted in ((b'GET /' + b'x' * 5000 + b' HTTP/1.1\r\n', 414), (b'\x16\x03\x01' * 100, 400),
			     (b'POST /api/v1/apps/app/scale HTTP/1.1\r\nHost: x\r\nContent-Length: 9999\r\n\r\n', 413),
			     (b'POST /api/v1/apps/app/scale HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n', 411)):
		with connect(d) as s:
			s.sendall(text)
			assert read_answer(s).status == wanted, text[:40]
	for body in (b'{', b'[]', b'{"instances": -1}', b'{"instances": 1.5}', b'{"instances": 1, "instances": 2}', b'[' * 4000):
		with connect(d) as s:
			s.sendall(b'POST /api/v1/apps/app/scale HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n' % len(body) + body)
			assert read_answer(s).status == 422, body[:40]
	slow = connect(d)
	slow.sendall(b'GET /api/v1/status HT')
	assert read_answer(slow).status in (0, 408)
	for s in (*silent, slow):
		s.close()
	assert len(d.workers()) == 2 and status(d)['state'] == 'serving'


def test_monitor_that_hangs_does_not_keep_the_next_one_away(drover):
	d = drover
	config = d.config(admin={'socket': d.path('one.sock')})
	d.start(config)
	(monitor,) = d.monitors()
	os.kill(monitor, SIGSTOP)
	config['admin'] = {'socket': d.path('two.sock')}
	d.reload(config)
	wait_until(lambda: d.monitors() not in ([], [monitor]), 20, 'another monitor')
	assert status(d)['state'] == 'serving'


def test_monitor_that_hangs_is_replaced(running, new_drover):
	"""Nobody has told it to go: its silence is noticed.  One that nobody asks anything is not taken for hung."""
	d, idle = running, new_drover().start()
	(monitor,), others = d.monitors(), idle.monitors()
	os.kill(monitor, SIGSTOP)
	wait_until(lambda: d.monitors() not in ([], [monitor]), 30, 'another monitor')
	assert re.search(rf'the monitor \(pid {monitor}\) hangs', d.log())
	assert status(d)['state'] == 'serving'
	assert idle.monitors() == others and 'hangs' not in idle.log()


def test_somebody_else_may_not(running):
	"""The socket is its owner's; who may not is told whom to become."""
	if not AS_ROOT:
		pytest.skip('another user takes root')
	done = command(running, 'status', user=65534, group=65534, extra_groups=[])
	assert done.returncode == 1 and 'may not connect to ' in done.stderr, done.stderr
	assert 'become root' in done.stderr and socket_path(running) in done.stderr
	# The file's mode is what keeps him out, and nothing else.
	os.chmod(socket_path(running), 0o666)
	assert command(running, 'status', user=65534, group=65534, extra_groups=[]).returncode == 0


def test_socket_that_is_gone(running):
	"""Removed by somebody who cleans up; replaced by one where nobody listens."""
	d, path = running, socket_path(running)
	d.same_balancers = False
	os.unlink(path)
	done = command(d, 'status')
	assert done.returncode == 1 and f'kill -HUP {d.pid}' in done.stderr, done.stderr
	with socket.socket(socket.AF_UNIX) as stale:
		stale.bind(path)
		done = command(d, 'status')
		assert done.returncode == 1 and f'nobody listens on {path}' in done.stderr, done.stderr
	os.unlink(path)
	d.reload()
	assert command(d, 'status').returncode == 0


def test_instance_that_has_ended(running):
	"""Its lock file was left, and its pid is nobody's, or somebody else's by now."""
	folder = os.path.dirname(socket_path(running))
	for pid in (1 << 22, os.getpid()):
		lock = os.path.join(folder, f'{running.name}-gone.lock')
		with open(lock, 'w', encoding='utf-8') as f:
			f.write(f'{pid}\n{folder}/{running.name}-gone.sock\n')
		try:
			done = command(running, 'status', '--name', f'{running.name}-gone', name=False)
		finally:
			os.unlink(lock)
		assert done.returncode == 1 and f'(pid {pid}) has ended; drover run starts it again' in done.stderr, done.stderr


def test_commands_while_a_rollout_is_under_way(drover):
	"""Each is done or refused with a reason, the newest wins, and what was asked for last is what runs."""
	d = drover
	control = d.path('control')
	os.mkdir(control)
	app = {'command': app_command('scripted.py'), 'env': {'CONTROL': control}, 'instances': 2}
	d.start(d.config(app))
	d.same_balancers = False
	with open(os.path.join(control, 'delay'), 'w', encoding='utf-8') as f:
		f.write('600')
	first = subprocess.Popen([DROVER, 'reload', '--wait', '--name', d.name], env=d.environment(), stdin=subprocess.DEVNULL,
				 stderr=subprocess.PIPE, stdout=subprocess.PIPE, encoding='utf-8')
	d.wait(lambda: (status(d)['apps'][0]['rollout'] or {}).get('number') == 2, 'the release is on its way')
	(shown,) = status(d)['apps']
	assert shown['rollout']['state'] == 'running' and shown['up'] == 2
	assert command(d, 'scale', 'app', '3').returncode == 0
	assert command(d, 'drain', 'app/0').returncode == 0
	assert command(d, 'drain', 'app/9').returncode == 1
	assert command(d, 'logs', 'app').returncode == 0
	os.unlink(os.path.join(control, 'delay'))
	second = command(d, 'reload', '--wait')
	assert second.returncode == 0, second.stderr
	_, why = first.communicate(timeout=30)
	assert first.returncode == 1 and 'superseded by a newer one' in why, why
	assert command(d, 'restart', 'app').returncode == 0
	d.wait(lambda: status(d)['apps'][0]['rollout']['state'] == 'done', 'all is done')
	(shown,) = status(d)['apps']
	assert {w['release'] for w in shown['workers'] if w['state'] == 'up'} == {4} and shown['wanted'] == 2, shown
	d.wait(lambda: len(d.workers()) == 2, 'two workers')
	d.settle()


def test_two_side_by_side(running, new_drover):
	other = new_drover().start()
	which = command(running, 'status', name=False)
	assert which.returncode == 1 and 'several instances are running: ' in which.stderr, which.stderr
	assert running.name in which.stderr and other.name in which.stderr and 'name one with --name' in which.stderr
	assert status(other)['pid'] == other.pid and status(running)['pid'] == running.pid
	assert command(other, 'stop').returncode == 0
	assert other.wait_exit(5) == 0
	assert running.get('/').status == 200
