"""One chaos run: a drover, clients that check every reply, and a plan of blows.

The plan follows from the seed alone.  After each burst of blows comes a calm, in
which drover has to come to what is expected; what the clients met is judged then.
"""
import os
import random
import re
import stat
import struct
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass, replace
from datetime import datetime
from signal import SIGHUP, SIGTERM

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(os.path.dirname(HERE), 'system'), HERE]

import actions  # noqa: E402
import admin  # noqa: E402
import judge  # noqa: E402
import look  # noqa: E402
import procs  # noqa: E402
from actions import plan_of  # noqa: E402, F401
from clients import KINDS, Crowd  # noqa: E402
from drover import BUILD, Drover  # noqa: E402
from procs import wait_until  # noqa: E402
from thief import Thief  # noqa: E402

CALM_SECONDS = 30.0     # in which drover comes to what is expected
SURE_SECONDS = 0.7
DRAIN_SECONDS = 8.0     # stop.drain; no request and no tunnel of ours lasts that long by itself
CLOCK = os.path.join(BUILD, 'tests', 'chaos', 'chaos_clock.so')

# What is said of an upgrade that has come to its end.
UPGRADED = re.compile('has taken over from drover|drover \\S+ goes on|no upgrade now')
# What is said of a SIGHUP once it has been looked at.
HEARD = re.compile('SIGHUP: (configuration checked|the configuration has|nothing has changed)')


@dataclass(frozen=True)
class Config:
	"""What plans change of a configuration."""
	version: int = 1
	instances: int = 3
	balancers: int = 2
	start: str = ''
	bind: str = 'port'

	def but(self, **changes):
		return replace(self, **changes)


class Failure(AssertionError):
	pass


class Run:
	def __init__(self, seed, plan=None, bursts=4, say=print):
		rng = random.Random(f'chaos-{seed}')
		self.seed, self.say = seed, say
		self.first = Config(instances=rng.choice((1, 2, 3, 4)), balancers=rng.choice((1, 2, 3)), bind=rng.choice(('port', 'port', 'unix')))
		self.plan = plan or actions.make_plan(rng, bursts)
		self.newest, self.most_balancers = self.first, self.first.balancers
		self.expect = actions.Expectation(self.first)
		self.blows = judge.Blows()
		self.excused, self.done, self.timers = Counter(), [], []
		self.d = Drover()
		self.d.same_balancers = False
		self.records = self.d.path('records')
		os.mkdir(self.records)
		os.chmod(self.records, 0o777)
		self.crowd, self.log_before, self.log_before_upgrade, self.thief = None, 0, None, Thief()
		self.filed = self.first  # what the file says
		self.heir_of, self.log_before_heir = [], 0  # masters that were killed, until it is said that another took over
		self.hung = []           # workers that stand still for good
		self.dying = set()       # balancers that are being killed
		self.clock, self.clock_offset = None, 0
		self.busy_end = rng.random() < 0.5
		if os.path.exists(CLOCK) and any(name == 'jump-clock' for _, name, _ in self.plan):
			self.clock = self.d.path('clock')

	# What actions use

	def next_config(self, changes):
		"""The configuration in the file, with some words of the plan laid over it."""
		words = dict(c.split('=') for c in changes)
		words = {'start': '', **{k: int(v) if v.isdigit() else v for k, v in words.items()}}
		config = self.newest.but(version=self.newest.version + 1, **words)
		self.most_balancers = max(self.most_balancers, config.balancers)
		# What does not start is not what the next one is made from.
		self.newest = config if config.start != 'refuse' else self.newest.but(version=config.version)
		return config

	def whole(self, config):
		return self.d.config({
			'command': ['/usr/bin/python3', '-S', os.path.join(HERE, 'app.py')],
			'env': {'RECORDS': self.records, 'START': config.start, 'VERSION': str(config.version)},
			'instances': config.instances, 'bind': config.bind,
			'stop': {'drain': f'{DRAIN_SECONDS:.0f}s', 'grace': '3s'},
			'restart': {'backoff_min': '50ms', 'backoff_max': '1s', 'budget': 100},
		}, balancers=config.balancers, timeouts={'response': f'{judge.RESPONSE_SECONDS:.0f}s'})

	def hang_up(self):
		"""SIGHUP, which will be heard sooner or later."""
		self.wait_heir()
		self.log_before = len(self.d.log())
		self.d.signal(SIGHUP)

	def signal(self, signum):
		"""To a master that has come so far that no signal ends it."""
		self.wait_heir()
		self.d.signal(signum)

	def start_heir(self, old):
		"""A master for what the one that was killed has left.  It is not waited for: blows fall on it at once."""
		self.heir_of, self.log_before_heir = [*self.heir_of, old], len(self.d.log())
		self.d.launch(env=self.env)
		self.d.baseline[self.d.pid] = self.d.baseline.pop(old)

	def wait_heir(self):
		if self.heir_of:
			# It may be that of one that was killed while it took over.
			taken = re.compile(rf'taken over from pid ({"|".join(map(str, self.heir_of))}),')
			self.d.wait(lambda: taken.search(self.d.log(), self.log_before_heir), 'the next master has taken over')
			self.heir_of = []

	def warden_stands_by(self):
		"""A master's first word to a new one may take a turn."""
		wardens = self.d.wardens()
		return len(wardens) == 1 and procs.age(wardens[0]) > 0.2

	def set_clock(self):
		with open(self.clock, 'r+b' if os.path.exists(self.clock) else 'wb') as f:
			f.write(struct.pack('=q', self.clock_offset))

	def kill(self, pid, signum):
		try:
			os.kill(pid, signum)
		except ProcessLookupError:
			pass

	def later(self, seconds, act):
		timer = threading.Timer(seconds, act)
		timer.daemon = True
		timer.start()
		self.timers.append(timer)

	# The run

	def run(self):
		self.say(f'seed {self.seed}: {self.first}')
		self.say(f'plan: {actions.plan_text(self.plan)}')
		try:
			self.go()
		except AssertionError as e:
			raise Failure(self.report(e)) from e
		except BaseException:
			self.d.destroy()
			raise
		self.d.remove_files()
		return self.summary()

	def go(self):
		self.env = {}
		if self.clock:
			self.set_clock()
			os.chmod(self.clock, 0o644)
			self.env = {'LD_PRELOAD': CLOCK, 'CHAOS_CLOCK': self.clock}
		self.d.start(self.whole(self.first), env=self.env)
		self.crowd = Crowd(('127.0.0.1', self.d.port), self.seed, KINDS)
		self.crowd.start()
		self.began = time.monotonic()
		for wait, name, words in self.plan:
			time.sleep(wait)
			self.done.append(f'{time.monotonic() - self.began:7.3f} {name} {" ".join(words)}')
			what = actions.ACTIONS[name][0](self, *words)
			if what:
				self.done[-1] += f' -> {what}'
		self.end()

	def wait_calm(self):
		"""Until drover has come to what is expected of it, and stays there."""
		for timer in self.timers:
			timer.join()
		self.timers.clear()
		self.thief.wait()
		self.wait_heir()
		wrong, since = [''], [0.0]
		# Where two things are right, what is seen may be the one that is about to go.
		lasting = SURE_SECONDS if len(self.expect.states) > 1 else 0

		def calm():
			state, wrong[0] = self.reached(), self.not_calm()
			since[0] = since[0] or time.monotonic() if state and not wrong[0] else 0
			return state if since[0] and time.monotonic() >= since[0] + lasting else None
		state = self.d.wait(calm, lambda: f'one of the states expected, {self.expect.states}: {wrong[0]}', CALM_SECONDS)
		self.expect.calm(*state)
		self.judge_all()

	def reached(self):
		"""The expected state that drover is in, as far as numbers and versions tell."""
		workers = self.d.workers()
		versions, n, balancers = {int(w.env['VERSION']) for w in workers}, len(workers), len(self.d.balancers())
		return next((s for s in self.expect.states if ({s[0].version}, s[0].balancers, s[1]) == (versions, balancers, n)), None)

	def not_calm(self):
		"""What is not yet as expected, or ''."""
		workers, children = self.d.workers(), self.d.children()
		slots = look.roster(self.d.pid)
		if slots is None:
			return 'the roster is being written'
		if self.log_before and not HEARD.search(self.d.log(), self.log_before):
			return 'the last SIGHUP has not been heard'
		if self.log_before_upgrade is not None and not UPGRADED.search(self.d.log(), self.log_before_upgrade):
			return 'the last upgrade has not come to its end'
		if found := [pid for pid in self.hung if pid in {w.pid for w in workers}]:
			return f'workers that hang are there: {found}'
		if not self.reached():
			return f'workers are {workers} of versions {[w.env["VERSION"] for w in workers]}, balancers {self.d.balancers()}'
		if sorted(w.instance for w in workers) != list(range(len(workers))):
			return f'instances are {workers}'
		if len({w.env['DROVER_RELEASE'] for w in workers}) != 1:
			return f'releases are {[w.env["DROVER_RELEASE"] for w in workers]}'
		told = sorted((s.pid, s.instance, s.release, s.state) for s in slots)
		seen = sorted((w.pid, w.instance, int(w.env['DROVER_RELEASE']), 'UP') for w in workers)
		if told != seen:
			return f'the roster says {told}, the process table {seen}'
		if (shown := self.shown()) != seen:
			return f'status shows {shown}, the process table {seen}'
		if len(self.d.wardens()) != 1:
			return f'wardens: {self.d.wardens()}'
		if len(self.d.monitors()) != 1:
			return f'monitors: {self.d.monitors()}'
		writers = [p for p in children if procs.command_line(p).startswith('drover: writer')]
		if len(writers) > 2:  # our stdout and stderr are files
			return f'writers: {writers}'
		if rest := set(children) - {w.pid for w in workers} - {*self.d.balancers(), *self.d.wardens(), *self.d.monitors(), *writers}:
			return f'other children: {[(p, procs.command_line(p)) for p in rest]}'
		bound = set(procs.unix_sockets().values())
		if dead := [f for f in self.d.run_files() if stat.S_ISSOCK(os.lstat(f).st_mode) and f not in bound]:
			return f'socket files that nobody has bound: {dead}'
		if dead := [p for p in map(int, procs.read(f'/proc/{self.d.pid}/task/{self.d.pid}/children').split()) if not procs.alive(p)]:
			return f'children that nobody has reaped: {dead}'
		if not all(self.d.accepts(w) for w in workers):
			return 'not all workers accept'
		return ''

	def shown(self):
		"""The workers that the admin channel tells of, or why it tells nothing."""
		try:
			return sorted((w['pid'], w['instance'], w['release'], w['state'].upper())
				      for app in admin.status(self.d)['apps'] for w in app['workers'])
		except (OSError, ValueError, IndexError, TypeError) as e:  # its monitor was killed in between
			return f'{type(e).__name__}: {e}'

	def judge_all(self):
		# In this order: what was answered has been recorded before.
		incidents, posts = self.crowd.take_incidents(), dict(self.crowd.posts)
		delivered = judge.deliveries(self.records)
		for i in incidents:
			got = [pid for _, pid in delivered.get(i.id, [])]
			why = judge.excuse(i, self.blows, got, DRAIN_SECONDS)
			if not why:
				raise AssertionError(f'{i}\ndelivered to {got or "nobody"}, began at {i.began - self.began:.3f}, '
						     f'ended at {i.ended - self.began:.3f}')
			self.excused[f'{i.kind}: {why}'] += 1
		if self.thief.got:
			raise AssertionError(f'sent to a program that had taken the port of a worker: {self.thief.got[:3]}')
		if faults := judge.post_faults(posts, self.crowd.posts, delivered):
			raise AssertionError('\n'.join(faults))

	def end(self):
		"""Back to the first configuration, and asked to stop: under load, or without it, and then looked at closely."""
		self.done.append(f'{time.monotonic() - self.began:7.3f} end{" under load" if self.busy_end else ""}')
		actions.reload(self, *(f'{k}={getattr(self.first, k)}' for k in ('instances', 'balancers', 'bind')))
		self.wait_calm()
		if self.busy_end:
			self.blows.stopped = time.monotonic()
			self.d.signal(SIGTERM)
			self.d.wait_exit()
			self.crowd.stop()
			self.judge_all()
			self.d.check_ended()
			assert self.d.process.returncode == 0, f'exit status {self.d.process.returncode}'
			return
		self.crowd.stop()
		self.judge_all()
		for kind in {kind.__name__ for kind in KINDS}:
			assert self.crowd.answered[kind], f'no {kind} client ever had an answer'
		if self.clock:
			self.check_clock()
		wait_until(lambda: look.in_flight(self.d.pid) == 0, 5, 'no request is in flight')
		# Sockets of an address stay open when balancers become fewer: that is how no connection is lost.
		for kinds in self.d.baseline.values():
			kinds['listening TCP socket'] = max(kinds['listening TCP socket'], self.most_balancers)
		self.d.stop()

	def check_clock(self):
		"""That drover saw the jumps: its newest line carries the time that it was told."""
		[*_, last] = re.findall(r'^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)', self.d.log(), re.M)
		shown = datetime.fromisoformat(last + '+00:00').timestamp()
		assert abs(shown - time.time() - self.clock_offset) < 120, f'the clock was told to jump by {self.clock_offset} s, the log says {last}'

	# What is said of it

	def summary(self):
		answered = sum(self.crowd.answered.values())
		excused = sum(self.excused.values())
		text = f'seed {self.seed}: {len(self.plan)} steps in {time.monotonic() - self.began:.1f} s, {answered} right replies'
		if excused:
			text += f', {excused} excused ({", ".join(f"{n} {why}" for why, n in sorted(self.excused.items()))})'
		return text

	def report(self, error):
		if self.crowd:
			self.crowd.stopping.set()
		parts = [f'chaos seed {self.seed}: {error}', f'first: {self.first}', f'plan: {actions.plan_text(self.plan)}',
			 'done:', *self.done, self.d.all_output(), f'files are left in {self.d.dir}']
		self.d.destroy()
		return '\n'.join(parts)
