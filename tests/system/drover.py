"""One drover under test: its config, its processes, its logs; and what must hold
after every test, whatever the test was about."""
import json
import os
import re
import shutil
import subprocess
import tempfile
import time
import zlib
from signal import SIGHUP, SIGKILL, SIGTERM

import procs
from procs import wait_until
from wire import Client, WireError

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.path.abspath(os.environ.get('DROVER_BUILD') or os.path.join(ROOT, 'build'))
DROVER = os.path.join(BUILD, 'balancer', 'drover')
# Behind a drover that is watched by sanitizers a plain worker will do: it starts in a tenth of the time, and what
# is about the worker itself takes its own (one_worker.py), or the one that drover finds.
WORKER = os.path.join(os.environ.get('DROVER_WORKER_BUILD') or BUILD, 'worker', 'drover-worker')
APPS = os.path.join(ROOT, 'tests', 'apps')
SANITIZED = b'__asan_init' in procs.read(DROVER)
QUICK = bool(os.environ.get('DROVER_QUICK'))
ALL_LEAKS = bool(os.environ.get('DROVER_ALL_LEAKS'))
ABOUT_LEAKS = ('test_aborts', 'test_siege', 'test_descriptors', 'test_hostile', 'test_worker_faults')
AS_ROOT = os.geteuid() == 0

# Waits are on conditions; this only says when to give up.
PATIENCE = 20.0

TROUBLE = re.compile(r'Sanitizer|runtime error:|[Aa]ssert|stack smashing|buffer overflow detected')

_count = 0


def kill(pid, signum=SIGKILL):
	"""One that dies of it counts as a living child for as long as its memory takes to be given back: that is waited for."""
	os.kill(pid, signum)
	if signum == SIGKILL:
		wait_until(lambda: not procs.alive(pid), PATIENCE, f'{pid} dies')


class Worker:
	"""A process that drover started for an app, seen from outside."""

	def __init__(self, pid, env):
		self.pid = pid
		self.app, self.instance = env['DROVER_APP'], int(env['INSTANCE'])
		self.port, self.env = env['PORT'], env

	def kill(self, signum=SIGKILL):
		kill(self.pid, signum)

	def __repr__(self):
		return f'{self.app}.{self.instance}[{self.pid}]'


def bundled(*words):
	"""Command of the bundled worker in its test mode."""
	return [WORKER, '--test', *words]


def app_command(name, *words):
	"""Command of one of the Python programs in tests/apps."""
	# Without what a site adds: they need none of it, and start the sooner.
	return ['/usr/bin/python3', '-I', '-S', os.path.join(APPS, name), *words]


def _searches_leaks():
	"""Whether the test that runs has its processes searched for leaks when they end (on the sanitizer build),
	which takes a third of the time of their start and end: each third by its name, and those that are about it."""
	test = os.environ.get('PYTEST_CURRENT_TEST', '').split(' ')[0]
	return bool(ALL_LEAKS or any(name in test for name in ABOUT_LEAKS) or zlib.crc32(test.encode()) % 3 == 0)


def files_in_run_dir(top='/run/drover'):
	return [os.path.join(folder, f) for folder, dirs, files in os.walk(top) for f in files + dirs]


class Drover:
	def __init__(self):
		global _count
		_count += 1
		# Unix socket paths are short, and other users must get in: hence not pytest's folder.
		self.dir = tempfile.mkdtemp(prefix='drover-test-')
		os.chmod(self.dir, 0o755)
		self.name = f't{os.getpid()}-{_count}'
		self.port = procs.free_port()
		self.config_file = os.path.join(self.dir, self.name + '.yaml')
		self.log_file = os.path.join(self.dir, 'stderr')
		self.out_file = os.path.join(self.dir, 'stdout')
		self.access_file = os.path.join(self.dir, 'access.log')
		self.runtime_dir = os.path.join(self.dir, 'run')
		os.mkdir(self.runtime_dir, 0o700)
		self.process = None
		self.masters = set()  # pids
		self.others_files = set(files_in_run_dir())  # of whoever was killed here before, under the same pid perhaps
		self.clients = []
		self.cleanups = []
		self.same_balancers = True   # until a test kills one, or reloads
		self.descriptors_kept = True # False: the test changes what is held open
		self.searches_leaks = _searches_leaks()
		self.first_balancers = ()
		self.n_balancers = 1         # that the config asks for, as far as it says so
		self.baseline = {}
		self.seen = {}               # pid: start time, of every child met
		self.adopted = {}            # the same, of those whose parent was killed
		self.ended = False

	# Configuration

	def config(self, app=None, **top):
		"""A whole config: `app` is laid over two bundled test workers, `top` over the rest."""
		one = {'command': bundled(), 'instances': 2}
		if app and ('servers' in app or app.get('command') == ()):
			one = {}
		one.update(app or {})
		whole = {
			'name': self.name,
			'listen': [f'127.0.0.1:{self.port}'],
			'balancers': 1,
			'apps': {'app': one},
			'log': {'access': self.access_file, 'level': 'info'},
		}
		whole.update(top)
		return {k: v for k, v in whole.items() if v is not None}

	def write_config(self, config):
		"""A dict becomes JSON, which is YAML; text is written as it is."""
		text = config if isinstance(config, str) else json.dumps(config, indent=1) + '\n'
		with open(self.config_file + '.new', 'w', encoding='utf-8') as f:
			f.write(text)
		os.rename(self.config_file + '.new', self.config_file)

	def path(self, name):
		return os.path.join(self.dir, name)

	# Life

	def environment(self, extra=None):
		env = {
			'PATH': os.environ.get('PATH', '/usr/bin:/bin'), 'HOME': self.dir, 'LANG': 'C.UTF-8',
			'XDG_RUNTIME_DIR': self.runtime_dir,
			'ASAN_OPTIONS': f'detect_leaks={self.searches_leaks:d}:handle_sigill=1:abort_on_error=0:exitcode=99:quarantine_size_mb=2',
			'UBSAN_OPTIONS': 'halt_on_error=1:print_stacktrace=1',
		}
		if 'MALLOC_PERTURB_' in os.environ: # the C library's way to make memory after free(), and fresh memory, look odd
			env['MALLOC_PERTURB_'] = os.environ['MALLOC_PERTURB_']
		env.update(extra or {})
		return env

	def launch(self, args=None, env=None, wrapper=(), log=None, pass_fds=()):
		"""Starts the program and waits for nothing."""
		args = ['run', '-c', self.config_file] if args is None else args
		with open(self.out_file, 'ab') as out, open(log or self.log_file, 'ab') as err:
			self.process = subprocess.Popen([*wrapper, DROVER, *args], stdin=subprocess.DEVNULL, stdout=out,
							stderr=err, cwd=self.dir, env=self.environment(env),
							start_new_session=True, pass_fds=pass_fds)
		self.masters.add(self.process.pid)
		self.ended = False
		return self

	def start(self, config=None, instances=None, **launch):
		"""Starts with a config (default: two bundled workers) and waits until it serves."""
		config = config if config is not None else self.config()
		self.write_config(config)
		if isinstance(config, dict) and isinstance(config.get('balancers'), int):
			self.n_balancers = config['balancers']
		self.launch(**launch)
		if instances is None:
			apps = config['apps'].values() if isinstance(config, dict) else ()
			instances = sum(a.get('instances', 1) for a in apps if 'command' in a)
		self.wait_serving(instances)
		return self

	def wait_serving(self, instances):
		"""All workers run and accept, and the public port answers; the bundled ones have all been seen."""
		self.wait(lambda: len([w for w in self.workers() if self.accepts(w)]) >= instances, 'all workers accept')
		self.wait(self.answers, 'the public port answers')
		# One of them answers before the last one has its name.
		self.wait(lambda: len(self.balancers()) >= self.n_balancers, f'{self.n_balancers} balancers')
		workers = self.workers()
		if workers and all('drover-worker --test' in procs.command_line(w.pid) for w in workers):
			seen, total = set(), len(workers)
			def all_seen():
				seen.add(self.get('/instance').text)
				return len(seen) == total
			self.wait(all_seen, lambda: f'requests reach all {total} workers, only {seen}')
		self.settle()

	def settle(self):
		"""From here on the balancers are expected to stay, and to hold what they hold now."""
		# One that has its name may not have its loop yet.
		self.wait(lambda: all('anon_inode:[eventpoll]' in procs.descriptors(b).values() for b in self.balancers()),
			  'all balancers have their loops')
		self.wait(self.monitors, 'the monitor, which comes last')
		self.first_balancers = sorted(self.balancers())
		self.same_balancers = True
		ports, tables = self.listen_ports(), procs.sockets()
		self.baseline = {pid: procs.descriptor_kinds(pid, ports, tables) for pid in [self.pid, *self.first_balancers]}

	def wait(self, condition, what, timeout=PATIENCE):
		def alive_and_true():
			if self.process.poll() is not None:
				raise AssertionError(f'drover has ended with {self.process.returncode}:\n{self.log()}')
			return condition()
		return wait_until(alive_and_true, timeout, what)

	def answers(self):
		try:
			with Client(('127.0.0.1', self.port), timeout=5) as c:
				c.request(target='/', headers=(('Connection', 'close'),))
				return c.head().status
		except (OSError, WireError):
			return None

	@staticmethod
	def accepts(worker):
		try:
			Client(worker.port if '/' in worker.port else ('127.0.0.1', int(worker.port))).close()
			return True
		except OSError:
			return False

	# Processes

	@property
	def pid(self):
		return self.process.pid

	def children(self):
		adopted = [p for p, start in self.adopted.items() if (s := procs.stat(p)) and s.start == start and s.state not in 'ZX']
		found = procs.children(self.pid) + adopted
		for pid in found:
			if s := procs.stat(pid):
				self.seen[pid] = s.start
		return found

	def balancers(self):
		return [p for p in self.children() if procs.command_line(p).startswith('drover: balancer')]

	def wardens(self):
		return [p for p in self.children() if procs.command_line(p).startswith('drover: warden')]

	def monitors(self):
		return [p for p in self.children() if procs.command_line(p).startswith('drover: monitor')]

	def workers(self, app=None):
		found = []
		for pid in self.children():
			env = procs.environment(pid)
			if 'DROVER_APP' in env and (app is None or env['DROVER_APP'] == app):
				found.append(Worker(pid, env))
		return sorted(found, key=lambda w: (w.app, w.instance, w.pid))

	def worker(self, instance=0):
		return next(w for w in self.workers() if w.instance == instance)

	def listen_ports(self):
		return {self.port}

	def signal(self, signum):
		if signum == SIGHUP:
			self.same_balancers = False
		os.kill(self.pid, signum)

	def reload(self, config=None, instances=None):
		"""SIGHUP, and waits until every process of before has been replaced."""
		if config is not None:
			self.write_config(config)
		old_workers = {w.pid for w in self.workers()}
		old_balancers = set(self.balancers())
		instances = len(old_workers) if instances is None else instances
		self.signal(SIGHUP)

		def replaced():
			now = {w.pid for w in self.workers()}
			return len(now) == instances and not now & old_workers and not old_balancers & set(self.balancers())
		self.wait(replaced, lambda: f'reload: workers were {old_workers}, are {self.workers()}; '
					    f'balancers were {old_balancers}, are {self.balancers()}')
		self.settle()

	def wait_new_workers(self, old, instances=2):
		"""Until none of the workers `old` is left, and so many others run."""
		pids = {w.pid for w in old}

		def replaced():
			now = {w.pid for w in self.workers()}
			return len(now) == instances and not now & pids
		self.wait(replaced, lambda: f'workers were {old}, are {self.workers()}')

	def kill_master(self, written=True):
		"""As nobody can be prepared for; what it leaves belongs to the next one that starts.  `written`: it leaves something,
		which on a busy machine may be a moment after its balancers answer."""
		if written:
			self.wait(lambda: any('/memfd:drover-state' in what for what in procs.descriptors(self.pid).values()), 'its state is written')
		self.adopted = {p: s.start for p in self.children() if (s := procs.stat(p))}
		self.signal(SIGKILL)
		self.process.wait()
		self.same_balancers = False

	def start_heir(self, alone=True, **launch):
		"""A plain start, which takes over what a killed master has left; waits until it has balancers of its own, and
		with `alone` until those of before have ended."""
		n = self.log().count('taken over from pid')
		self.launch(**launch)
		self.wait(lambda: self.log().count('taken over from pid') > n, lambda: f'it takes over:\n{self.log()}')
		own = lambda: [p for p in procs.children(self.pid) if procs.command_line(p).startswith('drover: balancer')]
		self.wait(lambda: len(own()) >= self.n_balancers, 'it has balancers')
		if alone:
			self.wait(lambda: len(self.balancers()) == self.n_balancers and set(self.balancers()) <= set(own()), 'they serve alone')
			self.settle()

	def kill_balancer(self, pid):
		self.same_balancers = False
		kill(pid)

	# Clients

	def connect(self, **options):
		client = Client(('127.0.0.1', self.port), **options)
		self.clients.append(client)
		return client

	def ask(self, method='GET', target='/', headers=(), body=None, **more):
		"""One request on a connection of its own."""
		with Client(('127.0.0.1', self.port)) as c:
			return c.ask(method, target, (*headers, ('Connection', 'close')), body, **more)

	def get(self, target='/', headers=(), **more):
		return self.ask('GET', target, headers, **more)

	def url(self, target='/'):
		return f'http://127.0.0.1:{self.port}{target}'

	# Logs

	def log(self):
		return procs.read(self.log_file).decode('utf-8', 'replace')

	def output(self):
		return procs.read(self.out_file).decode('utf-8', 'replace')

	def access_log(self):
		return procs.read(self.access_file).decode('utf-8', 'replace')

	def wait_log(self, pattern, timeout=PATIENCE, alive=True):
		"""The first match of a regular expression in the log."""
		find = lambda: re.search(pattern, self.log(), re.M)
		what = lambda: f'{pattern!r} in the log:\n{self.log()}'
		return self.wait(find, what, timeout) if alive else wait_until(find, timeout, what)

	def all_output(self):
		parts = []
		for label, file in (('config', self.config_file), ('log', self.log_file), ('output', self.out_file),
				    ('access log, its end', self.access_file)):
			text = procs.read(file).decode('utf-8', 'replace')
			if text:
				parts.append(f"--- {label} of {self.name}\n{text[-1500 if file == self.access_file else -12000:]}")
		return '\n'.join(parts)

	# End

	def wait_exit(self, timeout=PATIENCE):
		try:
			return self.process.wait(timeout)
		except subprocess.TimeoutExpired:
			raise AssertionError(f'drover has not ended within {timeout} s; left: {self.left()}') from None

	def close_clients(self):
		for client in self.clients:
			client.close()
		self.clients.clear()

	def stop(self, status=0, signum=SIGTERM):
		"""Asks it to end and looks at what it leaves behind."""
		self.close_clients()
		if self.baseline and self.process.poll() is None:
			self.check_running()
		if self.process.poll() is None:
			self.signal(signum)
		got = self.wait_exit()
		self.check_ended()
		assert got == status, f'exit status {got}, not {status}'

	def check_running(self):
		"""With every client gone: the same balancers, and no descriptor more than at the start."""
		if self.same_balancers:
			assert sorted(self.balancers()) == self.first_balancers, 'a balancer ended by itself'
		if not self.descriptors_kept:
			return
		# One that has come since is compared with another of its kind.
		like = {p in self.masters: kinds for p, kinds in self.baseline.items()}
		expected = {pid: self.baseline.get(pid, like.get(pid == self.pid)) for pid in [self.pid, *self.balancers()]}
		self.wait(lambda: not self.held_too_much(expected),
			  lambda: f'descriptors are given back: {self.held_too_much(expected)}', timeout=8)

	def held_too_much(self, expected):
		tables, more = procs.sockets(), []
		for pid, before in expected.items():
			now = procs.descriptor_kinds(pid, self.listen_ports(), tables) if before else {}
			# Connections to workers are pooled; they end by idle time.
			more += [f'{procs.command_line(pid)}: {kind}: {before[kind]} -> {n}' for kind, n in now.items()
				 if n > before[kind] and kind not in ('connection to a worker', 'Unix socket')]
		return more

	def left(self):
		"""Processes of it that live: of its session, with its environment, or seen as its children before."""
		own = set(procs.of_session(self.pid))
		for pid in procs.all_pids():
			if procs.environment(pid).get('XDG_RUNTIME_DIR') == self.runtime_dir and procs.alive(pid):
				own.add(pid)
		for pid, start in self.seen.items():
			s = procs.stat(pid)
			if s and s.start == start and s.state not in 'ZX':
				own.add(pid)
		return {p: procs.command_line(p) for p in own}

	def run_files(self):
		found = set(files_in_run_dir()) - self.others_files | set(files_in_run_dir(os.path.join(self.runtime_dir, 'drover')))
		sockets = {f'w{pid}' for pid in self.masters}  # the folders of its workers' sockets
		return sorted(f for f in found if self.name in f or f.startswith(self.runtime_dir) or sockets & set(f.split('/')))

	def check_ended(self):
		"""After its end: nothing runs, nothing lies about, nothing was wrong."""
		self.ended = True
		try:
			wait_until(lambda: not self.left(), 3, lambda: f'its processes end: {self.left()}')
		finally:
			for pid in self.left():
				os.kill(pid, SIGKILL)
		assert not self.run_files(), f'left in the run directory: {self.run_files()}'
		self.check_log()

	def check_log(self):
		for line in self.log().splitlines():
			assert not TROUBLE.search(line), f'in the log: {line}'

	def finish(self):
		"""End of a test: stops it if the test did not, and checks."""
		try:
			self.close_clients()
			if self.process and not self.ended:
				if self.process.poll() is None:
					self.stop()
				else:
					self.check_ended()
		finally:
			self.destroy()

	def destroy(self):
		"""Ends by force what is left, by pid."""
		if self.process:
			if self.process.poll() is None:
				self.process.kill()
				self.process.wait()
			end = time.monotonic() + 5
			while (left := self.left()) and time.monotonic() < end:
				for pid in left:
					try:
						os.kill(pid, SIGKILL)
					except ProcessLookupError:
						pass
				time.sleep(0.02)
		for cleanup in self.cleanups:
			cleanup()

	def remove_files(self):
		shutil.rmtree(self.dir, ignore_errors=True)
