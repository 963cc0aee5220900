"""What goes wrong before or beside the work: each with one clear line that names
the thing, the right exit status, and nothing lost that was running."""
import os
import re
import signal
import stat
import subprocess
import time

import pytest

import procs
from drover import AS_ROOT, DROVER, bundled

NOBODY = ['setpriv', '--reuid=65534', '--regid=65534', '--clear-groups'] if AS_ROOT else []


def fails(drover, status, *patterns, **launch):
	"""The program ends by itself with this status and says all of this."""
	drover.launch(**launch)
	assert drover.wait_exit() == status, drover.log()
	log = drover.log()
	for pattern in patterns:
		assert re.search(pattern, log, re.M), f'{pattern!r} is not in:\n{log}'
	assert len(log.splitlines()) < 25, f'too much talk:\n{log}'
	drover.check_ended()


# Arguments

@pytest.mark.parametrize('words, named', [
	(['run', '--no-such-option'], '--no-such-option'),
	(['run', '-z'], '-z'),
	(['run', '-c'], '-c'),
	(['run', '--instances', 'some'], 'some'),
	(['run', '--instances', '0', '--', 'true'], 'instances'),
	(['ruin'], 'ruin'),
	(['check', '--instances'], '--instances'),
])
def test_wrong_arguments(drover, words, named):
	fails(drover, 2, re.escape(named), args=words)


# Config files

def test_missing_config_file(drover):
	fails(drover, 78, re.escape(drover.config_file) + r'.*No such file')


def test_config_file_that_may_not_be_read(drover):
	drover.write_config(drover.config())
	os.chmod(drover.config_file, 0)
	os.chmod(drover.runtime_dir, 0o777)
	fails(drover, 78, re.escape(drover.config_file) + r'.*[Pp]ermission denied', wrapper=NOBODY)


def test_config_file_that_is_a_directory(drover):
	os.mkdir(drover.config_file)
	fails(drover, 78, re.escape(drover.config_file))


BASE = 'listen: ["127.0.0.1:1"]\n'
APP = 'apps:\n  web:\n    command: [node, app.js]\n'
FILES = [
	('unknown key', BASE + APP + 'instanses: 3\n', 5, 1, r'instanses'),
	('suggestion', BASE + APP + '    instanses: 3\n', 5, 5, r'instances'),
	('key of a later version', BASE + APP + 'monitor: on\n', 5, 1, r'monitor'),
	('duplicate key', BASE + APP + '    env: { A: b }\n    command: [x]\n', 6, 5, r'(?s)command.*4|4.*command'),
	('wrong type', BASE + APP + '    instances: [1]\n', 5, 16, r'instances|number|list'),
	('not a number', BASE + APP + '    instances: four\n', 5, 16, r'four'),
	('out of range', BASE + APP + '    instances: 100000\n', 5, 16, r'100000'),
	('no unit', BASE + APP + 'timeouts: { head: 10 }\n', 5, 19, r'10s|unit|ms'),
	('address', 'listen: ["127.0.0.1:99999"]\n' + APP, 1, 10, r'99999'),
	('neither command nor servers', BASE + 'apps:\n  web:\n    instances: 2\n', 3, None, r'command.*servers|servers.*command'),
	('both', BASE + APP + '    servers: [127.0.0.1:3000]\n', 5, None, r'command.*servers|servers.*command'),
	('unknown app in a route', BASE + APP + 'routes: [ { app: webb } ]\n', 5, 18, r'webb'),
	('second document', BASE + APP + '---\nx: y\n', 5, None, r'document'),
	('not YAML', BASE + 'apps: {\n', None, None, r'.'),
	('a list', '- a\n- b\n', 1, None, r'.'),
	('tab', BASE + 'apps:\n\tweb: {}\n', 3, None, r'.'),
	('nesting', '[' * 200 + ']' * 200, 1, None, r'deep|nest'),
	('alias', 'listen: &a ["127.0.0.1:1"]\nname: *a\n' + APP, None, None, r'.'),
	('bad signal', BASE + APP + '    stop: { signal: SIGWHAT }\n', 5, 21, r'SIGWHAT'),
	('soft after hard', BASE + APP + 'shutdown: { soft: 20s, hard: 10s }\n', 5, None, r'soft|hard'),
	('missing env file', BASE + APP + '    env_file: nowhere.env\n', 5, None, r'nowhere\.env'),
	('unknown user', BASE + APP + '    user: no-such-user-here\n', 5, None, r'no-such-user-here'),
]


@pytest.mark.parametrize('text, line, column, says', [f[1:] for f in FILES], ids=[f[0] for f in FILES])
def test_wrong_config(drover, text, line, column, says):
	drover.write_config(text)
	place = rf'{re.escape(drover.config_file)}:{line or "[0-9]+"}:{column or "[0-9]+"}: '
	for words in (['run'], ['check']):
		open(drover.log_file, 'w').close()
		fails(drover, 78, place, says, r'^\s*\^' if line and 'deep' not in says else '', args=[*words, '-c', drover.config_file])


def test_all_errors_at_once(drover):
	drover.write_config(BASE + APP + '    instances: x\n    bind: y\nbalancers: z\n')
	fails(drover, 78, ':5:', ':6:', ':7:')


def test_huge_config_file(drover):
	with open(drover.config_file, 'w', encoding='ascii') as f:
		f.write('# ' + 'x' * 2_000_000)
	fails(drover, 78, r'1 ?MiB|large|big')


def test_binary_config_file(drover):
	with open(drover.config_file, 'wb') as f:
		f.write(bytes(range(256)) * 8)
	fails(drover, 78, re.escape(drover.config_file))


# Addresses

def test_port_in_use(drover, peer):
	p = peer()
	drover.write_config(drover.config(listen=[p.server]))
	fails(drover, 1, rf'{re.escape(p.server)}.*in use')


def test_port_in_use_by_another_drover(drover, new_drover):
	"""SO_REUSEPORT must not let two share a port in silence."""
	drover.start()
	other = new_drover()
	other.write_config(other.config(listen=[f'127.0.0.1:{drover.port}']))
	fails(other, 1, rf'127\.0\.0\.1:{drover.port}.*in use')
	for _ in range(5):
		assert drover.get('/instance').status == 200


def test_address_of_another_machine(drover):
	drover.write_config(drover.config(listen=['192.0.2.1:8080']))
	fails(drover, 1, r'192\.0\.2\.1:8080')


@pytest.mark.skipif(not AS_ROOT and int(procs.read('/proc/sys/net/ipv4/ip_unprivileged_port_start') or 1024) <= 80,
		    reason='anybody may use low ports here')
def test_low_port_without_the_right(drover):
	os.chmod(drover.runtime_dir, 0o777)
	drover.write_config(drover.config(listen=['127.0.0.1:81'], log={'access': 'off'}))
	fails(drover, 1, r'127\.0\.0\.1:81\b.*[Pp]ermission denied', wrapper=NOBODY)


def test_unix_socket_in_a_missing_directory(drover):
	drover.write_config(drover.config(listen=[f"unix:{drover.path('nowhere/x.sock')}"]))
	fails(drover, 1, r'nowhere/x\.sock')


def test_unix_path_held_by_a_plain_file(drover):
	path = drover.path('precious.txt')
	with open(path, 'w', encoding='ascii') as f:
		f.write('data')
	drover.write_config(drover.config(listen=[f'unix:{path}']))
	fails(drover, 1, r'precious\.txt')
	assert procs.read(path) == b'data', 'not a socket of ours: left alone'


def test_user_that_only_root_could_become(drover):
	os.chmod(drover.runtime_dir, 0o777)
	drover.write_config(drover.config({'user': 'daemon'}, log={'access': 'off'}))
	fails(drover, 78, 'only root.*daemon', wrapper=NOBODY)


# Commands

def test_missing_command(drover):
	"""Known before anything is started: no crash loop over a typing error."""
	drover.write_config(drover.config({'command': ['/no/such/program', 'x']}))
	fails(drover, 78, re.escape(drover.config_file) + r':\d+:\d+: .*/no/such/program')


def test_missing_command_in_the_path(drover):
	fails(drover, 78, 'no-such-program', args=['run', '--name', drover.name, '--', 'no-such-program', 'x'])


def test_command_that_is_not_executable(drover):
	path = drover.path('script')
	with open(path, 'w', encoding='ascii') as f:
		f.write('#!/bin/sh\n')
	drover.write_config(drover.config({'command': [path]}))
	fails(drover, 78, re.escape(path) + '.*not executable')


def test_interpreter_that_is_missing(drover):
	"""Only the exec shows it."""
	path = drover.path('script')
	with open(path, 'w', encoding='ascii') as f:
		f.write('#!/no/such/interpreter\n')
	os.chmod(path, 0o755)
	drover.write_config(drover.config({'command': [path]}))
	fails(drover, 1, re.escape(path) + '.*No such file')
	assert drover.log().count('No such file') == 1, 'told once'


def test_missing_directory(drover):
	drover.write_config(drover.config({'directory': 'not-here'}))
	fails(drover, 78, re.escape(drover.config_file) + r':\d+:\d+: .*not-here')


def test_command_that_exits_at_once(drover):
	"""Told why, tried again more and more slowly; the public port says 503, and TERM still ends it."""
	drover.write_config(drover.config({'command': ['sh', '-c', 'echo cannot open database >&2; exit 3'], 'instances': 1,
					   'queue': {'timeout': '300ms'}}))
	drover.launch()
	drover.wait_log(r'exit status 3')
	drover.wait_log(r'cannot open database')
	drover.wait(lambda: drover.answers() == 503, 'the public port says so')
	drover.stop()


# Resources

def test_out_of_descriptors(drover):
	"""Connections beyond the limit wait; none of those served is harmed; then all is well."""
	drover.descriptors_kept = False
	drover.start(drover.config({'instances': 1}), wrapper=['prlimit', '--nofile=96:96'])
	kept = drover.connect()
	assert kept.ask(target='/instance').status == 200
	crowd = []
	for _ in range(150):
		crowd.append(drover.connect())
	time.sleep(0.5)
	assert kept.ask(target='/instance').status == 200, 'who is in is served'
	drover.wait_log(r'(?i)descriptors')
	talk = len(re.findall(r'(?i)descriptors', drover.log()))
	assert talk < 20, f'one line, not {talk}'
	cpu = sum(cpu_ticks(p) for p in drover.balancers())
	time.sleep(1)
	assert sum(cpu_ticks(p) for p in drover.balancers()) - cpu < 50, 'it does not spin meanwhile'
	for c in crowd:
		c.close()
	drover.wait(lambda: drover.answers() == 200, 'newcomers are served again')
	assert kept.ask(target='/instance').status == 200


def cpu_ticks(pid):
	fields = procs.read(f'/proc/{pid}/stat').rpartition(b')')[2].split()
	return int(fields[11]) + int(fields[12])


@pytest.mark.parametrize('kind', ['access', 'error'])
def test_full_disk_for_logs(drover, kind):
	log = {'access': drover.access_file, 'error': '-'}
	log[kind] = '/dev/full'
	drover.start(drover.config(log=log))
	for _ in range(50):
		assert drover.get('/instance').status == 200
	drover.worker(0).kill()
	drover.wait_serving(2)
	drover.reload()
	for _ in range(20):
		assert drover.get('/instance').status == 200


def test_stderr_that_nobody_reads(drover):
	"""A pipe that is full must not stop the service."""
	r, w = os.pipe()
	drover.write_config(drover.config({'command': ['sh', '-c', '(while :; do echo noise; done) & exec "$0" "$@"', *bundled()],
					   'instances': 1}, log={'access': '-', 'error': '-'}))
	drover.process = subprocess.Popen([DROVER, 'run', '-c', drover.config_file], stdin=subprocess.DEVNULL, stdout=w, stderr=w, cwd=drover.dir,
					  env=drover.environment(), start_new_session=True)
	os.close(w)
	try:
		drover.wait(lambda: drover.answers() == 200, 'it serves')
		for _ in range(50):
			assert drover.get('/instance').status == 200
		drover.signal(signal.SIGTERM)
		assert drover.wait_exit() == 0
	finally:
		os.close(r)


def test_log_file_that_cannot_be_opened(drover):
	for key in ('access', 'error'):
		drover.write_config(drover.config(log={key: drover.path('nowhere/x.log')}))
		open(drover.log_file, 'w').close()
		fails(drover, 78, rf'log\.{key}.*nowhere')


def test_log_directory_that_may_not_be_written(drover):
	os.chmod(drover.runtime_dir, 0o777)
	drover.write_config(drover.config(log={'access': '/proc/nothing.log'}))
	fails(drover, 1, r'/proc/nothing\.log')


def test_pid_file_that_cannot_be_written(drover):
	drover.write_config(drover.config(pid_file='/proc/nothing.pid'))
	fails(drover, 1, r'/proc/nothing\.pid')


def test_worker_that_talks_a_lot(drover):
	"""Long lines are cut, control bytes shown, nothing forged, nothing stalled."""
	noise = r'''printf '%070000d\n' 1; printf 'esc \033[31m bell \007\n'; printf 'forged\r2026 error master[1]: lies\n'; exec "$0" "$@"'''
	drover.start(drover.config({'command': ['sh', '-c', noise, *bundled()], 'instances': 1}))
	drover.wait(lambda: 'forged' in drover.output(), 'its output is passed on')
	log = drover.output()
	assert '\033' not in log and '\007' not in log and '\r' not in log
	assert not re.search(r'^2026 error', log, re.M)
	assert max(map(len, log.splitlines())) < 20000


def test_runtime_directory_of_root_or_user(drover):
	"""Its state is private: nobody else may write there."""
	drover.start()
	folder = '/run/drover' if AS_ROOT else os.path.join(drover.runtime_dir, 'drover')
	mode = os.stat(folder)
	assert stat.S_ISDIR(mode.st_mode) and not mode.st_mode & 0o022 and mode.st_uid == os.geteuid()
