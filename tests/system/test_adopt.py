"""The master is killed: everything else goes on, and the next one takes it over."""
import os
import re
import signal
import time
from signal import SIGHUP, SIGKILL, SIGTERM, SIGUSR2

import pytest

import drover as d
import procs
from admin import status
from load import Steady
from procs import wait_until


def identity(drover):
	return sorted((w.instance, w.pid, w.port) for w in drover.workers())


def steadies(drover):
	address = ('127.0.0.1', drover.port)
	return [Steady(address, threads=2), Steady(address, threads=2, keep_alive=False),
		Steady(address, '/echo', threads=2, method='POST', body=b'x' * 3000)]


def stop_all(clients):
	for c in clients:
		c.stop()
	failures = [f for c in clients for f in c.failures]
	assert not failures, f'{len(failures)}: {failures[:5]}'
	assert all(len(c.replies) > 20 for c in clients)


@pytest.mark.parametrize('bind', ['port', 'unix'])
def test_a_new_master_takes_over(drover, bind):
	drover.start(drover.config({'bind': bind}, balancers=2))
	workers, before, old = identity(drover), status(drover), drover.pid
	clients = steadies(drover)
	drover.kill_master()
	drover.wait_log('workers go on for 30.0 s', alive=False)
	answered = len(clients[0].replies)
	wait_until(lambda: len(clients[0].replies) > answered + 50, 10, 'requests go on')
	assert identity(drover) == workers
	drover.start_heir()
	stop_all(clients)
	drover.wait_log(rf'taken over from pid {old}, which was killed: 2 workers, 2 balancers')
	assert identity(drover) == workers
	after = status(drover)
	assert after['pid'] == drover.pid != old
	assert after['uptime_s'] > before['uptime_s'] and after['requests'] >= before['requests']
	of = lambda s: [(w['pid'], w['instance'], w['state'], w['restarts']) for w in s['apps'][0]['workers']]
	assert of(after) == of(before)
	assert all(w['uptime_s'] > b['uptime_s'] for w, b in zip(after['apps'][0]['workers'], before['apps'][0]['workers']))
	assert not os.path.exists(os.path.join(drover.runtime_dir, 'drover', drover.name + '.adopt'))
	drover.wait(lambda: len(drover.wardens()) == 1, 'one warden')


def test_all_works_afterwards(running):
	"""A worker that ends is replaced; reload, upgrade and the end as ever."""
	workers = identity(running)
	running.kill_master()
	running.start_heir()
	victim = running.worker(0)
	victim.kill()
	running.wait_new_workers([victim])
	running.wait_log(rf'worker 0 \(pid {victim.pid}\) ended: with a status that only its parent was told')
	assert {w for w in identity(running) if w[0] == 1} == {w for w in workers if w[0] == 1}
	running.same_balancers = False
	running.signal(SIGUSR2)
	running.wait_log('has taken over from drover')
	running.settle()
	running.reload()
	assert running.get().status == 200
	running.stop()
