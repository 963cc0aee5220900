"""The unit of conf/ under a systemd of its own: booted as pid 1 of new namespaces, with no units
but ours.  Where that cannot be, for want of root or of a writable cgroup v2, these are skipped."""
import os
import re
import shutil
import subprocess
import time

import pytest

import procs
from drover import AS_ROOT, BUILD, DROVER, ROOT, SANITIZED, WORKER, Drover
from load import Steady
from procs import wait_until
from wire import Client, WireError

SYSTEMD = '/lib/systemd/systemd'
TARGETS = 'sysinit basic shutdown sockets timers paths slices'.split()

# The release build: sanitizers trace the process at its end, which the unit does not allow.
pytestmark = [pytest.mark.release, pytest.mark.skipif(
	SANITIZED or not AS_ROOT or not os.path.exists(SYSTEMD) or not all(map(shutil.which, ('unshare', 'nsenter', 'systemctl'))),
	reason='needs a build without sanitizers, root, systemd, unshare and nsenter')]

BOOT = '''
echo $$ >"$CGROUP/cgroup.procs" || exit 9
exec unshare --cgroup --mount --uts --ipc --pid --fork --kill-child --mount-proc sh -c '
mount -t cgroup2 none /sys/fs/cgroup && mount -t tmpfs none /run && mkdir -p /run/systemd || exit 9
mount -t tmpfs none /var/log && mount -t tmpfs none /var/lib || exit 9
export container=other
exec "$0" --system --unit=default.target --log-target=console --show-status=no </dev/null' "$0"
'''


def cgroup_root():
	"""Where a writable cgroup v2 is mounted, or None."""
	for line in procs.read('/proc/mounts').decode().splitlines():
		_, place, kind, options = line.split()[:4]
		if kind == 'cgroup2' and 'rw' in options.split(','):
			return place
	return None


class Manager:
	"""A booted systemd, and its systemctl."""

	def __init__(self, folder):
		self.folder, self.units = folder, os.path.join(folder, 'units')
		self.log_file = os.path.join(folder, 'boot.log')
		self.cgroup = os.path.join(cgroup_root(), f'drover-test-{os.getpid()}')
		os.mkdir(self.units)
		os.mkdir(self.cgroup)
		for name in TARGETS:
			self.write(f'{name}.target', '[Unit]\nDefaultDependencies=no\n')
		self.write('default.target', '[Unit]\nDefaultDependencies=no\n')
		with open(self.log_file, 'wb') as log:
			self.process = subprocess.Popen(['sh', '-c', BOOT, SYSTEMD], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
							env={**os.environ, 'CGROUP': self.cgroup, 'SYSTEMD_UNIT_PATH': self.units},
							start_new_session=True)
		self.pid = None

	def write(self, name, text):
		os.makedirs(os.path.dirname(os.path.join(self.units, name)), exist_ok=True)
		with open(os.path.join(self.units, name), 'w', encoding='ascii') as f:
			f.write(text)

	def booted(self):
		if self.process.poll() is not None:
			return False
		unshared = next((p for p in procs.children(self.process.pid)), None)
		if unshared is None or not procs.command_line(unshared).startswith(SYSTEMD):
			return False
		self.pid = unshared
		return self.ctl('is-system-running', '--wait')[1].strip() in ('running', 'degraded')

	def ctl(self, *words):
		done = subprocess.run(['nsenter', '--target', str(self.pid), '--mount', '--uts', '--ipc', '--cgroup', '--pid', 'systemctl',
				       '--no-pager', *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60, check=False)
		return done.returncode, done.stdout

	def show(self, name, unit='drover.service'):
		return self.ctl('show', '--value', '--property', name, unit)[1].strip()

	def end(self):
		self.process.kill()  # with --kill-child its namespaces' pid 1 goes, and all that it has started
		self.process.wait()
		def removed():
			for top, _, _ in os.walk(self.cgroup, topdown=False):
				try:
					os.rmdir(top)
				except OSError:
					return False
			return True
		wait_until(removed, 10, 'its control groups are empty')


@pytest.fixture(scope='module')
def manager(tmp_path_factory):
	if not cgroup_root() or not os.access(cgroup_root(), os.W_OK):
		pytest.skip('no writable cgroup v2')
	m = Manager(str(tmp_path_factory.mktemp('systemd')))
	try:
		end = time.monotonic() + 15
		while not m.booted():
			if m.process.poll() is not None or time.monotonic() > end:
				pytest.skip(f'systemd does not boot here: {procs.read(m.log_file).decode()[-500:]}')
			time.sleep(0.05)
		yield m
	finally:
		m.end()


class Unit:
	"""drover.service of conf/, with the program's and the configuration's real places."""

	def __init__(self, manager, drover, settings=''):
		self.manager, self.drover = manager, drover
		with open(os.path.join(BUILD, 'conf', 'drover.service'), encoding='ascii') as f:
			text = re.sub(r'(Exec\w+=)/\S*/drover ', rf'\g<1>{DROVER} ', f.read())
		text = text.replace('/etc/drover/drover.yaml', drover.config_file)
		text = re.sub(r'^User=.*', 'User=nobody', text, flags=re.M)
		text = re.sub(r'^TemporaryFileSystem=.*\n', '', text, flags=re.M)  # the test's files lie there
		manager.write('drover.service', text.replace('[Install]', f'StandardError=file:{drover.log_file}\n'
							     f'StandardOutput=file:{drover.out_file}\n{settings}\n[Install]'))
		drover.write_config(self.config())
		manager.ctl('daemon-reload')
		manager.ctl('reset-failed')

	def config(self, **more):
		return self.drover.config({'command': [WORKER], 'instances': 2}, log={'access': 'off'}, balancers=2, **more)

	def ctl(self, verb, expected=0):
		status, text = self.manager.ctl(verb, 'drover.service')
		assert (status == 0) == (expected == 0), f'{text}\n{self.drover.log()}'

	def main_pid(self):
		"""As seen from here."""
		for pid in procs.all_pids():
			if procs.command_line(pid).startswith('drover: master') and self.drover.name in procs.command_line(pid):
				return pid
		return None


@pytest.fixture
def unit(manager, request):
	d = Drover()
	os.chmod(d.dir, 0o777)
	u = Unit(manager, d, getattr(request, 'param', ''))
	try:
		yield u
	finally:
		manager.ctl('stop', 'drover.socket', 'drover.service')
		print(d.all_output())
		d.remove_files()


def inside(pid):
	return dict(re.findall(r'^(\w+):\s*(.*)$', procs.read(f'/proc/{pid}/status').decode(), re.M))


def test_start_reload_stop(unit):
	unit.ctl('start')
	m, d = unit.manager, unit.drover
	assert m.show('ActiveState') == 'active'
	wait_until(lambda: m.show('StatusText').startswith('2 of 2 workers up'), 10, lambda: m.show('StatusText'))
	assert d.answers() == 200
	assert 'sandbox:' not in d.log(), d.log()
	master = unit.main_pid()
	balancers = [p for p in procs.children(master) if procs.command_line(p).startswith('drover: balancer')]
	assert len(balancers) == 2
	for pid in balancers:  # the unit's filter, and ours
		assert int(inside(pid)['Seccomp_filters']) == int(inside(master)['Seccomp_filters']) + 1
		assert inside(pid)['CapEff'] == '0' * 16
	unit.ctl('reload')
	d.wait_release = wait_until(lambda: re.search('generation 2', m.show('StatusText')), 20, lambda: m.show('StatusText'))
	assert m.show('ActiveState') == 'active' and unit.main_pid() == master and d.answers() == 200
	d.write_config('listen: [')
	unit.ctl('reload', expected=1)
	assert m.show('ActiveState') == 'active' and d.answers() == 200
	unit.ctl('stop')
	assert m.show('Result') == 'success' and m.show('ActiveState') == 'inactive'
	assert not unit.main_pid()


def workers(unit):
	found = [p for p in procs.all_pids() if procs.environment(p).get('DROVER_APP') and
		 procs.command_line(p).startswith(WORKER) and procs.alive(p)]
	return sorted(p for p in found if unit.manager.cgroup.rsplit('/', 1)[1] in procs.read(f'/proc/{p}/cgroup').decode())


def test_killed_master_is_succeeded(unit):
	"""systemd starts another, which takes everything over: no request is lost, the workers stay."""
	unit.ctl('start')
	first, before = unit.main_pid(), workers(unit)
	assert len(before) == 2
	address = ('127.0.0.1', unit.drover.port)
	clients = [Steady(address, threads=2), Steady(address, threads=2, keep_alive=False)]
	for _ in range(3):
		os.kill(first, 9)
		wait_until(lambda: unit.main_pid() not in (None, first) and unit.manager.show('ActiveState') == 'active', 20, 'a new master')
		first = unit.main_pid()
	for c in clients:
		c.stop()
		assert not c.failures and len(c.replies) > 20, c.failures[:5]
	assert workers(unit) == before
	unit.ctl('reload')
	wait_until(lambda: len(workers(unit)) == 2 and not set(workers(unit)) & set(before), 20, 'new workers')
	unit.ctl('stop')
	assert unit.manager.show('Result') == 'success' and not workers(unit)


@pytest.mark.parametrize('unit', ['Restart=no'], indirect=True)
def test_nobody_succeeds_a_killed_master(unit):
	unit.drover.write_config(unit.config(adopt='1s', shutdown={'soft': '300ms', 'hard': '600ms'}))
	unit.ctl('start')
	os.kill(unit.main_pid(), 9)
	wait_until(lambda: unit.manager.show('ActiveState') == 'failed', 10, lambda: unit.manager.show('ActiveState'))
	wait_until(lambda: not workers(unit), 15, 'all end')


@pytest.mark.parametrize('unit', ['WatchdogSec=1'], indirect=True)
def test_master_that_stands_still_is_restarted(unit):
	unit.ctl('start')
	first = unit.main_pid()
	time.sleep(2.5)  # nothing may happen in this time
	assert unit.main_pid() == first
	os.kill(first, 19)
	wait_until(lambda: unit.main_pid() not in (None, first) and unit.manager.show('ActiveState') == 'active', 30, 'a new master')
	assert unit.manager.show('NRestarts') == '1'


@pytest.mark.parametrize('unit', ['TimeoutStopSec=1'], indirect=True)
def test_drain_may_take_longer_than_the_unit_says(unit):
	unit.drover.write_config(unit.drover.config({'instances': 1}, log={'access': 'off'}, shutdown={'soft': '10s', 'hard': '20s'}))
	unit.ctl('start')
	with Client(('127.0.0.1', unit.drover.port)) as c:
		c.request(target='/slow?ms=4000')
		time.sleep(0.3)  # until it is in flight
		unit.manager.ctl('stop', '--no-block', 'drover.service')
		assert c.reply().status == 200
	wait_until(lambda: unit.manager.show('ActiveState') == 'inactive', 10, lambda: unit.manager.show('ActiveState'))
	assert unit.manager.show('Result') == 'success'


@pytest.mark.parametrize('unit', ['Restart=no'], indirect=True)
def test_the_first_connection_starts_it(unit):
	with open(os.path.join(ROOT, 'conf', 'drover.socket'), encoding='ascii') as f:
		text = re.sub(r'^ListenStream=.*', f'ListenStream=127.0.0.1:{unit.drover.port}', f.read(), flags=re.M)
	unit.manager.write('drover.socket', text)
	unit.drover.write_config(unit.config(adopt='0s', shutdown={'soft': '100ms', 'hard': '200ms'}))
	unit.manager.ctl('daemon-reload')
	assert unit.manager.ctl('start', 'drover.socket')[0] == 0
	assert not unit.main_pid()
	try:
		assert unit.drover.answers() == 200
	except (OSError, WireError) as e:
		raise AssertionError(unit.drover.log()) from e
	wait_until(lambda: 'from the service manager' in unit.drover.log(), 10, unit.drover.log)
	# A master that is killed leaves the socket as it had set it: that is systemd's to poll, and starts another.
	os.kill(unit.main_pid(), 9)
	wait_until(lambda: unit.manager.show('ActiveState') == 'failed' and not workers(unit), 15, unit.drover.log)
	assert unit.drover.answers() == 200 and unit.main_pid()
