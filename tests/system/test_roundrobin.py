"""Exact round-robin: with W workers up and all requests succeeding, any run of
M·W requests gives each worker M, give or take K balancers."""
import threading
from collections import Counter

import pytest

pytestmark = pytest.mark.release

WORKERS = 3
ROUNDS = 20


def spread(counts, k, rounds=ROUNDS, workers=WORKERS):
	assert sum(counts.values()) == rounds * workers
	assert len(counts) == workers, counts
	for n in counts.values():
		assert abs(n - rounds) <= k, counts


@pytest.fixture(params=[1, 2, 4])
def group(request, drover):
	drover.k = request.param
	return drover.start(drover.config({'instances': WORKERS}, balancers=request.param))


def test_as_many_balancers_as_asked_for(group):
	assert len(group.balancers()) == group.k


def test_one_connection(group):
	"""One connection is one balancer: strictly in turn."""
	with group.connect() as c:
		got = [c.ask(target='/instance').text.strip() for _ in range(ROUNDS * WORKERS)]
	spread(Counter(got), 1)
	for i in range(len(got) - WORKERS):
		assert got[i] == got[i + WORKERS], f'not in turn: {got}'


def test_a_connection_per_request(group):
	got = Counter(group.get('/instance').text.strip() for _ in range(ROUNDS * WORKERS))
	spread(got, group.k)


@pytest.mark.parametrize('keep_alive', [True, False], ids=['keep-alive', 'per-request'])
def test_concurrent_clients(group, keep_alive):
	clients = 6
	each = ROUNDS * WORKERS // clients
	got, lock, faults = Counter(), threading.Lock(), []

	def client():
		try:
			own = group.connect() if keep_alive else None
			for _ in range(each):
				text = (own.ask(target='/instance') if own else group.get('/instance')).text.strip()
				with lock:
					got[text] += 1
		except Exception as e:
			faults.append(e)
	threads = [threading.Thread(target=client) for _ in range(clients)]
	for t in threads:
		t.start()
	for t in threads:
		t.join(60)
	assert not faults
	spread(got, group.k)


def test_any_run_within_a_longer_one(group):
	"""The bound holds for every window, not only from the start."""
	got = [group.get('/instance').text.strip() for _ in range(100)]
	width = 10 * WORKERS
	for start in range(len(got) - width):
		spread(Counter(got[start:start + width]), group.k, 10)


def test_slow_worker_does_not_change_the_turn(group):
	"""The turn is by request, not by who is free."""
	slow = group.connect()
	slow.request(target='/slow?ms=1000')
	with group.connect() as c:
		got = Counter(c.ask(target='/instance').text.strip() for _ in range(ROUNDS * WORKERS))
	spread(got, 1)
	assert slow.reply().status == 200


def test_servers_in_turn(drover, peer):
	peers = [peer() for _ in range(3)]
	drover.start(drover.config({'servers': [p.server for p in peers]}))
	before = [len(p.requests) for p in peers]
	for _ in range(30):
		drover.get('/')
	assert [len(p.requests) - b for p, b in zip(peers, before)] == [10, 10, 10]


def test_turn_after_a_worker_was_replaced(drover):
	drover.start(drover.config({'instances': WORKERS}))
	drover.worker(1).kill()
	drover.wait_serving(WORKERS)
	with drover.connect() as c:
		spread(Counter(c.ask(target='/instance').text.strip() for _ in range(ROUNDS * WORKERS)), 1)
