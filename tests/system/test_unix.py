"""Unix sockets on both sides: bind: unix for workers, unix: addresses for clients and servers."""
import os
import signal
import socket
import stat
from collections import Counter

from drover import app_command
from peers import Peer
from procs import wait_until
from wire import Client


def over_unix(drover):
	return drover.config({'bind': 'unix', 'instances': 3})


def test_workers_on_unix_sockets(drover):
	drover.start(over_unix(drover))
	paths = {w.port for w in drover.workers()}
	assert len(paths) == 3 and all(p.startswith('/') for p in paths)
	assert all('HOST' not in w.env for w in drover.workers())
	with drover.connect() as c:
		got = Counter(c.ask(target='/instance').text.strip() for _ in range(30))
	assert set(got.values()) == {10}
	assert drover.ask('POST', '/echo', body=b'x' * 300000).body == b'x' * 300000
	drover.stop()
	assert not [p for p in paths if os.path.exists(p)], 'its sockets are gone with it'


def test_crash_and_reload_with_unix_sockets(drover):
	drover.start(over_unix(drover))
	drover.worker(0).kill()
	for _ in range(20):
		assert drover.get('/instance').status == 200
	drover.wait_serving(3)
	old = {w.port for w in drover.workers()}
	drover.reload()
	assert drover.get('/instance').status == 200
	paths = {w.port for w in drover.workers()}
	folders = {os.path.dirname(p) for p in paths}
	sockets = {os.path.join(f, n) for f in folders for n in os.listdir(f) if stat.S_ISSOCK(os.stat(os.path.join(f, n)).st_mode)}
	assert not [p for p in old if p in sockets - paths], 'the sockets of the workers that went are gone'


def test_from_port_to_unix_by_reload(drover):
	drover.start()
	drover.reload(drover.config({'bind': 'unix'}))
	assert all('/' in w.port for w in drover.workers())
	assert drover.get('/instance').status == 200


def test_listen_on_a_unix_socket(drover):
	path = drover.path('http.sock')
	drover.start(drover.config(listen=[f'unix:{path}', f'127.0.0.1:{drover.port}'], balancers=2))
	with Client(path) as c:
		for _ in range(10):
			assert c.ask(target='/instance').status == 200
	drover.stop()
	assert not os.path.exists(path)


def test_stale_socket_is_taken_over(drover):
	"""A file that nobody listens behind, as a power cut leaves it."""
	path = drover.path('http.sock')
	with socket.socket(socket.AF_UNIX) as dead:
		dead.bind(path)
	drover.start(drover.config(listen=[f'unix:{path}', f'127.0.0.1:{drover.port}']))
	with Client(path) as c:
		assert c.ask(target='/instance').status == 200


def test_start_after_a_killed_master(drover):
	path = drover.path('http.sock')
	config = drover.config(listen=[f'unix:{path}', f'127.0.0.1:{drover.port}'], adopt='0s',
			       shutdown={'soft': '200ms', 'hard': '400ms'})
	drover.start(config)
	drover.signal(signal.SIGKILL)
	drover.process.wait()
	wait_until(lambda: not drover.left(), 15, lambda: f'all of the killed master ends: {drover.left()}')
	drover.start(config)
	with Client(path) as c:
		assert c.ask(target='/instance').status == 200


def test_unix_socket_in_use_is_not_taken(drover, new_drover):
	path = drover.path('http.sock')
	drover.start(drover.config(listen=[f'unix:{path}', f'127.0.0.1:{drover.port}']))
	other = new_drover()
	other.write_config(other.config(listen=[f'unix:{path}']))
	other.launch()
	assert other.wait_exit() == 1
	assert 'http.sock' in other.log() and 'in use' in other.log()
	with Client(path) as c:
		assert c.ask(target='/instance').status == 200


def test_servers_on_unix_sockets(drover):
	peers = [Peer(address=drover.path(f'{i}.sock')) for i in range(2)]
	for p in peers:
		os.chmod(p.socket.getsockname(), 0o777)
		drover.cleanups.append(p.close)
	drover.start(drover.config({'servers': [p.server for p in peers]}))
	before = [len(p.requests) for p in peers]
	for _ in range(10):
		assert drover.get().status == 200
	assert [len(p.requests) - b for p, b in zip(peers, before)] == [5, 5]


def test_listen_on_a_unix_socket_survives_reload(drover):
	path = drover.path('http.sock')
	drover.start(drover.config(listen=[f'unix:{path}', f'127.0.0.1:{drover.port}']))
	before = os.stat(path).st_ino
	drover.reload()
	assert os.stat(path).st_ino == before
	with Client(path) as c:
		assert c.ask(target='/instance').status == 200


def test_scripted_worker_on_a_unix_socket(drover):
	os.mkdir(drover.path('control'))
	os.chmod(drover.path('control'), 0o777)
	drover.start(drover.config({'command': app_command('scripted.py'), 'bind': 'unix', 'env': {'CONTROL': drover.path('control')}}))
	assert drover.get('/once/a').status == 200
