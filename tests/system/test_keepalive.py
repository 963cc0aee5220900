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


PATHS = ('/', '/unix') # of the application on a port, and of that on a Unix socket


def pooled(drover):
	"""Connections from the balancers to the workers that are open now: (TCP, Unix)."""
	places = {w.port for w in drover.workers()}
	tcp = sum(1 for _, remote, state in procs.tcp_sockets().values() if state == procs.TCP_ESTABLISHED and str(remote) in places)
	unix = sum(1 for line in open('/proc/net/unix', encoding='ascii').readlines()[1:]
		   if len(f := line.split()) == 8 and f[5] == '03' and f[7] in places)
	return tcp, unix


def config(drover, **top):
	"""With an idle_timeout far above the worker's own limit."""
	one = {'command': [NODE, os.path.join(APPS, 'node', 'once.js')], 'instances': 1, 'connections': {'idle_timeout': '60s'}}
	return drover.config(apps={'port': one, 'unix': {**one, 'bind': 'unix'}},
			     routes=[{'path': '/unix', 'app': 'unix'}, {'app': 'port'}], **top)


def burst(drover, pool, ids):
	"""One POST per id and application, all at once, each on a client connection of its own."""
	def post(asked):
		with Client(('127.0.0.1', drover.port)) as c:
			reply = c.ask('POST', asked[0], (('X-Id', asked[1]), ('Connection', 'close')), b'x')
			return *asked, reply.status, reply.text
	return list(pool.map(post, [(path, name) for name in ids for path in PATHS]))


def test_the_workers_limit_is_learned(drover):
	"""Drover's end comes a second before Node's."""
	drover.start(config(drover))
	with ThreadPoolExecutor(20) as pool:
		for _, _, status, _ in burst(drover, pool, [f'a{n}' for n in range(20)]):
			assert status == 200
	used = time.monotonic()
	assert min(pooled(drover)) > 0
	drover.wait(lambda: pooled(drover) == (0, 0), 'all are closed', timeout=8)
	assert 3.5 < time.monotonic() - used < 4.9


def test_posts_at_every_phase(drover):
	phases = [4.4 + n * 0.06 for n in range(20)] if LONG else [4.9, 4.99, 5.0]
	width = 100 if LONG else 40
	drover.start(config(drover, balancers=2))
	sent, bad = [], []
	with ThreadPoolExecutor(width) as pool:
		for n, phase in enumerate([0, *phases]):
			time.sleep(phase) # what is waited for is the worker's clock
			ids = [f'{n}-{i}' for i in range(width)]
			sent += ids
			bad += [answer for answer in burst(drover, pool, ids) if answer[2:] != (200, answer[1])]
	counts = {path: dict(json.loads(drover.get(path).text)) for path in PATHS}
	twice = sum(n > 1 for count in counts.values() for n in count.values())
	assert not bad and not twice, f'of {len(sent)} POSTs to each {len(bad)} failed, {twice} came twice: {bad[:5]}'
	assert all(count == dict.fromkeys(sent, 1) for count in counts.values()), 'each was delivered once'
	print(f'{len(sent)} POSTs to each, each answered and delivered once')
	assert not LONG or len(sent) >= 2000
