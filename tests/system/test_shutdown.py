"""TERM, INT, QUIT: drain and exit, exactly as the table of signals says."""
import os
import re
import signal
import time

import pytest

import procs
from wire import Client, Closed

pytestmark = pytest.mark.release

OPEN = re.compile(r' master\[\d+\]: (\d+) connections? open')


def counts(drover):
	return [int(n) for n in OPEN.findall(drover.log())]


def refused(drover):
	try:
		Client(('127.0.0.1', drover.port)).close()
		return False
	except (ConnectionRefusedError, ConnectionResetError):  # reset: met the close half-way
		return True


@pytest.mark.parametrize('signum', [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT])
def test_nothing_open(running, signum):
	started = time.monotonic()
	running.stop(signum=signum)
	assert time.monotonic() - started < 4


def test_idle_connections_are_ended(running):
	idle = [running.connect() for _ in range(3)]
	for c in idle:
		c.ask(target='/instance')
	silent = running.connect()
	time.sleep(1.1)  # until then the kernel keeps one that has said nothing
	started = time.monotonic()
	running.signal(signal.SIGTERM)
	for c in [*idle, silent]:
		assert c.closed_within(5)
	assert running.wait_exit() == 0
	assert time.monotonic() - started < 4


def test_request_in_flight_is_finished(running):
	busy = running.connect()
	busy.request(target='/slow?ms=1500')
	time.sleep(0.2)
	running.signal(signal.SIGTERM)
	running.wait(lambda: refused(running), 'nobody is let in any more')
	r = busy.reply()
	assert r.status == 200 and r.closes and busy.closed_within(2)
	assert running.wait_exit() == 0


def test_one_line_a_second_with_the_number_of_open_connections(drover):
	drover.start(drover.config(shutdown={'soft': '8s', 'hard': '9s'}, balancers=2))
	slow = [drover.connect() for _ in range(3)]
	slow[0].request(target='/slow?ms=3400')
	slow[1].request(target='/slow?ms=3400')
	slow[2].request(target='/slow?ms=1600')
	time.sleep(0.3)
	started = time.monotonic()
	drover.signal(signal.SIGTERM)
	for c in slow:
		assert c.reply().status == 200
	assert drover.wait_exit() == 0
	lasted = time.monotonic() - started
	seen = counts(drover)
	assert abs(len(seen) - lasted) <= 1.5, f'{len(seen)} lines in {lasted:.1f} s'
	assert 3 in seen and 2 in seen and seen == sorted(seen, reverse=True), seen


def test_new_requests_on_open_connections_get_connection_close(running):
	"""A request that was already under way when the signal came is not lost."""
	c = running.connect()
	c.ask(target='/instance')
	busy = running.connect()
	busy.request(target='/slow?ms=1000')
	time.sleep(0.1)
	running.signal(signal.SIGTERM)
	assert busy.reply().closes
	assert running.wait_exit() == 0


def test_half_sent_request_is_let_finish(drover):
	drover.start()
	c = drover.connect()
	c.send(b'GET /instance HTTP/1.1\r\nHost: x\r\n')
	time.sleep(0.2)
	drover.signal(signal.SIGTERM)
	drover.wait(lambda: refused(drover), 'draining')
	c.send(b'\r\n')
	r = c.reply()
	assert r.status == 200 and r.closes
	assert drover.wait_exit() == 0


def test_accept_queue_is_drained(drover):
	"""Connections that the kernel had already taken are served, not reset."""
	drover.start()
	balancer = drover.balancers()[0]
	os.kill(balancer, signal.SIGSTOP)
	waiting = [drover.connect() for _ in range(10)]
	for c in waiting:
		c.request(target='/instance')
	drover.signal(signal.SIGTERM)
	time.sleep(0.2)
	os.kill(balancer, signal.SIGCONT)
	for c in waiting:
		assert c.reply().status == 200
	assert drover.wait_exit() == 0


def test_hard_limit_cuts_and_says_so(drover):
	drover.start(drover.config(shutdown={'soft': '500ms', 'hard': '1500ms'}))
	busy = drover.connect()
	busy.request(target='/hang')
	time.sleep(0.2)
	started = time.monotonic()
	drover.signal(signal.SIGTERM)
	with pytest.raises(Closed):
		busy.reply()
	assert 1.2 < time.monotonic() - started < 4
	assert drover.wait_exit() == 1
	assert 1 in counts(drover)


def test_tunnel_is_cut_at_the_hard_limit(drover):
	drover.start(drover.config(shutdown={'soft': '300ms', 'hard': '1s'}))
	c = drover.connect()
	c.request(target='/upgrade', headers=(('Connection', 'upgrade'), ('Upgrade', 'echo')))
	assert c.head().status == 101
	drover.signal(signal.SIGTERM)
	time.sleep(0.5)
	c.send(b'still')
	assert c.read_exactly(5) == b'still'
	assert c.closed_within(5)
	assert drover.wait_exit() == 1


def test_tunnel_that_ends_in_time(drover):
	drover.start(drover.config(shutdown={'soft': '300ms', 'hard': '8s'}))
	c = drover.connect()
	c.request(target='/upgrade', headers=(('Connection', 'upgrade'), ('Upgrade', 'echo')))
	assert c.head().status == 101
	drover.signal(signal.SIGTERM)
	time.sleep(0.5)
	c.close()
	assert drover.wait_exit(6) == 0


def test_soft_limit_ends_what_is_finished_but_does_not_leave(drover):
	"""Clients that were told good-bye and keep their end open are not waited for beyond soft."""
	drover.start(drover.config(shutdown={'soft': '600ms', 'hard': '8s'}))
	idle = [drover.connect() for _ in range(3)]
	for c in idle:
		c.ask(target='/instance')
	busy = drover.connect()
	busy.request(target='/slow?ms=300')
	time.sleep(0.1)
	started = time.monotonic()
	drover.signal(signal.SIGTERM)
	assert busy.reply().status == 200
	assert drover.wait_exit() == 0
	assert time.monotonic() - started < 2


@pytest.mark.parametrize('second', [signal.SIGTERM, signal.SIGINT])
def test_second_signal_ends_at_once(running, second):
	busy = running.connect()
	busy.request(target='/hang')
	time.sleep(0.2)
	running.signal(signal.SIGTERM)
	running.wait(lambda: refused(running), 'draining')
	time.sleep(0.2)  # sooner it would pass for an echo of the first
	started = time.monotonic()
	running.signal(second)
	assert running.wait_exit() == 1
	assert time.monotonic() - started < 2


def test_second_signal_with_a_stubborn_worker(drover):
	"""At once is at once, whatever grace the workers have."""
	command = ['sh', '-c', 'trap "" TERM; while :; do "$0" "$@"; done', *drover.config()['apps']['app']['command']]
	drover.start(drover.config({'command': command, 'instances': 1, 'stop': {'grace': '30s'}}), instances=0)
	drover.wait(lambda: drover.answers() == 200, 'it serves')
	drover.signal(signal.SIGTERM)
	time.sleep(0.5)
	started = time.monotonic()
	drover.signal(signal.SIGTERM)
	drover.wait_exit()
	assert time.monotonic() - started < 3


def test_lame_duck_goes_on_serving(drover):
	drover.start(drover.config(shutdown={'lame_duck': '1500ms'}))
	kept = drover.connect()
	kept.ask(target='/instance')
	started = time.monotonic()
	drover.signal(signal.SIGTERM)
	served = 0
	while time.monotonic() - started < 1.0:
		assert drover.get('/instance').status == 200
		served += 1
	assert served > 3
	assert kept.ask(target='/instance').status == 200
	drover.wait(lambda: refused(drover), 'then it stops accepting', 4)
	assert time.monotonic() - started > 1.3
	assert drover.wait_exit() == 0


def test_workers_are_stopped_after_the_balancers(running):
	"""The order that loses nothing: traffic ends first, then the signal goes out."""
	busy = running.connect()
	busy.request(target='/slow?ms=1000')
	time.sleep(0.2)
	workers = running.workers()
	running.signal(signal.SIGTERM)
	running.wait(lambda: refused(running), 'draining')
	assert all(procs.alive(w.pid) for w in workers)
	assert busy.reply().status == 200
	assert running.wait_exit() == 0


def test_signal_during_start(drover):
	"""Before the first worker is ready."""
	drover.write_config(drover.config({'command': ['sleep', '60'], 'instances': 2}))
	drover.launch()
	drover.wait(lambda: len(drover.workers()) == 2, 'started')
	drover.signal(signal.SIGTERM)
	assert drover.wait_exit(8) == 0


def test_request_waiting_in_the_queue_at_shutdown(drover):
	"""It cannot be served any more: told so, not dropped."""
	drover.write_config(drover.config({'command': ['sleep', '60'], 'instances': 1}, shutdown={'soft': '500ms', 'hard': '1s'}))
	drover.launch()
	c = drover.wait(lambda: not refused(drover) and drover.connect(), 'it listens')
	c.request()
	time.sleep(0.2)
	drover.signal(signal.SIGTERM)
	try:
		assert c.reply().status == 503
	except Closed:
		pass  # cut at the hard limit, and the exit status says so
	assert drover.wait_exit() in (0, 1)
