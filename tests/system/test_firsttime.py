"""What a person meets in the first hour who has read nothing but the README: words of
other programs, files of every wrong kind, terminals, and two of everything."""
import json
import os
import re
import signal
import subprocess
import time

import pytest

import procs
from drover import DROVER, bundled
from procs import wait_until

pytestmark = pytest.mark.release


def answer(drover, *words, status=0, **more):
	"""What a command that ends by itself says: (stdout, stderr)."""
	run = subprocess.run([DROVER, *words], stdin=subprocess.DEVNULL, capture_output=True, encoding='utf-8',
			     cwd=drover.dir, env=drover.environment(), timeout=20, check=False, **more)
	assert run.returncode == status, f'{run.returncode}, not {status}\n{run.stdout}\n{run.stderr}'
	return run.stdout, run.stderr


def script(drover, name, text, mode=0o755):
	path = drover.path(name)
	with open(path, 'w', encoding='utf-8') as f:
		f.write(text)
	os.chmod(path, mode)
	return path


# Words

@pytest.mark.parametrize('words, says', [
	(['start'], 'did you mean run'),
	(['-s', 'reload'], 'did you mean drover reload'),
	(['reload', 'web'], 'what is "web" for'),
	(['node', 'server.js'], 'drover run -- node'),
	(['-c', 'web.yaml'], 'drover run -c'),
	(['run', 'web.yaml'], 'drover run -c web.yaml'),
	(['run', '-p', '8000'], '--listen'),
	(['run', '--port=8000'], '--listen'),
	(['run', '-i', '4'], '--instances'),
	(['run', '-d'], 'foreground'),
	(['run', '--instances', '-1'], 'from 1 to 512'),
	(['run', '--instances', '100000'], 'from 1 to 512'),
	(['run', '-c', ''], 'FILE'),
], ids=' '.join)
def test_words_of_other_programs(drover, words, says):
	out, err = answer(drover, *words, status=2)
	assert not out and len(err.splitlines()) == 1, 'one line, on stderr'
	assert says in err


def test_command_in_one_word(drover):
	_, err = answer(drover, 'run', '--', 'node server.js', status=78)
	assert '"node server.js"' in err and 'leave out the quotes' in err


@pytest.mark.parametrize('address, says', [
	('localhost:8080', '127.0.0.1'),
	('http://127.0.0.1:8080', 'URL'),
	('0.0.0.0', '0.0.0.0:8080'),
	('::1', '[::1]:8080'),
	('0', 'from 1 to 65535'),
	('65536', 'from 1 to 65535'),
	('/tmp/x.sock', 'unix:'),
	('', '0.0.0.0:8080'),
])
def test_addresses_that_are_none(drover, address, says):
	_, err = answer(drover, 'run', '--listen', address, '--', 'true', status=78)
	assert says in err and f'"{address}"' in err


@pytest.mark.parametrize('address, means', [
	('8080', '0.0.0.0:8080'), (':8080', '0.0.0.0:8080'), ('*:8080', '0.0.0.0:8080'), ('[::]:8080', '[::]:8080'),
	('unix:x y.sock', 'unix:{}/x y.sock'),
])
def test_addresses_of_all_forms(drover, address, means):
	out, _ = answer(drover, 'check', '--listen', address, '--', 'true')
	assert f'listen     {means.format(drover.dir)}\n' in out


# Files

def test_a_file_in_a_folder_with_blanks(drover):
	"""Paths in it are relative to it, wherever drover is started."""
	home = drover.path('my site')
	os.makedirs(os.path.join(home, 'a b'))
	file = os.path.join(home, f'{drover.name}.yaml')
	with open(file, 'w', encoding='utf-8') as f:
		f.write(f'listen: 127.0.0.1:{drover.port}\n'
			f'apps: {{ web: {{ command: {json.dumps(bundled())}, instances: 1, directory: a b }} }}\n'
			'log: { access: access log }\npid_file: the pid\n')
	drover.launch(args=['run', '-c', os.path.relpath(file, drover.dir)])
	drover.wait_serving(1)
	assert os.readlink(f'/proc/{drover.workers()[0].pid}/cwd') == os.path.join(home, 'a b')
	assert int(procs.read(os.path.join(home, 'the pid'))) == drover.pid
	drover.stop()
	assert procs.read(os.path.join(home, 'access log'))
	assert not os.path.exists(os.path.join(home, 'the pid'))


def test_the_example_of_the_readme(drover):
	"""As it stands there, but for the port and the program, which need not be Node."""
	with open(os.path.join(os.path.dirname(__file__), '../../README.md'), encoding='utf-8') as f:
		text = re.search(r'```yaml\n(.*?)```', f.read(), re.S)[1]
	assert 'listen: 8080\n' in text and 'command: [node, server.js]' in text
	text = text.replace('listen: 8080', f'listen: 127.0.0.1:{drover.port}')
	text = text.replace('[node, server.js]', json.dumps(bundled()))
	drover.write_config(text)
	drover.launch()
	drover.wait_serving(1)
	assert drover.workers('web')[0].env['NODE_ENV'] == 'production'


def test_env_file_that_also_serves_without_drover(drover):
	with open(drover.path('.env'), 'w', encoding='utf-8') as f:
		f.write('PORT=3000\nCOLOUR=grey\n')
	drover.start(drover.config({'env_file': '.env', 'instances': 1}))
	worker = drover.workers()[0]
	assert worker.env['COLOUR'] == 'grey' and worker.env['PORT'] != '3000'
	out, _ = answer(drover, 'config', '-c', drover.config_file)
	assert re.search(r'COLOUR: grey +# .*:\d+$', out, re.M) and 'PORT:' not in out


# Programs

def test_interpreter_that_is_missing_is_named(drover):
	drover.write_config(drover.config({'command': [script(drover, 'x', '#!/no/such/interpreter\n')]}))
	drover.launch()
	assert drover.wait_exit() == 1
	assert re.search(r'/x: No such file.*first line', drover.log())


def test_script_without_an_interpreter(drover):
	drover.write_config(drover.config({'command': [script(drover, 'x', 'echo hello\n')]}))
	drover.launch()
	assert drover.wait_exit() == 1
	assert re.search(r'/x: Exec format error.*#!', drover.log())


def test_program_that_goes_into_the_background(drover):
	drover.write_config(drover.config({'command': ['true'], 'instances': 1}))
	drover.launch()
	drover.wait_log(r'exit status 0.*foreground')
	drover.stop()


# Two of everything

def test_two_with_one_pid_file(drover, new_drover):
	"""The second would take it over, and remove it at its end."""
	pid_file = drover.path('pid')
	drover.start(drover.config(pid_file=pid_file))
	other = new_drover()
	other.write_config(other.config(pid_file=pid_file))
	other.launch()
	assert other.wait_exit() == 1
	assert re.search(rf'{re.escape(pid_file)} .*pid {drover.pid}\b', other.log())
	assert int(procs.read(pid_file)) == drover.pid


@pytest.mark.parametrize('stale', ['999999999\n', '1\n', 'words\n', ''])
def test_pid_file_of_one_that_has_ended(drover, stale):
	pid_file = script(drover, 'pid', stale, 0o644)
	drover.start(drover.config(pid_file=pid_file))
	assert int(procs.read(pid_file)) == drover.pid
	drover.stop()
	assert not os.path.exists(pid_file)


def test_signal_that_comes_twice_counts_once(running):
	"""A terminal and npm both pass ^C on; timeout(1) signals the command and its group."""
	busy = running.connect()
	busy.request(target='/slow?ms=800')
	time.sleep(0.2)  # that it has reached a worker cannot be seen from outside
	running.signal(signal.SIGINT)
	running.signal(signal.SIGTERM)
	assert busy.reply().status == 200, 'the request has ended in peace'
	assert running.wait_exit() == 0
	assert 'again' not in running.log()


# Terminals

def in_terminal(drover, *words):
	"""Runs drover as the foreground job of a terminal; returns (process, the terminal's other side)."""
	ours, theirs = os.openpty()
	drover.process = subprocess.Popen(
		['setsid', '--ctty', '--wait', DROVER, *words], stdin=theirs, stdout=theirs, stderr=theirs,
		cwd=drover.dir, env=drover.environment())
	os.close(theirs)
	return ours


def read_until(terminal, pattern, timeout=20.0):
	"""What the terminal shows, until the pattern is in it."""
	text = ''
	end = time.monotonic() + timeout
	os.set_blocking(terminal, False)
	while not re.search(pattern, text):
		assert time.monotonic() < end, f'{pattern!r} is not in:\n{text}'
		try:
			text += os.read(terminal, 65536).decode('utf-8', 'replace')
		except BlockingIOError:
			time.sleep(0.02)
		except OSError:  # the other side is closed
			break
	return text


def test_ctrl_c_in_a_terminal(drover):
	terminal = in_terminal(drover, 'run', '--name', drover.name, '--listen', f'127.0.0.1:{drover.port}',
			       '--instances', '1', '--', *bundled())
	try:
		read_until(terminal, r'all 1 worker ready')
		assert drover.get('/instance').status == 200
		os.write(terminal, b'\x03')
		text = read_until(terminal, r'master\[\d+\]: stopped')
		assert 'SIGINT: stopping' in text and 'again' not in text
		assert drover.process.wait(10) == 0
	finally:
		os.close(terminal)


def test_terminal_that_is_closed(drover):
	"""Ends it, as everything in that window; SIGHUP alone would reload."""
	log = drover.path('error.log')
	drover.write_config(drover.config(log={'error': log, 'access': 'off'}))
	terminal = in_terminal(drover, 'run', '-c', drover.config_file)
	wait_until(lambda: b'all 2 workers ready' in procs.read(log), 20, 'it serves')
	os.close(terminal)
	wait_until(lambda: b'stopped' in procs.read(log), 20, lambda: f'it ends: {procs.read(log).decode()}')
	text = procs.read(log).decode()
	assert 'the terminal has been closed' in text and 'SIGHUP' not in text
	drover.process.wait(10)


def test_reload_after_a_logout(drover):
	"""Left in the background of a terminal that is closed by now: SIGHUP from elsewhere is a reload."""
	log = drover.path('error.log')
	drover.write_config(drover.config(log={'error': log, 'access': 'off'}))
	ours, theirs = os.openpty()
	drover.process = subprocess.Popen([DROVER, 'run', '-c', drover.config_file], stdin=theirs, stdout=theirs, stderr=theirs,
					  cwd=drover.dir, env=drover.environment(), start_new_session=True)
	os.close(theirs)
	wait_until(lambda: b'all 2 workers ready' in procs.read(log), 20, 'it serves')
	os.close(ours)
	drover.signal(signal.SIGHUP)
	wait_until(lambda: b'of release 2' in procs.read(log), 20, lambda: f'it reloads: {procs.read(log).decode()}')
	drover.stop()


# Logs

def test_access_log_of_own_answers(drover):
	"""The size of an answer that drover gave itself, as nginx and Apache log it."""
	drover.start(drover.config(routes=[{'host': 'known.example.com', 'app': 'app'}]), instances=0)
	reply = drover.get('/nowhere')
	assert reply.status == 404 and reply.body
	with drover.connect() as c:
		c.send(b'nonsense\r\n\r\n')
		refused = c.reply()
	assert refused.status == 400 and refused.body
	wait_until(lambda: f'"GET /nowhere HTTP/1.1" 404 {len(reply.body)} ' in drover.access_log(), 10, drover.access_log)
	wait_until(lambda: f'"nonsense" 400 {len(refused.body)} ' in drover.access_log(), 10, drover.access_log)


def test_time_in_the_json_log(drover):
	"""RFC 3339, which log collectors read; with a zone that has minutes."""
	drover.start(drover.config(log={'access': drover.access_file, 'format': 'json'}), env={'TZ': 'XXX-5:45'})
	wait_until(drover.access_log, 10, 'a line in the access log')
	for line in drover.access_log().splitlines():
		assert re.fullmatch(r'\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+05:45', json.loads(line)['time'])


def test_full_disk_is_named(drover):
	drover.start(drover.config(log={'access': '/dev/full'}))
	drover.wait_log(r'access log \(/dev/full\): No space left')
