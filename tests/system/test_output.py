"""What the workers write: where it goes, that nobody waits for it, and that none of it is lost
without a word."""
import json
import os
import re
import signal
import subprocess
import time

import pytest

import procs
from drover import DROVER, QUICK, app_command, bundled

pytestmark = pytest.mark.release

LOGROTATE = '/usr/sbin/logrotate'


def talker(*words, instances=1, **more):
	return {'command': app_command('talker.py', *map(str, words)), 'instances': instances, **more}


def read(path):
	return procs.read(path).decode('utf-8', 'replace')


def numbers(text, word='line'):
	return [int(n) for n in re.findall(rf': {word} (\d+)$', text, re.M)]


class Follower:
	"""Reads a file once, piece by piece: what a flood goes into grows faster than it could be read anew at each look."""

	def __init__(self, path):
		self.file, self.text = open(path, 'rb'), b''

	def reaches(self, pattern):
		"""Whether a match has come; the next look begins behind it."""
		self.text += self.file.read(1 << 24)
		found = re.search(pattern, self.text, re.M)
		self.text = self.text[found.end() if found else -4096:]
		return bool(found)


def two_apps(drover, one, two, **top):
	"""`one` is asked with the path /one, `two` with any other."""
	return drover.config(apps={'one': one, 'two': two},
			     routes=[{'path': '/one', 'app': 'one'}, {'app': 'two'}], **top)


def log(drover, **more):
	return {'access': drover.access_file, 'level': 'info', **more}


def test_each_app_has_its_file_and_its_format(drover):
	plain, objects = drover.path('plain.log'), drover.path('objects.log')
	one = talker('steady', 50)
	two = talker('steady', 50, log={'output': objects, 'output_format': 'json'})
	drover.start(two_apps(drover, one, two, log=log(drover, output=plain)))
	drover.wait(lambda: len(numbers(read(plain))) > 20 and read(objects).count('\n') > 20, 'both write')
	assert 'line' not in drover.output()
	drover.stop()
	assert re.fullmatch(r'(one\.0\[\d+\]: line \d+\n)+', read(plain))
	lines = [json.loads(line) for line in read(objects).splitlines()]
	assert [line['line'] for line in lines] == [f'line {n}' for n in range(1, len(lines) + 1)]
	assert set(lines[0]) == {'time', 'app', 'instance', 'pid', 'release', 'stream', 'line'}
	assert (lines[0]['app'], lines[0]['instance'], lines[0]['release'], lines[0]['stream']) == ('two', 0, 1, 'stdout')
	assert re.fullmatch(r'20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z', lines[0]['time'])


def test_off_is_read_all_the_same(drover):
	drover.start(drover.config(talker('flood'), log=log(drover, output='off')))
	before = int(drover.get('/').text)
	drover.wait(lambda: int(drover.get('/').text) > before + 10000, 'the worker goes on')
	assert drover.output() == ''


def test_file_that_cannot_be_written(drover):
	drover.write_config(drover.config(log=log(drover, output='/proc/nothing/here.log')))
	drover.launch()
	assert drover.wait_exit() == 78
	assert 'log.output' in drover.log()
	drover.ended = True


def test_reload_moves_to_another_file(drover):
	first, second = drover.path('first.log'), drover.path('second.log')
	drover.start(drover.config(talker('steady', 200), log=log(drover, output=first)))
	drover.write_config(drover.config(talker('steady', 200), log=log(drover, output='/proc/version/x')))
	drover.signal(signal.SIGHUP)
	drover.wait_log('nothing has changed')
	drover.reload(drover.config(talker('steady', 200), log=log(drover, output=second)))
	drover.wait(lambda: numbers(read(second)), 'the new release writes into the new file')
	drover.wait(lambda: not [p for p in drover.children() if 'first.log' in procs.command_line(p)],
		    'the writer of the old file ends')
	for path in (first, second):
		seen = numbers(read(path))
		assert seen == list(range(1, len(seen) + 1))


@pytest.mark.skipif(not os.access(LOGROTATE, os.X_OK), reason='there is no logrotate')
def test_rotation_loses_no_line(drover):
	"""The real logrotate, as conf/drover.logrotate has it, many times while a worker writes."""
	logs, rotations = drover.path('logs'), 4 if QUICK else 8
	os.mkdir(logs, 0o755)
	path = os.path.join(logs, 'out.log')
	drover.start(drover.config(talker('steady', 5000), log=log(drover, output=path)))
	conf, state = drover.path('logrotate.conf'), drover.path('logrotate.state')
	with open(conf, 'w', encoding='utf-8') as f:
		f.write(f'{path} {{\n rotate 20\n size 1\n missingok\n nocreate\n compress\n delaycompress\n sharedscripts\n'
			f' postrotate\n  kill -USR1 {drover.pid}\n endscript\n}}\n')
	os.chmod(conf, 0o644)
	for n in range(rotations):
		before = drover.log().count('log files reopened')
		subprocess.run([LOGROTATE, '-s', state, '-f', conf], check=True, timeout=30)
		drover.wait(lambda: drover.log().count('log files reopened') > before, 'it reopens')
		drover.wait(lambda: os.path.exists(path) and numbers(read(path)), 'it writes into the new file')
	drover.stop()
	texts = []
	for n in range(rotations, -1, -1):
		name = f'{path}.{n}' if n else path
		if n > 1:
			name += '.gz'
			texts.append(subprocess.run(['zcat', name], check=True, capture_output=True, text=True).stdout)
		else:
			texts.append(read(name))
	seen = numbers(''.join(texts))
	assert len(texts) == rotations + 1 and all(numbers(t) for t in texts)
	assert seen == list(range(1, len(seen) + 1)), 'each line once, in order'
	assert 'dropped' not in ''.join(texts)


@pytest.mark.skipif(not os.access(LOGROTATE, os.X_OK), reason='there is no logrotate')
def test_copytruncate_goes_on(drover):
	"""What comes between the copy and the cut is lost, as logrotate(8) says; nothing else, and the file has no hole."""
	path, conf = drover.path('out.log'), drover.path('logrotate.conf')
	drover.start(drover.config(talker('steady', 200), log=log(drover, output=path)))
	with open(conf, 'w', encoding='utf-8') as f:
		f.write(f'{path} {{\n rotate 3\n size 1\n copytruncate\n su root root\n}}\n')
	os.chmod(conf, 0o644)
	drover.wait(lambda: numbers(read(path)), 'it writes')
	subprocess.run([LOGROTATE, '-s', drover.path('state'), '-f', conf], check=True, timeout=30)
	old = numbers(read(path + '.1'))
	drover.wait(lambda: (now := numbers(read(path))) and now[0] > old[-1], 'it goes on in the cut file')
	assert b'\0' not in procs.read(path)


@pytest.mark.parametrize('lines', [1, 3000])
def test_last_words_of_a_crash(drover, lines):
	"""Its pipe is still full when the process is gone."""
	path = drover.path('out.log')
	drover.start(drover.config(talker('last', lines), log=log(drover, output=path)))
	for n in range(1, 6):
		# It is gone before or after its answer: either is right.
		drover.get('/go')
		drover.wait(lambda: drover.log().count('exit status 3') >= n, 'it has ended')
		drover.wait(lambda: drover.answers() == 200, 'its successor answers')
		assert f'last {lines}' in drover.log().split('ended: exit status 3')[-1], 'the log has them too'
	drover.stop()
	by_worker = {}
	for pid, number in re.findall(r'\[(\d+)\]: last (\d+)$', read(path), re.M):
		by_worker.setdefault(pid, []).append(int(number))
	assert len(by_worker) >= 5, 'more when one was gone before its answer: its successor was asked again'
	assert all(seen == list(range(1, lines + 1)) for seen in by_worker.values())


def stuck_writer(drover, path):
	[writer] = [p for p in drover.children() if procs.command_line(p).endswith(f'writer of {path}')]
	os.kill(writer, signal.SIGSTOP)
	return writer


def test_disk_that_does_not_answer(drover):
	"""Its writer stands still; worker and master do not, and every line is written or counted."""
	path = drover.path('out.log')
	drover.start(drover.config(talker('flood'), log=log(drover, output=path)))
	writer = stuck_writer(drover, path)
	drover.wait_log(r'dropped \d+ lines of the workers. output: .*out\.log did not take them')
	before = int(drover.get('/').text)
	drover.wait(lambda: int(drover.get('/').text) > before + 20000, 'the worker goes on')
	[worker] = drover.workers()
	worker.kill()
	drover.wait_log(rf'{worker.pid}.* ended: signal 9', timeout=3)
	os.kill(writer, signal.SIGCONT)
	written = Follower(path)
	drover.wait(lambda: written.reaches(rb'^drover: [1-9]\d* lines were dropped here$'), 'the gap is said where it is')
	drover.wait(lambda: written.reaches(rb'\n[^\n]*x{99}\n'), 'and lines follow')


def test_stdout_that_nobody_reads(drover):
	"""As under a terminal that was stopped, or a stuck container runtime."""
	drover.write_config(drover.config(talker('flood')))
	ours, theirs = os.pipe()
	drover.cleanups.append(lambda: os.close(ours))
	drover.process = subprocess.Popen([DROVER, 'run', '-c', drover.config_file], stdin=subprocess.DEVNULL,
					  stdout=theirs, stderr=open(drover.log_file, 'ab'), cwd=drover.dir,
					  env=drover.environment(), start_new_session=True)
	os.close(theirs)
	drover.ended = False
	drover.wait_serving(1)
	drover.wait_log(r'dropped \d+ lines of the workers. output: our stdout did not take them')
	before = int(drover.get('/').text)
	drover.wait(lambda: int(drover.get('/').text) > before + 20000, 'the worker goes on')


def reaction(drover):
	"""Seconds from a signal to the master until it has been acted on."""
	lines = drover.log().count('log files reopened')
	start = time.monotonic()
	drover.signal(signal.SIGUSR1)
	while drover.log().count('log files reopened') == lines:
		assert time.monotonic() < start + 20
		time.sleep(0.0005)
	return time.monotonic() - start


@pytest.mark.both
@pytest.mark.parametrize('kind', ['flood', 'junk'])
def test_floods_slow_nobody_down(drover, kind, record_property):
	"""Four workers that write as fast as they can; the master's reaction, the other app's lines, the file's size."""
	quiet, loud = drover.path('quiet.log'), drover.path('loud.log')
	os.mkfifo(loud)
	keep = os.open(loud, os.O_RDONLY | os.O_NONBLOCK)  # drover may be quicker than the reader
	drover.cleanups.append(lambda: os.close(keep))
	reader = subprocess.Popen(['/usr/bin/python3', '-c', 'import os, sys\nfd = os.open(sys.argv[1], os.O_RDONLY)\n'
				   'while os.read(fd, 1 << 20): pass', loud])
	drover.cleanups.append(lambda: (reader.kill(), reader.wait()))
	one = talker('steady', 100, log={'output': quiet})
	two = talker(kind, instances=4, log={'output': loud})
	drover.start(two_apps(drover, one, two))
	times = sorted(reaction(drover) for _ in range(10 if QUICK else 30))
	answers = []
	for _ in range(20):
		start = time.monotonic()
		assert drover.get('/one').status == 200
		answers.append(time.monotonic() - start)
	record_property('reaction', times)
	print(f'reaction: median {times[len(times) // 2] * 1e3:.1f} ms, longest {times[-1] * 1e3:.1f} ms; '
	      f'answers: median {sorted(answers)[10] * 1e3:.1f} ms')
	assert times[len(times) // 2] < 0.5 and times[-1] < 2
	[victim] = drover.workers('one')
	victim.kill()
	drover.wait_log(rf'{victim.pid}.* ended: signal 9', timeout=3)
	drover.wait(lambda: drover.get('/one').status == 200, 'its successor answers')
	for worker in drover.workers('two'):
		worker.kill(signal.SIGTERM)
	drover.stop()
	by_worker = {}
	for pid, number in re.findall(r'\[(\d+)\]: line (\d+)$', read(quiet), re.M):
		by_worker.setdefault(pid, []).append(int(number))
	assert len(by_worker) == 2 and all(n == list(range(1, len(n) + 1)) for n in by_worker.values())


def test_huge_lines_and_junk(drover):
	"""Bounded, marked, and no way to forge a line."""
	path = drover.path('out.log')
	command = ['/usr/bin/python3', '-c', 'import os, sys\n'
		   'sys.stdout.buffer.write(b"a" * 40000 + b"\\nnext\\n" + bytes(range(256)) * 3 + b"\\n")\n'
		   'sys.stdout.flush()\nos.execv(sys.argv[1], sys.argv[1:])', *bundled()]
	drover.start(drover.config({'command': command, 'instances': 1, 'log': {'output': path, 'output_format': 'json'}}))
	drover.wait(lambda: read(path).count('\n') >= 8, 'its lines')
	lines = [json.loads(line) for line in read(path).splitlines()]
	pieces = [line for line in lines if line['line'].startswith('aaa')]
	assert ''.join(p['line'] for p in pieces) == 'a' * 40000
	assert [(p.get('continues', False), p.get('goes_on', False)) for p in pieces] == [(False, True), (True, True), (True, False)]
	assert lines[3]['line'] == 'next'
	assert lines[4]['line'] == ''.join(map(chr, range(10)))
