"""Fixtures.  The program under test is that of $DROVER_BUILD, or build/."""
import os

import pytest

from crowd import Crowd
from tunnels import Tunnels
from drover import DROVER, Drover
from load import Steady, Wrk
from peers import Peer


def pytest_configure(config):
	config.addinivalue_line('markers', 'load: measures time or throughput; wants the release build')
	config.addinivalue_line('markers', 'release: about processes and their life, not about bytes; runs on the release build')
	config.addinivalue_line('markers', 'both: runs on the sanitizer build and on the release build')
	if not os.access(DROVER, os.X_OK):
		raise pytest.UsageError(f'{DROVER} is not there: build first, or name a build with DROVER_BUILD')


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
	report = (yield).get_result()
	if report.failed:
		item.has_failed = True
		for d in getattr(item, 'drovers', ()):
			report.sections.append((f'drover {d.name}', d.all_output()))


@pytest.fixture
def new_drover(request):
	"""Makes drovers that are not started yet; all are stopped and checked at the end."""
	made = request.node.drovers = []

	def make():
		made.append(Drover())
		return made[-1]
	yield make
	faults = []
	for d in made:
		if getattr(request.node, 'has_failed', False):
			d.destroy()  # one report is enough
			continue
		try:
			d.finish()
		except AssertionError as e:
			faults.append(str(e))
			request.node.add_report_section('teardown', f'drover {d.name}', d.all_output())
	for d in made:
		d.remove_files()
	assert not faults, '\n'.join(faults)


@pytest.fixture
def drover(new_drover):
	"""One drover, not started yet."""
	return new_drover()


@pytest.fixture
def running(drover):
	"""One drover with two bundled test workers and one balancer."""
	return drover.start()


@pytest.fixture
def peer(request):
	"""Makes scripted peers; see peers.Peer."""
	made = []

	def make(*args, **options):
		made.append(Peer(*args, **options))
		return made[-1]
	yield make
	for p in made:
		p.close()
	for p in made:
		p.check()


@pytest.fixture
def crowd():
	"""Makes crowds of clients; see crowd.Crowd."""
	made = []

	def make(*args, **options):
		made.append(Crowd(*args, **options))
		return made[-1]
	yield make
	for c in made:
		c.close()


@pytest.fixture
def tunnels():
	"""Makes echoing tunnels; see tunnels.Tunnels."""
	made = []

	def make(*args, **options):
		made.append(Tunnels(*args, **options))
		return made[-1]
	yield make
	for t in made:
		t.stop()


@pytest.fixture
def wrk():
	"""Starts wrk runs, and ends those that a failed test left."""
	made = []

	def make(*args, **options):
		made.append(Wrk(*args, **options))
		return made[-1]
	yield make
	for w in made:
		w.stop()


@pytest.fixture
def steady():
	"""Starts steady clients, and ends those that a failed test left."""
	made = []

	def make(*args, **options):
		made.append(Steady(*args, **options))
		return made[-1]
	yield make
	for s in made:
		s.stopping.set()
