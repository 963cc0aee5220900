"""Which rights the master keeps, and what a worker begins with."""
import json
import os
import re
import signal

import pytest

import procs
from drover import AS_ROOT, bundled

pytestmark = pytest.mark.release

CAPABILITIES = ('chown dac_override dac_read_search fowner fsetid kill setgid setuid setpcap linux_immutable '
		'net_bind_service net_broadcast net_admin net_raw ipc_lock ipc_owner sys_module sys_rawio sys_chroot '
		'sys_ptrace sys_pacct sys_admin sys_boot sys_nice sys_resource').split()
KEPT = set('chown dac_override fowner kill setgid setuid setpcap net_bind_service sys_nice sys_ptrace sys_resource'.split())

# Reports what it was born with, then serves as any worker does.
WORKER = '''
import http.server, json, os, sys
fds = {n: os.readlink('/proc/self/fd/' + n) for n in os.listdir('/proc/self/fd') if os.path.exists('/proc/self/fd/' + n)}
status = dict(line.split(':', 1) for line in open('/proc/self/status').read().splitlines())
mask = os.umask(0); os.umask(mask)
with open(sys.argv[1] + '.' + os.environ['INSTANCE'], 'w') as f:
	json.dump({'fds': fds, 'status': {k: v.strip() for k, v in status.items()}, 'umask': mask,
		   'groups': os.getgroups(), 'pgid': os.getpgid(0) == os.getpid()}, f)
class Handler(http.server.BaseHTTPRequestHandler):
	protocol_version = 'HTTP/1.1'
	def do_GET(self):
		self.send_response(200); self.send_header('Content-Length', '2'); self.end_headers(); self.wfile.write(b'ok')
	def log_message(self, *a): pass
http.server.ThreadingHTTPServer(('127.0.0.1', int(os.environ['PORT'])), Handler).serve_forever()
'''


def status(pid):
	lines = procs.read(f'/proc/{pid}/status').decode().splitlines()
	return {k: v.strip() for k, v in (line.split(':', 1) for line in lines)}


def names(mask):
	bits = int(mask, 16)
	return {n for i, n in enumerate(CAPABILITIES) if bits >> i & 1} | ({'more'} if bits >> len(CAPABILITIES) else set())


@pytest.fixture
def born(drover):
	"""Starts workers that report, and gives the reports."""
	folder = drover.path('reports')
	os.mkdir(folder)
	os.chmod(folder, 0o777)

	def start(app=(), **launch):
		program = drover.path('worker.py')
		with open(program, 'w', encoding='ascii') as f:
			f.write(WORKER)
		app = {'command': ['/usr/bin/python3', program, os.path.join(folder, 'r')], 'instances': 2, **dict(app)}
		drover.start(drover.config(app), **launch)
		return [json.loads(procs.read(os.path.join(folder, f'r.{i}'))) for i in range(2)]
	drover.start_reporting = start
	return drover


def check_clean(report):
	# 3 is the open folder itself; Python opens the program by name before and closes it.
	assert {int(n) for n in report['fds']} <= {0, 1, 2}, report['fds']
	assert report['fds']['0'] == '/dev/null'
	assert all(report['fds'][n].startswith('pipe:') for n in '12')
	s = report['status']
	assert s['SigBlk'] == '0' * 16
	# Python itself ignores SIGPIPE and SIGXFSZ.
	assert int(s['SigIgn'], 16) & ~(1 << signal.SIGPIPE - 1 | 1 << signal.SIGXFSZ - 1) == 0
	assert s['CapAmb'] == s['CapInh'] == '0' * 16
	assert report['pgid']


def test_worker_begins_clean(born):
	old = os.umask(0o027)
	try:
		reports = born.start_reporting()
	finally:
		os.umask(old)
	for report in reports:
		check_clean(report)
		assert report['umask'] == 0o027, 'as of whoever started drover'


@pytest.mark.skipif(not AS_ROOT, reason='needs root')
def test_worker_of_another_user(born):
	for report in born.start_reporting({'user': 'nobody'}):
		check_clean(report)
		s = report['status']
		assert set(s['Uid'].split()) == {'65534'} and set(s['Gid'].split()) == {'65534'}
		assert set(report['groups']) <= {65534}
		assert {s['CapEff'], s['CapPrm']} == {'0' * 16}


@pytest.mark.skipif(not AS_ROOT, reason='needs root')
def test_root_worker_is_as_without_us(born):
	ours = status(os.getpid())
	for report in born.start_reporting():
		assert report['status']['CapBnd'] == ours['CapBnd']
		assert int(report['status']['CapEff'], 16) == int(ours['CapBnd'], 16)
		assert report['status']['NoNewPrivs'] == ours['NoNewPrivs']


@pytest.mark.skipif(not AS_ROOT, reason='needs root')
def test_master_keeps_what_it_works_with(drover):
	drover.start(drover.config({'user': 'nobody'}))
	possible = names(status(os.getpid())['CapPrm'])
	for pid in (drover.pid, *drover.wardens()):
		s = status(pid)
		assert names(s['CapEff']) == names(s['CapPrm']) == KEPT & possible
		assert s['CapAmb'] == '0' * 16
	drover.reload()
	assert names(status(drover.pid)['CapEff']) == KEPT & possible


@pytest.mark.skipif(not AS_ROOT, reason='needs root')
def test_without_root_nothing_is_needed(born):
	"""As under the unit: a user with the right to low ports, which workers do not get."""
	os.chown(born.dir, 65534, 65534)
	os.chown(born.runtime_dir, 65534, 65534)
	cap = 'net_bind_service'
	reports = born.start_reporting(wrapper=[
		'setpriv', '--reuid=65534', '--regid=65534', '--clear-groups', f'--inh-caps=-all,+{cap}', f'--ambient-caps=-all,+{cap}'])
	assert names(status(born.pid)['CapEff']) == {cap}
	for report in reports:
		assert report['status']['CapAmb'] == report['status']['CapEff'] == '0' * 16
	for pid in born.balancers():
		s = status(pid)
		assert {s[n] for n in ('CapInh', 'CapPrm', 'CapEff', 'CapAmb')} == {'0' * 16}
		assert s['NoNewPrivs'] == '1'


def test_probe_is_inside(drover):
	"""The process that reads what a starting worker answers."""
	drover.write_config(drover.config({'command': bundled(), 'instances': 1,
					   'ready': {'type': 'http', 'path': '/nowhere', 'timeout': '20s'}}))
	drover.launch()
	find = lambda: [p for p in drover.children() if procs.command_line(p) == 'drover: probe']
	pid = drover.wait(find, 'a probe')[0]
	drover.wait(lambda: status(pid).get('Seccomp') in ('0', '2') and status(pid)['NoNewPrivs'] == '1', 'it is inside')
	s = drover.wait(lambda: (lambda s: s if s.get('Seccomp') == '2' else None)(status(pid)), 'its filter')
	assert s['CapEff'] == s['CapPrm'] == '0' * 16
	maps = procs.read(f'/proc/{pid}/maps').decode()
	assert not re.search('memfd:drover', maps), 'neither roster nor tally'
	drover.stop()
