"""The files in conf/ for systemd and logrotate, looked at by their own tools where they are installed."""
import os
import re
import shutil
import subprocess

import pytest

from drover import AS_ROOT, BUILD, DROVER, ROOT
from manager import Notify

pytestmark = pytest.mark.release

CONF = os.path.join(ROOT, 'conf')
UNIT = os.path.join(BUILD, 'conf', 'drover.service')
EXPOSURE_MAX = 2.5


def needs(tool):
	return pytest.mark.skipif(not shutil.which(tool), reason=f'no {tool} here')


def run(*words):
	done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60, check=False)
	return done.returncode, done.stdout


def settings(name):
	with open(UNIT, encoding='utf-8') as f:
		return re.findall(rf'^{name}=(.*)$', f.read(), re.M)


@needs('systemd-analyze')
def test_unit_is_hardened():
	status, text = run('systemd-analyze', 'security', '--offline=true', '--no-pager', UNIT)
	found = re.search(r'Overall exposure level for drover\.service: ([\d.]+)', text)
	assert found, f'status {status}: {text}'
	assert float(found[1]) <= EXPOSURE_MAX, text


@needs('systemd-analyze')
def test_units_are_understood(tmp_path):
	"""As they are, but for the place of the program, which is not installed."""
	for name, source in (('drover.service', UNIT), ('drover.socket', os.path.join(CONF, 'drover.socket'))):
		with open(source, encoding='utf-8') as f:
			text = re.sub(r'(Exec\w+=)/\S*/drover ', rf'\g<1>{DROVER} ', f.read())
		assert 'Exec' not in text or DROVER in text
		(tmp_path / name).write_text(text)
	status, text = run('systemd-analyze', 'verify', '--man=no', str(tmp_path / 'drover.service'), str(tmp_path / 'drover.socket'))
	complaints = [line for line in text.splitlines() if 'drover' in line]
	assert status == 0 and not complaints, text


@needs('systemd-tmpfiles')
@needs('systemd-sysusers')
@pytest.mark.skipif(not AS_ROOT, reason='needs root')
def test_directories_and_user(tmp_path):
	(tmp_path / 'etc').mkdir()
	shutil.copy('/etc/passwd', tmp_path / 'etc')
	shutil.copy('/etc/group', tmp_path / 'etc')
	for tool, words, file in (('systemd-sysusers', (), 'drover.sysusers'), ('systemd-tmpfiles', ('--create',), 'drover.tmpfiles')):
		status, text = run(tool, f'--root={tmp_path}', *words, os.path.join(CONF, file))
		assert status == 0, text
	assert re.search(r'^drover:', (tmp_path / 'etc' / 'passwd').read_text(), re.M)
	assert (tmp_path / 'run' / 'drover').stat().st_mode & 0o777 == 0o755


@needs('logrotate')
@pytest.mark.skipif(not AS_ROOT, reason='needs root')
def test_logrotate_understands(tmp_path):
	shutil.copy(os.path.join(CONF, 'drover.logrotate'), tmp_path / 'drover')
	os.chmod(tmp_path / 'drover', 0o644)
	status, text = run('logrotate', '--debug', '--state', str(tmp_path / 'state'), str(tmp_path / 'drover'))
	assert status == 0 and 'error' not in text, text


@needs('setpriv')
@pytest.mark.skipif(not AS_ROOT, reason='needs root')
def test_runs_with_the_rights_of_the_unit(drover):
	"""An unprivileged master with these capabilities and no new ones: a low port and an app, and an orderly end."""
	caps = ','.join('+' + c.removeprefix('CAP_').lower() for c in settings('CapabilityBoundingSet')[0].split())
	assert settings('NoNewPrivileges') == ['yes'] and settings('User') == ['drover']
	os.chown(drover.dir, 65534, 65534)
	os.chown(drover.runtime_dir, 65534, 65534)
	low = next(p for p in range(1023, 800, -1) if free(p))
	notify = Notify(drover.path('notify'))
	drover.cleanups.append(notify.close)
	drover.start(drover.config(listen=[f'127.0.0.1:{drover.port}', f'127.0.0.1:{low}']), env=notify.environment,
		     wrapper=['setpriv', '--reuid=65534', '--regid=65534', '--clear-groups', '--no-new-privs',
			      f'--bounding-set=-all,{caps}', f'--inh-caps=-all,{caps}', f'--ambient-caps=-all,{caps}'])
	drover.wait(lambda: notify.said('READY'), 'READY=1')
	drover.wait_log(f'listening on 127.0.0.1:{low}$')
	drover.stop()


def free(port):
	import socket
	with socket.socket() as s:
		try:
			s.bind(('127.0.0.1', port))
			return True
		except OSError:
			return False
