"""What the kernel allows the workers: limits, nice value, processors, control groups."""
import os
import re

import pytest

import procs
from drover import AS_ROOT


def limits_of(pid):
	rows = {}
	for line in procs.read(f'/proc/{pid}/limits').decode().splitlines()[1:]:
		name, soft, hard = re.match(r'(Max .*?)\s{2,}(\S+)\s+(\S+)', line).groups()
		rows[name] = (soft, hard)
	return rows


def test_limits_are_those_of_the_workers_alone(drover):
	drover.start(drover.config({'limits': {'nofile': 500, 'core': 0, 'fsize': '1GiB', 'stack': '4MiB', 'memlock': '64KiB'}}))
	got = limits_of(drover.worker().pid)
	assert got['Max open files'] == ('500', '500')
	assert got['Max core file size'] == ('0', '0')
	assert got['Max file size'] == (str(1 << 30),) * 2
	assert got['Max stack size'] == (str(4 << 20),) * 2
	assert got['Max locked memory'] == ('65536', '65536')
	ours = limits_of(drover.pid)
	assert ours['Max open files'] != ('500', '500') and got['Max processes'] == ours['Max processes']
	assert limits_of(drover.balancers()[0])['Max open files'] == ours['Max open files']


def test_nice_and_processors(drover):
	cpus = sorted(os.sched_getaffinity(0))
	drover.start(drover.config({'nice': 7, 'cpus': str(cpus[-1])}))
	pid = drover.worker().pid
	assert os.getpriority(os.PRIO_PROCESS, pid) == os.getpriority(os.PRIO_PROCESS, 0) + 7
	assert os.sched_getaffinity(pid) == {cpus[-1]}
	assert os.sched_getaffinity(drover.pid) == set(cpus)


def test_limit_that_cannot_be_set_fails_the_release_with_a_remedy(drover):
	"""No machine has processor 1000."""
	drover.start()
	old = [w.pid for w in drover.workers()]
	drover.write_config(drover.config({'cpus': '1000'}))
	drover.signal(1)
	drover.wait_log(r'cannot start worker 0: cannot bind it to its cpus: Invalid argument; does the machine have any of them')
	drover.wait_log('keeping release 1')
	assert [w.pid for w in drover.workers()] == old
	drover.wait(lambda: len(drover.balancers()) == 1, 'one generation')
	drover.settle()


@pytest.mark.skipif(not AS_ROOT, reason='needs root')
def test_limits_of_a_worker_of_another_user(drover):
	drover.start(drover.config({'user': 'nobody', 'limits': {'memlock': '32KiB', 'core': 0}, 'nice': 5}))
	pid = drover.worker().pid
	got = limits_of(pid)
	assert got['Max locked memory'] == ('32768', '32768') and got['Max core file size'] == ('0', '0')
	assert os.getpriority(os.PRIO_PROCESS, pid) == os.getpriority(os.PRIO_PROCESS, 0) + 5


def test_control_group_or_a_warning(drover):
	"""Where the kernel has none that may be divided, this is said, and the workers run."""
	drover.start(drover.config({'limits': {'memory': '512MiB', 'cpu': '150%'}}))
	assert drover.get('/instance').status == 200
	group = procs.read(f'/proc/{drover.worker().pid}/cgroup').decode()
	if '/app-app' not in group:
		assert drover.log().count('limits.memory and limits.cpu of apps have no effect: ') == 1


@pytest.fixture
def group():
	"""A control group of its own, as a service has; what is left in it is killed at the end."""
	top = next((place for _, place, kind, options, *_ in (line.split() for line in procs.read('/proc/mounts').decode().splitlines())
		    if kind == 'cgroup2' and 'rw' in options.split(',')), None)
	path = os.path.join(top or '', f'drover-limits-{os.getpid()}')
	try:
		os.mkdir(path)
	except OSError as e:
		pytest.skip(f'no control group of version 2 that may be written: {e}')
	yield path
	with open(os.path.join(path, 'cgroup.kill'), 'w', encoding='ascii') as f:
		f.write('1')
	for folder, _, _ in os.walk(path, topdown=False):
		os.rmdir(folder)


def test_in_a_group_of_its_own(drover, group):
	"""Divided where the controllers are passed on; else a warning names what is missing, and nothing is moved."""
	def group_of(pid):
		return re.search(r'^0::(.*)$', procs.read(f'/proc/{pid}/cgroup').decode(), re.M)[1]
	own = '/' + os.path.basename(group)
	drover.start(drover.config({'limits': {'memory': '512MiB', 'cpu': '150%'}}),
		     wrapper=['/bin/sh', '-c', f'echo $$ >{group}/cgroup.procs && exec "$@"', 'sh'])
	passed_on = {'memory', 'cpu'} <= set(procs.read(group + '/cgroup.controllers').decode().split())
	others = [drover.pid, *drover.balancers(), *drover.monitors(), *drover.wardens()]
	if passed_on:
		assert {group_of(p) for p in others} == {own + '/drover'}
		assert {group_of(w.pid) for w in drover.workers()} == {own + '/app-app'}
		assert procs.read(group + '/app-app/memory.max') == b'536870912\n'
		assert procs.read(group + '/app-app/cpu.max') == b'150000 100000\n'
	else:
		assert {group_of(p) for p in [*others, *(w.pid for w in drover.workers())]} == {own}
		assert drover.log().count('the controllers memory and cpu are not passed on to drover\'s control group') == 1
		assert [f for f in os.listdir(group) if os.path.isdir(os.path.join(group, f))] == []
	drover.reload()
	drover.stop()
	assert procs.read(group + '/cgroup.procs') == b''
