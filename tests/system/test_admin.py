"""The admin channel: what it shows, whom it lets in, and what it bears."""
import json
import os
import stat
from signal import SIGKILL

import procs
from admin import ask, command, socket_path, status
from procs import wait_until


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


def test_status_command(running):
	d = running
	human, machine = command(d, 'status'), command(d, 'status', '--json')
	assert human.returncode == machine.returncode == 0, human.stderr + machine.stderr
	assert human.stdout.startswith(f'{d.name}: serving, pid {d.pid}, ')
	for w in d.workers():
		assert str(w.pid) in human.stdout
	assert json.loads(machine.stdout)['pid'] == d.pid


def test_a_killed_worker_counts_as_restart(running):
	d = running
	victim = d.worker(1)
	victim.kill()
	d.wait_new_workers([victim])
	rows = {w['instance']: w['restarts'] for w in status(d)['apps'][0]['workers'] if w['state'] != 'down'}
	assert rows == {0: 0, 1: 1}


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
