"""What outlives its balancers: connections between two requests, and tunnels, go to the next
generation when theirs drains, and nobody at either end notices."""
import signal
import time

from admin import status
from test_upgrade_binary import upgrade

GONE_WITHIN = 2.0 # seconds, from the moment in which the new generation serves


def reload(drover):
	"""SIGHUP; returns how long the old balancers have lived on once the new ones served."""
	old = set(drover.balancers())
	serving = drover.log().count('serves, generation')
	drover.signal(signal.SIGHUP)
	drover.wait(lambda: drover.log().count('serves, generation') > serving, 'a new generation')
	began = time.monotonic()
	drover.wait(lambda: not old & set(drover.balancers()), lambda: f'balancers were {old}, are {drover.balancers()}')
	return time.monotonic() - began


def test_idle_connections_stay_open(running, crowd):
	idle = crowd(running.port)
	idle.grow(200)
	took = reload(running)
	assert took < GONE_WITHIN
	assert idle.closed() == 0
	idle.ask_all()
	assert idle.closed() == 0


def test_tunnels_go_on_over_upgrades(drover, crowd, tunnels):
	drover.start(drover.config(balancers=2))
	idle, echoing = crowd(drover.port), tunnels(drover.port)
	idle.grow(100)
	echoing.open(20)
	for _ in range(3):
		upgrade(drover)
		echoing.echo_again()
		idle.ask_all()
	echoing.check()


def wait_replaced(drover, old):
	"""The rollout has ended: of the workers `old` none is UP any more."""
	pids = {w.pid for w in old}
	drover.wait(lambda: not any(w['pid'] in pids and w['state'] == 'up' for a in status(drover)['apps'] for w in a['workers'])
		    and 'reloading' not in status(drover)['state'], lambda: f'a rollout: {status(drover)}')


def test_tunnels_live_through_reloads(drover, crowd, tunnels):
	"""Their workers have long been replaced, and nothing has waited for them."""
	drover.start(drover.config({'stop': {'drain': '120s'}}, balancers=2))
	first = drover.workers()
	idle, echoing = crowd(drover.port), tunnels(drover.port)
	idle.grow(200)
	echoing.open(40)
	for _ in range(3):
		before = drover.workers()
		assert reload(drover) < GONE_WITHIN
		wait_replaced(drover, before)
		echoing.echo_again()
		idle.ask_all()
	assert {w.pid for w in first} < {w.pid for w in drover.workers()}, 'whoever has tunnels stays'
	echoing.check()
	echoing.stop()
	drover.wait(lambda: len(drover.workers()) == 2, 'without tunnels they go')
