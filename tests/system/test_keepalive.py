"""Pooled connections against the worker's own keep-alive limit: no request meets a closing one, and
none is delivered twice.  `scripts/soak keepalive` runs the 2,000 requests of the long version."""
import json
import os
import shutil
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

import procs
from drover import APPS
from wire import Client

NODE = shutil.which('node')
LONG = bool(os.environ.get('DROVER_SOAK'))
pytestmark = pytest.mark.skipif(not NODE, reason='there is no node')


def pooled(drover):
	"""Connections from the balancers to the workers that are open now."""
	ports = {int(w.port) for w in drover.workers()}
	return sum(1 for line in open('/proc/net/tcp', encoding='ascii').readlines()[1:]
		   if (f := line.split())[3] == '01' and int(f[2].split(':')[1], 16) in ports)


def node(**more):
	return {'command': [NODE, os.path.join(APPS, 'node', 'once.js')], 'instances': 1, **more}


def burst(drover, pool, ids):
	"""One POST per id, all at once, each on a client connection of its own."""
	def post(name):
		with Client(('127.0.0.1', drover.port)) as c:
			reply = c.ask('POST', '/', (('X-Id', name), ('Connection', 'close')), b'x')
			return reply.status, reply.text
	return [(name, *answer) for name, answer in zip(ids, pool.map(post, ids))]


def test_the_workers_limit_is_learned(drover):
	"""With an idle_timeout far above it: drover's end comes a second before Node's."""
	drover.start(drover.config(node(connections={'idle_timeout': '60s'})))
	with ThreadPoolExecutor(20) as pool:
		for _, status, _ in burst(drover, pool, [f'a{n}' for n in range(20)]):
			assert status == 200
	used = time.monotonic()
	assert pooled(drover) > 0
	drover.wait(lambda: pooled(drover) == 0, 'all are closed', timeout=8)
	assert 3.5 < time.monotonic() - used < 4.9


def test_posts_at_every_phase(drover):
	phases = [4.4 + n * 0.06 for n in range(20)] if LONG else [4.9, 4.99, 5.0]
	width = 100 if LONG else 40
	drover.start(drover.config(node(connections={'idle_timeout': '60s'}), balancers=2))
	sent, bad = [], []
	with ThreadPoolExecutor(width) as pool:
		for n, phase in enumerate([0, *phases]):
			time.sleep(phase) # what is waited for is the worker's clock
			ids = [f'{n}-{i}' for i in range(width)]
			sent += ids
			bad += [answer for answer in burst(drover, pool, ids) if answer[1:] != (200, answer[0])]
	assert not bad, f'{len(bad)} of {len(sent)} requests failed: {bad[:5]}'
	counts = dict(json.loads(drover.get('/').text))
	assert counts == dict.fromkeys(sent, 1), 'each was delivered once'
	print(f'{len(sent)} POSTs, each answered and delivered once')
	assert not LONG or len(sent) >= 2000
