"""scripts/bench goes on working: it measures, it says what is wrong, it leaves nothing behind."""
import json
import os
import signal
import subprocess

import pytest

import procs
from drover import BUILD, PATIENCE, ROOT

BENCH = os.path.join(ROOT, 'scripts', 'bench')

# Answers like a server that fails after the first replies.  The config is JSON.
FAILING = '''#!/usr/bin/python3
import http.server, json, sys
left = [3]
class Handler(http.server.BaseHTTPRequestHandler):
	protocol_version = 'HTTP/1.1'
	def do_GET(self):
		left[0] -= 1
		self.send_response(200 if left[0] > 0 else 503)
		self.send_header('Content-Length', '0')
		self.end_headers()
	def log_message(self, *words):
		pass
if '--version' in sys.argv:
	sys.exit()
host, port = json.load(open(sys.argv[3]))['listen'][0].split(':')
http.server.ThreadingHTTPServer((host, int(port)), Handler).serve_forever()
'''


def bench(*words, **options):
	return subprocess.run(['/usr/bin/python3', BENCH, '--build', BUILD, *words], capture_output=True, text=True,
			      timeout=60, **options)


@pytest.mark.load
def test_it_measures(tmp_path):
	done = bench('--secs', '1', '--rounds', '1', '--scenario', 'small', '--targets', 'drover',
		     '--json', str(tmp_path / 'out'))
	assert done.returncode == 0, done.stdout + done.stderr
	found = json.loads((tmp_path / 'out').read_text())['scenarios']['small']['targets']['drover']
	assert found['rps'] > 100, done.stdout
	assert 1 < found['cpu_us'] < 1000, done.stdout
	assert 0.5 < found['pss_mib'] < 100, done.stdout


@pytest.mark.load
def test_failures_are_loud(tmp_path):
	fake = tmp_path / 'drover'
	fake.write_text(FAILING)
	fake.chmod(0o755)
	done = bench('--secs', '1', '--rounds', '1', '--scenario', 'small', '--targets', 'drover', '--drover', str(fake))
	assert done.returncode == 1, done.stdout
	assert 'small: FAILED' in done.stderr and 'Non-2xx' in done.stderr


@pytest.mark.load
def test_what_is_missing_is_named(tmp_path):
	done = bench('--scenario', 'small', env={'PATH': str(tmp_path)})
	assert done.returncode == 2, done.stdout
	assert 'wrk' in done.stderr and 'apt-get install' in done.stderr and 'scripts/setup bench' in done.stderr


def descendants(pid):
	found = procs.children(pid)
	for p in found:
		found += procs.children(p)
	return found


@pytest.mark.load
@pytest.mark.parametrize('signum', [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_leaves_nothing(tmp_path, signum):
	p = subprocess.Popen(['/usr/bin/python3', BENCH, '--build', BUILD, '--scenario', 'unix', '--targets', 'drover'],
			     stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=dict(os.environ, TMPDIR=str(tmp_path)))
	try:
		procs.wait_until(lambda: any('--latency' in procs.command_line(q) for q in descendants(p.pid)), PATIENCE,
				 'load is on')
		started = descendants(p.pid)
		p.send_signal(signum)
		p.wait(PATIENCE)
	finally:
		p.kill()
		p.wait()
	assert p.returncode in (130, 143)
	assert len(started) > 5
	assert [q for q in started if procs.alive(q)] == []
	assert os.listdir(tmp_path) == []
