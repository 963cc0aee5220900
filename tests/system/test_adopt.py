"""The master is killed: everything else goes on, and the next one takes it over."""
import ctypes
import os
import re
import socket
import struct
import subprocess
import threading
import time
from signal import SIGCONT, SIGHUP, SIGKILL, SIGSTOP, SIGTERM, SIGUSR2

import pytest

import drover as d
import estate
import procs
from admin import status
from estate import Estate
from load import Steady
from procs import wait_until
from wire import request_bytes

pytestmark = pytest.mark.release

# How a worker of the master before ended is known where the kernel tells it (6.15 and later).
TOLD = tuple(map(int, re.findall(r'\d+', os.uname().release)[:2])) >= (6, 15)
# Known when its parent, here we, has reaped it within the 50 ms that drover waits; unit `proc` is strict.
UNKNOWN = 'with a status that only its parent was told'
KILLED = rf'(?:signal 9 \(SIGKILL\)|{UNKNOWN})' if TOLD else UNKNOWN


class Init:
	"""This process in the place of init: orphans are its children, and it takes their status at once (that
	of some containers looks only every few seconds)."""

	def __init__(self):
		self.drovers, self.ended = [], threading.Event()
		self.prctl(1)
		self.thread = threading.Thread(target=self.run, daemon=True)
		self.thread.start()

	def prctl(self, on):
		PR_SET_CHILD_SUBREAPER = 36
		assert ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, on, 0, 0, 0) == 0

	def run(self):
		while not self.ended.wait(0.002):
			for pid in [p for d in self.drovers[-2:] for p in d.adopted]:
				try:
					os.waitpid(pid, os.WNOHANG)
				except ChildProcessError:
					pass

	def end(self):
		self.ended.set()
		self.thread.join()
		self.prctl(0)


@pytest.fixture(scope='module', autouse=True)
def init():
	i = Init()
	yield i
	i.end()


@pytest.fixture
def drover(drover, init):
	init.drovers.append(drover)
	return drover


def identity(drover):
	return sorted((w.instance, w.pid, w.port) for w in drover.workers())


def steadies(drover):
	address = ('127.0.0.1', drover.port)
	return [Steady(address, threads=2), Steady(address, threads=2, keep_alive=False),
		Steady(address, '/echo', threads=2, method='POST', body=b'x' * 3000)]


VERSION_AT, WAIT_AT, HEIR_AT = 8, 0, 16 # in struct roster, in struct warden_notes


def segment(pid, name):
	"""A segment that the master shares with others, to be read and forged."""
	fd = next(fd for fd, what in procs.descriptors(pid).items() if f'/memfd:{name}' in what)
	return open(f'/proc/{pid}/fd/{fd}', 'r+b', buffering=0)


def as_user(uid, f):
	"""Whether f() comes to its end in a child of that user; OSError: it does not."""
	child = os.fork()
	if child == 0:
		try:
			os.setresuid(uid, uid, uid)
			f()
			os._exit(0)
		except OSError:
			os._exit(1)
		except BaseException:
			os._exit(2)
	status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
	assert status < 2
	return status == 0


def stop_all(clients):
	for c in clients:
		c.stop()
	failures = [f for c in clients for f in c.failures]
	assert not failures, f'{len(failures)}: {failures[:5]}'
	assert all(len(c.replies) > 20 for c in clients)


@pytest.mark.parametrize('bind', ['port', 'unix'])
def test_a_new_master_takes_over(drover, bind):
	drover.start(drover.config({'bind': bind}, balancers=2))
	workers, before, old = identity(drover), status(drover), drover.pid
	clients = steadies(drover)
	drover.kill_master()
	drover.wait_log('workers go on for 30.0 s', alive=False)
	answered = len(clients[0].replies)
	wait_until(lambda: len(clients[0].replies) > answered + 50, 10, 'requests go on')
	assert identity(drover) == workers
	drover.start_heir()
	stop_all(clients)
	drover.wait_log(rf'taken over from pid {old}, which was killed: 2 workers, 2 balancers')
	assert identity(drover) == workers
	after = status(drover)
	assert after['pid'] == drover.pid != old
	assert after['uptime_s'] > before['uptime_s'] and after['requests'] >= before['requests']
	of = lambda s: [(w['pid'], w['instance'], w['state'], w['restarts']) for w in s['apps'][0]['workers']]
	assert of(after) == of(before)
	assert all(w['uptime_s'] > b['uptime_s'] for w, b in zip(after['apps'][0]['workers'], before['apps'][0]['workers']))
	assert not os.path.exists(os.path.join(drover.runtime_dir, 'drover', drover.name + '.adopt'))
	drover.wait(lambda: len(drover.wardens()) == 1, 'one warden')


def test_all_works_afterwards(running):
	"""A worker that ends is replaced; reload, upgrade and the end as ever."""
	workers = identity(running)
	running.kill_master()
	running.start_heir()
	victim = running.worker(0)
	victim.kill()
	running.wait_new_workers([victim])
	running.wait_log(rf'worker 0 \(pid {victim.pid}\) ended: {KILLED}')
	assert {w for w in identity(running) if w[0] == 1} == {w for w in workers if w[0] == 1}
	running.same_balancers = False
	running.signal(SIGUSR2)
	running.wait_log('has taken over from drover')
	running.settle()
	running.reload()
	assert running.get().status == 200
	running.stop()


def test_what_has_changed_since_the_start(running):
	"""A worker that came later stays, as those of the beginning do."""
	victim = running.worker(0)
	victim.kill()
	running.wait_new_workers([victim])
	running.wait_log(rf'worker 0 \(pid {running.worker(0).pid}\) ready')
	status(running)  # is answered in a later turn than the one which saw and wrote down that it is ready
	workers = identity(running)
	running.kill_master()
	running.start_heir()
	assert identity(running) == workers


def test_ten_times(drover):
	"""One master after the other, under load: the workers of the first are those of the last."""
	drover.start(drover.config(balancers=2))
	workers = identity(drover)
	clients = steadies(drover)
	for _ in range(10):
		drover.kill_master()
		drover.start_heir()
	stop_all(clients)
	assert identity(drover) == workers
	adopted = status(drover)['adopted']
	assert adopted['times'] == 10 and adopted['age_s'] < 60
	drover.reload()


# What happens while there is no master

def test_a_worker_that_ends(drover, steady):
	drover.start()
	client = steady(('127.0.0.1', drover.port), '/instance', threads=3, keep_alive=False)
	drover.kill_master()
	victim, other = drover.worker(0), drover.worker(1)
	victim.kill()
	drover.wait_log(rf'worker \(pid {victim.pid}\) has ended, and there is no master to replace it: {KILLED}', alive=False)
	n = len(client.replies)
	wait_until(lambda: len(client.replies) > n + 100, 10, 'requests go on')
	assert set(client.replies[n + 10:]) == {'1\n'}
	drover.start_heir()
	drover.wait_new_workers([victim])
	drover.wait(lambda: all(drover.accepts(w) for w in drover.workers()), 'both accept')
	client.stop()
	assert not client.failures, client.failures[:5]
	assert drover.worker(1).pid == other.pid
	drover.wait(lambda: [w['restarts'] for w in status(drover)['apps'][0]['workers'] if w['instance'] == 0] == [1],
		    'one of that number, started anew once')


@pytest.mark.parametrize('when', ['later', 'with-the-master', 'half-written'])
def test_a_port_that_is_somebody_elses_by_now(drover, when):
	"""The balancers are told that its worker has ended: no request goes there.  Also when it ends before the warden has
	looked, and when the master was killed while it wrote the roster."""
	drover.start()
	victim, warden = drover.worker(0), drover.wardens()[0]
	if when == 'with-the-master':
		os.kill(warden, SIGSTOP)
	elif when == 'half-written':
		os.kill(drover.pid, SIGSTOP)
		with segment(drover.pid, 'drover-roster') as f:
			version = struct.unpack_from('=Q', f.read(), VERSION_AT)[0]
			assert version % 2 == 0
			f.seek(VERSION_AT)
			f.write(struct.pack('=Q', version + 1))
	drover.kill_master()
	victim.kill()
	os.kill(warden, SIGCONT)
	drover.wait_log('workers go on for', alive=False)
	drover.wait_log(rf'worker \(pid {victim.pid}\) has ended', alive=False)
	with socket.socket() as other:
		other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
		other.bind(('127.0.0.1', int(victim.port)))
		other.listen()
		other.setblocking(False)
		assert [drover.get('/instance').text for _ in range(4)] == ['1\n'] * 4
		with pytest.raises(BlockingIOError):
			other.accept()
	drover.start_heir()


def test_all_workers_end(drover):
	"""A request waits for the successor that the next master starts."""
	drover.start()
	drover.kill_master()
	for w in drover.workers():
		w.kill()
	wait_until(lambda: drover.log().count('there is no master to replace it') == 2, 10, 'both are missed')
	waiting = drover.connect()
	waiting.request(target='/instance')
	drover.start_heir(alone=False)
	assert waiting.reply().status == 200


def test_a_balancer_that_ends(drover):
	"""Who connects to its sockets waits in their queues for the next master's."""
	drover.start(drover.config(balancers=2))
	drover.kill_master()
	os.kill(drover.balancers()[0], SIGKILL)
	wait_until(lambda: len(drover.balancers()) == 1, 10, 'one is left')
	clients = [drover.connect() for _ in range(16)]
	for c in clients:
		c.request(target='/instance')
	drover.start_heir(alone=False)
	assert [c.reply().status for c in clients] == [200] * 16
	drover.wait_log(r'balancer \d \(pid \d+\) has ended while there was no master')


def test_its_whole_process_group_is_killed(drover):
	"""kill -9 -PGID: the balancers go too; connections wait for others."""
	drover.start()
	workers = identity(drover)
	drover.adopted = {p: procs.stat(p).start for p in drover.children()}
	drover.same_balancers = False
	os.killpg(drover.pid, SIGKILL)
	drover.process.wait()
	wait_until(lambda: not drover.balancers(), 10, 'no balancer is left')
	client = drover.connect()
	client.request(target='/instance')
	drover.start_heir(alone=False)
	assert client.reply().status == 200
	assert identity(drover) == workers


@pytest.mark.parametrize('kind, much', [('flood', 60000), ('notify', 2000)])
def test_a_worker_that_talks(drover, kind, much):
	"""Nobody reads its pipe, or its notifications: it does not stand still for it."""
	drover.start(drover.config({'command': d.app_command('talker.py', kind), 'instances': 1}, log={'output': 'off', 'access': 'off'}))
	pid = drover.worker().pid
	drover.kill_master()
	drover.wait_log('workers go on for', alive=False)
	before = int(drover.get().text)
	wait_until(lambda: int(drover.get().text) > before + much, 15, 'it goes on')
	drover.start_heir()
	assert drover.worker().pid == pid
	before = int(drover.get().text)
	drover.wait(lambda: int(drover.get().text) > before + much, 'it is read again')


def test_lines_are_kept_for_the_next_master(drover):
	drover.start(drover.config({'command': d.app_command('talker.py', 'steady', '200'), 'instances': 1}))
	drover.kill_master()
	time.sleep(0.3)  # lines that nobody reads
	drover.start_heir()
	drover.wait(lambda: 'line 200\n' in drover.output(), 'lines go on')
	numbers = [int(n) for n in re.findall(r'line (\d+)$', drover.output(), re.M)]
	# What the dead one had read and not yet written is lost with it.
	assert numbers == sorted(numbers) and len(numbers) > numbers[-1] - 20


def test_a_worker_that_becomes_ready(drover):
	"""What one that is starting says about itself is kept for the next master."""
	ready = drover.path('ready')
	open(ready, 'w', encoding='utf-8').close()
	command = d.app_command('notifier.py', 'until:ready', 'send:READY=1', 'listen')
	drover.start(drover.config({'command': command, 'instances': 1, 'ready': {'type': 'notify'}, 'env': {'CONTROL': drover.dir}}))
	first = drover.worker()
	os.unlink(ready)
	first.kill()
	drover.wait(lambda: drover.workers() and drover.worker().pid != first.pid, 'its successor')
	successor = drover.worker()
	drover.wait(lambda: [w['state'] for w in status(drover)['apps'][0]['workers'] if w['pid'] == successor.pid] == ['starting'], 'it starts')
	drover.kill_master()
	drover.wait_log('workers go on for', alive=False)
	open(ready, 'w', encoding='utf-8').close()
	wait_until(lambda: drover.accepts(successor), 10, 'it has said so')
	drover.start_heir()
	drover.wait(lambda: [w['state'] for w in status(drover)['apps'][0]['workers'] if w['pid'] == successor.pid] == ['up'], 'it is up')
	assert drover.get().status == 200


def test_during_a_rollout(drover):
	"""Half of a release has come up: the next master brings it to its end."""
	drover.start()
	before = drover.workers()
	drover.write_config(drover.config({'command': ['/bin/sh', '-c', 'sleep 1; exec "$0" --test', d.WORKER]}))
	drover.signal(SIGHUP)
	drover.wait(lambda: any(w.env['DROVER_RELEASE'] == '2' for w in drover.workers()), 'a worker of release 2')
	drover.kill_master()
	drover.start_heir()
	drover.wait_new_workers(before)
	assert {w.env['DROVER_RELEASE'] for w in drover.workers()} == {'2'}
	drover.wait(lambda: all(drover.accepts(w) for w in drover.workers()), 'all accept')
	drover.settle()


# Nobody comes, or not in time

def test_nobody_comes(drover):
	drover.start(drover.config(adopt='700ms', balancers=2))
	busy = drover.connect()
	busy.request(target='/slow?ms=1500')
	drover.wait(lambda: status(drover)['apps'][0]['workers'][0]['in_flight'] + status(drover)['apps'][0]['workers'][1]['in_flight'], 'it is on its way')
	killed = time.monotonic()
	drover.kill_master()
	assert drover.answers() == 200
	assert busy.reply().status == 200
	wait_until(lambda: not drover.left(), 15, lambda: f'all end: {drover.left()}')
	assert time.monotonic() - killed > 0.7
	with pytest.raises(ConnectionRefusedError):
		drover.connect()
	drover.check_ended()


@pytest.mark.parametrize('top, args', [({'adopt': '0s'}, None), ({}, ['run', '--listen', 'PORT', '--instances', '2', '--', *d.bundled()])],
			 ids=['off', 'no-name'])
def test_without_a_heir_all_ends_at_once(drover, top, args):
	drover.write_config(drover.config(**top))
	drover.launch(args=args and [a.replace('PORT', f'127.0.0.1:{drover.port}') for a in args])
	drover.wait_serving(2)
	drover.kill_master(written=False)
	wait_until(lambda: not drover.left(), 10, lambda: f'all end: {drover.left()}')
	assert 'go on for' not in drover.log()
	drover.check_ended()


def test_not_while_it_stops(drover):
	"""Whoever asked it to end does not want another."""
	drover.start(drover.config(shutdown={'lame_duck': '20s'}))
	drover.signal(SIGTERM)
	drover.wait_log('stopping in')
	drover.kill_master(written=False)
	wait_until(lambda: not drover.left(), 15, lambda: f'all end: {drover.left()}')
	drover.check_ended()


def test_the_warden_is_asked_to_end(drover):
	"""SIGTERM to it: whoever does not want to wait for the end of `adopt`."""
	drover.start()
	warden = drover.wardens()[0]
	drover.kill_master()
	drover.wait_log('workers go on for', alive=False)
	os.kill(warden, SIGTERM)
	wait_until(lambda: not drover.left(), 15, lambda: f'all end: {drover.left()}')
	drover.check_ended()


def test_whom_the_warden_ends(drover):
	"""Those that the roster and the notes mean, by pid and start time, with all of their process group; and nobody who
	has got the pid of one."""
	command = ['/bin/sh', '-c', '(trap "" TERM; exec sleep 60) & exec "$0" --test', d.WORKER]
	drover.start(drover.config({'command': command}, adopt='0s'))
	gone, worker = drover.workers()
	group = lambda w: [p for p in procs.all_pids() if (s := procs.stat(p)) and s.group == w.pid and s.state not in 'ZX']
	assert len(group(gone)) == len(group(worker)) == 2
	stranger = subprocess.Popen(['sleep', '60'], start_new_session=True)
	drover.cleanups.append(lambda: (stranger.kill(), stranger.wait()))
	os.kill(drover.pid, SIGSTOP)
	with segment(drover.pid, 'drover-roster') as roster, segment(drover.pid, 'drover-warden') as notes:
		for f, pid in ((roster, gone.pid), (notes, drover.balancers()[0])):
			whole = f.read()
			at = 4 * struct.unpack_from(f'={len(whole) // 4}i', whole).index(pid)
			f.seek(at)
			f.write(struct.pack('=i', stranger.pid))
		notes.seek(WAIT_AT)
		notes.write(struct.pack('=Q', 0))  # it waits for no balancer
	drover.kill_master(written=False)
	drover.wait_log('all that the master left behind is stopped', alive=False)
	assert stranger.poll() is None
	assert 'stopping 1 workers' in drover.log()
	wait_until(lambda: not group(worker), 10, lambda: f'nothing is left of it: {group(worker)}')
	os.killpg(gone.pid, SIGKILL)
	wait_until(lambda: not drover.left(), 10, lambda: f'all end: {drover.left()}')
	drover.check_ended()


# The next master's file

def test_an_edited_file_follows_as_a_reload(drover, steady):
	drover.start(drover.config({'env': {'COLOUR': 'red'}}))
	client = steady(('127.0.0.1', drover.port))
	before = drover.workers()
	drover.kill_master()
	drover.write_config(drover.config({'env': {'COLOUR': 'blue'}}))
	drover.start_heir()
	drover.wait_log('the configuration has been edited: configuration checked, generation 2 starts')
	drover.wait_new_workers(before)
	drover.wait(lambda: all(drover.accepts(w) for w in drover.workers()), 'all accept')
	assert {w.env['COLOUR'] for w in drover.workers()} == {'blue'}
	client.stop()
	assert not client.failures, client.failures[:5]


def test_another_command_line_follows_too(drover):
	drover.start()
	drover.kill_master()
	drover.start_heir(args=['run', '-c', drover.config_file, '--instances', '3'])
	drover.wait(lambda: len(drover.workers()) == 3, 'three workers')
	drover.wait(lambda: all(drover.accepts(w) for w in drover.workers()), 'all accept')
	drover.settle()


def test_a_file_with_errors_changes_nothing(drover):
	drover.start()
	workers = identity(drover)
	drover.kill_master()
	good = procs.read(drover.config_file).decode()
	drover.write_config('listen: [nonsense]\n')
	drover.launch()
	assert drover.wait_exit() == 78
	assert drover.answers() == 200 and identity(drover) == workers
	drover.write_config(good)
	drover.start_heir()
	assert identity(drover) == workers


# Who may, and what is believed

def test_one_that_dies_over_it(drover):
	"""It was given everything, and ends before it has said that it has it: the next one gets the same."""
	drover.start()
	workers = identity(drover)
	drover.kill_master()
	drover.wait_log('workers go on for', alive=False)
	first = Estate(drover)
	assert first.fds
	first.close()
	drover.wait_log('one that was taking over from the master has ended', alive=False)
	drover.start_heir()
	assert identity(drover) == workers


def test_two_at_once(drover, new_drover):
	"""One takes over, the other is told that it is too late."""
	drover.start()
	workers = identity(drover)
	drover.kill_master()
	second = new_drover()
	second.launch(['run', '-c', drover.config_file], env={'XDG_RUNTIME_DIR': drover.runtime_dir})
	drover.launch()
	wait_until(lambda: second.process.poll() is not None or drover.process.poll() is not None, 15, 'one of them ends')
	if drover.process.poll() is not None:
		drover.process, second.process = second.process, drover.process
	assert second.wait_exit() == 1
	second.ended, drover.baseline = True, {}
	log = drover.log() + second.log()
	assert re.search(rf'an instance named "{drover.name}" is already running \(pid {drover.pid}\)', log), log
	drover.wait(lambda: len([p for p in procs.children(drover.pid) if procs.command_line(p).startswith('drover: balancer')]) == 1, 'its balancer')
	drover.wait(lambda: len(drover.balancers()) == 1, 'the old one ends')
	assert identity(drover) == workers


@pytest.mark.skipif(not d.AS_ROOT, reason='needs root')
def test_another_user_is_refused(drover):
	drover.start()
	drover.kill_master()
	drover.wait_log('workers go on for', alive=False)
	assert os.stat(estate.path(drover)).st_mode & 0o777 == 0o600
	os.chmod(estate.path(drover), 0o666)  # what follows does not hang on the mode alone
	assert not as_user(65534, lambda: Estate(drover))
	drover.wait_log(r'pid \d+ wants to take over from the master, but is of user 65534, not 0: refused', alive=False)
	drover.start_heir()


def test_a_socket_that_was_left_behind(drover):
	"""Master and warden were killed, or a warden as soon as another master had all: nobody listens there."""
	def leave_one():
		with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as dead:
			dead.bind(os.path.join(drover.runtime_dir if not d.AS_ROOT else '/run', 'drover', drover.name + '.adopt'))
	drover.start()
	drover.stop()
	leave_one()
	drover.start()
	workers = identity(drover)
	leave_one()
	drover.kill_master()
	drover.start_heir()
	assert identity(drover) == workers


def killed_with_its_warden(drover):
	"""What they have left, held by us."""
	warden = drover.wardens()[0]
	drover.kill_master()
	drover.wait_log('workers go on for', alive=False)
	left = Estate(drover)
	left.conn.close()
	os.kill(warden, SIGKILL)
	wait_until(lambda: not procs.alive(warden), 10, 'the warden ends')
	os.unlink(estate.path(drover))
	return left


def start_on(drover, left, state, **more):
	"""True: it has taken over."""
	drover.launch()
	taken = left.serve(drover, state, **more)
	left.close()
	return taken


@pytest.mark.skipif(not d.AS_ROOT, reason='needs root')
def test_an_offer_of_another_user(drover):
	"""Whoever listens in the place of the warden is not believed."""
	drover.start()
	left = killed_with_its_warden(drover)
	with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
		listener.bind(estate.path(drover))
		assert as_user(65534, listener.listen)  # it is known by that
		drover.launch()
		assert drover.wait_exit() == 1
	os.unlink(estate.path(drover))
	assert 'whoever offers it is another user' in drover.log()
	assert start_on(drover, left, left.state)


def test_one_that_dies_with_a_warden_of_its_own(drover):
	"""It had not yet said that it has all: the warden of before leaves it to the newer one, and touches nothing."""
	drover.start()
	workers, warden = identity(drover), drover.wardens()[0]
	with segment(drover.pid, 'drover-warden') as notes:
		drover.kill_master()
		drover.wait_log('workers go on for', alive=False)
		left = Estate(drover)
		notes.seek(HEIR_AT)
		heir = struct.unpack('=I', notes.read(4))[0]
		notes.seek(HEIR_AT)
		notes.write(struct.pack('=I', heir + 1))
	left.conn.close()
	wait_until(lambda: not procs.alive(warden), 10, 'it goes')
	assert 'has ended, or does not go on' not in drover.log() and identity(drover) == workers
	assert start_on(drover, left, left.state)
	drover.wait(lambda: drover.answers() == 200, 'it serves')
	assert identity(drover) == workers


def test_one_that_dies_as_soon_as_it_has_all(drover):
	"""The word that relieves the warden of before comes from a master that has one of its own."""
	drover.start()
	workers = identity(drover)
	left = killed_with_its_warden(drover)
	assert start_on(drover, left, left.state, when_taken=drover.kill_master)
	wait_until(lambda: drover.log().count('workers go on for') == 2, 10, 'its warden waits for another')
	drover.start_heir()
	assert identity(drover) == workers


def test_a_reload_that_has_just_come_into_force(drover):
	"""The next generation serves, and nobody has told the one of before: it ends, and has no successors."""
	drover.start()
	busy = drover.connect()
	whole = request_bytes('POST', '/echo', body=b'in two parts')
	busy.send(whole[:-5])
	drover.wait(lambda: sum(w['in_flight'] for w in status(drover)['apps'][0]['workers']) == 1, 'it is on its way')
	drover.signal(SIGHUP)
	drover.wait_log('generation 2 serves')
	left = killed_with_its_warden(drover)
	SERVING, DRAINING, RELOAD = 2, 3, 1
	[first] = [r for kind, r in estate.records(left.state) if kind == 'generation' and b' number=1:1\n' in r]
	told, untold = (b' state=1:%d\n drain=1:%d\n' % p for p in ((DRAINING, RELOAD), (SERVING, 0)))
	forged = first.replace(told, untold)  # unless the kill came even before that was written down
	assert untold in forged
	assert start_on(drover, left, left.state.replace(first, forged))
	busy.send(whole[-5:])
	assert busy.reply().body == b'in two parts'
	own = lambda: [p for p in procs.children(drover.pid) if p in drover.balancers()]
	drover.wait(lambda: own() == drover.balancers() and len(own()) == 1, 'the new one serves alone')
	assert 'has a successor' not in drover.log()


def test_a_pid_that_is_somebody_elses(drover):
	"""Start times that do not fit: such a process is nobody's, and is not touched."""
	drover.start(drover.config(balancers=1))
	stranger, kept = drover.worker(0), drover.worker(1)
	left = killed_with_its_warden(drover)
	state, n = re.subn(rb'(\n pid=\d+:%d\n(?: .*\n)*? start_ticks=|\n start_ticks=)(\d+):(\d+)(?=\n(?: .*\n)*? pid=\d+:%d\n)'
			   % (stranger.pid, stranger.pid), lambda m: m[1] + b'%d:%s' % (len(m[3]), b'7' * len(m[3])), left.state)
	assert n == 1
	assert start_on(drover, left, state)
	drover.wait_log(rf'worker 0 \(pid {stranger.pid}\) ended: while there was no master')
	drover.wait(lambda: len([w for w in drover.workers() if w.pid != stranger.pid]) == 2, 'another in its place')
	assert kept.pid in [w.pid for w in drover.workers()]
	drover.wait(lambda: drover.answers() == 200, 'it serves')
	assert procs.alive(stranger.pid)
	stranger.kill()


def test_a_worker_that_the_state_does_not_know(drover):
	"""Spawned in the other's last moment: nobody holds the ends of its pipes. It is ended, its files are removed,
	and another comes."""
	drover.start(drover.config({'bind': 'unix'}, balancers=1))
	stray, kept = drover.worker(0), drover.worker(1)
	notified = stray.env['NOTIFY_SOCKET']
	assert os.path.exists(stray.port) and os.path.exists(notified)
	left = killed_with_its_warden(drover)
	state = estate.without(left.state, lambda kind, r: kind == 'worker' and b':%d\n' % stray.pid in r)
	state, n = re.subn(rb'\n next_epoch=\d+:\d+', b'\n next_epoch=1:1', state)  # of before it as well
	assert n == 1 and start_on(drover, left, state)
	drover.wait_log(rf'ending a worker \(pid {stray.pid}\) that had just been started')
	drover.wait_new_workers([stray])
	drover.wait(lambda: drover.answers() == 200, 'it serves')
	assert drover.worker(1).pid == kept.pid
	assert os.path.exists(kept.port) and os.path.exists(kept.env['NOTIFY_SOCKET'])
	assert not os.path.exists(stray.port) and not os.path.exists(notified)
	assert drover.worker(0).port not in (stray.port, kept.port)


def test_a_balancer_that_the_state_does_not_know(drover):
	"""Forked in the other's last moment: nobody holds its channel. It ends, and what it counted as under way is not for ever."""
	drover.start(drover.config(balancers=2))
	stray = drover.balancers()[0]
	left = killed_with_its_warden(drover)
	assert start_on(drover, left, estate.without(left.state, lambda kind, r: kind == 'balancer' and b':%d\n' % stray in r))
	wait_until(lambda: not procs.alive(stray), 10, 'it ends')
	drover.wait(lambda: drover.answers() == 200, 'it serves')
	with pytest.raises(AssertionError, match='has no row'):
		procs.counters(drover.pid, stray)


@pytest.mark.parametrize('edit, why', [
	(lambda s: b'nonsense', 'cannot be used: not understood'),
	(lambda s: s[:len(s) // 2], 'cannot be used: not understood'),
	(lambda s: s.replace(b'drover state 1', b'drover state 9'), 'it is of a later version of drover'),
	(lambda s: re.sub(rb'\ngeneration\n.*?\n(?=\n)', b'', s, flags=re.S), 'cannot be used|it has no generation'),
], ids=['nonsense', 'half', 'newer', 'no-generation'])
def test_a_state_that_cannot_be_used(drover, edit, why):
	drover.start()
	workers = drover.workers()
	left = killed_with_its_warden(drover)
	drover.launch()
	assert not left.serve(drover, edit(left.state))
	assert drover.wait_exit() == 1
	assert re.search(why, drover.log())
	assert drover.answers() == 200 and all(procs.alive(w.pid) for w in workers)
	left.close()  # with it the balancers' channels
	for w in workers:
		w.kill()
	wait_until(lambda: not drover.left(), 15, lambda: f'all end: {drover.left()}')
	drover.start()  # and what it left in the run directory is no hindrance


def test_descriptors_that_are_something_else(drover):
	"""A number that was closed and used again in the last moment: it is not taken for what it was."""
	drover.start()
	workers = identity(drover)
	left = killed_with_its_warden(drover)
	stdouts = [int(n) for n in re.findall(rb'\n stdout=\d+:(\d+)', left.state)]
	os.dup2(left.fds[next(iter(left.fds))], left.fds[stdouts[0]])
	assert start_on(drover, left, left.state)
	drover.wait(lambda: drover.answers() == 200, 'it serves')
	assert identity(drover) == workers
