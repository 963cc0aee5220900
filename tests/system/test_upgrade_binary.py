"""SIGUSR2: another program takes the master's place, in the same process."""
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from signal import SIGHUP, SIGKILL, SIGTERM, SIGUSR2

import pytest

import drover as d
import procs
from admin import command, status
from load import Steady
from manager import Notify

pytestmark = pytest.mark.release

TAKEN_OVER = 'has taken over from drover'
GOES_ON = r'upgrade: (.*); drover \S+ goes on'

# Stands for a program of another version: passes everything on to the real one, but what it
# is told to do as `check`, `takeover` or `run` (executed by the master, with a state).
SCRIPT = '''#!/usr/bin/python3 -B
import os, signal, sys, time
real, here = {real!r}, {here!r}
command = sys.argv[1]
takes_over = 'DROVER_TAKEOVER' in os.environ
{code}
os.execv(real, [real] + sys.argv[1:])
'''

# For SCRIPT: replaces the state that is handed over by what edit(bytes) makes of it.
EDIT_STATE = '''
import re
def rewrite(fd):
	size = os.fstat(fd).st_size
	new = os.memfd_create('edited', 0)
	os.write(new, finish(edit(os.pread(fd, size, 0))))
	return new
def finish(text):
	"""Records are counted again."""
	n = len(re.findall(rb'^[a-z_]+$(?=\\n )', text, re.M)) - 1
	return re.sub(rb'\\n records=[0-9]+:[0-9]+\\n', b'\\n records=%d:%d\\n' % (len(str(n)), n), text)
if command == 'takeover':
	os.dup2(rewrite(0), 0)
elif takes_over:
	pid, fd, word, exe = os.environ['DROVER_TAKEOVER'].split(' ')
	if word == 'on':
		os.environ['DROVER_TAKEOVER'] = f'{pid} {rewrite(int(fd))} on {exe}'
'''


@pytest.fixture
def program(drover, monkeypatch):
	"""The drover under test is started from a copy that a test may replace."""
	path = drover.path('drover')
	shutil.copy2(d.DROVER, path)
	real = d.DROVER
	monkeypatch.setattr(d, 'DROVER', path)
	return Program(path, real)


class Program:
	def __init__(self, path, real):
		self.path, self.real = path, real

	def put(self, content, mode=0o755):
		"""As a package manager does: a new file by rename."""
		with open(self.path + '.new', 'wb') as f:
			f.write(content.encode() if isinstance(content, str) else content)
		os.chmod(self.path + '.new', mode)
		os.rename(self.path + '.new', self.path)

	def put_real(self):
		shutil.copy2(self.real, self.path + '.new')
		os.rename(self.path + '.new', self.path)

	def script(self, code):
		self.put(SCRIPT.format(real=self.real, here=os.path.dirname(self.path), code=code))


def upgrade(dr, done=None):
	"""SIGUSR2, and waits until the new program serves and the old balancers are gone."""
	done = dr.log().count(TAKEN_OVER) if done is None else done
	old = set(dr.balancers())
	dr.same_balancers = False
	dr.signal(SIGUSR2)
	dr.wait(lambda: dr.log().count(TAKEN_OVER) > done, lambda: f'an upgrade:\n{dr.log()}')
	dr.wait(lambda: not old & set(dr.balancers()), lambda: f'balancers were {old}, are {dr.balancers()}')
	dr.settle()


def one_generation(dr):
	"""Where more than one has been replaced: the last balancer of the others may outlive the workers."""
	dr.wait(lambda: len(dr.balancers()) == 1, 'the old generations end')
	dr.settle()


def refused(dr):
	"""SIGUSR2, and the reason why the old program goes on."""
	before = len(re.findall(GOES_ON, dr.log()))
	dr.signal(SIGUSR2)
	dr.wait(lambda: len(re.findall(GOES_ON, dr.log())) > before, lambda: f'a refusal:\n{dr.log()}')
	return re.findall(GOES_ON, dr.log())[-1]


def identity(dr):
	return [(w.pid, w.instance, procs.stat(w.pid).start) for w in dr.workers()]


# What stays

def test_same_process_same_workers(drover):
	drover.start(drover.config(balancers=2))
	workers, balancers = identity(drover), drover.balancers()
	upgrade(drover)
	assert identity(drover) == workers
	assert len(drover.balancers()) == 2 and not set(balancers) & set(drover.balancers())
	assert drover.get().status == 200
	assert procs.command_line(drover.pid).startswith(f'drover: master of {drover.name}')


def test_command(drover, program):
	"""`drover upgrade` returns with the verdict, good or not."""
	drover.start()
	workers = identity(drover)
	drover.same_balancers = False
	assert status(drover)['upgrade'] == {'number': 0, 'state': 'none', 'from': None, 'reason': None}
	for n in (1, 2):
		done = command(drover, 'upgrade')
		assert done.returncode == 0 and 'has taken over from' in done.stdout, done.stderr + drover.log()
		assert status(drover)['upgrade']['number'] == n and status(drover)['upgrade']['state'] == 'done'
	program.put('no program')
	done = command(drover, 'upgrade')
	assert done.returncode == 1 and done.stderr.startswith('drover: the upgrade failed: '), done.stderr
	told = status(drover)['upgrade']
	assert told['state'] == 'failed' and told['reason'] in done.stderr and told['reason'] in drover.log()
	assert identity(drover) == workers and drover.get().status == 200


def test_numbers_go_on(running):
	"""Generations, releases and restarts are counted on; a reload and a crash are handled as before."""
	running.reload()
	upgrade(running)
	running.reload()
	assert {w.env['DROVER_RELEASE'] for w in running.workers()} == {'3'}
	assert 'generation 4 serves' in running.log()
	victim = running.worker(1)
	victim.kill()
	running.wait(lambda: len(running.workers()) == 2 and victim.pid not in [w.pid for w in running.workers()],
		     'a successor')
	assert running.get().status == 200


def test_instances_that_were_asked_for_stay(running):
	os.kill(running.pid, signal.SIGTTIN)
	running.wait(lambda: len(running.workers()) == 3, 'one worker more')
	upgrade(running)
	assert len(running.workers()) == 3
	os.kill(running.pid, signal.SIGTTOU)
	running.wait(lambda: len(running.workers()) == 2, 'one worker less')


def test_output_goes_on(drover):
	"""Every line of a worker arrives, whole and once, and its pipe does not break."""
	code = ("import os,sys,time,threading,http.server as h\n"
		"class H(h.BaseHTTPRequestHandler):\n"
		"  def do_GET(s): s.send_response(200); s.send_header('Content-Length','0'); s.end_headers()\n"
		"  def log_message(s,*a): pass\n"
		"def talk():\n"
		"  for i in range(100000):\n"
		"    sys.stdout.write('number '); sys.stdout.flush(); time.sleep(0.002)\n"
		"    sys.stdout.write('%d\\n' % i); sys.stdout.flush()\n"
		"threading.Thread(target=talk,daemon=True).start()\n"
		"h.ThreadingHTTPServer(('127.0.0.1',int(os.environ['PORT'])),H).serve_forever()\n")
	drover.start(drover.config({'command': ['/usr/bin/python3', '-c', code], 'instances': 1}))
	for _ in range(3):
		upgrade(drover)
	n = len(re.findall(r'number', drover.output()))
	drover.wait(lambda: len(re.findall(r'number', drover.output())) > n, 'more lines')
	numbers = [int(x) for x in re.findall(r'^app\.0\[\d+\]: number (\d+)$', drover.output(), re.M)]
	assert numbers == list(range(len(numbers))) and numbers


def test_log_files_and_pid_file_stay(drover):
	pid_file, error_log = drover.path('pid'), drover.path('error.log')
	config = drover.config(pid_file=pid_file)
	config['log']['error'] = error_log
	drover.start(config)
	old = set(drover.balancers())
	os.rename(error_log, error_log + '.1')
	drover.same_balancers = False
	drover.signal(SIGUSR2)
	read = lambda f: procs.read(f).decode()
	drover.wait(lambda: TAKEN_OVER in read(error_log + '.1'), 'the moved file is written on')
	drover.wait(lambda: not old & set(drover.balancers()), 'the old balancers are gone')
	assert not os.path.exists(error_log)
	assert int(read(pid_file)) == drover.pid
	drover.signal(signal.SIGUSR1)
	drover.wait(lambda: os.path.exists(error_log), 'log files are opened again')
	drover.settle()
	drover.stop()
	assert not os.path.exists(pid_file)


def test_nothing_leaks_in_ten_upgrades(drover):
	drover.start(drover.config({'bind': 'unix'}, balancers=2))
	upgrade(drover)
	before = procs.descriptors(drover.pid)
	for _ in range(9):
		upgrade(drover)
	drover.wait(lambda: len(procs.descriptors(drover.pid)) <= len(before),
		    lambda: f'descriptors were {sorted(before)}, are {sorted(procs.descriptors(drover.pid))}')
	drover.wait(lambda: len(drover.wardens()) == 1, 'one warden')
	assert len(drover.workers()) == 2
	environment = procs.environment(drover.workers()[0].pid)
	assert 'DROVER_TAKEOVER' not in environment


@pytest.mark.parametrize('bind', ['port', 'unix'])
def test_ten_upgrades_lose_no_request(drover, bind):
	drover.start(drover.config({'bind': bind}, balancers=2))
	workers = identity(drover)
	address = ('127.0.0.1', drover.port)
	clients = [Steady(address, threads=3), Steady(address, threads=2, keep_alive=False),
		   Steady(address, '/echo', threads=2, method='POST', body=b'x' * 3000)]
	for _ in range(10):
		upgrade(drover)
	for c in clients:
		c.stop()
		assert not c.failures and len(c.replies) > 20, c.failures
	assert identity(drover) == workers


def test_the_warden_still_watches(drover):
	drover.start(drover.config(adopt='0s'))
	upgrade(drover)
	drover.wait(lambda: len(drover.wardens()) == 1, 'one warden')
	left = drover.workers() + drover.balancers()
	os.kill(drover.pid, SIGKILL)
	drover.process.wait()
	assert left
	procs.wait_until(lambda: not drover.left(), 20, lambda: f'all is stopped: {drover.left()}')
	drover.check_ended()


def test_the_service_manager_hears_no_change(drover):
	notify = Notify(drover.path('notify'))
	drover.cleanups.append(notify.close)
	drover.start(env=notify.environment)
	drover.wait(lambda: notify.said('READY'), 'READY=1')
	upgrade(drover)
	upgrade(drover)
	drover.wait(lambda: 'generation 3' in (notify.values('STATUS') or [''])[-1], 'its status goes on')
	assert notify.order() == ['READY'] and not notify.values('MAINPID')
	assert {pid for _, pid, _ in notify.heard} == {drover.pid}
	drover.signal(SIGHUP)
	drover.wait(lambda: notify.order() == ['READY', 'RELOADING', 'READY'], 'a reload is told')


def test_inherited_sockets_stay(drover):
	manager = [sys.executable, os.path.join(d.ROOT, 'tests/system/manager.py'), f'http=tcp:127.0.0.1:{drover.port}', '--']
	drover.start(wrapper=manager)
	upgrade(drover)
	assert drover.get().status == 200
	drover.reload()
	assert drover.get().status == 200


def test_what_is_counted_goes_on(running):
	"""Uptime, restarts, requests and workers as the admin channel shows them; it serves on, from a new monitor."""
	victim = running.worker(0)
	victim.kill()
	running.wait_new_workers([victim])
	running.wait(lambda: all(w['state'] == 'up' for w in status(running)['apps'][0]['workers']), 'all are up')
	for _ in range(20):
		assert running.get().status == 200
	before = status(running)
	upgrade(running)
	after = status(running)
	assert after['uptime_s'] >= before['uptime_s'] and after['requests'] >= before['requests'] >= 20
	same = lambda s: [(w['pid'], w['instance'], w['restarts']) for w in s['apps'][0]['workers']]
	assert same(after) == same(before) and {(w['instance'], w['restarts']) for w in after['apps'][0]['workers']} == {(0, 1), (1, 0)}
	assert all(w['requests'] > 0 for w in after['apps'][0]['workers'])


# When

def test_during_a_rollout(drover):
	"""The new release comes up under the new program, and takes over from the old one."""
	drover.start()
	before = drover.workers()
	drover.write_config(drover.config({'command': ['/bin/sh', '-c', 'sleep 1; exec "$0" --test', d.WORKER]}))
	drover.signal(SIGHUP)
	drover.wait(lambda: any(w.env['DROVER_RELEASE'] == '2' for w in drover.workers()), 'a worker of release 2')
	upgrade(drover)
	drover.wait_new_workers(before)
	assert {w.env['DROVER_RELEASE'] for w in drover.workers()} == {'2'}
	one_generation(drover)


def test_a_release_that_fails_is_gone_back_from(drover):
	"""The release before is whole in the new program: it starts workers of it."""
	drover.start(drover.config({'env': {'COLOUR': 'red'}}))
	before = {w.pid for w in drover.workers()}
	drover.write_config(drover.config({'command': ['/bin/sh', '-c', 'sleep 2; exit 3'], 'env': {'COLOUR': 'blue'}}))
	drover.signal(SIGHUP)
	drover.wait(lambda: len(drover.workers()) > 2, 'a worker of release 2')
	# The file of the new release is the one in force, and is not read again.
	upgrade(drover)
	drover.wait_log('keeping release 1')
	drover.wait(lambda: {w.pid for w in drover.workers()} == before, 'the workers of release 1')
	drover.worker(0).kill()
	drover.wait(lambda: len(drover.workers()) == 2 and not {w.pid for w in drover.workers()} <= before, 'a successor')
	drover.wait(lambda: all(drover.accepts(w) for w in drover.workers()), 'all accept')
	assert {w.env['COLOUR'] for w in drover.workers()} == {'red'}


def test_during_a_drain(drover):
	"""A request that an old worker still works on is answered, and then that worker is stopped."""
	drover.start()
	busy = drover.connect()
	busy.request(target='/slow?ms=2500')
	time.sleep(0.2)  # on its way to a worker: nothing shows it from outside
	before = drover.workers()
	drover.write_config(drover.config({'env': {'A': 'b'}}))
	drover.same_balancers = False
	drover.signal(SIGHUP)
	drover.wait_log('generation 2 serves')
	done = drover.log().count(TAKEN_OVER)
	drover.signal(SIGUSR2)
	drover.wait(lambda: drover.log().count(TAKEN_OVER) > done, 'an upgrade')
	assert busy.reply().status == 200
	busy.close()
	drover.wait_new_workers(before)
	one_generation(drover)


def test_twice_quickly(running):
	workers = identity(running)
	running.same_balancers = False
	running.signal(SIGUSR2)
	running.wait_log('upgrade to ')
	running.signal(SIGUSR2)
	running.wait(lambda: running.log().count(TAKEN_OVER) == 2, lambda: f'two upgrades:\n{running.log()}')
	assert identity(running) == workers
	one_generation(running)


def test_a_reload_right_behind_it(running):
	before = running.workers()
	running.same_balancers = False
	running.signal(SIGUSR2)
	running.signal(SIGHUP)
	running.wait_log(TAKEN_OVER)
	running.wait_new_workers(before)
	one_generation(running)


def test_not_while_stopping(drover):
	drover.start(drover.config(shutdown={'lame_duck': '1s'}))
	drover.signal(SIGTERM)
	drover.wait_log('stopping in')
	drover.signal(SIGUSR2)
	drover.wait_log('no upgrade now, drover is stopping')
	assert drover.wait_exit() == 0
	drover.check_ended()


def test_an_edited_file_takes_force(drover):
	drover.start(drover.config({'env': {'COLOUR': 'red'}}))
	before = drover.workers()
	drover.write_config(drover.config({'env': {'COLOUR': 'blue'}}))
	upgrade(drover)
	drover.wait_new_workers(before)
	drover.wait(lambda: all(drover.accepts(w) for w in drover.workers()), 'all accept')
	assert {w.env['COLOUR'] for w in drover.workers()} == {'blue'}
	one_generation(drover)


def test_a_file_with_errors_stops_it(running):
	workers = identity(running)
	running.write_config('listen: [nonsense]\n')
	why = refused(running)
	assert 'does not accept the configuration: exit status 78' in why
	running.wait_log(r'error .*\.yaml:1:10: listen')
	assert identity(running) == workers
	running.write_config(running.config())
	upgrade(running)


# Programs that cannot

@pytest.mark.parametrize('content, mode, why', [
	(None, 0, 'cannot execute .*/drover: No such file or directory'),
	(b'\x7fELF\2\1\1' + bytes(9) + b'\2\0\xff\xff' + bytes(60), 0o755, 'cannot execute .*/drover: Exec format error'),
	(b'not a program\n', 0o755, 'cannot execute .*/drover: Exec format error'),
	(b'#!/no/such/interpreter\n', 0o755, 'cannot execute .*/drover: No such file or directory'),
	(b'#!/bin/sh\n', 0o644, 'cannot execute .*/drover: Permission denied'),
	(b'#!/bin/sh\nexit 78\n', 0o755, 'does not accept the configuration: exit status 78'),
	(b'#!/bin/sh\nexit 0\n', 0o755, 'cannot take over: it is no drover that can'),
	(b'#!/bin/sh\nkill -SEGV $$\n', 0o755, r'does not accept the configuration: signal 11'),
	(b'#!/bin/sh\n[ $1 = check ] || kill -ABRT $$\n', 0o755, r'cannot take over: signal 6'),
], ids=['missing', 'other-machine', 'text', 'no-interpreter', 'not-executable', 'refuses', 'not-drover', 'crashes',
	'crashes-on-state'])
def test_the_old_one_goes_on(drover, program, content, mode, why):
	drover.start()
	workers, balancers = identity(drover), drover.balancers()
	if content is None:
		os.unlink(program.path)
	else:
		program.put(content, mode)
	assert re.search(why, refused(drover))
	assert (identity(drover), drover.balancers()) == (workers, balancers)
	assert drover.get().status == 200
	program.put_real()
	upgrade(drover)
	assert identity(drover) == workers


def test_one_that_gives_no_answer(drover, program):
	drover.start()
	program.put('#!/bin/sh\nsleep 1000\n')
	drover.signal(SIGUSR2)
	drover.wait_log('upgrade to ')
	assert drover.get().status == 200  # the master has other things to do
	drover.wait_log(r'no answer within 10 s; drover \S+ goes on')
	program.put_real()
	upgrade(drover)


CRASH = r'''
#include <dlfcn.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>
static pid_t master;
/* The first thing that a master makes. */
void *event_base_new(void)
{
	char how = getenv("CRASH")[0];
	master = getpid();
	if (how != 'b' && unlink(getenv("CRASH_ONCE")) == 0) {
		if (how == 's')
			*(volatile int *)8 = 1;
		else if (how == 'a')
			abort();
		else
			exit(3);
	}
	return ((void *(*)(void))dlsym(RTLD_NEXT, "event_base_new"))();
}
/* A balancer's. */
void *event_base_new_with_config(const void *config)
{
	if (getenv("CRASH")[0] == 'b' && master != getpid() && access(getenv("CRASH_ONCE"), F_OK) == 0)
		_exit(7);
	return ((void *(*)(const void *))dlsym(RTLD_NEXT, "event_base_new_with_config"))(config);
}
'''


@pytest.fixture(scope='session')
def crasher(tmp_path_factory):
	folder = tmp_path_factory.mktemp('crash')
	os.chmod(folder.parent, 0o755)
	source = folder / 'crash.c'
	source.write_text(CRASH)
	subprocess.run(['gcc', '-D_GNU_SOURCE', '-O0', '-w', '-shared', '-fPIC', '-o', folder / 'crash.so', source], check=True)
	return str(folder / 'crash.so')


@pytest.mark.parametrize('how, why', [
	('segv', 'it crashed, signal 11'), ('abort', 'it crashed, signal 6'), ('exit', 'it ended'),
	('balancers', 'a balancer ended before it was ready'),
])
def test_one_that_fails_after_the_exec(drover, program, crasher, how, why):
	"""Everything was well until the new program stood in the old one's place."""
	drover.start(drover.config(balancers=2))
	drover.same_balancers = False
	workers, balancers = identity(drover), drover.balancers()
	steady = Steady(('127.0.0.1', drover.port), threads=2)
	once = drover.path('once')
	open(once, 'w').close()
	program.script(f"""
if takes_over:
	os.environ.update(LD_PRELOAD={crasher!r}, CRASH={how!r}, CRASH_ONCE={once!r})
	os.environ['ASAN_OPTIONS'] = os.environ.get('ASAN_OPTIONS', '') + ':verify_asan_link_order=0'
""")
	assert why in refused(drover)
	drover.wait(lambda: set(drover.balancers()) == set(balancers), lambda: f'only {balancers}, not {drover.balancers()}')
	assert identity(drover) == workers
	assert os.readlink(f'/proc/{drover.pid}/exe').startswith(program.path)
	assert procs.read(f'/proc/{drover.pid}/comm').decode().strip() == 'drover'
	assert not steady.stop().failures
	if os.path.exists(once):
		os.unlink(once)
	drover.wait(lambda: len(drover.wardens()) == 1, 'one warden')
	program.put_real()
	upgrade(drover)
	assert identity(drover) == workers


# Other versions

def test_a_state_one_version_older(drover, program):
	"""Without the fields that have come since, and with some that are unknown here."""
	drover.start()
	workers = identity(drover)
	program.script(r'''
def edit(text):
	text = re.sub(rb'\n (tell_roster|boot_looked|drain_us|failed_starts|last_words|last_line|announced|'
		      rb'notify_strangers|stdout_cut|kill_excused)=\d+:[^\n]*(?=\n)', b'', text)
	text = re.sub(rb'\nwriter\n.*?\n(?=\n)', b'', text, flags=re.S)
	return text.replace(b'\nmaster\n', b'\nlater\n some=2:ab\n\nmaster\n later=3:abc\n')
''' + EDIT_STATE)
	upgrade(drover)
	assert identity(drover) == workers
	drover.reload()
	assert drover.get().status == 200


def test_a_board_of_another_layout(drover, program):
	"""A version with another roster: a new one is made, and nothing is lost on the way."""
	drover.start(drover.config(balancers=2))
	workers = identity(drover)
	program.script(r'''
def edit(text):
	return re.sub(rb' layout=(\d+):(.)', rb' layout=\1:z', text)
''' + EDIT_STATE)
	steady = Steady(('127.0.0.1', drover.port), threads=3)
	upgrade(drover)
	assert identity(drover) == workers
	drover.reload()
	assert not steady.stop().failures
	assert drover.get().status == 200


@pytest.mark.parametrize('edit, why', [
	("b'nonsense'", 'is none'),
	("text[:len(text) // 2]", 'is none'),
	("text.replace(b'drover state 1', b'drover state 9')", 'it is too old'),
	(r"re.sub(rb'\ngeneration\n.*?\n(?=\n)', b'', text, flags=re.S)", 'it has no generation'),
	(r"re.sub(rb' pid=\d+:\d+', b' pid=1:1', text)", 'makes no sense'),
], ids=['nonsense', 'half', 'newer', 'no-generation', 'pids'])
def test_a_state_that_cannot_be_used(drover, program, edit, why):
	drover.start()
	workers, balancers = identity(drover), drover.balancers()
	program.script(f'def edit(text):\n\treturn {edit}\n' + EDIT_STATE)
	assert 'cannot take over: exit status 1' in refused(drover)
	drover.wait_log(re.escape(why)) # what it wrote follows the verdict
	assert (identity(drover), drover.balancers()) == (workers, balancers)


# Where the program is

def start_as(drover, args, **more):
	"""Started by a shell, as `args` say."""
	drover.write_config(drover.config())
	with open(drover.out_file, 'ab') as out, open(drover.log_file, 'ab') as err:
		drover.process = subprocess.Popen(['/bin/sh', '-c', f'exec {args} run -c "$0"', drover.config_file],
			stdin=subprocess.DEVNULL, stdout=out, stderr=err, cwd=drover.dir,
			env=drover.environment(more), start_new_session=True)
	drover.wait_serving(2)


@pytest.mark.parametrize('args', ['./drover', 'drover', './link', 'sub/../drover'])
def test_it_is_found_again(drover, program, args):
	os.symlink('drover', drover.path('link'))
	os.mkdir(drover.path('sub'))
	start_as(drover, args, PATH=f'/nowhere:{drover.dir}:/usr/bin:/bin', DROVER_WORKER=d.WORKER)
	program.put_real()
	assert ' (deleted)' in os.readlink(f'/proc/{drover.pid}/exe')
	upgrade(drover)
	assert ' (deleted)' not in os.readlink(f'/proc/{drover.pid}/exe')


def test_a_link_that_leads_elsewhere_now(drover, program):
	"""As with /usr/bin/drover -> /opt/drover-2/drover."""
	link, other = drover.path('link'), drover.path('drover-2')
	os.symlink('drover', link)
	start_as(drover, './link', DROVER_WORKER=d.WORKER)
	shutil.copy2(program.real, other)
	os.symlink('drover-2', link + '.new')
	os.rename(link + '.new', link)
	upgrade(drover)
	assert os.readlink(f'/proc/{drover.pid}/exe') == other


def test_a_name_that_is_none(drover, program):
	"""argv[0] says nothing: the kernel knows the path."""
	drover.write_config(drover.config())
	start = ['/bin/bash', '-c', f'exec -a whatever {program.path} run -c "$0"', drover.config_file]
	with open(drover.out_file, 'ab') as out, open(drover.log_file, 'ab') as err:
		drover.process = subprocess.Popen(start, stdin=subprocess.DEVNULL, stdout=out, stderr=err, cwd='/',
						  env=drover.environment(), start_new_session=True)
	drover.wait_serving(2)
	program.put_real()
	upgrade(drover)
	program.put_real()
	upgrade(drover)
