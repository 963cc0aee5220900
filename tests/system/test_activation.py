"""Listening sockets that the service manager opened: LISTEN_FDS."""
import os
import re
import signal
import socket

import pytest

import procs
from drover import AS_ROOT
from wire import Client

pytestmark = pytest.mark.release

MANAGER = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'manager.py')


def handed(*sockets):
	return ['/usr/bin/python3', MANAGER, *sockets, '--']


def listening(pid, port):
	"""Inodes of the sockets that `pid` has and that listen on the port."""
	found = {inode for inode, (local, _, state) in procs.tcp_sockets().items() if local == port and state == procs.TCP_LISTEN}
	own = set()
	for fd in os.listdir(f'/proc/{pid}/fd'):
		try:
			own.add(os.readlink(f'/proc/{pid}/fd/{fd}'))
		except FileNotFoundError:
			pass
	return {i for i in found if f'socket:[{i}]' in own}


def flags(pid, inode):
	"""Of every descriptor of that socket."""
	found = []
	for fd in os.listdir(f'/proc/{pid}/fd'):
		if os.readlink(f'/proc/{pid}/fd/{fd}') == f'socket:[{inode}]':
			found.append(int(re.search(rb'flags:\s*(\d+)', procs.read(f'/proc/{pid}/fdinfo/{fd}'))[1], 8))
	return found


def test_used_instead_of_opening(drover):
	drover.start(drover.config(balancers=2), wrapper=handed(f'web=tcp:127.0.0.1:{drover.port}'))
	assert drover.wait_log(rf'listening on 127\.0\.0\.1:{drover.port}, from the service manager')
	[inode] = listening(drover.pid, drover.port)
	for pid in drover.balancers():
		assert listening(pid, drover.port) == {inode}
	for flag in flags(drover.pid, inode):
		assert flag & os.O_NONBLOCK and flag & os.O_CLOEXEC
	for w in drover.workers():
		assert not listening(w.pid, drover.port)


def test_every_balancer_accepts(drover):
	"""There is one socket for both of them: each serves alone while the other is held."""
	drover.start(drover.config(balancers=2), wrapper=handed(f'web=tcp:127.0.0.1:{drover.port}'))
	for held in drover.balancers():
		os.kill(held, signal.SIGSTOP)
		try:
			assert drover.get('/').status == 200
		finally:
			os.kill(held, signal.SIGCONT)


def test_connections_have_no_delay(drover):
	"""TCP_NODELAY, as on sockets of our own: strace is not needed, the balancer's descriptor tells."""
	drover.start(wrapper=handed(f'web=tcp:127.0.0.1:{drover.port}'))
	c = drover.connect()
	c.ask(target='/instance')
	[balancer] = drover.balancers()
	pidfd = os.pidfd_open(balancer)
	try:
		for fd in os.listdir(f'/proc/{balancer}/fd'):
			got = pidfd_getfd(pidfd, int(fd))
			if got is None:
				continue
			with got:
				if got.family == socket.AF_INET and got.getsockname() == ('127.0.0.1', drover.port):
					assert got.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY), f'descriptor {fd}'
	finally:
		os.close(pidfd)


def pidfd_getfd(pidfd, fd):
	"""A socket of another process, or None."""
	import ctypes
	libc = ctypes.CDLL(None, use_errno=True)
	got = libc.syscall(438, pidfd, fd, 0)
	if got < 0:
		if AS_ROOT:
			return None  # closed meanwhile
		pytest.skip('not allowed to look into another process')
	try:
		return socket.socket(fileno=got)
	except OSError:
		os.close(got)
		return None


def test_kept_over_reloads(drover):
	drover.start(drover.config(balancers=1), wrapper=handed(f'web=tcp:127.0.0.1:{drover.port}'))
	before = listening(drover.pid, drover.port)
	drover.n_balancers = 3
	drover.reload(drover.config(balancers=3))
	assert listening(drover.pid, drover.port) == before and len(before) == 1
	assert all(listening(b, drover.port) == before for b in drover.balancers())
	assert drover.get('/').status == 200


def test_address_that_leaves_and_comes_back(drover):
	"""The service manager has it open too: nobody could open it anew."""
	other = procs.free_port()
	drover.start(drover.config(listen=[f'127.0.0.1:{drover.port}', f'127.0.0.1:{other}']),
		     wrapper=handed(f'web=tcp:127.0.0.1:{drover.port}', f'more=tcp:127.0.0.1:{other}'))
	before = listening(drover.pid, other)
	drover.reload(drover.config())
	[balancer] = drover.balancers()
	assert not listening(balancer, other)
	drover.reload(drover.config(listen=[f'127.0.0.1:{drover.port}', f'127.0.0.1:{other}']))
	assert listening(drover.pid, other) == before
	with Client(('127.0.0.1', other)) as c:
		assert c.ask().status == 200


def test_unix_socket_stays_the_managers(drover):
	path = drover.path('web.sock')
	drover.start(drover.config(listen=[f'127.0.0.1:{drover.port}', 'unix:' + path]), wrapper=handed('web=unix:' + path))
	with Client(path) as c:
		assert c.ask().status == 200
	drover.stop()
	assert os.path.exists(path), 'its file is not ours to remove'


def test_port_alone_takes_both_families(drover):
	"""ListenStream=8080 is [::]:8080 for IPv4 too; listen: 8080 means 0.0.0.0:8080."""
	drover.start(drover.config(listen=[drover.port]), wrapper=handed(f'web=both:[::]:{drover.port}'))
	assert drover.get('/').status == 200
	with Client(('::1', drover.port)) as c:
		assert c.ask().status == 200
	assert 'is no address of listen' not in drover.log()


def test_ipv6_alone_is_not_ipv4(drover):
	drover.start(drover.config(listen=[drover.port]), wrapper=handed(f'six=tcp6:[::]:{drover.port}'))
	drover.wait_log(rf'socket "six" from the service manager, \[::\]:{drover.port}, is no address of listen: closed')
	drover.wait_log(rf'listening on 0\.0\.0\.0:{drover.port}$')
	assert drover.get('/').status == 200


def test_not_asked_for(drover):
	"""Said with its name, and closed; the others serve."""
	other = procs.free_port()
	drover.start(wrapper=handed(f'spare=tcp:127.0.0.1:{other}', f'web=tcp:127.0.0.1:{drover.port}'))
	drover.wait_log(rf'socket "spare" from the service manager, 127\.0\.0\.1:{other}, is no address of listen: closed')
	for pid in (drover.pid, *drover.balancers()):
		assert not listening(pid, other)
	with pytest.raises(ConnectionRefusedError):
		Client(('127.0.0.1', other))


@pytest.mark.parametrize('sockets, message', [
	(['web=dgram:127.0.0.1:0'], r'socket "web" \(descriptor 3\) .*is not a stream socket; drover needs ListenStream='),
	(['a=tcp:127.0.0.1:0', 'b=dgram:{dir}/d'], r'socket "b" \(descriptor 4\) .*is not a stream socket'),
	(['web=connected:{port}'], r'"web" .*is not listening; drover needs Accept=no'),
	(['web=file:/dev/null'], r'"web" .*is not a socket; drover needs ListenStream='),
	(['web=none:'], r'"web" .*is not open; start drover through a \.socket unit'),
	(['count=many'], r'LISTEN_FDS=many is not a number of sockets'),
	(['count=-1'], r'LISTEN_FDS=-1 is not a number'),
	(['count=99999'], r'LISTEN_FDS=99999 is not a number of sockets up to 1024'),
], ids=lambda v: v[-1].split(':')[0] if isinstance(v, list) else '')
def test_wrong_kinds_are_refused(drover, sockets, message):
	with socket.create_server(('127.0.0.1', 0)) as server:
		words = [s.format(dir=drover.dir, port=server.getsockname()[1]) for s in sockets]
		drover.write_config(drover.config())
		drover.launch(wrapper=handed(*words))
		assert drover.wait_exit() == 1
	assert re.search('cannot start: .*' + message, drover.log()), drover.log()


def test_meant_for_another_process(drover):
	"""LISTEN_PID is not ours: what we inherited is no affair of ours."""
	drover.start(wrapper=handed('pid=other', 'web=tcp:127.0.0.1:0'))
	assert 'from the service manager' not in drover.log()


def test_several_sockets_for_one_address_are_shared_out(drover):
	"""Of units with ReusePort=: every one is accepted from, also by fewer balancers."""
	both = os.path.join(drover.dir, 'both.py')
	with open(both, 'w', encoding='utf-8') as f:
		f.write('import os, socket, sys\n'
			'for i in range(3):\n'
			'	s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)\n'
			f'	s.bind(("127.0.0.1", {drover.port})); s.listen(8); os.set_inheritable(s.detach(), True)\n'
			'os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="3")\n'
			'os.execv(sys.argv[1], sys.argv[1:])\n')
	drover.start(drover.config(balancers=2), wrapper=['/usr/bin/python3', both])
	shares = [listening(b, drover.port) for b in drover.balancers()]
	assert sorted(len(s) for s in shares) == [1, 2] and len(set.union(*shares)) == 3


@pytest.mark.skipif(not os.access('/usr/bin/systemd-socket-activate', os.X_OK), reason='no systemd here')
def test_with_systemds_own_tool(drover):
	"""It waits for the first connection, as a .socket unit does, and loses it as little."""
	drover.write_config(drover.config(listen=[drover.port]))
	drover.launch(wrapper=['/usr/bin/systemd-socket-activate', '-l', str(drover.port), '--fdname', 'web',
			       *[w for k, v in drover.environment().items() for w in ('-E', f'{k}={v}')]])
	drover.wait(drover.answers, 'it answers')
	drover.wait_log(rf'listening on \[::\]:{drover.port}, from the service manager')
	drover.settle()
