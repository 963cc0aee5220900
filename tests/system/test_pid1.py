"""As pid 1 of a container: a pid namespace of its own, with nobody above who reaps."""
import os
import signal
import subprocess
import time

import pytest

import procs
from drover import bundled


def unshare_works():
	try:
		return subprocess.run(['unshare', '--pid', '--fork', '--mount-proc', 'true'], stderr=subprocess.DEVNULL,
				      check=False).returncode == 0
	except FileNotFoundError:
		return False


pytestmark = [pytest.mark.release, pytest.mark.skipif(not unshare_works(), reason='pid namespaces are not allowed here')]


class Inside:
	"""drover as pid 1; the pids here are those of the outside."""

	def __init__(self, drover, config):
		self.drover = drover
		drover.write_config(config)
		# --kill-child: whatever happens to the test, the namespace ends with it.
		drover.launch(wrapper=['unshare', '--pid', '--fork', '--mount-proc', '--kill-child'])
		drover.wait(drover.answers, 'it serves')
		[self.init] = procs.children(drover.pid)

	def processes(self):
		"""Those that ended and were not reaped too."""
		return [int(p) for p in procs.read(f'/proc/{self.init}/task/{self.init}/children').split()]

	def workers(self):
		return [p for p in self.processes() if 'drover-worker --test' in procs.command_line(p)]

	def zombies(self):
		return [p for p in self.processes() if (s := procs.stat(p)) and s.state == 'Z']


def ended(drover, status):
	assert drover.wait_exit() == status
	drover.check_ended()


@pytest.mark.parametrize('signum', [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT])
def test_signals_end_it_in_order(drover, signum):
	"""The kernel gives pid 1 no default action: a program that does not ask for signals cannot be stopped."""
	inside = Inside(drover, drover.config())
	busy = drover.connect()
	busy.request(target='/slow?ms=600')
	time.sleep(0.2)
	os.kill(inside.init, signum)
	assert busy.reply().status == 200
	ended(drover, 0)


def test_signals_without_a_meaning_do_nothing(drover):
	inside = Inside(drover, drover.config())
	for signum in (signal.SIGALRM, signal.SIGPIPE, signal.SIGVTALRM):
		os.kill(inside.init, signum)
	assert drover.get('/').status == 200
	os.kill(inside.init, signal.SIGHUP)
	drover.wait_log('generation 2 serves')
	os.kill(inside.init, signal.SIGTERM)
	ended(drover, 0)


def test_orphans_are_reaped(drover):
	"""What the workers leave behind comes to pid 1, also while workers of its own end and are replaced."""
	orphans = ['/bin/sh', '-c', 'for i in 1 2 3 4 5; do (sleep 0.$i & ) ; done; exec "$0" "$@"', *bundled()]
	inside = Inside(drover, drover.config({'command': orphans}))
	drover.wait_log('all 2 workers ready')
	for pid in inside.workers():
		os.kill(pid, signal.SIGKILL)
	drover.wait(lambda: drover.log().count(' ready on ') >= 4, 'workers are replaced')
	# Two workers, a balancer, the warden, the monitor, the writers of stdout and stderr: all others have come and gone.
	drover.wait(lambda: len(inside.processes()) == 7, lambda: [procs.command_line(p) for p in inside.processes()])
	assert not inside.zombies()
	os.kill(inside.init, signal.SIGTERM)
	ended(drover, 0)


def test_needs_no_shell(drover):
	"""An image with drover and the application in it, and nothing else, will do."""
	inside = Inside(drover, drover.config())
	drover.wait_log('all 2 workers ready')
	names = sorted(procs.command_line(p).split(' ')[0].rpartition('/')[2] for p in inside.processes())
	assert names == ['drover-worker'] * 2 + ['drover:'] * 5
	os.kill(inside.init, signal.SIGTERM)
	ended(drover, 0)
