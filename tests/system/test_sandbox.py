"""What the processes that read from networks have given up, and what happens when one of them
asks for more all the same."""
import os
import re
import subprocess
from signal import SIGUSR2

import pytest

import procs
import tracing
from drover import APPS, AS_ROOT, DROVER, SANITIZED, app_command

MUNLOCKALL = 152  # harmless, and no business of anybody here, nor of a sanitizer
HAS_FILTERS = 'built without' not in subprocess.run([DROVER, '--version'], stdout=subprocess.PIPE, text=True).stdout


def status(pid):
	lines = procs.read(f'/proc/{pid}/status').decode().splitlines()
	return {k: v.strip() for k, v in (line.split(':', 1) for line in lines)}


def limits(pid):
	return dict(re.findall(r'^(.*?)\s{2,}(\S+)\s+\S+', procs.read(f'/proc/{pid}/limits').decode(), re.M))


def check_inside(pid):
	s = status(pid)
	assert s['NoNewPrivs'] == '1'
	assert s['Seccomp'] == ('2' if HAS_FILTERS else '0')
	assert {s[name] for name in ('CapInh', 'CapPrm', 'CapEff', 'CapAmb')} == {'0' * 16}
	assert limits(pid)['Max core file size'] == '0'
	if AS_ROOT:
		assert '0' not in s['Uid'].split() and '0' not in s['Gid'].split()
		assert '0' not in s['Groups'].split()
		assert s['CapBnd'] == '0' * 16
		# Not dumpable: the files of its /proc belong to root, not to its user.
		assert os.stat(f'/proc/{pid}/mem').st_uid == 0


def test_balancers_are_inside(drover):
	drover.start(drover.config(balancers=2))
	for pid in drover.balancers():
		check_inside(pid)
	drover.reload()
	for pid in drover.balancers():
		check_inside(pid)


def test_successors_are_inside(drover):
	drover.start()
	first = drover.balancers()[0]
	drover.kill_balancer(first)
	drover.wait(lambda: drover.balancers() and first not in drover.balancers(), 'a successor')
	drover.wait(drover.answers, 'it answers')
	check_inside(drover.balancers()[0])


@pytest.mark.skipif(not tracing.POSSIBLE or not HAS_FILTERS, reason='needs root, x86-64 and filters')
def test_a_violation_ends_that_process_and_is_named(drover):
	drover.start(drover.config(balancers=2))
	drover.same_balancers = False
	victim, other = drover.balancers()
	workers = [w.pid for w in drover.workers()]
	tracing.inject(victim, MUNLOCKALL)
	line = drover.wait_log(rf'^\S+ error balancer \d\[{victim}\]: .*$')[0]
	assert 'stopped by its sandbox: it called munlockall (system call 152)' in line and 'sandbox: off' in line
	drover.wait_log(rf'balancer \d \(pid {victim}\) of generation 1 ended: signal 31 \(SIGSYS\)$')
	drover.wait_log(r'balancer \d has a successor')
	assert other in drover.balancers() and [w.pid for w in drover.workers()] == workers
	for _ in range(20):
		assert drover.get().status == 200
	check_inside(next(p for p in drover.balancers() if p != other))


@pytest.mark.skipif(not tracing.POSSIBLE, reason='needs root and x86-64')
def test_off_is_a_way_out(drover):
	drover.start(drover.config(sandbox='off'))
	pid = drover.balancers()[0]
	s = status(pid)
	assert s['Seccomp'] == '0' and s['NoNewPrivs'] == '1' and s['CapEff'] == '0' * 16
	tracing.inject(pid, MUNLOCKALL)
	assert drover.get().status == 200
	assert drover.balancers() == [pid]


def test_switched_by_a_reload(drover):
	drover.start()
	drover.reload(drover.config(sandbox='off'))
	assert status(drover.balancers()[0])['Seccomp'] == '0'
	drover.reload(drover.config(sandbox='required'))
	check_inside(drover.balancers()[0])


def test_logs_rotate_inside(drover):
	"""New descriptors come through the channel; nothing is opened by name."""
	error_file = drover.path('error.log')
	drover.start(drover.config(log={'access': drover.access_file, 'error': error_file, 'level': 'info'}))
	for n in range(3):
		os.rename(drover.access_file, drover.path(f'access.{n}'))
		os.rename(error_file, drover.path(f'error.{n}'))
		drover.signal(10)
		drover.wait(lambda: os.path.exists(drover.access_file) and os.path.exists(error_file), 'new files')
		drover.get(f'/rotated-{n}')
		drover.wait(lambda: f'/rotated-{n}' in drover.access_log(), 'the line is in the new file')
	assert SANITIZED or not re.search('sandbox', procs.read(error_file).decode())


def writers(drover, path):
	return [p for p in drover.children() if procs.command_line(p).endswith(f'writer of {path}')]


def test_writers_are_inside(drover):
	"""What they read is what workers print.  A violation is named, and another goes on with the file."""
	path = drover.path('output.log')
	app = {'command': app_command('talker.py', 'steady', '50'), 'instances': 1}
	drover.start(drover.config(app, log={'access': drover.access_file, 'output': path}))
	[writer] = writers(drover, path)
	check_inside(writer)
	if not tracing.POSSIBLE or not HAS_FILTERS:
		return
	tracing.inject(writer, MUNLOCKALL)
	drover.wait_log(rf'^\S+ error writer\[{writer}\]: stopped by its sandbox: it called munlockall')
	drover.wait(lambda: writers(drover, path) not in ([], [writer]), 'another writer')
	size = os.path.getsize(path)
	drover.wait(lambda: os.path.getsize(path) > size, 'lines go on')


def in_memory(pid, needles):
	"""Which of them are in what a process can write to; where, is printed."""
	found = set()
	with open(f'/proc/{pid}/maps', encoding='utf-8') as maps, open(f'/proc/{pid}/mem', 'rb', buffering=0) as memory:
		for line in maps:
			span, rights, *_ = line.split()
			begin, end = (int(x, 16) for x in span.split('-'))
			if 'w' not in rights or end - begin > 1 << 26:  # a sanitizer's own holds no text of ours
				continue
			try:
				memory.seek(begin)
				text = memory.read(end - begin) or b''
			except (OSError, OverflowError):
				continue
			for needle in (n for n in needles if n in text):
				found.add(needle)
				at = text.index(needle)
				print(f'{procs.command_line(pid)}: {line.strip()} at {at:#x}: {text[max(at - 64, 0):at + 64]}')
	return found


@pytest.mark.skipif(not AS_ROOT, reason='needs root: nobody else may look')
def test_secrets_of_apps_stay_with_the_master(drover):
	"""In none of its children that start no workers: at the start, after a reload, after an upgrade, and while
	there is no master and after another has come."""
	# Parts of longer ones: more than the 64 bytes that a vector register may leave on a stack.
	secrets = [b'correct-horse' * 7, b'tr0ub4dor' * 10]
	values = [s.decode() * 5 for s in secrets]
	env_file, output = drover.path('app.env'), drover.path('output.log')
	with open(env_file, 'w', encoding='utf-8') as f:
		f.write(f'TOKEN="{values[1]}"\n')
	config = drover.config({'env': {'PASSWORD': values[0]}, 'env_file': env_file, 'health': {'path': '/'}},
			       log={'access': drover.access_file, 'output': output, 'level': 'info'})
	drover.start(config)

	def probes():
		return [p for p in drover.children() if procs.command_line(p) == 'drover: probe']

	def look():
		assert in_memory(drover.pid, secrets) == set(secrets)
		drover.wait(lambda: len(probes()) == 2, 'both workers are probed')
		for pid in [*drover.balancers(), *drover.monitors(), *writers(drover, output), *probes(), *drover.wardens()]:
			assert in_memory(pid, secrets) == set(), procs.command_line(pid)
	look()
	for w in drover.workers():
		assert [w.env['PASSWORD'], w.env['TOKEN']] == values
	drover.reload(config)
	look()
	old = drover.balancers()
	drover.same_balancers = False
	drover.signal(SIGUSR2)
	drover.wait(lambda: drover.balancers() and not set(drover.balancers()) & set(old), 'an upgrade')
	drover.settle()
	look()
	[warden] = drover.wardens()
	drover.kill_master()
	drover.wait_log('workers go on for 30.0 s', alive=False)
	assert in_memory(warden, secrets) == set()
	drover.start_heir()
	drover.wait(lambda: len(drover.wardens()) == 1, 'one warden')
	look()


RING = 'anon_inode:[io_uring]'


def test_without_io_uring(drover):
	"""Where it is forbidden, as in most containers, the same is done call by call."""
	drover.start(drover.config(), wrapper=['/usr/bin/python3', os.path.join(APPS, 'no_io_uring.py')])
	assert RING not in procs.descriptors(drover.balancers()[0]).values()
	together(drover)


@pytest.mark.skipif(procs.read('/proc/sys/kernel/io_uring_disabled').strip() not in (b'0', b''), reason='this kernel forbids it')
def test_with_io_uring(drover):
	drover.start(drover.config())
	assert RING in procs.descriptors(drover.balancers()[0]).values()
	together(drover)


def together(drover):
	clients = [drover.connect() for _ in range(20)]
	for turn in range(20):
		for number, c in enumerate(clients):
			c.request('POST', '/echo', body=b'%d-%d' % (turn, number))
		for number, c in enumerate(clients):
			assert c.reply().body == b'%d-%d' % (turn, number)
