"""A worker's port is free when it is chosen, and somebody else's when the worker binds it."""
import os
import re
import socket

import pytest

import procs
from drover import app_command

pytestmark = pytest.mark.release


class Stranger:
	"""Listens on a port; what is sent there was meant for somebody else."""

	def __init__(self, port):
		self.socket = socket.socket()
		self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
		self.socket.bind(('127.0.0.1', int(port)))
		self.socket.listen(64)
		self.socket.settimeout(0.2)

	def sent(self):
		"""Bytes on all connections so far, each of which is closed."""
		data = b''
		try:
			while True:
				with self.socket.accept()[0] as c:
					c.settimeout(0.2)
					try:
						data += c.recv(4096)
					except TimeoutError:
						pass
		except TimeoutError:
			return data

	def close(self):
		self.socket.close()


@pytest.fixture
def slow(drover):
	"""One scripted worker that takes so long to bind; and somebody who is quicker."""
	control, strangers = drover.path('control'), []
	os.mkdir(control)
	os.chmod(control, 0o777)

	def start(seconds, **app):
		with open(os.path.join(control, 'delay'), 'w', encoding='ascii') as f:
			f.write(str(seconds))
		drover.write_config(drover.config({'command': app_command('scripted.py'), 'env': {'CONTROL': control}, 'instances': 1,
						   'restart': {'backoff_min': '10ms'}, **app}))
		drover.launch()
		worker = drover.wait(drover.workers, 'a worker starts')[0]
		strangers.append(Stranger(worker.port))
		return worker, strangers[0]
	drover.start_slow = start
	yield drover
	for s in strangers:
		s.close()


@pytest.mark.parametrize('ready', [{'type': 'port'}, {'type': 'http', 'path': '/'}], ids=['port', 'http'])
def test_no_request_goes_to_who_took_the_port(slow, ready):
	first, stranger = slow.start_slow(1, ready=ready)
	with slow.connect() as c:
		c.request('POST', '/', body=b'confidential')
		assert c.reply().text.split()[1] != str(first.pid)
	assert stranger.sent() == b''
	slow.wait_log(rf'pid {first.pid}\) ended before it was ready: .*port {first.port} was taken by somebody else: trying another')


def test_failed_release_is_not_taken_for_ready(slow):
	"""What is said while it waits names the reason."""
	worker, stranger = slow.start_slow(60, ready={'type': 'port', 'timeout': '1500ms'})
	slow.wait_log(rf'{re.escape(str(worker.pid))}\) was not ready within .* was taken by a process that is none of the worker')
	assert stranger.sent() == b''


def test_somebody_listens_for_the_worker_on_purpose(slow):
	"""As with `docker run`: the worker stays, so what listens there is believed after a while."""
	worker, stranger = slow.start_slow(60)
	slow.wait_log(rf'app app: .* is none of the worker.s \(pid {worker.pid}\)', 10)
	slow.wait_log(rf'pid {worker.pid}\) ready on 127.0.0.1:{worker.port}')
	with slow.connect() as c:
		c.request('GET', '/')
		slow.wait(lambda: b'GET / ' in stranger.sent(), 'it is asked')


def test_listener_of_a_child(drover):
	"""Behind a shell, the application's socket is the worker's all the same."""
	os.mkdir(drover.path('c'))
	os.chmod(drover.path('c'), 0o777)
	drover.start(drover.config({'command': ['sh', '-c', '"$0" "$@"; exit $?', *app_command('scripted.py')],
				    'env': {'CONTROL': drover.path('c')}}))
	# Workers serve a moment before the master knows: its word is waited for.
	drover.wait_log('app app: all 2 workers ready')
	assert len(re.findall(r'ready on \S+ in [\d.]+ s', drover.log())) == 2 and 'none of the worker' not in drover.log()
	assert all(procs.children(w.pid) for w in drover.workers())
