"""drover logs: what the workers have printed, and what comes next."""
import json
import os
import re
import signal
import socket
import subprocess
import threading
from signal import SIGKILL, SIGUSR2

import pytest

import procs
from admin import ask, command, connect, read_answer
from drover import DROVER, app_command
from procs import wait_until

pytestmark = pytest.mark.release

LINE = re.compile(r'^(\w+)\.(\d+)\[(\d+)\]: (.*)$')


def talker(*words, instances=1):
	return {'command': app_command('talker.py', *map(str, words)), 'instances': instances}


class Follower:
	"""`drover logs -f` in the background; its lines are read by a thread until slow() is called."""

	def __init__(self, d, *words):
		self.process = subprocess.Popen([DROVER, 'logs', '-f', '--name', d.name, *words], env=d.environment(),
						stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
						stderr=subprocess.PIPE, encoding='utf-8')
		self.lines = []
		self.may_read = threading.Event()
		self.may_read.set()
		self.thread = threading.Thread(target=self.read, daemon=True)
		self.thread.start()
		d.cleanups.append(self.kill)

	def read(self):
		for line in self.process.stdout:
			self.lines.append(line.rstrip('\n'))
			self.may_read.wait()

	def numbers(self):
		"""Of the talker's lines, with the pid of who wrote each."""
		found = [re.fullmatch(r'\w+\.\d+\[(\d+)\]: line (\d+)', line) for line in list(self.lines)]
		return [(int(m[1]), int(m[2])) for m in found if m]

	def kill(self):
		self.process.kill()
		self.process.wait()


def in_order(numbers):
	"""Each worker's lines follow one another without a gap."""
	last = {}
	for pid, n in numbers:
		if pid in last:
			assert n == last[pid] + 1, (pid, n, last[pid])
		last[pid] = n
	return last


def test_lines_of_one_app_and_of_all(drover):
	d = drover
	d.start(d.config(apps={'one': talker('steady', 100), 'two': talker('steady', 100, instances=2)},
			 routes=[{'path': '/one', 'app': 'one'}, {'app': 'two'}]))
	d.wait(lambda: int(d.get('/one').text) > 30 and int(d.get('/').text) > 30, 'all have written')
	one = command(d, 'logs', 'one')
	assert one.returncode == 0 and one.stderr == '', one.stderr
	rows = [LINE.fullmatch(line) for line in one.stdout.splitlines()]
	pid = d.workers('one')[0].pid
	assert all(rows) and {(m[1], m[2], m[3]) for m in rows} == {('one', '0', str(pid))}
	assert [m[4] for m in rows] == [f'line {n}' for n in range(1, len(rows) + 1)] and len(rows) > 30
	both = [LINE.fullmatch(line) for line in command(d, 'logs').stdout.splitlines()]
	assert {(m[1], m[2]) for m in both} == {('one', '0'), ('two', '0'), ('two', '1')}
	last = [LINE.fullmatch(line) for line in command(d, 'logs', '-n', '7', 'two/1').stdout.splitlines()]
	assert len(last) == 7 and {(m[1], m[2]) for m in last} == {('two', '1')}
	in_order([(int(m[3]), int(m[4].split()[1])) for m in last])
	objects = [json.loads(line) for line in command(d, 'logs', '--json', '-n', '5').stdout.splitlines()]
	assert len(objects) == 5 and [o['seq'] for o in objects] == sorted(o['seq'] for o in objects)
	assert {'time', 'seq', 'app', 'instance', 'pid', 'release', 'stream', 'line'} == set(objects[0])
	assert command(d, 'logs', '-n', '0').stdout == ''


def test_follows_through_all_that_happens(drover):
	"""A worker that is killed, a release, a monitor that dies, an upgrade: not one line is lost or doubled."""
	d = drover
	d.start(d.config(talker('steady', 40, instances=2)))
	d.same_balancers = False
	f = Follower(d, 'app')
	d.wait(lambda: len(f.numbers()) > 20, 'it follows')

	def another(blow):
		before = {w.pid for w in d.workers()}
		blow()
		d.wait(lambda: {p for p, _ in f.numbers()} - before, lambda: f'lines of a new worker: {f.lines[-5:]}')
	another(lambda: d.worker(1).kill())
	(monitor,) = d.monitors()
	os.kill(monitor, SIGKILL)
	d.wait(lambda: d.monitors() not in ([], [monitor]), 'another monitor')
	another(lambda: command(d, 'restart', 'app'))
	d.wait(lambda: len(d.workers()) == 2, 'two workers')
	balancers = d.balancers()
	d.signal(SIGUSR2)
	d.wait(lambda: len(d.balancers()) == 1 and d.balancers() != balancers, 'an upgrade')
	here = len(f.lines)
	d.wait(lambda: len(f.lines) > here + 20, 'it still follows')
	assert not [line for line in f.lines if 'skipped' in line]
	in_order(f.numbers())
	f.process.send_signal(signal.SIGINT)
	assert f.process.wait(10) == -signal.SIGINT and f.process.stderr.read() == ''
	d.settle()


def test_follower_ends_with_its_drover(drover):
	d = drover
	d.start(d.config(talker('steady', 50)))
	f = Follower(d)
	d.wait(lambda: len(f.numbers()) > 10, 'it follows')
	d.stop()
	assert f.process.wait(20) == 0
	assert f.process.stderr.read() == f'drover: instance {d.name} (pid {d.pid}) has ended\n'


def test_slow_reader_is_told_what_it_missed(drover):
	"""It holds up neither the worker nor drover; when it reads on, the number of lines missed is true."""
	d = drover
	d.start(d.config(talker('steady', 4000), log={'access': d.access_file, 'output': 'off'}))
	f = Follower(d, 'app')
	d.wait(lambda: len(f.numbers()) > 100, 'it follows')
	f.may_read.clear()
	# Until its pipe, its own buffers and the ring have all been passed.
	before = int(d.get('/').text)
	d.wait(lambda: int(d.get('/').text) > before + 25000, 'the worker goes on')
	assert command(d, 'status').returncode == 0
	f.may_read.set()
	d.wait(lambda: any('skipped here' in line for line in f.lines), 'it is told')
	at = next(i for i, line in enumerate(f.lines) if 'skipped here' in line)
	d.wait(lambda: len(f.lines) > at + 5, 'and goes on')
	number = lambda i: int(f.lines[i].rsplit(' ', 1)[1])
	assert int(re.fullmatch(r'drover: (\d+) lines were skipped here', f.lines[at])[1]) == number(at + 1) - number(at - 1) - 1
	f.kill()


def test_over_http(drover):
	"""What curl gets: pages that lead to the next; waiting; what cannot be; nothing over TCP."""
	d, port = drover, procs.free_port()
	d.start(d.config(talker('last', 3), admin={'listen': f'127.0.0.1:{port}'}))
	first = ask(d, 'GET', '/api/v1/apps/app/logs').json
	assert first == {'lines': [], 'next': 0, 'skipped': 0, 'more': False}
	answers = []
	waiting = threading.Thread(target=lambda: answers.append(ask(d, 'GET', '/api/v1/apps/app/logs?since=0&wait=10').json))
	waiting.start()
	try:
		d.ask('POST', '/go')  # which is not sent again: a successor would say the same
	except Exception:  # noqa: the worker ends in mid-request, which is not the point
		pass
	waiting.join(15)
	(page,) = answers
	assert [line['line'] for line in page['lines']] == ['last 1', 'last 2', 'last 3'][:len(page['lines'])] != []
	later = lambda: ask(d, 'GET', f'/api/v1/apps/app/logs?since={page["next"]}').json
	wait_until(lambda: len(page['lines']) + len(later()['lines']) == 3, 10, 'all lines')
	assert ask(d, 'GET', '/api/v1/apps/app/workers/0/logs?lines=1').json['lines'][0]['line'] == 'last 3'
	assert ask(d, 'GET', '/api/v1/apps/nope/logs').status == 404
	assert ask(d, 'GET', '/api/v1/apps/app/workers/7/logs').status == 404
	for query in ('lines=x', 'lines=70000', 'since=-1', 'wait=11'):
		refusal = ask(d, 'GET', f'/api/v1/logs?{query}')
		assert refusal.status == 422 and query.split('=')[0] in refusal.json['detail'], query
	with socket.create_connection(('127.0.0.1', port), 10) as s:
		s.sendall(b'GET /api/v1/logs HTTP/1.1\r\nHost: x\r\n\r\n')
		assert read_answer(s).status == 403


def test_many_that_wait_keep_nobody_out(running):
	"""More than may wait: commands are answered, and so is each of them, those beyond at once."""
	waiting = []
	for _ in range(24):
		s = connect(running)
		s.sendall(b'GET /api/v1/logs?since=99999&wait=2 HTTP/1.1\r\nHost: x\r\n\r\n')
		waiting.append(s)
	assert command(running, 'status').returncode == 0
	for s in waiting:
		assert read_answer(s).status == 200
		s.close()


def test_any_bytes(drover):
	"""Control bytes neither steer the terminal nor forge lines; what is no UTF-8 is shown as such."""
	d = drover
	code = 'import os,time; os.write(1, b"a\\x1b[2Jb\\n\\xff\\xfe \\xc3\\xa4\\x00z\\r\\n" + b"x" * 5000 + b"\\n"); time.sleep(600)'
	d.write_config(d.config({'command': ['/usr/bin/python3', '-c', code], 'instances': 1, 'ready': {'timeout': '60s'}}))
	d.launch()
	d.wait(lambda: command(d, 'logs').stdout.count('\n') == 3, 'three lines')
	lines = [LINE.fullmatch(line)[4] for line in command(d, 'logs').stdout.splitlines()]
	assert lines == ['a\\x1b[2Jb', '\ufffd\ufffd ä\\x00z', 'x' * 2048 + '...']
	objects = [json.loads(line) for line in command(d, 'logs', '--json').stdout.splitlines()]
	assert [o['line'] for o in objects] == ['a\x1b[2Jb', '\ufffd\ufffd ä\x00z', 'x' * 2048]
	assert [o.get('cut', False) for o in objects] == [False, False, True]
	os.kill(d.pid, signal.SIGTERM)
	d.wait_exit()
	d.check_ended()


def test_usage(running):
	for words, message in ((('logs', 'a', 'b'), 'what is "b" for'), (('logs', 'app/x'), 'names no worker'),
			       (('logs', '-n', 'many'), 'not a number'), (('logs', '-n'), '--lines needs an argument')):
		done = command(running, *words)
		assert done.returncode == 2 and message in done.stderr, done.stderr
	for words, message in ((('logs', 'nope'), 'there is no app nope'), (('logs', 'app/9'), 'no such instance')):
		done = command(running, *words)
		assert done.returncode == 1 and message in done.stderr, done.stderr
