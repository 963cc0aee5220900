"""The promise, on real applications under load: reloads, kills and stray signals
cost no request, and hardly any time.

The plain case meets each kind of blow by itself, its variants one of each kind in a
single run; scripts/soak runs every combination for longer, DROVER_QUICK all of them shorter.

A lost request is never forgiven.  The p99 latency is that of the best of three
tries, since neighbours on the machine can only add to it; and where even the calm
load is slow, the bound moves with it: by a wider factor on a machine so slow that the
start of an application weighs as much as the load.
"""
import os
import signal
import time

import pytest

import procs
from drover import APPS, QUICK, app_command

pytestmark = pytest.mark.load

TRIES = 3
CALM_SECONDS = 2
P99_MS, P99_TO_CALM = 60, 6
SLOW_MS, P99_TO_SLOW = 25, 20  # calm, on such a machine


SOAK = bool(os.environ.get('DROVER_SOAK'))
SECONDS, STRIKES = (4, 3) if QUICK else (10, 6) if SOAK else (6, 3)  # of load, and blows in them


EXPRESS = {'command': ['node', os.path.join(APPS, 'express', 'app.js')], 'env': {'NODE_PATH': '/usr/share/nodejs'}}
# `exit` keeps the shell there, between drover and the application.
WRAPPED = {**EXPRESS, 'command': ['sh', '-c', f"node {os.path.join(APPS, 'express', 'app.js')}; exit $?"]}
PYTHON = {'command': app_command('python/app.py')}

# name: (app, top-level keys laid over the defaults, headers of the client)
SETUPS = {
	'express': (EXPRESS, {}, ()),
	'two-balancers': (EXPRESS, {'balancers': 2}, ()),
	'unix': ({**EXPRESS, 'bind': 'unix'}, {}, ()),
	'python': (PYTHON, {}, ()),
	'shell-wrapped': (WRAPPED, {}, ()),
	'new-connections': (EXPRESS, {}, (('Connection', 'close'),)),
}


def hup(drover, _):
	drover.signal(signal.SIGHUP)


def kill(drover, number):
	workers = drover.workers()
	workers[number % len(workers)].kill(signal.SIGKILL)


def stray_term(drover, number):
	"""To the application itself, not to a shell around it."""
	workers = drover.workers()
	target = workers[number % len(workers)].pid
	os.kill((procs.children(target) or [target])[0], signal.SIGTERM)


BLOWS = {'hup': [hup], 'kill': [kill], 'term': [stray_term], 'each': [hup, kill, stray_term]}
CASES = [(setup, blows) for setup in SETUPS for blows in BLOWS if SOAK or (setup == 'express') == (blows != 'each')]


def strike(drover, wrk, setup, blows):
	"""One drover under load and blows; the p99 latency, and what it might have been."""
	app, top, headers = SETUPS[setup]
	# Nothing but what has to be said: everything else is the default.
	defaults = {'name': drover.name, 'listen': [f'127.0.0.1:{drover.port}'], 'apps': {'app': {**app, 'instances': 2}},
		    'log': {'access': drover.access_file}}
	drover.start({**defaults, **top})
	drover.descriptors_kept = drover.same_balancers = False
	run = wrk(drover.url(), SECONDS, headers=headers)
	for number in range(STRIKES):
		time.sleep(SECONDS / (STRIKES + 1))
		blows[number % len(blows)](drover, number)
	result = run.result()
	result.nothing_lost()
	drover.wait(lambda: len([w for w in drover.workers() if drover.accepts(w)]) == 2, 'two workers again')
	bound = P99_MS
	if result.p99_ms >= bound:
		calm = wrk(drover.url(), CALM_SECONDS, headers=headers).result()
		factor = P99_TO_CALM if calm.p99_ms < SLOW_MS else P99_TO_SLOW
		bound = max(bound, factor * calm.p99_ms)
	drover.stop()
	print(f'{setup}: {result.requests} requests, p50 {result.p50_ms:.1f} ms, p99 {result.p99_ms:.1f} ms, bound {bound:.0f} ms')
	return result.p99_ms, bound


@pytest.mark.parametrize('setup, blows', CASES)
def test_nothing_is_lost(new_drover, wrk, setup, blows):
	tries = []
	for _ in range(TRIES):
		p99_ms, bound = strike(new_drover(), wrk, setup, BLOWS[blows])
		tries.append(f'{p99_ms:.0f} of {bound:.0f}')
		if p99_ms < bound:
			return
	raise AssertionError(f'p99 latency in ms: {", ".join(tries)}')


def test_killed_balancer_costs_only_its_own_connections(drover, wrk):
	"""kill -9 of a balancer under load: at most one request on each of its connections
	fails, and new connections are served within 100 ms."""
	connections = 64
	drover.start(drover.config({**EXPRESS, 'instances': 2}, balancers=2))
	drover.descriptors_kept = False

	def slowest_of(count):
		slowest = 0.0
		for _ in range(count):
			started = time.monotonic()
			assert drover.get().status == 200
			slowest = max(slowest, time.monotonic() - started)
		return slowest
	tries = []
	for _ in range(TRIES):
		run = wrk(drover.url(), 3, connections=connections)
		time.sleep(1)
		calm = slowest_of(20)
		drover.kill_balancer(drover.balancers()[0])
		slowest = slowest_of(20)
		result = run.result()
		assert result.socket_errors <= connections and not result.bad_replies, result.output
		assert result.requests > 1000
		tries.append(f'{slowest * 1000:.0f} ms, {calm * 1000:.0f} ms before')
		if slowest < max(0.1, 4 * calm):
			return
		drover.wait(lambda: len(drover.balancers()) == 2, 'both balancers again')
	raise AssertionError('; '.join(tries))
