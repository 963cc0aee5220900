"""The service manager's descriptor store: listening sockets outlive drover."""
import os
import socket
import sys
from signal import SIGUSR2

import pytest

import drover as d
import procs
from manager import Notify
from procs import wait_until
from wire import Client

pytestmark = pytest.mark.release

MANAGER = [sys.executable, os.path.join(d.ROOT, 'tests/system/manager.py')]


@pytest.fixture
def notify(drover):
	n = Notify(drover.path('notify'))
	drover.cleanups.append(n.close)
	return n


def as_manager(notify, room='16'):
	"""How systemd starts a service with FileDescriptorStoreMax=: what is stored comes along."""
	wrapper = [*MANAGER, *(f'{name}=stored:{fd}' for name, fd in notify.store), '--'] if notify.store else ()
	return {'env': {**notify.environment, 'FDSTORE': room}, 'wrapper': wrapper, 'pass_fds': [fd for _, fd in notify.store]}


def start(drover, notify, config=None, room='16'):
	drover.start(config or drover.config(balancers=2), **as_manager(notify, room))


def test_who_connects_between_two_starts_is_served(drover, notify):
	start(drover, notify)
	drover.wait(lambda: notify.listen() and len(notify.store) == 2, 'both sockets are stored')
	name = f'drover-listen-127.0.0.1_{drover.port}'
	assert [n for n, _ in notify.store] == [name, name]
	assert not any(k.startswith('FDSTORE') for w in drover.workers() for k in procs.environment(w.pid))
	drover.stop()
	waiting = [drover.connect() for _ in range(8)]  # nobody runs: their handshakes are the kernel's
	for c in waiting:
		c.request(target='/instance')
	start(drover, notify)
	for c in waiting:
		assert c.reply().status == 200
	assert len(notify.listen() and notify.store) == 2, 'what came from the store is not stored again'
	assert 'no address of listen' not in drover.log()


def test_more_balancers_than_were_stored(drover, notify):
	start(drover, notify, drover.config(balancers=1))
	drover.wait(lambda: notify.listen() and len(notify.store) == 1, 'its socket is stored')
	drover.stop()
	start(drover, notify, drover.config(balancers=3))
	drover.wait(lambda: notify.listen() and len(notify.store) == 3, 'the new ones are stored too')
	for _ in range(30):
		assert drover.get().status == 200


def test_an_address_that_leaves_is_forgotten(drover, notify):
	other = procs.free_port()
	both = drover.config(listen=[f'127.0.0.1:{drover.port}', f'127.0.0.1:{other}'])
	start(drover, notify, both)
	drover.wait(lambda: notify.listen() and len(notify.store) == 2, 'both addresses are stored')
	drover.descriptors_kept = False
	drover.reload(drover.config())
	drover.wait(lambda: notify.listen() and len(notify.store) == 1, 'one is forgotten')
	with pytest.raises(ConnectionRefusedError):
		socket.create_connection(('127.0.0.1', other)).close()


def test_a_stored_address_that_nobody_wants(drover, notify):
	other = procs.free_port()
	start(drover, notify, drover.config(listen=[f'127.0.0.1:{drover.port}', f'127.0.0.1:{other}']))
	drover.wait(lambda: notify.listen() and len(notify.store) == 2, 'both addresses are stored')
	drover.stop()
	start(drover, notify, drover.config())
	drover.wait(lambda: notify.listen() and len(notify.store) == 1, 'one is forgotten')


def test_a_killed_master_and_its_store(drover, notify):
	"""The next one gets the same sockets from two sides: one of each is enough, and none is stored twice."""
	start(drover, notify)
	drover.wait(lambda: notify.listen() and len(notify.store) == 2, 'both sockets are stored')
	workers = {w.pid for w in drover.workers()}
	listening = lambda: sorted(t for t in procs.descriptors(drover.pid).values() if t in stored)
	stored = [os.readlink(f'/proc/self/fd/{fd}') for _, fd in notify.store]
	for _ in range(2):
		drover.kill_master()
		drover.start_heir(**as_manager(notify))
		assert drover.answers() == 200 and {w.pid for w in drover.workers()} == workers
		drover.wait(lambda: listening() == sorted(stored), lambda: f'it has each once: {listening()}')
	assert len(notify.listen() and notify.store) == 2
	other = procs.free_port()
	drover.reload(drover.config(listen=[f'127.0.0.1:{other}'], balancers=2))
	drover.wait(lambda: notify.listen() and {n for n, _ in notify.store} == {f'drover-listen-127.0.0.1_{other}'},
		    lambda: f'the store follows the configuration: {notify.store}')
	drover.port, drover.descriptors_kept = other, False


def test_nobody_succeeds_the_master_but_its_sockets_stay(drover, notify):
	start(drover, notify, drover.config(balancers=2, adopt='200ms'))
	drover.wait(lambda: notify.listen() and len(notify.store) == 2, 'both sockets are stored')
	drover.kill_master()
	wait_until(lambda: not drover.left(), 15, lambda: f'all end: {drover.left()}')
	waiting = drover.connect()
	waiting.request(target='/instance')
	start(drover, notify)
	assert waiting.reply().status == 200


def test_without_a_store_nothing_is_sent(drover, notify):
	start(drover, notify, room='0')
	drover.wait(lambda: notify.said('READY'), 'READY=1')
	assert not notify.store


def test_unix_sockets_are_stored_with_their_file(drover, notify):
	"""Who connects between two starts is served, and finds the file where it was."""
	path = drover.path('public.sock')
	both = drover.config(listen=[f'127.0.0.1:{drover.port}', f'unix:{path}'], balancers=2)
	drover.descriptors_kept = False
	start(drover, notify, both)
	drover.wait(lambda: notify.listen() and len(notify.store) == 3, 'all sockets are stored')
	file = os.stat(path).st_ino
	drover.stop()
	assert os.stat(path).st_ino == file, 'the file has stayed'
	with Client(path) as waiting:
		waiting.request(target='/instance')
		start(drover, notify, both)
		assert waiting.reply().status == 200
	assert len(notify.listen() and notify.store) == 3, 'what came from the store is not stored again'
	drover.signal(SIGUSR2)
	drover.wait_log('has taken over from drover')
	with Client(path) as c:
		assert c.ask().status == 200
	drover.reload(drover.config(balancers=2))
	drover.wait(lambda: notify.listen() and len(notify.store) == 2, 'it has left the configuration')
	assert not os.path.exists(path)


@pytest.mark.parametrize('there', ['nothing', 'somebody else'])
def test_a_unix_socket_whose_file_was_taken_away(drover, notify, there):
	"""The stored one could not be reached any more: another is made."""
	path = drover.path('public.sock')
	both = drover.config(listen=[f'127.0.0.1:{drover.port}', f'unix:{path}'])
	drover.descriptors_kept = False
	start(drover, notify, both)
	drover.wait(lambda: notify.listen() and len(notify.store) == 2, 'both sockets are stored')
	drover.stop()
	os.unlink(path)
	if there == 'somebody else':  # who has ended meanwhile
		with socket.socket(socket.AF_UNIX) as s:
			s.bind(path)
	start(drover, notify, both)
	with Client(path) as c:
		assert c.ask().status == 200
	drover.wait(lambda: notify.listen() and len(notify.store) == 2, 'the new one is stored instead')
	drover.stop()
	os.unlink(path)
