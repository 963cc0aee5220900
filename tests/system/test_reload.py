"""SIGHUP after an edit: everything in the file is taken over, nothing is lost,
and a file with an error changes nothing."""
import os
import re
import signal
import time

import pytest

import procs
from drover import app_command, bundled
from peers import ok
from wire import Client

pytestmark = pytest.mark.release


def refuses(port):
	try:
		Client(('127.0.0.1', port)).close()
	except ConnectionRefusedError:
		return True
	return False


def served_env(drover, name):
	return drover.get(f'/env?{name}').text.strip()


def test_everything_is_replaced(running):
	workers, balancers = running.workers(), running.balancers()
	running.reload()
	assert not {w.pid for w in workers} & {w.pid for w in running.workers()}
	assert not set(balancers) & set(running.balancers())
	assert {w.env['DROVER_RELEASE'] for w in running.workers()} != {w.env['DROVER_RELEASE'] for w in workers}
	assert sorted(w.instance for w in running.workers()) == [0, 1]
	assert running.get('/instance').status == 200


def test_counts_command_and_environment(drover):
	drover.start(drover.config({'instances': 1, 'env': {'COLOUR': 'red'}}, balancers=1))
	assert served_env(drover, 'COLOUR') == 'red'
	drover.descriptors_kept = False  # of the master: more balancers, more sockets
	drover.reload(drover.config({'instances': 3, 'env': {'COLOUR': 'blue'}}, balancers=3), instances=3)
	assert len(drover.balancers()) == 3
	assert served_env(drover, 'COLOUR') == 'blue'
	drover.reload(drover.config({'instances': 2, 'command': ['env', 'EXTRA=1', *bundled()]}, balancers=1), instances=2)
	assert len(drover.balancers()) == 1
	assert served_env(drover, 'EXTRA') == '1'


def test_fewer_balancers_leave_no_socket_unserved(drover):
	"""With one SO_REUSEPORT socket each, a socket nobody reads would swallow connections."""
	drover.start(drover.config(balancers=4))
	drover.descriptors_kept = False
	drover.reload(drover.config(balancers=1))
	for _ in range(60):
		assert drover.get('/instance').status == 200
	drover.reload(drover.config(balancers=3))
	for _ in range(60):
		assert drover.get('/instance').status == 200


def test_timeouts_are_taken_over(drover):
	drover.start(drover.config(timeouts={'head': '30s'}))
	drover.reload(drover.config(timeouts={'head': '300ms'}))
	with drover.connect() as c:
		c.send(b'GET / HTTP/1.1\r\n')
		assert c.reply().status == 408


def test_listen_addresses(drover):
	"""One added, one kept, one removed."""
	kept, gone, new = drover.port, procs.free_port(), procs.free_port()
	drover.listen_ports = lambda: {kept, gone, new}
	drover.descriptors_kept = False
	drover.start(drover.config(listen=[f'127.0.0.1:{kept}', f'127.0.0.1:{gone}']))
	old = Client(('127.0.0.1', gone))
	drover.clients.append(old)
	assert old.ask(target='/instance').status == 200
	drover.write_config(drover.config(listen=[f'127.0.0.1:{new}', f'127.0.0.1:{kept}']))
	workers = drover.workers()
	drover.signal(signal.SIGHUP)
	drover.wait_new_workers(workers)
	r = old.ask(target='/instance')
	assert r.status == 200 and r.closes, 'who was connected is served once more'
	for port in (kept, new):
		with Client(('127.0.0.1', port)) as c:
			assert c.ask(target='/instance').status == 200
	drover.wait(lambda: refuses(gone), 'an address that is gone is closed')


def test_connection_to_an_address_that_leaves_may_still_ask(drover):
	"""One that has said nothing yet is kept from us by the kernel for up to a second."""
	old = drover.port
	drover.descriptors_kept = False
	drover.start()
	early, late = Client(('127.0.0.1', old)), Client(('127.0.0.1', old))
	drover.clients += [early, late]
	drover.port = procs.free_port()
	drover.write_config(drover.config())
	drover.signal(signal.SIGHUP)
	drover.wait_log(rf'no longer listening on 127\.0\.0\.1:{old}')
	assert early.ask(target='/instance').status == 200
	time.sleep(1.1)  # the kernel has given us the other one by now
	assert late.ask(target='/instance').status == 200
	drover.wait(lambda: refuses(old), 'the old address is closed')


def test_port_can_be_moved_away_and_back(drover):
	first, second = drover.port, procs.free_port()
	drover.descriptors_kept = False
	drover.start()
	drover.port = second
	drover.reload(drover.config())
	assert drover.get('/instance').status == 200
	drover.port = first
	drover.reload(drover.config())
	assert drover.get('/instance').status == 200


def test_request_in_flight_is_finished_and_its_connection_goes_on(running):
	old, workers = set(running.balancers()), running.workers()
	busy = running.connect()
	busy.request(target='/slow?ms=1500')
	time.sleep(0.1)
	running.signal(signal.SIGHUP)
	r = busy.reply()
	assert r.status == 200 and not r.closes
	running.wait(lambda: not old & set(running.balancers()), 'the old balancer ends with its last answer')
	assert busy.ask(target='/instance').status == 200
	running.wait_new_workers(workers)


def test_long_download_survives_several_reloads(drover):
	drover.start()
	workers = drover.workers()
	c = drover.connect(timeout=30)
	c.request(target='/drip?bytes=60&ms=50')
	r = c.head()
	pieces = c.body(r)
	got = len(next(pieces))
	for _ in range(2):
		drover.signal(signal.SIGHUP)
		time.sleep(0.5)
	assert got + sum(map(len, pieces)) == 60
	c.close()
	drover.wait_new_workers(workers)
	drover.wait(lambda: len(drover.balancers()) == 1, 'one generation')
	drover.settle()


def test_tunnel_survives_a_reload(drover):
	drover.start()
	c = drover.connect()
	c.request(target='/upgrade', headers=(('Connection', 'upgrade'), ('Upgrade', 'echo')))
	assert c.head().status == 101
	old, workers = set(drover.balancers()), drover.workers()
	drover.signal(signal.SIGHUP)
	drover.wait(lambda: set(drover.balancers()) - old, 'a new generation')
	for _ in range(10):
		c.send(b'still there')
		assert c.read_exactly(11) == b'still there'
		time.sleep(0.05)
	c.close()
	drover.wait(lambda: not old & set(drover.balancers()), 'the old generation has ended')
	drover.wait_new_workers(workers)
	drover.wait_serving(2)


def test_idle_connection_is_served_on(running):
	"""It goes to the new balancers; their configuration is the one that counts for it."""
	workers = running.workers()
	idle = [running.connect() for _ in range(5)]
	for c in idle:
		assert not c.ask(target='/instance').closes
	old = set(running.balancers())
	running.signal(signal.SIGHUP)
	running.wait_new_workers(workers)
	running.wait(lambda: not old & set(running.balancers()), 'the old balancer has ended')
	for c in idle:
		r = c.ask(target='/instance')
		assert r.status == 200 and not r.closes
	running.settle()


def test_idle_connection_of_an_old_generation_ends_by_its_idle_time(drover):
	drover.start(drover.config(timeouts={'idle': '2s'}))
	c = drover.connect()
	c.ask(target='/instance')
	old, workers = set(drover.balancers()), drover.workers()
	drover.signal(signal.SIGHUP)
	assert c.closed_within(8), 'closed in silence'
	drover.wait(lambda: not old & set(drover.balancers()), 'the old balancer has ended')
	drover.wait_new_workers(workers)
	drover.wait_serving(2)


def test_pipelined_requests_over_a_reload(running):
	with running.connect() as c:
		c.request(target='/slow?ms=600')
		c.request(target='/instance')
		time.sleep(0.1)
		running.signal(signal.SIGHUP)
		first = c.reply()
		assert first.status == 200
		assert not first.closes
		second = c.reply()
		assert second.status == 200 and not second.closes
		assert c.ask(target='/instance').status == 200


def test_steady_clients_notice_nothing(drover, steady):
	"""Requests all through several reloads, on kept and on new connections."""
	drover.start(drover.config(balancers=2))
	address = ('127.0.0.1', drover.port)
	clients = [steady(address, '/instance'), steady(address, '/instance', keep_alive=False, threads=2),
		   steady(address, '/echo', method='POST', body=b'x' * 2000, threads=2)]
	for _ in range(3):
		old = drover.workers()
		drover.signal(signal.SIGHUP)
		drover.wait_new_workers(old)
	for s in clients:
		s.stop()
		assert not s.failures, s.failures[:5]
		assert len(s.replies) > 20
	drover.wait(lambda: len(drover.balancers()) == 2, 'one generation')
	drover.settle()


def test_new_worker_is_ready_before_an_old_one_stops(drover):
	"""At every moment as many workers accept as the config asks for."""
	control = drover.path('control')
	os.mkdir(control)
	os.chmod(control, 0o777)
	config = drover.config({'command': app_command('scripted.py'), 'env': {'CONTROL': control}})
	drover.start(config)
	with open(os.path.join(control, 'delay'), 'w', encoding='ascii') as f:
		f.write('0.4')
	old = {w.pid for w in drover.workers()}
	drover.signal(signal.SIGHUP)
	most = 0
	end = time.monotonic() + 15
	while time.monotonic() < end:
		now = drover.workers()
		most = max(most, len(now))
		assert len([w for w in now if drover.accepts(w)]) >= 2 or old & {w.pid for w in now if not procs.alive(w.pid)}
		assert len(now) <= 3, 'one more than asked for at the most'
		if not old & {w.pid for w in now} and len(now) == 2:
			break
	assert most == 3
	drover.wait(lambda: not old & {w.pid for w in drover.workers()}, 'all replaced')


def test_worker_is_asked_to_stop_only_when_it_has_answered(drover):
	"""For an application that ends on the spot at SIGTERM: its requests come first."""
	control = drover.path('control')
	os.mkdir(control)
	os.chmod(control, 0o777)
	drover.start(drover.config({'command': app_command('scripted.py'), 'env': {'CONTROL': control}}))
	old = drover.workers()
	busy = [drover.connect() for _ in range(4)]
	for c in busy:
		c.request('POST', '/wait/go', body=b'x')
	record = os.path.join(control, 'record')
	drover.wait(lambda: procs.read(record).count(b'/wait/go') == 4, 'the workers have them')
	drover.signal(signal.SIGHUP)
	drover.wait(lambda: len(drover.workers()) == 3, 'a new worker beside the old ones')
	drover.wait_log(r'(?i)generation 2 serves')
	time.sleep(0.5)  # time to do it wrong
	assert {w.pid for w in old} <= {w.pid for w in drover.workers()}, 'both old ones still have requests'
	with open(os.path.join(control, 'go'), 'w', encoding='ascii'):
		pass
	for c in busy:
		assert c.reply().status == 200
	drover.wait_new_workers(old)
	assert procs.read(record).count(b'/wait/go') == 4


@pytest.mark.parametrize('how', ['silent', 'refuse'])
def test_release_that_never_becomes_ready_leaves_the_old_one_serving(drover, how):
	control = drover.path('control')
	os.mkdir(control)
	os.chmod(control, 0o777)
	config = drover.config({'command': app_command('scripted.py'), 'env': {'CONTROL': control},
				'ready': {'timeout': '2s'}})
	drover.start(config)
	old = {w.pid for w in drover.workers()}
	with open(os.path.join(control, how), 'w', encoding='ascii'):
		pass
	drover.signal(signal.SIGHUP)
	drover.wait_log(r'(?i)(roll(ed|s|ing)? back|keep|old release|back to)')
	drover.wait(lambda: {w.pid for w in drover.workers()} == old, 'only the old workers are left')
	if how == 'refuse':
		assert 'no such database' in drover.log(), 'and why'
	for _ in range(10):
		assert drover.get().status == 200
	os.unlink(os.path.join(control, how))
	drover.reload()
	assert not old & {w.pid for w in drover.workers()}


def test_reload_while_reloading(drover):
	"""The last file wins; nothing is lost on the way."""
	drover.start(drover.config({'env': {'V': '0'}}))
	for v in '123':
		drover.write_config(drover.config({'env': {'V': v}}))
		drover.signal(signal.SIGHUP)
		assert drover.get('/instance').status == 200
		time.sleep(0.05)
	drover.wait(lambda: [w.env['V'] for w in drover.workers()] == ['3', '3'], lambda: [w.env['V'] for w in drover.workers()])
	drover.wait(lambda: len(drover.balancers()) == 1, 'one generation')
	drover.settle()
	assert served_env(drover, 'V') == '3'


BROKEN = [
	('  balancers: [1\n', None),                                   # not YAML
	('balancer: 2\n', 'balancers'),                                # unknown key, with a suggestion
	('balancers: many\n', None),
	('timeouts: { head: 10 parsecs }\n', None),
	('apps: { other: { command: [x], instances: -1 } }\n', None),
]


@pytest.mark.parametrize('text, hint', BROKEN, ids=['syntax', 'key', 'value', 'unit', 'range'])
def test_broken_file_changes_nothing(drover, text, hint):
	drover.start()
	workers, balancers = [w.pid for w in drover.workers()], drover.balancers()
	base = '\n'.join(['# line 1', f'name: {drover.name}', f'listen: ["127.0.0.1:{drover.port}"]', ''])
	drover.write_config(base + text)
	drover.signal(signal.SIGHUP)
	found = drover.wait_log(rf'{re.escape(os.path.basename(drover.config_file))}:4:(\d+): .+')
	if hint:
		assert hint in drover.log()[found.start():]
	for _ in range(10):
		assert drover.get('/instance').status == 200
	assert [w.pid for w in drover.workers()] == workers and drover.balancers() == balancers
	drover.reload(drover.config())


def test_missing_file_changes_nothing(drover):
	drover.start()
	workers = [w.pid for w in drover.workers()]
	os.unlink(drover.config_file)
	drover.signal(signal.SIGHUP)
	drover.wait_log(re.escape(os.path.basename(drover.config_file)))
	assert drover.get('/instance').status == 200
	assert [w.pid for w in drover.workers()] == workers


def test_new_address_in_use_changes_nothing(drover, peer):
	p = peer()
	drover.start()
	workers = [w.pid for w in drover.workers()]
	drover.write_config(drover.config(listen=[f'127.0.0.1:{drover.port}', p.server]))
	drover.signal(signal.SIGHUP)
	drover.wait_log(rf'{p.server}.*in use')
	time.sleep(0.3)
	assert [w.pid for w in drover.workers()] == workers
	assert drover.get('/instance').status == 200


def test_missing_command_in_the_new_file_changes_nothing(drover):
	drover.start()
	workers = [w.pid for w in drover.workers()]
	drover.write_config(drover.config({'command': ['/no/such/program']}))
	drover.signal(signal.SIGHUP)
	drover.wait_log(r'/no/such/program')
	drover.wait(lambda: [w.pid for w in drover.workers()] == workers, 'the old workers are left alone')
	assert drover.get('/instance').status == 200
	time.sleep(0.5)
	assert [w.pid for w in drover.workers()] == workers
	drover.settle()


def test_apps_come_and_go(drover):
	one = {'command': bundled(), 'instances': 1, 'env': {'WHO': 'one'}}
	two = {'command': bundled(), 'instances': 2, 'env': {'WHO': 'two'}}
	drover.start(drover.config(apps={'one': one}), instances=1)
	drover.descriptors_kept = False
	drover.reload(drover.config(apps={'one': one, 'two': two}, routes=[{'path': '/env', 'app': 'two'}, {'app': 'one'}]), instances=3)
	assert served_env(drover, 'WHO') == 'two'
	drover.reload(drover.config(apps={'two': two}), instances=2)
	assert {w.app for w in drover.workers()} == {'two'}
	assert served_env(drover, 'WHO') == 'two'


@pytest.mark.parametrize('kind', ['servers', 'workers'])
def test_app_under_another_name_is_waited_for(drover, peer, steady, kind):
	"""The new balancers accept before the master has entered what is new to it."""
	app = {'servers': [peer(lambda c, r: c.send(ok())).server]} if kind == 'servers' else {'command': bundled(), 'instances': 1}
	renamed = lambda n: drover.config(apps={f'name{n}': app}, balancers=2)
	drover.start(renamed(0))
	load = steady(('127.0.0.1', drover.port), threads=6, keep_alive=False)
	for n in range(1, 6):
		drover.reload(renamed(n))
	assert not load.stop().failures and len(load.replies) > 50


def test_from_servers_to_workers(drover, peer):
	p = peer()
	drover.start(drover.config({'servers': [p.server]}))
	assert drover.get().text == 'ok'
	drover.descriptors_kept = False
	old = set(drover.balancers())
	drover.write_config(drover.config())
	drover.signal(signal.SIGHUP)
	drover.wait(lambda: not old & set(drover.balancers()) and len(drover.workers()) == 2, 'a new generation')
	drover.wait_serving(2)


def test_reload_without_a_file_is_a_hot_restart(drover):
	port = procs.free_port()
	drover.port = port
	drover.launch(args=['run', '--name', drover.name, '--listen', f'127.0.0.1:{port}', '--instances', '2', '--', *bundled()])
	drover.wait_serving(2)
	drover.reload()
	assert drover.get('/instance').status == 200


def test_descriptors_do_not_grow_over_reloads(drover):
	drover.start()
	def count():
		return len(procs.descriptors(drover.pid))
	drover.reload()
	before = count()
	for _ in range(4):
		drover.reload()
	drover.wait(lambda: count() <= before, lambda: f'{before} descriptors of the master became {count()}: '
		    f'{procs.descriptors(drover.pid)}', 5)
