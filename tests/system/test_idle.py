"""Thousands of idle keep-alive connections: they cost next to nothing, get in
nobody's way, and are served when they speak again."""
import pytest

import procs
from crowd import raise_descriptor_limit
from drover import QUICK

pytestmark = pytest.mark.load

CONNECTIONS = 10_000
BYTES_EACH = 500
LOAD_SECONDS = 2 if QUICK else 3


def test_ten_thousand_idle_connections(drover, crowd, wrk, record_property):
	limit = raise_descriptor_limit(CONNECTIONS + 500)
	assert limit >= CONNECTIONS + 500, f'the hard limit of open files is too low for this test: {limit}'
	# The soft limit that programs are started with nearly everywhere: raising it is drover's affair.
	drover.start(drover.config(timeouts={'idle': '300s'}), wrapper=('prlimit', '--nofile=1024:'))
	balancer, = drover.balancers()
	wrk(drover.url('/instance'), 1).result().nothing_lost()

	before = procs.memory_kib(balancer)
	many = crowd(drover.port)
	many.grow(CONNECTIONS)
	idle = procs.memory_kib(balancer)
	each = (idle - before) * 1024 / CONNECTIONS
	cpu = procs.cpu_share(balancer, 2)

	load = wrk(drover.url('/instance'), LOAD_SECONDS).result()
	load.nothing_lost()
	loaded = procs.memory_kib(balancer)
	assert many.closed() == 0
	many.ask_all()
	figures = f'{each:.0f} bytes each, {cpu:.2%} of a CPU, {load.requests} requests beside them, p99 {load.p99_ms} ms'
	record_property('figures', figures)
	print(figures)
	assert each <= BYTES_EACH, figures
	assert cpu <= 0.02, f'idle connections cost time: {figures}'
	assert loaded - idle < 2048, f'memory grew under load by {loaded - idle} KiB'
	assert 'accepting pauses' not in drover.log()
