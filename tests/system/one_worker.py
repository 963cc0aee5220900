"""One drover-worker by itself: started, asked, and ended with nothing left over."""
import contextlib
import os
import re
import resource
import signal
import subprocess
import tempfile

import pytest

import procs
from procs import wait_until
from wire import Client

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.path.abspath(os.environ.get('DROVER_BUILD') or os.path.join(ROOT, 'build'))
WORKER = os.path.join(BUILD, 'worker', 'drover-worker')
SANITIZED = b'__asan_init' in procs.read(WORKER)
PATIENCE = 20.0
TROUBLE = re.compile(r'Sanitizer|runtime error:|[Aa]ssert|stack smashing|buffer overflow detected')


def environment(extra):
	env = {
		'PATH': '/usr/bin:/bin', 'LANG': 'C.UTF-8',
		'ASAN_OPTIONS': 'detect_leaks=1:handle_sigill=1:abort_on_error=0:exitcode=99',
		'UBSAN_OPTIONS': 'halt_on_error=1:print_stacktrace=1',
	}
	env.update(extra)
	return env


def pattern(n):
	"""What /huge, /cut and their like send: byte i is i modulo 251."""
	period = bytes(range(251))
	return (period * (n // 251 + 1))[:n]


class Worker:
	"""Started with --port 0 unless `env` or the arguments say where to listen."""

	def __init__(self, *args, env=None, descriptors=None, wrapper=()):
		env = dict(env or {})
		placed = 'PORT' in env or '--port' in args
		self.log_file = tempfile.TemporaryFile()
		self.process = subprocess.Popen(
			[*wrapper, WORKER, *([] if placed else ['--port', '0']), *args], env=environment(env),
			stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=self.log_file, start_new_session=True,
			preexec_fn=descriptors and (lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors,) * 2)))
		try:
			place = wait_until(self.listening, PATIENCE, lambda: f'listening:\n{self.log()}')
		except BaseException:
			self.process.kill()
			self.process.wait()
			raise
		host, _, port = place.rpartition(':')
		self.address = port if host == 'unix' else (host.strip('[]'), int(port))
		self.idle_descriptors = self.descriptors()

	def listening(self):
		assert self.process.poll() is None, f'ended with {self.process.returncode}:\n{self.log()}'
		found = re.search(r'listening on (\S+)\n', self.log())
		return found and found[1]

	@property
	def pid(self):
		return self.process.pid

	def log(self):
		with open(f'/proc/self/fd/{self.log_file.fileno()}', 'rb') as f:
			return f.read().decode('utf-8', 'replace')

	def descriptors(self):
		return len(procs.descriptors(self.pid))

	def cpu_seconds(self):
		fields = procs.read(f'/proc/{self.pid}/stat').rsplit(b')', 1)[1].split()
		return (int(fields[11]) + int(fields[12])) / os.sysconf('SC_CLK_TCK')

	def connect(self, **options):
		return Client(self.address, **options)

	def ask(self, *args, **options):
		with self.connect() as c:
			return c.ask(*args, **options)

	def get(self, target='/', *headers, **options):
		return self.ask('GET', target, headers, **options)

	def terminate(self):
		self.process.send_signal(signal.SIGTERM)

	def refuses(self):
		"""Nobody listens any more."""
		try:
			self.connect().close()
			return False
		except OSError:
			return True

	def ended(self, status=0, timeout=PATIENCE):
		"""Waits for the end, and for everything that has to hold then."""
		try:
			found = self.process.wait(timeout)
		except subprocess.TimeoutExpired:
			self.process.kill()
			self.process.wait()
			raise AssertionError(f'did not end within {timeout} s:\n{self.log()}') from None
		assert found == status, f'ended with {found}, not {status}:\n{self.log()}'
		assert not TROUBLE.search(self.log()), self.log()
		assert procs.of_session(self.pid) == [], 'a process is left'
		return True

	def let_go(self):
		"""Connections are gone, descriptors closed."""
		wait_until(lambda: self.descriptors() <= self.idle_descriptors, PATIENCE,
			   lambda: f'descriptors closed: {procs.descriptors(self.pid)}')

	def finish(self):
		"""The end of a test, and an orderly one of the worker."""
		if self.process.poll() is None:
			self.let_go()
			self.terminate()
			self.ended()
		assert not TROUBLE.search(self.log()), self.log()


@contextlib.contextmanager
def workers():
	"""A function that starts workers; all end with the block."""
	made = []

	def start(*args, **options):
		made.append(Worker(*args, **options))
		return made[-1]
	try:
		yield start
		for w in made:
			w.finish()
	finally:
		for w in made:
			if w.process.poll() is None:
				w.process.kill()
			w.process.wait()
			w.log_file.close()


@pytest.fixture
def start_worker():
	with workers() as start:
		yield start


class Kept:
	"""A worker that goes on from test to test, for those that only ask.  After each one it must be as it was
	before; one that has ended, or that a test has failed with, is followed by another."""

	def __init__(self, *args, **options):
		self.args, self.options = args, options
		self.block, self.worker = contextlib.ExitStack(), None

	def begin(self):
		if not self.worker or self.worker.process.poll() is not None:
			self.end()
			self.worker = self.block.enter_context(workers())(*self.args, **self.options)
		return self.worker

	def check(self, failed):
		w = self.worker
		try:
			assert not TROUBLE.search(w.log()), w.log()
			if w.process.poll() is None:
				w.let_go()
		except AssertionError:
			failed = True
			raise
		finally:
			if failed:
				w.process.kill()
				w.process.wait()
				with contextlib.suppress(AssertionError):  # has been said
					self.end()

	def end(self):
		self.worker = None
		self.block.close()


@contextlib.contextmanager
def lent(kept, request):
	yield kept.begin()
	kept.check(getattr(request.node, 'has_failed', False))


@pytest.fixture(scope='module')
def kept_worker():
	kept = Kept('--test', env={'INSTANCE': '3', 'DROVER_APP': 'app', 'DROVER_RELEASE': 'r7'})
	yield kept
	kept.end()


@pytest.fixture
def worker(kept_worker, request):
	"""In test mode, as instance 3 of "app"."""
	with lent(kept_worker, request) as w:
		yield w
